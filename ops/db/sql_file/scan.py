"""What psql would see in an SQL text: its statements, and what in it is psql's own.

The scan follows psql's own lexer (strings, dollar quotes, nested comments,
COPY data, backslash commands, variables; psqlscan.l and psqlscanslash.l of PostgreSQL),
and the server where the two disagree on where a statement ends, on bytes: UTF-8 never hides an ASCII
character. Nothing is ever split for execution; the scan only says where things are.
It holds a window of the text at a time, as long as the longest statement at most.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ops.db.sql_file.contents import COPY_IN, Contents, CopyIn, Found
from ops.db.sql_file.text import BLOCK, WHOLE, Text

if TYPE_CHECKING:
    from ops.meter import Meter

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
_BY_CLIENT = rb"(?i)\b(?:(from)|to)\s+std(?:in|out)\b"
_TOKEN = re.compile(rb"(\"(?:[^\"]|\"\")*\"|'[^']*'|[\w$\x80-\xff]+|.)\s*", re.DOTALL)
_NOISE = rb"(?s)'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/"
_PLAIN = re.compile(rb"(?:insert|select|update|delete|with|values)\b", re.IGNORECASE)
# Of a statement that may hold others: one word, quoted piece, number or other thing at a time
_PIECE = re.compile(
    rb"\s+|(?![eE]')[A-Za-z_\x80-\xff][" + _WORD + rb"]*|[0-9][" + _WORD + rb".]*"
    rb"|'[^']*'|\"[^\"]*\"|-(?!-)|/(?!\*)|::|:=|[^\s\w\x80-\xff'\"$\\;:\-/]"
)
_MAY_NEST = re.compile(r"CREATE( OR REPLACE)? (FUNCTION|PROCEDURE|RULE)\b")
# Commands that end the statement before them
_SENDS = r"\\(g|gx|gset|gexec|gdesc|crosstabview|watch|parse|sendpipeline|r|reset)(?![^\s\\])"
_COPIES = r"\\copy\s"
# psql reads an argument up to a space, a command up to the next backslash, both outside of quotes
_ARGUMENT = rb"'(?:[^'\\\n]|\\[^\n]|'')*'?|\"[^\"\n]*\"?|`[^`\n]*`?"
_COMMAND = rb"\\(?:[!?;:]|[^\s\\]*)"
_ARGUMENTS = rb"(?:%b|[^\\'\"`\n])*" % _ARGUMENT
_WHOLE_LINE = rb"\\(?:copy|!|h|help|ef|ev|sf|sv)(?![^\s\\])|\\(?:g|gx|o|out|w|write)\s+\|"

_LAST_ROW = rb"\n\\\.\r?(?=\n|\Z)"


def scan(text: Text, meter: Meter | None = None) -> Contents:
    """Find statements and psql's own syntax in an SQL text; a meter is told how far that is."""
    found = Contents()
    position, reach = 0, WHOLE
    while position < len(text):
        window = text[position : position + reach]
        seen = Contents()
        done = statements(text, window, position, seen)
        if not position and done == len(text):
            return seen
        found.add(seen, position)
        # A statement or comment that is longer than the window wants a larger one
        reach = WHOLE if done else 2 * reach
        position += done
        if meter:
            meter.done = position
    return found


def statements(text: Text, window: bytes, base: int, found: Contents) -> int:
    """Scan the whole statements of the window that begins at `base`; return how far they reach, 0 if there is none."""
    position, end = 0, len(window)
    last = base + end == len(text)
    while (start := skip_blank(window, position)) < end:
        after = statement(window, start, found)
        if after == end and not last:
            found.cut(start)
            return position
        position = after
        if found.copies and found.copies[-1].end == after and found.copies[-1].text == COPY_IN:
            copy, more = with_rows(text, found.copies[-1].moved(base))
            found.copies[-1], position = copy.moved(-base), copy.resumes - base
            found.add(more, after)
    return end if last else position


def with_rows(text: Text, copy: Found) -> tuple[CopyIn, Contents]:
    """Return a COPY with the rows that begin on the next line, and what else there is on its own."""
    newline = text.find(b"\n", copy.end)
    rest = text[copy.end : newline if newline >= 0 else len(text)]
    rows = newline + 1 if newline >= 0 else len(text)
    over, resumes = last_row(text, newline) if newline >= 0 else (rows, rows)
    more = Contents()
    alone = skip_blank(rest, 0) == len(rest)
    closed = alone
    if not alone:
        more = scan(rest)
        closed = len(scan(rest + b"\nselect").statements) > len(more.statements) and not more.copies
    return CopyIn(copy.start, copy.end, copy.text, rows, over, resumes, alone, closed), more


def last_row(text: Text, at: int) -> tuple[int, int]:
    """Return where the rows end that begin behind the newline at an offset, and where the line that ends them does."""
    while at < len(text):
        block = text[at : at + BLOCK]
        last = at + len(block) == len(text)
        # Most data has no backslash at all, and a single byte is found ten times as fast
        if b"\\" in block and (ends := re.search(_LAST_ROW, block)) and (last or ends.end() < len(block)):
            return at + ends.start() + 1, at + ends.end()
        at += len(block) - (0 if last else len(b"\n\\.\r"))
    return len(text), len(text)


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
    nesting = Nesting() if _MAY_NEST.match(head) else None
    found.statements.append(start)
    position = start
    while position < end:
        if nesting is None and (quiet := _QUIET.match(data, position)):
            position = quiet.end()
            continue
        if nesting and (piece := _PIECE.match(data, position)):
            nesting.see(piece[0])
            position = piece.end()
            continue
        match data[position : position + 1]:
            case b";":
                position += 1
                if nesting is None or not nesting.goes_on():
                    return finish(data, start, position, head, found)
            case b"\\":
                position = command(data, position, found)
                text = found.commands[-1].text
                # psql sends \\; as a semicolon, by which the server tells two statements apart
                if re.match(_SENDS, text) or (text == "\\;" and not (nesting and nesting.goes_on())):
                    return finish(data, start, position, head, found)
                if copies_rows(found):
                    return position
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
    elif client := by_client(data[start:end]):
        found.copies.append(Found(start, end, COPY_IN if client[1] else "COPY … TO stdout"))
    return end


def by_client(statement: bytes) -> re.Match[bytes] | None:
    """Return where a COPY names the client; its first group is there where that gives the rows."""
    return re.search(_BY_CLIENT, re.sub(_NOISE, b" ", statement))


class Nesting:
    """How deep in a statement the scan is: in brackets, and in a body by the SQL standard, BEGIN ATOMIC … END.

    As the server's grammar has it: BEGIN and ATOMIC stand side by side, and END begins a
    statement of the body. psql counts words instead, and takes a function that is called `begin` for a body.
    """

    def __init__(self) -> None:
        self.brackets = self.bodies = 0
        self.previous = b""

    def see(self, piece: bytes) -> None:
        """Take the next piece of the statement's text."""
        if piece.isspace():
            return
        word = piece.lower()
        if word == b"(":
            self.brackets += 1
        elif word == b")":
            self.brackets -= self.brackets > 0
        elif self.brackets == 0 and word == b"atomic" and self.previous == b"begin":
            self.bodies += 1
            word = b";"  # what follows begins a statement
        elif self.brackets == 0 and word == b"end" and self.previous == b";":
            self.bodies -= self.bodies > 0
        self.previous = word

    def goes_on(self) -> bool:
        """Whether the statement goes on behind a semicolon."""
        self.previous = b";"
        return bool(self.brackets or self.bodies)


def command(data: bytes, position: int, found: Contents) -> int:
    """Note a backslash command, which ends with its line or before the next one; return the offset behind it."""
    name = re.compile(_COMMAND).match(data, position)
    assert name is not None
    end = name.end()
    if name[0] == b"\\" and data[end : end + 1] == b"\\":  # the sign between a command and what follows it
        end += 1
    elif re.compile(_WHOLE_LINE).match(data, position):
        newline = data.find(b"\n", position)
        end = len(data) if newline < 0 else newline
    elif name[0] not in (b"\\;", b"\\:"):
        arguments = re.compile(_ARGUMENTS).match(data, end)
        end = arguments.end() if arguments else end
    text = data[position:end].decode(errors="replace").rstrip("\r")
    found.commands.append(Found(position, end, text))
    if re.match(_COPIES, text) and (client := by_client(data[position:end])) and client[1]:
        found.copies.append(Found(position, end, COPY_IN))
    return end


def copies_rows(found: Contents) -> bool:
    """Whether the command that was just noted is followed by rows."""
    return bool(found.copies and found.copies[-1].start == found.commands[-1].start)


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


def without_comments(data: bytes) -> bytes:
    """Return an SQL text with a space in place of each comment; what looks like one in a string or a name stays."""
    kept: list[bytes] = []
    begin, position, end = 0, 0, len(data)
    while position < end:
        if quiet := _QUIET.match(data, position):
            position = quiet.end()
            continue
        match data[position : position + 1]:
            case b"$":
                position = after_dollar(data, position)
            case b"e" | b"E":
                position = after_escaped(data, position + 2)
            case b"-" | b"/":
                kept += [data[begin:position], b" "]
                newline = data.find(b"\n", position)
                line = end if newline < 0 else newline
                begin = position = line if data[position : position + 1] == b"-" else after_comment(data, position)
            case b"'" | b'"':  # without its end
                position = end
            case _:
                position += 1
    return b"".join([*kept, data[begin:]])


def opening(data: bytes, start: int) -> str:
    """Return the first words of a statement in capitals, quoted names as written.

    Statements that only read or write rows have nothing to look for: a seed
    may hold a million of them.
    """
    if _PLAIN.match(data, start):
        return ""
    return " ".join(word if word[0] in "\"'" else word.upper() for word in words(data, start))


def words(data: bytes, start: int, most: int = 40) -> list[str]:
    """Return the first words, names, strings and signs of a statement, as written."""
    found: list[str] = []
    position, end = start, len(data)
    while position < end and len(found) < most:
        token = _TOKEN.match(data, position)
        if token is None or token[1] in (b";", b"\\", b"$"):
            break
        found.append(token[1][:200].decode(errors="replace"))
        position = token.end()
        if data[position : position + 1] in (b"-", b"/"):
            position = skip_blank(data, position)
    return found
