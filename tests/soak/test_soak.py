"""The soak: what tasks at once may lead to, and that a wrong change of the suite does not get through it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops.errors import Problem
from tests.soak import run
from tests.soak.model import Change, State, reachable

SUITE = Path(__file__).parent.parent.parent
OLD = State((1,), None)


@pytest.mark.parametrize(
    ("changes", "states"),
    [
        ([], {OLD}),
        ([Change("setup", (2,), done=True)], {State((2,), (1,))}),
        ([Change("setup", (2,))], {OLD, State((2,), (1,))}),
        ([Change("seed", (2,), done=True)], {State((1, 2), None)}),
        ([Change("undo", done=True)], {OLD}),
        (
            [Change("setup", (2,), done=True), Change("undo", done=True)],
            {State((2,), (1,)), State((1,), (2,))},
        ),
        (
            [Change("setup", (2,), done=True), Change("seed", (3,))],
            {State((2,), (1,)), State((2, 3), (1,)), State((2,), (1, 3))},
        ),
        ([Change("other", done=True)], {OLD}),
    ],
)
def test_each_order_is_foreseen_and_what_is_done_is_in_it(changes: list[Change], states: set[State]) -> None:
    assert reachable(OLD, changes) == states


WRONG = "migration-without-its-record"


@pytest.mark.slow
def test_a_wrong_change_is_found_and_the_seed_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """db.migrate without its record leaves a table that the history does not know."""
    copy = run.copy_suite

    def wrong(to: Path) -> Path:
        made = copy(to)
        argv = ["git", "apply", str(SUITE / "tests" / "mutants" / f"{WRONG}.patch")]
        subprocess.run(
            argv, cwd=made, check=True, env={"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(made.parent)}
        )
        return made

    monkeypatch.setattr(run, "copy_suite", wrong)
    monkeypatch.setattr(run, "TASKS", ("migrate", "query"))
    monkeypatch.setattr(run, "FAULTS", ("none",))
    with pytest.raises(Problem) as caught:
        run.main(1, 4, rounds=2)
    first, *steps, last = str(caught.value).splitlines()
    assert first.startswith("soak: round 1: shop is half of something: ")
    assert len(steps) == len(run.USERS)
    assert last == "  again: inv soak --seed 4 --rounds 1"
