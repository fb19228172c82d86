"""The queries that take the most of a database's time, as pg_stat_statements counts them.

https://www.postgresql.org/docs/current/pgstatstatements.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import postgres
from ops.db import shown

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

MOST = 50
THERE = """
select (select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'pg_stat_statements') as schema,
       exists (select from pg_available_extensions where name = 'pg_stat_statements') as available,
       exists (select from pg_settings where name = 'pg_stat_statements.max') as loaded
"""
SLOW = """
select query, calls, total_exec_time / 1000 as total, mean_exec_time / 1000 as mean, rows,
       shared_blks_hit::float / nullif(shared_blks_hit + shared_blks_read, 0) as hit
from {schema}.pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
order by total_exec_time desc limit {most}
"""


@dataclass(frozen=True)
class Statement:
    """Statements that are the same but for their values."""

    query: str
    """Without values; what reads or writes no rows is its kind alone, and that of another user may be hidden."""
    calls: int
    """How often it was run."""
    total_seconds: float
    """How long all of these took."""
    mean_seconds: float
    """How long one took."""
    rows: int
    """That it gave or changed, in all."""
    hit_ratio: float | None
    """Of the pages that it wanted, what share was in the cache; null where it wanted none."""


@dataclass(frozen=True)
class Slow:
    """The statements that took the most time; null where the server does not count them."""

    statements: list[Statement] | None
    """The longest in sum first, 50 at most."""
    note: str | None
    """Where it does not, how it would, in words."""


def look(conn: Connection[DictRow]) -> Slow:
    """Return what took the most time in this database."""
    import psycopg

    there = postgres.row(conn, THERE)
    if why := lacking(there):
        return Slow(None, why)
    asked = SLOW.replace("{schema}", there["schema"]).replace("{most}", str(MOST))
    try:
        rows = conn.execute(asked.encode()).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return Slow(None, f'this login may not read it: grant pg_read_all_stats to "{conn.info.user}" would let it')
    except psycopg.errors.UndefinedColumn:
        return Slow(None, "the extension is of an older version: alter extension pg_stat_statements update")
    return Slow(
        [
            Statement(shown.without_values(r["query"] or ""), r["calls"], r["total"], r["mean"], r["rows"], r["hit"])
            for r in rows
        ],
        None,
    )


def lacking(there: DictRow) -> str:
    """Return what is to be done before the server counts statements; empty where it does."""
    if not there["available"]:
        return "this server has no pg_stat_statements: install its contrib package"
    steps = [] if there["loaded"] else ["shared_preload_libraries = 'pg_stat_statements', and a restart of the server"]
    steps += [] if there["schema"] else ["create extension pg_stat_statements"]
    return f"statements are not counted here: {'; then '.join(steps)}" if steps else ""
