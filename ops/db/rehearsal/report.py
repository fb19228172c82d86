"""What a rehearsal has found: as JSON, as Markdown for a pull request, and at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ops.console import few
from ops.db.rehearsal.estimate import Estimate
from ops.db.rehearsal.locks import Lock
from ops.db.rehearsal.verdict import Unprepared, Verdict
from ops.db.status import human

Down = Literal["restored", "differs", "failed", "missing", "not_run"]


@dataclass(frozen=True)
class Step:
    """A statement of an up part, as it ran."""

    line: int
    """Of the file."""
    text: str
    """With its literals replaced."""
    locks: list[Lock]
    """Those that it took and that were not held before, the strongest first."""
    duration_seconds: float
    """Of the statement, under load."""
    held_seconds: float
    """From its beginning to the end of its transaction, as long as its locks are held."""
    stall_seconds: float
    """The longest that a reader or writer beside it took meanwhile."""
    rewritten_tables: list[str]
    """Those whose rows were all written anew."""
    rewritten_rows: int
    """How many those are."""
    changed_rows: int
    """By INSERT, UPDATE and DELETE."""
    scans: int
    """How many times a whole table was read, the building of indexes not counted."""
    built_indexes: int
    """New ones, and those that were built anew."""
    wal_bytes: int
    """Written to the log; outside of a transaction with what was written beside it."""
    before_bytes: int
    """Size of the tables that it locked or worked on, with their indexes."""
    after_bytes: int
    """The same after it."""
    estimate: Estimate
    """Of its time on the target."""


@dataclass(frozen=True)
class Difference:
    """What the down part did not bring back."""

    kind: str
    """Of the object."""
    name: str
    """Of the object."""
    what: str
    """Which of its properties."""
    before: str | None
    """As it was; null where there was none."""
    after: str | None
    """As it is behind the down part; null where there is none."""


@dataclass(frozen=True)
class Failure:
    """A statement that the server refused."""

    direction: Literal["up", "down", "up_again"]
    """In which part, and the how manieth run of it."""
    line: int
    """Of the file."""
    sqlstate: str
    """Of the refusal."""
    message: str
    """Of the server, in words."""


@dataclass(frozen=True)
class Rehearsed:
    """A migration that was tried."""

    version: str
    """The digits that order and identify it."""
    name: str
    """What its file is called behind them."""
    transaction: bool
    """Whether its up part is one transaction."""
    statements: list[Step]
    """Of its up part."""
    stall_seconds: float
    """The longest that a reader or writer beside it took, in any of its runs."""
    closed_to_reads: Estimate | None
    """How long it will keep readers out of a table of the target; null where it does not."""
    closed_to_writes: Estimate | None
    """How long it will keep writers out of a table of the target; null where it does not."""
    estimate_seconds: float
    """Of its time on the target, all statements together."""
    down: Down
    """restored: the schema is exactly what it was; differs; failed; missing: there is no down part; not_run: the up part failed."""
    differences: list[Difference]
    """What the down part did not bring back."""
    failures: list[Failure]
    """Statements that the server refused."""
    verdicts: list[Verdict]
    """On each query of the release that runs."""
    notes: list[str]
    """What else is to be known, in words."""


@dataclass(frozen=True)
class Rehearsal:
    """What pending migrations would do to a target, tried on a database of its shape; null is what nobody asked."""

    target: str
    """As it is given to --target."""
    target_version: str
    """Of its PostgreSQL."""
    rehearsed_version: str
    """Of the PostgreSQL that it was tried on."""
    rows_ratio: float
    """Which part of the target's rows were made."""
    made_bytes: int
    """Size of the database that it was tried on, before the first migration."""
    usual_stall_seconds: float
    """The longest that a reader or writer took before anything was migrated."""
    migrations: list[Rehearsed]
    """Those that are pending, in their order, up to the first that fails."""
    queries: int
    """How many queries of the release were prepared."""
    skipped_queries: int
    """Utility statements of pg_stat_statements, and those that this user may not see."""
    unprepared: list[Unprepared]
    """Queries that could not be prepared before anything was migrated, so that nothing is said of them."""
    notes: list[str]
    """What else is to be known, in words."""


def faults(found: Rehearsal) -> list[str]:
    """Return in words what has to be mended before this goes to the target; nothing where it may go."""
    told, known = [], set[str]()
    for one in found.migrations:
        name = f"{one.version}_{one.name}"
        told += [f"{name}:{each.line} fails ({each.sqlstate}: {each.message})" for each in one.failures]
        if one.down == "differs":
            told.append(f"the down part of {name} does not bring back what was there")
        broken = [
            verdict.query for verdict in one.verdicts if verdict.verdict == "breaks" and verdict.query not in known
        ]
        known.update(broken)
        if broken:
            told.append(f"{name} breaks {len(broken)} of the queries that run now ({broken[0]})")
    return told


# --- Markdown -----------------------------------------------------------------------------


def markdown(found: Rehearsal) -> str:
    """Return a rehearsal as Markdown."""
    told = [f"## Rehearsal on {found.target}", "", summary(found), ""]
    told += [f"- {note}" for note in found.notes]
    for one in found.migrations:
        told += [
            "",
            f"### {one.version}_{one.name}",
            "",
            *headline(one),
            "",
            *table(HEAD, [cells(step) for step in one.statements]),
        ]
        if moved := [verdict for verdict in one.verdicts if verdict.verdict != "survives"]:
            told += ["", *table(["query", "verdict", "open session", "new session", "why"], [judged(v) for v in moved])]
        if one.differences:
            told += ["", "Not brought back by the down part:", ""]
            told += table(
                ["kind", "object", "what", "before", "after"],
                [[d.kind, d.name, d.what, d.before or "", d.after or ""] for d in one.differences],
            )
    if found.unprepared:
        told += [
            "",
            f"Nothing is said of {len(found.unprepared)} queries, which could not be prepared before the first migration:",
            "",
        ]
        told += table(["query", "SQLSTATE", "why"], [[one.name, one.sqlstate, one.message] for one in found.unprepared])
    return "\n".join(told)


HEAD = ["line", "statement", "locks", "time", "held", "stall", "work", "log", "size", "on the target"]


def summary(found: Rehearsal) -> str:
    share = f"{found.rows_ratio:.0%} of its rows" if found.rows_ratio >= 0.01 else f"{found.rows_ratio:.2%} of its rows"
    made = f"{share if found.rows_ratio else 'none of its rows'}, made up, {human(found.made_bytes)}"
    return (
        f"{len(found.migrations)} pending, tried on PostgreSQL {found.rehearsed_version} (the target: {found.target_version}) with {made}. "
        f"Without a migration no reader or writer waited longer than {seconds(found.usual_stall_seconds)}."
    )


def headline(one: Rehearsed) -> list[str]:
    """Return what is to be known of a migration first."""
    told = [
        f"- **fails** at line {f.line} ({f.direction.replace('_', ' ')}): {f.sqlstate} {f.message}"
        for f in one.failures
    ]
    for what, closed in (("Readers", one.closed_to_reads), ("Writers", one.closed_to_writes)):
        if closed:
            told.append(f"- {what} are kept out of a table for about {span(closed)}.")
    told.append(f"- Others waited {seconds(one.stall_seconds)} at most here.")
    told.append(
        {
            "restored": "- The down part restores the schema exactly.",
            "differs": f"- **The down part does not restore the schema**: {len(one.differences)} differences.",
            "failed": "- **The down part fails.**",
            "missing": "- There is no down part.",
            "not_run": "- The down part was not run.",
        }[one.down]
    )
    counts = {word: sum(v.verdict == word for v in one.verdicts) for word in WORDS}
    said = [f"{count} {WORDS[word]}" for word, count in counts.items() if count]
    told.append(f"- The release that runs: of {len(one.verdicts)} queries {', '.join(said) or 'none was looked at'}.")
    return told + [f"- {note}" for note in one.notes]


WORDS = {
    "survives": "survive",
    "fails_once": "fail once in each open session that has prepared them",
    "breaks": "**break**",
    "answers_otherwise": "answer otherwise",
    "not_judged": "were not judged",
}


def cells(step: Step) -> list[str]:
    """Return a statement as a row of a table."""
    work = (
        [f"rewrites {', '.join(step.rewritten_tables)} ({step.rewritten_rows} rows)"] if step.rewritten_tables else []
    )
    work += [f"changes {step.changed_rows} rows"] if step.changed_rows else []
    work += [f"reads {step.scans} tables whole"] if step.scans else []
    work += [f"builds {step.built_indexes} indexes"] if step.built_indexes else []
    return [
        str(step.line),
        step.text if len(step.text) <= 80 else step.text[:79] + "…",
        few([f"{lock.relation}: {lock.level.replace('_', ' ')}" for lock in step.locks], 6),
        seconds(step.duration_seconds),
        seconds(step.held_seconds),
        seconds(step.stall_seconds),
        ", ".join(work),
        human(step.wal_bytes),
        human(step.before_bytes)
        if step.before_bytes == step.after_bytes
        else f"{human(step.before_bytes)} → {human(step.after_bytes)}",
        span(step.estimate),
    ]


def judged(verdict: Verdict) -> list[str]:
    return [
        verdict.query,
        verdict.verdict.replace("_", " "),
        verdict.open_session_sqlstate or "",
        verdict.new_session_sqlstate or "",
        verdict.message,
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown; what is in it stays text."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]


def span(estimate: Estimate) -> str:
    """Return an estimate with its error bar."""
    return f"{seconds(estimate.seconds)} ({seconds(estimate.least_seconds)} to {seconds(estimate.most_seconds)})"


def seconds(value: float) -> str:
    """Return a time as people read it."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


# --- the terminal -------------------------------------------------------------------------


def show(found: Rehearsal) -> None:
    """Print a rehearsal at the terminal."""
    from ops import console

    console.result(summary(found))
    for note in found.notes:
        console.result(note)
    for one in found.migrations:
        console.result(f"\n{one.version}_{one.name}")
        console.table(HEAD, [dict(zip(HEAD, cells(step), strict=True)) for step in one.statements])
        console.result("\n".join(line.removeprefix("- ").replace("**", "") for line in headline(one)))
        if moved := [verdict for verdict in one.verdicts if verdict.verdict != "survives"]:
            head = ["query", "verdict", "open session", "new session", "why"]
            console.table(head, [dict(zip(head, judged(v), strict=True)) for v in moved])
        for each in one.differences:
            console.result(
                f"not brought back: {each.kind} {each.name}, {each.what}: {each.before or 'none'} → {each.after or 'none'}"
            )
    for left in found.unprepared:
        console.result(f"nothing is said of {left.name}, which could not be prepared: {left.sqlstate} {left.message}")
