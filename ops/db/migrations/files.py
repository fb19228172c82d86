"""The folder of migrations as dbmate has it: a stamp, a name, an up and a down part in each file.

What dbmate could not run is refused at its line (https://github.com/amacneil/dbmate, "Creating Migrations", and tried
with 2.37): so any folder that is taken here can be handed to it. `allow:psql` on a marker gives that up.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.section import refuse
from ops.db.sql_file.contents import Found
from ops.db.sql_file.metacommands import check_command, name_of
from ops.db.sql_file.script import Script, display, needs_psql
from ops.db.sql_file.script import read as read_script
from ops.errors import Misconfigured

_MARK = b"\xef\xbb\xbf"
_NAME = re.compile(r"(\d+)(.*)\.sql")
_MARKER = re.compile(r"--[ \t]*migrate:(up|down)(?:[ \t]+(.*?))?[ \t\r]*")
_NEARLY = re.compile(r"\s*--+\s*migrate\s*:\s*(up|down)\b", re.IGNORECASE)
_ASIDE = re.compile(r"\s*(--.*)?")
_TRANSACTION = re.compile(
    r"(BEGIN|START TRANSACTION|SET (LOCAL |SESSION CHARACTERISTICS AS )?TRANSACTION|COMMIT|END|ROLLBACK|ABORT"
    r"|PREPARE TRANSACTION)\b(?! (?:WORK |TRANSACTION )?TO\b)"
)
_RULE = re.compile(r"[a-z][a-z0-9-]*")
PSQL = "psql"
"""The rule by which a file says that only psql can run it, and dbmate cannot."""


@dataclass(frozen=True)
class File:
    """A migration by its name alone."""

    version: str
    """The digits that its name begins with, which order and identify it."""
    name: str
    """Its name without folder, stamp and `.sql`."""
    path: Path
    shown: str
    """The file as it is named to the user."""


@dataclass(frozen=True)
class Section:
    """What a migration does one way."""

    sql: str = field(repr=False)
    """Its text behind the marker's line; bytes that are no UTF-8 as Python's surrogates."""
    line: int
    """The line of the file that it begins on, from 1."""
    transaction: bool
    """Whether it runs in a transaction: not with `transaction:false`."""
    allow: tuple[str, ...]
    """The rules that the marker allows to be broken (`allow:RULE`)."""
    reason: str = ""
    """Why, in the words behind `--` on the marker's line."""


@dataclass(frozen=True)
class Migration:
    """A migration, read and checked."""

    version: str
    name: str
    path: Path
    up: Section
    down: Section | None
    """None where the file has no such part, which only `allow:psql` lets pass."""
    digest: str
    """SHA-256 of the file, in hexadecimal; a byte order mark and the form of line ends are no part of it."""
    marked: bool = False
    """Whether it begins with a byte order mark, by which dbmate does not find the up part."""
    shown: str = ""
    """The file as it is named to the user."""


def find(folder: Path) -> list[File]:
    """Return the migrations of a folder by their names, in dbmate's order; raises `Misconfigured` for a name that has none."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".sql")
    except FileNotFoundError:
        raise Misconfigured(
            f"{display(folder)}: no such folder: inv db.migration-new NAME makes it, or correct paths.migrations in invoke.yaml"
        ) from None
    except NotADirectoryError:
        raise Misconfigured(f"{display(folder)} is no folder: correct paths.migrations in invoke.yaml") from None
    found: dict[str, File] = {}
    faults = []
    about = display(folder)
    for name in names:
        named = _NAME.fullmatch(name)
        if not named or not named[1].isascii():
            faults.append(
                f"{about}/{name}:1: its name has no stamp, by which it would have its turn: "
                f"inv db.migration-new {name.removesuffix('.sql')} makes a file with one"
            )
        elif other := found.get(named[1]):
            faults.append(f"{about}/{name}:1: has the stamp of {other.path.name}: give one of them another (later) one")
        else:
            found[named[1]] = File(named[1], named[2].strip("_- "), folder / name, f"{about}/{name}")
    refuse(about, faults)
    return list(found.values())


def read_folder(folder: Path) -> list[Migration]:
    """Return the migrations of a folder, read and checked, in dbmate's order; raises `Misconfigured` for all that is wrong."""
    return read_all(find(folder), display(folder))


def read_all(files: Sequence[File], about: str) -> list[Migration]:
    """Read several migrations; raises `Misconfigured` naming what is wrong in any of them."""
    found, faults = [], []
    for file in files:
        try:
            found.append(read(file.path, file.shown))
        except Misconfigured as error:
            faults.append(str(error))
    refuse(about, faults)
    return found


def read(path: Path, shown: str | None = None) -> Migration:
    """Read and check one migration, which is named `shown` to the user; raises `Misconfigured` with the line of what is wrong and its mend."""
    named = _NAME.fullmatch(path.name)
    if not named:
        raise Misconfigured(
            f"{display(path)}:1: its name has no stamp: call it <UTC stamp of 14 digits>_{path.name.removesuffix('.sql')}.sql"
        )
    whole = read_script(path, shown)
    data = whole.data[: len(whole.data)]
    up, down = parts(data.decode(errors="surrogateescape"), whole.name)
    for section, way in ((up, "up"), (down, "down")):
        if section:
            check(script(section, whole.name), section, way)
    return Migration(named[1], named[2].strip("_- "), path, up, down, digest(data), whole.marked, whole.name)


def digest(data: bytes) -> str:
    """Return the SHA-256 of a migration's text, whatever a checkout has made of its line ends."""
    return hashlib.sha256(data.removeprefix(_MARK).replace(b"\r\n", b"\n")).hexdigest()


def parts(text: str, shown: str) -> tuple[Section, Section | None]:
    """Cut a migration at its markers, as dbmate does: wherever a line begins with one, even inside of a string."""
    lines = text.split("\n")
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, 1):
        marker = _MARKER.fullmatch(line)
        if not marker:
            if near := _NEARLY.match(line):
                raise Misconfigured(
                    f"{shown}:{number}: dbmate knows no such marker: write -- migrate:{near[1].lower()} at the line's beginning"
                )
            if not found and not _ASIDE.fullmatch(line):
                raise Misconfigured(
                    f"{shown}:{number}: stands before -- migrate:up, where dbmate takes comments (--) only: move it below"
                )
            continue
        way = marker[1]
        if way in found:
            raise Misconfigured(
                f"{shown}:{number}: a second -- migrate:{way} (the first is in line {found[way][0]}): "
                "each would be kept by itself, so make a file of its own of it"
            )
        if way == "down" and "up" not in found:
            raise Misconfigured(
                f"{shown}:{number}: -- migrate:down stands before -- migrate:up: put it behind that part"
            )
        found[way] = number, marker[2] or ""
    if "up" not in found:
        raise Misconfigured(
            f"{shown}:1: has no -- migrate:up: write that above its statements, and -- migrate:down below"
        )
    begin, options = found["up"]
    end = found["down"][0] - 1 if "down" in found else len(lines)
    up = section(lines[begin:end], begin + 1, options, shown)
    if "down" not in found:
        if PSQL not in up.allow:
            raise Misconfigured(
                f"{shown}:{len(lines)}: has no -- migrate:down, without which dbmate does not run it: "
                "write it, with what takes the up part back below"
            )
        return up, None
    begin, options = found["down"]
    return up, section(lines[begin:], begin + 1, options, shown)


def section(lines: Sequence[str], line: int, options: str, shown: str) -> Section:
    """Make a section of its lines and the options of the marker above them."""
    given, _, reason = f" {options}".partition(" --")
    transaction, allow = True, []
    for option in given.split():
        name, _, value = option.partition(":")
        if name == "transaction" and value in ("true", "false"):
            transaction = value == "true"
        elif name == "allow" and _RULE.fullmatch(value):
            allow.append(value)
        else:
            raise Misconfigured(
                f"{shown}:{line - 1}: {option} is no option of a marker: use transaction:false or allow:RULE, "
                "and give the reason behind a --"
            )
    if "transaction:" in reason:  # dbmate reads it there, too
        raise Misconfigured(f"{shown}:{line - 1}: transaction: stands behind the --: put it before that")
    return Section("\n".join(lines), line, transaction, tuple(allow), reason.strip())


@functools.lru_cache(maxsize=4096)
def script(section: Section, shown: str) -> Script:
    """Return a section as a script in which each line has the number that it has in the file."""
    return Script(shown, b"\n" * (section.line - 1) + section.sql.encode(errors="surrogateescape"))


def check(script: Script, section: Section, way: str) -> None:
    """Raise `Misconfigured` for what has no place in a migration, or what dbmate could not run."""
    from ops.db.load import ALONE, short

    contents = script.contents
    if way == "up" and not (contents.statements or contents.commands):
        raise Misconfigured(
            f"{script.name}:{section.line - 1}: the up part is empty: write the statements below it, or remove the file"
        )
    for found in contents.commands:
        check_command(script, found)
        if name_of(found.text) in ("q", "quit"):
            raise Misconfigured(
                f"{script.at(found.start)}: {found.text.split()[0]}: what stands behind it would never run, and be recorded all the same: remove it"
            )
    for found in contents.remarkable:
        if ended := _TRANSACTION.match(found.text):
            raise Misconfigured(
                f"{script.at(found.start)}: {ended[1]}: each migration is one transaction without it: remove it"
            )
        if way == "up" and alone_without_name(found.text):
            raise Misconfigured(
                f"{script.at(found.start)}: an index without a name could not be found again by a run after one that was cut off: name it"
            )
        if section.transaction and ALONE.match(found.text):
            raise Misconfigured(
                f"{script.at(found.start)}: {short(found.text)} cannot run in a transaction: "
                f"give it a file of its own with -- migrate:{way} transaction:false"
            )
    by_psql = first_of_psql(script)
    if by_psql and not section.transaction:
        raise Misconfigured(
            f"{script.at(by_psql.start)}: only psql would run this, and that in a transaction: take it out"
        )
    if PSQL in section.allow:
        return
    if by_psql:
        raise Misconfigured(
            f"{script.at(by_psql.start)}: only psql understands this, and dbmate does not: write plain SQL "
            f"(rows as INSERT, values in place of variables), or -- migrate:{way} allow:psql, which gives dbmate up"
        )
    if not section.transaction and len(contents.statements) > 1:
        raise Misconfigured(
            f"{script.at(contents.statements[1])}: a second statement beside transaction:false, "
            "which would be a transaction again: give it a file of its own"
        )


def alone_without_name(words: str) -> bool:
    """Whether a statement makes an index outside of a transaction whose name is left to the server."""
    return bool(re.match(r"CREATE (UNIQUE )?INDEX CONCURRENTLY ON\b", words))


def statements(script: Script) -> list[Script]:
    """Return each statement of a script as one of its own, at the same place."""
    starts = list(script.contents.statements)
    found = []
    for start, end in zip(starts, [*starts[1:], len(script.data)], strict=True):
        line, column = script.place(start)
        found.append(Script(script.name, b"\n" * (line - 1) + b" " * (column - 1) + script.data[start:end]))
    return found


def first_of_psql(script: Script) -> Found | None:
    """Return the first thing in a section that only psql understands; a slice of an array is SQL."""
    contents = script.contents
    uses = [use for use in contents.variables if not sliced(script, use)]
    found = [needs_psql(script, {}), *contents.copies, *uses]
    return min((each for each in found if each), key=lambda each: each.start, default=None)


def sliced(script: Script, use: Found) -> bool:
    """Whether what looks like a variable is the upper bound of a slice, as in `a[1:n]`."""
    if script.data[use.start + 1 : use.start + 2] in (b"'", b'"', b"{"):
        return False
    begun = max((start for start in script.contents.statements if start <= use.start), default=0)
    before = re.sub(rb"'[^']*'|\"[^\"]*\"", b" ", script.data[begun : use.start])
    return before.count(b"[") > before.count(b"]")
