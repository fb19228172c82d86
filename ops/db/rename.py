"""Change the names of several databases in one transaction, past the sessions that are on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import say
from ops.db import sessions
from ops.db.identity import KEPT, NEXT
from ops.db.place import Place
from ops.errors import Problem, Refused

if TYPE_CHECKING:
    from psycopg.sql import Composed

SECONDS = 15.0
"""How long sessions that keep coming may hold up a rename."""


def run(place: Place, renames: Sequence[tuple[str, str]], *, force: bool) -> None:
    """Change several names in one transaction, ending the sessions in the way.

    Postgres waits up to five seconds for other sessions on a database before
    it refuses to rename it, and holds new ones off meanwhile. So one session
    renames while this one ends those that are in the way: nobody is locked out
    by a flag that a killed run would leave behind.
    """
    from psycopg import sql

    conn, involved = place.conn, [old for old, _ in renames]
    mine = postgres.application(place.task)  # just closed, and gone in a moment
    leaving = [
        s for s in sessions.in_the_way(conn, involved) if ours_to_end(place, s, force) and s["application"] != mine
    ]
    sessions.end(conn, leaving)
    for session in leaving:
        say(f"ended {sessions.describe(session)}")
    sessions.settle(conn, involved)
    statement = sql.SQL("; ").join([*map(renamed, renames), *marks(place, renames)])
    failed: list[Exception] = []

    def work() -> None:
        try:
            conn.execute(statement)  # several statements in one query are one transaction
        except Exception as error:
            failed.append(error)

    place.begin()
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        worker.join(0.05)
        if worker.is_alive():
            clear_the_way(place, involved, worker, force=force)
    except BaseException:
        conn.cancel_safe()
        worker.join()
        if failed:
            raise
    if failed:
        raise failed[0]
    place.work.done = True


def renamed(pair: tuple[str, str]) -> Composed:
    """Return the SQL for one change of name."""
    from psycopg import sql

    return sql.SQL("alter database {} rename to {}").format(*map(sql.Identifier, pair))


def marks(place: Place, renames: Sequence[tuple[str, str]]) -> Iterator[Composed]:
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
        wanted = comment.replace(KEPT, "").strip()
        if end != place.name:
            wanted = f"{wanted} {KEPT}".strip()
        if end != name and wanted != comment:
            yield sql.SQL("comment on database {} is {}").format(sql.Identifier(end), sql.Literal(wanted or None))


def clear_the_way(place: Place, involved: Sequence[str], worker: threading.Thread, *, force: bool) -> None:
    """End the sessions that hold up a rename, until it is through."""
    deadline = time.monotonic() + SECONDS
    with postgres.connect(place.target, task=place.task, dbname=place.conn.info.dbname) as conn:
        while worker.is_alive():
            for session in sessions.in_the_way(conn, involved):
                if not ours_to_end(place, session, force):
                    raise Refused(
                        f"{sessions.describe(session)} came in between: nothing was changed; --force ends such sessions"
                    )
                sessions.end(conn, [session])
            if time.monotonic() > deadline:
                raise Problem(
                    f"{place.name} could not be renamed in {SECONDS:.0f} s: nothing was changed; see inv db.sessions"
                )
            worker.join(0.02)


def ours_to_end(place: Place, session: dict[str, Any], force: bool) -> bool:
    """Whether a session may be ended for the sake of a rename."""
    return force or (not place.prod and bool(session["idle"]))
