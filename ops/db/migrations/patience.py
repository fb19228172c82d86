"""Change a live database without making those wait who work with it.

A lock that is waited for is a wait for everybody behind us in its queue, also for those whom its holder would let by. So
each is asked for briefly (`lock_timeout`, https://www.postgresql.org/docs/current/runtime-config-client.html); where that
does not do, the whole transaction is undone, and begun again after a pause in which nothing is held. A savepoint would not do:
the locks taken before it would be held through the pause.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ops import silence
from ops.console import few, minutes, option, say
from ops.db.migrations import watch
from ops.errors import Contended, InProgress, Problem, SessionLost
from ops.targets import outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.db.sql_file.contents import Contents

T = TypeVar("T")

PAUSE, GROWS, LONGEST = 1.0, 1.15, 4.0
"""Seconds between two attempts: the first time, by how much longer each time, and at most."""
SPREAD = 0.25
"""By which share a pause is shorter or longer, so that two who wait do not stay in step."""
AGAIN = 30.0
"""Seconds before the same sessions in the way are named again."""

STALL = "stall"
"""The word by which a migration or a user allows what holds a table closed for longer than the setting."""

# They wait for old transactions to end, and nobody for them: https://www.postgresql.org/docs/current/explicit-locking.html
# (SHARE UPDATE EXCLUSIVE). A lock_timeout would end them there, and leave an index that is invalid
_CONCURRENTLY = re.compile(
    r"(CREATE( UNIQUE)?|DROP) INDEX CONCURRENTLY\b|REINDEX\b.*(?<!\")\bCONCURRENTLY\b(?!\")"
    r"|ALTER TABLE\b.* DETACH PARTITION\b.*(?<!\")\bCONCURRENTLY\b(?!\")"
)
_NAME = r'(?:"(?:[^"]|"")*"|[^\s"]+)'
_VALIDATES = re.compile(
    rf"ALTER TABLE (IF EXISTS )?(ONLY )?{_NAME}( \. {_NAME})?( \*)? VALIDATE CONSTRAINT {_NAME}( , VALIDATE CONSTRAINT {_NAME})*$"
)


@dataclass(frozen=True)
class Limits:
    """How long a change may wait, and be waited for; all in seconds."""

    lock_timeout: float = 0.2
    """For each lock."""
    patience: float = 600.0
    """For all attempts together."""
    stall: float = 2.0
    """For which a table may be closed to all others."""
    ends_stall: bool = True
    """Whether what holds one for longer is undone; else it is only told."""
    end_idle: bool = False
    """Whether sessions in the way are ended that are idle in a transaction."""
    allowed_by: str = "a longer migrate.stall"
    """What lets it hold one for longer: an option, where the task has one."""
    shared: watch.Watch | None = None
    """The second session, where one looks on at several changes; else each has its own."""
    waits: bool = False
    """Whether a lock is waited for as long as the patience lasts, since nobody has to wait behind."""

    followed: bool = False
    """Whether another change follows at once, whose commit puts this one on the disk, too: the server writes in order
    (https://www.postgresql.org/docs/current/wal-async-commit.html)."""

    def waiting(self) -> Limits:
        """Return the same for a statement that stalls nobody while it waits (`stalls_nobody`)."""
        return replace(self, waits=True)

    @property
    def begin(self) -> str:
        """What begins a transaction with its settings, in one round trip."""
        return f"begin; set local lock_timeout = {self.milliseconds}" + (
            "; set local synchronous_commit = off" if self.followed else ""
        )

    @property
    def milliseconds(self) -> int:
        """For Postgres's lock_timeout."""
        return max(1, round((self.patience if self.waits else self.lock_timeout) * 1000))


def limits(place: OpenTarget, *, allow_stall: bool = False, end_idle: bool = False) -> Limits:
    """Return the limits of the setting `migrate`; only on production a stall is undone, unless it is allowed."""
    read = place.settings.migrate
    ends = bool(place.prod) and not allow_stall
    return Limits(read.lock_timeout, read.patience, read.stall, ends, end_idle)


def fitting(limits: Limits, contents: Contents) -> Limits:
    """Return the limits for a script: one of a single statement that stalls nobody while it waits may wait."""
    alone = len(contents.statements) == len(contents.remarkable) == 1 and stalls_nobody(contents.remarkable[0].text)
    return limits.waiting() if alone else limits


def options(limits: Limits) -> str:
    """Return libpq's options by which a session begins with our limit, and a RESET goes back to it."""
    return f"-c lock_timeout={limits.milliseconds}"


def stalls_nobody(words: str, *, first: bool = True) -> bool:
    """Whether a statement waits without making others wait: it is given no `lock_timeout`.

    `words` are its first ones in capitals, as `scan.opening` gives them; `first`: no statement before it in its
    transaction holds a lock. A plain DETACH PARTITION closes the partitioned table, and VALIDATE behind another
    statement waits with that one's locks.
    """
    words = words.rstrip(" ;")
    return bool(_CONCURRENTLY.match(words) or (first and _VALIDATES.match(words)))


def run_patiently(
    place: OpenTarget,
    work: Callable[[Connection[DictRow]], T],
    *,
    what: str,
    limits: Limits,
    conn: Connection[DictRow] | None = None,
) -> T:
    """Have `work` done in one transaction of a session on the place's database, and return what it returns.

    It is given the session inside the transaction, and may be called several times: each time what it did before has been undone. `what`
    names it in messages (`20261129120000_users.sql`). `conn` is a session to use; else one is opened for it.
    Raises `InProgress` (exit code 3) where the patience ends, and `Problem` where a table was closed for longer than `limits.stall`
    and that is not allowed; nothing of it is kept in both cases.
    """
    return attempts(place, partial(in_transaction, work), what=what, limits=limits, conn=conn)


def run_joined(
    place: OpenTarget,
    work: Callable[[Connection[DictRow], Callable[[], None]], T],
    *,
    what: str,
    limits: Limits,
    conn: Connection[DictRow] | None = None,
) -> T:
    """As `run_patiently`, for work that begins its transaction itself, by `limits.begin`, and ends it: each in one round trip with more.

    It is given a function, too, which it calls right before it sends the COMMIT: that raises `Problem` where it is to be broken off.
    """
    return attempts(place, partial(by_itself, work), what=what, limits=limits, conn=conn)


def run_alone(
    place: OpenTarget,
    work: Callable[[Connection[DictRow]], T],
    *,
    statement: str,
    what: str,
    limits: Limits,
    conn: Connection[DictRow] | None = None,
) -> T:
    """Have `work` run one statement outside of any transaction, and return what it returns.

    `statement` is the statement's text. As `run_patiently`; but what stalls nobody while it waits (CREATE INDEX CONCURRENTLY …) goes
    without `lock_timeout`, and it is said whom it waits for. An invalid index that a run before has left is dropped
    and built anew; raises `Problem` where one of the statement's is invalid after it.
    """
    from ops.db.migrations import indexes

    made = indexes.made_by(statement)
    if stalls_nobody(indexes.words(statement)):
        limits = limits.waiting()

    def whole(own: Connection[DictRow]) -> T:
        before = indexes.cleared(own, made, what=what) if made else {}
        try:
            done = work(own)
        except BaseException:
            if made:
                indexes.tell_left(own, before, what=what)
            raise
        if made:
            indexes.check(own, made, what=what)
        return done

    return attempts(place, partial(outside, whole), what=what, limits=limits, conn=conn)


@contextmanager
def session(
    place: OpenTarget, limits: Limits, conn: Connection[DictRow] | None = None
) -> Iterator[Connection[DictRow]]:
    """Yield a session, or open one that begins with our limits."""
    with nullcontext(conn) if conn is not None else place.connect(options=options(limits)) as own:
        yield own


def attempts(
    place: OpenTarget,
    once: Callable[[Connection[DictRow], watch.Watch, Limits], T],
    *,
    what: str,
    limits: Limits,
    conn: Connection[DictRow] | None,
) -> T:
    """Do the work, again and again where somebody is in the way; `once` does it one time."""
    import psycopg

    begun, pause, told, told_at, number = time.monotonic(), PAUSE, [-1], 0.0, 0
    with (
        session(place, limits, conn) as own,
        looking_on(place, own, limits, what) as looked,
    ):
        shown = silence.ALL if limits.waits else own.quiet  # type: ignore[attr-defined] # whom it waits for, the watch says
        while True:
            number += 1
            try:
                with looked.attempt(), silence.quiet(own, shown):
                    done = once(own, looked, limits)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, Contended) as error:
                if isinstance(error, psycopg.Error) and not outcome.is_contended(error.diag):
                    raise
                why: Exception = error
            except (psycopg.errors.QueryCanceled, Problem) as error:
                if looked.stalled and not isinstance(error, SessionLost):
                    raise stalled(what, looked, limits) from None
                raise
            else:
                if looked.held > limits.stall:
                    say(kept_closed(place, what, looked, limits))
                return done
            left = begun + limits.patience - time.monotonic()
            who = watch.in_words(looked.blockers) if looked.blockers else "a session that was not seen"
            if left <= 0:
                raise InProgress(
                    f"{what}: {who} was in the way for {minutes(limits.patience)} (migrate.patience, attempts: {number}): nothing of "
                    f"it was kept; see inv db.sessions, then run this again to go on waiting{hint(looked, limits)}"
                ) from why
            pids = [each.pid for each in looked.blockers]
            if (pids or number > 1) and (pids != told or time.monotonic() - told_at > AGAIN):
                more = hint(looked, limits) if told == [-1] else ""
                told, told_at = pids, time.monotonic()
                say(
                    f"{what}: in the way is {who}; it is tried again for {minutes(left)}, and holds nothing meanwhile{more}"
                )
            time.sleep(min(left, pause * random.uniform(1 - SPREAD, 1 + SPREAD)))  # noqa: S311
            pause = min(LONGEST, pause * GROWS)


def looking_on(
    place: OpenTarget, conn: Connection[DictRow], limits: Limits, what: str
) -> AbstractContextManager[watch.Watch]:
    """Return the second session for one change: the one that several share, or one of its own."""
    tell = what if limits.waits else ""
    if limits.shared is None:
        return watch.beside(
            place, conn, stall=limits.stall, ends=limits.ends_stall, end_idle=limits.end_idle, tell=tell
        )
    limits.shared.begin(ends=limits.ends_stall, tell=tell)
    return nullcontext(limits.shared)


@contextmanager
def sharing(place: OpenTarget, conn: Connection[DictRow], limits: Limits) -> Iterator[Limits]:
    """Yield limits for several changes by one session, on all of which the same second one looks."""
    beside = watch.beside(place, conn, stall=limits.stall, ends=limits.ends_stall, end_idle=limits.end_idle)
    with beside as looked:
        yield replace(limits, shared=looked)


def outside(work: Callable[[Connection[DictRow]], T], conn: Connection[DictRow], _: watch.Watch, limits: Limits) -> T:
    """Do the work one time, outside of any transaction."""
    conn.execute(f"set lock_timeout = {limits.milliseconds}".encode())
    return work(conn)


def in_transaction(
    work: Callable[[Connection[DictRow]], T], conn: Connection[DictRow], looked: watch.Watch, limits: Limits
) -> T:
    """Do the work one time in a transaction; raises what it raises, and `Problem` where it was to be broken off."""
    with undone_else(conn):
        conn.execute(limits.begin.encode())
        done = work(conn)
        check_going_on(looked)
    conn.commit()
    return done


def by_itself(
    work: Callable[[Connection[DictRow], Callable[[], None]], T],
    conn: Connection[DictRow],
    looked: watch.Watch,
    _: Limits,
) -> T:
    """Do the work one time that begins and ends a transaction of its own."""
    with undone_else(conn):
        return work(conn, partial(check_going_on, looked))


@contextmanager
def undone_else(conn: Connection[DictRow]) -> Iterator[None]:
    """Undo the transaction of a session where the block raises; it is the first error that counts."""
    import psycopg

    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):
            conn.rollback()
        raise


def check_going_on(looked: watch.Watch) -> None:
    """Raise `Problem` where the work was to be broken off between two of its statements."""
    if looked.stalled:
        raise Problem("broken off")


def stalled(what: str, looked: watch.Watch, limits: Limits) -> Problem:
    """Return the error of work that was broken off, since all others waited for it."""
    return Problem(
        f"{what}: {names(looked)} would have been closed to all others for more than {limits.stall:g} s (migrate.stall): it was broken "
        f"off, and nothing of it was kept: do it in smaller steps, or let all others wait: {limits.allowed_by}"
    )


def kept_closed(place: OpenTarget, what: str, looked: watch.Watch, limits: Limits) -> str:
    """Return what is told of work that was kept, though others waited for longer than the setting."""
    more = "" if place.prod else f": on production that is undone after {limits.stall:g} s (migrate.stall)"
    return f"note: {what} kept {names(looked)} closed to all others for {looked.held:.1f} s{more}"


def names(looked: watch.Watch) -> str:
    """Return the tables that were closed, in words."""
    return few(sorted(looked.closed))


def hint(looked: watch.Watch, limits: Limits) -> str:
    """Return what would help, where it would."""
    idle = any(each.idle for each in looked.blockers)
    ends = option("end-idle-transactions", "; --end-idle-transactions ends what is idle in a transaction")
    return ends if idle and not limits.end_idle else ""
