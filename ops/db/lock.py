"""One run at a time on a database, and a face for the one that holds it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops import postgres, silence
from ops.console import say
from ops.errors import Problem
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# Advisory locks belong to one database: taken on the maintenance database they
# hold while ours is renamed, and the server drops them with the session.

TRY = "select pg_try_advisory_lock(hashtextextended('inv:' || %s, 0)) as got"
QUIET = 0.5
"""Seconds that a run waits before it says for whom: the one before may just be done, and the server still removing."""

HOLDER = """
select pid, application_name as application, coalesce(host(client_addr), 'local') as client,
       to_char(backend_start, 'HH24:MI:SS TZ') as since, backend_type is null as hidden
from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and granted and objsubid = 1
  and (classid::bigint << 32 | objid::bigint) = hashtextextended('inv:' || %s, 0)
"""


@contextlib.contextmanager
def hold_lock(place: OpenTarget) -> Iterator[None]:
    """Hold the lock of the place's database, and read its facts anew.

    Waits `lock_timeout` seconds for another run, saying whose; then `Problem`.
    """
    import psycopg
    from psycopg.pq import TransactionStatus

    conn = place.conn
    if not postgres.row(conn, TRY, place.name)["got"] and not wait_for_lock(conn, place.name, QUIET):
        say(f"waiting for {holder(place)}")
        seconds = place.settings.lock_timeout
        if not wait_for_lock(conn, place.name, seconds):
            raise Problem(
                f"still held after {seconds:.0f} s (db.lock_timeout) by {holder(place)}: wait for it, or end that session, then run again"
            )
    place.look_again()
    yield
    # A run that was broken off gives it back with its session, and so does one that left a removal to the server
    if conn.info.transaction_status is TransactionStatus.IDLE:
        with contextlib.suppress(psycopg.Error):  # a lost connection has lost its locks too
            conn.execute("select pg_advisory_unlock(hashtextextended('inv:' || %s, 0))", [place.name])


def wait_for_lock(conn: Connection[DictRow], name: str, seconds: float) -> bool:
    """Wait for the lock; True when it is ours."""
    import psycopg

    conn.execute(f"set lock_timeout = {round(seconds * 1000)}")
    try:
        with silence.quiet(conn, silence.ALL):  # for whom it waits is said, by name
            conn.execute("select pg_advisory_lock(hashtextextended('inv:' || %s, 0))", [name])
    except psycopg.errors.LockNotAvailable:
        return False
    conn.execute("set lock_timeout = 0")  # a RESET would bring back the role's
    return True


def holder(place: OpenTarget) -> str:
    """Return who holds the lock, in words."""
    rows = postgres.fetch(place.conn, HOLDER, place.name)
    if not rows:
        return "another run on this database"
    row = rows[0]
    more = "" if row["hidden"] else f", from {row['client']}, since {row['since']}"
    return f"{row['application'] or 'another run'} (pid {row['pid']}{more})"
