"""db.diagnose: the health of a database, as red, yellow and green lines.

What Heroku's pg:diagnose (https://devcenter.heroku.com/articles/heroku-postgresql#pg-diagnose) and pg-index-health
(https://github.com/mfvanek/pg-index-health) look for, and the application's own queries. pg-extras for Python sleeps since 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from config.settings import Settings
from ops import console
from ops.console import say
from ops.db.diagnose import constraints, indexes, keys, look, queries, server, sessions, tables, wal
from ops.db.diagnose.check import Check, Line, Proof, Status
from ops.errors import Differs, Misconfigured
from ops.targets import opening
from ops.targets.open_target import OpenTarget

CHECKS: tuple[Check, ...] = (
    *sessions.CHECKS,
    *tables.CHECKS,
    *indexes.CHECKS,
    *constraints.CHECKS,
    *server.CHECKS,
    *wal.CHECKS,
    *keys.CHECKS,  # they lock what they read, so they come last
)
ORDER: tuple[Status, ...] = ("red", "yellow", "unseen", "green")
COLOURS = {"red": "31", "yellow": "33", "unseen": "2", "green": "32"}
"""Of a terminal (ECMA-48, SGR)."""


@dataclass(frozen=True)
class Diagnosis:
    """The health of a database."""

    target: str
    """As it is given to --target."""
    address: str
    """user@host:port/database, as it stands in messages."""
    version: str
    """Of PostgreSQL."""
    production: bool
    """Whether a dangerous act wants its name."""
    statistics_since_at: datetime | None
    """From when on the server's statistics count, by which traffic is judged; null where it does not say."""
    red: int
    """How many lines are."""
    yellow: int
    """How many are."""
    unseen: int
    """How many things could not be judged: for a right, or because nobody can know from here."""
    green: int
    """How many are."""
    lines: list[Line]
    """The red ones first."""


def show(settings: Settings, target: str, *, fail_on: str, json: bool, prove: bool = False) -> None:
    """Print the health of a target; raises `Differs` where there is something as bad as `fail_on`."""
    if fail_on not in ("", "red", "yellow"):
        raise Misconfigured(f"--fail-on {fail_on}: give red or yellow")
    answer = look_at(settings, target, prove=prove)
    if json:
        console.as_json(answer)
    else:
        print_all(answer)
    told = ", ".join(f"{number} {status}" for status in ORDER if (number := getattr(answer, status)))
    if (fail_on and answer.red) or (fail_on == "yellow" and answer.yellow):
        raise Differs(f"{name_of(answer)}: {told} (--fail-on {fail_on})")
    say(f"{name_of(answer)}: {told}")


def name_of(answer: Diagnosis) -> str:
    """Return the name of the database, which ends its address."""
    return answer.address.rpartition("/")[2]


def look_at(settings: Settings, target: str, *, announced: bool = True, prove: bool = False) -> Diagnosis:
    """Open a target, and look at it; `prove`: try the indexes that are advised for queries on a copy of its shape."""
    with opening.open_target(settings, target, "db.diagnose", announced=announced, direct=prove) as at:
        at.required()
        found = diagnosis(at)
        if prove:
            from ops.db.rehearsal import advice

            found = replace(found, lines=advice.prove(at.settings, at, found.lines))
        return found


def diagnosis(at: OpenTarget) -> Diagnosis:
    """Look at a target; nothing is changed there."""
    with at.connect() as conn:
        facts, lines, [large] = look.look(conn, at, CHECKS, queries.LARGE)
        lines += queries.look(conn, at.settings.queries, facts, large)
    lines.sort(key=lambda line: ORDER.index(line.status))
    numbers = {status: sum(line.status == status for line in lines) for status in ORDER}
    return Diagnosis(
        target=at.target.name,
        address=at.target.address,
        version=at.facts["version"],
        production=bool(at.prod),
        statistics_since_at=facts.since,
        lines=lines,
        **numbers,
    )


def print_all(answer: Diagnosis) -> None:
    """Print the lines: the status and the check, what was found, and below it what it costs and what mends it."""
    width = max(len(line.check) for line in answer.lines)
    for line in answer.lines:
        about = f"{line.object}: " if line.object else ""
        console.result(f"{coloured(line.status)}  {line.check:{width}}  {console.harmless(about + line.what)}")
        for title, text in (
            *((("costs"), text) for text in [line.cost] if text),
            *(("mend", text) for text in line.mend),
            *(("proof", proof_of(proof)) for proof in [line.proof] if proof),
        ):
            console.result(f"{'':{8 + width}}  {title}: {console.directed(console.harmless(text))}")


def proof_of(proof: Proof) -> str:
    """Return in words what an index was worth."""
    where = f"on a copy with {proof.rows_ratio:.0%} of the rows, made up"
    if not proof.used:
        return f"the planner does not take it {where}: look before you build it"
    return f"the query's cost falls from {proof.before_cost:,.0f} to {proof.after_cost:,.0f} by it, {where}"


def coloured(status: Status) -> str:
    """Return a status as wide as any, in its colour at a terminal."""
    text = f"{status:6}"
    return f"\x1b[{COLOURS[status]}m{text}\x1b[0m" if console.to_a_person() else text
