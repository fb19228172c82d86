"""What runs where: version, tables with row counts, sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.db import seed
from ops.db.identity import PREV
from ops.db.place import Place
from ops.errors import NoDatabase

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

EXACT_BELOW = 1_000_000
"""Rows up to which a table is counted; beyond it the planner's estimate serves."""

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


def report(place: Place) -> dict[str, Any]:
    """Return the facts of a target, as db.status --json prints them; sizes in bytes."""
    import psycopg

    live, kept = place.database(), place.database(PREV)
    found: dict[str, Any] = {
        "target": place.target.name,
        "source": place.target.source,
        "address": place.target.address,
        "version": place.facts["version"],
        "tls": bool(place.conn.pgconn.ssl_in_use),
        "prod": place.prod or None,
        "exists": live is not None,
        "previous": kept["datname"] if kept else None,
        "bytes": None,
        "tables": [],
        "seeds": [],
    }
    if live:
        try:
            with place.connect() as conn:
                found["bytes"] = postgres.row(conn, "select pg_database_size(current_database()) as bytes")["bytes"]
                found["tables"] = tables(conn)
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    found["seeds"] = seed.applied(conn)
        except NoDatabase:  # dropped between the two looks
            found["exists"] = False
    return found


def tables(conn: Connection[DictRow]) -> list[dict[str, Any]]:
    """Return each table with its rows, counted or estimated, and its size in bytes."""
    import psycopg
    from psycopg import sql

    found = []
    for row in postgres.fetch(conn, TABLES):
        rows: int | None = row["estimate"]
        if row["estimate"] < EXACT_BELOW:
            try:
                counted = conn.execute(sql.SQL("select count(*) as rows from " + row["name"])).fetchone()
                rows = counted["rows"] if counted else None
            except psycopg.errors.InsufficientPrivilege:
                rows = None
        found.append(
            {"table": row["name"], "rows": rows, "exact": row["estimate"] < EXACT_BELOW, "bytes": row["bytes"]}
        )
    return found


def count(table: dict[str, Any]) -> str:
    """Return a table's rows as people read them: ~ for an estimate, nothing where we may not look."""
    return "" if table["rows"] is None else f"{'' if table['exact'] else '~'}{table['rows']}"


def summary(tables: Sequence[dict[str, Any]]) -> str:
    """Return tables with their rows on one line."""
    return ", ".join(f"{t['table']} {count(t)} rows" for t in tables) or "none"


def human(size: int | None) -> str:
    """Return a size in bytes as people read it."""
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
