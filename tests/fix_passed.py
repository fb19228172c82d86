"""What has just passed elsewhere need not run again: CI's whole suite leaves out what its quick parts have passed.

TEST_PASSED_TO names a file that a run writes, with the tests that have passed; TEST_PASSED_BEFORE names such files, and a test that
is in each of them is left out. What runs by other counts there than here (`counted`) is run, and so is what was skipped or failed there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TO = "TEST_PASSED_TO"
BEFORE = "TEST_PASSED_BEFORE"
PASSED = {(phase, "passed") for phase in ("setup", "call", "teardown")}
"""Of a test that was cut off there are fewer."""
_outcomes: dict[str, set[tuple[str | None, str]]] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not (known := passed_before()):
        return
    left = {item for item in items if item.nodeid in known and not item.get_closest_marker("counted")}
    config.hook.pytest_deselected(items=[*left])
    items[:] = [item for item in items if item not in left]


def passed_before() -> set[str]:
    """Return the tests that are in each file that is named."""
    files = filter(None, os.environ.get(BEFORE, "").split(os.pathsep))
    found = [set(Path(name).read_text(encoding="utf-8").splitlines()) for name in files]
    return set.intersection(*found) if found else set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how each phase has ended; of xdist's processes the first hears of all."""
    _outcomes.setdefault(report.nodeid, set()).add((report.when, report.outcome))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (name := os.environ.get(TO)) and not hasattr(session.config, "workerinput"):
        passed = [test for test, outcomes in _outcomes.items() if outcomes == PASSED and "\n" not in test]
        Path(name).write_text("".join(f"{test}\n" for test in passed), encoding="utf-8")


def pytest_report_header() -> str | None:
    return f"left out: {len(known)} tests that have passed before ({BEFORE})" if (known := passed_before()) else None
