"""db.query: the SQL files of paths.queries, from the command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import console
from ops.db import reader
from ops.db.sql_file import diagnostics, script
from ops.db.sql_file.script import Script
from ops.errors import Misconfigured
from ops.targets import opening, outcome, replica
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.abc import Buffer
    from psycopg.adapt import Loader
    from psycopg.rows import DictRow

Row = dict[str, Any]
"""A row of the query: a key for each of its columns, by the column's name. A number that is exact in Postgres (numeric) is a
string, so that no digit is lost; bytea is one of \\x and digits; what JSON has no value for (infinity, NaN, a year BC) is as
Postgres writes it; a time is ISO 8601, with a zone where the column has one."""
_PARAMETER = re.compile(r"%\((\w+)\)s")
_SENT = re.compile(r"%(?:\((\w+)\)s|%)")


def show(
    settings: Settings,
    name: str,
    target: str,
    limit: str,
    variables: dict[str, str],
    *,
    json: bool,
    explain: bool = False,
) -> None:
    """Print the rows of a query, or its plan: a table, or JSON."""
    if not (limit.isascii() and limit.isdigit() and len(limit) < 11 and 0 < int(limit) < 2**31):
        raise Misconfigured(f"--limit {limit}: give a whole number above 0")
    query = template(settings.queries, name)
    wanted = parameters(query)
    if unknown := sorted(set(variables) - wanted):
        raise Misconfigured(f"--var {unknown[0]}: {name} takes {', '.join(sorted(wanted)) or 'no parameters'}")
    values: dict[str, int | str | None] = {**dict.fromkeys(wanted), "limit": int(limit), **variables}
    given = {key: values[key] for key in wanted}
    if explain:
        columns, rows = explained(settings, target, query, given, as_json=json)
    else:
        columns, rows = fetched(settings, target, query, given)
    if json:
        console.as_json(rows)
    elif explain:
        for row in rows:
            console.result(str(row[columns[0]]))
    else:
        console.table(columns, rows)


def template(folder: Path, name: str) -> Script:
    """Return a query; raise `Misconfigured` naming those there are."""
    there = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sql"))
    if name not in there:
        raise Misconfigured(
            f"there is no query {name} in {folder}: use one of {', '.join(there)}"
            if there
            else f"there are no queries in {folder}: set paths.queries"
        )
    return script.read(folder / f"{name}.sql")


def text(query: Script) -> str:
    return query.data[:].decode()


def parameters(query: Script) -> set[str]:
    """Return the names of what a query takes: %(limit)s is limit."""
    return set(_PARAMETER.findall(text(query)))


def fetched(
    settings: Settings, target: str, query: Script, values: dict[str, int | str | None]
) -> tuple[list[str], list[DictRow]]:
    """Run a query where it can change nothing, and return its columns and rows; parameters without a value are null."""
    with replica.open_for_reading(settings, target, "db.query", login="reader") as at:
        at.required()
        with at.connect() as conn:
            keep_as_written(conn)
            with reader.reading(conn), pointing(query, values):
                # by the extended protocol, so that the server refuses a second statement, which could end the transaction;
                # not prepared, since a pooler keeps that for whoever is next
                with conn.pipeline():
                    found = conn.execute(query.data[:], values or None, prepare=False)
                return [
                    column.name for column in found.description or ()
                ], found.fetchall() if found.description else []


def explained(
    settings: Settings,
    target: str,
    query: Script,
    values: dict[str, int | str | None],
    *,
    as_json: bool,
    announced: bool = True,
    patience: str = "",
) -> tuple[list[str], list[DictRow]]:
    """Return the plan of a query, which is not run: with the values that are given, else whatever they are.

    It is that of the database that db.pull --plans has made beside the target's, where there is one. Raises `Misconfigured`
    where a value is lacking and the server is older than 16 (https://www.postgresql.org/docs/16/sql-explain.html). `patience` is how
    long a lock is waited for, as Postgres writes it; empty: as it is set there.
    """
    from ops.db.plans import marker

    with opening.open_target(settings, target, "db.query", announced=announced) as at:
        pulled = marker.is_plans_only(at.conn, at.name + marker.SUFFIX)
        if not pulled:
            at.required()
        with at.connect(marker.SUFFIX if pulled else "") as conn:
            if pulled:
                made = marker.record(conn)
                console.say(f"plan as on {made['source']}, by its statistics of {in_utc(made['made_at'])}")
            lacking = [name for name, value in values.items() if value is None]
            if lacking and conn.info.server_version < 160000:
                raise Misconfigured(
                    f"PostgreSQL {at.facts['version']} makes no plan without values: inv db.query --explain --var {lacking[0]}=…"
                )
            options = ["format json"] * as_json + ["generic_plan"] * bool(lacking)
            head = f"explain ({', '.join(options)}) " if options else "explain "
            with reader.reading(conn):
                if patience:
                    conn.execute(f"set local lock_timeout = '{patience}'".encode())
                with pointing(query, values):
                    require_one(conn, numbered(query, values))
                with pointing(query):
                    found = conn.execute((head + numbered(query, values, conn)).encode())
                return [column.name for column in found.description or ()], found.fetchall()


def numbered(query: Script, values: Mapping[str, int | str | None], conn: Connection[DictRow] | None = None) -> str:
    """Return a query with $1, $2 … for its parameters; with a connection only for those that have no value."""
    from psycopg import sql

    numbers = dict[str, int]()

    def sent(found: re.Match[str]) -> str:
        if not found[1]:
            return "%"
        if conn and (value := values[found[1]]) is not None:
            return sql.Literal(value).as_string(conn)
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}"

    return _SENT.sub(sent, text(query)) if values else text(query)


def require_one(conn: Connection[DictRow], sent: str) -> None:
    """Have the server read a query; it refuses a second statement, which could end the transaction. Raises its errors."""
    from psycopg import errors, pq

    result = conn.pgconn.prepare(b"", sent.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(result)


@contextlib.contextmanager
def pointing(query: Script, values: Mapping[str, object] | None = None) -> Iterator[None]:
    """Have what the server says of a query point to its file; without `values` it has seen another text, and no place is told."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        if not error.sqlstate or outcome.is_lost(error):
            raise
        at = stands(query, error.diag, values) if values is not None else -1
        raise diagnostics.pointed(query, at, error.diag, "", loads=False) from error


def stands(query: Script, diag: Any, values: Mapping[str, object]) -> int:
    """Return the byte offset in the file of what the server complains of, -1 if it does not say: it saw $1 for %(name)s."""
    if not diag.statement_position:
        return -1
    position, numbers = int(diag.statement_position) - 1, dict[str, int]()
    for found in _SENT.finditer(text(query)) if values else ():
        sent = f"${numbers.setdefault(found[1], len(numbers) + 1)}" if found[1] else "%"
        if position <= found.start():
            break
        position = max(found.start(), position + len(found[0]) - len(sent))
    return query.offset(position + 1)


def keep_as_written(conn: Connection[DictRow]) -> None:
    """Have the rows of a connection hold, as Postgres writes it, what Python or JSON has no value for: infinity, NaN, 44 BC."""
    import math

    from psycopg.errors import DataError
    from psycopg.types import datetime, numeric

    def lenient(base: Any) -> type[Loader]:
        class AsWritten(base):  # type: ignore[misc]
            def load(self, data: Buffer) -> object:
                with contextlib.suppress(DataError):
                    value = super().load(data)
                    if not isinstance(value, float) or math.isfinite(value):
                        return value
                return bytes(data).decode()

        return AsWritten

    for name, base in {
        "date": datetime.DateLoader,
        "timestamp": datetime.TimestampLoader,
        "timestamptz": datetime.TimestamptzLoader,
        "interval": datetime.IntervalLoader,
        "float4": numeric.FloatLoader,
        "float8": numeric.FloatLoader,
    }.items():
        conn.adapters.register_loader(name, lenient(base))
