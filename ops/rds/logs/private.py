"""An entry of a log as it may be shown: what happened, and nobody's data.

Statements go through the same function as those of sessions; errors lose what they quote as those of production do
(`row_values`). A log has no SQLSTATE by which it would be known whether something in quotes is a name or a value, so it
counts as a value unless the words before it say what it names. Words that a function has raised are known by the line
of context that says so; a log that leaves contexts out (log_error_verbosity terse) does not tell, so numbers and addresses of
e-mail are left out of all errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ops import row_values
from ops.rds.logs.entries import Entry, Part
from ops.row_values import VALUE

WithoutValues = Callable[[str], str]
"""Returns a query without its values."""
RAISED_WORDS = "raised by a function in words of its own, which are not shown (--values shows them)"
OTHER_FORM = "its lines are of another form, and not shown; --values shows them, at a terminal"
UNKNOWN = "a line of another form, which is not shown (--values shows it)"

# What RAISE and ASSERT of PL/pgSQL leave, and every function of another language
_RAISED = re.compile(r"\bat (?:RAISE|ASSERT)\b|^(?:PL/Python|PL/Perl|PL/Tcl|JavaScript)", re.MULTILINE)
# duration: 1.2 ms  statement: …; execute NAME: …; statement: …
_STATEMENT = re.compile(
    r"(?P<head>(?:duration: [\d.]+ ms)?\s*(?:(?:statement|(?:parse|bind|execute)(?: fetch from)? [^:]+): ))(?P<query>.*)",
    re.DOTALL,
)
_PLAN = re.compile(r"(duration: [\d.]+ ms)  plan:")
_AUDIT = re.compile(r"(AUDIT: (?:SESSION|OBJECT),\d+,\d+,[A-Z]+,[\w ]*),")
_INNER = re.compile(
    r"(?is)(?P<head>[^'\"]*?: )(?P<query>(?:select|insert|update|delete|merge|with|call|copy|do|create|alter)\b.*)"
)
_NAMED = re.compile(
    r"\b(?:constraint|relation|table|view|index|column|sequence|function|procedure|schema|extension|database|role|user|trigger"
    r"|policy|type|parameter|encoding|tablespace|publication|subscription|slot|language|collation|operator|file|directory"
    r"|host)(?: named)? \"(?!\d+\")[^\"\s@]*\""  # a value that was quoted as names are is mostly of another form
)
# Where in a statement: what the server adds to a message, and to none that it raises for others (elog.c); counts of parameters
_PLACE = re.compile(r"(?P<message>.*?)(?P<place> at (?:internal )?character \d+)?", re.DOTALL)
_BOUND = re.compile(r"bind message supplies \d+ parameters, but prepared statement \"\w*\" requires \d+")
_PIECE = re.compile(r"'(?:[^']|'')*'?|\"[^\"]*\"?|[^\s\"'(]+@[^\s\"')]+|(?<![\w.$-])[0-9][\w.:-]*")
_DEADLOCK = re.compile(r"Process \d+ waits for \w+ on [\w ]+\d[\w ]*; blocked by process \d+\.")
_HOLDING = re.compile(r"Process(?:es)? holding the lock: [\d, ]+\. Wait queue: [\d, ]*\.")
_HBA = re.compile(r"(?:Connection matched (?:file|pg_hba)|Role \"|User \"|Password )")
SERVERS_OWN = ("LOG", "FATAL", "PANIC", "DEBUG")
"""Levels that sessions seldom raise: their numbers are sizes, times and addresses."""


def shown(entry: Entry, without_values: WithoutValues) -> Entry:
    """Return an entry as it may be shown."""
    raised = any(part.word == "CONTEXT" and _RAISED.search(part.text) for part in entry.parts)
    return Entry(
        [Part(part.prefix, part.word, said(part, without_values, raised=raised).split("\n")) for part in entry.parts]
    )


def said(part: Part, without_values: WithoutValues, *, raised: bool) -> str:
    """Return the text of one part as it may be shown."""
    match part.word:
        case "":
            return UNKNOWN
        case "STATEMENT" | "QUERY":
            return without_values(part.text)
        case "DETAIL":
            return VALUE if raised else detail(part.text)
        case "HINT":
            return VALUE if raised else quoted(part.text, numbers=False)
        case "CONTEXT":
            return row_values.context(part.text) or VALUE
        case "LOCATION" | "BACKTRACE":
            return part.text
    return (
        RAISED_WORDS
        if raised
        else message(part.text, without_values, numbers=part.word.rstrip("12345") not in SERVERS_OWN)
    )


def message(text: str, without_values: WithoutValues, *, numbers: bool) -> str:
    """Return a message as it may be shown; `numbers`: without its numbers, which may be of rows."""
    if found := _PLAN.match(text):
        return f"{found[1]}  plan: {VALUE}"
    if found := _AUDIT.match(text):
        return f"{found[1]},{VALUE}"
    for form in (_STATEMENT, _INNER):
        if found := form.fullmatch(text):
            return found["head"] + without_values(found["query"])
    if _BOUND.fullmatch(text):
        return text
    found = _PLACE.fullmatch(text)
    return quoted(found["message"], numbers=numbers) + (found["place"] or "") if found else ""


def quoted(text: str, *, numbers: bool) -> str:
    """Return a text on one line, with what it quotes replaced save names, and with what looks like people's data."""
    flat, told, at = " ".join(text.split()), "", 0
    for name in _NAMED.finditer(flat):
        if '"' in flat[at : name.start()]:  # from the first value on, which may have quotes and names in it
            break
        told += replaced(flat[at : name.start()], numbers=numbers) + name[0]
        at = name.end()
    rest = flat[at:]
    first, last = rest.find('"'), rest.rfind('"')
    if first < last:  # a value may have quotes in it, so all up to the last
        rest = rest[: first + 1] + rest[last:]
    return told + replaced(rest, numbers=numbers)


def replaced(text: str, *, numbers: bool) -> str:
    """Return a text with quoted values, addresses of e-mail, and with `numbers` those, replaced."""

    def instead(found: re.Match[str]) -> str:
        piece = found[0]
        return piece if piece[0].isdigit() and "@" not in piece and not numbers else VALUE

    return _PIECE.sub(instead, text)


def detail(text: str) -> str:
    """Return what of a detail is structure."""
    lines = [line for line in text.split("\n") if _DEADLOCK.fullmatch(line) or _HOLDING.fullmatch(line)]
    if lines:
        return "\n".join(lines)
    if _HBA.match(text):
        return quoted(text, numbers=False)
    return row_values.detail(text, "23", raised=False) or VALUE
