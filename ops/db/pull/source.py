"""The source of a copy: a session that reads it in one snapshot, with the key of the masks, and what its server says."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops import postgres, row_values
from ops.db.pull import keys, schema
from ops.errors import Problem
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

LOCK_TIMEOUT = "10s"
# What is sent is of no use without what the session was begun with, which no server logs: statements and their
# parameters stand in the log of one with log_statement or log_min_duration_statement
SET_KEY = """
select pg_catalog.set_config('inv.mask_key', lpad(to_hex(substring(k from 1 for 64)::bit(64)::bigint), 16, '0')
  || lpad(to_hex(substring(k from 65)::bit(64)::bigint), 16, '0'), true) is not null as done
from (select ('x' || %s::text)::bit(128)
  # ('x' || coalesce(nullif(pg_catalog.current_setting('inv.mask_pad', true), ''), repeat('0', 32)))::bit(128) as k) as key
"""


@contextlib.contextmanager
def hold_snapshot(source: OpenTarget) -> Iterator[tuple[Connection[DictRow], str]]:
    """Yield a session in a read-only transaction of the source, and the name by which others see the same rows."""
    conn, sent = connect(source)
    with told_of(source), contextlib.closing(conn):
        conn.execute("begin")
        begin(conn, source)
        set_key(conn, source, sent)
        row = postgres.row(conn, "select pg_catalog.pg_export_snapshot() as name")
        yield conn, row["name"]


def connect(source: OpenTarget) -> tuple[Connection[DictRow], str]:
    """Open a session at the source, and return it with what the key is made of there that is sent in a statement.

    The other half is in the session's own options; a pooler takes none, and the whole is sent.
    """
    pad = secrets.token_hex(16) if source.facts["pid"] == source.conn.info.backend_pid else ""
    return source.connect(options=f"-c inv.mask_pad={pad}" if pad else ""), pad


def begin(conn: Connection[DictRow], source: OpenTarget, snapshot: str = "") -> None:
    """Make the transaction read-only and of a snapshot, and have values written alike whoever logs in."""
    conn.execute("set transaction isolation level repeatable read, read only")
    if snapshot:
        conn.execute(f"set transaction snapshot '{snapshot}'".encode())
    timeout = round(source.settings.pull_timeout * 1000)
    conn.execute(
        f"set local statement_timeout = {timeout}; set local lock_timeout = '{LOCK_TIMEOUT}'; set local row_security = off;"
        "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';"
        "set local extra_float_digits = 1; set local bytea_output = 'hex'; set local xmloption = 'content'".encode()
    )


def set_key(conn: Connection[DictRow], source: OpenTarget, pad: str) -> None:
    """Give the transaction the key of the masks."""
    key = keys.of_source(source.settings.root, source.facts["system_id"], source.name)
    sent = f"{int(key, 16) ^ int(pad or '0', 16):032x}"
    postgres.row(conn, SET_KEY, sent)


@contextlib.contextmanager
def told_of(source: OpenTarget) -> Iterator[None]:
    """Have what the source's server says be told as such, and without a value of any row."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise source_problem(source, error, "") from None


def source_problem(source: OpenTarget, error: Exception, table: str) -> Problem:
    """Return an error of the source's server in words."""
    import psycopg

    assert isinstance(error, psycopg.Error)
    where = f"{source.target.name}: {table}" if table else source.target.name
    if isinstance(error, psycopg.errors.SerializationFailure):
        return Problem(
            f"{where}: the replica gave way to what it had to replay (max_standby_streaming_delay): run this again, or read from another server"
        )
    if isinstance(error, psycopg.errors.QueryCanceled) and "statement timeout" in row_values.words(error.diag):
        seconds = source.settings.pull_timeout
        return Problem(f"{where}: took longer than {seconds:.0f} s (db.pull_timeout): raise that, or copy a part of its rows (--rows, --where)")  # fmt: skip
    return Problem(f"{where}: {schema.reason(error)}")
