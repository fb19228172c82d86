"""A migration as its author wrote it, and what becomes of its SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ops.db.load import ALONE
from ops.db.migrations import files
from ops.db.migrations.importing.stamps import Order
from ops.db.sql_file.contents import Found
from ops.db.sql_file.script import Script, display
from ops.errors import Misconfigured

_BEGINS = re.compile(r"(BEGIN|START TRANSACTION)\b")
_COMMITS = re.compile(r"(COMMIT|END)( WORK| TRANSACTION)?$")
_MARKER = re.compile(r"\s*--+\s*migrate\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Way:
    """What an original does one way."""

    sql: str = field(repr=False)
    path: Path
    line: int = 1
    """The line of the file that the SQL begins on."""


@dataclass(frozen=True)
class Part:
    """SQL for a section of dbmate's."""

    sql: str
    transaction: bool


@dataclass(frozen=True)
class Original:
    """A migration of another tool."""

    key: str
    """What its tool knows it by."""
    name: str
    order: Order
    path: Path
    up: Way
    down: Way | None
    """None where it has no way back."""
    after: tuple[str, ...] = ()
    """The keys of those it builds on, where its tool says so."""
    digits: str = ""
    """The number in its name, where that is what its tool compares."""
    origin: str = ""
    """What it is known again by in a file that was made of it, where the name of its own file does not tell."""


@dataclass
class Collection:
    """What was read in a folder."""

    tool: str
    """Whose migrations they are: a key of `books.BOOKS`."""
    originals: list[Original] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    whole: bool = False
    """Whether they are one schema with the list of the versions that made it."""
    versions: tuple[str, ...] = ()
    """That list."""


def decoded(path: Path) -> str:
    """Read a text in UTF-8, line ends as they are; raises `Misconfigured` with the line of what is none."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Misconfigured(f"{display(path)}:{line}: is not UTF-8 here: save the file as UTF-8") from None


def converted(way: Way, direction: str) -> list[Part]:
    """Return the SQL for dbmate's sections; raises `Misconfigured` with the line of what has no place there.

    A BEGIN and a COMMIT around all of it go: dbmate sends them itself. What refuses a transaction stands alone in a section, so where that
    stands beside other statements there are several sections, for as many files; where there is nothing to do there is none.
    """
    shown = display(way.path)
    for number, line in enumerate(way.sql.split("\n")):
        if _MARKER.match(line):
            raise Misconfigured(f"{shown}:{way.line + number}: is a marker of dbmate's: take it out of the SQL")
    script = Script(shown, way.sql.encode())
    statements, found = script.contents.statements, script.contents.remarkable
    around = around_all(statements, found)
    data = without(way.sql, around).encode()
    alone = {each.start for each in found if ALONE.match(each.text)}
    starts = [start for start in statements if start not in {each.start for each in around}]
    if not starts and not script.contents.commands:
        return []
    begins = [0]
    for before, start in pairwise(starts):
        if before in alone or start in alone:
            begins.append(start)
    parts = []
    for begin, end in zip(begins, [*begins[1:], len(data)], strict=True):
        in_transaction = not any(begin <= start < end for start in alone)
        text = data[begin:end].decode()
        section = files.Section(text, way.line + data.count(b"\n", 0, begin), in_transaction, ())
        files.check(files.script(section, shown), section, direction)
        parts.append(Part(trimmed(text), in_transaction))
    return parts


def around_all(statements: Sequence[int], found: Sequence[Found]) -> list[Found]:
    """Return the BEGIN and the COMMIT that hold all statements, if there are just these."""
    by_start = {each.start: each for each in found}
    if len(statements) < 2:
        return []
    first, last = by_start.get(statements[0]), by_start.get(statements[-1])
    if first and last and _BEGINS.match(first.text) and _COMMITS.match(last.text):
        return [first, last]
    return []


def without(sql: str, cuts: Iterable[Found]) -> str:
    """Return a text with spaces in the place of some of its statements: each other one stays where it is."""
    data = sql.encode()
    for cut in cuts:
        data = data[: cut.start] + re.sub(rb"[^\n]", b" ", data[cut.start : cut.end]) + data[cut.end :]
    return data.decode()


def trimmed(sql: str) -> str:
    """Return a text without the blank lines at its ends."""
    return re.sub(r"\A(?:[ \t\r]*\n)+", "", sql).rstrip()
