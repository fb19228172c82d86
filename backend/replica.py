"""Where the feed reads: at a replica as long as that is near enough to its primary, else at the primary itself. It writes nowhere.

The rule is that of db.query: the primary says how far it is, and a replica that has replayed so far, or a transaction of at most
DB_READ_LAG seconds ago, will do (PostgreSQL's documentation, "Recovery Information Functions": where the primary is idle, the time of
the last one says nothing of the lag). It is looked at again every few seconds, beside the requests, so that none waits for that; what
changes is logged.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from psycopg import Error, OperationalError, errors

from backend import settings
from backend.db import Pool, pool, told

AGAIN = 2.0
"""Seconds between two looks."""
PATIENCE, PAUSE = 1.0, 0.05
"""Seconds that a replica may take to replay what an idle primary has written last; and between two looks at it."""
WHO = """
select (select system_identifier::text from pg_catalog.pg_control_system()),
  (select count(*) from pg_catalog.pg_class where relpersistence = 'u' and relkind in ('r', 'm'))
"""
PLACE = "select case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_current_wal_lsn()::text end"
STANDING = """
select pg_catalog.pg_is_in_recovery(), coalesce(pg_catalog.pg_last_wal_replay_lsn() >= %s::text::pg_catalog.pg_lsn, false),
  extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8,
  pg_catalog.pg_last_wal_replay_lsn()::text
"""
REACHED = "select pg_catalog.pg_is_in_recovery() or pg_catalog.pg_current_wal_lsn() >= %s::text::pg_catalog.pg_lsn"
"""Asked of a primary after its replica: what a restored instance is, has written less than what follows the one before it has replayed."""

R = TypeVar("R")
log = logging.getLogger("backend")


class Reading:
    """Says at which of both pools is read."""

    def __init__(self, primary: Pool, replica: Pool) -> None:
        self.primary, self.replica = primary, replica
        self.fit = False
        self._why: str | None = None
        """Why the replica is not read, as it was logged last; None: nothing was."""
        self._identity = ""
        """Of the server that both are of, once that is known."""
        self._looked = -AGAIN
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def source(self, read: settings.Settings | None = None) -> Pool:
        """Return the pool to read from just now, by variables that are read already, or are read here."""
        read = read or settings.load()
        if not read.read_url:
            return self.primary
        with self._lock:
            at_work = self._thread is not None and self._thread.is_alive()
            if not at_work and time.monotonic() - self._looked >= AGAIN:
                self._thread = threading.Thread(target=self.look, args=[read.read_lag], daemon=True)
                self._thread.start()
        return self.replica if self.fit else self.primary

    def read(self, ask: Callable[[Pool], R], read: settings.Settings | None = None) -> R:
        """Return what is asked of the replica, where that is read; where it fails, of the primary."""
        source = self.source(read)
        if source is self.replica:
            try:
                return ask(source)
            except Error as error:  # away, or a moment behind a change of the schema
                if isinstance(error, errors.QueryCanceled):  # it takes too long, and would there as well
                    raise
                self.settle(told(error))
        return ask(self.primary)

    def look(self, lag: float) -> None:
        """See whether the replica is near enough; `lag` is in seconds."""
        try:
            self.settle(self.unfit(lag))
        except (Error, settings.Misconfigured) as error:
            self.settle(told(error))
        finally:
            self._looked = time.monotonic()

    def settle(self, why: str) -> None:
        """Read at the replica, or not where there is a reason; a change is logged."""
        self.fit = not why
        if why.partition(" by ")[0] == (self._why or "").partition(" by ")[0] and self._why is not None:
            return
        self._why = why
        log.warning("%s", f"the database is read itself, not its replica: {why}" if why else "read at the replica")

    def unfit(self, lag: float) -> str:
        """Return why the replica is not to be read; empty where it may be."""
        here = self.place()
        if not self._identity:
            if here is None:
                return "its primary does not say how far it is"
            (mine, unlogged), (theirs, _) = who(self.primary), who(self.replica)
            if not mine or not theirs:
                return "it does not say whose it is"
            if mine != theirs:
                return "it is another server's: correct READ_CONNECTION_URL"
            if unlogged:
                return "it has no rows of unlogged tables, and there are some"
            self._identity = mine
        deadline = time.monotonic() + PATIENCE
        while True:
            follows, level, seconds, replayed = row(self.replica, STANDING, here or "FFFFFFFF/FFFFFFFF")
            if not follows:
                self._identity = ""
                return "it follows nobody any more: correct READ_CONNECTION_URL"
            if level or (seconds is not None and seconds <= lag):
                if here and replayed and not row(self.primary, REACHED, replayed)[0]:
                    return "it has what its primary has not, so it follows another one: correct READ_CONNECTION_URL"
                return ""
            if time.monotonic() > deadline:
                return f"it lags by {'an unknown time' if seconds is None else f'{seconds:.0f} s'}, {lag:g} s are allowed (DB_READ_LAG)"
            time.sleep(PAUSE)

    def place(self) -> str | None:
        """Return where the primary stands; None while it is away, or where it is a replica itself."""
        try:
            found: str | None = row(self.primary, PLACE)[0]
        except OperationalError:
            return None
        return found


def who(of: Pool) -> tuple[str, int]:
    """Return a server's identifier, empty where it keeps that to itself, and how many of the tables are not logged."""
    try:
        identity, unlogged = row(of, WHO)
    except errors.InsufficientPrivilege:
        return "", 0
    return identity, unlogged


def row(of: Pool, query: str, *values: object) -> Any:
    with of.connection() as conn:
        return conn.execute(query.encode(), values).fetchone()


reading = Reading(pool, Pool(replica=True))
"""Where the application reads: CONNECTION_URL, or READ_CONNECTION_URL."""
atexit.register(reading.replica.close)
