"""db.status --watch: what goes on in a database, drawn anew every other second on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import console, postgres
from ops.db import now, shown, status
from ops.db.now import Now
from ops.errors import Misconfigured, Problem
from ops.targets import opening, outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from rich.console import RenderableType

PERIOD, AGAIN = 2.0, 5.0
"""Seconds between two looks, and until a server that does not answer is tried again."""
SIZES = 30
"""Looks between two at the size of a database, which reads the length of each of its files."""
MOST = 10
"""Sessions that are shown."""
# pg_blocking_pids holds up the whole lock manager for a moment, so it is asked for those alone that do wait
# (https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SESSION-TABLE)
WAITING = f"""
select a.pid, a.usename as user, pg_blocking_pids(a.pid) as blockers, left(a.query, 4000) as query,
       extract(epoch from clock_timestamp() - l.since)::float as seconds, count(*) over () as all
from (select pid, min(waitstart) as since from pg_locks where not granted group by pid) l
join pg_stat_activity a on a.pid = l.pid
order by l.since limit {MOST}
"""
BEFORE = """
select pid, usename as user, application_name as application, coalesce(state, 'hidden') as state,
       extract(epoch from clock_timestamp() - xact_start)::float as seconds
from pg_stat_activity where pid = any(%s) order by xact_start
"""


@dataclass(frozen=True)
class Moment:
    """What is drawn."""

    now: Now
    waiting: list[dict[str, Any]]
    before: list[dict[str, Any]]
    """In whose way nobody is, and who is in that of others."""


def require_terminal(*, json: bool) -> None:
    """See that there is something to draw on; raises `Misconfigured`."""
    if json:
        raise Misconfigured("--watch draws on a terminal: give one of --watch, --json")
    if not console.to_a_person():
        raise Misconfigured("--watch draws on a terminal, and this is none: leave it out, or give --json for one look")


def watch(settings: Settings, name: str) -> None:
    """Draw a target until Ctrl-C; one that does not answer any more is tried again. Raises what stops the first look."""
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        seen = ""
        try:
            while True:
                try:
                    with opening.open_target(settings, name, "db.status", announced=False, login="reader") as at:
                        at.required()
                        seen = title(at)
                        follow(at, live, seen)
                except Exception as error:
                    if not seen or not is_passing(error):
                        raise
                    live.update(drawn(seen, Moment(now.away(worded(error)), [], [])), refresh=True)
                sleep(AGAIN)
        except KeyboardInterrupt:
            return  # the one end that it has


def is_passing(error: Exception) -> bool:
    """Whether what has ended the looks may be over after a while: a server that was started anew, a way that was cut."""
    import psycopg

    return isinstance(error, Problem) or (isinstance(error, psycopg.Error) and outcome.is_lost(error))


def worded(error: Exception) -> str:
    """Return an error in one line."""
    import psycopg

    text = outcome.joined(*outcome.meaning(error)) if isinstance(error, psycopg.Error) else str(error)
    return console.redact(text.splitlines()[0])


def title(at: OpenTarget) -> str:
    """Return which target is drawn."""
    production = f", PRODUCTION: {at.prod}" if at.prod else ""
    return f"{at.target.name}: {at.target.address}, PostgreSQL {at.facts['version']}{production}"


def follow(at: OpenTarget, live: Any, seen: str) -> None:
    """Draw by one session, until that is lost."""
    with at.connect() as conn:
        before, size, looks = None, None, 0
        while True:
            found, before = now.look(conn, before, size if looks % SIZES else None)
            size, looks = found.size_bytes, looks + 1
            live.update(drawn(seen, Moment(found, *queue(conn, found))), refresh=True)
            sleep(PERIOD)


def queue(conn: Connection[DictRow], found: Now) -> tuple[list[DictRow], list[DictRow]]:
    """Return who waits for a lock, the longest first, and who stands before them and waits for nobody."""
    if not found.waiting:
        return [], []
    waiting = postgres.fetch(conn, WAITING)
    pids = {pid for row in waiting for pid in row["blockers"]} - {row["pid"] for row in waiting}
    return waiting, postgres.fetch(conn, BEFORE, sorted(pids)) if pids else []


def drawn(seen: str, moment: Moment) -> RenderableType:
    """Return a moment as rich draws it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = moment.now
    facts = Table.grid(padding=(0, 2))
    for fact, value, is_bad in facts_of(found):
        facts.add_row(Text(fact, style="dim"), Text(console.harmless(value), style="bold red" if is_bad else ""))
    parts: list[RenderableType] = [Text(console.harmless(seen), style="bold"), facts]
    if moment.waiting:
        parts.append(sessions(moment))
    parts.append(Text(f"{found.looked_at.astimezone():%H:%M:%S}, every {PERIOD:.0f} s; Ctrl-C ends it", style="dim"))
    return Group(*parts)


def facts_of(found: Now) -> Sequence[tuple[str, str, bool]]:
    """Return each fact with whether it wants a look."""
    if not found.reachable:
        return [("reachable", f"no: {found.problem}", True)]
    oldest, most = found.oldest_transaction_seconds, found.connections_most or 1
    hits = found.hit_ratio
    facts = [
        ("size", status.human(found.size_bytes), False),
        (
            "connections",
            f"{found.connections} of {most}, {found.active} at work",
            (found.connections or 0) >= 0.75 * most,
        ),
        ("cache hits", "nothing was read" if hits is None else f"{hits:.1%}", hits is not None and hits < 0.9),
        ("oldest transaction", "none" if oldest is None else lasting(oldest), (oldest or 0) >= 300),
        (
            "ended",
            "" if found.transactions is None else f"{found.transactions / PERIOD:.0f} transactions a second",
            False,
        ),
        ("waiting for a lock", str(found.waiting or "nobody"), bool(found.waiting)),
    ]
    if found.replica_lag_seconds is not None:
        facts.append(("replica behind", lasting(found.replica_lag_seconds), found.replica_lag_seconds > 30))
    return facts


def sessions(moment: Moment) -> RenderableType:
    """Return who waits for whom; queries without their values, which are people's data."""
    from rich.table import Table
    from rich.text import Text

    table = Table("pid", "user", "since", "waits for", "does", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in moment.before:
        state = f"{row['state']} ({row['application']})" if row["application"] else row["state"]
        since = "" if row["seconds"] is None else lasting(row["seconds"])
        cells = (row["pid"], row["user"], since, "nobody", state)
        table.add_row(*(Text(console.harmless(str(cell)), style="bold") for cell in cells))
    for row in moment.waiting:
        query = shown.without_values(row["query"] or "", 80)
        since = "" if row["seconds"] is None else lasting(row["seconds"])
        cells = (row["pid"], row["user"], since, ", ".join(map(str, sorted(set(row["blockers"])))), query)
        table.add_row(*(Text(console.harmless(str(cell))) for cell in cells))
    if moment.waiting[0]["all"] > len(moment.waiting):
        table.add_row("", "", "", "", Text(f"and {moment.waiting[0]['all'] - len(moment.waiting)} more", style="dim"))
    return table


def lasting(seconds: float) -> str:
    """Return a length of time as people read it."""
    return f"{seconds:.1f} s" if seconds < 60 else console.minutes(seconds) + " min"
