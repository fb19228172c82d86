"""From a folder of another tool's migrations to files in dbmate's format: read, checked, written where nothing stands yet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from config.paths import make_folders
from config.section import refuse
from ops.db.migrations import files, new
from ops.db.migrations.importing import modules, pairs, printed, stamps, structure
from ops.db.migrations.importing.originals import Collection, Original, Part, Way, converted, decoded
from ops.db.sql_file.script import display
from ops.errors import Misconfigured, Refused

KNOWN = "Python modules with migrate_sql, a structure.sql of Rails, alembic's printed SQL, files of golang-migrate, Flyway, goose, sqlx or dbmate"
_FROM = re.compile(rb"\A(?:\xef\xbb\xbf)?-- from ([^\r\n]+)")
_DIGITS = re.compile(r"(\d+)[_-]*(.*)\.py")
_DJANGO = re.compile(r"^\s*class Migration\(.*Migration\)\s*:", re.MULTILINE)
_ALEMBIC = re.compile(r"\bdown_revision\b")
LONGEST = 100
"""Characters of a file's name that are kept behind its stamp."""


@dataclass(frozen=True)
class File:
    """A migration in dbmate's format, made of an original."""

    version: str
    name: str
    """Of the file, in paths.migrations."""
    original: Original
    text: str = field(repr=False)
    part: int = 1
    """Which file of those that the original becomes."""
    there: Path | None = None
    """The file that was made of it before."""


@dataclass
class Plan:
    """What an import would do with the files."""

    collection: Collection
    folder: Path
    """Where they go."""
    files: list[File] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def new(self) -> list[File]:
        """Those that are not there yet."""
        return [each for each in self.files if not each.there]


def collect(given: str) -> Collection:
    """Read the migrations in a folder, whichever tool's they are; raises `Misconfigured` where there are none, or of two."""
    root = Path(given).expanduser()
    if root.is_file() and root.name.endswith(".sql"):
        return structure.read(root)
    if not root.is_dir():
        raise Misconfigured(f"{given}: no such folder: name the one that holds the migrations")
    groups = grouped(root)
    if len(groups) > 1:
        names = ", ".join(f"{tool} ({min(paths).name})" for tool, paths in sorted(groups.items()))
        raise Misconfigured(f"{given}: holds migrations of {len(groups)} kinds, {names}: give a folder for each")
    for tool, paths in groups.items():
        return read(tool, sorted(paths))
    raise Misconfigured(f"{given}: {why_none(root)}")


def grouped(root: Path) -> dict[str, list[Path]]:
    """Return the migrations in a folder by the kind that their names and first words tell."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and (tool := kind_of(path, nested=path.parent != root)):
            groups.setdefault(tool, []).append(path)
    return groups


def kind_of(path: Path, *, nested: bool) -> str:
    """Return which kind of migration a file is, or nothing. Only Flyway looks into folders of its folder."""
    name = path.name
    if name.endswith(".sql") and (pairs.FLYWAY.fullmatch(name) or pairs.FLYWAY_OTHER.fullmatch(name)):
        return "flyway"
    if nested:
        return ""
    if name.endswith(".py"):
        is_run = _DIGITS.fullmatch(name) and not foreign(path.read_text(encoding="utf-8", errors="replace"))
        return "modules" if is_run else ""
    if not name.endswith(".sql"):
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    if structure.VERSIONS.search(text) or name == "structure.sql":
        return "rails"
    if printed.HEAD.search(text):
        return "alembic"
    return pairs.tool_of(path) if pairs.NUMBERED.fullmatch(name) else ""


def foreign(text: str) -> str:
    """Return what to do about a Python module that is alembic's or Django's own."""
    if _ALEMBIC.search(text):
        return printed.MADE_BY
    return pairs.MADE_BY if _DJANGO.search(text) else ""


def why_none(root: Path) -> str:
    """Return what to do about a folder without migrations that can be read."""
    if any(root.glob("*.rb")) or any(root.glob("migrate/*.rb")):
        return structure.MADE_BY
    for path in sorted([*root.glob("*.py"), *root.glob("versions/*.py")]):
        if advice := foreign(path.read_text(encoding="utf-8", errors="replace")):
            return advice
    return f"holds no migrations of a known kind ({KNOWN})"


def read(tool: str, paths: Sequence[Path]) -> Collection:
    """Read the files of one kind."""
    match tool:
        case "modules":
            return of_modules(paths)
        case "rails":
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                raise Misconfigured(
                    f"{display(paths[0].parent)}: each of {names} is a database of its own: name one of the files"
                )
            return structure.read(paths[0])
        case "alembic":
            return printed.read(paths)
        case "flyway":
            return pairs.flyway(paths)
        case "goose":
            return pairs.goose(paths)
        case "dbmate":
            return of_dbmate(paths)
    return pairs.numbered(paths)


def of_modules(paths: Sequence[Path]) -> Collection:
    """Read Python modules; the stamp is what their names begin with."""
    here = Collection("modules")
    for path in paths:
        match = _DIGITS.fullmatch(path.name)
        assert match is not None
        try:
            found = modules.read(path)
            if not found:
                raise Misconfigured(f"{display(path)}:1: has no {modules.UP}: give it one, or take the file out")
            order = stamps.order(match[1])
        except Misconfigured as error:
            here.faults.append(str(error))
            continue
        here.originals.append(Original(match[1], match[2], order, path, *found, digits=match[1]))
    return here


def of_dbmate(paths: Sequence[Path]) -> Collection:
    """Read files that are in dbmate's format already: they keep their names and every byte."""
    here = Collection("dbmate")
    for path in paths:
        try:
            made = files.read(path)
            here.originals.append(Original(made.version, made.name, (0, 0, 0), path, Way(decoded(path), path), None))
        except Misconfigured as error:
            here.faults.append(str(error))
    return here


def plan(given: str, folder: Path) -> Plan:
    """Return what an import would write into `folder`; raises `Misconfigured` for all that cannot be converted."""
    here = collect(given)
    if here.tool != "dbmate" and Path(given).expanduser().resolve() == folder.resolve():
        raise Misconfigured(
            f"{given} is paths.migrations, where the new files go: move what is in it, or set another folder there"
        )
    here.originals.sort(key=lambda each: each.order)
    found = Plan(here, folder, notes=here.notes)
    if here.tool == "dbmate":
        found.files = [File(each.key, each.path.name, each, each.up.sql) for each in here.originals]
    else:
        found.files = numbered(here, made_before(folder))
    settle(found)
    refuse(given, here.faults)
    return found


def numbered(here: Collection, before: dict[str, files.File]) -> list[File]:
    """Return the files that originals become, each with its stamp; one that was made `before` keeps its own."""
    made = [
        File("", plain(each.name if part == 1 else f"{each.name}_{part}"), each, text, part)
        for each in here.originals
        for part, text in enumerate(written(each, here), 1)
    ]
    known = [before.get(source(each.original, each.part)) for each in made]
    versions = [each.version if each else "" for each in known]
    if here.whole:  # its tool goes on by this number
        versions = [each.original.digits for each in made]
    orders = [each.original.order for each in made]
    if here.tool == "alembic" and any(versions):  # by its place: what was imported before never builds on what is new
        last = max(stamps.order(version)[1] for version in versions if version)
        orders = [(kind, last + place, 0) for place, (kind, _, _) in enumerate(orders, 1)]
    return [
        replace(each, version=version, name=f"{version}_{each.name}.sql", there=old.path if old else None)
        for each, version, old in zip(made, stamps.assign(orders, versions), known, strict=True)
    ]


def written(original: Original, here: Collection) -> list[str]:
    """Return an original in dbmate's format, in as many files as it needs; none where there is nothing to do, or something is wrong."""
    faults: list[str] = []
    ways: list[list[Part]] = []
    for way, direction in ((original.up, "up"), (original.down, "down")):
        try:
            ways.append(converted(way, direction) if way else [])
        except Misconfigured as error:
            faults.append(str(error))
    here.faults += faults
    if faults:
        return []
    ups, downs = ways
    if not ups:
        here.notes.append(f"{source(original)}: has nothing to do on its way up, so it is left out")
    elif not downs and not here.whole:
        here.notes.append(f"{source(original)}: has no way back: write one below -- migrate:down")
    if ups and downs and [each.transaction for each in ups] != [each.transaction for each in reversed(downs)]:
        way = original.down or original.up
        here.faults.append(
            f"{display(way.path)}:{way.line}: what cannot run in a transaction (CONCURRENTLY) stands beside other statements, and the way "
            "back has not the same steps: give each of them a migration of its own"
        )
        return []
    nothing = Part("", transaction=True)
    return [
        f"-- from {source(original, part)}\n{section('up', up)}\n{section('down', down)}".rstrip("\n") + "\n"
        for part, (up, down) in enumerate(zip_longest(ups, reversed(downs), fillvalue=nothing), 1)
        if ups
    ]


def section(direction: str, part: Part) -> str:
    """Return a marker and what stands below it."""
    return f"-- migrate:{direction}{'' if part.transaction else ' transaction:false'}\n{part.sql}\n"


def source(original: Original, part: int = 1) -> str:
    """Return the name by which an original is known again in a file that was made of it."""
    return (original.origin or original.path.name) + (f" ({part})" if part > 1 else "")


def plain(name: str) -> str:
    """Return a name as it may stand in that of a file, on any system."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())[:LONGEST].strip("_") or "migration"


def made_before(folder: Path) -> dict[str, files.File]:
    """Return the files of a folder that an import has made, by their originals."""
    found = {}
    for each in files.find(folder) if folder.exists() else ():
        with each.path.open("rb") as file:
            if match := _FROM.match(file.read(1024)):
                found[match[1].decode(errors="replace")] = each
    return found


def settle(found: Plan) -> None:
    """See which files are there already, and name those whose place another has."""
    here = found.collection
    standing = files.find(found.folder) if found.folder.exists() else []
    by_version = {each.version: each.path for each in standing}
    for at, each in enumerate(found.files):
        path = each.there or by_version.get(each.version)
        if path is None:
            continue
        if not each.there and path.name != each.name:
            here.faults.append(
                f"{display(each.original.path)}:1: would have the stamp of {display(path)}: give one of them another"
            )
            continue
        found.files[at] = replace(each, there=path)
        if path.read_bytes().replace(b"\r\n", b"\n") != each.text.encode().replace(b"\r\n", b"\n"):
            here.notes.append(
                f"{display(path)}: is not as it was made of {source(each.original, each.part)}: it stays as it is"
            )


def write(found: Plan) -> list[Path]:
    """Write the files that are not there yet, none over another; cut off anywhere, the next run goes on."""
    make_folders(found.folder)
    paths = []
    for each in found.new:
        path = found.folder / each.name
        if not new.write(path, each.text.encode()):
            raise Refused(f"{display(path)} has just been made by another run: run this again")
        paths.append(path)
    return paths
