"""A target as its server knows it: version, identity, databases, and whether it is prod."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import local_dir
from config.settings import Settings, target_name
from config.targets import MAINTENANCE, Target, prod, resolve
from ops import postgres
from ops.console import ask, hide, interactive, say
from ops.db import postmaster, server, state
from ops.errors import LoginFailed, Misconfigured, NoDatabase, NotConfigured, NothingAnswers, Problem, Refused

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

STAMP = "[inv: prod]"
"""Marks a database as production, inside its comment."""
SUFFIXES = ("__next", "__prev", "__old")
PROBE_SECONDS = 0.5
"""What a local act may wait, once, for a prod that was never seen from here."""

FACTS = """
select split_part(current_setting('server_version'), ' ', 1) as version,
       current_setting('server_version_num')::int as version_num,
       current_setting('is_superuser') = 'on' as superuser,
       case when current_setting('is_superuser') = 'on'
            then current_setting('data_directory') end as data_directory,
       (select system_identifier::text from pg_control_system()) as system_id,
       (select coalesce(jsonb_object_agg(datname, to_jsonb(d) || jsonb_build_object(
                 'comment', shobj_description(d.oid, 'pg_database'),
                 'owner', pg_get_userbyid(datdba),
                 'charset', pg_encoding_to_char(encoding),
                 'space', (select spcname from pg_tablespace t where t.oid = dattablespace))), '{}')
          from pg_database d where datname = any(%s)) as databases
"""


@dataclass(frozen=True)
class Place:
    """A target with a connection to its server's maintenance database."""

    settings: Settings
    target: Target
    task: str
    conn: Connection[DictRow] = field(repr=False)
    facts: dict[str, Any] = field(repr=False)
    prod: str
    """Why this is production, in words; empty where it is not."""

    @property
    def name(self) -> str:
        return self.target.dbname

    def database(self, suffix: str = "") -> dict[str, Any] | None:
        """Return pg_database's row of our database, or of one beside it."""
        row: dict[str, Any] | None = self.facts["databases"].get(self.name + suffix)
        return row

    def look_again(self) -> None:
        """Read the facts anew, once the lock is ours."""
        self.facts.update(facts(self.conn, self.name))

    def connect(self, suffix: str = "") -> Connection[DictRow]:
        """Open a connection to our database, or to one beside it."""
        return postgres.connect(
            self.target, task=self.task, dbname=self.name + suffix, timeout=self.settings.connect_timeout
        )


def facts(conn: Connection[DictRow], name: str) -> dict[str, Any]:
    """Ask the server for everything a command needs to know, in one round trip."""
    import psycopg

    names = [name, *(name + suffix for suffix in SUFFIXES), "template1"]
    try:
        return dict(postgres.row(conn, FACTS, names))
    except psycopg.errors.InsufficientPrivilege:
        # a service that keeps pg_control_system() to itself has no identity to compare
        query = FACTS.replace("(select system_identifier::text from pg_control_system())", "null::text")
        return dict(conn.execute(query, [names]).fetchone() or {})


@contextlib.contextmanager
def opened(settings: Settings, name: str, task: str, *, writes: bool = False) -> Iterator[Place]:
    """Resolve a target, reach its server, say what it is, and yield it.

    `writes` says that the command may change the database: then more is done
    to find out whether this is production under another name.
    """
    target = resolved(settings, name)
    watch = Watch(settings, target) if writes else None
    target, conn = reach(settings, target, task)
    with conn:
        known = facts(conn, target.dbname)
        if target.embedded and not at_home(settings, known):
            conn.close()
            target = server.start(settings.root).target(settings.database)
            conn = maintenance(settings, target, task)
            known = facts(conn, target.dbname)
        reason = why_prod(settings, target, known, watch)
        place = Place(settings, target, task, conn, known, reason)
        if reason:
            remember(settings.root, place)
        if target.name == "prod" and target.rds:
            stamp_new(place)
        say(
            f"{target.name}: {target.address} (PostgreSQL {known['version']})"
            + (f", PRODUCTION: {reason}" if reason else "")
        )
        try:
            yield place
        finally:
            conn.close()


def resolved(settings: Settings, name: str) -> Target:
    """Return the target called `name` (or the setting's), the embedded server started if it is that."""
    name = target_name(name) if name else settings.target
    try:
        target = resolve(settings, name)
    except NotConfigured as error:
        from ops.rds import prod as by_rds

        target = by_rds.asked(settings, why=str(error))
    for variable in ("CONNECTION_URL", "CONNECTION_LOCAL_DOCKER_URL", "PROD_CONNECTION_URL"):
        if target and target.source == variable and settings.vars.hides(variable):
            say(f"note: {variable} of the environment hides the one saved in {settings.vars.env_file.name}")
    if target is None:
        made = state.load(settings.root)
        if made is None or not postmaster.as_remembered(made):
            made = server.start(settings.root)
        target = made.target(settings.database)
    elif name == "docker":
        from ops.db import compose

        target = compose.outside(settings.root, target)
    if len(target.dbname.encode()) > 63:
        raise Misconfigured(f"{target.source}: the database name is longer than the 63 bytes that Postgres keeps")
    hide(target.password)
    if target.rds:
        from ops.rds import prod as by_rds

        by_rds.certificates(settings, target)
    return target


def maintenance(settings: Settings, target: Target, task: str) -> Connection[DictRow]:
    """Connect to the server's maintenance database, from where ours can be made and renamed."""
    last: Problem | None = None
    for dbname in ("postgres", "template1"):
        try:
            return postgres.connect(target, task=task, dbname=dbname, timeout=settings.connect_timeout)
        except NoDatabase as error:
            last = error
    raise Problem(f"{target.address}: the server has neither postgres nor template1 to connect to") from last


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


# --- production, whatever it is called -------------------------------------------------


class Watch:
    """Looks for prod's identity beside the local work, where it was never seen.

    A tunnel leads to production under a local name; only the server's own
    identifier tells. Once seen it is remembered, so this costs a local act
    nothing from then on, and half a second at most before.
    """

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.prod: Target | None = None
        self.thread: threading.Thread | None = None
        if target.name == "prod" or target.embedded:
            return
        try:
            self.prod = prod(settings)
        except Misconfigured:  # no prod configured, or not readable: nothing to compare with
            return
        hide(self.prod.password)
        if not any(known["address"] == self.prod.address for known in seen(settings.root)):
            self.thread = threading.Thread(target=self.identify, daemon=True)
            self.thread.start()

    def identify(self) -> None:
        assert self.prod is not None
        with contextlib.suppress(Exception):
            conn = postgres.connect(self.prod, task="identify", dbname="postgres", timeout=2)
            with conn:
                note(self.settings.root, facts(conn, self.prod.dbname)["system_id"], self.prod)

    def wait(self) -> None:
        if self.thread:
            self.thread.join(PROBE_SECONDS)


def why_prod(settings: Settings, target: Target, known: dict[str, Any], watch: Watch | None) -> str:
    """Return the reason why a database is production, or nothing."""
    if target.name == "prod":
        return "the target says so"
    if target.rds:
        return f"{target.source} names an RDS host"
    for row in known["databases"].values():
        if row["datname"] != "template1" and STAMP in (row["comment"] or ""):
            return f"{row['datname']} carries the stamp {STAMP} in its comment"
    if watch and watch.prod and same_address(watch.prod, target):
        return f"{watch.prod.source} names the same database"
    if watch:
        watch.wait()
    for entry in seen(settings.root):
        if entry["system_id"] and (entry["system_id"], entry["dbname"]) == (known["system_id"], base(target.dbname)):
            return f"it is the database of {entry['address']}, seen as prod before (.local/prod.json)"
    return ""


def same_address(one: Target, other: Target) -> bool:
    """Whether two targets name one database without asking any server."""

    def key(target: Target) -> tuple[str, int, str]:
        host = target.params.get("hostaddr") or target.host.lower().rstrip(".")
        return ("loopback" if target.loopback else host, target.port, base(target.dbname))

    return key(one) == key(other)


def base(name: str) -> str:
    """Return the name that a database beside another one belongs to."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def seen(root: Path) -> list[dict[str, Any]]:
    """Return the production databases seen from this clone."""
    try:
        entries: list[dict[str, Any]] = json.loads((root / ".local" / "prod.json").read_text(encoding="utf-8"))
        return entries
    except FileNotFoundError:
        return []
    except (ValueError, OSError):
        raise Problem(
            f"{root / '.local' / 'prod.json'} is damaged: remove it, then run inv db.status -t prod"
        ) from None


def remember(root: Path, place: Place) -> None:
    """Keep the identity of a production database, so that it is known by any other name."""
    note(root, place.facts["system_id"], place.target)


def note(root: Path, system_id: str | None, target: Target) -> None:
    """Add one identity to .local/prod.json, by a rename."""
    entry = {"system_id": system_id, "dbname": base(target.dbname), "address": target.address}
    entries = seen(root)
    if entry in entries:
        return
    try:
        fd, temporary = tempfile.mkstemp(dir=local_dir(root), prefix="prod.")
        with open(fd, "w", encoding="utf-8") as file:
            json.dump([*entries, entry], file, indent=2)
        os.replace(temporary, root / ".local" / "prod.json")
    except OSError as error:  # looking at production must not need a disk to write to
        say(f"note: production's identity is not remembered: {error.strerror}")


def confirm(place: Place, act: str, given: str) -> None:
    """Ask for the database's name before a dangerous act on production.

    A name given by --confirm must be right on any target.
    """
    if given and given != place.name:
        raise Refused(f"--confirm {given} is not the name of this database, which is {place.name}: nothing was done")
    if not place.prod or given:
        return
    if not interactive():
        raise Refused(
            f"{act} on production ({place.target.address}: {place.prod}): nothing was done; "
            f"if a person has decided to, add --confirm {place.name}"
        )
    if ask(f"{act} on PRODUCTION {place.target.address}. Type the database's name to go on:") != place.name:
        raise Refused("the name does not match: nothing was done")


def stamp(place: Place, suffix: str = "") -> None:
    """Mark a production database as such, keeping the comment that it has."""
    from psycopg import sql

    comment = (place.database(suffix) or place.database() or {}).get("comment") or ""
    if place.prod and STAMP not in comment:
        place.conn.execute(
            sql.SQL("comment on database {} is {}").format(
                sql.Identifier(place.name + suffix), sql.Literal(f"{comment} {STAMP}".strip())
            )
        )


def stamp_new(place: Place) -> None:
    """Mark an RDS instance's database on the first connection to it, so that any clone knows it.

    It needs no confirmation: it changes a comment, and guards all later acts.
    """
    import psycopg

    row = place.database()
    if row is not None and STAMP not in (row["comment"] or ""):
        with contextlib.suppress(psycopg.Error):  # a replica, or a user who is not the owner
            stamp(place)
            place.look_again()


def not_maintenance(target: Target) -> None:
    """Refuse the databases that belong to the server itself."""
    if target.dbname in MAINTENANCE:
        raise Misconfigured(
            f"{target.source}: {target.dbname} belongs to the server itself: name a database of your own"
        )
