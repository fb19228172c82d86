r"""A log of Postgres in its entries: what was said at once, with the lines that belong to it.

The server writes each message in one piece: a first line with a level (LOG, ERROR …), lines of the same prefix with what
explains it (DETAIL, STATEMENT …), and a tab before each further line of either (PostgreSQL documentation, "Error Reporting and
Logging"; `append_with_tabs` in elog.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

LEVELS = ("DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "ERROR", "FATAL", "PANIC")
_LINE = re.compile(
    r"(?P<prefix>.*?)\b(?P<word>DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC"
    r"|DETAIL|HINT|QUERY|CONTEXT|LOCATION|BACKTRACE|STATEMENT):  (?P<text>.*)"
)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?) UTC")


@dataclass
class Part:
    """A line with a word before it, and the lines that go on with it."""

    prefix: str
    word: str
    """LOG, ERROR, DETAIL, STATEMENT, …; empty for lines whose beginning is not there."""
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def __str__(self) -> str:
        return f"{self.prefix}{self.word}:  " + "\n\t".join(self.lines) if self.word else self.text


@dataclass
class Entry:
    """What the server has said at once."""

    parts: list[Part] = field(default_factory=list)

    @property
    def at(self) -> datetime | None:
        """When, where the prefix tells it in UTC, as RDS has it."""
        found = _TIME.match(self.parts[0].prefix)
        return (
            datetime.fromisoformat(f"{found[1].ljust(26, '0')[:26]}+00:00" if "." in found[1] else f"{found[1]}+00:00")
            if found
            else None
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts))


class Reader:
    """Takes a log as it comes, in pieces that may end anywhere, and gives out its entries."""

    def __init__(self) -> None:
        self.tail = ""
        """A line without its end."""
        self.entry = Entry()

    def feed(self, text: str) -> Iterator[Entry]:
        """Yield the entries that are complete: the last one may go on."""
        *lines, self.tail = (self.tail + text).split("\n")
        for line in lines:
            yield from self.take(line.removesuffix("\r"))

    def take(self, line: str) -> Iterator[Entry]:
        """Add a line to the entry, or begin the next one with it."""
        found = None if line.startswith("\t") else _LINE.fullmatch(line)
        if found is None:
            if not (self.entry.parts and line.startswith("\t")):
                self.entry.parts.append(Part("", "", []))
            self.entry.parts[-1].lines.append(line.removeprefix("\t"))
            return
        if found["word"].rstrip("12345") in LEVELS and self.entry.parts:
            yield from self.flush()
        self.entry.parts.append(Part(found["prefix"], found["word"], [found["text"]]))

    def flush(self, *, whole: bool = False) -> Iterator[Entry]:
        """Yield what has come of the last entry; `whole`: with a line that has no end yet."""
        if whole and self.tail:
            tail, self.tail = self.tail, ""
            yield from self.take(tail)
        if self.entry.parts:
            yield self.entry
            self.entry = Entry()


def read(text: str) -> Iterable[Entry]:
    """Return the entries of a whole text."""
    reader = Reader()
    return [*reader.feed(text), *reader.flush(whole=True)]
