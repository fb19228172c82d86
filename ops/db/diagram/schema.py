"""Tables and foreign keys, as the catalog of a database has them: read in one round trip, nothing of a row among them.

Read by oid and told by name, in the order of their bytes: two databases with the same tables give the same schema, whatever the
server, its collation or its version (15 to 18; https://www.postgresql.org/docs/current/catalog-pg-constraint.html).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops import own_files, postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table"}
# A type's name is whole where its schema is not searched; partitions are their table, and neither extensions nor we are shown
SET = "select set_config('search_path', 'pg_catalog', true)"
READ = """
with shown as (
  select c.oid, n.nspname, c.relname, c.relkind::text as kind, obj_description(c.oid, 'pg_class') as comment
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'f') and not c.relispartition
    and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'inv')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    -- the book of migrations of dbmate, Rails and ours
    and not (c.relname = 'schema_migrations' and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'version'))
),
names as (
  select k.oid, k.conrelid, k.confrelid, k.contype::text, k.conname,
         (select json_agg(a.attname order by n.nr) from unnest(k.conkey) with ordinality n(num, nr)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.num) as columns,
         (select json_agg(a.attname order by n.nr) from unnest(k.confkey) with ordinality n(num, nr)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.num) as others,
         coalesce(pg_partition_root(nullif(k.confrelid, 0)), nullif(k.confrelid, 0)) as other
  from pg_constraint k where k.contype in ('p', 'u', 'f') and k.conparentid = 0 and k.conrelid in (select oid from shown)
)
select s.nspname as schema, s.relname as name, s.kind, s.comment,
       coalesce((select json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull) order by a.attnum)
                 from pg_attribute a where a.attrelid = s.oid and a.attnum > 0 and not a.attisdropped), '[]') as columns,
       coalesce((select json_agg(json_build_array(k.contype, k.conname, k.columns, k.others, n.nspname, o.relname))
                 from names k left join pg_class o on o.oid = k.other left join pg_namespace n on n.oid = o.relnamespace
                 where k.conrelid = s.oid), '[]') as constraints
from shown s
"""

ROW = {
    "kind": KINDS.__contains__,
    "columns": lambda found: own_files.is_shaped(found, [list]) and {len(each) for each in found} <= {3},
    "constraints": lambda found: own_files.is_shaped(found, [list]) and {len(each) for each in found} <= {6},
}


@dataclass(frozen=True)
class Column:
    """One of a table, in its place."""

    name: str
    type: str
    """As format_type has it, with a schema where that is neither pg_catalog nor the table's own."""
    is_required: bool
    """Whether it is not null."""
    is_key: bool
    """Whether it is of the primary key."""


@dataclass(frozen=True, order=True)
class Reference:
    """A foreign key."""

    schema: str
    table: str
    name: str
    columns: tuple[str, ...]
    to_schema: str
    to_table: str
    to_columns: tuple[str, ...]
    is_single: bool
    """Whether no two rows hold the same key: its columns are all of a primary key or unique constraint."""


@dataclass(frozen=True)
class Table:
    """One that an application made; a partitioned one stands for its partitions."""

    schema: str
    name: str
    kind: str
    """One of KINDS."""
    comment: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Schema:
    """All of a database, in the order of the bytes of its names."""

    tables: tuple[Table, ...]
    references: tuple[Reference, ...]
    """From one of these tables to another of them, or to itself."""


def read(conn: Connection[DictRow]) -> Schema:
    """Return the tables of a session's database, in a transaction that cannot write; raises psycopg's errors."""
    conn.read_only = True
    with conn.transaction():
        cursor = conn.execute(f"{SET};{READ}".encode())
        cursor.nextset()
        return made(postgres.shaped(conn, cursor.fetchall(), [ROW]))


def made(rows: list[dict[str, Any]]) -> Schema:
    """Return the schema that rows of READ tell of."""
    there = {(row["schema"], row["name"]) for row in rows}
    tables, references = list[Table](), list[Reference]()
    for row in sorted(rows, key=lambda row: (row["schema"], row["name"])):
        schema, name = row["schema"], row["name"]
        keys = [(kind, frozenset(columns)) for kind, _, columns, *_ in row["constraints"] if kind in "pu"]
        primary = next((columns for kind, columns in keys if kind == "p"), frozenset())
        tables.append(
            Table(
                schema,
                name,
                KINDS[row["kind"]],
                row["comment"] or "",
                tuple(
                    Column(column, kind.removeprefix(f"{schema}."), required, column in primary)
                    for column, kind, required in row["columns"]
                ),
            )
        )
        references += [
            Reference(
                schema,
                name,
                constraint,
                tuple(columns),
                to_schema,
                to_table,
                tuple(others),
                any(unique <= frozenset(columns) for _, unique in keys),
            )
            for kind, constraint, columns, others, to_schema, to_table in row["constraints"]
            if kind == "f" and (to_schema, to_table) in there
        ]
    return Schema(tuple(tables), tuple(sorted(references)))
