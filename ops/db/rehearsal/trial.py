"""One migration, tried: up, down and up again, beside readers and writers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ops import postgres
from ops.db.drift import catalog, compare
from ops.db.rehearsal import estimate, work
from ops.db.rehearsal.estimate import Cost, Estimate, Size
from ops.db.rehearsal.locks import STOPS_READS, STOPS_WRITES, STRENGTH
from ops.db.rehearsal.report import Difference, Down, Failure, Rehearsed, Step
from ops.db.rehearsal.traffic import Traffic
from ops.db.rehearsal.verdict import Release, Verdict
from ops.db.rehearsal.work import Failed, Part, Ran

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from typing_extensions import LiteralString

SIZES = """
select c.oid::bigint as oid, greatest(c.reltuples, 0)::bigint as rows, pg_catalog.pg_relation_size(c.oid) as bytes
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
"""
TABLES = """
select format('%I.%I', n.nspname, c.relname) as name, c.reltuples >= 0 as known from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
"""
OF_ROWS = ("21", "22", "23")
"""Classes of errors that rows are refused with, and made-up ones say nothing of the target's."""
MENDED = 4
"""How often made-up rows are changed for a migration, before it counts as one that fails."""
# The primary key of a table by its bare name, where it is of one column
PRIMARY = """
select c.oid::regclass::text as name, quote_ident(a.attname) as key from pg_catalog.pg_class c
join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary and i.indnkeyatts = 1
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] where c.relname = %s
"""
INVALID = "select indexrelid::regclass::text as name from pg_catalog.pg_index where not indisvalid"
GIVEN: LiteralString = """
with parents as materialized (select {2} as key, row_number() over () - 1 as n, count(*) over () as many from {3})
update {0} as child set {1} = key from parents where n = mod(abs(hashtext(child.ctid::text)), many) and child.{1} is not null
"""


@dataclass(frozen=True)
class Trial:
    """A migration that is pending."""

    version: str
    name: str
    up: Part
    down: Part | None
    digest: str = ""
    """Of its file."""


@dataclass
class Stage:
    """The database that migrations are tried on, and what is known of the target's."""

    connect: Callable[[], Connection[DictRow]]
    there: Mapping[int, Size]
    """The target's tables, by their oid here."""
    costs: Callable[[], Mapping[str, Cost]]
    """What work costs on this server; measured when it is asked for the first time."""
    traffic: Traffic
    release: Release
    shown: Callable[[str], str]
    notes: list[str] = field(default_factory=list)


def tried(stage: Stage, trial: Trial) -> Rehearsed:
    """Run a migration up, down and up again, and return what that did; the schema is left as after the last that ran.

    What a transaction did is looked at before, in one that is rolled back: the looks would keep others waiting.
    """
    notes: list[str] = []
    failures: list[Failure] = []
    before = read(stage)
    looked = look_at(stage, trial.up, failures, notes)
    here = sizes(stage)
    loaded = run(stage, trial.up, failures, "up", notes) if looked is not None else None
    verdicts: list[Verdict] = stage.release.judge() if loaded is not None else []
    down: Down = "not_run" if loaded is None else "missing"
    found: list[Difference] = []
    again: list[Ran] | None = None
    if loaded is not None and trial.down:
        after, back = read(stage), run(stage, trial.down, failures, "down", notes)
        down = "failed"
        if back is not None:
            found = different(before, read(stage), notes)
            down = "differs" if found else "restored"
            again = run(stage, trial.up, failures, "up_again", notes)
            if again is not None and different(after, read(stage)):
                notes.append("the second run up gives another schema than the first")
    ran = loaded or []
    facts = looked or again or ran
    steps = [step(stage, *each, here) for each in zip(ran, facts, again or ran, strict=True)] if ran else []
    return Rehearsed(
        version=trial.version,
        name=trial.name,
        transaction=trial.up.transaction,
        statements=steps,
        stall_seconds=max((one.stall_seconds for one in steps), default=0.0),
        closed_to_reads=closed(steps, STOPS_READS, together=trial.up.transaction),
        closed_to_writes=closed(steps, STOPS_WRITES, together=trial.up.transaction),
        estimate_seconds=sum(one.estimate.seconds for one in steps),
        down=down,
        differences=found,
        failures=failures,
        verdicts=verdicts,
        notes=notes,
    )


def read(stage: Stage) -> catalog.Catalog:
    with contextlib.closing(stage.connect()) as conn:
        return catalog.read(conn)


def different(before: catalog.Catalog, after: catalog.Catalog, notes: list[str] | None = None) -> list[Difference]:
    """Return what is not as it was, by object; that columns come in another order is a note: a column is only ever added last."""
    found = compare.differences(before, after)
    orders = [one for one in found if one.what in compare.ORDERS]
    if notes is not None:
        notes += [f"the columns of {one.name} come in another order than before: {one.right}" for one in orders]
    return [Difference(one.kind, one.name, one.what, one.left, one.right) for one in found if one not in orders]


def sizes(stage: Stage) -> dict[int, Size]:
    """Return the size of each table, by its oid; those that were rewritten have lost their number of rows."""
    with contextlib.closing(stage.connect()) as conn:
        for row in postgres.fetch(conn, TABLES):
            if not row["known"]:
                conn.execute(f"analyze {row['name']}".encode())
        return {row["oid"]: Size(row["rows"], row["bytes"]) for row in postgres.fetch(conn, SIZES)}


def look_at(stage: Stage, part: Part, failures: list[Failure], notes: list[str]) -> list[Ran] | None:
    """Return what the statements of a transaction do, nothing where it is none; None where one fails, which is noted.

    Where it fails for the sake of made-up rows, those are changed or removed: they say nothing of the target's.
    """
    if not part.transaction:
        return []
    for _ in range(MENDED):
        try:
            with stage.traffic.without_writers():
                return work.look_at(stage.connect, part)
        except Failed as error:
            last = error
            if not error.sqlstate.startswith(OF_ROWS):
                break
            notes.append(refused(stage, error))
    failures.append(Failure("up", last.statement.line, last.sqlstate, last.message))
    return None


def refused(stage: Stage, error: Failed) -> str:
    """Have made-up rows pass where they were refused, or remove them; return in words what happened."""
    told = f"line {error.statement.line}: made-up rows were refused ({error.sqlstate}: {error.message}), so"
    return f"{told} {mended(stage, error)}: whether the target's own rows pass is not known"


def mended(stage: Stage, error: Failed) -> str:
    """Have made-up rows pass where they were refused, or remove them; return in words what was done."""
    from psycopg import sql

    # A writer that holds a row would have it looked at anew, under another ctid, and passed over
    with stage.traffic.without_writers(), contextlib.closing(stage.connect()) as conn:
        names = [row["name"] for row in postgres.fetch(conn, TABLES)]
        child = next((name for name in names if name.replace('"', "") == error.table), "")
        if error.missing and child and (keys := postgres.fetch(conn, PRIMARY, error.missing[1])) and len(keys) == 1:
            conn.execute("set session_replication_role = replica")
            column = sql.Identifier(error.missing[0])
            found = conn.execute(
                sql.SQL(GIVEN).format(sql.SQL(child), column, sql.SQL(keys[0]["key"]), sql.SQL(keys[0]["name"]))
            )
            if found.rowcount:
                conn.execute(sql.SQL("vacuum analyze {}").format(sql.SQL(child)))
                return f"those of {child} were given others to point to"
        if targets := [child] if child else names:
            conn.execute(f"truncate {', '.join(targets)} cascade".encode())
            conn.execute("analyze")
        return f"it was run without {'those of ' + child if child else 'any'}"


def run(
    stage: Stage, part: Part, failures: list[Failure], way: Literal["up", "down", "up_again"], notes: list[str]
) -> list[Ran] | None:
    """Run a part beside readers and writers; None where a statement fails, which is noted.

    What is no transaction was not looked at before: made-up rows that it refuses are changed or removed here.
    """
    for last in (part.transaction, True):
        try:
            return work.run(stage.connect, part)
        except Failed as error:
            if last or not error.sqlstate.startswith(OF_ROWS):
                failures.append(Failure(way, error.statement.line, error.sqlstate, error.message))
                return None
            drop_invalid(stage)
            notes.append(refused(stage, error))
        finally:
            stage.traffic.look_again()
    return None


def drop_invalid(stage: Stage) -> None:
    """Remove what a failed CREATE INDEX CONCURRENTLY has left."""
    with contextlib.closing(stage.connect()) as conn:
        for row in postgres.fetch(conn, INVALID):
            conn.execute(f"drop index {row['name']}".encode())


def step(stage: Stage, loaded: Ran, facts: Ran, again: Ran, here: Mapping[int, Size]) -> Step:
    """Return what a statement did: its times and the stalls are those of a run in which nobody looked at it."""
    grows = [effect for effect in facts.effects if effect.oid in stage.there]
    took = min(loaded.seconds, facts.seconds, again.seconds)
    costs = stage.costs() if grows else {}
    rewritten = [effect for effect in facts.effects if effect.what == "rewrite"]
    return Step(
        line=loaded.statement.line,
        text=stage.shown(loaded.statement.sql),
        locks=list(facts.locks),
        duration_seconds=loaded.seconds,
        held_seconds=loaded.released - loaded.started,
        stall_seconds=stage.traffic.longest(loaded.started, loaded.released),
        rewritten_tables=[effect.table for effect in rewritten],
        rewritten_rows=sum(round(here[effect.oid].rows) for effect in rewritten if effect.oid in here),
        changed_rows=sum(effect.rows for effect in facts.effects if effect.what == "change"),
        scans=sum(effect.times for effect in facts.effects if effect.what == "scan"),
        built_indexes=sum(effect.times for effect in facts.effects if effect.what == "index"),
        wal_bytes=facts.wal_bytes,
        before_bytes=facts.before_bytes,
        after_bytes=facts.after_bytes,
        estimate=estimate.estimated(took, grows, here, stage.there, costs),
    )


def closed(steps: Sequence[Step], strength: int, *, together: bool) -> Estimate | None:
    """Return how long a lock of this strength will be held on the target: in a transaction from its statement to the last one."""
    shuts = [any(STRENGTH[lock.level] >= strength for lock in one.locks) for one in steps]
    if True not in shuts:
        return None
    held = steps[shuts.index(True) :] if together else [one for one, shut in zip(steps, shuts, strict=True) if shut]
    basis = max((one.estimate for one in held), key=lambda each: each.seconds).basis
    return Estimate(
        sum(one.estimate.seconds for one in held),
        sum(one.estimate.least_seconds for one in held),
        sum(one.estimate.most_seconds for one in held),
        basis,
    )
