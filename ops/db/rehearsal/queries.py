"""The application's own queries: its files, what the function sends, and what the target's statistics show of others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from functions.post_confirmation import people
from ops import postgres
from ops.db import shown
from ops.db.migrations.importing.originals import decoded
from ops.db.rehearsal.verdict import Query
from ops.db.sql_file.scan import scan, skip_blank

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

MOST = 300
"""Statements of pg_stat_statements that are tried, those that are called most."""
LONGEST = 300
"""Letters of a statement that are shown."""
_PARAMETER = re.compile(r"%\((\w+)\)s|%(%)")
_ASKS = re.compile(r"(select|insert|update|delete|merge|with|values|table)\b", re.IGNORECASE)
STATISTICS = """
select n.nspname as schema from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where e.extname = 'pg_stat_statements'
"""


@dataclass(frozen=True)
class Found:
    """The queries of the release that runs."""

    queries: list[Query]
    skipped: int
    """Utility statements and those of others that this user may not see."""


def of_files(folder: Path, root: Path) -> list[Query]:
    """Return the queries of the folder paths.queries; one that holds several statements is what the server will say of it."""
    return [
        Query(str(path.relative_to(root)) if path.is_relative_to(root) else str(path), numbered(decoded(path)))
        for path in sorted(folder.rglob("*.sql"))
    ]


def of_function() -> list[Query]:
    """Return what the function asks and writes when somebody has signed up."""
    found = []
    for number, text in enumerate((people.LOOK, people.INSERT)):
        data = text.encode()
        starts = scan(data).statements
        for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
            one = data[start:end].decode()
            if _ASKS.match(one) and "advisory" not in one:
                found.append(
                    Query(("the function's look", "the function's insert")[number], numbered(one.strip().rstrip(";")))
                )
    return found


def of_statistics(conn: Connection[DictRow]) -> Found:
    """Return the statements that pg_stat_statements has of this database, where it is there and can be read."""
    import psycopg
    from psycopg import sql

    there = postgres.fetch(conn, STATISTICS)
    if not there:
        return Found([], 0)
    asked = sql.SQL(
        "select distinct on (query) queryid, query, calls from {}.pg_stat_statements join pg_catalog.pg_database d on d.oid = dbid "
        "where d.datname = current_database() order by query"
    ).format(sql.Identifier(there[0]["schema"]))
    try:
        rows = conn.execute(asked).fetchall()
    except psycopg.Error:  # it has to be preloaded, and is not
        return Found([], 0)
    rows = sorted(rows, key=lambda row: -row["calls"])
    asking = [row for row in rows if row["query"] and _ASKS.match(from_first_word(row["query"]))]
    named = [Query(f"pg_stat_statements {row['queryid']}", row["query"]) for row in asking[:MOST]]
    return Found(named, len(rows) - len(asking))


def from_first_word(text: str) -> str:
    """Return a statement from its first word on."""
    data = text.encode()
    return data[skip_blank(data, 0) :].decode().lstrip(" \t\r\n(")


def numbered(text: str) -> str:
    """Return a query with psycopg's parameters as the server gets them: $1, $2 …, the same name the same number."""
    numbers: dict[str, int] = {}

    def sent(found: re.Match[str]) -> str:
        return "%" if found[2] else f"${numbers.setdefault(found[1], len(numbers) + 1)}"

    return _PARAMETER.sub(sent, text) if "%(" in text else text


def of_migration(sql: str) -> str:
    """Return a statement of a migration as it may be shown: all of it but its values."""
    line = " ".join("".join("".join(words) for words in shown.statements(sql.encode(errors="replace"))).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
