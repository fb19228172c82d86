"""The source as Python reads it, each file once for all tests that look at it: mark them with GROUP, and one worker runs them all."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

SUITE = Path(__file__).parent.parent
GROUP = pytest.mark.xdist_group("source")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file's tree: a walk takes longer than to parse it."""
    return tuple(ast.walk(tree(path)))
