"""Readers and writers beside a migration, and how long the slowest of them was kept waiting."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

READERS, WRITERS = 3, 3
PAUSE = 0.003
"""Seconds between two statements of one of them: a load that leaves this machine some room."""
NOTED = 0.002
"""Seconds from which on a statement's time is kept."""

# Of each table: one column that can be written, and in the order of their sizes the largest
TABLES = """
select format('%I.%I', n.nspname, c.relname) as name,
  (select quote_ident(a.attname) from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     and a.attgenerated = '' and a.attidentity = '' order by a.attnum desc limit 1) as column
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by c.relpages desc, 1
"""


class Slow(NamedTuple):
    """A statement that took a while, by the monotonic clock."""

    began: float
    ended: float


@dataclass
class Traffic:
    """Sessions that read and write every table in turn."""

    connect: Callable[[], Connection[DictRow]]
    slow: list[Slow] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    """How often each SQLSTATE was given to them."""
    count: int = 0
    """Statements that they have run."""

    def __post_init__(self) -> None:
        self.over = threading.Event()
        self.writing = threading.Event()
        self.writing.set()
        self.tables: Sequence[DictRow] = ()
        self.busy: dict[int, float] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Traffic]:
        """Let them run until the end of the block."""
        work = [(number, number >= READERS) for number in range(READERS + WRITERS)]
        threads = [threading.Thread(target=self.go, args=one, daemon=True) for one in work]
        self.look_again()
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.over.set()
            self.writing.set()
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def without_writers(self) -> Iterator[None]:
        """Have nobody write meanwhile: what is written to the log is then of one session only."""
        self.writing.clear()
        while any(number >= READERS for number in list(self.busy)):
            time.sleep(PAUSE)
        try:
            yield
        finally:
            self.writing.set()

    def look_again(self) -> None:
        """Read which tables there are now."""
        with contextlib.closing(self.connect()) as conn:
            self.tables = postgres.fetch(conn, TABLES)

    def longest(self, began: float, ended: float) -> float:
        """Return how long the slowest statement took that ran in a span of time, in seconds."""
        now = time.monotonic()
        going = [Slow(since, now) for since in list(self.busy.values())]
        return max(
            (one.ended - one.began for one in [*self.slow, *going] if one.began < ended and one.ended > began),
            default=0.0,
        )

    def go(self, number: int, writes: bool) -> None:
        """Read or write one table after another."""
        import psycopg

        conn = self.connect()
        with contextlib.suppress(psycopg.OperationalError), contextlib.closing(conn):
            conn.execute("set session_replication_role = replica")  # no trigger, so that nothing but the table is asked
            for turn in itertools.count(number):
                if self.over.is_set():
                    return
                if writes:
                    self.writing.wait()
                if self.tables:
                    self.one(conn, number, statement(self.tables[turn % len(self.tables)], number if writes else None))
                time.sleep(PAUSE)

    def one(self, conn: Connection[DictRow], number: int, sql: str) -> None:
        import psycopg

        began = self.busy[number] = time.monotonic()
        try:
            conn.execute(sql.encode())
        except psycopg.OperationalError as error:
            if not error.sqlstate or conn.closed:
                raise
            self.refused[error.sqlstate] += 1
        except psycopg.Error as error:
            self.refused[error.sqlstate or ""] += 1
        finally:
            ended = time.monotonic()
            self.busy.pop(number, None)
        self.count += 1
        if ended - began >= NOTED:
            self.slow.append(Slow(began, ended))


def statement(table: DictRow, writer: int | None) -> str:
    """Return what a reader asks of a table, or what a writer changes in it: a row of its own, to what it is."""
    name, column = table["name"], table["column"]
    if writer is None:
        return f"select * from {name} limit 1"
    if not column:
        return f"delete from {name} where false"
    return f"update {name} set {column} = {column} where (tableoid, ctid) in (select tableoid, ctid from {name} offset {writer} limit 1 for update skip locked)"
