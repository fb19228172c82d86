"""Migrations that are SQL files: golang-migrate's and sqlx's pairs, Flyway's, goose's, dbmate's own, Django's as its sqlmigrate prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from ops.db.migrations.importing import stamps
from ops.db.migrations.importing.originals import Collection, Original, Way, decoded
from ops.db.sql_file.script import display
from ops.errors import Misconfigured

PAIR = re.compile(r"(\d+)_(.*)\.(up|down)\.sql")
NUMBERED = re.compile(r"(\d+)[_-]*(.*)\.sql")
FLYWAY = re.compile(r"([VU])(\d[\d._]*?)__(.*)\.sql|(R)__(.*)\.sql")
FLYWAY_OTHER = re.compile(
    r"B\d[\d._]*__.*\.sql|(before|after|create|undo)[A-Z]\w*(__.*)?\.sql|(before|after)\w*\.sql|V\d.*\.java|R__.*\.java"
)
_PLACEHOLDER = re.compile(r"\$\{[^}\n]*\}")
_NOT_SQL = re.compile(r"^-- .*CANNOT BE WRITTEN AS SQL", re.MULTILINE)
_OF_DJANGO = re.compile(r"([a-z_]\w*)\.(\w+)", re.IGNORECASE)
_GOOSE = re.compile(r"[ \t]*--[ \t]*\+goose[ \t]+(.*?)[ \t\r]*")
_GOOSE_UP = re.compile(r"^\s*--\s*\+goose\s+Up\b", re.MULTILINE | re.IGNORECASE)
DBMATE_UP = re.compile(r"^--[ \t]*migrate:up", re.MULTILINE)
MADE_BY = (
    "Django's own Python is not run: save what manage.py sqlmigrate prints for each migration into a folder, as docs/import-migrations.md "
    "shows, and give that"
)
PARTS = (5, 3, 3, 3)
"""Digits that each part of a Flyway version gets in a stamp: together 14."""


def numbered(paths: Sequence[Path]) -> Collection:
    """Read golang-migrate's or sqlx's files, or Django's SQL under such names: `N_name.up.sql`, `N_name.down.sql`, `N_name.sql`."""
    found: dict[str, dict[str, Path]] = {}
    names: dict[str, str] = {}
    here = Collection("numbered")
    for path in paths:
        if match := PAIR.fullmatch(path.name):
            digits, name, direction = match.groups()
        elif match := NUMBERED.fullmatch(path.name):
            digits, name, direction = match[1], match[2], "up"
        else:
            continue
        ways = found.setdefault(digits, {})
        if direction in ways:
            here.faults.append(f"{display(path)}:1: has the number of {ways[direction].name}: give one of them another")
            continue
        ways[direction] = path
        names.setdefault(digits, name)
    for digits, ways in found.items():
        if "up" not in ways:
            here.faults.append(
                f"{display(ways['down'])}:1: takes back what no .up.sql makes: remove it, or bring that file"
            )
            continue
        add(here, digits, names[digits], ways["up"], ways.get("down"))
    check_order(here)
    if here.originals and all(_OF_DJANGO.fullmatch(each.name) for each in here.originals):
        here.tool = "django"
    return here


def add(here: Collection, digits: str, name: str, up: Path, down: Path | None) -> None:
    """Add a pair of files to a collection."""
    try:
        ways = [whole(path) for path in (up, down) if path]
        order = stamps.order(digits)
    except Misconfigured as error:
        here.faults.append(str(error))
        return
    for each in ways:
        here.faults += not_written(each)
    key = digits if not _OF_DJANGO.fullmatch(name) else name
    here.originals.append(Original(key, name, order, up, ways[0], ways[1] if down else None, digits=digits))


def whole(path: Path) -> Way:
    """Return a file as one way of a migration."""
    return Way(decoded(path), path)


def not_written(way: Way) -> list[str]:
    """Return where Django says that it could not print what it would do."""
    return [
        f"{display(way.path)}:{way.sql.count(chr(10), 0, found.start()) + 1}: Django runs Python here: write what that does as SQL "
        "in the place of this line, or remove the line where it does nothing"
        for found in _NOT_SQL.finditer(way.sql)
    ]


def check_order(here: Collection) -> None:
    """Name files that their tool runs in another order than they were made in: it compares plain numbers."""
    by_number = sorted(here.originals, key=lambda each: int(each.digits))
    for before, after in pairwise(by_number):
        if before.order > after.order:
            here.faults.append(
                f"{display(after.path)}:1: is older than {before.path.name} by its stamp, and runs behind it: "
                "give the two stamps of one form, in the order in which they run"
            )


def flyway(paths: Sequence[Path]) -> Collection:
    """Read Flyway's files: `V1__name.sql`, its undo `U1__name.sql`, and `R__name.sql`, which run behind all others."""
    here = Collection("flyway")
    ups: dict[tuple[int, ...], tuple[str, str, Path]] = {}
    downs: dict[tuple[int, ...], Path] = {}
    repeated: list[tuple[str, Path]] = []
    for path in paths:
        match = FLYWAY.fullmatch(path.name)
        if not match:
            if FLYWAY_OTHER.fullmatch(path.name):
                here.faults.append(
                    f"{display(path)}:1: Flyway's baselines, callbacks and Java migrations have no like here: take it out"
                )
            continue
        here.faults += placeholders(path)
        if match[4]:
            repeated.append((match[5], path))
            continue
        version = version_of(match[2])
        known = {key: each[2] for key, each in ups.items()} if match[1] == "V" else downs
        if version in known:
            here.faults.append(f"{display(path)}:1: has the version of {known[version].name}: give one of them another")
        elif match[1] == "V":
            ups[version] = match[2], match[3], path
        else:
            downs[version] = path
    here.faults += [
        f"{display(path)}:1: takes back what no V file makes: remove it, or bring that file"
        for version, path in downs.items()
        if version not in ups
    ]
    plain = all(len(version) == 1 and stamps.is_time(str(version[0])) for version in ups)
    for version, (key, name, path) in sorted(ups.items()):
        try:
            order = stamps.order(key) if plain else packed(version, path)
            up, down = whole(path), downs.get(version)
            here.originals.append(Original(key.replace("_", "."), name, order, path, up, whole(down) if down else None))
        except Misconfigured as error:
            here.faults.append(str(error))
    last = here.originals[-1].order if here.originals else (0, 0, 0)
    for number, (name, path) in enumerate(sorted(repeated), 1):
        here.notes.append(
            f"{path.name}: was run again by Flyway when it changed; from now on a change is a migration of its own"
        )
        here.originals.append(Original(f"R__{name}", name, (last[0], last[1] + number, 0), path, whole(path), None))
    return here


def version_of(text: str) -> tuple[int, ...]:
    """Return a Flyway version's parts; 1 and 1.0 are the same."""
    parts = [int(part) for part in re.split(r"[._]", text) if part]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def packed(version: tuple[int, ...], path: Path) -> stamps.Order:
    """Return a version with points as one number of 14 digits; raises `Misconfigured` for one that does not fit."""
    if len(version) > len(PARTS) or any(part >= 10**width for part, width in zip(version, PARTS, strict=False)):
        raise Misconfigured(f"{display(path)}:1: its version does not fit into 14 digits: give it a shorter one")
    padded = [*version, *[0] * (len(PARTS) - len(version))]
    return 0, int("".join(f"{part:0{width}}" for part, width in zip(padded, PARTS, strict=True))), 0


def placeholders(path: Path) -> list[str]:
    """Return where Flyway would fill in a value."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [
        f"{display(path)}:{text.count(chr(10), 0, found.start()) + 1}: Flyway fills in {found[0]} when it runs: write its value"
        for found in _PLACEHOLDER.finditer(text)
    ]


def goose(paths: Iterable[Path]) -> Collection:
    """Read goose's files, which mark their parts by `-- +goose Up` and `-- +goose Down`."""
    here = Collection("goose")
    for path in paths:
        match = NUMBERED.fullmatch(path.name)
        if not match:
            continue
        try:
            up, down = goose_ways(path)
            here.originals.append(
                Original(str(int(match[1])), match[2], stamps.order(match[1]), path, up, down, digits=match[1])
            )
        except Misconfigured as error:
            here.faults.append(str(error))
    check_order(here)
    return here


def goose_ways(path: Path) -> tuple[Way, Way | None]:
    """Cut one of goose's files at its markers; lines keep their numbers."""
    lines: dict[str, list[str]] = {"up": [], "down": []}
    now = ""
    for number, line in enumerate(decoded(path).split("\n"), 1):
        mark = _GOOSE.fullmatch(line)
        word = mark[1].lower() if mark else ""
        if mark and word not in ("up", "down", "statementbegin", "statementend", "no transaction"):
            raise Misconfigured(
                f"{display(path)}:{number}: +goose {mark[1]} has no like here: write out what it stands for"
            )
        now = word if word in lines else now
        for direction, text in lines.items():
            text.append(line if direction == now and not mark else "")
    down = "\n".join(lines["down"])
    return Way("\n".join(lines["up"]), path), Way(down, path) if down.strip() else None


def tool_of(path: Path) -> str:
    """Return which tool's an SQL file with a number in its name is, by its markers."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if DBMATE_UP.search(text):
        return "dbmate"
    return "goose" if _GOOSE_UP.search(text) else "numbered"
