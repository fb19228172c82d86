"""A pool of connections to CONNECTION_URL, and queries whose JSON is built by Postgres.

    from backend.db import pool, query, query_wrap_array

    with pool.connection() as conn:
        rows = conn.execute(query_wrap_array(query("users")), {"limit": 10}).fetchone()[0]

Values travel as parameters only: a template names them `%(name)s`. A database that takes another one's place is
ridden through: while that is done, sessions are ended, and its name is not to be found.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from psycopg import Connection, Error, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from backend import iam, settings

AWAY_TIMEOUT = 0.25
"""Seconds that a request waits for a connection while the last attempt to make one has failed."""
IDLE, IDLE_ALONE = 600.0, 60.0
"""Seconds after which a connection that nobody uses is closed where some are kept, and all of them where none is."""
RECONNECT = 0.5
"""Seconds that an attempt goes on; after that the next request begins one, so that none waits out a long pause."""
PATIENCE, PAUSE = 2.0, 0.03
"""Seconds that a login, or a query that only reads, is tried again from the first time that the server says what passes; and between two attempts."""
PASSES = ("3D000", "55000", "55006", "57P01", "57P02", "57P03", "57P04", "57P05", "53300", "08")
"""SQLSTATEs, or their beginning, of a server that ends sessions or takes none just now (PostgreSQL's documentation, appendix A)."""
# libpq gives no SQLSTATE of a login that failed, only the server's words; another language's are met by the pool's own attempts
_PASSES = re.compile(
    r'database ".*" does not exist|not currently accepting connections|not yet accepting connections|'
    r"is starting up|is shutting down|in recovery mode|terminating connection|too many (connections|clients)|"
    r"remaining connection slots|closed the connection unexpectedly",
    re.DOTALL,
)
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


class _Connection(Connection[TupleRow]):
    """A session, configured; one that is refused for a moment is asked for again."""

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> _Connection:
        deadline = 0.0
        while True:
            try:
                made = super().connect(conninfo, **kwargs)
                made.execute(CONFIGURE)
            except OperationalError as error:
                deadline = deadline or time.monotonic() + PATIENCE
                if not passes(error) or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
            else:
                return made


def passes(error: Error) -> bool:
    """Whether another session, asked for at once, may do what this one could not."""
    if isinstance(error, PoolTimeout):  # has waited already
        return False
    if error.sqlstate:
        return error.sqlstate.startswith(PASSES)
    return isinstance(error, OperationalError) and bool(_PASSES.search(str(error)))


def told(error: BaseException) -> str:
    """Return an error in words for a log: no address, no login, no line of libpq's, nobody's data."""
    if isinstance(error, PoolTimeout):
        return "no connection to be had in time"
    if isinstance(error, settings.Misconfigured):
        return str(error)
    if not isinstance(error, Error):
        return type(error).__name__
    if error.sqlstate:
        # class 22 quotes the value that it refuses, and a function, which has a context, anything
        quotes = error.sqlstate.startswith("22") or error.diag.context
        said = "" if quotes else error.diag.message_primary
        return f"{' '.join((said or type(error).__name__).split())} ({error.sqlstate})"
    text = str(error)
    for sign, words in _WORDS.items():
        if sign in text:
            return words
    return "the connection failed or was lost"


_WORDS = {
    "certificate": "its certificate could not be checked",
    "SSL error": "TLS failed",
    "refused": "nothing answers at its address",
    "does not exist": "there is no database, or no user, of this name just now",
    "accepting connections": "the database takes no connections just now",
    "starting up": "the server is starting",
    "shutting down": "the server is stopping",
    "recovery mode": "the server recovers from a crash",
    "PAM authentication failed": "its token is refused: see the rights of this login to AWS (rds-db:connect), and the clock",
    "authentication failed": "wrong user or password",
    "terminating connection": "the server has ended the session",
    "closed the connection": "the server has ended the session",
    "timeout": "it did not answer in time",
    "resolve host": "its host name does not resolve",
    "translate host name": "its host name does not resolve",
    "connections": "all connections of the server are taken",
    "clients": "all connections of the server are taken",
}


class _Worded(logging.Filter):
    """Puts our words for the errors in the pool's own warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(told(arg) if isinstance(arg, BaseException) else arg for arg in record.args)
        return True


for _name in ("psycopg", "psycopg.pool"):
    logging.getLogger(_name).addFilter(_Worded())


class Pool:
    """A `ConnectionPool` that opens on first use, in each process anew, and notices a restart of the server."""

    def __init__(
        self,
        conninfo: str | None = None,
        *,
        size: int | None = None,
        timeout: float | None = None,
        replica: bool = False,
    ) -> None:
        """Arguments left out come from the environment, when the pool opens; with `replica` it is that of READ_CONNECTION_URL."""
        self._conninfo, self._size, self._timeout, self._replica = conninfo, size, timeout, replica
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
        conninfo = self._conninfo or (read.read_url if self._replica else read.connection_url)
        token = read.read_iam if self._replica else read.iam
        given = conninfo_to_dict(conninfo)
        kwargs = {"autocommit": True, **{k: v for k, v in DEFAULTS.items() if k not in given}}
        sign = iam.signer(conninfo, token, replica=self._replica) if token else None
        size = self._size or read.pool_size
        return ConnectionPool(
            conninfo,
            connection_class=_Connection,
            kwargs=(lambda: {**kwargs, "password": sign()}) if sign else kwargs,
            min_size=min(read.pool_kept, size),
            max_size=size,
            max_idle=IDLE if read.pool_kept else IDLE_ALONE / size,  # it closes one at each of these times
            timeout=self._timeout or read.pool_timeout,
            reconnect_timeout=RECONNECT,
            reconnect_failed=self._failed,
            check=self._check,
            name="backend",
            open=False,
        )

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
    """Return one row of a template as a dict, an empty one if there is none.

    A template only reads: it is sent again where the session was ended meanwhile.
    """
    found: dict[str, Any] = _value(query_wrap_object(template), params, source)
    return found


def query_array_json(
    template: str, params: Mapping[str, Any] | None = None, source: Pool = pool
) -> list[dict[str, Any]]:
    """Return the rows of a template as dicts; it only reads, as that of `query_object_json`."""
    found: list[dict[str, Any]] = _value(query_wrap_array(template), params, source)
    return found


def _value(sql: str, params: Mapping[str, Any] | None, source: Pool) -> Any:
    deadline = 0.0
    while True:
        try:
            with source.connection() as conn:
                row = conn.execute(sql.encode(), params).fetchone()
        except OperationalError as error:
            deadline = deadline or time.monotonic() + PATIENCE  # however long the query had gone on before
            if not passes(error) or time.monotonic() > deadline:
                raise
        else:
            assert row is not None
            return row[0]
