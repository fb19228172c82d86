"""Which locks a statement takes, and how strong: read from pg_locks, never from a list of statements.

Within a transaction they are held until its end, so they are read after each statement. What runs outside of one has
given them back by then: it is watched from beside, and a session of ours makes it wait where it waits for others, long
enough to be seen; nobody who reads or writes waits for that session. The levels and what they conflict with:
https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from typing_extensions import LiteralString

Level = Literal[
    "access_share",
    "row_share",
    "row_exclusive",
    "share_update_exclusive",
    "share",
    "share_row_exclusive",
    "exclusive",
    "access_exclusive",
]
LEVELS: dict[str, Level] = {
    "AccessShareLock": "access_share",
    "RowShareLock": "row_share",
    "RowExclusiveLock": "row_exclusive",
    "ShareUpdateExclusiveLock": "share_update_exclusive",
    "ShareLock": "share",
    "ShareRowExclusiveLock": "share_row_exclusive",
    "ExclusiveLock": "exclusive",
    "AccessExclusiveLock": "access_exclusive",
}
"""As pg_locks has them, the weakest first."""
STRENGTH = {level: number for number, level in enumerate(LEVELS.values())}
STOPS_WRITES = STRENGTH["share"]
"""From here on a lock keeps INSERT, UPDATE and DELETE out (row_exclusive)."""
STOPS_READS = STRENGTH["access_exclusive"]
"""And this one SELECT, too."""
PERIOD = 0.001
"""Seconds between two looks at a statement outside of a transaction."""

HELD = (
    "select relation::bigint as oid, mode from pg_catalog.pg_locks where pid = %s and locktype = 'relation' and granted"
)
# Asked for is as good as held: that is what others queue behind
SEEN = """
select relation::bigint as oid, mode, granted, locktype = 'relation' as is_relation,
  case when not granted then pg_catalog.pg_blocking_pids(pid) end as blockers
from pg_catalog.pg_locks where pid = %s and (locktype = 'relation' or not granted)
"""
# Each table of the database: read, or locked so that only what changes tables must wait
EACH_TABLE = """
do $$ declare one regclass; begin
  for one in select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'p')
    and nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_(toast|temp)'
  loop execute format('{}', one); end loop;
end $$
"""
READ_ALL = EACH_TABLE.format("select from %s limit 0")
HOLD_ALL = EACH_TABLE.format("lock only %s in share update exclusive mode")


@dataclass(frozen=True)
class Lock:
    """A lock on a table, index, view or sequence that was there before."""

    relation: str
    """Its schema and name, quoted where SQL wants it."""
    level: Level
    """As in Postgres's documentation: access_share is the weakest, access_exclusive keeps even SELECT out."""


Held = frozenset[tuple[int, str]]
"""Relations and modes."""


def held(conn: Connection[DictRow], pid: int) -> Held:
    """Return what a session holds on relations."""
    return frozenset((row["oid"], row["mode"]) for row in postgres.fetch(conn, HELD, pid))


def strongest(held: Held) -> dict[int, Level]:
    """Return the strongest lock on each relation."""
    found: dict[int, Level] = {}
    for oid, mode in held:
        level = LEVELS.get(mode)  # a mark of serializable reading is none
        if level and (oid not in found or STRENGTH[level] > STRENGTH[found[oid]]):
            found[oid] = level
    return found


def taken(before: Held, after: Held, names: Mapping[int, str]) -> list[Lock]:
    """Return the locks on relations that were there before, by `names`, where they are stronger than what was held."""
    had, now = strongest(before), strongest(after)
    new = {oid: level for oid, level in now.items() if oid in names and level != had.get(oid)}
    found = [Lock(names[oid], level) for oid, level in new.items()]
    return sorted(found, key=lambda lock: (-STRENGTH[lock.level], lock.relation))


@dataclass
class Watch:
    """A look from beside at a session whose statement is no transaction of ours."""

    connect: Callable[[], Connection[DictRow]]
    pid: int
    seen: set[tuple[int, str]] = field(default_factory=set)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Note every lock that the session holds or asks for, while the statement runs in it."""
        self.over = threading.Event()
        with contextlib.ExitStack() as stack:
            self.conn, *self.readers = (stack.enter_context(contextlib.closing(self.connect())) for _ in range(3))
            for reader in self.readers:
                reader.execute("set lock_timeout = 50")
            self.reading = opened(self.readers[0], HOLD_ALL)
            thread = threading.Thread(target=self.look, daemon=True)
            thread.start()
            try:
                yield
            finally:
                self.over.set()
                thread.join()

    def look(self) -> None:
        while not self.over.is_set():
            rows = postgres.fetch(self.conn, SEEN, self.pid)
            self.seen |= {(row["oid"], row["mode"]) for row in rows if row["is_relation"]}
            reading = self.reading
            queued = [row for row in rows if reading and reading.info.backend_pid in (row["blockers"] or ())]
            if reading and queued:
                last = any(row["mode"] == "AccessExclusiveLock" for row in queued)  # behind it we would wait ourselves
                self.reading = None if last else self.other(reading)
                reading.execute("rollback")
            else:
                time.sleep(PERIOD)
        if self.reading:
            self.reading.execute("rollback")

    def other(self, reading: Connection[DictRow]) -> Connection[DictRow] | None:
        """Return another session that reads every table: the next wait is to be seen as well."""
        return opened(next(one for one in self.readers if one is not reading), READ_ALL)


def opened(reader: Connection[DictRow], tables: LiteralString) -> Connection[DictRow] | None:
    """Have a session look at every table in a transaction that stays open; None where a lock is in the way."""
    import psycopg

    reader.execute("begin isolation level repeatable read")
    try:
        reader.execute(tables)
    except psycopg.errors.LockNotAvailable:
        reader.execute("rollback")
        return None
    return reader
