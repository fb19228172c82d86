"""A database at one moment: how much is going on there, in one round trip that is cheap enough for every other second.

https://www.postgresql.org/docs/current/monitoring-stats.html (pg_stat_activity, pg_stat_database, pg_stat_replication);
https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-INFO-TABLE
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# Whoever may not see another's session gets null for its state and its times
MOMENT = """
select s.*, d.blks_hit as hit, d.blks_read as read, d.xact_commit + d.xact_rollback as ended,
  case when pg_is_in_recovery() then
    case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
         else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end
    else (select max(extract(epoch from replay_lag)) from pg_stat_replication) end::float as lag,
  (select count(*) from pg_stat_replication)::int as replicas, pg_is_in_recovery() as is_replica,
  current_setting('max_connections')::int as most
from pg_stat_database d, (
  select count(*)::int as connections, count(*) filter (where state = 'active')::int as active,
         count(*) filter (where wait_event_type = 'Lock')::int as waiting,
         max(extract(epoch from clock_timestamp() - xact_start)) filter (where pid <> pg_backend_pid())::float as oldest
  from pg_stat_activity where coalesce(backend_type, 'client backend') = 'client backend' and usename is not null
) s
where d.datname = current_database()
"""
SIZE = "select pg_database_size(current_database()) as bytes"


@dataclass(frozen=True)
class Now:
    """A target at one moment; null is what nobody answers for."""

    looked_at: datetime
    """When that was."""
    reachable: bool
    """Whether it answers."""
    problem: str | None
    """Why not, in words."""
    connections: int | None = None
    """Sessions of people and programs, on all databases of the server."""
    connections_most: int | None = None
    """How many the server lets in."""
    active: int | None = None
    """Of these, those that are at work."""
    waiting: int | None = None
    """Of these, those that wait for a lock."""
    oldest_transaction_seconds: float | None = None
    """How long the oldest transaction lasts, of those that this login may see; null where there is none."""
    transactions: int | None = None
    """That have ended in the database since the look before; null at the first look."""
    hit_ratio: float | None = None
    """Of the pages that were wanted since the look before, at the first one since the statistics began, what share was in the cache."""
    size_bytes: int | None = None
    """Of the database; looked at once a minute."""
    is_replica: bool | None = None
    """Whether the server is one."""
    replicas: int | None = None
    """How many stream from it."""
    replica_lag_seconds: float | None = None
    """How far the replica is behind, or the last of those that stream from the server; null where there is none."""


class Counters(NamedTuple):
    """What only grows, as it was at the look before."""

    hit: int
    read: int
    ended: int


def away(problem: str) -> Now:
    """Return a target that does not answer."""
    return Now(datetime.now(timezone.utc), False, problem)


def look(conn: Connection[DictRow], before: Counters | None, size: int | None) -> tuple[Now, Counters]:
    """Return a database as it is now; `size` is what is known of it, else it is asked for."""
    row = postgres.row(conn, MOMENT)
    counters = Counters(row["hit"], row["read"], row["ended"])
    since = before or Counters(0, 0, 0)
    hit, read = counters.hit - since.hit, counters.read - since.read
    return Now(
        looked_at=datetime.now(timezone.utc),
        reachable=True,
        problem=None,
        connections=row["connections"],
        connections_most=row["most"],
        active=row["active"],
        waiting=row["waiting"],
        oldest_transaction_seconds=row["oldest"],
        transactions=counters.ended - before.ended if before else None,
        hit_ratio=hit / (hit + read) if hit + read > 0 and hit >= 0 <= read else None,
        size_bytes=postgres.row(conn, SIZE)["bytes"] if size is None else size,
        is_replica=row["is_replica"],
        replicas=row["replicas"],
        replica_lag_seconds=row["lag"],
    ), counters
