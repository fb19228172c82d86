"""db.restore: a database from a dump, built beside the live one and swapped in; or one table of it, beside the live one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from config.settings import Settings
from ops import postgres
from ops.console import as_json, few, result, say
from ops.db import status, swap, table_rows
from ops.db.copies import archive, dump, formats, one_table, plain
from ops.db.copies.formats import Format
from ops.db.copies.roles import Roles
from ops.errors import Misconfigured
from ops.targets import bound, identity, opening, production_guard
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection
    from psycopg.rows import DictRow


OWN = "select oid::bigint as oid from pg_catalog.pg_database where datname = pg_catalog.current_database()"


COUNTED = 100 << 20
"""Bytes of all tables up to which their rows are counted."""


class Source(Protocol):
    """A dump that can be loaded."""

    format: Format

    def look(self, at: OpenTarget) -> Roles:
        """Check it against the server; return the roles that it names."""

    def fill(self, conn: Connection[DictRow]) -> None:
        """Load all of it into the database of `conn`."""

    def fill_schema(self, conn: Connection[DictRow]) -> None:
        """Load what comes before the rows."""

    def fill_tables(self, conn: Connection[DictRow], tables: Sequence[tuple[str, str]]) -> None:
        """Load the rows of some tables, by schema and name."""


@dataclass(frozen=True)
class Restored:
    """A database that was restored, or one table of it; null is what belongs to the other of both."""

    target: str
    """As it is given to --target."""
    database: str
    """Its name."""
    file: str
    """As it was given."""
    form: formats.Kind
    """What it is: SQL, or one of pg_dump's archives."""
    tables: int | None
    """How many the database has now."""
    previous_database: str | None
    """What db.undo brings back; null also where there was none."""
    missing_roles: list[str]
    """Those that the dump names, and the server lacks: the database's owner stands in for them."""
    restored_table: str | None
    """What --table has made, beside the live one."""
    rows: int | None
    """How many it has."""
    merge_sql: str | None
    """Statements that bring them into the live table, to choose from."""
    took_seconds: float
    """From the start of the task."""


def restore(
    settings: Settings,
    target: str,
    file: str,
    table: str,
    jobs: str,
    confirm: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Build the database from a dump beside the live one and swap it in; with `table`, bring that one back beside the live one."""
    if dry_run and json:
        raise Misconfigured("give one of --dry-run, --json")
    begun, sessions = time.monotonic(), number_of(jobs)
    source = open_source(file, sessions)
    with opening.open_target(settings, target, "db.restore", writes=True) as at:
        swap.check_name(at)
        found = source.look(at)
        if table:
            at.required()
            if dry_run:
                say(
                    f"would build {at.name}{identity.NEXT} from {file}, {source.format.words}, and take {table} from it; nothing was done"
                )
                return
            production_guard.confirm(at, "restore", confirm)
            back = one_table.bring_back(at, source, table, file)
            if json:
                answer(at, source, file, begun, restored_table=back.name, rows=back.rows, merge_sql=back.merge_sql)
            else:
                result(back.merge_sql)
            return
        for line in found.told():
            say(f"note: {line}")
        if dry_run:
            tell_plan(at, source, file)
            return
        production_guard.confirm(at, bound.RESTORE, confirm)
        if at.prod:
            dump_first(at)

        def content(conn: Connection[DictRow]) -> list[table_rows.Table]:
            at.work.built = postgres.row(conn, OWN)["oid"]
            source.fill(conn)
            return tables_of(conn)

        before = names_of(at)
        built = swap.exchange(at, content, act=bound.RESTORE, force=force)
        say(f"restored {at.name} from {file} in {time.monotonic() - begun:.1f} s")
        say(f"tables: {summary(built.tables)}")
        if lacking := sorted(before - {table.name for table in built.tables}):
            say(f"note: not in the dump, and in {at.name}{identity.PREV} only: {few(lacking, 10)}")
        if built.kept:
            say(f"the previous one is kept as {at.name}{identity.PREV}: inv db.undo swaps back")
        if json:
            kept = f"{at.name}{identity.PREV}" if built.kept else None
            roles = sorted(found.missing)
            answer(at, source, file, begun, tables=len(built.tables), previous_database=kept, missing_roles=roles)


def answer(
    at: OpenTarget,
    source: Source,
    file: str,
    begun: float,
    *,
    tables: int | None = None,
    previous_database: str | None = None,
    missing_roles: Sequence[str] = (),
    restored_table: str | None = None,
    rows: int | None = None,
    merge_sql: str | None = None,
) -> None:
    """Print what was done as JSON."""
    as_json(
        Restored(
            target=at.target.name,
            database=at.name,
            file=file,
            form=source.format.kind,
            tables=tables,
            previous_database=previous_database,
            missing_roles=list(missing_roles),
            restored_table=restored_table,
            rows=rows,
            merge_sql=merge_sql,
            took_seconds=round(time.monotonic() - begun, 3),
        )
    )


def tables_of(conn: Connection[DictRow]) -> list[table_rows.Table]:
    """Return the tables; their rows are counted where that takes no time."""
    rows = postgres.fetch(conn, table_rows.TABLES)
    if sum(row["bytes"] for row in rows) <= COUNTED:
        return table_rows.tables(conn)
    return [table_rows.Table(row["name"], None, False, row["bytes"]) for row in rows]


def summary(tables: Sequence[table_rows.Table]) -> str:
    """Return tables on one line: with their rows, or how many and how large."""
    if all(table.rows is None for table in tables):
        return f"{len(tables)}, {status.human(sum(table.size_bytes for table in tables))}"
    return table_rows.summary(tables)


def names_of(at: OpenTarget) -> set[str]:
    """Return the tables of the live database; none where that is not there, or takes no connections."""
    live = at.database()
    if live is None or bound.is_closed(live):
        return set()
    with at.connect() as conn:
        return {row["name"] for row in postgres.fetch(conn, table_rows.TABLES)}


def open_source(file: str, jobs: int = 1) -> Source:
    """Return what a file is, ready to be checked against a server; raises `Misconfigured` for what is no dump, or no whole one."""
    try:
        path = Path.cwd() / Path(file).expanduser()
    except RuntimeError:
        raise Misconfigured(f"{file}: there is no such user whose home that would be: write the path out") from None
    found = formats.recognise(path, file)
    if found.kind == "plain":
        return plain.Plain(formats.open_script(path, found, file), found)
    return archive.Archive(path, found, file, jobs)


def number_of(jobs: str) -> int:
    """Return how many sessions load at once; raises `Misconfigured`."""
    if not jobs:
        return archive.default_jobs()
    if not (jobs.isascii() and jobs.isdigit() and 1 <= int(jobs) <= 64):
        raise Misconfigured(f"--jobs {jobs}: give a number of sessions, 1 to 64")
    return int(jobs)


def tell_plan(at: OpenTarget, source: Source, file: str) -> None:
    """Say what a restore would do."""
    say(f"would build {at.name}{identity.NEXT} from {file}, {source.format.words}, and swap it in; nothing was done")
    if at.prod:
        say("a dump of what is there would be made first")
    if at.database():
        say(f"{at.name} would be kept as {at.name}{identity.PREV}")
    if at.database() and at.database(identity.PREV):
        say(f"{at.name}{identity.PREV}, kept from the run before, would go for good")


def dump_first(at: OpenTarget) -> None:
    """Dump what is there before a protected database is replaced, into .local; raises `Problem` where it cannot be dumped."""
    if at.database():
        made = dump.dump(at, dump.new_place(at, "custom"), dump.How("custom"))
        say(f"what is there was dumped into {made.file}, {status.human(made.size_bytes)}")
