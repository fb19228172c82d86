"""A failed script as people read it: file, line, column, the line, a caret, advice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from ops import row_values
from ops.db.sql_file import hints
from ops.db.sql_file.contents import CopyIn
from ops.db.sql_file.script import Script
from ops.db.sql_file.text import line_end
from ops.errors import Contended, Problem, SessionLost
from ops.targets import outcome


def disconnected(script: Script, state: str | None, why: str) -> SessionLost:
    """Return the fault of a load whose session broke, by its SQLSTATE or libpq's words."""
    return outcome.session_lost(script.name, state, why)


def ended_inside(script: Script, dbname: str, why: str = "", *, lasting: bool = True) -> Problem:
    """Return the fault of a load whose own transaction the file has ended, unseen by the check."""
    stayed, look = "", ""
    if lasting:
        stayed = f", and what it did before that has stayed in {dbname}"
        look = "look there (inv db.status), and "
    return Problem(
        f"{script.name}: something in it ended the transaction of the load{stayed}: "
        f"{look}take what ends a transaction out of the file",
        *([f"  then: {why}"] if why else []),
    )


def in_copy(script: Script, begins: int, context: str) -> int:
    """Return the offset of a value in the rows of the COPY at an offset, by what the server says of it; 0 if nothing."""
    copied = re.match(r'COPY .*, line (\d+)(?:, column [^:]+: "(.*)")?', context)
    copy = next((c for c in script.contents.copies if c.start == begins and isinstance(c, CopyIn)), None)
    if not copied or not copy:
        return 0
    number, value = int(copied[1]), (copied[2] or "").removesuffix("...")
    start = line_end(script.data, number - 1, copy.rows) + 1 if number > 1 else copy.rows
    newline = script.data.find(b"\n", start)
    raw = script.data[start : newline if newline >= 0 else len(script.data)]
    return start + max(0, raw.find(value.encode()))


def of_statement(script: Script, diag: Any, spans: Sequence[int], base: int, before: int = 0) -> Problem:
    """Return the fault of a script that was sent as it is.

    `diag` has psycopg's diagnostic fields; `spans` is where the statement and
    the one after it start; positions count from `base`, behind `before` characters that are not of the script. A fault without a
    position (a constraint) points to the start of its statement.
    """
    found = outcome.row(diag.sqlstate)
    if found and found.breaks:
        return disconnected(script, diag.sqlstate, row_values.words(diag))
    offset = spans[0] if spans else -1
    end = spans[1] if len(spans) > 1 else len(script.data)
    statement = script.data[offset : min(end, offset + 4000)].decode(errors="replace") if spans else ""
    if diag.statement_position:
        offset = script.offset(int(diag.statement_position) - before, base)
    elif spans:
        offset = in_copy(script, offset, diag.context or "") or offset
    return pointed(script, offset, diag, statement)


def pointed(script: Script, offset: int, diag: Any, statement: str, *, loads: bool = True) -> Problem:
    """Return the error of a script with its line and a caret under the place.

    What is not the script's fault comes with what became of a load, and the next step. On production no values are shown.
    """
    raw, diag = diag, row_values.shown(diag, statement)
    message = row_values.words(diag) or "failed"  # it quotes the SQL, line breaks and all
    said = f"{message} ({diag.sqlstate})" if diag.sqlstate else message
    if loads and outcome.row(diag.sqlstate):
        what, step = outcome.worded(diag.sqlstate, message)
        said = f"{what}: nothing of it was kept: {step}"
    shown = excerpt(script, offset) if offset >= 0 and not (row_values.hides() and is_in_rows(script, offset)) else []
    at = script.at(offset) if offset >= 0 else script.name
    kind = Contended if outcome.is_contended(raw) else Problem
    return kind(f"{at}: {said}", *shown, *notes(raw, statement))


def is_in_rows(script: Script, offset: int) -> bool:
    """Whether a place is in the rows behind a COPY, which are data and no program."""
    return any(isinstance(copy, CopyIn) and copy.rows <= offset < copy.over for copy in script.contents.copies)


def structure(diag: Any) -> str:
    """Return which constraint, column and table an error is about, where the server says so."""
    table = ".".join(filter(None, (diag.schema_name, diag.table_name)))
    parts = (("constraint", diag.constraint_name), ("column", diag.column_name), ("table", table))
    return ", ".join(f"{kind} {name}" for kind, name in parts if name)


def notes(diag: Any, statement: str) -> list[str]:
    """Return what else the server says of an error, and what to do; on production without values."""
    lines = []
    diag = row_values.shown(diag, statement)
    if row_values.hides():
        statement = ""  # its own values are no advice there
        if about := structure(diag):
            lines.append(f"  about: {about}")
    for label, text in (("detail", diag.message_detail), ("hint", diag.message_hint), ("where", diag.context)):
        for number, line in enumerate((text or "").splitlines()[:5]):
            lines.append(f"  {' ' * len(label)}  {line}" if number else f"  {label}: {line}")
    if advice := hints.failure(diag, statement):
        lines.append(f"  advice: {advice}")
    return lines


def excerpt(script: Script, offset: int, width: int = 100) -> list[str]:
    """Return the line of a place and a caret under it, cut to what fits a terminal."""
    reach = 4 * width  # bytes
    start = max(script.data.rfind(b"\n", 0, offset) + 1, offset - reach)
    newline = script.data.find(b"\n", offset)
    end = min(newline if newline >= 0 else len(script.data), offset + reach)
    before = plain(script.data[start:offset].decode(errors="ignore"))
    after = plain(script.data[offset:end].decode(errors="ignore"))
    before = before[max(0, len(before) - max(width // 2, width - len(after))) :]
    line = (before + after[: width - len(before)]).rstrip()
    return [f"  {line}", f"  {' ' * columns(before)}^"]


def plain(text: str) -> str:
    """Return a line in which each control character is one space, as psql shows it."""
    return "".join(c if c.isprintable() else " " for c in text)


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
