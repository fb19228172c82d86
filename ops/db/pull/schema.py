"""A source's schema, as its own pg_dump writes it in the snapshot of the copy, and made in another database.

Owners, rights, publications, subscriptions and security labels are of the source's server, and stay there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from ops import postgres, row_values, silence
from ops.console import say
from ops.db import nowhere, shown
from ops.db.drift import schema_file
from ops.errors import Problem
from ops.targets import outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

OPTIONS = (
    "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions", "--no-security-labels", "--no-tablespaces",
    "--exclude-schema=inv", "--encoding=UTF8", "--lock-wait-timeout=10s",
)  # fmt: skip
"""Of pg_dump (https://www.postgresql.org/docs/current/app-pgdump.html)."""
HEAD = "set check_function_bodies = false; set client_min_messages = warning; select pg_catalog.set_config('search_path', '', false)"
LEFT_OUT = ("CREATE POLICY", "CREATE EVENT TRIGGER", "ALTER EVENT TRIGGER", "CREATE USER MAPPING")
"""What may name a role that is not here, or want a superuser: the copy does without."""
EXTENSION = re.compile(r'CREATE EXTENSION (?:IF NOT EXISTS )?("(?:[^"]|"")+"|[^\s;]+)')


def dumped(source: OpenTarget, snapshot: str, section: Literal["pre-data", "post-data"]) -> list[str]:
    """Return the statements that make what comes before the rows of a source, or after them."""
    with silence.waiting(f"pg_dump of {source.name}"):
        made = schema_file.pg_dump(source, f"--section={section}", f"--snapshot={snapshot}", *OPTIONS)
    return [nowhere.without_values(each) for each in schema_file.statements(made) if each]


def check_extensions(at: OpenTarget, statements: list[str]) -> None:
    """Name an extension that the server of the copy cannot give, before anything is changed."""
    wanted = {found[1].strip('"') for each in statements if (found := EXTENSION.match(each))}
    if not wanted:
        return
    rows = postgres.fetch(at.conn, "select name from pg_available_extensions where name = any(%s)", sorted(wanted))
    if lacking := sorted(wanted - {row["name"] for row in rows}):
        from ops.db.sql_file import hints

        raise Problem(f"the server of the copy has no extension {lacking[0]}: {hints.extension(lacking[0])}")


def make(conn: Connection[DictRow], statements: list[str]) -> None:
    """Run the statements in a database of ours; raises `Problem`, which names no value."""
    import psycopg

    conn.execute(HEAD.encode())
    for each in statements:
        try:
            conn.execute(each.encode())
        except psycopg.Error as error:
            if conn.closed:  # by its state alone a server that was asked by this one may be the one that is lost
                raise
            what = " ".join(each.split("(")[0].split())[:100] if each.startswith(("CREATE", "ALTER")) else ""
            if each.startswith("REFRESH"):  # over a foreign table, mostly
                say(f"note: {' '.join(each.split()[3:]).rstrip(';')} is empty in the copy: {reason(error)}")
                continue
            if each.startswith(LEFT_OUT) and isinstance(
                error, (psycopg.errors.UndefinedObject, psycopg.errors.InsufficientPrivilege)
            ):
                say(f"note: the copy is without {what or shown.without_values(each)}: {row_values.message(error.diag)}")
                continue
            raise Problem(f"{what or shown.without_values(each)}: {reason(error)}") from None
    conn.execute("reset all")


def reason(error: Exception) -> str:
    """Return what a server says of a statement or of rows, without a value of any.

    A message of Postgres may have values in it, what it says besides has names only
    (https://www.postgresql.org/docs/current/errcodes-appendix.html).
    """
    import psycopg

    assert isinstance(error, psycopg.Error)
    diag = error.diag
    if not error.sqlstate or outcome.row(error.sqlstate):
        what, step = outcome.meaning(error)
        return f"{what}: {step}" if step else what
    if error.sqlstate[:2] in ("42", "0A"):  # about names of the schema, and not about rows
        return row_values.message(diag)
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    found = re.match(r"COPY [^,]+, line \d+, column ([^:]+?)(?::|$)", diag.context or "")
    parts = [(" of " + diag.constraint_name) if diag.constraint_name else ""]
    if column := diag.column_name or (found[1] if found else ""):
        parts.append(f" in column {column}")
    return f"{kind}{''.join(parts)} ({error.sqlstate})"
