"""By day some of what repeats, as far apart as that goes; all of it by `--nightly`, and where a test's file is named.

A run is killed at each of its messages, a file is odd in each way: each case proves the same on the same lines, and what holds
for the third of them that the day takes has not yet failed for another. Which third differs from case to case of a test.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
EACH = "TEST_EACH"
"""The variable that says how far apart: 1 takes all."""
BY_DAY = "3"


def pytest_configure(config: pytest.Config) -> None:
    named = any(Path(arg.partition("::")[0]).suffix == ".py" for arg in config.args)
    os.environ.setdefault(EACH, "1" if named or config.getoption("--nightly") else BY_DAY)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of the cases of each test that is marked `spread` what the day does not take; those of it beside each other are alike."""
    each = apart()
    seen: dict[str, int] = {}
    left = []
    for item in items:
        if mark := item.get_closest_marker("spread"):
            test = item.nodeid.partition("[")[0]
            seen[test] = seen.get(test, -1) + 1
            if seen[test] % min(each, mark.kwargs.get("most", each)):
                left.append(item)
    config.hook.pytest_deselected(items=left)
    dropped = set(left)
    items[:] = [item for item in items if item not in dropped]


def some(steps: Sequence[T]) -> list[T]:
    """Return of the steps of a run those that it is cut at; by day each third, from a place of the test's own, and one at least."""
    own = place()
    return list(steps[own % apart() :: apart()] or steps[own % max(1, len(steps)) :][:1])


def steps() -> Iterator[int]:
    """Return the numbers of the steps at which a run is cut, from 1 on without an end; by day each third, from a place of the test's own."""
    return itertools.count(1 + place() % apart(), apart())


def place() -> int:
    """Return the number by which a test has a place of its own."""
    return zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode())


def apart() -> int:
    """Return how far apart those are that a run takes of what repeats."""
    return int(os.environ[EACH])
