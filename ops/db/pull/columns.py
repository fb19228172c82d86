"""What a source holds, as far as a copy has to know: tables, columns, keys; nothing of a row's content.

Whether a column's values look like addresses or numbers of people is asked of the server's own statistics there, and only
the answer, yes or no, comes back (https://www.postgresql.org/docs/current/view-pg-stats.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# What an extension has made, it makes again; what is in `inv` is what the suite remembers of that one database
OURS = """
n.nspname not in ('pg_catalog', 'information_schema', 'inv') and n.nspname !~ '^pg_(toast|temp)'
and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
"""
TABLES = f"""
select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name, format('%I.%I', n.nspname, c.relname) as quoted,
  c.relkind::text as kind, pg_catalog.has_table_privilege(c.oid, 'select') as readable,
  pg_catalog.row_security_active(c.oid) as hides, c.relpersistence = 'u' and pg_catalog.pg_is_in_recovery() as absent,
  (select coalesce(sum(case when l.reltuples >= 0 then l.reltuples else pg_catalog.pg_relation_size(l.oid) / 100 end), 0)::bigint from pg_catalog.pg_class l
    where l.oid in (select relid from pg_catalog.pg_partition_tree(c.oid) where isleaf union select c.oid)) as rows,
  (select coalesce(sum(pg_catalog.pg_relation_size(l.relid)), 0)::bigint
    from (select relid from pg_catalog.pg_partition_tree(c.oid) where isleaf union select c.oid) l) as bytes,
  array(select format('%I.%I', ln.nspname, l.relname) from pg_catalog.pg_partition_tree(c.oid) t
    join pg_catalog.pg_class l on l.oid = t.relid join pg_catalog.pg_namespace ln on ln.oid = l.relnamespace
    where t.isleaf and c.relkind = 'p' and l.relkind = 'r' order by 1) as leaves
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and {OURS}
order by 2, 3
"""
# A domain is masked as what it is made of
COLUMNS = f"""
with recursive made (oid, base, modifier, filled) as (
  select t.oid, t.oid, -1, false from pg_catalog.pg_type t where t.typtype <> 'd'
  union all
  select t.oid, m.base, case when t.typtypmod >= 0 then t.typtypmod else m.modifier end, m.filled or t.typnotnull
  from pg_catalog.pg_type t join made m on m.oid = t.typbasetype where t.typtype = 'd'
)
select c.oid::bigint as oid, a.attname::text as name, quote_ident(a.attname) as quoted,
  pg_catalog.format_type(a.atttypid, a.atttypmod) as type, pg_catalog.format_type(a.atttypid, null) as plain_type,
  a.atttypid::bigint as type_oid, b.oid::bigint as base_oid, b.typname::text as base, b.typcategory::text as category,
  pg_catalog.format_type(b.oid, case when t.typtype = 'd' then m.modifier else a.atttypmod end) as base_type,
  case when t.typtype = 'd' then m.modifier else a.atttypmod end as modifier,
  a.attnotnull or m.filled as filled, a.attgenerated <> '' as computed,
  a.attidentity <> '' as identity, coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') as value, e.typname::text as element,
  exists (select from pg_catalog.pg_stats s where s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
    and (s.most_common_vals::text ~ '[^ @,"]@[A-Za-z0-9-]+\\.' or s.histogram_bounds::text ~ '[^ @,"]@[A-Za-z0-9-]+\\.')) as mails
from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_type t on t.oid = a.atttypid join made m on m.oid = t.oid join pg_catalog.pg_type b on b.oid = m.base
  left join pg_catalog.pg_type e on e.oid = b.typelem and b.typcategory = 'A'
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p') and not c.relispartition and {OURS}
order by a.attrelid, a.attnum
"""
# An index of a constraint has its columns; one over an expression depends on those in it
UNIQUE = """
select i.indrelid::bigint as oid, x.relname::text as name, i.indisprimary as main, i.indisexclusion as excludes,
  coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) as nulls_alike, i.indpred is not null as partial,
  array(select a.attname::text from pg_catalog.pg_attribute a where a.attrelid = i.indrelid and a.attnum > 0 and (
    a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]) or exists (select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid and d.refobjid = i.indrelid and d.refobjsubid = a.attnum
        and i.indexprs is not null)) order by 1) as columns
from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
where (i.indisunique or i.indisexclusion) and i.indislive
order by 1, 2
"""
FOREIGN = """
select distinct on (root, k.confrelid, columns::text) root, k.confrelid::bigint as parent, k.conname::text as name, columns, keys
from (select *, coalesce(pg_catalog.pg_partition_root(conrelid), conrelid)::bigint as root from pg_catalog.pg_constraint where contype = 'f') k
  cross join lateral (select
    array(select a.attname::text from unnest(k.conkey) with ordinality u(n, place) join pg_catalog.pg_attribute a
      on a.attrelid = k.conrelid and a.attnum = u.n order by u.place) as columns,
    array(select a.attname::text from unnest(k.confkey) with ordinality u(n, place) join pg_catalog.pg_attribute a
      on a.attrelid = k.confrelid and a.attnum = u.n order by u.place) as keys) as names
where not exists (select from pg_catalog.pg_class p where p.oid = k.confrelid and p.relispartition)
order by root, k.confrelid, columns::text, k.conname
"""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    table: str
    """As SQL wants it, with its schema."""
    name: str
    quoted: str
    type: str
    """As SQL wants it, with length or precision."""
    plain_type: str
    """Without."""
    oids: tuple[int, int]
    """Of its type, and of what that is made of, where it is a domain."""
    base: str
    """The type that it is in the end, by pg_type's name: text, int4."""
    base_type: str
    """The same as SQL wants it."""
    category: str
    """Of that type, as typcategory has it."""
    element: str
    """Of an array: the element's type, by pg_type's name."""
    modifier: int
    filled: bool
    """Whether it refuses null."""
    computed: bool
    """Whether it is generated from others."""
    numbered: bool
    """Whether the server makes its values itself: identity, a sequence, a random uuid."""
    mails: bool
    """Whether its values look like e-mail addresses, as the server's statistics say."""

    @property
    def limit(self) -> int:
        """The most letters that a text may have; 0 for any number."""
        return self.modifier - 4 if self.base in ("varchar", "bpchar") and self.modifier > 4 else 0


class Unique(NamedTuple):
    """A key that no two rows of a table have in common."""

    name: str
    columns: tuple[str, ...]
    main: bool
    """Whether it is the primary one."""
    nulls_alike: bool
    whole: bool
    """Whether it holds for all rows, and by equality."""


class Foreign(NamedTuple):
    """A foreign key: which columns point to which of the parent's."""

    name: str
    parent: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass
class Table:
    """A table whose rows can be copied; one in partitions is one table."""

    schema: str
    name: str
    quoted: str
    """As SQL wants it, with its schema."""
    readable: bool
    hides: bool
    """Whether row security would hide rows from this login."""
    absent: bool
    """Whether a replica has none of its rows, since it is unlogged."""
    rows: int
    """As the server estimates them."""
    bytes: int
    leaves: list[str]
    """Its partitions, as SQL wants them, where it has any."""
    partitioned: bool
    columns: dict[str, Column] = field(default_factory=dict)
    unique: list[Unique] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)

    @property
    def plain(self) -> str:
        """Its name with its schema, unquoted."""
        return f"{self.schema}.{self.name}"


GENERATES = (
    "nextval(", "gen_random_uuid()", "uuidv4()", "uuidv7()", "uuid_generate_v1()", "uuid_generate_v1mc()", "uuid_generate_v4()",
)  # fmt: skip
NUMBERS = ("int2", "int4", "int8", "uuid")


def read(conn: Connection[DictRow]) -> dict[str, Table]:
    """Return the tables of a database, by schema and name as SQL wants them."""
    by_oid: dict[int, Table] = {}
    for row in conn.execute(TABLES.encode()):
        by_oid[row["oid"]] = Table(
            row["schema"], row["name"], row["quoted"], row["readable"], row["hides"], row["absent"], row["rows"], row["bytes"], row["leaves"], row["kind"] == "p"
        )  # fmt: skip
    for row in conn.execute(COLUMNS.encode()):
        if table := by_oid.get(row["oid"]):
            table.columns[row["name"]] = column(table.quoted, row)
    for row in conn.execute(UNIQUE.encode()):
        if (table := by_oid.get(row["oid"])) and row["columns"]:
            whole = not row["partial"] and not row["excludes"]
            table.unique.append(Unique(row["name"], tuple(row["columns"]), row["main"], row["nulls_alike"], whole))
    for row in postgres.fetch(conn, FOREIGN):
        table, parent = by_oid.get(row["root"]), by_oid.get(row["parent"])
        if table and parent:
            table.foreign.append(Foreign(row["name"], parent.quoted, tuple(row["columns"]), tuple(row["keys"])))
    return {table.quoted: table for table in by_oid.values()}


def column(table: str, row: DictRow) -> Column:
    """Return a column from a row of COLUMNS."""
    made = (
        row["identity"] or row["value"].rpartition(".")[2].startswith(GENERATES) or row["value"].startswith(GENERATES)
    )
    return Column(
        table=table,
        name=row["name"],
        quoted=row["quoted"],
        type=row["type"],
        plain_type=row["plain_type"],
        oids=(row["type_oid"], row["base_oid"]),
        base=row["base"],
        base_type=row["base_type"],
        category=row["category"],
        element=row["element"] or "",
        modifier=row["modifier"],
        filled=row["filled"],
        computed=row["computed"],
        numbered=made and row["base"] in NUMBERS,
        mails=row["mails"],
    )


def is_surrogate(table: Table, column: Column) -> bool:
    """Whether a column is a key that the server makes, alone or beside that of the partition: it says nothing of anybody."""
    keys = [each.columns for each in table.unique if each.main or len(each.columns) == 1]
    return column.numbered and any(column.name in key for key in keys)


def pointing(table: Table, column: str) -> Iterator[tuple[Foreign, str]]:
    """Yield the foreign keys that a column is in, each with the parent's column that it points to."""
    for key in table.foreign:
        for mine, theirs in zip(key.columns, key.keys, strict=True):
            if mine == column:
                yield key, theirs
