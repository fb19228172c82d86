"""An SQL file as psql would read it: its statements, and what in it needs psql.

The scan follows psql's own lexer (strings, dollar quotes, nested comments,
COPY data, backslash commands, variables), on bytes: UTF-8 never hides an ASCII
character. Nothing is ever split for execution; the scan only says where things are.
"""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ops.errors import Misconfigured

_WORD = rb"A-Za-z0-9_$\x80-\xff"
# A stretch in which nothing happens: plain text, finished strings, casts
_QUIET = re.compile(
    rb"(?:[^'\"$\\;:\-/eE]+"
    rb"|(?<![" + _WORD + rb"])[eE]'(?:[^'\\]|\\.|'')*'"
    rb"|[eE]|'[^']*'|\"[^\"]*\"|-(?!-)|/(?!\*)|::|:=){1,200}",
    re.DOTALL,
)
_BLANK = re.compile(rb"(?:\s|--[^\n]*(?:\n|\Z))+")
_DOLLAR = re.compile(rb"(?<![" + _WORD + rb"])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_VARIABLE = re.compile(rb":(?:'(\w+)'|\"(\w+)\"|\{\?(\w+)\}|([A-Za-z_]\w*))")
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_END_OF_COPY = re.compile(rb"^\\\.\r?$", re.MULTILINE)
_TOKEN = re.compile(r'"(?:[^"]|"")*"|[\w$]+|\S')
_LINE_COMMENTS = re.compile(rb"--[^\n]*|/\*.*?\*/", re.DOTALL)
_PLAIN = re.compile(rb"(?:insert|select|update|delete|set|with|values)\b", re.IGNORECASE)
_BLOCK_WORD = re.compile(rb"(?<![" + _WORD + rb"])(begin|case|end)(?![" + _WORD + rb"])", re.IGNORECASE)

# Variables that psql sets by itself
_PSQL_SETS = {
    "AUTOCOMMIT", "DBNAME", "ENCODING", "HOST", "LAST_ERROR_MESSAGE", "LAST_ERROR_SQLSTATE", "PORT",
    "ROW_COUNT", "SERVER_VERSION_NAME", "SERVER_VERSION_NUM", "USER", "VERSION", "VERSION_NAME",
    "VERSION_NUM", "ERROR", "SQLSTATE", "ON_ERROR_STOP",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Something in a script, by its byte offsets."""

    start: int
    end: int
    text: str


@dataclass
class Contents:
    """What a scan found."""

    statements: array[int] = field(default_factory=lambda: array("Q"))
    """Byte offset of the start of each statement that is not empty."""
    remarkable: list[Found] = field(default_factory=list)
    """Statements that are not plain data or definitions, by their first words."""
    commands: list[Found] = field(default_factory=list)
    """Backslash commands."""
    variables: list[Found] = field(default_factory=list)
    """Uses of psql variables, by name."""
    copies: list[Found] = field(default_factory=list)
    """COPY … FROM stdin statements."""


@dataclass(frozen=True)
class Script:
    """One SQL file, or what came by standard input."""

    name: str
    """As shown to the user: the path from the working directory, or <stdin>."""
    data: bytes = field(repr=False)
    path: Path | None = None

    @cached_property
    def contents(self) -> Contents:
        return scan(self.data)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, by which applied seeds are remembered."""
        return hashlib.sha256(self.data).hexdigest()

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column, both from 1, of a byte offset."""
        start = self.data.rfind(b"\n", 0, offset) + 1
        column = len(self.data[start:offset].decode(errors="replace")) + 1
        return self.data.count(b"\n", 0, offset) + 1, column

    def offset(self, position: int) -> int:
        """Return the byte offset of a character position from 1, as the server gives it."""
        if self.data.isascii():
            return position - 1
        return len(self.data.decode(errors="replace")[: position - 1].encode())

    def at(self, offset: int) -> str:
        """Return file:line:column of a byte offset."""
        return "{}:{}:{}".format(self.name, *self.place(offset))


def read(path: Path, shown: str | None = None) -> Script:
    """Read an SQL file; raise `Misconfigured` for one that cannot be SQL text."""
    name = shown or display(path)
    try:
        if path.is_dir():
            raise Misconfigured(f"{name} is a folder: name an SQL file")
        if path.exists() and not path.is_file():
            raise Misconfigured(f"{name} is not a regular file: use - for standard input")
        data = path.read_bytes()
    except FileNotFoundError:
        raise Misconfigured(f"{name}: no such file: correct --file, or paths: in invoke.yaml") from None
    except OSError as error:
        raise Misconfigured(f"{name}: {error.strerror}") from None
    return checked(Script(name, data.removeprefix(b"\xef\xbb\xbf"), path))


def read_stdin() -> Script:
    """Read an SQL script from standard input."""
    if sys.stdin is None or sys.stdin.isatty():
        raise Misconfigured("--file - reads standard input: pipe a file into it")
    return checked(Script("<stdin>", sys.stdin.buffer.read().removeprefix(b"\xef\xbb\xbf")))


def checked(script: Script) -> Script:
    """Refuse what the protocol would silently cut short or the server cannot read."""
    if script.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Misconfigured(f"{script.name} is UTF-16: save it as UTF-8")
    if (zero := script.data.find(b"\0")) >= 0:
        raise Misconfigured(f"{script.at(zero)}: holds a zero byte: this is not SQL text")
    try:
        script.data.decode()
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{script.at(error.start)}: is not UTF-8 here: save the file as UTF-8") from None
    return script


def display(path: Path) -> str:
    """Return the shorter of a path and its form relative to the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def scan(data: bytes) -> Contents:
    """Find statements and psql's own syntax in an SQL text."""
    found = Contents()
    position, end = 0, len(data)
    while (start := skip_blank(data, position)) < end:
        position = statement(data, start, found)
    return found


def skip_blank(data: bytes, position: int) -> int:
    """Return the offset of the next thing that is neither space nor comment."""
    while True:
        if match := _BLANK.match(data, position):
            position = match.end()
        elif data.startswith(b"/*", position):
            position = after_comment(data, position)
        else:
            return position


def after_comment(data: bytes, position: int) -> int:
    """Return the offset behind a block comment; they nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(data, position):
        depth += 1 if edge[0] == b"/*" else -1
        if depth == 0:
            return edge.end()
    return len(data)


def statement(data: bytes, start: int, found: Contents) -> int:
    """Scan one statement or backslash command, and return the offset behind it."""
    if data[start : start + 1] == b";":
        return start + 1
    if data[start : start + 1] == b"\\":
        return command(data, start, found)
    end = len(data)
    head = opening(data, start)
    body = head and re.match(r"CREATE( OR REPLACE)? (FUNCTION|PROCEDURE)\b", head)
    rule = head and re.match(r"CREATE( OR REPLACE)? RULE\b", head)
    found.statements.append(start)
    position = start
    while position < end:
        if quiet := _QUIET.match(data, position):
            position = quiet.end()
            continue
        match data[position : position + 1]:
            case b";":
                inside = (body or rule) and data[start:position]
                if inside and (in_block(inside) if body else inside.count(b"(") > inside.count(b")")):
                    position += 1
                    continue
                return finish(data, start, position + 1, head, found)
            case b"\\":
                position = command(data, position, found)
            case b"$":
                position = after_dollar(data, position)
            case b":":
                if variable := _VARIABLE.match(data, position):
                    name = next(filter(None, variable.groups())).decode()
                    found.variables.append(Found(position, variable.end(), name))
                    position = variable.end()
                else:
                    position += 1
            case b"-":
                newline = data.find(b"\n", position)
                position = end if newline < 0 else newline
            case b"/":
                position = after_comment(data, position)
            case _:  # an unfinished string: the server will say where it begins
                position = end
    return finish(data, start, end, head, found)


def finish(data: bytes, start: int, end: int, head: str, found: Contents) -> int:
    """Note what kind of statement this was; return where the next one may begin."""
    word = head.partition(" ")[0]
    if word == "COPY":
        if re.search(rb"(?i)\bfrom\s+(?:stdin|pstdin)\b", data[start:end]):
            found.copies.append(Found(start, end, head))
            line = data.find(b"\n", end)
            over = _END_OF_COPY.search(data, line + 1) if line >= 0 else None
            return over.end() if over else len(data)
    elif word:
        found.remarkable.append(Found(start, end, head))
    return end


def command(data: bytes, position: int, found: Contents) -> int:
    """Note a backslash command, which ends with its line."""
    newline = data.find(b"\n", position)
    end = len(data) if newline < 0 else newline
    text = data[position:end].decode(errors="replace").rstrip("\r")
    found.commands.append(Found(position, end, text))
    return end


def after_dollar(data: bytes, position: int) -> int:
    """Return the offset behind a dollar-quoted string, or behind a lone dollar sign."""
    if not (tag := _DOLLAR.match(data, position)):
        return position + 1
    close = data.find(tag[0], tag.end())
    return len(data) if close < 0 else close + len(tag[0])


def opening(data: bytes, start: int) -> str:
    """Return the first words of a statement in capitals, quoted names as written.

    Statements that only read or write rows have nothing to look for: a seed
    may hold a million of them.
    """
    if _PLAIN.match(data, start):
        return ""
    text = _LINE_COMMENTS.sub(b" ", data[start : start + 400]).decode(errors="replace")
    words = _TOKEN.findall(text.partition(";")[0])[:12]
    return " ".join(word if word.startswith('"') else word.upper() for word in words)


def in_block(text: bytes) -> bool:
    """Whether a CREATE FUNCTION ends inside a BEGIN ATOMIC … END body."""
    depth = 0
    for word in _BLOCK_WORD.findall(re.sub(rb"'[^']*'|\"[^\"]*\"|--[^\n]*", b"", text)):
        if word.lower() == b"end":
            depth -= 1
        elif word.lower() == b"begin" or depth:
            depth += 1
    return depth > 0


def needs_psql(script: Script, variables: Mapping[str, str]) -> Found | None:
    """Return the first thing in the script that only psql understands."""
    contents = script.contents
    uses = [v for v in contents.variables if v.text in variables or v.text in _PSQL_SETS]
    if contents.commands:  # \set and \gset may define any of them
        uses = contents.variables
    return min([*contents.commands, *contents.copies, *uses], key=lambda f: f.start, default=None)


def missing_variables(script: Script, variables: Mapping[str, str]) -> Iterator[Found]:
    """Yield uses of variables that nobody gives: psql would send them as they stand.

    An unquoted :name may be a slice of an array, so it counts only where no
    value can stand before it.
    """
    defines = any(re.match(r"\\(set|gset|prompt|getenv)\b", c.text) for c in script.contents.commands)
    for use in script.contents.variables:
        quoted = script.data[use.start + 1 : use.start + 2] in (b"'", b'"')
        if quoted and not defines and use.text not in variables and use.text not in _PSQL_SETS:
            yield use
