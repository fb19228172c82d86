"""The tables of a database, with their rows and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


@dataclass(frozen=True)
class Table:
    """A table of the user's own."""

    name: str
    """Its schema and name, quoted where SQL wants it."""
    rows: int | None
    """Null where this user may not read it, or somebody holds it locked."""
    rows_exact: bool
    """Whether they were counted: from a million on the planner's estimate serves."""
    size_bytes: int
    """With its indexes, and what is stored aside; at the last vacuum or analyze where somebody holds it locked."""


EXACT_BELOW = 1_000_000
"""Rows up to which a table is counted; beyond it the planner's estimate serves."""

AT_ONCE = 100
"""Tables that are counted in one query."""

TABLES = """
select format('%I.%I', nspname, relname) as name,
       -- a table that was not analysed yet is guessed from its size, a partitioned one from its parts
       case when relkind = 'p' then coalesce((select sum(greatest(l.reltuples, 0))
                from pg_partition_tree(c.oid) t join pg_class l on l.oid = t.relid), 0)
            when reltuples > 0 then reltuples
            else pg_relation_size(c.oid) / 100 end::bigint as estimate,
       pg_total_relation_size(c.oid) as bytes
from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind in ('r', 'p') and nspname not in ('pg_catalog', 'information_schema', 'inv')
  and nspname not like 'pg_toast%' and nspname not like 'pg_temp%'
order by 1
"""


# To ask for the size of a file, or of an index's, waits for whoever holds it locked, or waits to: what comes behind such a one waits
# as well. What the catalog says of it does not
LOCKED = """
with held as (
  select l.relation as oid, l.pid from pg_locks l join pg_database d on d.oid = l.database
  where d.datname = current_database() and l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
)
select format('%I.%I', n.nspname, c.relname) as name, greatest(c.reltuples, 0)::bigint as estimate,
       (c.relpages::bigint + coalesce(t.relpages, 0) + coalesce((
          select sum(i.relpages) from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid in (c.oid, t.oid)), 0)
       )::bigint * current_setting('block_size')::int as bytes,
       (select array_agg(distinct h.pid) from held h
        where h.oid in (c.oid, t.oid) or h.oid in (select indexrelid from pg_index where indrelid in (c.oid, t.oid))) as pids
from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_class t on t.oid = c.reltoastrelid
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'inv')
  and n.nspname not like 'pg_toast%' and n.nspname not like 'pg_temp%'
order by 1
"""


def tables(conn: Connection[DictRow], patience: str = "") -> list[Table]:
    """Return each table with its rows, counted or estimated, and its size.

    `patience` is how long a lock is waited for, as Postgres writes it; empty: as long as is set there. Whoever must not wait
    takes `unlocked`.
    """
    found = postgres.fetch_briefly(conn, TABLES, patience)
    return with_rows(conn, found, [row["name"] for row in found], patience)


def unlocked(conn: Connection[DictRow], patience: str) -> tuple[list[Table], dict[str, list[int]]]:
    """Return each table as `tables` does, and by its name the sessions that hold one locked, whose rows are not counted then."""
    import psycopg

    try:
        return tables(conn, patience), {}
    except psycopg.errors.LockNotAvailable:
        found = conn.execute(LOCKED.encode()).fetchall()
    free = [row["name"] for row in found if not row["pids"]]
    return with_rows(conn, found, free, patience), {row["name"]: row["pids"] for row in found if row["pids"]}


def with_rows(conn: Connection[DictRow], found: Sequence[DictRow], names: Sequence[str], patience: str) -> list[Table]:
    """Return the tables that the catalog names, those of `names` counted where they are not too large."""
    small = {row["name"] for row in found if row["estimate"] < EXACT_BELOW}
    rows = counted(conn, [name for name in names if name in small], patience=patience)
    return [
        Table(row["name"], rows.get(row["name"]) if exact else row["estimate"], exact, row["bytes"])
        for row in found
        for exact in [row["name"] in small]
    ]


def counted(
    conn: Connection[DictRow], names: Sequence[str], at_once: int = AT_ONCE, patience: str = ""
) -> dict[str, int]:
    """Return the rows of each table that SQL has under these names, but of those that this user may not read or, with `patience`, that are locked."""
    import psycopg

    found: dict[str, int] = {}
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        asked = (f"select {number} as number, count(*) as rows from {name}" for number, name in enumerate(some))
        try:
            rows = postgres.fetch_briefly(conn, " union all ".join(asked), patience)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):  # locked since it was looked
            if len(some) > 1:
                found |= counted(conn, some, 1, patience)
        else:
            found |= {some[row["number"]]: row["rows"] for row in rows}
    return found


def count(table: Table) -> str:
    """Return a table's rows as people read them: ~ for an estimate, nothing where we may not look."""
    return "" if table.rows is None else f"{'' if table.rows_exact else '~'}{table.rows}"


def summary(tables: Sequence[Table]) -> str:
    """Return tables with their rows on one line."""
    return ", ".join(f"{t.name} {count(t)} rows" for t in tables) or "none"
