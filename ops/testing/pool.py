"""Clones of the template, made ahead and removed behind by threads with a session each."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ops import postgres
from ops.db import create_database
from ops.errors import Problem
from ops.targets import bound, outcome
from ops.targets.open_target import OpenTarget
from ops.testing import names, template

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

MAKERS = 2
"""Sessions that make clones at the same time; the server copies in each of them."""
BEHIND = 16
"""Clones that may wait for their removal while others are wanted: a run's end waits for them."""
FAST_COPY = "file_copy"
"""The strategy of CREATE DATABASE that costs least without fsync; with it each file is flushed, and the server's own choice is better."""
CLONES = r"select datname as name from pg_catalog.pg_database where datname ~ '^inv_test_p'"
SIZE = "select pg_catalog.pg_database_size(%s) as bytes"
EXTRAS = """
select d.datacl is not null or pg_catalog.shobj_description(d.oid, 'pg_database') is not null
  or exists (select from pg_catalog.pg_db_role_setting where setdatabase = d.oid) as there,
  pg_catalog.current_setting('fsync') = 'on' as flushes
from pg_catalog.pg_database d where datname = %s
"""


@dataclass(frozen=True)
class Limits:
    """How many databases of this run there may be at a time."""

    ready: int
    """Made ahead of the tests."""
    living: int
    """Altogether: ready, in use, and not removed yet."""


def limits(ahead: int, disk_mb: int, workers: int, size: int) -> Limits:
    """Return how many clones of `size` bytes a worker may have, of `workers` that share the disk; one there always is."""
    living = max(1, disk_mb * 1_000_000 // max(1, workers) // max(1, size))
    return Limits(min(max(1, ahead), living), living)


@dataclass
class Pool:
    """The clones of one run."""

    at: OpenTarget
    """The template."""
    run: str
    limits: Limits
    give: Callable[[str], None]
    """Hands a clone to the tests."""
    fail: Callable[[Problem], None]
    """Told what ended a thread."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    number: int = 0
    """Of clones that were begun."""
    ready: int = 0
    """Clones that are being made, or were and are not taken."""
    living: int = 0
    """Clones that are there, or about to be."""
    doomed: deque[str] = field(default_factory=deque)
    """Clones to be removed."""
    closing: bool = False
    extras: bool = False
    """Whether the template has settings, grants or a comment, which no clone inherits."""
    flushes: bool = True
    """Whether the server waits for its disk: fsync is on."""
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to make clones, and to remove what killed runs have left."""
        found = postgres.row(self.at.conn, EXTRAS, self.at.name)
        self.extras, self.flushes = found["there"], found["flushes"]
        for work in [self.make_all] * min(MAKERS, self.limits.ready) + [self.drop_all]:
            thread = threading.Thread(target=self.guarded, args=[work], daemon=True)
            self.threads.append(thread)
            thread.start()

    def guarded(self, work: Callable[[Connection[DictRow]], None]) -> None:
        """Run the work of a thread with a session of its own; what ends it early is handed on."""
        try:
            with contextlib.closing(self.connect()) as conn:
                work(conn)
        except Exception as error:
            told = outcome.told(error, self.at, self.at.target.address, writes=False)
            known = error if isinstance(error, Problem) else None
            self.fail(told or known or Problem(f"{type(error).__name__}: {error}"))

    def connect(self) -> Connection[DictRow]:
        """Open another session where the first one is."""
        at = self.at
        return postgres.connect(
            at.target, task=at.task, dbname=at.conn.info.dbname, timeout=at.settings.connect_timeout
        )

    # --- what the tests say ---------------------------------------------------------------

    def taken(self) -> None:
        """Note that a test has begun with a clone."""
        with self.changed:
            self.ready -= 1
            self.changed.notify_all()

    def done(self, name: str) -> None:
        """Have a clone removed whose test has ended."""
        with self.changed:
            self.doomed.append(name)
            self.changed.notify_all()

    def close(self) -> None:
        """Make no more clones, remove all that there are, and wait until that is done."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()
        sweep(self.at.conn, self.run)

    # --- what the threads do --------------------------------------------------------------

    def make_all(self, conn: Connection[DictRow]) -> None:
        while (name := self.next()) is not None:
            self.make(conn, name)
            self.give(name)

    def next(self) -> str | None:
        """Return the name of the next clone once there is room for it; None when no more are wanted."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.closing or (self.ready < self.limits.ready and self.living < self.limits.living)
            )
            if self.closing:
                return None
            self.number += 1
            self.ready += 1
            self.living += 1
            return names.clone(self.run, self.number)

    def make(self, conn: Connection[DictRow], name: str) -> None:
        from psycopg import sql

        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(self.at.name))
        if not self.flushes and conn.info.server_version >= 150000:
            statement = sql.SQL("{} strategy {}").format(statement, sql.SQL(FAST_COPY))
        conn.execute(statement)
        if self.extras:
            like = self.at.database()
            assert like is not None
            create_database.carry_over(replace(self.at, conn=conn), like, name, force=True, act=bound.SETUP)

    def drop_all(self, conn: Connection[DictRow]) -> None:
        sweep(conn)
        while (name := self.next_doomed()) is not None:
            template.drop(conn, name)
            with self.changed:
                self.living -= 1
                self.changed.notify_all()

    def next_doomed(self) -> str | None:
        """Return a clone to be removed; while clones are wanted and there is room for them, those come first mostly."""

        def is_due() -> bool:
            waited_for = self.ready < self.limits.ready and self.living < self.limits.living
            return self.closing or len(self.doomed) > BEHIND or (bool(self.doomed) and not waited_for)

        with self.changed:
            self.changed.wait_for(is_due)
            return self.doomed.popleft() if self.doomed and not self.closing else None


@contextlib.contextmanager
def hold_run(at: OpenTarget) -> Iterator[str]:
    """Yield the name of this run, by which its databases are told from those of one that was killed."""
    run = names.run_name()
    at.conn.execute(template.HOLD.encode(), [run])
    yield run


def sweep(conn: Connection[DictRow], run: str = "") -> int:
    """Remove the databases of a run, or of all that were killed; return how many."""
    import psycopg

    found = {row["name"]: names.run_of(row["name"]) for row in postgres.fetch(conn, CLONES)}
    gone = template.is_free(conn, sorted(filter(None, found.values())))
    count = 0
    for name, of in found.items():
        if of and of == run if run else of in gone:
            with contextlib.suppress(
                psycopg.errors.InvalidCatalogName, psycopg.errors.ObjectInUse
            ):  # another run is at it
                template.drop(conn, name)
                count += 1
    return count
