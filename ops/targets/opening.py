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
from ops import postgres, row_values
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
from ops.targets import git_branch, outcome, production_guard
from ops.targets.embedded import postmaster, server, state
from ops.targets.identity import Watch, facts, note, why_prod
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


@contextlib.contextmanager
def open_target(
    settings: Settings, name: str, task: str, *, writes: bool = False, direct: bool = False, announced: bool = True
) -> Iterator[OpenTarget]:
    """Resolve a target, reach its server, say what it is, and yield it.

    `writes` says that the command may change the database: then more is done
    to find out whether this is production under another name, and no pooler may stand before it. That may not either
    where what reads wants the session to itself (`direct`), as pg_dump does. `announced=False`
    is for a command whose result says it all.
    """
    place: OpenTarget | None = None
    settings = settings.on(name)
    target = resolve_target(settings, settings.focus.name)
    watch = Watch(settings, target) if writes else None
    hidden = row_values.hides()
    try:
        target, conn = reach(settings, target, task)
        with conn:
            known = facts(conn, target.dbname, target.trunk)
            if target.embedded and not is_at_home(settings, known):
                conn.close()
                made = server.start_server(settings.root).target(settings.database)
                target = git_branch.followed(settings, made)
                conn = maintenance(settings, target, task)
                known = facts(conn, target.dbname, target.trunk)
            if (writes or direct) and known["pid"] != conn.info.backend_pid:
                raise Misconfigured(
                    f"{target.source}: a pooler stands before this server, and its sessions are not ours to lock: give the server's own address"
                )
            reason = why_prod(settings, target, known, watch)
            if target.branch:  # beside production there is only production
                main = git_branch.main_of(target)
                if why := why_prod(settings, main, {**known, "databases": known["trunk"]}, watch):
                    target, known, reason = main, facts(conn, main.dbname), why
            place = OpenTarget(settings, target, task, conn, known, reason)
            row_values.hide(hidden or bool(reason))
            place.work.pids.append(known["pid"])
            place.remember(there=place.database() is not None)
            if reason:
                note(settings.root, known["system_id"], target)
            if writes and target.rds and place.prod:
                production_guard.stamp_new(place)
            if announced:
                more = f", PRODUCTION: {reason}" if reason else git_branch.said(target)
                say(f"{target.name}: {target.address} (PostgreSQL {known['version']}){more}")
            try:
                yield place
            finally:
                conn.close()
    except Exception as error:
        if problem := outcome.told(error, place, target.address, writes=writes):
            raise problem from error
        raise
    finally:
        row_values.hide(hidden)


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


def reach(settings: Settings, target: Target, task: str) -> tuple[Target, Connection[DictRow]]:
    """Connect to the target's server; the embedded one is started when it is away."""
    try:
        return target, maintenance(settings, target, task)
    except LoginFailed as error:
        if not target.rds:
            raise
        from ops.rds import prod as by_rds

        target = by_rds.read_login_again(settings, target, error)
        return target, maintenance(settings, target, task)
    except Problem:
        if not target.embedded:
            raise
    # away, or another program has taken its port in the meantime
    target = replace(target, params=server.start_server(settings.root).target(target.dbname).params)
    deadline = time.monotonic() + postmaster.TIMEOUT
    while True:
        try:
            return target, maintenance(settings, target, task)
        except NothingAnswers:  # it runs, and recovers from a crash
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def is_at_home(settings: Settings, known: dict[str, Any]) -> bool:
    """Whether the server that answered is the one in our own folder."""
    made = state.load(settings.root)
    if not made or not known["data_directory"]:
        return False
    path = Path(known["data_directory"])
    return path == made.data or (made.data.exists() and path.exists() and path.samefile(made.data))
