"""--quick: the tests that start nothing, for a look by another Python."""

from __future__ import annotations

import pytest

STARTS = {
    "supplier",
    "postgres",
    "clone",
    "clones",
    "cloud",
    "front",
    "cache",
    "somebody",
    "box",
    "feeds",
    "make_users",
}
"""Fixtures that start a server, or the command line in a process of its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only the tests that start no server and no command")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what uses none of those fixtures, directly or through others, and is not slow."""
    if not config.getoption("--quick"):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        quick = not STARTS & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("slow")
        (kept if quick else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
