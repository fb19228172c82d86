"""Change the names of several databases in one transaction, past the sessions that are on them.

Postgres wants nobody on a database that it renames. Whoever connects meanwhile has looked the name up already, waits
for the end, and is then told that there is no such database. So the sessions go first, on the server and in the same
message as the renames, and newcomers are held at the door, where they have looked nothing up yet: whoever opens a
connection reads `pg_database` first, and waits for a lock on it without an error. Only a superuser may take that lock.
Without it those that happen to connect in the milliseconds of the renames are refused (SQLSTATE 3D000), and get in at
the next attempt.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import say
from ops.db import sessions
from ops.errors import Problem, Refused
from ops.targets.identity import KEPT, NEXT, SINCE
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg.sql import Composable, Composed

SECONDS = 15.0
"""How long sessions that keep coming may hold up a rename."""
DOOR = 3.0
"""How long of that the door is tried: somebody who reads `pg_database` in a long transaction (pg_dump does) keeps it open."""
PATIENCE, LONGEST, LONGEST_HELD = 25, 1000, 100
"""Milliseconds that an attempt waits for locks and sessions: the first, and at most; twice as long each time."""
STATEMENT = 250
"""Milliseconds that a statement may take while the door is held: a crowd leaves a server little of the processor."""

LIMITS = "set local lock_timeout = {ms}; set local statement_timeout = {limit}"
HOLD = "lock table pg_catalog.pg_database in access exclusive mode"
# One that is just starting is in no list of sessions yet, but holds the lock that every start of a session takes. It
# wants to read pg_database, too, so it is let through. Those that came since we looked mostly go by themselves
CLEAR = """
do $swap$
declare
  began constant timestamptz := clock_timestamp();
  involved constant oid[] := array(select oid from pg_catalog.pg_database where datname = any({names}));
  session record;
  there bool;
begin
  loop
    if {held} and exists (
      select from pg_catalog.pg_locks where locktype = 'object' and classid = 'pg_catalog.pg_database'::regclass
        and objid = any(involved) and pid <> pg_catalog.pg_backend_pid())
    then
      raise 'a session is starting' using errcode = 'object_in_use';
    end if;
    perform pg_catalog.pg_stat_clear_snapshot();
    there := false;
    for session in
      select pid, {idle} as idle from pg_catalog.pg_stat_get_activity(null)
      where datid = any(involved) and pid <> pg_catalog.pg_backend_pid() and usesysid is not null
    loop
      there := true;
      if not ({force} or session.idle) then
        raise 'a session is at work' using errcode = 'object_in_use';
      end if;
      if clock_timestamp() > began + interval '5 ms' then
        perform pg_catalog.pg_terminate_backend(session.pid);
      end if;
    end loop;
    exit when not there;
    if clock_timestamp() > began + interval '1 ms' * {ms} then
      raise 'sessions do not end' using errcode = 'object_in_use';
    end if;
    perform pg_catalog.pg_sleep(0.001);
  end loop;
end $swap$
"""


def rename_databases(
    place: OpenTarget, renames: Sequence[tuple[str, str]], *, force: bool, more: Sequence[Composable] = ()
) -> None:
    """Change several names in one transaction, ending the sessions in the way; `more` belongs to it.

    All of it is one message to the server, so nothing is held while we are not there to let it go; and each attempt
    is short, since others wait for its end. Raises `Refused` where a session came that only `force` may end.
    """
    import psycopg
    from psycopg import sql

    conn, involved = place.conn, [old for old, _ in renames]
    mine = postgres.application(place.task)  # just closed, and gone in a moment
    leaving = [
        s for s in sessions.in_the_way(conn, involved) if ours_to_end(place, s, force) and s["application"] != mine
    ]
    sessions.end_sessions(conn, leaving)
    for session in leaving:
        say(f"ended {sessions.describe(session)}")
    sessions.settle(conn, involved)
    begun, milliseconds, told = time.monotonic(), PATIENCE, False
    place.begin()
    while True:
        held = place.facts["superuser"] and time.monotonic() < begun + DOOR
        before = cleared(involved, milliseconds, held=held, force=force, prod=bool(place.prod))
        try:
            # several statements in one query are one transaction
            conn.execute(sql.SQL("; ").join([*before, *map(renamed, renames), *more, *marks(place, renames)]))
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.ObjectInUse,
            psycopg.errors.QueryCanceled,
            psycopg.errors.DeadlockDetected,
        ):
            pass
        except psycopg.errors.InsufficientPrivilege:
            sessions.end_sessions(conn, sessions.in_the_way(conn, involved))  # says whose session it is
            raise
        else:
            place.work.done = True
            return
        if time.monotonic() > begun + SECONDS:
            raise Problem(
                f"{place.name} could not be renamed in {SECONDS:.0f} s: nothing was changed; see inv db.sessions"
            )
        if not force and (busy := sessions.at_work(place, involved)):
            raise Refused(
                f"{sessions.describe(busy[0])} came in between: nothing was changed; --force ends such sessions"
            )
        if not told and time.monotonic() > begun + 1 and (there := sessions.in_the_way(conn, involved)):
            say(f"waiting for {sessions.describe(there[0])} to end")
            told = True
        milliseconds = min(2 * milliseconds, LONGEST_HELD if held else LONGEST)
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 (those that were let through must not stay in step)


def cleared(involved: Sequence[str], milliseconds: int, *, held: bool, force: bool, prod: bool) -> Iterator[Composed]:
    """Yield the SQL that goes before the renames: limits, the door, the sessions."""
    from psycopg import sql

    ms = sql.Literal(milliseconds)
    yield sql.SQL(LIMITS).format(ms=ms, limit=sql.Literal(STATEMENT if held else milliseconds))
    if held:
        yield sql.SQL(HOLD).format()
    idle = sql.SQL("backend_type is not null and coalesce(state, 'starting') in ('idle', 'starting')")
    yield sql.SQL(CLEAR).format(
        names=sql.Literal(list(involved)),
        held=sql.Literal(held),
        idle=sql.SQL("false") if prod else idle,
        force=sql.Literal(force),
        ms=ms,
    )


def renamed(pair: tuple[str, str]) -> Composed:
    """Return the SQL for one change of name."""
    from psycopg import sql

    return sql.SQL("alter database {} rename to {}").format(*map(sql.Identifier, pair))


def marks(place: OpenTarget, renames: Sequence[tuple[str, str]]) -> Iterator[Composed]:
    """Yield the SQL that marks what goes aside as kept, and what comes back as live.

    It belongs to the renames' transaction, so what carries our mark is ours.
    """
    from psycopg import sql

    # the one that is new has its comment already
    ends = {name: name for name in place.facts["databases"] if not name.endswith(NEXT)}
    for old, new in renames:
        ends.update({name: new for name, now in ends.items() if now == old})
    for name, end in ends.items():
        comment = place.facts["databases"][name]["comment"] or ""
        since = SINCE.search(comment)
        wanted = SINCE.sub("", comment.replace(KEPT, "")).strip()
        if end != place.name:
            now = f"[inv: since {datetime.now(timezone.utc):%Y-%m-%dT%H:%MZ}]"
            wanted = f"{wanted} {KEPT} {since[0] if since else now}".strip()
        if end != name and wanted != comment:
            yield sql.SQL("comment on database {} is {}").format(sql.Identifier(end), sql.Literal(wanted or None))


def ours_to_end(place: OpenTarget, session: dict[str, Any], force: bool) -> bool:
    """Whether a session may be ended for the sake of a rename."""
    return force or (not place.prod and bool(session["idle"]))
