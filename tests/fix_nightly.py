"""--nightly: what repeats what others prove, on more servers and in greater numbers; it is left out elsewhere.

Of the servers the newest and the oldest are always taken, since what differs between versions differs between those; those
between are taken for what is marked `every_server`: what reads the catalog, or reaches the server in a way of its own. The oldest
in a container is the oldest once more.
"""

from __future__ import annotations

import os

import pytest

BETWEEN, AGAIN = {"pgserver", "celerp"}, "container"
"""The suppliers of PostgreSQL 16 and 17 (with TLS); that of 15 once more."""
COUNTS = {"TEST_KILLS": "200", "ORACLE_EXAMPLES": "20000", "LOAD_SECONDS": "60", "ATTRIBUTE_EXAMPLES": "500"}
"""How often, where nothing else is said: kills at random, texts for the scanner, seconds of load, sign-ups of anybody."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true", help="what only repeats, too: each test on each server, and more counts"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--nightly"):
        for name, value in COUNTS.items():
            os.environ.setdefault(name, value)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--nightly"):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (left if is_repetition(item) else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def is_repetition(item: pytest.Item) -> bool:
    if item.get_closest_marker("nightly"):
        return True
    found = (
        item.callspec.params.get("supplier") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ""
    )
    return found == AGAIN or (found in BETWEEN and not item.get_closest_marker("every_server"))
