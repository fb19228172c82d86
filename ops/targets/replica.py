"""A target's streaming replica, at which is read in its place: where it is one of this server's, and near enough to it.

What a replica has replayed it says itself (PostgreSQL's documentation, "Recovery Information Functions"). The time of the last
transaction that it replayed is no lag where the primary is idle, and that all is replayed that it received says nothing where it
receives no more: so the primary says first how far it is, and a replica that has replayed so far lags by nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.targets import Target, read_target
from ops import postgres
from ops.console import hide, say
from ops.errors import LoginFailed, Misconfigured, NoDatabase, NothingAnswers, NoTunnel, Silent, Unreachable
from ops.targets import least_login, opening, outcome
from ops.targets.identity import facts
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PATIENCE, PAUSE = 1.0, 0.05
"""Seconds that a replica may take to replay what an idle primary has written last; and between two looks."""
PLACE = "select case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_current_wal_lsn()::text end as lsn"
STANDING = """
select pg_catalog.pg_is_in_recovery() as follows,
  coalesce(pg_catalog.pg_last_wal_replay_lsn() >= %s::text::pg_catalog.pg_lsn, false) as level,
  extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8 as seconds,
  pg_catalog.pg_last_wal_replay_lsn()::text as replayed
"""
REACHED = "select pg_catalog.pg_current_wal_lsn() >= %s::text::pg_catalog.pg_lsn as reached"
"""Asked of a primary after its replica: what a restored instance is, has written less than what follows the one before it has replayed."""
UNLOGGED = """
select count(*) as tables from pg_catalog.pg_class where relpersistence = 'u' and relkind in ('r', 'm')
"""
AWAY = (LoginFailed, NoDatabase, NoTunnel, NothingAnswers, Silent, Unreachable)


@contextlib.contextmanager
def open_for_reading(
    settings: Settings, name: str, task: str, *, login: least_login.Key | None = None
) -> Iterator[OpenTarget]:
    """Open a target as `open_target` does, and yield its replica in its place where it has one (`read_url`) that will do.

    One that is away, lags by more than `db.read_lag` or lacks rows is said in a line, and the target itself is read. Raises
    `Misconfigured` for a server that is no replica of the target's.
    """
    with opening.open_target(settings, name, task, login=login) as place:
        with opened(place) as replica:
            if replica is None:
                yield place
                return
            try:
                yield replica
            except Exception as error:
                if problem := outcome.told(error, replica, replica.target.address, writes=False):
                    raise problem from error
                raise


@contextlib.contextmanager
def opened(place: OpenTarget) -> Iterator[OpenTarget | None]:
    """Yield the replica of an open target; None: there is none, or none that will do, which is said."""
    import psycopg

    target = resolved(place)
    if target is None:
        yield None
        return
    conn: Connection[DictRow] | None = None
    try:
        try:
            conn = opening.maintenance(place.settings, target, place.task)
            found = facts(conn, target.dbname)
            check_same(place, target, found)
            replica = replace(place, target=target, conn=conn, facts=found, work=outcome.Work(pids=[found["pid"]]))
            why = unfit(place, replica)
        except AWAY as error:
            why = str(error)
        except psycopg.Error as error:  # it ended, or is of a kind that has no WAL to tell of
            if place.conn.broken:
                raise
            why = str(outcome.told(error, None, target.address, writes=False))
        if why:
            say(f"note: {place.target.name} is read itself, not its replica: {why}")
            yield None
            return
        say(f"read at its replica {target.address}")
        yield replica
    finally:
        if conn:
            conn.close()


def resolved(place: OpenTarget) -> Target | None:
    """Return the replica as a target, with the login that was taken for its primary where its URL names none."""
    settings = place.settings.on(place.target.name)
    target = read_target(settings)
    own = place.own or place.target
    if target is None:
        return None
    if target.dbname != own.dbname:
        raise Misconfigured(
            f"{target.source}: names the database {target.dbname}, and {own.name} is {own.dbname}: give the same"
        )
    taken = place.target  # the login of a role, which a replica has as well
    if taken is not own or not target.params.get("user"):
        login = {"user": taken.params.get("user", ""), "password": taken.password}
        target = replace(target.on(**login), token=taken.token)
    hide(target.password)
    target = replace(target, via=own.via)
    if target.rds:
        from ops.rds import prod
        from ops.targets import iam

        target = iam.asked(settings, target)
        prod.require_certificates(settings, target)
    if target.via:
        from ops.targets.tunnel import way

        target = way.led(settings, target)
    return target


def check_same(place: OpenTarget, target: Target, found: dict[str, Any]) -> None:
    """Raise `Misconfigured` where a server is another one than a target's, by the system identifier that replicas share."""
    ours, theirs = place.facts["system_id"], found["system_id"]
    if ours and theirs and ours != theirs:
        raise Misconfigured(
            f"{target.source}: {target.address} is no replica of {place.target.address}, it is another server: correct it"
        )


def unfit(place: OpenTarget, replica: OpenTarget) -> str:
    """Return why a replica is not read; empty where it may be. Raises `Misconfigured` for one that follows nobody."""
    target = replica.target
    if not (place.facts["system_id"] and replica.facts["system_id"]):
        return f"{target.address} does not say whose replica it is"
    here = postgres.row(place.conn, PLACE)["lsn"]
    if here is None:
        return f"{place.target.address} is a replica itself"
    lag, replayed = behind(replica, here)
    if lag is not None:
        seconds = "by an unknown time" if lag < 0 else f"by {lag:.0f} s"
        return f"{target.address} lags {seconds}, and {place.settings.read_lag:g} s are allowed (db.read_lag)"
    if replayed and not postgres.row(place.conn, REACHED, replayed)["reached"]:
        return f"{target.address} has what {place.target.address} has not, so it follows another one: correct {target.source}"
    with replica.connect() as conn:
        tables = postgres.row(conn, UNLOGGED)["tables"]
    return f"{target.address} has no rows of unlogged tables, of which there are {tables}" if tables else ""


def behind(replica: OpenTarget, primary: str) -> tuple[float | None, str | None]:
    """Return by how many seconds a replica lags, below 0 if it cannot say, None where that is allowed; and what it has replayed.

    `primary` is the place in its WAL where the primary stands.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        row = postgres.row(replica.conn, STANDING, primary)
        if not row["follows"]:
            raise Misconfigured(
                f"{replica.target.source}: {replica.target.address} is no replica, or was promoted: give one that follows"
            )
        if row["level"] or (row["seconds"] is not None and row["seconds"] <= replica.settings.read_lag):
            return None, row["replayed"]
        if time.monotonic() > deadline:
            return -1.0 if row["seconds"] is None else float(row["seconds"]), row["replayed"]
        time.sleep(PAUSE)
