"""What only a live database knows of the tables that a migration is about: how large, how busy, and what uses their columns.

Catalogs and counters are read, and nothing else: https://www.postgresql.org/docs/current/catalogs.html and
https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ALL-TABLES-VIEW.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.db.migrations.statements import Act, Name, Type

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

SMALL = 8 << 20
"""Bytes, with indexes, up to which a table is read or written anew before anybody would notice."""

RAW = ("varbit", "timestamp", "timestamptz", "time", "timetz")
"""Types whose modifier is just the number that stands in brackets, and of which a larger one takes in a smaller."""

SIZE = "pg_total_relation_size(leaf.oid)"
CHECKS = "coalesce(jsonb_agg(pg_get_constraintdef(k.oid)), '[]')"
TABLES = f"""
with recursive asked as (
  select number, c.oid from unnest(%s::int[], %s::text[], %s::text[]) as a (number, schema, name)
  join pg_class c on c.relname = a.name and c.relkind in ('r', 'p', 'm', 'v', 'f')
  join pg_namespace n on n.oid = c.relnamespace
  where case when a.schema = '' then pg_table_is_visible(c.oid) else n.nspname = a.schema end),
leaves as (
  select number, oid as top, oid from asked
  union all
  select l.number, l.top, i.inhrelid from leaves l
  join pg_class c on c.oid = l.oid and c.relkind = 'p' join pg_inherits i on i.inhparent = c.oid)
select l.number, c.oid, c.relkind in ('r', 'p', 'm') as is_stored, format('%%I.%%I', n.nspname, c.relname) as shown,
  sum(case when leaf.relkind = 'p' then 0 when leaf.reltuples >= 0 then leaf.reltuples else coalesce(s.n_live_tup, 0) end)::bigint as rows,
  sum({SIZE})::bigint as size_bytes,
  sum(coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0))::bigint as reads,
  sum(coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0))::bigint as writes,
  (select stats_reset from pg_stat_database where datname = current_database()) as counted_since,
  (select jsonb_object_agg(attname, jsonb_build_array(typname, atttypmod, attnum))
     from pg_attribute a join pg_type t on t.oid = atttypid
     where attrelid = c.oid and attnum > 0 and not attisdropped) as columns,
  (select {CHECKS} from pg_constraint k
     where conrelid = c.oid and contype = 'c' and convalidated) as checks
from leaves l join pg_class c on c.oid = l.top join pg_namespace n on n.oid = c.relnamespace
  join pg_class leaf on leaf.oid = l.oid left join pg_stat_all_tables s on s.relid = leaf.oid
group by l.number, c.oid, c.relkind, n.nspname, c.relname
"""
"""A partitioned table is all of its partitions.

By the catalogs alone: to_regclass() would fail at a schema that the login may not use, pg_partition_tree() lock tables.
"""
UNLOCKED = TABLES.replace(SIZE, "leaf.relpages * current_setting('block_size')::bigint").replace(CHECKS, "'[]'::jsonb")
"""What of it waits for no lock on the tables: their size as the planner last saw it, without indexes, and no checks."""
PATIENCE = "200ms"

USES = """
select a.number, i.type, i.identity, bool_or(d.deptype = 'a') as silent
from unnest(%s::int[], %s::oid[], %s::int[]) as a (number, oid, attnum)
join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.oid
  and (d.refobjsubid = a.attnum or a.attnum = 0)
left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
left join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
cross join lateral (select * from pg_identify_object(
    case when r.ev_class <> a.oid then 'pg_class'::regclass else d.classid end,
    case when r.ev_class <> a.oid then r.ev_class else d.objid end, 0)) as i
where d.deptype in ('n', 'a') and i.type is not null
  and not (d.classid = 'pg_class'::regclass and d.objid = a.oid)
  and not (f.oid is not null and f.adrelid = a.oid and (a.attnum = 0 or f.adnum = a.attnum))
  and not (k.oid is not null and (k.contype = 'n' or a.attnum = 0 and k.conrelid = a.oid))
  and not (a.attnum = 0 and r.ev_class = a.oid)
group by a.number, a.attnum, i.type, i.identity
having not (a.attnum = 0 and bool_or(d.deptype = 'a'))
order by a.number, i.type, i.identity
"""
"""What depends on a column (attnum 0: on a whole table): deptype n stops a DROP without CASCADE, a goes along in silence.

Of a view it is the rule behind it that depends; what a table has of its own goes with it.
"""

NAMED = """
select a.number, format('%%I.%%I', n.nspname, p.proname) as function
from unnest(%s::int[], %s::text[], %s::text[]) as a (number, table_name, column_name)
join pg_proc p on p.prosrc ~* ('\\m' || regexp_replace(a.table_name, '(\\W)', '\\\\\\1', 'g') || '\\M')
  and (a.column_name = '' or p.prosrc ~* ('\\m' || regexp_replace(a.column_name, '(\\W)', '\\\\\\1', 'g') || '\\M'))
join pg_language l on l.oid = p.prolang and l.lanname not in ('internal', 'c')
join pg_namespace n on n.oid = p.pronamespace and n.nspname not in ('pg_catalog', 'information_schema')
where p.prosqlbody is null
  and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype = 'e')
order by a.number, 2
"""
"""Functions whose text, which Postgres keeps as it is, has the names in it."""


@dataclass(frozen=True)
class Known:
    """A table as the live database has it."""

    oid: int
    is_stored: bool
    """Whether it has rows of its own, which a view has not."""
    shown: str
    """Schema and name, quoted where SQL wants it."""
    rows: int
    """As the planner last counted."""
    size_bytes: int
    """With indexes, and what is stored aside; of a partitioned table all of it."""
    reads: int
    """Scans, since the counters began."""
    writes: int
    """Rows written, since then."""
    counted_since: datetime | None
    """When the counters began, where the server knows."""
    columns: dict[str, tuple[str, int, int]] = field(repr=False, default_factory=dict)
    """By name: type, modifier, number."""
    checks: tuple[str, ...] = ()
    """The definitions of its valid CHECK constraints."""

    @property
    def small(self) -> bool:
        return self.size_bytes <= SMALL


@dataclass(frozen=True)
class Use:
    """What uses a column or a table."""

    what: str
    """As people read it: view public.v."""
    silent: bool
    """Whether it goes along without a word, rather than being in the way."""
    name: str
    """Its name alone, with the schema's."""


def tables(conn: Connection[DictRow], names: Iterable[Name]) -> dict[Name, Known]:
    """Return those among relations that are there, by the name that they are asked by."""
    from psycopg.errors import LockNotAvailable

    asked = list(names)
    parameters = list(range(len(asked))), [name.schema for name in asked], [name.name for name in asked]
    try:
        with conn.transaction():
            conn.execute(f"set local lock_timeout = '{PATIENCE}'".encode())
            rows = conn.execute(TABLES.encode(), parameters).fetchall() if asked else []
    except LockNotAvailable:
        rows = conn.execute(UNLOCKED.encode(), parameters).fetchall()
    found = {}
    for row in rows:
        columns = {name: (kind, modifier, number) for name, (kind, modifier, number) in (row["columns"] or {}).items()}
        found[asked[row["number"]]] = Known(
            oid=row["oid"],
            is_stored=row["is_stored"],
            shown=row["shown"],
            rows=row["rows"] or 0,
            size_bytes=row["size_bytes"] or 0,
            reads=row["reads"],
            writes=row["writes"],
            counted_since=row["counted_since"],
            columns=columns,
            checks=tuple(row["checks"]),
        )
    return found


def uses(conn: Connection[DictRow], acts: Collection[tuple[Act, Known]]) -> list[list[Use]]:
    """Return what depends on the column or table of each act."""
    found: list[list[Use]] = [[] for _ in acts]
    if not acts:
        return found
    numbers = list(range(len(acts)))
    oids = [known.oid for _, known in acts]
    columns = [known.columns[act.column][2] if act.column else 0 for act, known in acts]
    for row in postgres.fetch(conn, USES, numbers, oids, columns):
        found[row["number"]].append(Use(f"{row['type']} {row['identity']}", row["silent"], row["identity"]))
    return found


def named(conn: Connection[DictRow], acts: Collection[tuple[Act, Known]]) -> list[list[Use]]:
    """Return the functions in whose text the table, and the column where there is one, of each act are named."""
    found: list[list[Use]] = [[] for _ in acts]
    if acts:
        names = [act.table.name for act, _ in acts], [act.column for act, _ in acts]
        for row in postgres.fetch(conn, NAMED, list(range(len(acts))), *names):
            found[row["number"]].append(Use(f"function {row['function']}", silent=False, name=row["function"]))
    return found


def is_wider(known: Known, column: str, new: Type | None) -> bool:
    """Whether a column's type becomes another without its rows being read: the same kind, and no narrower.

    https://www.postgresql.org/docs/current/sql-altertable.html (Notes): binary coercible, or an unconstrained one.
    """
    if new is None or column not in known.columns or -1 in new.modifiers:
        return False
    kind, modifier, _ = known.columns[column]
    if (kind, new.name) in (("varchar", "text"), ("text", "varchar")):
        return not new.modifiers
    if kind != new.name:
        return False
    if not new.modifiers:
        return kind in {"varchar", "numeric", *RAW} or modifier == -1
    if modifier == -1:
        return False
    if kind == "varchar":  # the modifier holds four bytes more
        return new.modifiers[0] >= modifier - 4
    if kind == "numeric":
        precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
        return new.modifiers[0] >= precision and (new.modifiers[1] if len(new.modifiers) > 1 else 0) == scale
    return kind in RAW and new.modifiers[0] >= modifier


def is_checked(known: Known, column: str) -> bool:
    """Whether a valid CHECK says that a column has no nulls, so that SET NOT NULL need not look (since PostgreSQL 12)."""
    word = column if column.isidentifier() and column.islower() else '"' + column.replace('"', '""') + '"'
    return f"CHECK (({word} IS NOT NULL))" in known.checks


def size(count: int) -> str:
    """Return a number of bytes as people write it."""
    amount: Any = count
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TB"
