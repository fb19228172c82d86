"""Which tests one worker of xdist runs: those that share a fixture of their module, and those that are marked `xdist_group`.

What is made once for a module would else be made by each worker. xdist 3.8 reads the mark, but tells the scheduler by a
field of the node ids that pytest 9.2 no longer looks at (pytest-dev/pytest-xdist#1386): its tests go anywhere.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import pytest


@dataclass
class Named:
    """What the scheduler is told of a test: its node id, with the name of its group behind an @."""

    nodeid: str


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Generator[None, None, None]:
    """Have xdist's worker tell the groups along with the tests."""
    items = session.items
    if hasattr(session.config, "workerinput"):
        session.items = [Named(told(item)) for item in items]  # type: ignore[misc] # it asks for the node id alone
    try:
        yield
    finally:
        session.items = items


def told(item: pytest.Item) -> str:
    """Return the node id of a test, with its group if it has one, as xdist's scheduler `loadgroup` reads it."""
    group = group_of(item)
    return f"{item.nodeid}@{group}" if group and item.nodeid.rfind("@") <= item.nodeid.rfind("]") else item.nodeid


def group_of(item: pytest.Item) -> str:
    marked = sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")})
    if marked or not isinstance(item, pytest.Function):
        return "_".join(marked)
    found = [each for all_of_a_name in item._fixtureinfo.name2fixturedefs.values() for each in all_of_a_name]
    return item.path.stem if any(each.scope == "module" for each in found) else ""
