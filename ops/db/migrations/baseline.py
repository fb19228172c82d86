"""One history with db.setup: which migrations a schema file holds already, and what is applied behind it.

A file says so itself: by rows of `schema_migrations`, as dbmate's and ours do, or by a line of its own at its top,
`-- migrations up to 20261129120000` (0: none). Of one that says nothing nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import postgres
from ops.console import say
from ops.db import load
from ops.db.migrations import files, history, steps
from ops.db.migrations.files import Migration
from ops.db.migrations.steps import Act
from ops.db.sql_file.script import Script, display
from ops.errors import Misconfigured
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

_SAYS = re.compile(rb"^-- *migrations up to (\d+)\s*$", re.MULTILINE | re.IGNORECASE)
_RECORDS = re.compile(
    rb"^insert into (?:(\"(?:[^\"]|\"\")+\"|\S+)\.)?\"?schema_migrations\b", re.MULTILINE | re.IGNORECASE
)
ROWS = "select version from {}.schema_migrations"
TOP = 4096
"""Bytes of a schema file in which its line is looked for."""


@dataclass(frozen=True)
class Baseline:
    """What is applied to a new database behind its schema."""

    migrations: list[Migration]
    """All of the folder, read and checked."""
    upto: str | None
    """The last one that the schema file says that it holds; None where its rows tell."""
    rows_in: str = ""
    """The schema of these rows, as SQL has it, which may not be the first of the search path here; empty: no other."""

    def bring_up(self, at: OpenTarget, conn: Connection[DictRow]) -> None:
        """Record what the schema holds, and apply the rest; raises what the first that fails does."""
        conn.execute("reset all; reset session authorization; reset role")
        known = history.read(conn)
        history.prepare(conn, known)
        by = postgres.whoami()
        have = {each.version for each in known.applied}
        if self.rows_in:
            have |= {row["version"] for row in conn.execute(ROWS.format(self.rows_in).encode())}
        if self.upto is not None:
            have |= {each.version for each in self.migrations if each.version <= self.upto}
        held = [each for each in self.migrations if each.version in have]
        if held:
            conn.execute(history.note_known(known, held, by))
        known = history.read(conn)
        for each in self.migrations:
            if not known.find(each.version):
                act = Act("up", each.version, each.shown, each.up, files.script(each.up, each.shown), each)
                steps.take(at, conn, known, act, None)


def of(settings: Settings, schema: Script | None, *, rebuilds: str, silent: str) -> Baseline | None:
    """Return what is to be done behind a schema file, None for one that does not say what it holds; no schema: all of the folder.

    `rebuilds` is the name of the database that is built anew, as for `load.plan`; `silent` is what becomes of the migrations
    where the file does not say it, for the user. Raises `Misconfigured` for files that are wrong.
    """
    if not settings.migrations.is_dir() or not (found := files.find(settings.migrations)):
        return None
    upto: str | None = "" if schema is None else None
    rows_in = ""
    if schema is not None:
        says = _SAYS.search(schema.data[:TOP])
        upto = says[1].decode() if says else None
        if says and upto != "0" and upto not in [each.version for each in found]:
            raise Misconfigured(
                f"{schema.at(says.start())}: migrations up to {upto}: {display(settings.migrations)} has no such version: "
                f"write the last one that the file holds (0: none of them), as {found[-1].version}"
            )
        records = None if says else _RECORDS.search(schema.data[: len(schema.data)])
        rows_in = (records[1] or b"").decode() if records else ""
        if not says and not records:
            say(
                f"note: {schema.name} does not say which of the {len(found)} migrations it holds, so {silent}; "
                f"if it holds them, write at its top: -- migrations up to {found[-1].version}"
            )
            return None
    read = files.read_all(found, display(settings.migrations))
    for each in read:
        if each.up.transaction:
            load.plan(files.script(each.up, each.shown), {}, rebuilds=rebuilds)
    return Baseline(read, upto, rows_in)
