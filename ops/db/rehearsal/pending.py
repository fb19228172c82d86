"""The migrations that a target lacks, as a rehearsal runs them: statement by statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.settings import Settings
from ops.db.migrations import files, history, standing
from ops.db.rehearsal.trial import Trial
from ops.db.rehearsal.work import Part, Statement
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


def trials(settings: Settings, conn: Connection[DictRow]) -> list[Trial]:
    """Return what is pending on the database of `conn`, in its order; raises `Misconfigured` for a file that is wrong."""
    found = standing.stand(files.find(settings.migrations), history.read(conn)).pending
    return [trial(each) for each in files.read_all(found, str(settings.migrations))]


def trial(migration: files.Migration) -> Trial:
    """Return a migration as a rehearsal runs it."""
    down = part(migration.down, migration.shown) if migration.down else None
    return Trial(migration.version, migration.name, part(migration.up, migration.shown), down, migration.digest)


def part(section: files.Section, shown: str) -> Part:
    """Return the statements of a section, each with its line."""
    script, found = files.script(section, shown), []
    if by_psql := files.first_of_psql(script):
        raise Misconfigured(
            f"{script.at(by_psql.start)}: only psql runs this, and a rehearsal sends SQL: write it as that"
        )
    for each in files.statements(script):
        text = bytes(each.data[:]).decode(errors="surrogateescape")
        sql = text.lstrip()
        found.append(Statement(sql, text[: len(text) - len(sql)].count("\n") + 1))
    return Part(tuple(found), section.transaction)
