"""A pool of connections to CONNECTION_URL, and queries whose JSON is built by Postgres.

    from backend.db import pool, query, query_wrap_array

    with pool.connection() as conn:
        rows = conn.execute(query_wrap_array(query("users")), {"limit": 10}).fetchone()[0]

Values travel as parameters only: a template names them `%(name)s`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from psycopg import Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from backend import settings

AWAY_TIMEOUT = 0.25
"""Seconds that a request waits for a connection while the last attempt to make one has failed."""
RECONNECT = 0.5
"""Seconds that an attempt goes on; after that the next request begins one, so that none waits out a long pause."""
DEFAULTS = {
    "application_name": "cruddur backend",
    "connect_timeout": "3",
    "tcp_user_timeout": "5000",  # a server that vanished without a word, as in a failover; in milliseconds
}
"""libpq's parameters where the URL gives no other."""
CONFIGURE = """
select set_config('timezone', 'UTC', false),  -- what a time without a zone is taken for
       set_config('statement_timeout', '10s', false),  -- no query outlives the patience of whoever asked
       set_config('plan_cache_mode', 'force_custom_plan', false)  -- a plan for any page would be one for a tenth of all
"""

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """A `ConnectionPool` that opens on first use, in each process anew, and notices a restart of the server."""

    def __init__(self, conninfo: str | None = None, *, size: int | None = None, timeout: float | None = None) -> None:
        """Arguments left out come from the environment, when the pool opens."""
        self._conninfo, self._size, self._timeout = conninfo, size, timeout
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection[TupleRow]] | None = None
        self._inherited: list[object] = []
        self._away = False
        _pools.add(self)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection[TupleRow]]:
        """Yield a connection that works, in autocommit; it goes back to the pool after.

        Raises psycopg's `OperationalError` (`PoolTimeout` is one) where the
        database is away or all connections are taken.
        """
        opened = self.opened()
        with opened.connection(timeout=min(AWAY_TIMEOUT, opened.timeout) if self._away else None) as conn:
            yield conn

    def opened(self) -> ConnectionPool[Connection[TupleRow]]:
        """Return psycopg's own pool, opened now if it was not; connects in the background."""
        with self._lock:
            if self._pool is None:
                self._pool = self._made()
                self._pool.open()
            return self._pool

    def close(self) -> None:
        """Close all connections; the next use opens the pool again."""
        with self._lock:
            made, self._pool, self._away = self._pool, None, False
        if made:
            made.close()

    def _made(self) -> ConnectionPool[Connection[TupleRow]]:
        read = settings.load(complete=self._conninfo is None)
        conninfo = self._conninfo or read.connection_url
        given = conninfo_to_dict(conninfo)
        return ConnectionPool(
            conninfo,
            connection_class=Connection[TupleRow],
            kwargs={"autocommit": True, **{k: v for k, v in DEFAULTS.items() if k not in given}},
            min_size=1,
            max_size=self._size or read.pool_size,
            timeout=self._timeout or read.pool_timeout,
            reconnect_timeout=RECONNECT,
            reconnect_failed=self._failed,
            configure=self._configure,
            check=self._check,
            name="backend",
            open=False,
        )

    def _configure(self, conn: Connection[TupleRow]) -> None:
        conn.execute(CONFIGURE)

    def _failed(self, _: object) -> None:
        self._away = True

    def _check(self, conn: Connection[TupleRow]) -> None:
        """See that a connection works; when one does not, the idle ones beside it have met the same restart."""
        try:
            ConnectionPool.check_connection(conn)
        except OperationalError:
            if self._pool is not None:
                self._pool.drain()
            raise
        self._away = False

    def forget(self) -> None:
        """Leave a parent's connections to the parent: they are kept, unused, so that nothing here closes them."""
        self._inherited.append(self._pool)
        self._lock, self._pool, self._away = threading.Lock(), None, False


def _in_child() -> None:
    for inherited in _pools:
        inherited.forget()


os.register_at_fork(after_in_child=_in_child)

pool = Pool()
"""The application's pool, on CONNECTION_URL."""
atexit.register(pool.close)


def query_wrap_object(template: str) -> str:
    """Return a query for one row of another as a JSON object, `{}` if it has none."""
    return f"select coalesce((select row_to_json(object_row) from (\n{bare(template)}\n) object_row limit 1), '{{}}'::json)"


def query_wrap_array(template: str) -> str:
    """Return a query for the rows of another as a JSON array, in their order, `[]` if it has none."""
    return f"select coalesce(json_agg(array_row), '[]'::json) from (\n{bare(template)}\n) array_row"


def bare(template: str) -> str:
    """Return a query without what would end it inside another: blanks and semicolons."""
    return template.strip().rstrip(";")


def query(name: str, folder: Path | None = None) -> str:
    """Return the template `name`.sql of the queries' folder, like "home" or "users/short".

    Raises `LookupError` where there is none: a name never leads out of the folder.
    """
    return _read(folder or settings.load().queries, name)


@functools.cache
def _read(folder: Path, name: str) -> str:
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*", name):
        raise LookupError(f"{name!r} is no name of a query: letters, digits, - and _")
    try:
        return (folder / f"{name}.sql").read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LookupError(f"there is no query {name} in {folder}") from None


def query_object_json(template: str, params: Mapping[str, Any] | None = None, source: Pool = pool) -> dict[str, Any]:
    """Return one row of a template as a dict, an empty one if there is none."""
    found: dict[str, Any] = _value(query_wrap_object(template), params, source)
    return found


def query_array_json(
    template: str, params: Mapping[str, Any] | None = None, source: Pool = pool
) -> list[dict[str, Any]]:
    """Return the rows of a template as dicts."""
    found: list[dict[str, Any]] = _value(query_wrap_array(template), params, source)
    return found


def _value(sql: str, params: Mapping[str, Any] | None, source: Pool) -> Any:
    with source.connection() as conn:
        row = conn.execute(sql.encode(), params).fetchone()
    assert row is not None
    return row[0]
