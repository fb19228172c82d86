"""A failed script as people read it: file, line, column, the line, a caret, advice."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ops.db import explain
from ops.db.script import Script
from ops.errors import Problem


def of_statement(script: Script, diag: Any, done: int, skipping: Container[int]) -> Problem:
    """Return the fault of a script that was sent as one query.

    `diag` has psycopg's diagnostic fields; `done` is the number of statements
    that had succeeded, those that start at `skipping` not counted. A fault
    without a position (a constraint) points to the start of its statement.
    """
    starts = [start for start in script.contents.statements if start not in skipping]
    offset, statement = -1, ""
    if done < len(starts):
        offset = starts[done]
        end = starts[done + 1] if done + 1 < len(starts) else len(script.data)
        statement = script.data[offset : min(end, offset + 4000)].decode(errors="replace")
    if diag.statement_position:
        offset = script.offset(int(diag.statement_position))
    return pointed(script, offset, diag, statement)


def pointed(script: Script, offset: int, diag: Any, statement: str) -> Problem:
    """Return the error of a script with its line and a caret under the place."""
    message = diag.message_primary or "failed"
    code = f" ({diag.sqlstate})" if diag.sqlstate else ""
    lines = []
    if offset >= 0:
        lines = excerpt(script, offset)
    for label, text in (("detail", diag.message_detail), ("hint", diag.message_hint), ("where", diag.context)):
        if text:
            lines.append(f"  {label}: {text.splitlines()[0]}")
    if advice := explain.failure(diag, statement):
        lines.append(f"  advice: {advice}")
    at = script.at(offset) if offset >= 0 else script.name
    return Problem(f"{at}: {message}{code}", *lines)


def excerpt(script: Script, offset: int, width: int = 100) -> list[str]:
    """Return the line of a place and a caret under it, cut to what fits a terminal."""
    start = script.data.rfind(b"\n", 0, offset) + 1
    newline = script.data.find(b"\n", offset)
    line = script.data[start : newline if newline >= 0 else len(script.data)].decode(errors="replace")
    column = len(script.data[start:offset].decode(errors="replace"))
    line = "".join(" " if c in "\t\r" else c for c in line)
    cut = max(0, min(column - width // 2, len(line) - width))
    return [f"  {line[cut : cut + width].rstrip()}", f"  {' ' * (column - cut)}^"]
