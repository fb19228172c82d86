"""The tables of a database as a person looks at them: columns with comments, indexes with what they are used for, sizes.

All from the catalog in a few statements, and nothing is locked: functions that open a table (pg_get_indexdef, pg_get_expr,
pg_relation_size) wait behind whoever alters it, so definitions come with a short lock_timeout, and sizes from pg_class.
https://www.postgresql.org/docs/current/catalogs.html, monitoring-stats.html (pg_stat_user_tables, pg_stat_user_indexes)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.db.diagnose import constraints, indexes, tables
from ops.db.diagnose.check import BLOCK, NAME, OURS, OURS_OF_INDEX

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

TABLES = f"""
select c.oid::bigint as oid, {NAME} as object, n.nspname as schema, c.relname as name, obj_description(c.oid, 'pg_class') as comment,
       case when c.reltuples >= 0 then c.reltuples::bigint end as rows,
       c.relpages::bigint * {BLOCK} as bytes, coalesce(t.relpages::bigint * {BLOCK}, 0) as aside,
       c.relkind = 'p' as partitioned, c.relispartition as partition, s.n_dead_tup as dead,
       greatest(s.last_vacuum, s.last_autovacuum) as vacuumed, greatest(s.last_analyze, s.last_autoanalyze) as analyzed,
       s.seq_scan as scans
from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_class t on t.oid = c.reltoastrelid
left join pg_stat_user_tables s on s.relid = c.oid
where c.relkind in ('r', 'p') and {OURS} order by 2, 3
"""
COLUMNS = f"""
select a.attrelid::bigint as oid, a.attname as name, format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as nullable,
       case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as "default", a.attidentity <> '' as identity,
       a.attgenerated <> '' as generated, col_description(a.attrelid, a.attnum) as comment
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relkind in ('r', 'p') and {OURS} and a.attnum > 0 and not a.attisdropped order by a.attrelid, a.attnum
"""
INDEXES = f"""
select x.indrelid::bigint as oid, {NAME} as object, c.relname as name, pg_get_indexdef(x.indexrelid) as definition, x.indisunique as "unique",
       x.indisprimary as "primary", x.indisvalid as valid, c.relpages::bigint * {BLOCK} as bytes, s.idx_scan as scans
from pg_index x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
left join pg_stat_user_indexes s on s.indexrelid = x.indexrelid
where {OURS_OF_INDEX} order by x.indrelid, not x.indisprimary, c.relname
"""
OF_ANY = "c.relpages > 1"
"""The estimates of db.diagnose are made here of small ones, too."""
EMPTY = (tables.BLOAT.replace(tables.OF_LARGE, OF_ANY), indexes.BLOAT.replace(indexes.OF_LARGE, OF_ANY))
LOCK_TIMEOUT = "250ms"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """As it is called."""
    type: str
    """As Postgres writes it."""
    nullable: bool
    """Whether it may be null."""
    default: str | None
    """What a row gets that names no value for it, as SQL."""
    identity: bool
    """Whether it numbers its rows by itself."""
    generated: bool
    """Whether it is reckoned from others."""
    comment: str | None
    """What its comment says."""


@dataclass(frozen=True)
class Index:
    """An index of a table."""

    name: str
    """As it is called."""
    definition: str
    """The statement that makes it."""
    unique: bool
    """Whether it lets each value in once."""
    primary: bool
    """Whether it is that of the primary key."""
    valid: bool
    """Whether its making came to an end."""
    size_bytes: int
    """At the last vacuum or analyze."""
    empty_bytes: int | None
    """Of its size that is empty, as db.diagnose estimates it by the statistics; null where they do not tell, or it is no B-tree."""
    scans: int | None
    """How often it was read since the statistics began."""


@dataclass(frozen=True)
class Missing:
    """An index that is not there, as db.diagnose looks for them: a foreign key of a table with rows has none."""

    what: str
    """What has none, in words."""
    cost: str
    """What that costs, in words."""
    statement: str
    """That makes it; it was not run."""


@dataclass(frozen=True)
class Described:
    """A table of the user's own; null is what nobody has counted yet."""

    schema: str
    """The schema that it is in."""
    name: str
    """As it is called."""
    comment: str | None
    """What its comment says."""
    rows: int | None
    """As the planner estimates them."""
    dead_rows: int | None
    """That the next vacuum removes."""
    size_bytes: int
    """Without its indexes, at the last vacuum or analyze."""
    empty_bytes: int | None
    """Of it, that is empty, as db.diagnose estimates it by the statistics; null where they do not tell."""
    partitioned: bool
    """Whether it is in parts."""
    partition: bool
    """Whether it is a part of another one."""
    scans: int | None
    """How often it was read whole since the statistics began."""
    vacuumed_at: datetime | None
    """When it was last vacuumed, by somebody or by itself."""
    analyzed_at: datetime | None
    """When its statistics were last made."""
    columns: list[Column]
    """In their order."""
    indexes: list[Index]
    """That of the primary key first."""
    missing_indexes: list[Missing]
    """Those that db.diagnose would have made for its foreign keys."""


def look(conn: Connection[DictRow]) -> list[Described]:
    """Return the tables of a database by schema and name; raises psycopg's errors, `LockNotAvailable` where one is being altered."""
    with conn.transaction():
        conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
        rows = conn.execute(TABLES.encode()).fetchall()
        columns = grouped(conn.execute(COLUMNS.encode()).fetchall())
        of_tables = grouped(conn.execute(INDEXES.encode()).fetchall())
        conn.execute("set local search_path = pg_catalog")  # as those of db.diagnose want it
        empty = {row["object"]: row["wasted"] for text in EMPTY for row in conn.execute(text.encode())}
        missing = defaultdict[str, list[Missing]](list)
        for row in conn.execute(constraints.WITHOUT_INDEX.encode()):
            found = constraints.without_index(row)
            missing[found.object].append(Missing(found.what, found.cost, found.mend[0]))
    return [
        Described(
            schema=row["schema"],
            name=row["name"],
            comment=row["comment"],
            rows=row["rows"],
            dead_rows=row["dead"],
            size_bytes=row["bytes"] + row["aside"],
            empty_bytes=in_bytes(empty.get(row["object"])),
            partitioned=row["partitioned"],
            partition=row["partition"],
            scans=row["scans"],
            vacuumed_at=row["vacuumed"],
            analyzed_at=row["analyzed"],
            columns=[Column(**each) for each in columns[row["oid"]]],
            indexes=[
                Index(
                    **{k: v for k, v in each.items() if k not in ("bytes", "object")},
                    size_bytes=each["bytes"],
                    empty_bytes=in_bytes(empty.get(each["object"])),
                )
                for each in of_tables[row["oid"]]
            ],
            missing_indexes=missing[row["object"]],
        )
        for row in rows
    ]


def in_bytes(pages: float | None) -> int | None:
    """Return a number of pages in bytes; none below zero, where the estimate was too high."""
    return None if pages is None else max(0, round(pages)) * BLOCK


def grouped(rows: list[DictRow]) -> defaultdict[int, list[DictRow]]:
    """Return rows by the table that they are of, without its oid."""
    found: defaultdict[int, list[DictRow]] = defaultdict(list)
    for row in rows:
        found[row["oid"]].append({key: value for key, value in row.items() if key != "oid"})
    return found
