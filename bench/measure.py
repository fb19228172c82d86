"""Time commands side by side: interleaved, so that a busy machine is unfair to none."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command line, run in a folder with some variables."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(self) -> None:
        done = subprocess.run(
            list(self.argv), cwd=self.cwd, env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self.argv[:3])} exits with {done.returncode}: {done.stderr[-500:]}")


@dataclass(frozen=True)
class Comparison:
    """One of our tasks beside others; `reach` is the ratio to the first of them to stay below."""

    name: str
    ours: Callable[[], None]
    beside: Mapping[str, Callable[[], None]]
    reach: float


def run(comparison: Comparison, runs: int) -> dict[str, Any]:
    """Run every side in turn, `runs` times after one that does not count; seconds of wall time."""
    sides: dict[str, Callable[[], None]] = {"ours": comparison.ours, **comparison.beside}
    times: dict[str, list[float]] = {label: [] for label in sides}
    for turn in range(runs + 1):
        for label, side in sides.items():
            begun = time.perf_counter()
            side()
            if turn:
                times[label].append(time.perf_counter() - begun)
    ours = statistics.median(times["ours"])
    return {
        "name": comparison.name,
        "runs": runs,
        "reach": comparison.reach,
        "sides": [
            {
                "side": label,
                "median": statistics.median(seconds),
                "least": min(seconds),
                "most": max(seconds),
                "ratio": ours / statistics.median(seconds),
            }
            for label, seconds in times.items()
        ],
    }


def machine() -> dict[str, Any]:
    """Describe where the figures come from."""
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
