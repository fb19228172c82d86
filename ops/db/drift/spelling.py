"""Whether two texts that Postgres printed mean the same: one server understands both and prints them again.

In a database that has the schema of the one side, in transactions that are rolled back. What it cannot understand there,
since it names what only the other side has, is another thing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ops.db.drift.catalog import Catalog, Key

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

AGAIN = 2
"""How often a text is printed anew, at most: after the second time none has changed any more."""
VIEW = "pg_temp.inv_spelled"
NAME = "inv_spelled"
PRINTED = f"select pg_get_viewdef('{VIEW}'::regclass) as text"
OF_TABLE = {"default", "generated", "using", "with check"}
"""Expressions over the columns of what they belong to."""


class Speller:
    """Tells what means the same; for `compare.differences`."""

    def __init__(self, conn: Connection[DictRow], left: Catalog, right: Catalog) -> None:
        self.conn, self.left, self.right = conn, left, right
        self.known: dict[tuple[Key, str, str], str] = {}

    def __call__(self, key: Key, what: str, left: str, right: str) -> bool:
        """Return whether two texts of a property mean the same."""
        if what in ("body", "arguments"):
            if "BEGIN ATOMIC" not in left and what == "body":
                return False
            left, right = (side.things[key].facets.get("definition", "") for side in (self.left, self.right))
        for _ in range(AGAIN):
            left, right = self.spelled(key, what, left), self.spelled(key, what, right)
            if left == right:
                return True
        return False

    def spelled(self, key: Key, what: str, text: str) -> str:
        """Return a text as the server prints it once it has understood it; itself where it does not."""
        import psycopg

        if (key, what, text) not in self.known:
            self.known[key, what, text] = text
            made = self.how(key, what, text)
            if made:
                steps, printed = made
                try:
                    with self.conn.transaction(force_rollback=True):
                        self.conn.execute("set local search_path = ''; set local check_function_bodies = off")
                        for step in steps:
                            self.conn.execute(step.encode())
                        row = self.conn.execute(printed.encode()).fetchone()
                        self.known[key, what, text] = str(row["text"]) if row else text
                except psycopg.DatabaseError:  # it names what is not there, or holds no such thing
                    pass
        return self.known[key, what, text]

    def how(self, key: Key, what: str, text: str) -> tuple[list[str], str] | None:
        """Return the statements that make a text again, and the query that prints it."""
        thing = self.left.things.get(key) or self.right.things[key]
        inside = thing.inside.name if thing.inside else ""
        if what == "definition":
            match key.kind:
                case "view" | "materialized view":
                    return [f"create view {VIEW} as {text}"], PRINTED
                case "table constraint":
                    made = f"alter table {inside} add constraint {NAME} {text}"
                    return [
                        made
                    ], f"select pg_get_constraintdef(oid) as text from pg_constraint where conname = '{NAME}'"
                case "domain constraint":
                    made = f"alter domain {inside} add constraint {NAME} {text}"
                    return [
                        made
                    ], f"select pg_get_constraintdef(oid) as text from pg_constraint where conname = '{NAME}'"
                case "index":
                    return [
                        f"drop index {key.name}",
                        text,
                    ], f"select pg_get_indexdef({quoted(key.name)}::regclass) as text"
                case "trigger":
                    newest = "select pg_get_triggerdef(max(oid::text::bigint)::text::oid) as text from pg_trigger"
                    return [f"drop trigger {key.name}", text], newest
                case "rule":
                    newest = (
                        "select rtrim(pg_get_ruledef(max(oid::text::bigint)::text::oid), ';') as text from pg_rewrite"
                    )
                    return [f"drop rule {key.name}", text], newest
                case "statistics object":
                    newest = "select pg_get_statisticsobjdef(max(oid::text::bigint)::text::oid) as text from pg_statistic_ext"
                    return [f"drop statistics {key.name}", text], newest
        if what in ("body", "arguments"):
            newest = "select pg_get_functiondef(max(oid::text::bigint)::text::oid) as text from pg_proc"
            return [f"alter {key.kind} {key.name} rename to {NAME}", text], newest
        if key.kind == "publication relation" and what == "where":
            return expression(text, thing.facets["table"])
        if key.kind == "type" and what == "default":
            return [f"create view {VIEW} as select ({text}) as e"], PRINTED
        if what in OF_TABLE and inside:
            return expression(re.sub(r" (stored|virtual)$", "", text), inside)
        return None


def expression(text: str, table: str) -> tuple[list[str], str]:
    """Return how an expression over the columns of a table is printed."""
    return [f"create view {VIEW} as select ({text}) as e from only {table}"], PRINTED


def quoted(text: str) -> str:
    """Return a text as a literal of SQL, for an empty search_path and standard strings."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
