"""What each of psql's own commands may do in a load, and what a variable of its puts into a statement.

A load is checked before the first statement runs, so all that runs must be known by then. A
command that leads to another database, runs what only the server or a program will tell, or
changes how the load ends is refused at its line. A second fence on the server is not to be had: psql
keeps the password for `\\connect`, and a superuser is let into every database.

The list is psql's own, PostgreSQL 15 to 18 (https://www.postgresql.org/docs/current/app-psql.html,
"Meta-Commands" and "Variables"); a test asks each psql for its commands.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ops.console import option
from ops.db.sql_file.contents import Contents, Found
from ops.db.sql_file.scan import scan
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from ops.db.sql_file.script import Script

_TAKEN = (
    "? a C conninfo copyright crosstabview d echo elif else endif errverbose f gdesc gx g gset getenv h help H html if l list lo_list"
    " p print pset q quit qecho r reset restrict s set setenv sf sv t T timing unrestrict unset w write warn x z"
    " bind bind_named close close_prepared encoding i include ir include_relative o out copy lo_export lo_import lo_unlink"
    " parse ; : \\"
)
TAKEN = frozenset(_TAKEN.split())
"""Commands that are taken: they show, write a file of this machine, or their effect is followed here."""

_AWAY = "would leave the target's database: remove it"
_AT_RUN = "runs what is known only then, and cannot be checked before: write the statements out"
_ASKS = "asks a person, and nobody is there: remove it"
_PIPELINE = "sends statements ahead of their answers, and one transaction holds them all anyway: remove it"
REFUSED = {
    "c": _AWAY,
    "connect": _AWAY,
    "gexec": _AT_RUN,
    "!": "runs a program: remove it",
    "cd": "moves what \\i finds: write the path out in \\i, or use \\ir",
    "e": _ASKS,
    "edit": _ASKS,
    "ef": _ASKS,
    "ev": _ASKS,
    "password": _ASKS,
    "prompt": "asks a person, and nobody is there",
    "watch": "goes on for ever: remove it",
    **dict.fromkeys(
        ("startpipeline", "endpipeline", "sendpipeline", "syncpipeline", "flush", "flushrequest", "getresults"),
        _PIPELINE,
    ),
}
"""Commands that are refused, and why."""

SPECIAL = {
    "AUTOCOMMIT": ("on", "true", "yes", "1"),
    "ON_ERROR_STOP": ("on", "true", "yes", "1"),
    "ON_ERROR_ROLLBACK": ("off", "false", "no", "0"),
    "SINGLELINE": ("off", "false", "no", "0"),
    "SINGLESTEP": ("off", "false", "no", "0"),
}
"""Variables that change how a load runs or ends, and the values that leave it as it is."""

PSQL_SETS = {
    "AUTOCOMMIT", "DBNAME", "ENCODING", "HOST", "LAST_ERROR_MESSAGE", "LAST_ERROR_SQLSTATE", "PORT",
    "ROW_COUNT", "SERVER_VERSION_NAME", "SERVER_VERSION_NUM", "USER", "VERSION", "VERSION_NAME",
    "VERSION_NUM", "ERROR", "SQLSTATE", "ON_ERROR_STOP",
}  # fmt: skip
"""Variables that psql sets by itself."""

INCLUDES = ("i", "include", "ir", "include_relative")
_PLAIN_WORDS = {"VERSION", "VERSION_NAME", "LAST_ERROR_MESSAGE"}
_DEEPEST = 16
_MOST = 64
"""Ways to fill in the variables of one statement that are looked at; beyond, it is refused."""

SAFE_ENCODINGS = r"(?i)(utf-?8|unicode|sql_ascii|latin-?\d+|iso_?8859_?\d+|win\d+|koi8.?)$"
_PART = (
    r"(?P<space>\s+)|'(?P<single>(?:[^'\\]|\\.|'')*)'|(?P<double>\"[^\"]*\")|(?P<run>`[^`]*`?)"
    r"|:(?:'(?P<v1>\w+)'|\"(?P<v2>\w+)\"|\{\?(?P<v3>\w+)\}|(?P<v4>\w+))|(?P<plain>[^\s'\"`:]+|:)"
)
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f"}

Values = dict[str, set[str | None]]
"""What a variable may hold: texts, `None` where it is known only when the script runs; absent: not set."""


def name_of(command: str) -> str:
    """Return the name of a command; all that describe objects are `d`."""
    found = re.match(r"\\([!?;:\\]|[^\s\\]*)", command)
    name = found[1] if found else ""
    return "d" if name.startswith("d") else name


def arguments(command: str) -> list[list[str | tuple[str, str]]]:
    """Return a command's arguments, each as its parts: texts, and variables as (name, quote)."""
    text = re.sub(r"^\\[^\s\\]*", "", command)
    found: list[list[str | tuple[str, str]]] = []
    fresh, at, part_at = True, 0, re.compile(_PART).match
    while at < len(text):
        part = part_at(text, at)
        if part is None:  # a quote without its end: psql says so itself
            found.append([("", "open")])
            break
        at = part.end()
        if part["space"]:
            fresh = True
            continue
        if fresh:
            found.append([])
            fresh = False
        if part["single"] is not None:
            unescaped = re.sub(r"\\(.)|''", lambda m: _ESCAPES.get(m[1], m[1]) if m[1] else "'", part["single"])
            found[-1].append(unescaped)
        elif part["run"]:
            found[-1].append(("", "`"))
        elif variable := part["v1"] or part["v2"] or part["v3"] or part["v4"]:
            found[-1].append((variable, "'" if part["v1"] else '"' if part["v2"] else "?" if part["v3"] else ""))
        else:
            found[-1].append(part["double"] or part["plain"])
    return found


def given() -> str:
    """Return how a value gets into a script, by the options of the task that reads it."""
    return option("var", "give the value by --var", "write the value out by \\set")


def check_command(script: Script, found: Found) -> None:
    """Raise `Misconfigured` for a command that has no place in a load, whatever its arguments."""
    name = name_of(found.text)
    if name == "prompt":
        raise Misconfigured(f"{script.at(found.start)}: \\prompt {REFUSED[name]}: {given()}")
    if why := REFUSED.get(name):
        raise Misconfigured(f"{script.at(found.start)}: \\{name} {why}")
    if name not in TAKEN:
        raise Misconfigured(f"{script.at(found.start)}: psql has no command \\{name}: correct or remove it")


class Follower:
    """Goes through a script in psql's order, and knows what each variable may hold at each place."""

    def __init__(self, variables: Mapping[str, str], judge: Callable[[Script, int, Contents, Contents], None]) -> None:
        """Take the variables that are given; `judge` is told of a statement as written and as filled in."""
        self.values: Values = {name: {value} for name, value in variables.items()}
        self.judge = judge
        self.prefixes: list[str] = []
        self.branches = 0

    def follow(self, script: Script, members: Sequence[Script], depth: int = 0) -> None:
        """Check a script and what it includes; raises `Misconfigured` at the line of what cannot be known before."""
        commands, statements = script.contents.commands, script.contents.statements
        begun = [command.start for command in commands]
        uses: dict[int, list[Found]] = {}
        for use in script.contents.variables:
            before = bisect_right(begun, use.start)
            if before == 0 or use.start >= commands[before - 1].end:  # not among the arguments of a command
                uses.setdefault(bisect_right(statements, use.start) - 1, []).append(use)
        spans = [(statements[n], n) for n in uses if n >= 0]
        for start, n in sorted([*spans, *((command.start, -1) for command in commands)]):
            if n < 0:
                self.command(script, commands[bisect_left(begun, start)], members, depth)
            else:
                end = statements[n + 1] if n + 1 < len(statements) else len(script.data)
                self.statement(script, start, end, sorted(uses[n], key=lambda found: found.start))

    def command(self, script: Script, found: Found, members: Sequence[Script], depth: int) -> None:
        """Check one command, and follow what it does to variables or includes."""
        at, name = script.at(found.start), name_of(found.text)
        shown = f"\\{name}"
        words = arguments(found.text)
        if any(part == ("", "`") for word in words for part in word) and name not in ("copy", "h", "help", "sf", "sv"):
            raise Misconfigured(f"{at}: {shown} runs a program by backticks: {given()}")
        match name:
            case "if":
                self.branches += 1
            case "endif":
                self.branches -= self.branches > 0
            case "set" | "unset" | "getenv" | "gset":
                self.assign(at, name, words)
            case "encoding" if words and not re.match(SAFE_ENCODINGS, self.only(at, shown, words[0])):
                raise Misconfigured(
                    f"{at}: {shown}: in this encoding bytes mean what cannot be seen: save the file as UTF-8"
                )
            case "i" | "include" | "ir" | "include_relative":
                self.include(script, found, members, depth)
            case "copy":
                if re.search(r"\b(program|pstdin)\b", re.sub(r"'[^']*'|\"[^\"]*\"", " ", found.text), re.IGNORECASE):
                    raise Misconfigured(
                        f"{at}: {shown} with a program or psql's own input: copy from a file, or write the rows below"
                    )
            case "g" | "gx" | "o" | "out" | "w" | "write" if words and self.only(at, shown, words[0]).startswith("|"):
                raise Misconfigured(f"{at}: {shown} runs a program: name a file, or remove it")

    def only(self, at: str, shown: str, word: list[str | tuple[str, str]]) -> str:
        """Return an argument's text; raise where it may be one of several, or is known only at run time."""
        texts = self.texts(word)
        text = next(iter(texts))
        if len(texts) != 1 or text is None:
            raise Misconfigured(f"{at}: {shown}: what stands there is known only when it runs: write it out")
        return text

    def texts(self, word: list[str | tuple[str, str]]) -> set[str | None]:
        """Return all that an argument may be; a variable that is not set stands as it is written."""
        ways: list[set[str | None]] = []
        for part in word:
            if isinstance(part, str):
                ways.append({part})
            elif part[1] in ("`", "open", "?") or part[0] in PSQL_SETS:
                ways.append({None})
            else:
                quote = part[1]
                values = self.held(part[0]) or {f":{quote}{part[0]}{quote}"}
                ways.append({v if v is None or not quote else quoted(v, quote) for v in values})
        made: set[str | None] = set()
        for way in itertools.islice(itertools.product(*ways), _MOST + 1):
            made.add(None if None in way else "".join(part or "" for part in way))
        return made if len(made) <= _MOST else {None}

    def assign(self, at: str, command: str, words: list[list[str | tuple[str, str]]]) -> None:
        """Follow \\set, \\unset, \\getenv and \\gset."""
        if command == "gset":
            prefix = self.only(at, "\\gset", words[0]) if words else ""
            self.prefixes.append(prefix)
            self.values.update({known: {None} for known in self.values if known.startswith(prefix)})
            return
        if not words:
            return
        name = self.only(at, f"\\{command}", words[0])
        texts: set[str | None] = {None} if command == "getenv" else {""}
        if command == "set":
            for word in words[1:]:
                texts = {None if a is None or b is None else a + b for a in texts for b in self.texts(word)}
        if name in SPECIAL and (command == "unset" or not texts <= {*SPECIAL[name], *map(str.upper, SPECIAL[name])}):
            raise Misconfigured(f"{at}: {name} decides how the load ends, and is not the file's to change: remove it")
        if self.branches:  # whether it is run is known later
            self.values[name] = texts | (self.held(name) or {f":{name}"})
        elif command == "unset":
            self.values.pop(name, None)
        else:
            self.values[name] = texts

    def include(self, script: Script, found: Found, members: Sequence[Script], depth: int) -> None:
        """Go through the file of \\i or \\ir."""
        if depth >= _DEEPEST:
            raise Misconfigured(
                f"{script.at(found.start)}: files include each other more than {_DEEPEST} deep: remove it"
            )
        path = script.included(found).resolve()
        self.follow(next(m for m in members if m.path and m.path.resolve() == path), members, depth + 1)

    def held(self, name: str) -> set[str | None] | None:
        """Return what a variable may hold at this place; None where it is not set."""
        if name not in self.values and any(name.startswith(prefix) for prefix in self.prefixes):
            return {None}
        return self.values.get(name)

    def statement(self, script: Script, start: int, end: int, uses: Sequence[Found]) -> None:
        """Fill in the variables of a statement in every way there is, and have the outcome judged."""
        known = [(use, self.fillings(script, use)) for use in uses]
        known = [(use, ways) for use, ways in known if ways]
        if not known:
            return
        if len(list(itertools.islice(itertools.product(*(ways for _, ways in known)), _MOST + 1))) > _MOST:
            raise Misconfigured(f"{script.at(start)}: what stands here has too many shapes to check: write it out")
        data = script.data[start:end]
        written = scan(data)
        for way in itertools.product(*(ways for _, ways in known)):
            text, done = [], 0
            for (use, _), value in zip(known, way, strict=True):
                text += [data[done : use.start - start], value]
                done = use.end - start
            filled = b"".join([*text, data[done:]])
            if filled.count(b"--") > data.count(b"--"):
                raise Misconfigured(f"{script.at(start)}: a variable makes a comment here: write the statement out")
            self.judge(script, start, written, scan(filled))

    def fillings(self, script: Script, use: Found) -> list[bytes]:
        """Return what may stand in the place of a variable; nothing where it stands as it is."""
        before = script.data[use.start + 1 : use.start + 2]
        quote = before.decode() if before in (b"'", b'"', b"{") else ""
        if quote == "{":
            return []
        if use.text in PSQL_SETS and use.text not in self.values:
            return [b"x"] if quote or use.text not in _PLAIN_WORDS else self.unknown(script, use)
        values = self.held(use.text)
        if values is None:
            return []
        if None in values and not quote:
            return self.unknown(script, use)
        texts = [value if value is not None else "x" for value in values]
        return sorted({(quoted(text, quote) if quote else text).encode() for text in texts})

    def unknown(self, script: Script, use: Found) -> list[bytes]:
        raise Misconfigured(
            f"{script.at(use.start)}: what :{use.text} puts here is known only when it runs: "
            f"write :'{use.text}' for a value, :\"{use.text}\" for a name, or {given()}"
        )


def quoted(text: str, quote: str) -> str:
    """Return a text as psql quotes it."""
    if quote == "'":
        return ("E'" if "\\" in text else "'") + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return quote + text.replace(quote, quote * 2) + quote
