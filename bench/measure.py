"""Time commands side by side: interleaved, so that a busy machine is unfair to none."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INV = str(Path(sys.executable).parent / "inv")


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
    """Something of ours beside others; `reach` holds the ratios to stay below, by the other's name."""

    name: str
    ours: Callable[[], object]
    beside: Mapping[str, Callable[[], object]]
    reach: Mapping[str, float]
    calls: int = 1
    """Calls of each side in a run."""
    quantile: float = 0.5
    """Which of the times is compared: the median, or one towards the worst."""
    end: Callable[[], None] = lambda: None
    """What to do once it is measured."""

    @property
    def figure(self) -> str:
        return "median" if self.quantile == 0.5 else f"p{self.quantile * 100:.0f}"


def run(comparison: Comparison, runs: int) -> dict[str, Any]:
    """Run every side in turn, `runs` times after one that does not count; seconds of wall time."""
    sides: dict[str, Callable[[], object]] = {"ours": comparison.ours, **comparison.beside}
    times: dict[str, list[float]] = {label: [] for label in sides}
    try:
        for turn in range(runs + 1):
            for label, side in sides.items():
                for _ in range(comparison.calls):
                    begun = time.perf_counter()
                    side()
                    if turn:
                        times[label].append(time.perf_counter() - begun)
    finally:
        comparison.end()
    figures = {label: quantile(seconds, comparison.quantile) for label, seconds in times.items()}
    return {
        "name": comparison.name,
        "runs": runs,
        "figure": comparison.figure,
        "sides": [
            {
                "side": label,
                "seconds": figures[label],
                "least": min(seconds),
                "most": max(seconds),
                "ratio": figures["ours"] / figures[label],
                "reach": comparison.reach.get(label),
            }
            for label, seconds in times.items()
        ],
    }


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    if share == 0.5:
        return statistics.median(values)
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def machine() -> dict[str, Any]:
    """Describe where the figures come from."""
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
