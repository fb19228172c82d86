"""What a planner knows of tables, without the values in them: read from one database, written into another.

Of pg_stats most hold no value of any row: the share of nulls, the width, how many are distinct, how far the order on disk is that
of the values (https://www.postgresql.org/docs/current/view-pg-stats.html). The most common values, the bounds of histograms and
the elements of arrays are rows' own values: they are asked for only of columns whose values may leave, so that of others they
do not even reach this machine. Extended statistics are left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

OURS = "n.nspname not in ('pg_catalog', 'information_schema', 'inv') and n.nspname !~ '^pg_(toast|temp)'"
# Sizes are as the files are now: the planner asks them, and not pg_class
RELATIONS = f"""
select n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind, coalesce(m.amname, '')::text as method,
  c.relpages as pages, c.reltuples as tuples, c.relallvisible as visible, {{frozen}} as frozen,
  case when c.relkind in ('r', 'm', 'i')
       then coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int else 0 end as blocks,
  t.relname::text as table_name,
  array(select case when k.attnum > 0 then (select attname::text from pg_attribute where attrelid = i.indrelid and attnum = k.attnum) end
        from unnest(i.indkey) with ordinality k(attnum, place) where place <= i.indnkeyatts order by place) as keys,
  array(select case when attlen > 0 then attlen end from pg_attribute
        where attrelid = i.indexrelid and attnum <= i.indnkeyatts order by attnum) as lengths
from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join pg_am m on m.oid = c.relam
  left join pg_index i on i.indexrelid = c.oid left join pg_class t on t.oid = i.indrelid
where c.relkind in ('r', 'p', 'm', 'f', 'i', 'I') and c.relpersistence <> 't' and {OURS}
order by 1, 2
"""
MAY_READ_FILES = """
select has_function_privilege('pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)', 'execute') as may
"""
# Behind the header of its first page a B-tree has its magic number, version, root, level, fast root and level of that, and no value
HEADS = f"""
select n.nspname::text as schema, c.relname::text as name, pg_read_binary_file(pg_relation_filepath(c.oid), 24, 24, true) as head
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_am m on m.oid = c.relam
where c.relkind = 'i' and m.amname = 'btree' and c.relpages > 3 and {OURS}
"""
# Numbers that the database itself gives, and what refers to them; a truth value tells one from nobody
SAFE = f"""
with recursive surrogate as (
  select a.attrelid, a.attnum from pg_attribute a
    join pg_constraint p on p.contype = 'p' and p.conrelid = a.attrelid and p.conkey = array[a.attnum]
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    and (a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) like 'nextval(%')
  union
  select f.conrelid, f.conkey[1] from pg_constraint f
    join surrogate s on f.confrelid = s.attrelid and f.confkey = array[s.attnum] where f.contype = 'f'
)
select n.nspname::text as schema, c.relname::text as name, a.attname::text as column
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'm', 'f') and {OURS}
  and (a.atttypid = 'bool'::regtype or (a.attrelid, a.attnum) in (select attrelid, attnum from surrogate))
"""
# A partition has the rules of what it is a part of. An expression of an index is as personal as the columns in it
ATTRIBUTES = f"""
with shown as (select * from unnest(%(schemas)s::text[], %(tables)s::text[], %(columns)s::text[]) as s(schema, name, "column")),
ruled as (
  select c.oid, c.relkind, c.relname, n.nspname, o.relname as of, z.nspname as of_schema
  from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_index i on i.indexrelid = c.oid
    join pg_class o on o.oid = coalesce(pg_partition_root(coalesce(i.indrelid, c.oid)), i.indrelid, c.oid)
    join pg_namespace z on z.oid = o.relnamespace
  where c.relkind in ('r', 'p', 'm', 'f', 'i', 'I') and {OURS}
), columns as (
  select r.oid, r.nspname, r.relname, a.attname, a.attnum, case when r.relkind in ('i', 'I') then a.attnum end as number,
    a.attcollation <> 0 as is_sorted, format_type(a.atttypid, a.atttypmod) as type,
    case when r.relkind in ('i', 'I') then (
      select coalesce(bool_and((r.of_schema, r.of, t.attname) in (select schema, name, "column" from shown)), false)
      from pg_depend d join pg_attribute t on t.attrelid = d.refobjid and t.attnum = d.refobjsubid
      where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0)
    else (r.of_schema, r.of, a.attname) in (select schema, name, "column" from shown) end as is_shown
  from ruled r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
)
select c.nspname::text as schema, c.relname::text as name, c.attname::text as column, c.number, c.type, c.is_sorted, s.inherited,
  s.null_frac, s.avg_width, s.n_distinct, s.correlation,
  case when is_shown then s.most_common_vals::text end as most_common_vals,
  case when is_shown then s.most_common_freqs end as most_common_freqs,
  case when is_shown then s.histogram_bounds::text end as histogram_bounds,
  case when is_shown then s.most_common_elems::text end as most_common_elems,
  case when is_shown then s.most_common_elem_freqs end as most_common_elem_freqs,
  case when is_shown then s.elem_count_histogram end as elem_count_histogram{{ranges}}
from columns c join pg_stats s on s.schemaname = c.nspname and s.tablename = c.relname and s.attname = c.attname
order by 1, 2, c.attnum, s.inherited
"""
RANGES = "range_length_histogram", "range_empty_frac", "range_bounds_histogram"
"""In the view since 17."""
UNSEEN = f"""
select count(*) as number, min(format('%I.%I', n.nspname, c.relname)) as first
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.reltuples > 0 and {OURS}
  and not exists (select from pg_stats s where s.schemaname = n.nspname and s.tablename = c.relname)
"""
SETTINGS = """
select name, current_setting(name) as value from pg_settings
where context in ('user', 'superuser') and (category like 'Query Tuning%'
  or name in ('work_mem', 'hash_mem_multiplier', 'max_parallel_workers_per_gather', 'search_path'))
"""
"""What of the settings has a part in a plan."""

RESTORE_RELATIONS = """
select count(*) filter (where not done) as refused from (
  select pg_restore_relation_stats('schemaname', r.schema, 'relname', r.name, 'version', %(version)s::int,
    'relpages', r.pages, 'reltuples', r.tuples, 'relallvisible', r.visible, 'relallfrozen', r.frozen) as done
  from jsonb_to_recordset(%(rows)s::jsonb)
    as r(schema text, name text, kind text, pages int, tuples real, visible int, frozen int)
  join pg_class c on c.oid = to_regclass(format('%%I.%%I', r.schema, r.name)) and c.relkind::text = r.kind) done
"""
RESTORE_ATTRIBUTES = """
select count(*) filter (where not done) as refused from (
  select pg_restore_attribute_stats('schemaname', r.schema, 'relname', r.name, 'version', %(version)s::int,
    'attname', case when r.number is null then r."column" end, 'attnum', r.number, 'inherited', r.inherited,
    'null_frac', r.null_frac, 'avg_width', r.avg_width, 'n_distinct', r.n_distinct, 'correlation', r.correlation,
    'most_common_vals', r.most_common_vals, 'most_common_freqs', r.most_common_freqs, 'histogram_bounds', r.histogram_bounds,
    'most_common_elems', r.most_common_elems, 'most_common_elem_freqs', r.most_common_elem_freqs,
    'elem_count_histogram', r.elem_count_histogram, 'range_length_histogram', r.range_length_histogram,
    'range_empty_frac', r.range_empty_frac, 'range_bounds_histogram', r.range_bounds_histogram) as done
  from jsonb_to_recordset(%(rows)s::jsonb) as r(schema text, name text, "column" text, number int2, inherited bool,
    null_frac real, avg_width int, n_distinct real, correlation real, most_common_vals text, most_common_freqs real[],
    histogram_bounds text, most_common_elems text, most_common_elem_freqs real[], elem_count_histogram real[],
    range_length_histogram text, range_empty_frac real, range_bounds_histogram text)
  where exists (select from pg_attribute a where a.attrelid = to_regclass(format('%%I.%%I', r.schema, r.name))
    and (a.attnum = r.number or (r.number is null and a.attname = r."column")))) done
"""


class Column(NamedTuple):
    """A column of a table, by names as the catalogs have them."""

    schema: str
    table: str
    column: str


@dataclass(frozen=True)
class Relation:
    """A table, materialized view or index, in numbers."""

    schema: str
    name: str
    kind: str
    """As relkind of pg_class has it."""
    method: str
    """The access method: heap, btree …"""
    pages: int
    tuples: float
    visible: int
    frozen: int | None
    """These four as VACUUM or ANALYZE last found them; the last one since 18."""
    blocks: int
    """How many pages the file has now; 0 where there is none."""
    table_name: str | None
    """Of an index."""
    keys: list[str | None]
    """Of an index: its columns, None for an expression."""
    lengths: list[int | None]
    """Of an index: bytes of each, None where they differ."""
    height: int | None = None
    """Of a B-tree: levels below the root; None where the server does not tell."""


@dataclass(frozen=True)
class Statistics:
    """What a planner knows."""

    version: int
    """Of the server, as server_version_num."""
    relations: list[Relation]
    attributes: list[dict[str, Any]]
    """Rows of pg_stats, by the names of its columns, with `schema`, `name` and `column`; `number` only for one of an index."""
    settings: dict[str, str]
    """Those that have a part in a plan."""
    unseen: str = ""
    """A table whose statistics this login may not see; empty where there is none."""

    def without_values(self) -> int:
        """Return how many columns' most common values and bounds were left where they are."""
        told = {(each["schema"], each["name"], each["column"]) for each in self.attributes if not each["number"]}
        return len(told) - len({(e["schema"], e["name"], e["column"]) for e in self.attributes if has_values(e)})


def has_values(attribute: dict[str, Any]) -> bool:
    """Whether a row of statistics of a column holds values of it."""
    return not attribute["number"] and any(
        attribute.get(name) is not None for name in ("most_common_vals", "histogram_bounds", "most_common_elems")
    )


def safe_columns(conn: Connection[DictRow]) -> set[Column]:
    """Return the columns whose values tell of nobody: truth values, numbers given by the database, and what refers to them."""
    return {Column(row["schema"], row["name"], row["column"]) for row in postgres.fetch(conn, SAFE)}


def read(conn: Connection[DictRow], shown: Collection[Column] = ()) -> Statistics:
    """Return the statistics of a database, with values only of the columns `shown`; nothing is written there.

    Run it in a read-only transaction. Raises psycopg's errors.
    """
    from psycopg import sql

    version = conn.info.server_version
    frozen = "c.relallfrozen" if version >= 180000 else "null::int"
    heights = heights_told(conn)
    relations = [
        Relation(**row, height=heights.get((row["schema"], row["name"])))
        for row in conn.execute(RELATIONS.format(frozen=frozen).encode())
    ]
    ranges = "".join(
        f", case when is_shown then s.{name}{'' if 'frac' in name else '::text'} end as {name}" for name in RANGES
    )
    wanted = sorted(shown)
    found = conn.execute(
        sql.SQL(ATTRIBUTES.format(ranges=ranges if version >= 170000 else "")),
        {
            "schemas": [each.schema for each in wanted],
            "tables": [each.table for each in wanted],
            "columns": [each.column for each in wanted],
        },
    )
    attributes = [dict(row) for row in found]
    settings = {row["name"]: row["value"] for row in postgres.fetch(conn, SETTINGS)}
    return Statistics(version, relations, attributes, settings, postgres.row(conn, UNSEEN)["first"] or "")


def heights_told(conn: Connection[DictRow]) -> dict[tuple[str, str], int]:
    """Return the heights of B-trees where this login may read the server's files, as a superuser may."""
    from psycopg import errors

    if not postgres.row(conn, MAY_READ_FILES)["may"]:
        return {}
    try:
        with conn.transaction():
            rows = postgres.fetch(conn, HEADS)
    except errors.DatabaseError:  # not all that it takes is granted, as on a service, or one was moved just now
        return {}
    heights = {(row["schema"], row["name"]): height_in(row["head"]) for row in rows}
    return {name: height for name, height in heights.items() if height is not None}


BTREE_MAGIC = 0x053162
"""Of src/include/access/nbtree.h."""


def height_in(head: bytes | None) -> int | None:
    """Return the height that the head of a B-tree tells, None where that is none, or older than its pages."""
    import struct

    if not head or len(head) < struct.calcsize("<6I"):
        return None
    magic, _, _, _, root, level = struct.unpack("<6I", head)
    return level if magic == BTREE_MAGIC and root and level else None


def write(conn: Connection[DictRow], found: Statistics, attributes: list[dict[str, Any]] | None = None) -> int:
    """Write statistics into a database of PostgreSQL 18 that has the tables; return how many it did not take.

    What the database does not have is passed over. `attributes` are written instead of those that were found.
    """
    relations = [vars(each) for each in found.relations]
    refused = 0
    for query, rows in ((RESTORE_RELATIONS, relations), (RESTORE_ATTRIBUTES, attributes or found.attributes)):
        given = {"version": found.version, "rows": json.dumps(rows)}
        done = conn.execute(query.encode(), given).fetchone()
        refused += done["refused"] if done else 0
    return refused
