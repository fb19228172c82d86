"""How long the tests take, all of them and part by part."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.measure import Command, Comparison
from bench.place import Bench

PARTS = ("rds", "sandbox", "lambda", "feed", "app", "docs", "docker", "bench")
"""Whose test files begin with their name; the rest is of db.* and what all of them stand on."""


def suite(at: Bench) -> Comparison:
    """The whole suite once, as `inv test` runs it, or in a tiny run one file of it."""
    report = at.folder / "tests.xml"
    tests = ["tests/test_console.py"] if at.tiny else ["-n", "auto", "--maxprocesses", "4", "--dist", "loadgroup"]
    argv = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *tests]
    return Comparison(
        "inv test",
        Command(argv, at.settings.root),
        note="Its parts run at the same time, so their minutes add up to more than the whole.",
        probe=lambda: parts(report),
        versions={"pytest": version("pytest")},
        once=True,
    )


@contextlib.contextmanager
def parts(report: Path) -> Iterator[list[str]]:
    """Say what pytest's report, when it is there, tells of each part."""
    facts: list[str] = []
    yield facts
    minutes: dict[str, float] = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own run of pytest
        topic = case.attrib["classname"].rpartition(".")[2].removeprefix("test_").partition("_")[0]
        part = topic if topic in PARTS else "db"
        minutes[part] = minutes.get(part, 0) + float(case.attrib["time"]) / 60
    facts += [f"{part} {spent:.1f} min" for part, spent in sorted(minutes.items(), key=lambda each: -each[1])]
