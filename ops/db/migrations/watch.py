"""A second session beside one that changes a live database: who is in its way, and whose way it is in.

Only another session can see it while it waits. `pg_blocking_pids` names those that hold the lock or stand before us in
its queue (https://www.postgresql.org/docs/current/functions-info.html), `pg_locks` what we hold ourselves.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ops import postgres, silence
from ops.console import few, harmless, minutes, say
from ops.db import shown
from ops.targets.open_target import OpenTarget
from ops.targets.roles import acting

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

FIRST = 0.05
"""Seconds of an attempt before it is looked at, and the second session opened for the first: most changes are done by then."""
PERIOD, LATER, LONG = 0.05, 0.1, 5.0
"""Seconds between two looks, less often after so many seconds; a lock is waited for four of the first by default."""
LETTERS = 80
"""Of a query."""
IDLE = 1.0
"""Seconds idle in a transaction before somebody may end that: an application between two statements is at work."""
TOLD = 30.0
"""Seconds before it is said again whom a statement waits for, or how far it is."""
SOON = 5.0
"""Seconds before it is said for the first time how far one is that waits for nobody."""

SEE, END_THEM = acting.SESSIONS

# Our session, or that of a program of ours, which has our name and is none of those that we have opened. Only tables that
# others can see count: what a transaction makes itself, nobody waits for
LOOK = """
select a.pid,
  case when a.wait_event_type = 'Lock' then pg_blocking_pids(a.pid) end as blockers,
  (select array_agg(l.relation::regclass::text order by l.relation)
   from pg_locks l join pg_class c on c.oid = l.relation
   where l.pid = a.pid and l.granted and l.mode = 'AccessExclusiveLock' and l.locktype = 'relation'
     and l.database = a.datid and c.relkind in ('r', 'p', 'm', 'v', 'f')) as closed
from pg_stat_activity a
where a.pid = %(pid)s
   or (a.application_name = %(application)s and a.datname = current_database() and a.pid <> all(%(ours)s))
"""
# Those at the head of the queue: who waits himself is not the one to ask
BLOCKERS = """
with recursive before (pid) as (
  select unnest(%(blockers)s::int[])
  union
  select b.pid from before, lateral unnest(pg_blocking_pids(before.pid)) as b (pid) where before.pid <> 0
), sessions as (
  select before.pid, a.usename as user, a.application_name as application, a.backend_type, a.state, a.query, a.backend_start,
    floor(extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.state_change)))::int as age,
    a.wait_event_type is not distinct from 'Lock' as waits,
    case when before.pid = 0 then (select string_agg(gid, ', ') from pg_prepared_xacts where database = current_database()) end as prepared
  from before left join pg_stat_activity a on a.pid = before.pid
  where before.pid <> %(mine)s
)
select * from sessions where not waits or not exists (select from sessions where not waits) order by age desc nulls last
"""
# https://www.postgresql.org/docs/current/progress-reporting.html#CREATE-INDEX-PROGRESS-REPORTING
PROGRESS = """
select phase, coalesce(100 * greatest(blocks_done::numeric / nullif(blocks_total, 0), tuples_done::numeric / nullif(tuples_total, 0)), 0)::int as share
from pg_stat_progress_create_index where pid = %s
"""
# Who sees is not always who may end (acting.lent): by then it is known which, and for this one statement the role is another
END = """
select pid, case when set_config('role', %(role)s, true) <> '' then pg_terminate_backend(pid) end as ended from pg_stat_activity
where pid = any(%(pids)s) and state in ('idle in transaction', 'idle in transaction (aborted)')
  and clock_timestamp() - state_change > %(idle)s * interval '1 second'
"""
CANCEL = "select case when set_config('role', %(role)s, true) <> '' then pg_cancel_backend(%(pid)s) end"

# Who has a lock on a table of a database in a transaction that is older than a second; not those of a moment
OPEN = """
select a.pid, a.usename as user, a.application_name as application, a.backend_type, a.state, a.query,
  floor(extract(epoch from clock_timestamp() - a.xact_start))::int as age
from pg_stat_activity a
where a.datname = %s and a.pid <> pg_backend_pid() and clock_timestamp() - a.xact_start > interval '1 second'
  and exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'relation' and l.granted and l.relation >= 16384)
order by a.xact_start
"""


@dataclass(frozen=True)
class Blocker:
    """A session that holds what ours waits for."""

    pid: int
    """0 for a prepared transaction, which has no session."""
    text: str
    """In words."""
    idle: bool
    """Whether it does nothing in an open transaction."""


def described(row: DictRow) -> Blocker:
    """Return a row of `BLOCKERS` in words: pid, user, application, state, age, and what it does without anybody's data."""
    from ops.db.sessions import length

    if row["pid"] == 0:
        return Blocker(0, f"the prepared transaction {row['prepared'] or '(of this database)'}", idle=False)
    who = ", ".join(filter(None, (row["user"], row["application"])))
    name = f"pid {row['pid']}" + (f" ({harmless(who)})" if who else "")
    if row["backend_type"] is None:
        return Blocker(row["pid"], f"{name}, whose work is hidden from this user", idle=False)
    state = row["state"] or row["backend_type"]
    age = "" if row["age"] is None else f", {state} for {length(row['age'])}"
    query = (row["query"] or "").strip()
    if row["backend_type"] == "autovacuum worker":  # the server's own words
        query = f"{query[:LETTERS]} (it gives way by itself, unless that is to prevent wraparound)"
    else:
        query = shown.without_values(query, LETTERS)
    idle = state.startswith("idle in transaction")
    return Blocker(row["pid"], f"{name}{age}" + (f": {harmless(query)}" if query else ""), idle)


@dataclass
class Watch:
    """What the second session has seen of the one that works; it looks while `looking` holds."""

    place: OpenTarget
    conn: Connection[DictRow]
    """Of the one that works."""
    stall: float
    """Seconds for which that may hold a table closed to all others."""
    ends: bool
    """Whether it is broken off then, and not only told of."""
    end_idle: bool = False
    """Whether sessions that are idle in a transaction are ended."""
    tell: str = ""
    """What waits, where it is to be said for whom while it does; empty: nothing is said."""
    blockers: list[Blocker] = field(default_factory=list)
    """Those that were last seen in the way."""
    closed: list[str] = field(default_factory=list)
    """The tables that were held longest."""
    held: float = 0.0
    """For how many seconds that was."""
    stalled: bool = False
    """Whether the work was broken off for that."""

    def __post_init__(self) -> None:
        self.looking = threading.Event()
        self.over = threading.Event()
        self.other: Connection[DictRow] | None = None
        self.since: dict[str, float] = {}
        self.told: list[int] = []
        self.begun = self.told_at = self.waits_since = 0.0
        self.refused: set[int] = set()
        self.lent: list[str] = []
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run, daemon=True, name="watch")

    def begin(self, *, ends: bool, tell: str) -> None:
        """Forget what was seen of the work before."""
        with self.lock:
            self.ends, self.tell, self.held, self.closed, self.told = ends, tell, 0.0, [], []

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Look on while the block runs."""
        with self.lock:
            self.blockers, self.since, self.stalled = [], {}, False
            self.begun = self.told_at = time.monotonic()
        if not self.thread.is_alive():
            self.thread.start()
        self.looking.set()
        try:
            yield
        finally:
            self.looking.clear()
            with self.lock:
                self.note({}, time.monotonic())

    def close(self) -> None:
        """Stop, and give the second session up."""
        self.over.set()
        self.looking.set()
        if self.thread.is_alive():
            self.thread.join(self.place.settings.connect_timeout)
        if self.other is not None:
            self.other.close()

    def run(self) -> None:
        """Look now and then; what goes wrong with the second session is no fault of the first."""
        try:
            while not self.over.is_set():
                self.looking.wait()
                age = time.monotonic() - self.begun
                if age < FIRST:
                    self.over.wait(FIRST - age)
                elif not self.over.is_set():
                    self.look()
                    self.over.wait(PERIOD if age < LONG else LATER)
        except Exception as error:
            if not self.over.is_set():
                why = " ".join(str(error).split())
                say(
                    f"note: no second session looks on, so that who is in the way is not known, nor a stall ended: {why}"
                )

    def second(self) -> Connection[DictRow]:
        """Return the second session, which says nothing of its own waits."""
        if self.other is None:
            # as the login itself, which may end sessions of its own; the owner may not
            made: Any = replace(self.place, role="").connect()
            made.quiet = "all"
            self.lent = acting.lent(made)
            if SEE in self.lent:
                made.execute(f"set role {SEE}".encode())
            self.other = made
        return self.other

    def look(self) -> None:
        """Take one look at both sides."""
        other = self.second()
        ours = [*self.place.work.pids, other.info.backend_pid]
        mine = {"pid": self.conn.info.backend_pid, "application": postgres.application(self.place.task), "ours": ours}
        found = other.execute(LOOK, mine).fetchall()
        now = time.monotonic()
        with self.lock:
            if not self.looking.is_set():
                return
            self.note({name: row["pid"] for row in found for name in row["closed"] or ()}, now)
            late = [row["pid"] for row in found if row["closed"] and self.is_late(row["closed"], now)]
            if late and self.ends:  # under the lock, so that it does not hit what comes after this attempt
                self.stalled = True
                for pid in late:
                    other.execute(CANCEL, {"pid": pid, "role": "none"})  # they are of its own login
                return
        waiting = [row for row in found if row["blockers"]]
        if self.tell and not waiting and now - self.told_at > (TOLD if self.told_at > self.begun else SOON):
            self.tell_progress(other, now)
        self.waits_since = (self.waits_since or now) if waiting else 0.0
        for row in waiting:
            self.see(other, row["pid"], row["blockers"], now)

    def note(self, closed: dict[str, int], now: float) -> None:
        """Keep for how long which tables have been held."""
        for since in self.since.values():
            if now - since > self.held:
                self.held = now - since
                self.closed = [other for other, begun in self.since.items() if begun <= since]
        self.since = {name: self.since.get(name, now) for name in closed}

    def is_late(self, closed: list[str], now: float) -> bool:
        return any(now - self.since.get(name, now) > self.stall for name in closed)

    def see(self, other: Connection[DictRow], pid: int, blockers: list[int], now: float) -> None:
        """Note who is in the way, say so where that is wanted, and end those that may be ended."""
        rows = other.execute(BLOCKERS, {"blockers": blockers, "mine": pid}).fetchall()
        found = [described(row) for row in rows]
        if not found:
            return
        self.blockers = found
        if self.end_idle and (idle := [each.pid for each in found if each.idle and each.pid not in self.refused]):
            self.finish(other, idle)
        if now - self.waits_since < silence.PATIENCE:
            return
        pids = [each.pid for each in found]
        if self.tell and (pids != self.told or now - self.told_at > TOLD):
            self.told, self.told_at = pids, now
            say(f"{self.tell} waits for {in_words(found)}")

    def tell_progress(self, other: Connection[DictRow], now: float) -> None:
        """Say how far a statement is that may take long, and as what the server knows it."""
        self.told, self.told_at = [], now
        rows = other.execute(PROGRESS, [self.conn.info.backend_pid]).fetchall()
        more = f": {rows[0]['phase']}, {rows[0]['share']} %" if rows else ""
        say(f"{self.tell} is at work for {minutes(now - self.begun)}{more}")

    def finish(self, other: Connection[DictRow], pids: list[int]) -> None:
        """End sessions that are idle in a transaction, if they are so still."""
        import psycopg

        words = {each.pid: each.text for each in self.blockers}
        role = END_THEM if END_THEM in self.lent else "none"
        for pid in pids:
            try:
                rows = other.execute(END, {"pids": [pid], "idle": IDLE, "role": role}).fetchall()
            except psycopg.errors.InsufficientPrivilege:
                self.refused.add(pid)
                say(
                    f"note: {words[pid]}: this user may not end it, pg_signal_backend is enough for all but a superuser's"
                )
                continue
            for _ in rows:
                say(f"ended {words[pid]}")


def in_words(blockers: list[Blocker]) -> str:
    """Return who is in the way, in words."""
    return few([each.text for each in blockers], 1)


@contextlib.contextmanager
def beside(
    place: OpenTarget, conn: Connection[DictRow], *, stall: float, ends: bool, end_idle: bool, tell: str = ""
) -> Iterator[Watch]:
    """Have a second session look after one that works; it is opened when that takes long enough."""
    watch = Watch(place, conn, stall, ends, end_idle, tell)
    try:
        yield watch
    finally:
        watch.close()


def in_the_way(place: OpenTarget) -> list[str]:
    """Return the sessions that a change of any table may have to wait for, in words, the oldest first.

    As the login itself: the owner of the tables may not see what others do.
    """
    with place.conn.transaction():
        if SEE in acting.lent(place.conn):
            place.conn.execute(f"set local role {SEE}".encode())
        return [described(row).text for row in postgres.fetch(place.conn, OPEN, place.name)]
