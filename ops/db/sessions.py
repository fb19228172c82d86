"""Who is connected, and ending them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import few, to_a_person
from ops.errors import Misconfigured, Problem, Refused
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

COLUMNS = ("pid", "user", "database", "client", "application", "state", "age", "query")


@dataclass(frozen=True)
class Session:
    """A session of a person or a program, on any database of the server; null is what this user may not see."""

    pid: int
    """Of its process on the server."""
    user: str
    """Its role."""
    database: str | None
    """The one that it is connected to."""
    hidden: bool
    """Whether it is another user's, and this one may see no more than who it is."""
    client_address: str | None
    """Null also where it came by a socket of the server's own machine."""
    application: str
    """As the client calls itself."""
    state: str | None
    """As pg_stat_activity has it: active, idle, idle in transaction, and so on; starting before its first one."""
    started_at: datetime | None
    """When it was opened."""
    age_seconds: int | None
    """Since then."""
    blocked_by: list[int]
    """The pids of the sessions that hold, or ask before it for, the lock for which it waits; none where it waits for none."""
    query: str | None
    """The last one, on one line, its first 200 letters: each value in it is ?, and what reads or writes no rows is its kind alone."""


# A user who may not see another's session gets its pid, user, database and
# application, and null for the rest, even for what kind of process it is.
LIST = """
select pid, usename as user, datname as database, backend_type is null as hidden, host(client_addr) as client_address,
       application_name as application,
       case when backend_type is not null then coalesce(state, 'starting') end as state,
       backend_start as started_at, floor(extract(epoch from clock_timestamp() - backend_start))::bigint as age_seconds,
       case when wait_event_type = 'Lock' then pg_blocking_pids(pid) else '{}' end as blocked_by,
       case when backend_type is not null then left(query, 4000) end as query
from pg_stat_activity
where coalesce(backend_type, 'client backend') = 'client backend' and usename is not null and pid <> pg_backend_pid()
order by datname, backend_start
"""

# Sessions on some databases, those of extensions and subscriptions, too, but for autovacuum's, which Postgres ends
# itself; one that is hidden from us may be at work
IN_THE_WAY = """
select pid, usename as user, datname as database,
       case when backend_type is null then 'hidden' else coalesce(host(client_addr), 'local') end as client,
       application_name as application,
       case when backend_type is null then 'hidden' else coalesce(state, 'starting') end as state,
       date_trunc('second', clock_timestamp() - coalesce(state_change, backend_start))::text as age,
       backend_type is not null and coalesce(state, 'starting') in ('idle', 'starting') as idle
from pg_stat_activity
where datname = any(%s) and pid <> pg_backend_pid() and usename is not null
  and coalesce(backend_type, 'client backend') <> 'parallel worker'  -- goes with the session that it works for
order by backend_start
"""


def listed(place: OpenTarget, *, values: bool = False) -> list[Session]:
    """Return all sessions of people and programs on the target's server; with `values`, their queries as they were sent."""
    from ops.db import shown

    show = on_one_line if values else shown.without_values
    found = postgres.fetch(place.conn, LIST)
    return [Session(**{**row, "query": None if row["query"] is None else show(row["query"])}) for row in found]


def check_values(values: bool, *, json: bool) -> None:
    """Refuse to put people's data anywhere but before somebody's eyes."""
    if values and (json or not to_a_person()):
        raise Misconfigured("--values shows what is in people's rows: at a terminal only, and not with --json")


def on_one_line(query: str) -> str:
    return " ".join(query.split())[:200]


def as_row(session: Session) -> dict[str, object]:
    """Return a session for people."""
    age = None if session.age_seconds is None else length(session.age_seconds)
    client = "hidden" if session.hidden else session.client_address or "local"
    return {**vars(session), "client": client, "state": session.state or "hidden", "age": age}


def length(seconds: int) -> str:
    """Return a length of time as Postgres writes it: 3 days 04:05:06."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    if not days:
        return clock
    return f"{days} day{'s' if days > 1 else ''}" + (f" {clock}" if rest else "")


def in_the_way(conn: Connection[DictRow], names: Sequence[str]) -> list[DictRow]:
    """Return the sessions on the databases called `names`."""
    return postgres.fetch(conn, IN_THE_WAY, list(names))


def describe(session: DictRow) -> str:
    """Return a session in words, for a message."""
    application = f" {session['application']}" if session["application"] else ""
    more = f"from {session['client']}, {session['state']} for {session['age']}"
    if session["state"] == "hidden":
        more = "what it does is hidden from this user"
    return f"pid {session['pid']}{application} ({session['user']}, {more})"


def check_sessions(place: OpenTarget, names: Sequence[str], *, force: bool) -> None:
    """Refuse at once when sessions are in the way that only --force may end.

    On a local database idle ones are ended without a word; on production any
    session may be somebody's work.
    """
    prepared = postgres.fetch(place.conn, "select gid from pg_prepared_xacts where database = any(%s)", list(names))
    if prepared:
        raise Problem(
            f"the prepared transaction {prepared[0]['gid']} holds {place.name}: "
            "end it with COMMIT PREPARED or ROLLBACK PREPARED, then run again"
        )
    if force:
        return

    busy = at_work(place, names)
    if busy:
        who = few([describe(each) for each in busy], 1)
        raise Refused(f"{place.name} is in use by {who}: nothing was done; --force ends these sessions")


def at_work(place: OpenTarget, names: Sequence[str]) -> list[DictRow]:
    """Return the sessions on the databases called `names` that only --force may end."""

    def found() -> list[DictRow]:
        return [s for s in in_the_way(place.conn, names) if place.prod or not s["idle"]]

    if busy := found():
        time.sleep(0.05)  # one that is just leaving, or whose query takes a moment, is not in the way
        pids = {s["pid"] for s in busy}
        busy = [s for s in found() if s["pid"] in pids]
    return busy


def end_sessions(conn: Connection[DictRow], sessions: Sequence[dict[str, Any]]) -> None:
    """End sessions; raise `Problem` after that if there were some that this user may not end."""
    import psycopg

    left = []
    for session in sessions:
        try:
            conn.execute("select pg_terminate_backend(%s)", [session["pid"]])
        except psycopg.errors.InsufficientPrivilege:
            left.append(session)
    if left:
        raise Problem(
            f"{few([describe(each) for each in left], 1)} is in the way and this user may not end it: ask that user; "
            "pg_signal_backend is enough for all sessions but a superuser's"
        )


def settle(conn: Connection[DictRow], names: Sequence[str], seconds: float = 0.25) -> None:
    """Wait for sessions that have just been closed to be gone from the server.

    A rename that meets one sleeps for a tenth of a second.
    """
    deadline = time.monotonic() + seconds
    while in_the_way(conn, names) and time.monotonic() < deadline:
        time.sleep(0.002)
