"""How long the tests take, all of them and part by part."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.measure import Command, Comparison
from bench.place import INV, Bench

SMALL = 0.03
"""The share of all the time below which a part is not named."""
FILE = re.compile(r"\btest_([a-z0-9]+)")


def suite(at: Bench) -> Comparison:
    """The whole suite once, or in a tiny run one file of it."""
    report = at.folder / "tests.xml"
    env = {"PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={shlex.quote(str(report))}"}
    tests = ["--only", "test_console"] if at.tiny else []
    return Comparison(
        "inv test",
        Command([INV, "test", *tests], at.settings.root, env),
        note=(
            "A part is the files whose names begin with the same word, as test_rds_. They run at the same time, so their "
            "minutes add up to more than the whole."
        ),
        probe=lambda: parts(report),
        versions={"pytest": version("pytest")},
        once=True,
    )


@contextlib.contextmanager
def parts(report: Path) -> Iterator[list[str]]:
    """Say what pytest's report, when it is there, tells of each part."""
    facts: list[str] = []
    yield facts
    seconds: defaultdict[str, float] = defaultdict(float)
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own run of pytest
        if file := FILE.search(case.attrib["classname"]):
            seconds[file[1]] += float(case.attrib["time"])
    named = [part for part, spent in seconds.items() if spent >= SMALL * sum(seconds.values())]
    facts += [f"{part} {seconds[part] / 60:.1f} min" for part in sorted(named, key=lambda part: -seconds[part])]
    if others := seconds.keys() - set(named):
        facts.append(f"{len(others)} others {sum(seconds[part] for part in others) / 60:.1f} min")
