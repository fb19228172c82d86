"""A server's errors without the values of rows: on production those are people's data, and what is told ends in logs.

By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) it is known which errors quote values: those of
class 22 in their message, those of class 23 in their detail, and any that a function raises in words of its own. What
is structure stays: constraint, table, column, function and line.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

VALUE = "?"
WORDS_OF_ITS_OWN = (
    "raised by a function in words of its own, which are not shown on production: they may hold values of rows"
)

_hides = False

# Functions of the server by which those of its languages raise what they like
_RAISED = r"exec_stmt_(raise|assert)|PLy_|plperl|pltcl|throw_tcl"
_LITERAL = r"(?i)\braise\s+(?:(?:debug|log|info|notice|warning|exception)\s+)?'((?:[^']|'')*)'|\bassert\b[^;]*,\s*'((?:[^']|'')*)'"
_DYNAMIC = r"\bat (?:EXECUTE|FOR over EXECUTE|RETURN QUERY|OPEN)\b"
_PLACE = "%%|%"
# The first thing in quotes is a name behind these, and a value else
_NAMED = r'[^"]*\b(?:column|encoding|relation|parameter|sequence|constraint) "[^"]*"'
_BYTES = r"\b0x[0-9a-f]{2}\b(?: 0x[0-9a-f]{2}\b)*"
_KEY = r"(?s)(?:Key|Partition key of the failing row contains) \(.*?\)(?:=| = )\("
_TAIL = r"\)( already exists\.| is duplicated\.| is not present in table \"[^\"]*\"\.| is still referenced from table \"[^\"]*\"\.)$"
_CONFLICTS = r"\) conflicts with (?:existing )?key \("
_CONTEXTS = (
    r"PL/pgSQL function [^\"]+ line \d+ at [\w /-]+|PL/pgSQL function [^\"]+ (?:while|during) [\w /-]+"
    r"|SQL function \"[^\"]*\" (?:statement \d+|during \w+)|COPY [^,:]+, line \d+(?:, column [^:,]+)?"
    r"|while [\w ]+ \(\d+,\d+\) in relation \"[^\"]*\"|JSON data, line \d+"
    r"|(?:unnamed portal|portal \"\w+\") (?:with parameters|parameter \$\d+)"
)


class Shown(NamedTuple):
    """What may be shown of an error, by the names that psycopg has for it."""

    sqlstate: str
    message_primary: str
    message_detail: str
    message_hint: str
    context: str
    schema_name: str
    table_name: str
    column_name: str
    constraint_name: str
    source_function: str


def hides() -> bool:
    """Whether values are left out."""
    return _hides


def hide(values: bool) -> None:
    """Leave values out of what is told from now on, or do not: the command is about production, or no more."""
    global _hides  # noqa: PLW0603 - one command, one target
    _hides = values


def shown(diag: Any, text: str = "") -> Any:
    """Return an error's fields as they may be shown; `text` is the SQL that was sent, whose own words are no row's.

    `diag` has psycopg's diagnostic fields; it is returned as it is where nothing is hidden.
    """
    if not _hides:
        return diag
    state = diag.sqlstate or ""
    raised = is_raised(diag)
    quotes = raised or state[:2] in ("22", "23")
    return Shown(
        sqlstate=state,
        message_primary=message(diag, text),
        message_detail=detail(diag.message_detail or "", state, raised=raised) if quotes else diag.message_detail or "",
        message_hint="" if raised else diag.message_hint or "",
        context=context(diag.context or ""),
        **{
            name: getattr(diag, name, None) or ""
            for name in ("schema_name", "table_name", "column_name", "constraint_name", "source_function")
        },
    )


def is_raised(diag: Any) -> bool:
    """Whether a function has raised an error in its own words, whatever its state."""
    by = getattr(diag, "source_function", None) or ""
    return (
        bool(re.match(_RAISED, by))
        or (diag.sqlstate or "")[:2] in ("38", "HV")
        or (diag.sqlstate == "P0001" and not by)
    )


def lines(diag: Any) -> str:
    """Return an error's message as it came, lines, values and all: for `console.foreign`, which tells ours from them."""
    return diag.message_primary or ""


def words(diag: Any) -> str:
    """Return an error's message in one line, with the values in it: where none are people's, or for a look at it."""
    return " ".join(lines(diag).split())


def message(diag: Any, text: str = "") -> str:
    """Return an error's message as it may be shown, in one line."""
    said = words(diag)
    state = diag.sqlstate or ""
    if not _hides:
        return said
    if is_raised(diag):
        return as_written(said, text) or WORDS_OF_ITS_OWN
    if is_put_together(diag):
        return without_quoted(said, names=False)
    return without_quoted(said) if state.startswith("22") else said


def is_put_together(diag: Any) -> bool:
    """Whether an error is about SQL that a function has made at run time, perhaps of values that it forgot to quote."""
    inside = (diag.sqlstate or "").startswith("42") and getattr(diag, "internal_query", None)
    return bool(inside and re.search(_DYNAMIC, diag.context or ""))


def as_written(said: str, text: str) -> str:
    """Return the words of a RAISE in `text` that `said` comes from, each value in it a `?`; empty where there is none."""
    for found in re.finditer(_LITERAL, text):
        words = " ".join((found[1] or found[2] or "").replace("''", "'").split())
        pieces, places = re.split(_PLACE, words), re.findall(_PLACE, words)
        if found[2] is not None:  # an ASSERT's is taken as it is
            pieces, places = [words], []
        pattern = re.escape(pieces[0])
        told = pieces[0]
        for place, piece in zip(places, pieces[1:], strict=True):
            pattern += ("%" if place == "%%" else ".*") + re.escape(piece)
            told += ("%" if place == "%%" else VALUE) + piece
        if re.fullmatch(pattern, said, re.DOTALL):
            return told
    return ""


def without_quoted(said: str, *, names: bool = True) -> str:
    """Return a message with what it quotes replaced; `names`: save a name that it begins with, as those of class 22 do."""
    named = re.match(_NAMED, said) if names else None
    kept, rest = (named[0], said[named.end() :]) if named else ("", said)
    first, last = rest.find('"'), rest.rfind('"')
    if first >= 0:  # a value may have quotes in it, so all up to the last
        rest = rest[:first] + VALUE + rest[max(last, first) + 1 :]
    return re.sub(_BYTES, VALUE, kept + rest)


def detail(said: str, state: str, *, raised: bool) -> str:
    """Return what of the detail of an error that may quote values is structure; empty where nothing is."""
    if raised or state.startswith("22"):
        return ""
    if said.startswith("Failing row contains ("):
        return f"Failing row contains ({VALUE})."
    if key := re.match(_KEY, said):
        tail = re.search(_TAIL, said)
        ends = tail[1] if tail else " conflicts with another key." if re.search(_CONFLICTS, said) else "."
        return f"{re.sub(r' ?= ?[(]$', '', key[0])} = ({VALUE}){ends}"
    return ""


def context(said: str) -> str:
    """Return the lines of a context that name functions and places, and nothing that was at work there."""
    found = (re.match(_CONTEXTS, line) for line in said.splitlines())
    return "\n".join(each[0] for each in found if each)
