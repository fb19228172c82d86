"""Rows of a target's number and shape, made up here: each value is a function of the row's number.

So a unique column is unique, and a foreign key points to a row that is there. What a check refuses is made from the
constants in that check; where that does not help either, the check stays unasked for these rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops import postgres, row_values
from ops.db.rehearsal.shape import Column, Table

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed

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
  array(select pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'c') as checks,
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
VALID = "update pg_catalog.pg_constraint set convalidated = true where conrelid = %s::bigint and conname = %s"
USUAL = (
    "0",
    "1",
    "2",
    "10",
    "100",
    "a",
    "A",
    "a@example.org",
    "https://example.org/",
    "2001-02-03",
    "en",
    "EUR",
    "+100000000",
)
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
    """By column: an expression that takes the place of the usual one, for the row `ROW`."""
    keys: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By the number of a column: the table and column that a foreign key asks for."""
    left: list[tuple[str, Composed]] = field(default_factory=list)
    """Checks that were taken away since no value was found that they like, and how they come back."""


def fill(conn: Connection[DictRow], shapes: Mapping[str, Table], share: float) -> list[str]:
    """Make the rows of each table, and return in words what could not be made as wished.

    `shapes` are the target's tables by name, `share` is which of their rows are made, between 0 and 1.
    """
    conn.execute("set session_replication_role = replica")  # no trigger has a say, nor the order of tables
    conn.execute("set synchronous_commit = off")
    plans = planned(conn, shapes, share)
    notes = [note for plan in plans.values() if plan.rows for note in filled(conn, plan, plans)]
    for plan in plans.values():
        for name, statement in plan.left:
            conn.execute(statement)
            # it holds for the target's own rows, which is all that the schema says
            conn.execute(VALID, [plan.oid, name])
    for row in postgres.fetch(
        conn, "select format('%I.%I', schemaname, matviewname) as name from pg_catalog.pg_matviews"
    ):
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
                return [*notes, f"{plan.name} stays empty: {row_values.words(error.diag)}"]
            notes += [note] if note != CHANGED else []
    return [*notes, f"{plan.name} stays empty: its checks refuse what is made up"]


CHANGED = "changed"
ROW = "$row$"
"""In an expression: where the row's number comes."""


def gone_around(conn: Connection[DictRow], plan: Plan, error: Exception) -> str:
    """Change what is made where the server refuses it; a note where that is to be said, nothing where there is no way."""
    import psycopg
    from psycopg import sql

    assert isinstance(error, psycopg.Error)
    name = error.diag.constraint_name
    if not isinstance(error, psycopg.errors.CheckViolation) or not name:
        return ""
    found = postgres.fetch(conn, CHECK, name, plan.oid)
    if not found:
        return CHANGED if of_domain(conn, plan) else ""
    [check] = found
    column = next((one for one in plan.columns if [one["number"]] == check["columns"]), None)
    if column and column["name"] not in plan.fixed:
        asked = f"select {check['expression']} from (select cast(%s as {column['type']}) as {column['quoted']}) as x"
        if liked := values_for(conn, column["type"], asked, check["told"]):
            plan.fixed[column["name"]] = liked
            return CHANGED
    table, constraint = sql.SQL(plan.name), sql.Identifier(name)
    told = sql.SQL(check["told"].removesuffix(" NOT VALID"))
    conn.execute(sql.SQL("alter table {} drop constraint {}").format(table, constraint))
    plan.left.append((name, sql.SQL("alter table {} add constraint {} {} not valid").format(table, constraint, told)))
    return f"{plan.name}: its rows do not keep the check {name}"


def of_domain(conn: Connection[DictRow], plan: Plan) -> bool:
    """Have the columns of a domain with checks take what those like, or null; whether one was changed."""
    changed = False
    for column in plan.columns:
        if column["checks"] and column["name"] not in plan.fixed:
            asked = f"select cast(%s as {column['type']}) is not null"
            liked = values_for(conn, column["type"], asked, " ".join(column["checks"]))
            if liked or not column["filled"]:
                plan.fixed[column["name"]] = liked or "null"
                changed = True
    return changed


def values_for(conn: Connection[DictRow], kind: str, asked: str, check: str) -> str:
    """Return an expression that gives in turn the constants of a check that it likes, or else usual ones; empty where there are none."""
    import psycopg
    from psycopg import sql

    own = [text.replace("''", "'") for text in re.findall(r"'((?:[^']|'')*)'", check)]
    own += [str(int(number) + more) for number in re.findall(r"(?<![\w.])-?\d+(?![\w.])", check) for more in (0, 1, -1)]
    liked = []
    for text in dict.fromkeys([*own, *USUAL]):
        try:
            with conn.transaction():
                row = conn.execute(asked.encode(), [text]).fetchone()
        except psycopg.Error:
            continue
        if row and next(iter(row.values())):
            liked.append(sql.Literal(text).as_string(conn))
    return f"(array[{', '.join(liked)}]::{kind}[])[1 + {ROW} % {len(liked)}]" if liked else ""


def attempt(conn: Connection[DictRow], statement: str, name: str) -> list[str]:
    """Run a statement that may fail; return what that means, in words."""
    import psycopg

    try:
        conn.execute(statement.encode())
    except psycopg.Error as error:
        if conn.closed:
            raise
        return [f"{name} stays empty: {row_values.words(error.diag)}"]
    return []


# --- a row as SQL -------------------------------------------------------------------------


def insert(plan: Plan, plans: Mapping[int, Plan], rows: int) -> str:
    """Return the statement that makes the rows of a table; one that stands in the way of another is left out."""
    names = ", ".join(column["quoted"] for column in plan.columns)
    values = ", ".join(with_nulls(plan, column, plans) for column in plan.columns)
    into = f"insert into {plan.name} ({names}) overriding system value" if names else f"insert into {plan.name}"
    return f"{into} select {values} from generate_series(1, {rows}::bigint) as i on conflict do nothing"


def with_nulls(plan: Plan, column: DictRow, plans: Mapping[int, Plan]) -> str:
    """Return the value of a column in row i, null as often as in the target."""
    told = value(plan, column, "i", plans)
    share = plan.shape.columns.get(column["name"], Column()).null_share
    if column["filled"] or share <= 0:
        return told
    # by a large odd number, so that the nulls of two columns do not fall together in runs
    return f"case when (i * 2654435761 + {column['number']} * 40503) % 1000 < {round(share * 1000)} then null else {told} end"


def value(plan: Plan, column: DictRow, row: str, plans: Mapping[int, Plan], depth: int = 0) -> str:
    """Return the value of a column in a row, by an expression for the row's number."""
    if column["name"] in plan.fixed:
        return plan.fixed[column["name"]].replace(ROW, row)
    shape = plan.shape.columns.get(column["name"], Column())
    count = distinct(plan, column, shape)
    parent = plans.get(plan.keys.get(column["number"], (0, 0))[0])
    if parent and parent.rows and depth < DEPTH:
        key = next((one for one in parent.columns if one["number"] == plan.keys[column["number"]][1]), None)
        if key:
            other = f"(({row} - 1) % {min(count, parent.rows)} + 1)"
            return f"({value(parent, key, other, plans, depth + 1)})::{column['type']}"
    number = row if count >= plan.rows else f"(({row} - 1) % {count} + 1)"
    made = literal(column, number, shape.width, max(count, plan.rows if column["alone"] else 0))
    return f"({made})::{column['type']}"


def distinct(plan: Plan, column: DictRow, shape: Column) -> int:
    """Return how many values a column has among the rows that are made."""
    if column["alone"] or not shape.distinct:
        return max(1, plan.rows)
    count = shape.distinct if shape.distinct > 0 else -shape.distinct * plan.rows
    return max(1, min(plan.rows, round(count)))


def literal(column: DictRow, number: str, width: int, most: int) -> str:
    """Return a value of a column's type as SQL, a different one for each number; `width` in bytes, 0 for unknown."""
    base, modifier = column["base"], column["modifier"]
    if column["kind"] == "e":
        return f"(enum_range(null::{column['base_type']}))[1 + ({number}) % cardinality(enum_range(null::{column['base_type']}))]"
    if base == "vector":
        return f"array_fill(({number} % 1000)::real, array[{max(1, modifier)}])"
    if column["category"] == "A":
        if column["element_kind"] == "e":
            return f"enum_range(null::{column['element_type']})"
        one = of_type(column["element"], number, 0, most, -1)
        if one is None:
            return "'{}'"
        return f"array_fill(({one})::{column['element_type']}, array[{max(1, min(1000, (width - 20) // 12))}])"
    if column["subtype"]:
        low = of_type(column["sub_base"], number, 0, most, -1)
        told = f"{column['base_type'].replace('multirange', 'range')}(({low})::{column['subtype']}, null)"
        return f"{column['base_type']}({told})" if "multirange" in base else told
    found = of_type(base, number, width, most, modifier)
    return found if found is not None else "null" if not column["filled"] else f"{number}::text"


def of_type(base: str, number: str, width: int, most: int, modifier: int) -> str | None:
    """Return a value of a type of Postgres's own, or of its extensions; None for any other."""
    if base in TEXTS:
        return text(number, width, most, modifier - 4 if modifier > 4 and base != "citext" else 0)
    if base == "numeric":
        whole = ((modifier - 4) >> 16) - ((modifier - 4) & 0x7FF) if modifier >= 4 else 18
        return f"{number} % {10 ** max(0, min(18, whole))}"
    if base in ("json", "jsonb"):
        return f"json_build_object('r', {text(number, width - 12, most, 0)})"
    if base == "bytea":
        return f"convert_to({text(number, width, most, 0)}, 'UTF8')"
    if base == "tsvector":
        return f"to_tsvector('simple', {text(number, width, most, 0)})"
    if base in ("bit", "varbit") and modifier > 0:
        return f"(({number})::bigint)::bit({modifier})"
    made = SIMPLE.get(base)
    return made.format(d=f"({number})") if made else None


def text(number: str, width: int, most: int, limit: int) -> str:
    """Return a text of a width that begins with its number, so that no two are equal; `limit`: of its column, 0 for none."""
    least = len(f"{most:x}") + 1
    wanted = max(least, (width or 16) - 1)
    wanted = min(wanted, limit) if limit > 0 else wanted
    if wanted < least:
        return f"left(reverse(to_hex({number})), {wanted})"
    start = f"to_hex({number}) || '-'"
    if wanted <= 500:
        return f"rpad({start}, {wanted}, md5(({number})::text))"
    # what repeats itself would be stored smaller than it is
    pieces = f"(select string_agg(md5(({number})::text || k), '') from generate_series(1, {wanted // 32}) as k)"
    return f"{start} || {pieces}"
