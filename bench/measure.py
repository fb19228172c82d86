"""Time commands side by side: interleaved, so that a busy machine is unfair to none."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.db.binaries import Runner
from ops.errors import Problem

OURS = "ours"
TIMED = Path(__file__).parent / "timed.py"


class Unavailable(Exception):
    """What a comparison, or one of its sides, would need and is not here; the text says what to do."""


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Command:
    """A command line, run in a folder with some variables."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    user: Runner = field(default_factory=Runner)
    before: Callable[[], object] = nothing
    """What makes ready for a run, untimed."""

    def __call__(self) -> tuple[float, int]:
        """Run it, and return the seconds it took and the peak memory in bytes of the largest of its processes."""
        report, end = os.pipe()
        env = {**os.environ, **self.env}
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
            seconds, memory, code = told.read().split() or ("0", "0", "127")
            if code != "0":
                said.seek(0)
                words = said.read()[-500:].decode(errors="replace")
                raise Problem(f"{' '.join(self.argv[:3])} exits with {code}: {words}")
        return float(seconds), int(memory)


@dataclass(frozen=True)
class Comparison:
    """One of our tasks beside others."""

    what: str
    """The command, as a reader would type it."""
    ours: Command
    beside: Mapping[str, Command] = field(default_factory=dict)
    reach: Mapping[str, float] = field(default_factory=dict)
    """The ratio to a side to stay below, at most."""
    memory: int = 0
    """Bytes of memory to stay below; 0: whatever it takes."""
    note: str = ""
    """Why the floor is where it is; more of what is measured."""
    facts: Callable[[], Mapping[str, str]] = dict
    """What else there is to say of a side, asked for when all have run."""
    versions: Mapping[str, str] = field(default_factory=dict)


def run(name: str, comparison: Comparison, runs: int, *, warm: bool) -> dict[str, Any]:
    """Run every side in turn, `runs` times after one that does not count; seconds of wall time, bytes."""
    sides = {OURS: comparison.ours, **comparison.beside}
    times: dict[str, list[float]] = {label: [] for label in sides}
    peaks = dict.fromkeys(sides, 0)
    for turn in range(-1 if warm else 0, runs):
        for label, side in sides.items():
            side.before()
            seconds, peak = side()
            if turn >= 0:
                times[label].append(seconds)
                peaks[label] = max(peaks[label], peak)
    facts = comparison.facts()
    ours = statistics.median(times[OURS])
    found = []
    for label, taken in times.items():
        ratio, reach = ours / statistics.median(taken), comparison.reach.get(label)
        found.append(
            {
                "side": label,
                "median": statistics.median(taken),
                "least": min(taken),
                "most": max(taken),
                "memory": peaks[label],
                "ratio": ratio,
                "reach": reach,
                "reached": None if reach is None else ratio <= reach,
                "fact": facts.get(label, ""),
            }
        )
    if comparison.memory:
        found[0]["memory_reach"] = comparison.memory
        found[0]["reached"] = peaks[OURS] <= comparison.memory
    return {
        "name": name,
        "what": comparison.what,
        "runs": runs,
        "sides": found,
        "note": comparison.note,
        "versions": dict(comparison.versions),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    if share == 0.5:
        return statistics.median(values)
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def machine() -> dict[str, Any]:
    """Describe where the figures come from."""
    import psutil

    return {
        "cpus": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total >> 30} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
