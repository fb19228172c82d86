"""Checks of who is connected, and who is in whose way.

https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW
https://www.postgresql.org/docs/current/view-pg-locks.html, view-pg-prepared-xacts.html, functions-info.html (pg_blocking_pids)

A user without pg_read_all_stats sees of another's session who it is, and null for what it does.
"""

from __future__ import annotations

from ops.db import shown
from ops.db.diagnose.check import SEE_SESSIONS, Check, Facts, Finding, Row, Status, age, count

VERY = 12
"""How many times as long as is long, until it is red: an hour for five minutes."""

CONNECTIONS = """
select count(*) filter (where backend_type = 'client backend' or backend_type is null and datid is not null) as used,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) as most
from pg_stat_activity
"""
# One that has failed has no xact_start any more, though it goes on until it is ended
TRANSACTIONS = """
select pid, usename, application_name, state, left(query, 4000) as query,
       extract(epoch from clock_timestamp() - coalesce(xact_start, state_change))::float as seconds
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
  and coalesce(xact_start, state_change) < clock_timestamp() - make_interval(secs => {long})
"""
AT_WORK = TRANSACTIONS + "and state in ('active', 'fastpath function call')"
IDLE = TRANSACTIONS + "and starts_with(state, 'idle in transaction')"
PREPARED = """
select quote_literal(gid) as gid, owner, extract(epoch from clock_timestamp() - prepared)::float as seconds
from pg_prepared_xacts
where database = current_database() and prepared < clock_timestamp() - make_interval(secs => {long})
"""
# Who stands first in a queue: one that waits itself is in nobody's way by its own doing
BLOCKING = """
with waits as materialized (
  select pid, min(waitstart) as since from pg_locks where not granted group by pid
)
select b.pid, b.usename, b.application_name, b.state, left(b.query, 4000) as query, count(distinct w.pid) as waiting,
       max(extract(epoch from clock_timestamp() - w.since))::float as seconds
from waits w cross join lateral unnest(pg_blocking_pids(w.pid)) as p (pid) join pg_stat_activity b on b.pid = p.pid
where w.since < clock_timestamp() - make_interval(secs => {blocked})
  and b.pid not in (select pid from waits) and b.datname = current_database()
group by 1, 2, 3, 4, 5
"""
RUNNING = """
select count(*) as running from pg_stat_activity
where state = 'active' and wait_event_type is null and pid <> pg_backend_pid() and backend_type = 'client backend'
"""
HIDDEN = """
select count(*) as hidden from pg_stat_activity where backend_type is null and datname = current_database()
"""
HELD = "its locks are held, and no vacuum removes what was deleted since it began"
LACKS = "what {hidden} of the sessions of others do is hidden from {user}"


def level(seconds: float, limit: float) -> Status:
    return "red" if seconds >= VERY * limit else "yellow"


def name(row: Row) -> str:
    """Return a session as it is spoken of."""
    application = f"{row['application_name']}, " if row["application_name"] else ""
    return f"pid {row['pid']} ({application}{row['usename']})"


def query(row: Row) -> str:
    """Return what a session has last sent, without anybody's values."""
    return f": {shown.without_values(row['query'], 120)}" if row["query"] else ""


def connections(row: Row, facts: Facts) -> Finding | None:
    share = row["used"] / max(1, row["most"])
    if share < 0.75:
        return None
    end = (
        "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle' and pid <> pg_backend_pid() "
        f"and state_change < now() - interval '{facts.limits.long:g} seconds'"
    )
    return Finding(
        "red" if share >= 0.9 else "yellow",
        "max_connections",
        f"{row['used']} of {row['most']} connections are taken",
        "who comes when none is left is refused; a pool in the application, or PgBouncer, needs few for many",
        (end,),
    )


def at_work(row: Row, facts: Facts) -> Finding:
    return Finding(
        level(row["seconds"], facts.limits.long),
        name(row),
        f"a transaction is at work for {age(row['seconds'])}{query(row)}",
        HELD,
        (f"select pg_cancel_backend({row['pid']})",),
    )


def idle(row: Row, facts: Facts) -> Finding:
    failed = row["state"].endswith("(aborted)")
    return Finding(
        level(row["seconds"], facts.limits.long),
        name(row),
        f"{row['state']}, {'failed' if failed else 'begun'} {age(row['seconds'])} ago{query(row)}",
        "its connection is of no use until it is ended" if failed else HELD,
        (f"select pg_terminate_backend({row['pid']})",),
    )


def prepared(row: Row, facts: Facts) -> Finding:
    return Finding(
        level(row["seconds"], facts.limits.long),
        row["gid"],
        f"a transaction was prepared {age(row['seconds'])} ago by {row['owner']}, and not ended",
        "its locks outlive even a restart, and no vacuum removes what was deleted since it began",
        (f"rollback prepared {row['gid']}",),
    )


def blocking(row: Row, facts: Facts) -> Finding:
    act = "pg_cancel_backend" if row["state"] == "active" else "pg_terminate_backend"
    return Finding(
        level(row["seconds"], facts.limits.blocked),
        name(row),
        f"{count(row['waiting'], 'session')} wait{'s' if row['waiting'] == 1 else ''} for it, "
        f"up to {age(row['seconds'])}{query(row)}",
        "who waits for a lock is in the way of all that come after",
        (f"select {act}({row['pid']})",),
    )


def load(row: Row, facts: Facts) -> Finding | None:
    cpus = facts.cpus or 1
    if row["running"] <= 2 * cpus:
        return None
    cancel = (
        "select pg_cancel_backend(pid) from pg_stat_activity where state = 'active' and wait_event_type is null "
        f"and pid <> pg_backend_pid() order by query_start desc limit {row['running'] - 2 * cpus}"
    )
    return Finding(
        "red" if row["running"] > 4 * cpus else "yellow",
        "load",
        f"{count(row['running'], 'session')} want a processor, and there are {cpus}",
        "each waits for the others",
        (cancel,),
    )


CHECKS = (
    Check("connections", CONNECTIONS, connections, "less than three quarters of the connections are taken"),
    Check("long_transaction", AT_WORK, at_work, "no transaction is long at work", HIDDEN, LACKS, SEE_SESSIONS),
    Check("idle_in_transaction", IDLE, idle, "none is idle in a transaction", HIDDEN, LACKS, SEE_SESSIONS),
    Check("prepared_transaction", PREPARED, prepared, "no prepared transaction was forgotten"),
    Check("blocking", BLOCKING, blocking, "nobody keeps others waiting"),
    Check(
        "load",
        RUNNING,
        load,
        "there are processors enough for the sessions at work",
        HIDDEN,
        LACKS,
        SEE_SESSIONS,
        unless=lambda facts: "" if facts.cpus else "how many processors the server has is not known from here",
    ),
)
