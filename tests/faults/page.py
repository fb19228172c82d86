"""docs/reliability.md, made of the table of faults."""

from __future__ import annotations

from typing import NamedTuple

from tests.faults.table import READS, SURROUNDINGS, WRITES, Ref

TEXT = """# What happens when a task is cut off

<!-- Made by docs/generate.py (inv lint --fix) of tests/faults/table.py: change that, not this page. -->

Killed or cut off anywhere, a task leaves the old or the new, never half of it, and the next run ends what it had begun. Each task that writes
is held to that by tests: the server, AWS or the disk goes away at one step after the other, or the process itself dies there. A new task
without a row here fails the tests.

{figures}

For a run of many tasks at once under random faults there is `inv soak` ([below](#under-load)).

## Tasks that write

| task | writes | cut off by | killed by |
| --- | --- | --- | --- |
{writes}

## At each step

What makes files, processes and databases of this machine tells its own steps: each file or folder made, renamed or removed, each program started, each process
ended, each statement before it is sent and while its answer is on the way (`tests/faults/dying.py`). There it is killed (KILL), told to end (TERM) and
interrupted (INT, as a terminal sends it to all programs of a command), in turns, and run again: what is there then is what a run leaves that nobody has disturbed, temporary files and processes among it.
Each run of the tests does that at some of the steps, as far apart as that goes, `inv test --nightly` at each. These were found last: {steps}.

## Tasks that leave nothing half done

| task | what it does |
| --- | --- |
{reads}

## What may be wrong around a task

{around}

| what is wrong | what is seen then | tasks | of these in each run of the tests |
| --- | --- | --- | --- |
{surroundings}

The others are looked at by `inv test --nightly`.{left_out}

## Under load

`inv soak --minutes 2` starts a server of its own, and four users on it who set up, seed, migrate, roll back, branch, dump, restore, pull, query
and undo at random, while tasks are killed, their connections cut and the server's processes ended. After each step it looks: the live
database is there, whole, and the old or the new; no file, lock or process is left over. It prints its seed, by which `--seed` plays the same
again. CI runs two minutes of it; it comes with the suite's own repository.

{soaks}

## Wrong changes

`inv test --mutants` makes the wrong changes of `tests/mutants/`, and sees that the tests which each names fail by it. Of the modules below each
operator, value and call was changed, one at a time, by [mutmut](https://mutmut.readthedocs.io) (CONTRIBUTING.md), and their tests run by that.
What none of them noticed was looked at, one by one: a test that was missing was written, and what is left changes nothing that anybody could see.
What is not tried wants a server for each of its changes. `ops/db/swap.py` has only the patches so far; of `ops/db/pull/masks_file.py`, of which 788 of 944
were caught before what they let through became tests, the second run is not done.

| module | wrong changes | tried | caught | left, and why they change nothing |
| --- | --- | --- | --- | --- |
{mutated}
"""

STEPS = {
    "db.up": 37, "db.down": 7, "db.down --wipe": 19, "db.branch": 62, "db.branch --delete": 30, "db.branch --prune": 32, "db.kill-sessions": 12, "db.drift": 106,
    "db.rehearse": 262, "db.tunnel": 11, "sandbox.up": 37, "sandbox.down": 12, "rds.ca": 8, "lambda.layer": 24,
}  # fmt: skip
"""How many steps the last night has found of each task of tests/faults/test_steps.py."""

SOAKS = (
    "The last three of ten minutes (seeds 260126, 260127, 260128), on two processors that a dozen other programs shared: 132 rounds, 528 tasks,\n"
    "357 faults, cleared up 18 times, nothing lost."
)
"""The last long runs, and what they have shown."""
WORDS = "words, or what is written so in another way"

MUTATED: dict[str, tuple[int, int, int, str]] = {
    "`ops/lambdas/user_pool/pool_request.py`: the request to a user pool": (161, 161, 161, ""),
    "`ops/targets/identity.py`: what is production": (
        312, 238, 224, "two sides of a comparison are changed alike, a default that means nothing, how a file is indented, `strict` of a `zip` of equal lengths",
    ),
    "`ops/targets/production_guard.py`: when a name is asked for, and what is marked": (
        230, 230, 219, f"{WORDS}; what is told where the server refuses a look beside it",
    ),
    "`ops/rds/security_group/rules.py` and `wide_open.py`: whose a rule of the door is": (251, 229, 227, "the name of an encoding, None for False"),
    "`ops/db/pull/masking.py`: what a mask makes": (
        389, 297, 277, "the column's own cast cuts the text as well, or adds what was left out; SQL in capitals; a `numeric` without a modifier that small",
    ),
    "`functions/post_confirmation/people.py`: one row for a person": (
        352, 180, 170, f"{WORDS}; a key of which it only counts that it is another one",
    ),
}  # fmt: skip
"""Of a module how many wrong changes there are, are tried and are caught; what the others are. The rest wants a server for each, and has not been tried."""


class Figures(NamedTuple):
    """How many tasks there are of each kind."""

    tasks: int
    writing: int
    cut: int
    killed: int
    tests: int

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, of which {self.writing} write; {self.cut} of these are cut off and {self.killed} killed at each step, "
            f"by {self.tests} tests, and of the others it is said why not."
        )


def figures() -> Figures:
    """Count the table."""
    rows = WRITES.values()
    tests = {ref.test for row in rows for ref in (*row.cut, *row.killed)}
    return Figures(
        len(READS) + len(WRITES), len(WRITES), sum(bool(row.cut) for row in rows), sum(bool(row.killed) for row in rows), len(tests)
    )  # fmt: skip


def text() -> str:
    """Return the page."""
    writes = [
        f"| `{name}` | {', '.join(row.writes)} | {shown(row.cut) or row.why_not} | {shown(row.killed) or row.why_not} |"
        for name, row in sorted(WRITES.items())
    ]
    reads = [f"| `{name}` | {what} |" for name, what in sorted(READS.items())]
    surroundings = [
        f"| {kind}: {found.what} | {found.holds} | {len(around(kind))} | {', '.join(f'`{name}`' for name in found.sample)} |"
        for kind, found in SURROUNDINGS.items()
    ]
    return TEXT.format(
        figures=figures(),
        writes="\n".join(writes),
        reads="\n".join(reads),
        steps=", ".join(f"`{name}` {number}" for name, number in STEPS.items()),
        around=cells(),
        surroundings="\n".join(surroundings),
        left_out=left_out(),
        soaks=SOAKS,
        mutated="\n".join(
            f"| {name} | {made} | {tried} | {caught} | {why} |" for name, (made, tried, caught, why) in MUTATED.items()
        ),
    )


def around(kind: str) -> list[str]:
    """Return the tasks that are looked at where something is wrong around them."""
    return [name for name in sorted({*READS, *WRITES}) if name not in SURROUNDINGS[kind].left_out]


def cells() -> str:
    """Return how many there are of them."""
    always, every = sum(len(found.sample) for found in SURROUNDINGS.values()), sum(len(around(k)) for k in SURROUNDINGS)
    return f"Each task is run where something is wrong around it, {every} times in all, {always} of these in each run of the tests."


def left_out() -> str:
    """Return which tasks are not, and why: those of all kinds at once, since they are the same."""
    reasons = {name: why for found in SURROUNDINGS.values() for name, why in found.left_out.items()}
    return " Left out: " + "; ".join(f"`{name}`, which {why}" for name, why in sorted(reasons.items())) + "."


def shown(refs: tuple[Ref, ...]) -> str:
    """Return tests as a page names them: one line each, their cells by the first words."""
    return "<br>".join(f"`{ref.test.removeprefix('tests/')}`".replace("|", "&#124;") for ref in refs)
