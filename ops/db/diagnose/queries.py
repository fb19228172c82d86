"""Checks of the application's own queries: does one read a large table whole, where an index would do; does it work at all.

They are planned and not run, as for any value of their parameters (plan_cache_mode, EXPLAIN EXECUTE):
https://www.postgresql.org/docs/current/sql-explain.html, sql-prepare.html, runtime-config-query.html#GUC-PLAN-CACHE-MODE
To plan one locks its tables as any reader does, asks for that briefly, and may call functions of the user's: it is done with a
reader's rights (ops/db/reader.py).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.db import query as queries
from ops.db import reader
from ops.db.diagnose.check import NAME, Facts, Finding, Line, count, task
from ops.db.diagnose.look import LOCK_TIMEOUT, Rows, reason
from ops.db.sql_file.script import Script
from ops.errors import Problem
from ops.targets import outcome

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

READS_WHOLE, BROKEN = "query_reads_whole", "query_broken"
PREPARED = "inv_diagnose"
LEAST_ROWS = 10_000
"""Rows below which reading a table whole is no matter."""
MANY_ROWS = 1_000_000
FEW = 0.1
"""Of a table's rows: if a query wants no more of them, an index finds them sooner."""

LARGE = f"""
select n.nspname as schema, c.relname as name, c.reltuples::float as rows, {NAME} as object,
       (select quote_ident(m.nspname) || '.' || quote_ident(p.relname) from pg_inherits i join pg_class p on p.oid = i.inhparent
        join pg_namespace m on m.oid = p.relnamespace where i.inhrelid = c.oid and c.relispartition) as whole
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.reltuples >= {LEAST_ROWS}
"""
_SORTED = re.compile(
    r'(?:(?:\w+|"(?:[^"]|"")+")\.)?(?P<column>\w+|"(?:[^"]|"")+")(?P<order>( DESC)?( NULLS (FIRST|LAST))?)'
)


@dataclass(frozen=True)
class Read:
    """A table that a plan reads whole."""

    schema: str
    name: str
    filter: str
    rows: float
    """That it expects to be left."""
    order: tuple[str, ...]
    """In which the first few of all are wanted, where that is so."""


def look(conn: Connection[DictRow], folder: Path, facts: Facts, large: Rows) -> list[Line]:
    """Return what is to be said of the queries of a folder."""
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.sql"))]
    found = [line for name in names for line in one(conn, folder, name, facts, large)]
    told = {line.check for line in found}
    if BROKEN not in told:
        found.append(Line(BROKEN, "green", None, "each query of the application can be planned", None, []))
    elif READS_WHOLE not in told:
        found.append(Line(READS_WHOLE, "unseen", None, "not all queries of the application could be planned", None, []))
    if READS_WHOLE not in told and BROKEN not in told:
        found.append(
            Line(READS_WHOLE, "green", None, "no query of the application reads a large table whole", None, [])
        )
    return found


def one(conn: Connection[DictRow], folder: Path, name: str, facts: Facts, large: Rows) -> Iterator[Line]:
    """Yield what is to be said of a query."""
    import psycopg
    from psycopg import errors

    file = f"{folder.name}/{name}.sql"
    try:
        plan = planned(conn, queries.template(folder, name))
    except Problem as problem:  # the file itself cannot be read
        yield Line(BROKEN, "red", file, str(problem).splitlines()[0], "it can be run nowhere", [])
        return
    except psycopg.Error as error:
        if outcome.is_lost(error):
            raise
        unclear = errors.InsufficientPrivilege, errors.IndeterminateDatatype, errors.LockNotAvailable
        if isinstance(error, unclear) or not (error.sqlstate or "").startswith(("42", "3F")):
            yield Line(BROKEN, "unseen", file, reason(error), None, [])
            return
        broken = Finding(
            "red", file, reason(error), "the application gets that error", (task("db.drift --sql", facts),)
        )
        yield broken.line(BROKEN)
        return
    tables = {(row["schema"], row["name"]): row for row in large}
    said = set()
    for read in whole_reads(plan):
        row = tables.get((read.schema, read.name))
        if row and (finding := judged(file, name, read, row, facts)) and finding.mend not in said:
            said.add(finding.mend)
            yield finding.line(READS_WHOLE)


def planned(conn: Connection[DictRow], query: Script) -> dict[str, Any]:
    """Return the plan of a query for any value of its parameters; it is not run."""
    with prepared(conn), reader.reading(conn):
        return plan_of(conn, query)


def plan_of(conn: Connection[DictRow], query: Script) -> dict[str, Any]:
    """Do so in a transaction of the caller's, who has what is prepared for it taken away (`prepared`)."""
    wanted = queries.parameters(query)
    nulls = ", ".join(["null"] * len(wanted))
    sent = queries.numbered(query, dict.fromkeys(wanted))
    conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; set local plan_cache_mode = force_generic_plan".encode())
    # by the extended protocol, so that the server refuses a second statement, which could end the transaction
    with conn.pipeline():
        conn.execute(f"prepare {PREPARED} as {sent}".encode(), prepare=False)
    explain = f"explain (verbose, format json) execute {PREPARED}{f'({nulls})' if nulls else ''}"
    found = conn.execute(explain.encode(), prepare=False).fetchone()
    assert found is not None
    plan: dict[str, Any] = postgres.shaped(conn, found["QUERY PLAN"], [{"Plan": {"Node Type": str}}])[0]["Plan"]
    return plan


@contextlib.contextmanager
def prepared(conn: Connection[DictRow]) -> Iterator[None]:
    """Take away what `plan_of` has prepared in the block, which no rollback does."""
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # what ended it has ended that, too; or it was not prepared at all
            conn.execute(f"deallocate {PREPARED}".encode())


def whole_reads(node: dict[str, Any], above: tuple[dict[str, Any], ...] = ()) -> Iterator[Read]:
    """Yield the tables that a plan reads whole."""
    if node["Node Type"] == "Seq Scan":
        kinds = [each["Node Type"] for each in above if not each["Node Type"].startswith("Gather")]
        first_few = kinds[-2:] == ["Limit", "Sort"]
        sorts = next((each["Sort Key"] for each in reversed(above) if each["Node Type"] == "Sort"), ())
        yield Read(
            node.get("Schema", ""),
            node["Relation Name"],
            node.get("Filter", ""),
            node["Plan Rows"],
            tuple(sorts) if first_few else (),
        )
    for child in node.get("Plans", ()):
        yield from whole_reads(child, (*above, node))


def judged(file: str, name: str, read: Read, row: dict[str, Any], facts: Facts) -> Finding | None:
    """Return what is to be said of a table that a query reads whole, nothing where it wants most of it."""
    columns = columns_of(read.filter) if read.filter and read.rows <= FEW * row["rows"] else []
    if not read.filter and read.order:
        columns = in_order(read.order)
    if not columns and row["rows"] < MANY_ROWS:
        return None
    how = "" if row["whole"] else "concurrently "
    table = row["whole"] or row["object"]
    mend = (
        f"create index {how}on {table} ({', '.join(columns)})" if columns else task(f"db.query {name} --explain", facts)
    )
    return Finding(
        "red" if row["rows"] >= MANY_ROWS else "yellow",
        file,
        f"it reads all of {table} ({count(row['rows'], 'row')})"
        + (f" for about {count(read.rows, 'row')}" if read.filter else ""),
        "it takes longer with each row that is added"
        + ("" if columns else "; whether an index would do is for you to see"),
        (mend,),
    )


def in_order(keys: Sequence[str]) -> list[str]:
    """Return the columns of an index that has rows in an order, none where that is by more than columns."""
    found = [_SORTED.fullmatch(key) for key in keys]
    return [f"{key['column']}{key['order'].lower()}" for key in found if key] if all(found) else []


def columns_of(filter: str) -> list[str]:
    """Return the columns of an index that would find what a filter lets through: those that are equal to something, then one in a range."""
    try:
        import postgast
    except ModuleNotFoundError:  # there is no wheel of it for each machine
        return []
    try:
        tree: Any = postgast.parse(f"select where {filter}")
    except postgast.PgQueryError:  # some of what EXPLAIN prints is no SQL: (hashed SubPlan 1)
        return []
    equal, ranged = list[str](), list[str]()
    for node in conjuncts(tree.stmts[0].stmt.select_stmt.where_clause):
        kind = node.WhichOneof("node")
        if kind == "null_test" and node.null_test.nulltesttype == 1:
            equal += column(node.null_test.arg)
        elif kind == "a_expr":
            name = node.a_expr.name[-1].string.sval if node.a_expr.name else ""
            sides = [side for side in (node.a_expr.lexpr, node.a_expr.rexpr) if column(side)]
            if len(sides) == 1 and name in ("=", "<", ">", "<=", ">="):
                (equal if name == "=" else ranged).extend(column(sides[0]))
    return [quoted(name) for name in dict.fromkeys([*equal, *ranged[:1]])]


def quoted(name: str) -> str:
    """Return a column's name as a statement wants it."""
    import postgast

    if re.fullmatch("[a-z_][a-z0-9_]*", name):
        with contextlib.suppress(postgast.PgQueryError):  # a word of the language
            postgast.parse(f"create index on t ({name})")
            return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def conjuncts(node: Any) -> Iterator[Any]:
    """Yield what all has to hold for a condition to hold."""
    if node.WhichOneof("node") == "bool_expr" and node.bool_expr.boolop == 1:
        for each in node.bool_expr.args:
            yield from conjuncts(each)
    else:
        yield node


def column(node: Any) -> list[str]:
    """Return the column that an expression is, if it is one; a change of its type to one that sorts the same is none."""
    if node.WhichOneof("node") == "type_cast":
        return column(node.type_cast.arg)
    if node.WhichOneof("node") != "column_ref":
        return []
    return [node.column_ref.fields[-1].string.sval]
