"""What is bound to a database and not to its name: named before a swap, ended before a removal.

A replication slot, a subscription, a security label stay with the database that steps aside, and go with one that is
removed; a database that takes no connections is of no use under the name. None of that may happen unsaid.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import option, say
from ops.errors import Problem, Refused
from ops.targets.identity import NEXT, OLD, PREV
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

SETUP, RESTORE, PULL, DROP, UNDO, PURGE = "setup", "restore", "pull", "drop", "undo", "purge"
REPLACES = SETUP, RESTORE, PULL
"""What puts a new database in the place of the live one."""

# A temporary slot goes with its session, which is in the way by itself
FOUND = """
select 'slot' as kind, database::text as dbname, slot_name::text as name, plugin::text as more
from pg_replication_slots where slot_type = 'logical' and not temporary and database = any(%(names)s)
union all
select 'subscription', datname, subname, subslotname from pg_subscription s join pg_database d on d.oid = subdbid
where datname = any(%(names)s)
union all
select 'label', datname, provider, format('security label for %%I on database %%I is %%L', provider, datname, label)
from pg_shseclabel l join pg_database d on d.oid = objoid
where classoid = 'pg_database'::regclass and datname = any(%(names)s)
order by 1, 2, 3
"""
PUBLICATIONS = "select pubname::text as name from pg_publication order by 1"
HELD_BY = """
select datistemplate, datallowconn,
       array(select subname::text from pg_subscription where subdbid = d.oid order by 1) as subscriptions,
       array(select active_pid from pg_replication_slots where database = datname and active_pid is not null) as readers
from pg_database d where datname = %s
"""
UNSUBSCRIBE = "alter subscription {0} disable; alter subscription {0} set (slot_name = none); drop subscription {0}"
INVALID = -2
"""The connection limit of a database whose removal was broken off: nothing in it can be read (PostgreSQL 15.4 and later)."""


def found(place: OpenTarget) -> list[DictRow]:
    """Return slots, subscriptions and security labels of our databases: `kind`, `dbname`, `name`, `more`."""
    names = [name for name in place.facts["databases"] if name != "template1"]
    return place.conn.execute(FOUND, {"names": names}).fetchall()


def check_bound(place: OpenTarget, act: str, *, force: bool) -> None:
    """Name what would not go along, or be lost; raise `Refused` unless `force`.

    Raises `Problem` where not even that helps.
    """
    if act == UNDO and (place.database(PREV) or {}).get("datconnlimit") == INVALID:
        raise Problem(
            f"the removal of {place.name}{PREV} was broken off, and nothing in it can be read: nothing was done; "
            f'drop database "{place.name}{PREV}" ends it'
        )
    if lines := list(named(place, act)):
        heed(place, act, lines, force=force)


def heed(place: OpenTarget, act: str, lines: Sequence[str], *, force: bool) -> None:
    """Say what is left behind or lost; raise `Refused` unless `force`."""
    if not force:
        raise Refused(
            f"db.{act} would not leave everything of {place.name} as it is: nothing was done{option('force', '; --force goes on all the same')}",
            *(f"  {line}" for line in lines),
        )
    for line in lines:
        say(f"note: {line}")


def named(place: OpenTarget, act: str) -> Iterator[str]:
    """Yield a line for each thing that a swap leaves behind, ends or opens."""
    live, prev = place.database(), place.database(PREV)
    goes = {place.name + suffix for suffix in (NEXT, OLD)}
    if act != UNDO and live:
        goes.add(place.name + PREV)
    for row in found(place):
        name, dbname, more = row["name"], row["dbname"], row["more"]
        if row["kind"] == "label":
            if dbname == place.name and act in REPLACES:
                yield f"the security label by {name} is not given to the new database; after that, {more} does"
        elif dbname in goes:
            yield of_removed(row)
        elif dbname == place.name and act != PURGE:
            stays = f"stays with it when it becomes {place.name}{PREV}"
            if row["kind"] == "slot":
                yield f"the replication slot {name} ({more}) reads {dbname} and {stays}: whoever reads it gets nothing of what comes in its place"
            else:
                yield f"the subscription {name} fills {dbname} and {stays}: nothing fills what comes in its place"
    for suffix in (PREV, OLD, NEXT):
        beside = place.database(suffix)
        if beside and place.name + suffix in goes and beside["datistemplate"] and not (live and live["datistemplate"]):
            yield f"{place.name}{suffix} is marked as a template, and is removed"
    if act in REPLACES and is_closed(live):
        yield f"{place.name} allows no connections: the new database will"
    if act == UNDO and is_closed(prev):
        yield f"{place.name}{PREV} allows no connections: under the name it will"


def of_removed(row: DictRow) -> str:
    """Return what becomes of a slot or a subscription when its database is removed."""
    if row["kind"] == "slot":
        return f"the replication slot {row['name']} ({row['more']}) goes with {row['dbname']}, which is removed"
    slot = row["more"]
    there = f"; its slot stays on the server that it reads from: there, select pg_drop_replication_slot('{slot}')"
    return f"the subscription {row['name']} goes with {row['dbname']}, which is removed{there if slot else ''}"


def is_closed(row: dict[str, Any] | None) -> bool:
    """Whether a database is there and allows no connections."""
    return row is not None and (not row["datallowconn"] or row["datconnlimit"] == INVALID)


def stake(place: OpenTarget) -> str:
    """Return what is bound to our databases, in a few words for a question; empty where there is nothing."""
    words = {"slot": "replication slot", "subscription": "subscription", "label": "security label of"}
    rows = [f"{words[row['kind']]} {row['name']} of {row['dbname']}" for row in found(place)]
    return f"; bound to it: {', '.join(rows)}" if rows else ""


def publications(place: OpenTarget) -> list[str]:
    """Return the publications of the live database; they publish nothing, and are not asked for, where the WAL is not logical."""
    if not place.facts["logical"] or not place.database() or is_closed(place.database()):
        return []
    try:
        with place.connect() as conn:
            return [row["name"] for row in postgres.fetch(conn, PUBLICATIONS)]
    except Problem as error:  # it takes no more connections
        say(f"note: whether {place.name} has publications is not known ({error})")
        return []


def check_publications(
    place: OpenTarget, before: Sequence[str], conn: Connection[DictRow], *, force: bool, act: str = SETUP
) -> None:
    """Name the publications that the new database lacks; raise `Refused` unless `force`."""
    if not before:
        return
    now = {row["name"] for row in postgres.fetch(conn, PUBLICATIONS)}
    if lines := [
        f"the publication {name} is in {place.name}, and the files make none for the new database"
        for name in before
        if name not in now
    ]:
        heed(place, act, lines, force=force)


def open_up(place: OpenTarget, suffix: str) -> None:
    """Let a database take connections again."""
    from psycopg import sql

    if is_closed(place.database(suffix)):
        name = sql.Identifier(place.name + suffix)
        place.conn.execute(sql.SQL("alter database {} allow_connections true").format(name))


def release(place: OpenTarget, name: str) -> None:
    """End what keeps Postgres from removing a database of ours: a template's mark, subscriptions, readers of slots.

    A subscription's slot is on another server, where it may serve somebody else by now: it stays, and `of_removed`
    has told the line that drops it.
    """
    from psycopg import sql

    rows = postgres.fetch(place.conn, HELD_BY, name)
    if not rows:
        return
    [row], target = rows, sql.Identifier(name)
    if row["datistemplate"]:
        place.conn.execute(sql.SQL("alter database {} is_template false").format(target))
    if row["subscriptions"]:
        if not row["datallowconn"]:
            place.conn.execute(sql.SQL("alter database {} allow_connections true").format(target))
        with postgres.connect(
            place.target, task=place.task, dbname=name, timeout=place.settings.connect_timeout
        ) as conn:
            for subscription in map(sql.Identifier, row["subscriptions"]):
                conn.execute(sql.SQL(UNSUBSCRIBE).format(subscription))
    readers, deadline = row["readers"], time.monotonic() + 2
    while readers and time.monotonic() < deadline:  # after that, the removal says so
        place.conn.execute("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", [readers])
        time.sleep(0.01)
        readers = postgres.row(place.conn, HELD_BY, name)["readers"]
