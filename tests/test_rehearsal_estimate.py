"""Estimates of a rehearsal beside the time that the statements take on a table of a million rows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.db.rehearsal import estimate, rehearse, scratch, shape
from ops.db.rehearsal.estimate import Cost, Size
from ops.db.rehearsal.scratch import Scratch
from ops.db.rehearsal.trial import Trial
from ops.db.rehearsal.work import Effect, Part, Statement
from tests.fix_suppliers import Database
from tests.servers import Server

ROWS = 1_000_000
SCHEMA = """
create table makers (id int primary key, name text);
create table things (id int primary key, maker_id int not null, amount int, note text, at timestamptz);
"""
FILL = f"""
insert into makers select i, 'maker ' || i from generate_series(1, 1000) i;
insert into things select i, i % 1000 + 1, i % 5000, md5(i::text) || md5((-i)::text), now() from generate_series(1, {ROWS}) i;
vacuum analyze
"""
# Ten kinds of work; that a rehearsal does to a twentieth of the rows what is done to all of them
KINDS = {
    "a new column with a constant": "alter table things add one int default 1 not null",
    "a new column with a value for each row": "alter table things add own uuid default gen_random_uuid()",
    "a change of each row": "update things set amount = amount + 1",
    "another type": "alter table things alter amount type bigint",
    "not null": "alter table things alter amount set not null",
    "a check": "alter table things add constraint enough check (amount >= 0)",
    "an index on a number": "create index on things (amount)",
    "an index on a text": "create index on things (note)",
    "a unique constraint": "alter table things add constraint one_each unique (note, id)",
    "a foreign key": "alter table things add foreign key (maker_id) references makers (id)",
}
SLACK = 0.25
"""Seconds that other work on this machine may come to: what is as short is off by any factor."""
ATTEMPTS = 3
"""Of a rehearsal, for what is off: a moment in which others keep the processor is no mistake of the estimate."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A server like the one of a rehearsal: same programs, same settings."""
    with scratch.opened(tmp_path_factory.mktemp("target"), 18, {}) as made:
        yield made


@pytest.mark.nightly  # it measures, for minutes
@pytest.mark.timeout(900)
def test_an_estimate_is_within_a_factor_of_two_of_the_time(target: Scratch, tmp_path: Path) -> None:
    """With a twentieth of the rows; with none of them within its own error bar."""
    trials = [
        Trial(str(number), kind, Part((Statement(sql, 1),), transaction=True), None)
        for number, (kind, sql) in enumerate(KINDS.items())
    ]
    with contextlib.closing(target.connect()) as conn:
        for text in (SCHEMA, *FILL.split(";")):
            conn.execute(text.encode())
        found = shape.read(conn)
    source = rehearse.Source(
        "local", "18", 18, SCHEMA.replace("table ", "table public."), found, [], {}, "public", [], 0
    )
    settings = Database(postgres_server(target), "rehearsal", tmp_path).settings()
    measured = {kind: timed(target, sql) for kind, sql in KINDS.items()}
    wrong = []
    for share, bound in ((0.05, 2.0), (0.0, estimate.CALIBRATED_BAR)):
        left = trials
        for _ in range(ATTEMPTS):
            told = rehearse.rehearsed(settings, source, left, share, 1e9).migrations
            assert [one.failures for one in told] == [[] for _ in left]
            guesses = [(trial, one.statements[0].estimate) for trial, one in zip(left, told, strict=True)]
            off = []
            for trial, guess in guesses:
                least, most = measured[trial.name]
                print(
                    f"{trial.name}: {least:.3f} to {most:.3f} s, from {share:.0%} {guess.seconds:.3f} s, {guess.basis}"
                )
                if not least / bound - SLACK <= guess.seconds <= most * bound + SLACK:
                    off.append((trial, round(least, 3), round(most, 3), round(guess.seconds, 3)))
            left = [trial for trial, *_ in off]
            if not left:
                break
        wrong += [(trial.name, share, *times) for trial, *times in off]
    assert wrong == []


def timed(target: Scratch, sql: str) -> tuple[float, float]:
    """Run a statement, for good at last, and return the least and the most that it took, in seconds: a busy machine's times differ."""
    took = []
    with contextlib.closing(target.connect()) as conn:
        for last in (False, True):
            conn.execute("begin")
            started = time.monotonic()
            conn.execute(sql.encode())
            took.append(time.monotonic() - started)
            conn.execute("commit" if last else "rollback")
    return min(took), max(took)


def postgres_server(target: Scratch) -> Server:
    return Server("scratch", dict(target.target.params))


COSTS = {"scan": Cost(1e-7, 0), "rewrite": Cost(0, 1e-8), "index": Cost(1e-6, 0), "change": Cost(1e-5, 0), "join": Cost(1e-6, 0)}  # fmt: skip
HERE, THERE = {1: Size(50_000, 5e6), 2: Size(0, 0)}, {1: Size(1e6, 1e8), 2: Size(1e6, 1e8)}


@pytest.mark.parametrize(
    ("effects", "seconds", "basis"),
    [
        ([], 0.01, "constant"),
        ([Effect(3, "unknown", "scan")], 0.01, "constant"),
        ([Effect(1, "t", "scan")], 0.2, "measured"),
        ([Effect(1, "t", "rewrite")], 0.2, "measured"),
        ([Effect(1, "t", "change", rows=50)], 0.2, "measured"),
        ([Effect(2, "e", "scan")], 0.11, "calibrated"),
        ([Effect(2, "e", "rewrite")], 1.01, "calibrated"),
    ],
)
def test_what_grows_with_the_rows(effects: list[Effect], seconds: float, basis: str) -> None:
    found = estimate.estimated(0.01, effects, HERE, THERE, COSTS)
    assert found.basis == basis
    assert found.seconds == pytest.approx(seconds, rel=0.02)
    assert found.least_seconds < found.seconds < found.most_seconds


def test_costs_of_rows_and_bytes_are_known_apart() -> None:
    small, large = (Size(60_000, 4e6), {"scan": 0.1}), (Size(12_000, 11e6), {"scan": 0.12})
    cost = estimate.solved(small, large, "scan")
    assert cost.of(small[0]) == pytest.approx(0.1)
    assert cost.of(large[0]) == pytest.approx(0.12)
    assert estimate.solved(small, (large[0], {"scan": 0.001}), "scan").byte == 0
