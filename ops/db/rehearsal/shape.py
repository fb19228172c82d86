"""What a target's tables are like in numbers: rows, sizes, how wide, how often null, how many values are distinct.

Nothing of their content: of pg_stats neither the most common values nor the bounds of histograms are asked for, since those
are rows' own values (https://www.postgresql.org/docs/current/view-pg-stats.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# One that was never analysed is guessed from its size
TABLES = """
select format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind, pg_catalog.pg_relation_size(c.oid) as own_bytes,
  pg_catalog.pg_total_relation_size(c.oid) as bytes,
  case when c.reltuples >= 0 and (c.reltuples > 0 or c.relpages = 0) and c.reltuples <> -1 then c.reltuples
       else pg_catalog.pg_relation_size(c.oid) / 100 end::bigint as rows
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
"""
COLUMNS = """
select format('%I.%I', schemaname, tablename) as name, attname::text as column, null_frac, n_distinct, avg_width
from pg_catalog.pg_stats where not inherited and schemaname not in ('pg_catalog', 'information_schema')
"""


@dataclass(frozen=True)
class Column:
    """A column in numbers."""

    null_share: float = 0.0
    distinct: float = 0.0
    """As n_distinct has it: a count, or below zero a share of the rows; 0 for unknown."""
    width: int = 0
    """Bytes of a value in the mean; 0 for unknown."""


@dataclass(frozen=True)
class Table:
    """A table in numbers."""

    rows: int
    own_bytes: int
    """Without its indexes."""
    bytes: int
    """With its indexes, and what is stored aside."""
    columns: Mapping[str, Column] = field(default_factory=dict)


def read(conn: Connection[DictRow]) -> dict[str, Table]:
    """Return the tables and materialized views of a database, by schema and name as SQL wants them."""
    columns: dict[str, dict[str, Column]] = {}
    for row in postgres.fetch(conn, COLUMNS):
        one = Column(row["null_frac"], row["n_distinct"], row["avg_width"])
        columns.setdefault(row["name"], {})[row["column"]] = one
    return {
        row["name"]: Table(row["rows"], row["own_bytes"], row["bytes"], columns.get(row["name"], {}))
        for row in postgres.fetch(conn, TABLES)
    }


def share(shapes: Mapping[str, Table], wanted: float, most_bytes: float) -> float:
    """Return which share of the rows to make: the wanted one, or what fits; both between 0 and 1."""
    total = sum(table.bytes for table in shapes.values())
    return min(wanted, most_bytes / total) if total else wanted
