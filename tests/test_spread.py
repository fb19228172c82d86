"""The day takes some of what repeats, the night and whoever names a file all of it (tests/fix_spread.py)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import itertools
import pytest
from tests.fix_spread import some, steps

@pytest.mark.spread
@pytest.mark.parametrize("n", range(7))
def test_third(n):
    pass

@pytest.mark.spread(most=2)
@pytest.mark.parametrize("n", range(4))
def test_second(n):
    pass

@pytest.mark.parametrize("n", range(3))
def test_steps(n):
    print("steps", *itertools.takewhile(lambda step: step < 9, steps()))
    print("some", *some(range(1, 9)), 0, *some([1, 2]), 0, *some([1]), 0, *some([]))
"""
SUITE = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = spread\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def ran(folder: Path, *args: str) -> tuple[dict[str, int], list[list[int]], list[list[int]]]:
    """Return how many cases of each test ran, at which steps of a run without a known end, and at which of some."""
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.fix_nightly",
        "-p",
        "tests.fix_spread",
        "-v",
        "-s",
        *args,
    ]
    env = {name: value for name, value in os.environ.items() if name != "TEST_EACH"}
    env |= {"PYTHONPATH": str(SUITE)}
    said = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout
    names = re.findall(r"::(test_\w+)\[", said)
    steps, some = (
        [[int(number) for number in line.split()] for line in re.findall(rf"^.*?{what} ([\d ]+)$", said, re.MULTILINE)]
        for what in ("steps", "some")
    )
    return {name: names.count(name) for name in names}, steps, some


def test_the_day_takes_some_of_each(folder: Path) -> None:
    counts, numbers, some = ran(folder)
    assert counts == {"test_third": 3, "test_second": 2, "test_steps": 3}
    assert all(each == [*range(each[0], 9, 3)] and each[0] in (1, 2, 3) for each in numbers)
    assert len(numbers) == 3
    for each in some:
        of_eight, of_two, of_one, of_none = (part.split() for part in " ".join(map(str, each)).split("0"))
        assert of_eight == [str(step) for step in range(int(of_eight[0]), 9, 3)]
        assert (len(of_two), of_one, of_none) == (1, ["1"], [])


@pytest.mark.parametrize("args", [("--nightly",), ("test_some.py",), ("test_some.py::test_third", "test_some.py")])
def test_the_night_and_whoever_names_the_file_take_all(folder: Path, args: tuple[str, ...]) -> None:
    counts, numbers, some = ran(folder, *args)
    assert (counts["test_third"], counts["test_second"]) == (7, 4)
    assert numbers == [[*range(1, 9)]] * 3
    assert some == [[*range(1, 9), 0, 1, 2, 0, 1, 0]] * 3
