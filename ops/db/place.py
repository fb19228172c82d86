"""A target, resolved and reached: the server behind it and what that says of itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.declared import Kind, Word
from config.settings import Settings
from config.targets import ADDRESS, MASK, SECRETS, Target, resolve
from config.urls import unusable
from ops import postgres
from ops.console import hide, say
from ops.db import guard, looked, outcome, postmaster, server, state
from ops.db.identity import PREV, Reason, Watch, facts, note, why_prod
from ops.errors import (
    LoginFailed,
    Misconfigured,
    NoDatabase,
    NotAllowed,
    NotConfigured,
    NothingAnswers,
    Problem,
)

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


SWAPPED = 2.0
"""Seconds that a database which the server has named may not be found: another takes its place just then."""


@dataclass(frozen=True)
class Place:
    """A target with a connection to its server's maintenance database."""

    settings: Settings
    target: Target
    task: str
    conn: Connection[DictRow] = field(repr=False)
    facts: dict[str, Any] = field(repr=False)
    prod: Reason
    """Why this is production, in words; empty where it is not."""
    work: outcome.Work = field(default_factory=outcome.Work, repr=False)

    @property
    def name(self) -> str:
        return self.target.dbname

    def database(self, suffix: str = "") -> dict[str, Any] | None:
        """Return pg_database's row of our database, or of one beside it."""
        row: dict[str, Any] | None = self.facts["databases"].get(self.name + suffix)
        return row

    def required(self) -> None:
        """See that our database exists; raises `NoDatabase`."""
        if not self.database():
            raise NoDatabase(f"{self.target.address}: {self.missing}")

    @property
    def missing(self) -> str:
        """What to do about a database that is not there, in words."""
        if self.database(PREV):
            return f"the database was dropped: inv db.undo -t {self.target.name} brings it back"
        return f"the database is not there yet: inv db.setup -t {self.target.name}"

    def look_again(self) -> None:
        """Read the facts anew, once the lock is ours."""
        self.facts.update(facts(self.conn, self.name))

    def connect(self, suffix: str = "") -> Connection[DictRow]:
        """Open a connection to our database, or to one beside it; one whose name is being changed is asked for again."""
        deadline = time.monotonic() + SWAPPED
        while True:
            try:
                conn = postgres.connect(
                    self.target, task=self.task, dbname=self.name + suffix, timeout=self.settings.connect_timeout
                )
            except NoDatabase:
                if not self.database(suffix) or time.monotonic() > deadline:
                    raise
            else:
                self.work.pids.append(conn.info.backend_pid)
                return conn
            time.sleep(0.02)

    def remember(self, *, there: bool, kept: bool | None = None, built: bool = False) -> None:
        """Note for bare `inv` how the database is now; `kept`: whether one is beside it that db.undo brings back."""
        kept = self.database(PREV) is not None if kept is None else kept
        looked.remember(self.settings, self.target, there=there, kept=kept, built=built)

    def begin(self) -> None:
        """Note that the database is made now, or gets its name or loses it: who breaks off from here on asks the server."""
        live = self.database()
        self.work.begun = self.work.names = self.work.closing = True
        self.work.before = int(live["oid"]) if live else None


@dataclass(frozen=True)
class Url:
    """How the database of a target is reached."""

    target: str
    """As it is given to --target."""
    kind: Word
    """Who keeps the server: the suite, docker-compose.yml, RDS, or somebody else."""
    url: str
    """As psql takes it; the password is **** without --show-password."""
    user: str | None
    """Who logs in."""
    password: str | None
    """Null without --show-password, and where there is none."""
    host: str | None
    """Null for the socket of this machine."""
    port: int
    """Of the server."""
    database: str
    """Its name."""
    parameters: dict[str, str]
    """What else libpq is given, by its own names: sslmode, sslrootcert, hostaddr."""


def url(target: Target, *, show_password: bool) -> Url:
    """Return how a target is reached, with secrets only where they are asked for."""
    params = target.params
    hidden = () if show_password else SECRETS
    return Url(
        target=target.name,
        kind=target.kind.word,
        url=target.url(show_password=show_password),
        user=params.get("user") or None,
        password=(target.password or None) if show_password else None,
        host=target.host or None,
        port=target.port,
        database=target.dbname,
        parameters={k: MASK if k in hidden else v for k, v in params.items() if k not in ADDRESS and v},
    )


@contextlib.contextmanager
def opened(
    settings: Settings, name: str, task: str, *, writes: bool = False, announced: bool = True
) -> Iterator[Place]:
    """Resolve a target, reach its server, say what it is, and yield it.

    `writes` says that the command may change the database: then more is done
    to find out whether this is production under another name. `announced=False`
    is for a command whose result says it all.
    """
    place: Place | None = None
    settings = settings.on(name)
    target = resolved(settings, settings.focus.name)
    watch = Watch(settings, target) if writes else None
    try:
        target, conn = reach(settings, target, task)
        with conn:
            known = facts(conn, target.dbname)
            if target.embedded and not at_home(settings, known):
                conn.close()
                target = server.start(settings.root).target(settings.database)
                conn = maintenance(settings, target, task)
                known = facts(conn, target.dbname)
            if writes and known["pid"] != conn.info.backend_pid:
                raise Misconfigured(
                    f"{target.source}: a pooler stands before this server, and its sessions are not ours to lock: give the server's own address"
                )
            reason = why_prod(settings, target, known, watch)
            place = Place(settings, target, task, conn, known, reason)
            place.work.pids.append(known["pid"])
            place.remember(there=place.database() is not None)
            if reason:
                note(settings.root, known["system_id"], target)
            if writes and target.rds and place.prod:
                guard.stamp_new(place)
            if announced:
                more = f", PRODUCTION: {reason}" if reason else ""
                say(f"{target.name}: {target.address} (PostgreSQL {known['version']}){more}")
            try:
                yield place
            finally:
                conn.close()
    except Exception as error:
        if problem := outcome.told(error, place, target.address, writes=writes):
            raise problem from error
        raise


def resolved(settings: Settings, name: str, *, shown: bool = False) -> Target:
    """Return the target called `name` (or the setting's), the embedded server started if it is that.

    One that is only `shown` may lack the certificates that it will be checked against.
    """
    settings = settings.on(name)
    try:
        target = resolve(settings, settings.focus.name)
    except NotConfigured as error:
        from ops.rds import prod as by_rds

        target = by_rds.asked(settings, why=str(error))
    variable = settings.focus.names.url
    if target and target.source == variable and settings.vars.hides(variable):
        say(f"note: {variable} of the environment hides the one saved in {settings.vars.env_file.name}")
    if target is None:
        made = state.load(settings.root)
        if made is None or not postmaster.as_remembered(made):
            made = server.start(settings.root)
        target = made.target(settings.database)
    elif target.kind is Kind.COMPOSE:
        from ops.db import compose

        target = compose.outside(settings.root, target)
    if why := unusable(target.params):  # db.name of invoke.yaml has not been through a URL
        raise Misconfigured(f"{target.source}: {why}")
    hide(target.password)
    if target.rds:
        from ops.rds import prod as by_rds

        try:
            by_rds.certificates(settings, target)
        except Problem as error:
            if not shown:
                raise
            say(f"note: the URL names the file for them, but {error}")
    return target


def maintenance(settings: Settings, target: Target, task: str) -> Connection[DictRow]:
    """Connect to the server's maintenance database, from where ours can be made and renamed."""
    first: Problem | None = None
    # our own comes last, for a user who is let into no other: it cannot be renamed from within
    for dbname in ("postgres", "template1", target.dbname):
        try:
            return postgres.connect(target, task=task, dbname=dbname, timeout=settings.connect_timeout)
        except (NoDatabase, NotAllowed) as error:
            first = first or error
    assert first is not None
    raise first


def reach(settings: Settings, target: Target, task: str) -> tuple[Target, Connection[DictRow]]:
    """Connect to the target's server; the embedded one is started when it is away."""
    try:
        return target, maintenance(settings, target, task)
    except LoginFailed as error:
        if not target.rds:
            raise
        from ops.rds import prod as by_rds

        target = by_rds.again(settings, target, error)
        return target, maintenance(settings, target, task)
    except Problem:
        if not target.embedded:
            raise
    # away, or another program has taken its port in the meantime
    target = server.start(settings.root).target(target.dbname)
    deadline = time.monotonic() + postmaster.TIMEOUT
    while True:
        try:
            return target, maintenance(settings, target, task)
        except NothingAnswers:  # it runs, and recovers from a crash
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def at_home(settings: Settings, known: dict[str, Any]) -> bool:
    """Whether the server that answered is the one in our own folder."""
    made = state.load(settings.root)
    if not made or not known["data_directory"]:
        return False
    path = Path(known["data_directory"])
    return path == made.data or (made.data.exists() and path.exists() and path.samefile(made.data))
