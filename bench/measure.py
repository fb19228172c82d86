"""Time commands side by side: interleaved, so that a busy machine is unfair to none."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ops.errors import Problem
from ops.targets.embedded.binaries import Runner

OURS = "ours"
TIMED = Path(__file__).parent / "timed.py"


class Unavailable(Exception):
    """What a comparison, or one of its sides, would need and is not here; the text says what to do."""


def nothing() -> None:
    """Prepare nothing."""


def unwatched(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables without coverage's, by which each Python would count its lines while it is measured."""
    return {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}


class Taken(NamedTuple):
    """What a command took."""

    seconds: float
    cpu: float
    """Seconds of all its processes, but not of the servers they ask; less at the mercy of what else runs."""
    memory: int
    """Bytes at the peak of the largest of its processes."""


@dataclass(frozen=True)
class Command:
    """A command line, run in a folder with some variables."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    user: Runner = field(default_factory=Runner)
    before: Callable[[], object] = nothing
    """What makes ready for a run, untimed."""

    def __call__(self) -> list[Taken]:
        """Run it, and return what it took."""
        report, end = os.pipe()
        env = unwatched({**os.environ, **self.env})
        program = shutil.which(self.argv[0], path=env["PATH"]) or self.argv[0]
        who = ("-1", "-1") if self.user.uid is None else (str(self.user.uid), str(self.user.gid))
        with tempfile.TemporaryFile() as said, open(report, encoding="ascii") as told:
            try:
                subprocess.run(
                    [sys.executable, "-I", "-S", str(TIMED), str(end), *who, program, *self.argv[1:]],
                    cwd=self.cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    pass_fds=[end],
                    check=False,
                )
            finally:
                os.close(end)
            code, seconds, cpu, memory = told.read().split() or ("127", "0", "0", "0")
            if code != "0":
                said.seek(0)
                words = said.read()[-500:].decode(errors="replace")
                raise Problem(f"{' '.join(self.argv[:3])} exits with {code}: {words}")
        return [Taken(float(seconds), float(cpu), int(memory))]


@dataclass(frozen=True)
class Call:
    """Something called in this process, or in one that waits for it: too short to start a program for."""

    body: Callable[[], object]
    times: int = 1
    """Calls in a run, each timed."""
    before: Callable[[], object] = nothing

    def __call__(self) -> list[Taken]:
        taken = []
        for _ in range(self.times):
            cpu, begun = time.process_time(), time.perf_counter()
            self.body()
            taken.append(Taken(time.perf_counter() - begun, time.process_time() - cpu, 0))
        return taken


@dataclass(frozen=True)
class Told:
    """Something whose seconds are told by who knows them, as a browser does of its paint; a fixed one is a bound to stay below."""

    body: Callable[[], float]
    before: Callable[[], object] = nothing

    def __call__(self) -> list[Taken]:
        return [Taken(self.body(), 0.0, 0)]


@dataclass(frozen=True)
class Comparison:
    """One of our tasks beside others."""

    what: str
    """The command, as a reader would type it."""
    ours: Command | Call | Told
    beside: Mapping[str, Command | Call | Told] = field(default_factory=dict)
    reach: Mapping[str, float] = field(default_factory=dict)
    """The ratio to a side to stay below, at most."""
    memory: int = 0
    """Bytes of memory to stay below; 0: whatever it takes."""
    note: str = ""
    """Why the floor is where it is; more of what is measured."""
    probe: Callable[[], AbstractContextManager[list[str]]] = lambda: nullcontext([])
    """Looks on while a side runs; what it puts into the list is said of that side."""
    versions: Mapping[str, str] = field(default_factory=dict)
    quantile: float = 0.5
    """Which of the times is compared: the median, or one towards the worst."""
    once: bool = False
    """Whether one run is enough of it, since it takes minutes."""


@dataclass(frozen=True)
class Side:
    """What one side of a comparison took."""

    side: str
    """ours, or what it stands beside."""
    figure_seconds: float
    """Wall time: the comparison's figure of all runs."""
    least_seconds: float
    """Of all runs."""
    most_seconds: float
    """Of all runs."""
    cpu_seconds: float
    """The median of the seconds that its processes computed, without the servers that they ask."""
    memory_bytes: int | None
    """At the peak of its largest process; null for what runs in another's process."""
    ratio: float
    """Our time by this side's."""
    reach_ratio: float | None
    """What that is to stay below; null where nothing is to be reached."""
    reach_bytes: int | None
    """What its memory is to stay below; null where nothing is to be reached."""
    reached: bool | None
    """Whether that is so; null where nothing is to be reached."""
    fact: str
    """What else was seen of it, in words."""


@dataclass(frozen=True)
class Result:
    """One comparison, measured."""

    name: str
    """As --only takes it."""
    command: str
    """Ours, as a reader would type it."""
    figure: str
    """Which of the times is compared: median, or p99."""
    runs: int
    """Of each side."""
    sides: list[Side]
    """Ours is the first."""
    note: str
    """What explains it, in words."""
    versions: dict[str, str]
    """Of the programs beside which it was measured."""


@dataclass(frozen=True)
class Machine:
    """Where the figures come from."""

    cpus: int
    """As the operating system counts them."""
    memory_bytes: int
    """All that it has."""
    system: str
    """Its operating system and processor."""
    python: str
    """The version of Python."""


@dataclass(frozen=True)
class Figures:
    """What `inv bench` has measured."""

    machine: Machine
    """Where they come from."""
    comparisons: list[Result]
    """In the order of their run; one that could not run is not among them."""


def run(name: str, comparison: Comparison, runs: int, *, warm: bool) -> Result:
    """Run every side in turn, `runs` times after one that does not count."""
    sides = {OURS: comparison.ours, **comparison.beside}
    taken: dict[str, list[Taken]] = {label: [] for label in sides}
    facts: dict[str, list[str]] = {}
    if comparison.once:
        runs, warm = 1, False
    for turn in range(-1 if warm else 0, runs):
        for label, side in sides.items():
            side.before()
            with comparison.probe() as facts[label]:
                took = side()
            if turn >= 0:
                taken[label] += took
    found = []
    ours = quantile([each.seconds for each in taken[OURS]], comparison.quantile)
    for label, all_of_it in taken.items():
        seconds = [each.seconds for each in all_of_it]
        figure, memory = quantile(seconds, comparison.quantile), max(each.memory for each in all_of_it)
        ratio = 1.0 if label == OURS else ours / figure  # ours may be nothing that a clock of 10 ms can tell
        reach = comparison.reach.get(label)
        most = comparison.memory if label == OURS and comparison.memory else None
        found.append(
            Side(
                side=label,
                figure_seconds=figure,
                least_seconds=min(seconds),
                most_seconds=max(seconds),
                cpu_seconds=statistics.median(each.cpu for each in all_of_it),
                memory_bytes=memory or None,
                ratio=ratio,
                reach_ratio=reach,
                reach_bytes=most,
                reached=memory <= most if most else None if reach is None else ratio <= reach,
                fact=", ".join(facts[label]),
            )
        )
    figure_name = "median" if comparison.quantile == 0.5 else f"p{comparison.quantile * 100:.0f}"
    return Result(name, comparison.what, figure_name, runs, found, comparison.note, dict(comparison.versions))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    if share == 0.5:
        return statistics.median(values)
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def machine() -> Machine:
    """Describe where the figures come from."""
    import psutil

    system = f"{platform.system()} {platform.machine()}"
    return Machine(os.cpu_count() or 1, psutil.virtual_memory().total, system, platform.python_version())
