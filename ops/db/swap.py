"""Build a database beside the live one, swap names, and bring the previous one back.

What is new is built as `<name>__next`, names change in one transaction, and nothing
of value is removed before that: whenever a run is killed, there is a whole database under
the name, open to all. It leaves at most `__next` or `__old`, which the next run removes.
What clients see of the change itself is in `rename`.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres, row_values
from ops.console import say
from ops.db import create_database, load, lock, rename_database, rights, sessions, table_rows
from ops.db.roles import give
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import bound, git_branch, outcome
from ops.targets.identity import KEPT, NEXT, OLD, PREV, SUFFIXES
from ops.targets.open_target import OpenTarget
from ops.targets.production_guard import stamp

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed

LONGEST = 63 - len(NEXT)


def check_name(place: OpenTarget) -> None:
    """Refuse a name that leaves no room for the databases beside it."""
    if place.conn.info.dbname == place.name:
        raise Problem(
            f"this user is let into no other database than {place.name}, and that cannot be renamed from within: "
            "grant connect on database postgres"
        )
    if len(place.name.encode()) > LONGEST:
        raise Misconfigured(
            f"{place.name}: longer than {LONGEST} bytes leaves no room for the name's suffix: shorten it"
        )
    if place.name.endswith(SUFFIXES):
        raise Misconfigured(
            f"{place.target.source}: {place.name} is a name that the suite gives itself: name the database without the suffix"
        )


def create(place: OpenTarget) -> bool:
    """Make the database if it is not there; True if it was made."""
    check_name(place)
    with lock.hold_lock(place):
        if place.database():
            return False
        place.begin()
        create_database.create_database(place, place.name)
        place.work.done = True
        git_branch.stamp(place)
        place.remember(there=True)
        return True


class Rebuilt(NamedTuple):
    """What `rebuild` has made."""

    kept: bool
    """Whether a previous one is kept."""
    tables: list[table_rows.Table]


class Between(NamedTuple):
    """What is done to a new database between two scripts, in transactions of its own."""

    before: int
    """How many scripts come before it."""
    work: Callable[[Connection[DictRow]], None]


def rebuild(
    place: OpenTarget,
    plans: Sequence[load.Plan],
    *,
    force: bool,
    after: Sequence[Callable[[], str]],
    between: Between | None = None,
) -> Rebuilt:
    """Build the database anew from scripts and swap it in.

    `after` gives SQL for each script that belongs to the same transaction.
    Raises `Refused` at once when sessions are in the way.
    """

    def check() -> None:
        load.check_extensions(place, plans)
        load.check_client(plans)

    return exchange(
        place, lambda conn: fill(place, conn, plans, after, between), act=bound.SETUP, force=force, check=check
    )


def exchange(
    place: OpenTarget,
    content: Callable[[Connection[DictRow]], list[table_rows.Table]],
    *,
    act: str,
    force: bool,
    check: Callable[[], None] = lambda: None,
) -> Rebuilt:
    """Build a database beside the live one, have `content` fill it, and swap it in.

    `check` may refuse before anything is changed. Raises `Refused` at once when sessions are in the way.
    """
    check_name(place)
    with lock.hold_lock(place):
        live = place.database()
        check_kept(place, PREV, OLD)
        bound.check_bound(place, act, force=force)
        check()
        involved = [place.name, place.name + PREV]
        sessions.check_sessions(place, involved, force=force)
        sweep(place)
        published = bound.publications(place)
        try:
            create_database.create_database(place, place.name + NEXT, like=live, force=force, act=act)
            with place.connect(NEXT) as conn:
                tables = content(conn)
                bound.check_publications(place, published, conn, force=force, act=act)
            source = "" if live else PREV  # what was dropped had them, too
            rights.give_rights(place, rights.read_rights(place, source), NEXT)
            give.give_rights(place, NEXT)
            stamp(place, NEXT)
            git_branch.stamp(place, NEXT)
            renames = [(place.name + NEXT, place.name)]
            if live:
                renames.insert(0, (place.name, place.name + PREV))
                if place.database(PREV):
                    renames.insert(0, (place.name + PREV, place.name + OLD))
            rename_database.rename_databases(
                place, renames, force=force, more=create_database.limits(live, place.name) if live else []
            )
        except BaseException as error:
            # A login that was broken off halfway lives on in the traceback, and the server waits a
            # minute for its end: so long would it hold up the removal
            traceback.clear_frames(error.__traceback__)
            discard(place)
            if live and isinstance(error, Problem) and error.detail:
                error.detail += (f"  {place.name} is as it was",)
            raise
        let_go(place)
        kept = bool(live or place.database(PREV))
        place.remember(there=True, kept=kept, built=True)
        return Rebuilt(kept, tables)


def fill(
    place: OpenTarget,
    conn: Connection[DictRow],
    plans: Sequence[load.Plan],
    after: Sequence[Callable[[], str]],
    between: Between | None,
) -> list[table_rows.Table]:
    """Load the scripts into the new database, in one transaction unless psql has a part in it, or something else; return its tables."""
    if between or any(plan.by_psql for plan in plans):
        for number, (plan, sql) in enumerate(zip(plans, after, strict=True)):
            if between and between.before == number:
                between.work(conn)
            load.load_file(place, conn, plan, after=sql)
            conn.execute("reset all; reset role")
        if between and between.before == len(plans):
            between.work(conn)
    else:
        with conn.transaction():
            for plan, sql in zip(plans, after, strict=True):
                load.load_file(place, conn, plan, after=partial(and_reset, sql))
    return table_rows.tables(conn)


def and_reset(sql: Callable[[], str]) -> str:
    """Return SQL with what makes the next file start as psql would."""
    return f"{sql()}; reset all; reset role"


def drop(place: OpenTarget, *, force: bool) -> bool:
    """Rename the database away, so that `undo` has it; False if there was none."""
    check_name(place)
    with lock.hold_lock(place):
        check_kept(place, PREV, OLD)
        bound.check_bound(place, bound.DROP, force=force)
        if not place.database():
            sweep(place)
            return False
        sessions.check_sessions(place, [place.name, place.name + PREV], force=force)
        sweep(place)
        stamp(place)
        renames = [(place.name, place.name + PREV)]
        if place.database(PREV):
            renames.insert(0, (place.name + PREV, place.name + OLD))
        rename_database.rename_databases(place, renames, force=force)
        let_go(place)
        place.remember(there=False, kept=True)
        return True


def undo(place: OpenTarget, *, force: bool) -> bool:
    """Swap the database with the previous one, or bring that back after a drop; True if it was a swap."""
    check_name(place)
    with lock.hold_lock(place):
        if not place.database(PREV):
            raise Problem(f"there is no {place.name}{PREV} to bring back: nothing was done")
        check_kept(place, OLD)
        bound.check_bound(place, bound.UNDO, force=force)
        sessions.check_sessions(place, [place.name, place.name + PREV], force=force)
        sweep(place)
        bound.open_up(place, PREV)
        renames = [(place.name + PREV, place.name)]
        if place.database():
            rights.give_rights(place, rights.read_rights(place), PREV)
            give.give_rights(place, PREV)
            renames = [(place.name, place.name + OLD), *renames, (place.name + OLD, place.name + PREV)]
        rename_database.rename_databases(place, renames, force=force)
        swapped = place.database() is not None
        place.look_again()
        stamp(place)
        place.remember(there=True)
        return swapped


def sweep(place: OpenTarget) -> None:
    """Remove what a finished swap or a killed run has left under our own suffixes."""
    import psycopg

    names = [place.name + suffix for suffix in (NEXT, OLD)]
    for row in postgres.fetch(place.conn, "select datname as name from pg_database where datname = any(%s)", names):
        name = row["name"]
        try:
            bound.release(place, name)
            place.conn.execute(removal(name))
        except psycopg.errors.DatabaseError as error:
            if outcome.is_lost(error):
                raise
            why = row_values.message(error.diag) or str(error)
            raise Problem(
                f"{name}, left from a run before, cannot be removed ({why}): see to that, then run this again"
            ) from None


def let_go(place: OpenTarget) -> None:
    """Have the server remove the database before the previous one, without waiting for it.

    The removal is a checkpoint, which flushes every file of the new database:
    a third of a set-up's time. The server goes on when we have left, holding our
    lock; should it fail, the next run removes it first, and says why it cannot.
    """
    import psycopg

    if place.database(PREV):
        try:
            bound.release(place, place.name + OLD)
        except (psycopg.Error, Problem) as error:
            say(f"note: {place.name}{OLD} is still there, the next run removes it: {' '.join(str(error).split())}")
            return
        if place.conn.info.server_version >= 140000:  # our leaving must not cancel it
            place.conn.execute("set client_connection_check_interval = 0")
        place.conn.pgconn.send_query(removal(place.name + OLD).as_bytes(place.conn))


def discard(place: OpenTarget) -> None:
    """Remove the unfinished database; on failure the next run does it.

    Over a connection of its own: whatever broke off the build may have left the
    other one in the middle of something.
    """
    with contextlib.suppress(Exception):
        conn = postgres.connect(place.target, task=place.task, dbname=place.conn.info.dbname, timeout=5)
        with conn:
            conn.execute(f"set statement_timeout = '{rename_database.SECONDS}s'")
            conn.execute(removal(place.name + NEXT))


def removal(name: str) -> Composed:
    """Return the SQL that removes a database, ending the sessions that are on it."""
    from psycopg import sql

    return sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))


def check_kept(place: OpenTarget, *suffixes: str) -> None:
    """Refuse to touch a database beside ours that somebody else has put there."""
    for suffix in suffixes:
        row = place.database(suffix)
        if row and KEPT not in (row["comment"] or ""):
            raise Refused(
                f"{place.name}{suffix} was not put there by inv, which would remove it: "
                "give it another name (alter database … rename to …), then run this again"
            )
