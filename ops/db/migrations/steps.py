"""One migration, one way: in a transaction with its record, or statement by statement where it refuses that."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ops import postgres, row_values, silence
from ops.console import say
from ops.db import load, rights
from ops.db.migrations import alone, files, history, indexes, patience
from ops.db.migrations.files import Migration, Section
from ops.db.migrations.history import History
from ops.db.migrations.patience import Limits
from ops.db.rights import Held
from ops.db.sql_file import diagnostics
from ops.db.sql_file.scan import opening
from ops.db.sql_file.script import Script
from ops.errors import Problem, SessionLost
from ops.meter import measured
from ops.targets import outcome
from ops.targets.open_target import OpenTarget
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


LOCK = 48372615
"""The advisory lock by which dbmate lets runs take turns where it is told to (--migration-lock): ours take turns with them."""
PAUSE = 0.05
"""Seconds between two tries for it. It is not waited for: who waits has a snapshot, for whose end CREATE INDEX
CONCURRENTLY of the other one would wait in turn."""
REPEAT = "repeat"
"""The rule by which a file says that its statement may be run again, when nobody knows whether it was done."""

SETS = re.compile(r"\b(set|set_config|reset|discard)\b", re.IGNORECASE)
"""The words by which a migration may change its session."""

AT_WORK = """
select a.pid, a.application_name as application, extract(epoch from clock_timestamp() - a.query_start)::int as seconds
from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.database = (select oid from pg_database where datname = current_database())
  and (l.classid::bigint << 32 | l.objid::bigint) = %s
"""


class Act(NamedTuple):
    """What is done with one migration."""

    way: Literal["up", "down"]
    version: str
    shown: str
    """Its file, or where its text is from, in words."""
    section: Section
    script: Script
    """The section, its lines numbered as in the file."""
    migration: Migration | None
    """The file; None where only the history knows it."""
    plan: load.Plan | None = None
    """The section as it is sent, where that is known already."""

    @property
    def file(self) -> str | None:
        """The path of its file, where that is there."""
        return self.migration.shown if self.migration else None

    @property
    def name(self) -> str:
        """What it is called where a folder would be one word too many."""
        return self.script.name.rpartition("/")[2]


def take_turn(at: OpenTarget, conn: Connection[DictRow]) -> None:
    """Wait until nobody migrates this database, also not what a run that was killed has left at work on the server.

    The session holds the lock to its end. Raises `Problem` after the setting `db.lock_timeout`.
    """
    begun, told = time.monotonic(), ""
    while not postgres.row(conn, "select pg_try_advisory_lock(%s) as got", LOCK)["got"]:
        rows = postgres.fetch(conn, AT_WORK, LOCK)
        who = f"{rows[0]['application'] or 'another tool'} (pid {rows[0]['pid']})" if rows else "another run"
        if time.monotonic() - begun > at.settings.lock_timeout:
            raise Problem(
                f"{at.name} is still being migrated by {who} after {at.settings.lock_timeout:.0f} s (db.lock_timeout): "
                "wait for it, or end that session (inv db.sessions), then run again"
            )
        if who != told and time.monotonic() - begun > silence.PATIENCE:
            told = who
            say(f"waiting for {who}, which migrates {at.name}")
        time.sleep(PAUSE)


def take(
    at: OpenTarget,
    conn: Connection[DictRow],
    known: History,
    act: Act,
    limits: Limits | None,
    held: Held | None = None,
) -> None:
    """Do one act, and record it; without limits it happens to the successor of a database, where nobody is in the way.

    `held` is what lambda.*'s function may do, as far as the run has seen: a table that is made anew has none of it, so it is
    given back in the same transaction. It is added to; a successor is given its rights by who makes it.
    """
    import psycopg

    held = Held() if held is None else held

    parts = [] if act.section.transaction else files.statements(act.script)
    alone_needed = len(parts) > 1 or any(alone.refuses_transaction(words_of(part)) for part in parts)
    try:
        if alone_needed:
            one_by_one(at, conn, known, act, parts, limits, held)
        else:
            whole(at, conn, known, act, limits, held)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.table_name != load.RECORD:
            raise
        raise Problem(
            f"{act.shown}: another tool has applied it meanwhile, and nothing of ours was kept: run this again"
        ) from None
    except psycopg.Error as error:
        if outcome.is_lost(error):
            raise diagnostics.disconnected(
                act.script, error.sqlstate, row_values.message(error.diag) or str(error)
            ) from None
        raise


def words_of(part: Script) -> str:
    return opening(part.data[part.contents.statements[0] : part.contents.statements[0] + 4000], 0)


def whole(
    at: OpenTarget, conn: Connection[DictRow], known: History, act: Act, limits: Limits | None, held: Held
) -> None:
    """Do an act in one transaction with its record."""
    plan, begun = act.plan or load.plan(act.script, {}), time.monotonic()

    def record() -> str:
        by = postgres.whoami()
        if act.way == "down":
            noted = history.note_down(known, act.version, by).as_string(conn)
        else:
            assert act.migration is not None
            noted = history.note_up(conn, known, act.migration, by, time.monotonic() - begun)
        # The next file begins as any session does
        again = "; reset all" if SETS.search(act.section.sql) else ""
        return f"{rights.give_back(held)}; {noted}{again}"

    if limits is None:
        with conn.transaction():
            load.load_file(at, conn, plan, after=record)
        return
    fitting = patience.fitting(allowed(act, limits), act.script.contents)

    def begun_before(own: Connection[DictRow]) -> None:
        fresh(at)
        held.update(rights.read(own))
        load.load_file(at, own, plan, after=record, lasting=True, options=patience.options(limits))

    def joined(own: Connection[DictRow], going_on: Callable[[], None]) -> None:
        def last() -> str:
            going_on()
            return record()

        def asked(there: bool) -> None:
            if there:
                held.update(rights.read(own))

        def ended(there: bool) -> None:
            held.role = there

        fresh(at)
        ours = load.Own(fitting.begin, rights.ROLE_IS_THERE, held.role, asked, ended)
        load.load_file(at, own, plan, after=last, lasting=True, own=ours)

    if plan.by_psql:  # by a session of its own
        held.role = True
        patience.run_patiently(at, begun_before, what=act.name, limits=fitting, conn=conn)
    else:
        patience.run_joined(at, joined, what=act.name, limits=fitting, conn=conn)
    at.work.done = True


def in_transaction(
    at: OpenTarget,
    conn: Connection[DictRow],
    work: Callable[[Connection[DictRow]], None],
    act: Act,
    limits: Limits | None,
) -> None:
    """Have work done in a transaction; on a database in use so that nobody has to wait for it."""
    if limits:
        fitting = patience.fitting(allowed(act, limits), act.script.contents)
        patience.run_patiently(at, work, what=act.name, limits=fitting, conn=conn)
    else:
        with conn.transaction():
            work(conn)


def allowed(act: Act, limits: Limits | None) -> Limits:
    """Return the limits for one act: its file may allow that all others wait for it."""
    limits = limits or Limits(ends_stall=False)
    return replace(limits, ends_stall=False) if patience.STALL in act.section.allow else limits


def fresh(at: OpenTarget, *, by_steps: bool = False) -> None:
    """Note that a piece of work begins, of which the one before says nothing."""
    at.work.begun = at.work.closing = at.work.done = False
    at.work.xid, at.work.by_steps = "", by_steps


def one_by_one(
    at: OpenTarget,
    conn: Connection[DictRow],
    known: History,
    act: Act,
    parts: list[Script],
    limits: Limits | None,
    held: Held,
) -> None:
    """Do an act statement by statement; the history says which are done, and where that is in doubt they are looked for."""
    begun = time.monotonic()
    held.role = True
    if limits:
        fresh(at, by_steps=True)
        held.update(rights.read(conn))
    done, doubtful = resume(conn, known, act)
    for number, part in enumerate(parts):
        if number < done:
            continue
        words = words_of(part)
        seen = alone.Look("again")
        if doubtful and done == number and alone.refuses_transaction(words):
            seen = looked(at, conn, act, part, words)
        try:
            if not alone.refuses_transaction(words):
                step(at, conn, act, part, number + 1, limits, held)
            elif seen.told != "done":
                sent = Script(part.name, seen.instead.encode()) if seen.instead else part
                text = text_of(sent)
                patience.run_alone(
                    at,
                    partial(send, script=sent),
                    statement=text,
                    what=act.name,
                    limits=allowed(act, limits),
                    conn=conn,
                )
        except Problem as error:
            if not isinstance(error, SessionLost):
                forget(conn, act, part)
            raise
        if alone.refuses_transaction(words):
            conn.execute(rights.give_back(held).encode())  # a procedure may make a table anew
            conn.execute(history.STEP, (number + 1, act.version))
    if act.way == "up":
        end = history.end_up(known, act.version, time.monotonic() - begun)
    else:
        end = history.note_down(known, act.version, postgres.whoami())
    with conn.transaction():
        conn.execute(end)
    conn.execute("reset all; reset session authorization; reset role")
    if limits:
        at.work.done = True


def resume(conn: Connection[DictRow], known: History, act: Act) -> tuple[int, bool]:
    """Note that an act begins; return how many of its statements a run before has done, and whether the next is in doubt."""
    if act.way == "down":
        kept = known.find(act.version)
        if kept and kept.undoing:
            conn.execute(history.GO_ON, (act.version,))
            return kept.done, kept.doubtful
        history.begin_down(conn, act.version, act.migration, postgres.whoami())
        return 0, False
    assert act.migration is not None
    before = known.begun.get(act.version)
    if before is None:
        history.begin_up(conn, act.migration, postgres.whoami())
        return 0, False
    if before.done and before.digest != act.migration.digest:
        raise Problem(
            f"{act.shown}: {before.done} of its statements were done on {in_utc(before.begun_at)}, and it was edited since "
            f"(SHA-256 then {before.digest}, now {act.migration.digest}): put it back as it was, then run this again"
        )
    if before.digest != act.migration.digest:
        conn.execute(history.FORGET, (act.version,))
        history.begin_up(conn, act.migration, postgres.whoami())
    conn.execute(history.GO_ON, (act.version,))
    return before.done, before.doubtful


def looked(at: OpenTarget, conn: Connection[DictRow], act: Act, part: Script, words: str) -> alone.Look:
    """Find out about a statement that a run has begun that was cut off; raises `Problem` where nothing tells."""
    seen = alone.look(conn, words)
    where = part.at(part.contents.statements[0])
    if seen.told == "done":
        say(f"{where}: was done by a run before that was cut off")
    if seen.told == "unknown":
        if REPEAT not in act.section.allow:
            raise Problem(
                f"{where}: a run was cut off in it, and nothing tells whether it was done: look, then write allow:{REPEAT} "
                f"behind the marker if it may run again, or insert {act.version} into schema_migrations if it was done "
                f"(inv db.connect -t {at.target.name} --write)"
            )
        say(f"{where}: is run again (allow:{REPEAT})")
    return seen


def forget(conn: Connection[DictRow], act: Act, part: Script) -> None:
    """Clear away what a statement has left that failed: nothing of it is in doubt."""
    from psycopg import sql

    with contextlib.suppress(Exception):  # the next run looks again
        conn.execute("reset all")
        if made := indexes.made_by(text_of(part)):
            for row in indexes.invalid(conn, made):
                conn.execute(sql.SQL("drop index concurrently if exists {}").format(sql.SQL(row["name"])))
                say(f"{row['name']} is dropped, which it has left invalid")
        if alone.look(conn, words_of(part)).instead:  # half done: the next run sees that, and brings it to its end
            return
        conn.execute(history.FAILED, {"version": act.version})


def text_of(part: Script) -> str:
    return part.data[: len(part.data)].decode(errors="surrogateescape")


def step(
    at: OpenTarget,
    conn: Connection[DictRow],
    act: Act,
    part: Script,
    done: int,
    limits: Limits | None,
    held: Held,
) -> None:
    """Run one statement in a transaction with the note that it is done."""

    def work(own: Connection[DictRow]) -> None:
        send(own, part)
        own.execute(rights.give_back(held).encode())
        own.execute(history.STEP, (done, act.version))

    in_transaction(at, conn, work, act, limits)


def send(conn: Connection[DictRow], script: Script) -> None:
    """Send a script as it is, in whatever transaction the session is in, and say where it fails."""
    shown = measured(Path(script.name).name, len(script.data), partial(load.running, script))
    with load.telling(conn, script), silence.quiet(conn, silence.PROGRESS), shown as meter:
        load.execute(conn, script, [], meter)
