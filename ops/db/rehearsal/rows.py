"""Rows of a target's number and shape, made up here: each value is a function of the row's number.

So a unique column is unique, and a foreign key points to a row that is there. What a check refuses is made from the
constants in that check; where that does not help either, the check stays unasked for these rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops import postgres
from ops.db.rehearsal.shape import Column, Table

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PROBE = 50
"""Rows that are tried before all are made."""
REFUSALS = 20
"""Of the rows of one table, after which it stays empty."""
DEPTH = 8
"""Foreign keys that are followed from one table to the next."""

TABLES = """
select c.oid::bigint as oid, format('%I.%I', n.nspname, c.relname) as name,
  pg_catalog.pg_get_expr(c.relpartbound, c.oid) as bound,
  (select pg_catalog.pg_get_partkeydef(inhparent) from pg_catalog.pg_inherits where inhrelid = c.oid and c.relispartition) as part_key
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by 2
"""
# A domain is what it is made of; its own checks are asked by the server
COLUMNS = """
select a.attrelid::bigint as oid, a.attnum as number, a.attname::text as name, quote_ident(a.attname) as quoted, a.attnotnull as filled,
  pg_catalog.format_type(a.atttypid, a.atttypmod) as type, b.typname::text as base, b.typtype::text as kind, b.typcategory::text as category,
  case when t.typtype = 'd' then t.typtypmod else a.atttypmod end as modifier, e.typname::text as element, e.typtype::text as element_kind,
  pg_catalog.format_type(b.oid, null) as base_type, pg_catalog.format_type(r.rngsubtype, null) as subtype, s.typname::text as sub_base,
  pg_catalog.format_type(e.oid, null) as element_type, pg_catalog.pg_get_serial_sequence(a.attrelid::regclass::text, a.attname) as sequence,
  exists (select from pg_catalog.pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indkey[0] = a.attnum and i.indnkeyatts = 1) as alone
from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_type t on t.oid = a.atttypid join pg_catalog.pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
  left join pg_catalog.pg_type e on e.oid = b.typelem and b.typcategory = 'A' left join pg_catalog.pg_range r on b.oid in (r.rngtypid, r.rngmultitypid)
  left join pg_catalog.pg_type s on s.oid = r.rngsubtype
where a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and c.relkind = 'r'
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by a.attrelid, a.attnum
"""
KEYS = """
select conrelid::bigint as oid, confrelid::bigint as parent, conkey as columns, confkey as keys
from pg_catalog.pg_constraint where contype = 'f' order by conrelid, conname
"""
CHECK = """
select pg_catalog.pg_get_constraintdef(oid) as told, pg_catalog.pg_get_expr(conbin, conrelid) as expression, conkey as columns
from pg_catalog.pg_constraint where contype = 'c' and conname = %s and conrelid = %s::bigint
"""
USUAL = ("0", "1", "2", "10", "100", "a", "A", "a@example.org", "https://example.org/", "2001-02-03", "en", "EUR", "+100000000")
"""What a check may like, where none of its own constants does."""

SIMPLE = {
    "int2": "({d} % 32767)::int2",
    "int4": "{d}::int4",
    "int8": "{d}::int8",
    "oid": "{d}::oid",
    "float4": "{d}::float4",
    "float8": "{d}::float8",
    "money": "{d}::int::money",
    "bool": "{d} % 2 = 0",
    "uuid": "md5({d}::text)::uuid",
    "date": "date '2000-01-01' + ({d} % 100000)::int",
    "time": "time '00:00' + {d} * interval '1 second'",
    "timetz": "timetz '00:00+00' + {d} * interval '1 second'",
    "timestamp": "timestamp '2000-01-01' + {d} * interval '1 second'",
    "timestamptz": "timestamptz '2000-01-01 00:00+00' + {d} * interval '1 second'",
    "interval": "{d} * interval '1 second'",
    "inet": "inet '10.0.0.0' + {d}",
    "cidr": "set_masklen(inet '10.0.0.0' + {d}, 32)::cidr",
    "macaddr": "lpad(to_hex({d}), 12, '0')::macaddr",
    "macaddr8": "lpad(to_hex({d}), 16, '0')::macaddr8",
    "point": "point({d}, {d})",
    "box": "box(point({d}, {d}), point({d} + 1, {d} + 1))",
    "lseg": "lseg(point({d}, {d}), point({d} + 1, {d} + 1))",
    "circle": "circle(point({d}, {d}), 1)",
    "tsquery": "to_tsquery('simple', 'w' || {d})",
    "hstore": "('k=>' || {d})::hstore",
    "pg_lsn": "('0/' || to_hex({d}))::pg_lsn",
    "char": "'r'::\"char\"",
    "xml": "('<r>' || {d} || '</r>')::xml",
    "bit": "b'0'",
}
"""By the name of a type: a value of the number d, from 1."""
TEXTS = ("text", "varchar", "bpchar", "citext", "name", "ltree")


@dataclass
class Plan:
    """A table of the scratch database, and how its rows are made."""

    oid: int
    name: str
    rows: int
    shape: Table
    columns: list[DictRow]
    fixed: dict[str, str] = field(default_factory=dict)
    """By column: an expression that takes the place of the usual one."""
    keys: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By the number of a column: the table and column that a foreign key asks for."""


def fill(conn: Connection[DictRow], shapes: Mapping[str, Table], share: float) -> list[str]:
    """Make the rows of each table, and return in words what could not be made as wished.

    `shapes` are the target's tables by name, `share` is which of their rows are made, between 0 and 1.
    """
    conn.execute("set session_replication_role = replica")  # no trigger has a say, nor the order of tables
    conn.execute("set synchronous_commit = off")
    plans = planned(conn, shapes, share)
    notes = [note for plan in plans.values() if plan.rows for note in filled(conn, plan, plans)]
    for row in postgres.fetch(conn, "select format('%I.%I', schemaname, matviewname) as name from pg_catalog.pg_matviews"):
        notes += attempt(conn, f"refresh materialized view {row['name']}", row["name"])
    conn.execute("reset session_replication_role")
    conn.execute("analyze")
    return notes


def planned(conn: Connection[DictRow], shapes: Mapping[str, Table], share: float) -> dict[int, Plan]:
    """Return how the rows of each table are made, by its oid."""
    columns: dict[int, list[DictRow]] = {}
    for row in postgres.fetch(conn, COLUMNS):
        columns.setdefault(row["oid"], []).append(row)
    plans = {}
    for row in postgres.fetch(conn, TABLES):
        shape = shapes.get(row["name"], Table(0, 0, 0))
        rows = max(1, round(shape.rows * share)) if shape.rows and share else 0
        plan = Plan(row["oid"], row["name"], rows, shape, columns.get(row["oid"], []))
        plan.fixed = of_partition(row["bound"], row["part_key"])
        plans[plan.oid] = plan
    for row in postgres.fetch(conn, KEYS):
        if row["oid"] in plans and row["parent"] in plans:
            for column, key in zip(row["columns"], row["keys"], strict=True):
                plans[row["oid"]].keys.setdefault(column, (row["parent"], key))
    return plans


def of_partition(bound: str | None, key: str | None) -> dict[str, str]:
    """Return the values by which a row belongs to a partition: its lower bound, or the first of its list."""
    told = re.match(r"FOR VALUES (?:FROM|IN) \((.*?)\)(?: TO|$)", bound or "")
    names = re.match(r"(?:RANGE|LIST) \((.*)\)$", key or "")
    if not told or not names:
        return {}
    values = re.findall(r"'(?:[^']|'')*'|[^,\s]+", told[1])
    return {
        name.strip('"'): value
        for name, value in zip(re.split(r", ", names[1]), values, strict=False)
        if value not in ("MINVALUE", "MAXVALUE", "NULL")
    }


def filled(conn: Connection[DictRow], plan: Plan, plans: Mapping[int, Plan]) -> list[str]:
    """Make the rows of a table; what refuses a few of them first is gone around."""
    import psycopg

    notes: list[str] = []
    for _ in range(REFUSALS):
        try:
            with conn.transaction(force_rollback=True):
                conn.execute(insert(plan, plans, min(plan.rows, PROBE)).encode())
            with conn.transaction():
                conn.execute(insert(plan, plans, plan.rows).encode())
                for column in plan.columns:
                    if column["sequence"]:
                        conn.execute("select setval(%s::regclass, %s)", [column["sequence"], plan.rows + 1])
            return notes
        except psycopg.Error as error:
            if conn.closed:
                raise
            if not (note := gone_around(conn, plan, error)):
                return [*notes, f"{plan.name} stays empty: {error.diag.message_primary}"]
            notes += [note] if note != CHANGED else []
    return [*notes, f"{plan.name} stays empty: its checks refuse what is made up"]


CHANGED = "changed"


def gone_around(conn: Connection[DictRow], plan: Plan, error: Exception) -> str:
    """Change what is made where the server refuses it; a note where that is to be said, nothing where there is no way."""
    import psycopg
    from psycopg import sql

    assert isinstance(error, psycopg.Error)
    name = error.diag.constraint_name
    if not isinstance(error, psycopg.errors.CheckViolation) or not name:
        return ""
    rows = postgres.fetch(conn, CHECK, name, plan.oid)
    if not rows:  # of a domain
        for column in plan.columns:
            if column["type"] != column["base_type"] and column["kind"] != "e" and column["name"] not in plan.fixed and not column["filled"]:
                plan.fixed[column["name"]] = "null"
                return CHANGED
        return ""
    [check] = rows
    column = next((one for one in plan.columns if [one["number"]] == check["columns"]), None)
    if column and column["name"] not in plan.fixed and (liked := values_for(conn, column, check)):
        plan.fixed[column["name"]] = f"(array[{', '.join(liked)}]::{column['type']}[])[1 + i % {len(liked)}]"
        return CHANGED
    table, constraint = sql.SQL(plan.name), sql.Identifier(name)
    with conn.transaction():
        conn.execute(sql.SQL("alter table {} drop constraint {}").format(table, constraint))
        told = sql.SQL(re.sub(r" NOT VALID$", "", check["told"]))
        conn.execute(sql.SQL("alter table {} add constraint {} {} not valid").format(table, constraint, told))
        conn.execute(
            "update pg_catalog.pg_constraint set convalidated = true where conrelid = %s::bigint and conname = %s",
            [plan.oid, name],
        )
    # what was there before the rows is what a migration finds; only that these rows do not keep it
    plan.unasked.append((name, check["told"]))
    return f"{plan.name}: its rows do not keep the check {name}"
