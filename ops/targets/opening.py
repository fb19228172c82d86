"""Opening a target: resolved once, its server reached and identified, what it is said."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.declared import Kind
from config.settings import Settings
from config.targets import Target, resolve
from config.urls import unusable
from ops import postgres, row_values, silence
from ops.console import hide, say
from ops.errors import (
    LoginFailed,
    Misconfigured,
    NoDatabase,
    NotAllowed,
    NotConfigured,
    NothingAnswers,
    Problem,
)
from ops.targets import git_branch, least_login, outcome, persons, production_guard
from ops.targets.embedded import postmaster, server, state
from ops.targets.identity import Watch, facts, note, why_prod
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


@contextlib.contextmanager
def open_target(
    settings: Settings,
    name: str,
    task: str,
    *,
    writes: bool = False,
    direct: bool = False,
    announced: bool = True,
    login: least_login.Key | None = None,
) -> Iterator[OpenTarget]:
    """Resolve a target, reach its server, say what it is, and yield it.

    `writes` says that the command may change the database: then more is done
    to find out whether this is production under another name, and no pooler may stand before it. That may not either
    where what reads wants the session to itself (`direct`), as pg_dump does. `announced=False`
    is for a command whose result says it all. `login` is the role that does for it: where db.roles has made that, and
    its password is known, it is opened as that, else as the target's own user.
    """
    place: OpenTarget | None = None
    settings = settings.on(name)
    own = target = resolve_target(settings, settings.focus.name)
    watch = Watch(settings, target) if writes else None
    hiding = False
    try:
        own, target, conn, known = identified(settings, own, task, login)
        with conn:
            if (writes or direct) and known["pid"] != conn.info.backend_pid:
                raise Misconfigured(
                    f"{target.source}: a pooler stands before this server, and its sessions are not ours to lock: give the server's own address"
                )
            reason = why_prod(settings, own, known, watch)
            if target.branch:  # beside production there is only production
                main = git_branch.main_of(own)
                if why := why_prod(settings, main, {**known, "databases": known["trunk"]}, watch):
                    own, target, reason = main, git_branch.main_of(target), why
                    known = facts(conn, main.dbname)
            place = OpenTarget(settings, target, task, conn, known, reason, own)
            if hiding := bool(reason) and not row_values.hides():
                row_values.hide(True)
            place.work.pids.append(known["pid"])
            place.remember(there=place.database() is not None)
            if reason:
                note(settings.root, known["system_id"], own)
            if writes and target.rds and place.prod:
                production_guard.stamp_new(place)
            if announced:
                more = f", PRODUCTION: {reason}" if reason else git_branch.said(target)
                say(f"{target.name}: {target.address} (PostgreSQL {known['version']}){more}")
            if target is own:
                least_login.tell_without(settings, own, login, known["roles"])
            persons.shut_ended(place, None if target is own else lambda: maintenance(settings, own, task))
            try:
                yield place
            finally:
                conn.close()
    except Exception as error:
        if problem := outcome.told(error, place, target.address, writes=writes):
            raise problem from error
        raise
    finally:
        if hiding:  # what another one has begun, in whichever thread, is not ended here
            row_values.hide(False)


def identified(
    settings: Settings, own: Target, task: str, login: least_login.Key | None
) -> tuple[Target, Target, Connection[DictRow], dict[str, Any]]:
    """Connect to a target's server and ask it who it is; the embedded one is another's that has taken its port, if it says so.

    Returns the target with its own user, with the login that was taken, the connection, and the facts.
    """
    own, target, conn = reach(settings, own, task, login)
    try:
        known = facts(conn, target.dbname, target.trunk)
        if target.embedded and not is_at_home(settings, known):
            conn.close()
            made = server.start_server(settings.root).target(settings.database)
            own, target, conn = reach(settings, git_branch.followed(settings, made), task, login)
            known = facts(conn, target.dbname, target.trunk)
        if target is not own and target.branch and target.dbname not in known["databases"]:
            conn.close()  # its first use makes it, which the login of a role may not
            own, target, conn = reach(settings, own, task, None)
            known = facts(conn, target.dbname, target.trunk)
    except BaseException:
        conn.close()
        raise
    return own, target, conn, known


def resolve_target(settings: Settings, name: str, *, shown: bool = False) -> Target:
    """Return the target called `name` (or the setting's), the embedded server started if it is that.

    One that is only `shown` may lack the certificates that it will be checked against.
    """
    settings = settings.on(name)
    try:
        target = resolve(settings, settings.focus.name)
    except NotConfigured as error:
        from ops.rds import prod as by_rds

        target = by_rds.ask_rds(settings, why=str(error))
    variable = settings.focus.names.url
    if target and target.source == variable and settings.vars.hides(variable):
        say(f"note: {variable} of the environment hides the one saved in {settings.vars.env_file.name}")
    if target is None:
        made = state.load(settings.root)
        if made is None or not postmaster.is_as_remembered(made):
            made = server.start_server(settings.root)
        target = made.target(settings.database)
    elif target.kind is Kind.COMPOSE:
        from ops.targets import compose

        target = compose.outside(settings.root, target)
    if target.rds or target.kind is Kind.RDS:
        from ops.targets import iam

        target = iam.asked(settings, target)
    if why := unusable(target.params):  # db.name of invoke.yaml has not been through a URL
        raise Misconfigured(f"{target.source}: {why}")
    hide(target.password)
    if target.rds:
        from ops.rds import prod as by_rds

        try:
            by_rds.require_certificates(settings, target)
        except Problem as error:
            if not shown:
                raise
            say(f"note: the URL names the file for them, but {error}")
    target = git_branch.followed(settings, target)
    if not target.via:
        return target
    from ops.targets.tunnel import way

    return way.standing(settings, target) if shown else way.led(settings, target)


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


def reach(
    settings: Settings, own: Target, task: str, login: least_login.Key | None
) -> tuple[Target, Target, Connection[DictRow]]:
    """Connect to a target's server, with the login of a role where there is one for it, else as its own user.

    Returns the target with its own user, with the login that was taken, and the connection.
    """
    if least := least_login.least(settings, own, login):
        try:
            return own, least, maintenance(settings, least, task)
        except LoginFailed:
            if not is_taken(settings, own):
                least_login.tell_refused(least, own)
        except Problem:
            if not own.embedded:
                raise
    own, conn = reach_as_own(settings, own, task)
    return own, own, conn


def reach_as_own(settings: Settings, target: Target, task: str) -> tuple[Target, Connection[DictRow]]:
    """Connect to the target's server as its own user; the embedded one is started when it is away."""
    try:
        return target, maintenance(settings, target, task)
    except LoginFailed as error:
        if target.token:
            from ops.targets import iam

            raise iam.explained(settings, target, error) from error
        if target.rds:
            from ops.rds import prod as by_rds

            target = by_rds.read_login_again(settings, target, error)
            return target, maintenance(settings, target, task)
        if not is_taken(settings, target):
            raise
    except Problem:
        if not target.embedded:
            raise
    # away, or another program has taken its port in the meantime
    target = replace(target, params=server.start_server(settings.root).target(target.dbname).params)
    deadline = time.monotonic() + postmaster.TIMEOUT
    with silence.waiting("the embedded server to let us in"):
        while True:
            try:
                return target, maintenance(settings, target, task)
            except NothingAnswers:  # it runs, and recovers from a crash
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def is_taken(settings: Settings, target: Target) -> bool:
    """Whether what refuses us on the embedded server's port is another server, which no more than a pid file speaks against."""
    return target.embedded and not server.is_answering(settings.root, target.port)


def is_at_home(settings: Settings, known: dict[str, Any]) -> bool:
    """Whether the server that answered is the one in our own folder."""
    made = state.load(settings.root)
    if not made:
        return False
    if not known[
        "data_directory"
    ]:  # which is told to a superuser; the login of a role is taken for what its password says
        return not known["superuser"] and postmaster.is_as_remembered(made)
    path = Path(known["data_directory"])
    return path == made.data or (made.data.exists() and path.exists() and path.samefile(made.data))
