"""rds.logs: the last lines of an instance's log, and those to come, over the end of a file into the next one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import explain, transient
from ops.console import as_json, harmless, redact, result, say
from ops.errors import Misconfigured, Problem
from ops.rds import instance
from ops.rds.cluster.row import machine
from ops.rds.logs import private
from ops.rds.logs.entries import Entry, Reader
from ops.rds.logs.files import FORMATTED, MOST, START, Logs

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

POLL = 5.0
"""Seconds between two looks of --follow: each costs the instance something, as AWS says."""
BACK = 24
"""Files that are looked into at most, where the newest ones hold too few lines."""
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be shown."""

    lines: int
    file: str = ""
    """One of them; empty: the newest."""
    follow: bool = False
    values: bool = False
    json: bool = False


@dataclass(frozen=True)
class Line:
    """An entry of the log."""

    at: datetime | None
    """When it was written; null where its prefix does not tell it in UTC."""
    file: str
    """In which file it is."""
    level: str | None
    """In Postgres's word: LOG, ERROR, and so on; null for a line of another form."""
    text: str
    """With its details and statement, each on a line; values in it are `?`."""


def read_lines(text: str) -> int:
    """Return --lines; raises `Misconfigured` for what RDS does not give."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST):
        raise Misconfigured(f"--lines {text}: give a whole number from 1 to {MOST}")
    return int(text)


def show(
    settings: Settings,
    aws: Aws,
    wanted: Wanted,
    without_values: private.WithoutValues,
    sleep: Sleep = time.sleep,
) -> None:
    """Print the log; `wanted.follow` goes on until it is interrupted."""
    if wanted.file.endswith(FORMATTED) and not wanted.values:
        raise Misconfigured(
            f"--file {wanted.file}: what of it is people's data is not told apart in this format: name the file without that "
            "ending, or add --values at a terminal"
        )
    client: RDSClient = aws.client("rds")
    logs = Logs(client, machine(instance.require_instance(aws, settings.rds)))
    out = Printer(wanted, without_values)
    known = [one.name for one in logs.files()]
    if not (known or wanted.file):
        raise Problem(f"{logs.identifier} has no log file yet: run this again when it is available (inv rds.status)")
    file, marker = begin(logs, wanted, known, out)
    if not wanted.follow:
        out.end()
        if not out.printed:
            say(f"{file}: {private.OTHER_FORM if out.dropped else 'nothing was logged yet; --follow waits for it'}")
        return
    seen = set(known)
    while True:
        sleep(POLL)
        file, marker = go_on(logs, wanted, out, seen, file, marker)


def begin(logs: Logs, wanted: Wanted, known: list[str], out: Printer) -> tuple[str, str]:
    """Print the last lines, of the files before too where one has few; return the file and marker from which to go on."""
    files = [wanted.file] if wanted.file else known[: -BACK - 1 : -1]
    lacking, pieces, marker = wanted.lines, list[tuple[str, str]](), ""
    for name in files:
        found = logs.portion(name, lines=lacking)
        marker = marker or found.marker
        pieces.append((name, found.text))
        lacking -= len(found.text.splitlines())
        if lacking <= 0:
            break
    for name, text in reversed(pieces):
        out.write(name, text)
    return files[0], marker


def go_on(logs: Logs, wanted: Wanted, out: Printer, seen: set[str], file: str, marker: str) -> tuple[str, str]:
    """Print what was written since; return the file and marker from which to go on.

    It is looked for another file first: what is there to read afterwards is all of the one before.
    """
    out.place = file, marker
    try:
        later = [] if wanted.file else [one.name for one in logs.files() if one.name not in seen]
        print_rest(logs, out, file, marker)
        for name in later:
            out.place = name, START
            seen.add(name)
            print_rest(logs, out, *out.place)
    except Exception as error:
        if not transient(error):
            raise
        out.tell(f"no answer ({explain(error)}): the log is asked again")
    return out.place


def print_rest(logs: Logs, out: Printer, file: str, marker: str) -> None:
    """Print a file from a marker on; `out` keeps how far that came, since it may break off between two portions."""
    empty = True
    for found in logs.rest(file, marker):
        empty = empty and not found.text
        out.write(file, found.text)
        out.place = file, found.marker
    if empty:  # the last entry has had time to become whole
        out.end()


class Printer:
    """Prints a log as it comes."""

    def __init__(self, wanted: Wanted, without_values: private.WithoutValues) -> None:
        self.wanted, self.without_values = wanted, without_values
        self.reader = Reader()
        self.file = ""
        self.place = "", START
        """The file and marker up to which it is printed."""
        self.printed = self.dropped = False
        self.told = ""

    def write(self, file: str, text: str) -> None:
        """Print the entries that are whole by this piece of a file."""
        if self.file and file != self.file:
            self.end()
            say(f"the log goes on in {file}")
        self.file = file
        self.each(self.reader.feed(text))

    def end(self) -> None:
        """Print the last entry: nothing more will come of it."""
        self.each(self.reader.flush(whole=True))

    def each(self, entries: Iterator[Entry]) -> None:
        for entry in entries:
            if not (self.printed or self.wanted.values):  # the lines may begin within one
                entry.parts = [part for part in entry.parts if part.word]
                if not entry.parts:
                    self.dropped = True
                    continue
            self.printed = True
            self.told = ""
            if self.wanted.values:
                result(redact(harmless(str(entry))))
                continue
            shown = private.shown(entry, self.without_values)
            if self.wanted.json:
                level = shown.parts[0].word or None
                text = "\n".join(
                    f"{part.word}: {part.text}" if part is not shown.parts[0] else part.text for part in shown.parts
                )
                as_json(Line(shown.at, self.file, level, redact(harmless(text))), indent=None)
            else:
                result(redact(harmless(str(shown))))
        sys.stdout.flush()  # whoever follows waits for it

    def tell(self, text: str) -> None:
        """Say what is in the way, once until something comes again."""
        if text != self.told:
            self.told = text
            say(f"note: {text}")
