"""SQL files as the tasks take them: read, checked to be text, with what they include."""

from __future__ import annotations

import codecs
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ops.db.sql_file.contents import Contents, CopyIn, Found
from ops.db.sql_file.metacommands import INCLUDES, PSQL_SETS, SAFE_ENCODINGS, arguments, name_of
from ops.db.sql_file.scan import scan
from ops.db.sql_file.text import BLOCK, WHOLE, Digest, FileText, Stamp, Text, blocks, stamp
from ops.errors import Misconfigured, Problem
from ops.meter import measured

_MARK = b"\xef\xbb\xbf"

_RECODES = re.compile(r"(?i)SET (?:SESSION |LOCAL )?(?:CLIENT_ENCODING (?:=|TO)|NAMES) '?([^' ]+)")
_OLD_STRINGS = re.compile(r"SET STANDARD_CONFORMING_STRINGS (=|TO) '?(OFF|FALSE|0)", re.IGNORECASE)


@dataclass(frozen=True)
class Script:
    """One SQL file, or what came by standard input."""

    name: str
    """As shown to the user: the path from the working directory, or <stdin>."""
    data: Text = field(repr=False)
    path: Path | None = None
    stamp: Stamp | None = None
    """Which file it was, as it was read."""
    marked: bool = False
    """Whether it began with a byte order mark, which is no part of `data`."""

    @cached_property
    def contents(self) -> Contents:
        if len(self.data) <= BLOCK:
            return scan(self.data)
        with measured(f"checking {Path(self.name).name}", len(self.data)) as meter:
            return scan(self.data, meter)

    @cached_property
    def commands(self) -> list[Found]:
        """Backslash commands, save pg_dump's guard where it guards against none."""
        commands = self.contents.commands
        return [] if all(c.text.startswith(("\\restrict", "\\unrestrict")) for c in commands) else commands

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, with what it includes, by which applied seeds are remembered."""
        content = self.own_digest.result()
        for member in self.members[1:]:
            for block in blocks(member.data):
                content.update(block)
        return content.hexdigest()

    @cached_property
    def own_digest(self) -> Digest:
        """Begins where it is first asked for."""
        return Digest(self.data)

    @cached_property
    def members(self) -> list[Script]:
        """This script and the files that it includes, each once; raises `Misconfigured` for one that is not to be known."""
        members = [self]
        for member in members:  # grows while it is walked
            for found in member.contents.commands:
                if name_of(found.text) in INCLUDES:
                    path = member.included(found)
                    if path.resolve() not in [m.path.resolve() for m in members if m.path]:
                        members.append(read(path))
        return members

    def included(self, found: Found) -> Path:
        """Return the file that \\i or \\ir names; raises `Misconfigured` where that is not known before, or not there."""
        at, shown, words = self.at(found.start), f"\\{name_of(found.text)}", arguments(found.text)
        parts = [part for part in words[0] if isinstance(part, str)] if words else []
        if len(words) != 1 or len(parts) != len(words[0]):
            raise Misconfigured(f"{at}: which file {shown} includes is known only when it runs: name the file itself")
        text = "".join(parts).strip('"')
        if text == "-":
            raise Misconfigured(f"{at}: {shown} reads standard input: name a file")
        beside = shown in ("\\ir", "\\include_relative") and self.path is not None
        path = (self.path.parent if beside and self.path else Path.cwd()) / Path(text).expanduser()
        if not path.is_file():
            raise Misconfigured(f"{at}: {shown}: {text} is not there: correct the path")
        return path

    @cached_property
    def recoded(self) -> Found | None:
        """The first statement that says that the rest is in another encoding than UTF-8, one that hides no character of SQL."""
        for found in self.contents.remarkable:
            if encoding := _RECODES.match(found.text):
                name = encoding[1].replace("-", "").lower()
                return found if re.match(SAFE_ENCODINGS, name) and name not in ("utf8", "unicode") else None
        return None

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column, both from 1, of a byte offset."""
        start = self.data.rfind(b"\n", 0, offset) + 1
        column = len(self.data[start:offset].decode(errors="replace")) + 1
        return self.data.count(b"\n", 0, offset) + 1, column

    def offset(self, position: int, base: int = 0) -> int:
        """Return the byte offset of a character position from 1, counted from `base`, as the server gives it."""
        longest = self.data[base : base + 4 * (position - 1)]
        return base + len(longest.decode(errors="ignore")[: position - 1].encode())

    def at(self, offset: int) -> str:
        """Return file:line:column of a byte offset."""
        return "{}:{}:{}".format(self.name, *self.place(offset))

    def check(self) -> None:
        """Raise `Problem` if what can be read of it is no longer what was."""
        if isinstance(self.data, FileText):
            self.data.check()

    def check_path(self) -> None:
        """Raise `Problem` if who opens the file by its name would find another content."""
        if self.path and not (self.path.is_file() and stamp(self.path.stat()) == self.stamp):
            raise Problem(f"{self.name} has changed since it was checked, and nothing of it was loaded: run it again")


def read(path: Path, shown: str | None = None) -> Script:
    """Read an SQL file; raise `Misconfigured` for one that cannot be SQL text."""
    name = shown or display(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise Misconfigured(f"{name} is a folder: name an SQL file")
        if not stat.S_ISREG(mode):
            raise Misconfigured(f"{name} is not a regular file: use - for standard input")
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            mark = len(_MARK) if file.read(len(_MARK)) == _MARK else 0
            file.seek(mark)
            data = file.read() if found.st_size <= WHOLE else FileText(file, name, mark)
    except FileNotFoundError:
        raise Misconfigured(f"{name}: no such file: correct the option, or paths: in invoke.yaml") from None
    except OSError as error:
        raise Misconfigured(f"{name}: {error.strerror}") from None
    return checked(Script(name, data, path, stamp(found), bool(mark)))


def read_stdin() -> Script:
    """Read an SQL script from standard input."""
    if sys.stdin is None or sys.stdin.isatty():
        raise Misconfigured("- reads standard input: pipe a file into it")
    name, stream = "<stdin>", sys.stdin.buffer
    data = stream.read(WHOLE + 1)
    mark = len(_MARK) if data.startswith(_MARK) else 0
    if len(data) <= WHOLE:
        return checked(Script(name, data[mark:]))
    with tempfile.TemporaryFile() as file:
        file.write(data)
        shutil.copyfileobj(stream, file)
        file.flush()
        return checked(Script(name, FileText(file, name, mark)))


def checked(script: Script) -> Script:
    """Refuse what the protocol would silently cut short or the server cannot read."""
    if script.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Misconfigured(f"{script.name} is UTF-16: save it as UTF-8")
    if script.data.startswith(b"PGDMP"):
        raise Misconfigured(f"{script.name} is a pg_dump archive: make SQL of it by pg_restore -f FILE.sql")
    if isinstance(script.data, bytes) and script.data.isascii() and b"\0" not in script.data:
        return script  # as it is by far mostly: there is nothing to look for
    at = 0
    for copy in script.contents.copies:
        if isinstance(copy, CopyIn):  # the server looks at each of its rows
            check_text(script, at, copy.rows)
            at = copy.over
    check_text(script, at, len(script.data))
    return script


def check_text(script: Script, at: int, end: int) -> None:
    """Raise `Misconfigured` for what is no UTF-8 text between two places, save where the file says that it is none."""
    recoded = script.recoded
    if recoded and at < recoded.end < end:
        check_text(script, at, recoded.end)
        at = recoded.end
    decoder = codecs.getincrementaldecoder("latin-1" if recoded and recoded.end <= at else "utf-8")()
    for block in blocks(script.data, at, end):
        if (zero := block.find(b"\0")) >= 0:
            raise Misconfigured(f"{script.at(at + zero)}: holds a zero byte: this is not SQL text")
        pending = decoder.getstate()[0]
        if pending or not block.isascii():
            decode(script, decoder, block, at - len(pending))
        at += len(block)
    decode(script, decoder, b"", at - len(decoder.getstate()[0]), final=True)


def decode(
    script: Script, decoder: codecs.IncrementalDecoder, block: bytes, begin: int, *, final: bool = False
) -> None:
    """Raise `Misconfigured` where a block, with what was left of the one before it at `begin`, is no UTF-8."""
    try:
        decoder.decode(block, final=final)
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{script.at(begin + error.start)}: is not UTF-8 here: save the file as UTF-8") from None


def display(path: Path) -> str:
    """Return the shorter of a path and its form relative to the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def needs_psql(script: Script, variables: Mapping[str, str]) -> Found | None:
    """Return the first thing in the script that only psql understands."""
    contents = script.contents
    uses = [v for v in contents.variables if v.text in variables or v.text in PSQL_SETS]
    if script.commands:  # \set and \gset may define any of them
        uses = contents.variables
    # The server reads a query's strings by the setting at its start, psql at each line
    old = [found for found in contents.remarkable if _OLD_STRINGS.match(found.text)]
    copies = [c for c in contents.copies if not (isinstance(c, CopyIn) and c.alone)]
    recoded = [script.recoded] if script.recoded else []  # the server reads a query by the encoding at its start
    return min([*script.commands, *copies, *uses, *old, *recoded], key=lambda f: f.start, default=None)


def missing_variables(script: Script, variables: Mapping[str, str]) -> Iterator[Found]:
    """Yield uses of variables that nobody gives: psql would send them as they stand.

    An unquoted :name may be a slice of an array, so only quoted ones count.
    """
    sets = r"\\(set|gset|prompt|getenv|i|ir|include|include_relative)\b"
    defines = any(re.match(sets, c.text) for c in script.contents.commands)
    for use in script.contents.variables:
        quoted = script.data[use.start + 1 : use.start + 2] in (b"'", b'"')
        if quoted and not defines and use.text not in variables and use.text not in PSQL_SETS:
            yield use
