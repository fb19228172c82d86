"""When the server refuses or a session breaks: what happened, what became of the data, and the next step.

The states are those of https://www.postgresql.org/docs/current/errcodes-appendix.html. How a transaction ended is
known to pg_xact_status (https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT); which
database has a name now, to pg_database.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from ops import postgres, row_values
from ops.errors import LoginFailed, NothingAnswers, Problem, SessionLost, Unreachable
from ops.targets.identity import PREV

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget

AGAIN = "run this again"
LOST = "the connection was lost"
BRIEF = 2
"""Seconds for a login that is only to clear up; libpq takes no less."""


BEGUN = """(values (
  pg_catalog.pg_backend_pid(), pg_catalog.pg_current_xact_id()::pg_catalog.text,
  (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
)) as begun (pid, xid, database)"""
"""Which session and transaction a load is, and in which database."""
END = """
select pg_terminate_backend(pid) from pg_stat_activity where pid = any(%s) and application_name = %s
"""


class Row(NamedTuple):
    """What a state of the server means; `{said}` stands for its own words."""

    what: str
    step: str = AGAIN
    breaks: bool = False
    """Whether the session ends with it, so that the answer to the last statement may be lost."""


STATES = {
    "08": Row(LOST, breaks=True),
    "25006": Row(
        "the server takes no writes: it is a replica, or default_transaction_read_only is on for this login or database",
        "name a server and login that may write",
    ),
    "25P03": Row("the server ended the session, idle in a transaction for longer than it allows", breaks=True),
    "25P04": Row("the server ended the session, whose transaction took longer than it allows", breaks=True),
    "40001": Row("another session wrote to the same rows"),
    "40P01": Row("another session and this one waited for each other, and the server broke this one off"),
    "53": Row("the server lacks what this needs ({said})", "see to that, then run this again"),
    "53100": Row("the server's disk is full", "free some space there, then run this again"),
    "53200": Row("the server is out of memory", "give it more, or load less at once, then run this again"),
    "53300": Row("all connections of the server are taken", "inv db.sessions shows by whom; then run this again"),
    "53400": Row("a limit that is set on the server is reached ({said})", "raise it, then run this again"),
    "55P03": Row("another session holds what this one needs", "inv db.sessions shows whose it is; then run this again"),
    "57014": Row("somebody cancelled the statement on the server"),
    "57P01": Row("the server was stopped, or somebody ended this session", breaks=True),
    "57P02": Row("the server has crashed and starts anew", "see its log, then run this again", breaks=True),
    "57P03": Row("the server is starting or stopping", "inv db.wait, then run this again", breaks=True),
    "57P04": Row("somebody dropped the database meanwhile", "inv db.status tells what is there", breaks=True),
    "57P05": Row("the server ended the session, idle for longer than it allows", breaks=True),
    "58": Row("the server could not read or write its files ({said})", "see its log and disk, then run this again"),
    "XX": Row("the server met a fault of its own ({said})", "see its log"),
    "XX001": Row("the server's data is damaged ({said})", "see its log, and go back to a copy"),
    "XX002": Row("an index of the server is damaged ({said})", "reindex it, then run this again"),
}
"""By SQLSTATE, or the class that it begins with. What a file has wrong itself is in explain.py."""

CONTENDED = {"55P03": "ProcessInterrupts", "40P01": "DeadLockReport"}
"""The states of a transaction that was in another one's way, or that one in its, and may be begun again; with the function of the server that says so."""

CONDITIONS = {
    r"closed the connection unexpectedly|EOF detected": "the server, or something on the way, closed the connection",
    r"Connection reset|Broken pipe|connection abort": "something on the way cut the connection",
    r"timed out|timeout expired|unreachable|No route to host": "nothing comes back from the server any more",
    r"SSL|TLS": "something on the way cut the TLS connection",
}
"""By libpq's words for a lost connection, which has no SQLSTATE."""


class Data(Enum):
    """What became of the data."""

    UNTOUCHED = "nothing had begun"
    NOTHING = "all of it was undone"
    ALL = "all of it was kept"
    PART = "what stood before an unseen COMMIT was kept"
    STEPS = "each step was kept as it was done"
    OTHERS = "another run has given the name to a database of its own"
    UNKNOWN = "the server does not tell"


@dataclass
class Work:
    """How far a task is with the change that it makes, for when its session breaks."""

    pids: list[int] = field(default_factory=list)
    """The server's processes of our sessions."""
    begun: bool = False
    names: bool = False
    """It is about a database that is made, or gets or loses the name."""
    by_steps: bool = False
    """Each statement is kept as it is done, and the next run does the rest."""
    xid: str = ""
    """The transaction of a load; empty where it is not known."""
    closing: bool = False
    """What makes it last has been sent, or may have been."""
    done: bool = False
    """The server has said that it is."""
    before: int | None = None
    """The oid of the database that has the name."""
    built: int | None = None
    """The oid of the one that was built beside it."""
    left: str = ""
    """What is to be done by hand where the run ends from here on."""

    def load(self, pid: int, xid: str, *, closing: bool = False) -> None:
        """Note the session and the transaction in which a file is loaded for good."""
        self.begun, self.xid, self.closing = True, xid, closing
        if pid not in self.pids[-1:]:  # a thousand files go over one session
            self.pids.append(pid)


def row(state: str | None) -> Row | None:
    """Return what a SQLSTATE means, or None where the server's own words say it best."""
    state = state or ""
    return STATES.get(state) or STATES.get(state[:2])


def is_contended(diag: Any) -> bool:
    """Whether the server itself says that another session was in the way: a file may raise the same by a state of its choice."""
    return diag.sqlstate in CONTENDED and bool(CONTENDED[diag.sqlstate] == diag.source_function)


def worded(state: str | None, said: str) -> tuple[str, str]:
    """Return what happened, by SQLSTATE or else libpq's words, and the next step; that is empty where only the words tell."""
    said, code = " ".join(said.split()), f" ({state})" if state else ""
    if found := row(state):
        return found.what.format(said=said) + code, found.step
    if state:
        return said + code, ""
    if silent := re.match(r"(.* has (?:fallen silent|given no answer).*?): (see that .*)", said):  # by ops/silence.py
        return silent[1], silent[2]
    return next((what for pattern, what in CONDITIONS.items() if re.search(pattern, said)), LOST), AGAIN


def session_lost(work: str, state: str | None, said: str) -> SessionLost:
    """Return the error of a session that broke, `work` being what it was at."""
    what, step = worded(state, said)
    return SessionLost(f"{work}: {what}", step=step or AGAIN)


def is_lost(error: Error) -> bool:
    """Whether an error of psycopg means that the session is gone."""
    import psycopg

    if error.sqlstate:
        found = row(error.sqlstate)
        return bool(found and found.breaks)
    return isinstance(error, psycopg.OperationalError) or type(error) is psycopg.DatabaseError


def meaning(error: Error) -> tuple[str, str]:
    """Return what an error of psycopg means, and the next step; that is empty where only its words tell."""
    said = row_values.message(error.diag) or str(error)
    if error.sqlstate or is_lost(error):
        return worded(error.sqlstate, said)
    return " ".join(said.split()), ""


def told(error: Exception, place: OpenTarget | None, at: str, *, writes: bool) -> Problem | None:
    """Return an error of the server or the connection with what became of the data; None for any other.

    `place` is None where nothing could have been done yet, `at` the server's address.
    """
    import psycopg

    lost, step = True, ""
    if isinstance(error, psycopg.Error):
        what, step = meaning(error)
        what, lost = what if what.startswith(at) else f"{at}: {what}", is_lost(error)
        if lost and place and place.target.way and (why := place.target.way.ended()):
            what = f"{at}: {why}"
    elif isinstance(error, SessionLost):
        what, step = str(error), error.step
        if place and place.target.way and (why := place.target.way.ended()):
            what = f"{what.partition(':')[0]}: {why}"
    elif writes and isinstance(error, NothingAnswers | Unreachable | LoginFailed):
        what = str(error)
    else:
        return None
    if not writes:
        return Problem(joined(what, step))
    data = Data.UNTOUCHED
    if place:
        data = ask(place) if lost else undone(place.work)
    sentence, instead = words(data, place)
    if isinstance(error, NothingAnswers | Unreachable | LoginFailed):  # worded as the next step already
        return type(error)(joined(f"{what}; {sentence}", instead or ""))
    return Problem(joined(what, sentence, step if instead is None else instead))


def joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)


def undone(work: Work) -> Data:
    """Return what an error leaves that ends no session: the server has undone its transaction."""
    if work.done:
        return Data.ALL
    if work.by_steps:
        return Data.STEPS
    return Data.NOTHING if work.begun else Data.UNTOUCHED


def words(data: Data, place: OpenTarget | None) -> tuple[str, str | None]:
    """Return what became of the data, and the next step where that is another one than to run it again."""
    if place is None:
        return "nothing was changed", None
    work, name = place.work, place.name
    on = f" -t {place.target.name}"
    results = {
        "db.create": (f"{name} was made", ""),
        "db.branch": (f"{name} was made", ""),
        "db.drop": (f"{name} was dropped", f"inv db.undo{on} brings it back"),
        "db.pull": (f"the copy has the name {name}", f"inv db.undo{on} swaps back" if work.before else ""),
        "db.setup": (f"the new one has the name {name}", f"inv db.undo{on} swaps back" if work.before else ""),
        "db.restore": (f"the new one has the name {name}", f"inv db.undo{on} swaps back" if work.before else ""),
        "db.purge": (f"{name}{PREV} was dropped", ""),
        "db.undo": (f"the previous one has the name {name}", f"inv db.undo{on} swaps back" if work.before else ""),
    }
    made, kept = results.get(place.task, ("all of it was kept", "there is nothing to do again"))
    match data:
        case Data.UNTOUCHED:
            there = place.task in results and place.database()
            return f"{name} is as it was" if there else "nothing was changed", None
        case Data.ALL:
            return made, work.left or kept
        case Data.NOTHING if work.names:
            return f"{name} is as it was" if work.before else f"there is no {name}, as before", None
        case Data.NOTHING:
            return "nothing of it was kept", None
        case Data.PART:
            return f"something in it ended the transaction, and what it did before that has stayed in {name}", (
                f"look there (inv db.status{on}), and take what ends a transaction out of the file"
            )
        case Data.STEPS:
            return "what was done before that has stayed", None
        case Data.OTHERS:
            return f"another run has given the name {name} to a database of its own", f"inv db.status{on}"
        case _:
            return f"it cannot be reached again, and whether {made} is not known", finding_out(place)


def finding_out(place: OpenTarget) -> str:
    """Return the command that tells what became of the data, and how to read it."""
    work, on = place.work, f"-t {place.target.name}"
    if work.xid:
        query, means = f"select pg_xact_status({work.xid}::text::xid8)", "committed: all of it, aborted: nothing"
    elif work.before and place.task in ("db.setup", "db.restore", "db.pull", "db.undo"):
        query = "select oid from pg_database where datname = current_database()"
        means = f"{work.before}: it is as it was"
    else:
        return f"inv db.status {on} tells"
    return f"echo '{query}' | inv db.connect {on} tells ({means})"


def ask(place: OpenTarget) -> Data:
    """Log in again, end what is left of our sessions, and ask what became of the data.

    Where that is in doubt, it is tried for `connect_timeout` seconds, else once.
    """
    import psycopg

    from ops.targets import opening

    work = place.work
    doubtful = work.closing and not work.done
    seconds = place.settings.connect_timeout if doubtful else BRIEF
    deadline = time.monotonic() + (seconds if doubtful else 0)
    settings = replace(place.settings, connect_timeout=seconds)
    while True:
        try:
            with opening.maintenance(settings, place.target, place.task) as conn:
                return answer(conn, place, deadline)
        except (Problem, psycopg.Error):
            if time.monotonic() >= deadline:
                return Data.UNKNOWN if doubtful else undone(work)
            time.sleep(0.1)


def answer(conn: Connection[DictRow], place: OpenTarget, deadline: float) -> Data:
    """Return what the server says became of the data, once it has put our old sessions to an end."""
    work, deadline = place.work, max(deadline, time.monotonic() + BRIEF)
    while postgres.fetch(conn, END, work.pids, postgres.application(place.task)):
        if time.monotonic() >= deadline:
            raise Problem("a session of ours does not end")
        time.sleep(0.01)
    if work.done or not work.begun:
        return undone(work)
    if work.names:
        return named(conn, place)
    match ended(conn, work.xid):
        case "committed":
            return Data.ALL if work.closing else Data.PART
        case "aborted":
            return Data.NOTHING
        case _:
            return Data.UNKNOWN if work.closing else Data.NOTHING


def ended(conn: Connection[DictRow], xid: str) -> str:
    """Return how a transaction ended: committed or aborted; in progress while it goes on, empty where it is forgotten."""
    import psycopg

    if not xid:
        return ""
    try:
        return str(postgres.row(conn, "select pg_xact_status(%s::text::xid8) as status", xid)["status"] or "")
    except psycopg.errors.InvalidParameterValue:  # a server that took the other's place, and never had it
        return "aborted"


def named(conn: Connection[DictRow], place: OpenTarget) -> Data:
    """Return what the name says of a database that was to be made, or to get or lose it."""
    work = place.work
    name = place.name + PREV if place.task == "db.purge" else place.name
    rows = postgres.fetch(conn, "select oid from pg_database where datname = %s", name)
    now = int(rows[0]["oid"]) if rows else None
    if now == work.before:
        return Data.NOTHING
    kept = place.database(PREV)
    back = int(kept["oid"]) if kept else None
    built = dict.fromkeys(("db.setup", "db.restore", "db.pull"), work.built)
    wanted = {**built, "db.undo": back, "db.drop": None, "db.purge": None}.get(place.task, now)
    return Data.ALL if now == wanted else Data.OTHERS
