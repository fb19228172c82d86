"""Where a repository keeps its SQL: by what its files hold, and by the names that people give them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.db.sql_file.scan import scan

READ = 1 << 20
"""Bytes of a file that are looked at: a dump says early what it is."""
_TABLE = re.compile(rb"create\s+(?:(?:global|local|temp|temporary|unlogged)\s+)*table\b", re.IGNORECASE)
_ROWS = re.compile(rb"(?:insert\s+into|copy)\b", re.IGNORECASE)
_TEMPLATE = re.compile(rb"%\(\w+\)s|%s")
"""A parameter of the application's: its queries lie beside schema and seed, and some insert."""
_SCHEMA = (r"schema", r".*schema.*|structure|ddl|tables|create[-_]tables|init|database|db")
_SEED = (r"seeds?", r".*seed.*|fixtures?|sample[-_]?data|mock[-_]?data|data|populate|inserts?")
"""Names without their ending, the usual one first."""
_USUAL = (
    "backend-flask/db",
    "backend-flask/queries",
    "backend-flask/bin/rds/sql",
    "backend/db",
    "db",
    "database",
    "sql",
)
_MIGRATIONS = re.compile(r"migrations?|migrate", re.IGNORECASE)


@dataclass(frozen=True)
class Sql:
    """An SQL file of theirs, relative to their repository."""

    path: Path
    makes_tables: bool
    adds_rows: bool
    is_template: bool


@dataclass(frozen=True)
class Found:
    """The files that look most like schema and seed, the likeliest first, and the folders of migrations."""

    schemas: Sequence[Path]
    seeds: Sequence[Path]
    migrations: Sequence[Path]


def discover(root: Path, leave_out: Iterable[Path] = ()) -> Found:
    """Look through a repository, but for what is hidden, installed, or in one of the folders to leave out."""
    files: list[Sql] = []
    migrations: list[Path] = []
    for folder, names in walk(root, {path.resolve() for path in leave_out}):
        here = folder.relative_to(root)
        if _MIGRATIONS.fullmatch(folder.name):
            if any(name.endswith((".py", ".sql")) and name != "__init__.py" for name in names):
                migrations.append(here)
            continue
        files += [look(root, here / name) for name in names if name.lower().endswith(".sql")]
    schemas = sorted(
        (file for file in files if named(file, _SCHEMA) < len(_SCHEMA) or file.makes_tables),
        key=lambda file: (named(file, _SCHEMA), not file.makes_tables, *place(file)),
    )
    home = schemas[0].path.parent if schemas else None
    seeds = sorted(
        (
            file
            for file in files
            if file not in schemas[:1]
            and not (file.is_template or file.makes_tables)
            and (named(file, _SEED) < len(_SEED) or file.adds_rows)
        ),
        key=lambda file: (named(file, _SEED), file.path.parent != home, not file.adds_rows, *place(file)),
    )
    return Found([file.path for file in schemas], [file.path for file in seeds], migrations)


def walk(root: Path, leave_out: set[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder that may hold something of theirs, with the names of its files; links are not followed."""
    for name, folders, names in os.walk(root):
        folder = Path(name)
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".")
            and each not in ("node_modules", "site-packages", "__pycache__")
            and not (folder / each / "pyvenv.cfg").exists()
            and (folder / each).resolve() not in leave_out
        )
        yield folder, sorted(names)


def look(root: Path, path: Path) -> Sql:
    """Return what a file holds; one that cannot be read holds nothing."""
    try:
        with (root / path).open("rb") as file:
            data = file.read(READ)
    except OSError:
        data = b""
    at = scan(data).statements
    return Sql(
        path,
        makes_tables=any(_TABLE.match(data, start) for start in at),
        adds_rows=any(_ROWS.match(data, start) for start in at),
        is_template=_TEMPLATE.search(data) is not None,
    )


def named(file: Sql, names: Sequence[str]) -> int:
    """Return how usual a file's name is: 0 is the usual one, the number of names says that it is none of them."""
    for rank, pattern in enumerate(names):
        if re.fullmatch(pattern, file.path.stem, re.IGNORECASE):
            return rank
    return len(names)


def place(file: Sql) -> tuple[int, int, str]:
    """Return how usual a file's folder is, how deep it lies, and its path."""
    folder = file.path.parent.as_posix()
    usual = _USUAL.index(folder) if folder in _USUAL else len(_USUAL)
    return usual, len(file.path.parts), file.path.as_posix()
