"""What the repository says of a database: the schema file, and the migrations that it does not hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from config.settings import Settings
from ops.console import few, harmless, say
from ops.db import build
from ops.db.drift import schema_file, scratch
from ops.db.drift.compare import Difference
from ops.db.migrations import baseline, files, history, objects
from ops.db.migrations.baseline import Baseline
from ops.db.migrations.files import Migration
from ops.db.sql_file.script import display
from ops.errors import Problem, Refused
from ops.targets.open_target import OpenTarget


def content(settings: Settings, variables: Mapping[str, str]) -> tuple[scratch.Content, str]:
    """Return what the repository says, and how it is called; raises `Misconfigured` for a file that is wrong or not there."""
    first = None if build.by_migrations(settings, "") else build.script("", settings.schema)
    behind = baseline.of(settings, first, rebuilds=settings.database, silent="all are taken to come behind it")
    name = first.name if first else display(settings.migrations)
    if (
        behind is None
    ):  # all that there are come behind a file that does not say what it holds, as in db.setup and db.migrate
        every = all_of(settings)
        if not every.migrations:
            return scratch.Content(first, variables), name
        behind = replace(every, upto="0")
    told = f"{behind.upto} {' '.join(each.digest for each in behind.migrations)}"
    return scratch.Content(first, variables, behind.bring_up, told, before_all=behind.upto == "0"), name


def all_of(settings: Settings) -> Baseline:
    """Return all migrations, to be applied to an empty database; none where there is no folder."""
    found = files.find(settings.migrations) if settings.migrations.is_dir() else []
    return Baseline(files.read_all(found, display(settings.migrations)), "")


def check_schema_file(settings: Settings) -> list[Difference]:
    """Return where the schema file (left) is not what the migrations make (right), by object; none where there is no such file.

    One that does not say that it holds any is what they begin with. Of another, whoever made it, a part may be: that is
    said, and is no difference. Where they do not build a database without it, nothing is compared, and that is said.
    Raises `Problem` where a file that we made does not load.
    """
    if not settings.schema.exists():
        return []
    says, name = content(settings, {})
    if says.before_all:
        return []
    every = all_of(settings)

    def apply(empty: OpenTarget) -> None:
        with empty.connect() as conn:
            every.bring_up(empty, conn)

    try:
        held = schema_file.against_migrations(settings, says, apply, gone(every))
    except Problem as error:
        if schema_file.is_generated(settings.schema):
            raise
        say(f"note: {name} is not compared with the migrations: {error.args[0]}")
        return []
    if held.unbuilt:
        say(f"note: {name} is not compared, since the migrations alone build no database: {held.unbuilt}")
    if held.base:
        first = few([f"{each.kind} {harmless(each.name)}" for each in held.base])
        say(f"note: only in {name}, as what the migrations begin with: {first}")
    return held.differing


TAKES_AWAY = re.compile(r"\b(drop|rename|set\s+schema)\b", re.IGNORECASE)
STRINGS = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'", re.DOTALL)
"""What is no name: the body of a function may tell of tables that are only there later."""


def gone(every: Baseline) -> set[str]:
    """Return the names in all that migrations drop and rename."""
    found: set[str] = set()
    for each in every.migrations:
        for text in texts(each):
            if TAKES_AWAY.search(text):
                found |= objects.words(text)
    return found


def update_schema_file(at: OpenTarget, *, force: bool) -> None:
    """Write the schema file anew from a database whose migrations have just changed.

    Only where we made that file, and the database is the one that is worked with here, not production; `force` says
    that it is to be written all the same.
    """
    path = at.settings.schema
    ours = not at.prod and at.target.name == at.settings.target and schema_file.is_generated(path)
    if not force and not ours:
        return
    theirs = path.exists() and not schema_file.is_generated(path)
    kept = schema_file.keep(path) if theirs else None
    try:
        written = schema_file.write(at, path, force=force)
    except BaseException:
        if kept:
            kept.unlink()
        raise
    if kept:
        say(f"{display(path)}, which no task had made, was written over: as it was, it is {display(kept)}")
    if written:
        with at.connect() as conn:  # it is as if built from the file as it is now
            at.remember(there=True, built=True, applied=[each.version for each in history.read(conn).applied])
        say(f"{display(path)} is what the migrations make")
    if force and (names := with_rows(at)):
        say(
            f"note: {display(path)} holds no rows, so what these do to rows is not in a database that is built of it: "
            f"{few(names, 10)}: write such rows into {display(at.settings.seed)}, too"
        )


def refuse_to_write(at: OpenTarget) -> None:
    """Raise `Refused` where the schema file would become production's, and somebody wrote it."""
    path = at.settings.schema
    if at.prod and path.exists() and not schema_file.is_generated(path):
        raise Refused(
            f"--write-schema: {display(path)} is not made by a task, and {at.target.name} is production: "
            f"write it from another target, or move the file away"
        )


WRITES_ROWS = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|COPY)\b|WITH\b.*\b(INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE | re.DOTALL
)


def with_rows(at: OpenTarget) -> list[str]:
    """Return the files of the migrations that a database has which write rows: by their statements, not by the functions that they make."""
    with at.connect() as conn:
        have = {each.version for each in history.applied(conn)}
    found = [each for each in all_of(at.settings).migrations if each.version in have]
    return [each.path.name for each in found if any(WRITES_ROWS.match(text) for text in texts(each))]


def texts(migration: Migration) -> list[str]:
    """Return the statements of an up part, without their strings."""
    every = files.statements(files.script(migration.up, migration.shown))
    return [STRINGS.sub("''", each.data[: len(each.data)].decode(errors="replace")).lstrip() for each in every]
