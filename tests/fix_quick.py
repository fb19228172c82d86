"""--quick: the tests that start nothing, and the behaviours that matter most on one real server."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

STARTS = {"subprocess", "make_server", "start_server", "layer", "prepare"}
"""By which names the tests' own code starts a program, a service of its own, a server, or uv and pip for what Lambda runs."""

EXAMPLES = "200"
"""How many texts the scanner is compared on, where nothing else is said (tests/test_scan_oracle.py)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="what starts nothing, and what is marked quick")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        os.environ.setdefault("ORACLE_EXAMPLES", EXAMPLES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what is marked quick, on the embedded server, and what starts nothing and is not slow."""
    if not config.getoption("--quick"):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    known: dict[object, bool] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        (kept if is_quick(item, known) else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def is_quick(item: pytest.Function, known: dict[object, bool]) -> bool:
    if item.get_closest_marker("quick"):
        return not hasattr(item, "callspec") or item.callspec.params.get("supplier", "embedded") == "embedded"
    if item.get_closest_marker("slow"):
        return False
    shared = id(item._fixtureinfo)  # by all items of a function
    if shared not in known:
        fixtures = [each.func for found in item._fixtureinfo.name2fixturedefs.values() for each in found]
        for function in (item.function, *fixtures):
            if function not in known:
                known[function] = is_starting(function, set())
        known[shared] = any(known[function] for function in (item.function, *fixtures))
    return not known[shared]


def is_starting(thing: Any, seen: set[int]) -> bool:
    """Tell whether a function or class of the tests names one of STARTS, itself or by what it names of the tests."""
    if id(thing) in seen:
        return False
    seen.add(id(thing))
    if isinstance(thing, property):
        thing = thing.fget
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if not isinstance(thing, type | FunctionType) or not thing.__module__.startswith("tests."):
        return False
    if isinstance(thing, type):
        return any(is_starting(member, seen) for member in vars(thing).values())
    for code in within(thing.__code__):
        named = set(code.co_names)
        if named & STARTS:
            return True
        for found in [thing.__globals__[name] for name in named & thing.__globals__.keys()]:
            there = vars(found) if isinstance(found, ModuleType) else {}
            members = [there[name] for name in named & there.keys()]
            if any(is_starting(each, seen) for each in (found, *members)):
                return True
    return False


def within(code: CodeType) -> Iterator[CodeType]:
    """Return the code of a function, and of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from within(constant)
