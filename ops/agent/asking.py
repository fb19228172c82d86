"""What an assistant asks a database itself: its tables, a plan, rows of harmless columns.

Read-only by the login and by the transaction, never by the words of a statement: it is parsed by the server as one statement
(the extended protocol takes no second one: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY),
and only ever planned, by EXPLAIN without ANALYZE. What that could hold on to ends with the session, which is closed after each.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import postgres, row_values
from ops.db import query, reader, shown
from ops.db.diagram import schema as diagram
from ops.db.pull import masks_file
from ops.errors import Misconfigured, Problem
from ops.targets import opening
from ops.targets.open_target import OpenTarget
from ops.yaml_file import compose

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

TIMEOUT, LOCK_TIMEOUT = "5s", "1s"
"""Of a statement of ours, and for a lock: an assistant stalls nobody."""
LONGEST_SQL, MOST_ROWS, LONGEST_VALUE = 50_000, 100, 2000
TABLE = """
select n.nspname as schema, c.relname as name, format('%%I.%%I', n.nspname, c.relname) as quoted,
       (select json_agg(a.attname order by a.attnum) from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'inv')
  and (n.nspname || '.' || c.relname = %s or n.nspname = 'public' and c.relname = %s)
"""
NAMES = frozenset(
    {"Node Type", "Relation Name", "Schema", "Alias", "Index Name", "CTE Name", "Subplan Name", "Join Type", "Strategy"}
)
NAMES |= {
    "Parent Relationship",
    "Operation",
    "Command",
    "Scan Direction",
    "Partial Mode",
    "Function Name",
    "Custom Plan Provider",
}
"""Keys of a plan whose texts are names; any other text is an expression, and may hold a value."""


class Unseen(Problem):
    """A question that has no answer, in our words alone."""


def require_reader(at: OpenTarget) -> None:
    """See that production is read by a login that may only read; raises `Misconfigured`."""
    if at.prod and at.target is at.own:
        raise Misconfigured(
            f"{at.name} is production, and no login that only reads is known here for it: inv db.roles -t {at.own.name} makes one, then inv agent"
        )


@contextlib.contextmanager
def open_reading(settings: Settings, name: str) -> Iterator[tuple[OpenTarget, Connection[DictRow]]]:
    """Open a target in one transaction that cannot write, with a reader's rights; it is rolled back, and its session closed."""
    import psycopg

    with opening.open_target(settings, name, "agent", announced=False, login="reader") as at:
        at.required()
        require_reader(at)
        with contextlib.closing(at.connect()) as conn, reader.reading(conn):
            conn.execute(f"set local statement_timeout = '{TIMEOUT}'".encode())
            conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
            yield at, conn
            raise psycopg.Rollback  # nothing of it is committed, not even a lock or a notice


def schema(settings: Settings, name: str, table: str) -> dict[str, Any]:
    """Return the tables and foreign keys of a target, or of one of its tables."""
    with open_reading(settings, name) as (_, conn):
        conn.execute(diagram.SET.encode())
        found = diagram.made(conn.execute(diagram.READ.encode()).fetchall())
    tables = [each for each in found.tables if table in ("", f"{each.schema}.{each.name}", each.name)]
    if not tables:
        raise Unseen("there is no such table: ask for all by leaving it out")
    keys = {(each.schema, each.name) for each in tables}
    near = [each for each in found.references if {(each.schema, each.table), (each.to_schema, each.to_table)} & keys]
    return {"tables": tables, "references": near}


def explain(settings: Settings, name: str, sql: str) -> Any:
    """Return the plan of a statement, without a value in it; raises `Unseen` with what the server has against it."""
    import psycopg

    if len(sql) > LONGEST_SQL or "\0" in sql:
        raise Unseen(f"a statement has {LONGEST_SQL} letters at most, and none of them is zero")
    with open_reading(settings, name) as (_, conn):
        try:
            query.require_one(conn, sql)
        except psycopg.Error as error:
            raise Unseen(complaint(error, sql)) from None
        generic = bool(re.search(r"\$\d", sql))
        if generic and conn.info.server_version < 160000:
            raise Unseen("this server makes no plan for whatever values: write them in the place of $1, $2 …")
        text = f"explain (format json{', generic_plan' if generic else ''}) {sql}"
        try:
            query.require_one(conn, text)
            # by the extended protocol again, but for a plan without values, which that wants to be bound to some
            with contextlib.nullcontext() if generic else conn.pipeline():
                found = conn.execute(text.encode(), prepare=False)
            return without_values(found.fetchall()[0]["QUERY PLAN"])
        except psycopg.Error as error:
            raise Unseen(unplanned(error)) from None
        except RecursionError:
            raise Unseen(
                "the plan is too deep to be shown: ask for the parts of the statement, one after the other"
            ) from None


def complaint(error: Any, sql: str) -> str:
    """Return what the server's parser says of a statement; it has run nothing, and what it quotes that is not of the statement is cut out."""
    said = re.sub(r'"([^"]*)"', lambda found: found[0] if found[1] in sql else '"?"', row_values.message(error.diag))
    at = f" (at letter {error.diag.statement_position})" if error.diag.statement_position else ""
    return f"{type(error).__name__}: {said}{at}"


def unplanned(error: Any) -> str:
    """Return why there is no plan, by the kind of the error alone: to plan may be to reckon, and the text may hold what that gave."""
    from psycopg import errors

    if isinstance(error, errors.SyntaxError):
        return "only what reads or writes rows has a plan: SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE"
    return f"the server makes no plan of it: {type(error).__name__}"


def without_values(plan: Any, key: str = "") -> Any:
    """Return a plan of EXPLAIN (FORMAT JSON) with ? for each value in its expressions."""
    if isinstance(plan, dict):
        return {name: without_values(value, name) for name, value in plan.items()}
    if isinstance(plan, list):
        return [without_values(each, key) for each in plan]
    if isinstance(plan, str) and key not in NAMES:
        return shown.without_values(f"select {plan}", 500).removeprefix("select ")
    return plan


def rows(settings: Settings, name: str, table: str, limit: int) -> list[dict[str, Any]]:
    """Return rows of a table, with the columns that the masks file keeps and no others; none of production."""
    from psycopg import sql

    if not 0 < limit <= MOST_ROWS:
        raise Unseen(f"limit: give 1 to {MOST_ROWS}")
    masks = masks_file.read(settings, compose)
    with open_reading(settings, name) as (at, conn):
        if at.prod:
            raise Unseen("of production there are numbers and shapes, and no rows")
        found = postgres.fetch(conn, TABLE, table, table)
        rules = masks.tables.get(found[0]["quoted"]) if len(found) == 1 else None
        kept = [column for column in found[0]["columns"] if is_kept(rules, column)] if rules else []
        if not kept:
            raise Unseen(
                f"no column of such a table is kept by {masks.name}: {{table: {{columns: {{name: keep}}}}}} says that one is"
            )
        query.keep_as_written(conn)
        wanted = sql.SQL("select {} from only {} limit {}").format(
            sql.SQL(", ").join(
                sql.SQL("left({0}::text, {1}) as {0}").format(sql.Identifier(column), sql.Literal(LONGEST_VALUE))
                for column in kept
            ),
            sql.Identifier(found[0]["schema"], found[0]["name"]),
            sql.Literal(limit),
        )
        return [dict(row) for row in conn.execute(wanted).fetchall()]


def is_kept(rules: masks_file.TableRules, column: str) -> bool:
    """Whether the masks file says that a column may be seen by anybody."""
    return column in rules.columns and rules.columns[column].how == "keep"
