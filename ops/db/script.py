"""An SQL file as psql would read it: its statements, and what in it needs psql.

The scan follows psql's own lexer (strings, dollar quotes, nested comments,
COPY data, backslash commands, variables), on bytes: UTF-8 never hides an ASCII
character. Nothing is ever split for execution; the scan only says where things are.
"""

from __future__ import annotations

import codecs
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
# A stretch in which nothing happens: plain text, finished strings, casts. Its
# length is bounded: the expression keeps a record of each step it took.
_QUIET = re.compile(
    rb"(?:[^'\"$\\;:\-/eE]+|[eE](?!')|(?<=[" + _WORD + rb"])[eE]"
    rb"|'[^']*'|\"[^\"]*\"|-(?!-)|/(?!\*)|::|:=){1,200}"
)
_ESCAPED = re.compile(rb"(?:[^'\\]+|\\.|''){1,200}", re.DOTALL)
_CONTINUES = re.compile(rb"\s*\n\s*'")
_BLANK = re.compile(rb"(?:\s|--[^\n]*(?:\n|\Z))+")
_DOLLAR = re.compile(rb"(?<![" + _WORD + rb"])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_NAME = rb"[A-Za-z0-9_\x80-\xff]+"
_VARIABLE = re.compile(rb":(?:'(%b)'|\"(%b)\"|\{\?(%b)\}|((?![0-9])%b))" % (_NAME, _NAME, _NAME, _NAME))
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_END_OF_COPY = re.compile(rb"^\\\.\r?$", re.MULTILINE)
_BY_CLIENT = re.compile(rb"\b(?:(from)|to)\s+std(?:in|out)\b", re.IGNORECASE)
_TOKEN = re.compile(rb"\"(?:[^\"]|\"\")*\"|'[^']*'|[\w$\x80-\xff]+|.", re.DOTALL)
_NOISE = re.compile(rb"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_PLAIN = re.compile(rb"(?:insert|select|update|delete|with|values)\b", re.IGNORECASE)
_BLOCK_WORD = re.compile(rb"(?<![" + _WORD + rb"])(begin|case|end)(?![" + _WORD + rb"])", re.IGNORECASE)
# Backslash commands that end the statement before them
_SENDS = re.compile(r"\\(g|gx|gset|gexec|gdesc|crosstabview|watch|parse|r|reset)\b")
INCLUDE = re.compile(r"\\(i|ir|include|include_relative)\b")
_INCLUDES = re.compile(r"\\(i|ir|include|include_relative)\s+(?:'([^':`]+)'|([^\s':`]+))\s*$")
_BLOCK = 1 << 20

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
        """SHA-256 of the content, with what it includes, by which applied seeds are remembered."""
        content = hashlib.sha256(self.data)
        for included in family(self)[1:]:
            content.update(included.data)
        return content.hexdigest()

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
        raise Misconfigured(f"{name}: no such file: correct the option, or paths: in invoke.yaml") from None
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
    if script.data.startswith(b"PGDMP"):
        raise Misconfigured(f"{script.name} is a pg_dump archive: make SQL of it by pg_restore -f FILE.sql")
    if (zero := script.data.find(b"\0")) >= 0:
        raise Misconfigured(f"{script.at(zero)}: holds a zero byte: this is not SQL text")
    decoder, size = codecs.getincrementaldecoder("utf-8")(), len(script.data)
    for at in (*range(0, size, _BLOCK), size):
        try:
            decoder.decode(script.data[at : at + _BLOCK], final=at == size)
        except UnicodeDecodeError as error:
            wrong = script.at(at + error.start - len(decoder.getstate()[0]))
            raise Misconfigured(f"{wrong}: is not UTF-8 here: save the file as UTF-8") from None
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
    body = re.match(r"CREATE( OR REPLACE)? (FUNCTION|PROCEDURE)\b", head)
    rule = re.match(r"CREATE( OR REPLACE)? RULE\b", head)
    found.statements.append(start)
    position = start
    while position < end:
        if quiet := _QUIET.match(data, position):
            position = quiet.end()
            continue
        match data[position : position + 1]:
            case b";":
                position += 1
                if not (body or rule) or not unfinished(data[start:position]):
                    return finish(data, start, position, head, found)
            case b"\\":
                if data[position + 1 : position + 2] in (b";", b":"):  # psql's way to send just that
                    found.commands.append(Found(position, position + 2, data[position : position + 2].decode()))
                    position += 2
                    continue
                position = command(data, position, found)
                if _SENDS.match(found.commands[-1].text):
                    return finish(data, start, position, head, found)
            case b"$":
                position = after_dollar(data, position)
            case b"e" | b"E":
                position = after_escaped(data, position + 2)
            case b":":
                if variable := _VARIABLE.match(data, position):
                    name = next(filter(None, variable.groups())).decode(errors="replace")
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
    if not head.startswith("COPY "):
        if head:
            found.remarkable.append(Found(start, end, head))
    elif by_client := _BY_CLIENT.search(_NOISE.sub(b" ", data[start:end])):
        found.copies.append(Found(start, end, "COPY … FROM stdin" if by_client[1] else "COPY … TO stdout"))
        if by_client[1]:
            line = data.find(b"\n", end)
            over = _END_OF_COPY.search(data, line + 1) if line >= 0 else None
            return over.end() if over else len(data)
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


def after_escaped(data: bytes, position: int) -> int:
    """Return the offset behind an E'' string, from behind its first quote."""
    while True:
        if piece := _ESCAPED.match(data, position):
            position = piece.end()
        elif more := _CONTINUES.match(data, position + 1):  # the same string, on the next line
            position = more.end()
        else:
            return position + 1


def opening(data: bytes, start: int) -> str:
    """Return the first words of a statement in capitals, quoted names as written.

    Statements that only read or write rows have nothing to look for: a seed
    may hold a million of them.
    """
    if _PLAIN.match(data, start):
        return ""
    words: list[str] = []
    position, end = start, len(data)
    while position < end and len(words) < 40:
        token = _TOKEN.match(data, position)
        if token is None or token[0] in (b";", b"\\", b"$"):
            break
        word = token[0][:200].decode(errors="replace")
        words.append(word if word[0] in "\"'" else word.upper())
        position = skip_blank(data, token.end())
    return " ".join(words)


def unfinished(text: bytes) -> bool:
    """Whether a CREATE ends inside a BEGIN ATOMIC … END body or the brackets of a rule."""
    text = _NOISE.sub(b" ", text)
    depth = 0
    for word in _BLOCK_WORD.findall(text):
        if word.lower() == b"end":
            depth -= depth > 0
        elif word.lower() == b"begin" or depth:
            depth += 1
    return depth > 0 or text.count(b"(") > text.count(b")")


def family(script: Script) -> list[Script]:
    """Return a script and the files that it includes under their plain names, each once."""
    members = [script]
    for member in members:  # grows while it is walked
        for found in member.contents.commands:
            if include := _INCLUDES.match(found.text):
                beside = "r" in include[1] and member.path is not None
                path = (member.path.parent if beside and member.path else Path.cwd()) / (include[2] or include[3])
                if path.is_file() and path.resolve() not in [m.path.resolve() for m in members if m.path]:
                    members.append(read(path))
    return members


def needs_psql(script: Script, variables: Mapping[str, str]) -> Found | None:
    """Return the first thing in the script that only psql understands."""
    contents = script.contents
    uses = [v for v in contents.variables if v.text in variables or v.text in _PSQL_SETS]
    commands = contents.commands
    if all(found.text.startswith(("\\restrict", "\\unrestrict")) for found in commands):
        commands = []  # pg_dump's guard against backslash commands, of which there are none
    if commands:  # \set and \gset may define any of them
        uses = contents.variables
    # The server reads a query's strings by the setting at its start, psql at each line
    old = [
        r
        for r in contents.remarkable
        if re.match(r"SET STANDARD_CONFORMING_STRINGS (=|TO) '?(OFF|FALSE|0)", r.text, re.IGNORECASE)
    ]
    return min([*commands, *contents.copies, *uses, *old], key=lambda f: f.start, default=None)


def missing_variables(script: Script, variables: Mapping[str, str]) -> Iterator[Found]:
    """Yield uses of variables that nobody gives: psql would send them as they stand.

    An unquoted :name may be a slice of an array, so only quoted ones count.
    """
    sets = r"\\(set|gset|prompt|getenv|i|ir|include|include_relative)\b"
    defines = any(re.match(sets, c.text) for c in script.contents.commands)
    for use in script.contents.variables:
        quoted = script.data[use.start + 1 : use.start + 2] in (b"'", b'"')
        if quoted and not defines and use.text not in variables and use.text not in _PSQL_SETS:
            yield use
