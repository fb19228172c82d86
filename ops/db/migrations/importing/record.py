"""db.migration-import: the files written, and what has run on a target recorded in its `schema_migrations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from config.settings import Settings
from ops import postgres
from ops.console import say
from ops.db import lock
from ops.db.migrations import files, history, patience
from ops.db.migrations.importing import books, convert
from ops.db.sql_file.script import display
from ops.targets import open_target, opening, production_guard

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

SHOWN = 20
"""How many files are named as they are written."""


class Said(NamedTuple):
    """What a person knows better than the old table."""

    ran: Sequence[str] = ()
    pending: Sequence[str] = ()


NOTHING = Said()


def run(
    settings: Settings,
    given: str,
    target: str = "",
    confirm: str = "",
    said: Said = NOTHING,
    *,
    dry_run: bool = False,
    end_idle: bool = False,
) -> None:
    """Convert a folder; with a target, also record there what has run. Raises `Misconfigured` before anything is written."""
    plan = convert.plan(given, settings.migrations)
    for note in plan.notes:
        say(f"note: {note}")
    if not target:
        write(plan, dry_run=dry_run)
        if not dry_run:
            say(
                f"where it has run before: inv db.migration-import {given} -t TARGET records that; elsewhere inv db.migrate runs all of it"
            )
        return
    with opening.open_target(settings, target, "db.migration-import", writes=not dry_run) as at:
        at.required()
        with at.connect() as conn:
            standing = standing_of(conn, plan, said)
            versions = new_in(conn, plan, standing)
            aside = is_in_the_place_of_ours(conn, plan, standing)
        tell(at, plan, standing, versions, aside=aside)
        if dry_run:
            write(plan, dry_run=True)
            return
        if versions or aside:
            production_guard.confirm(at, "migration-import", confirm)
        write(plan, dry_run=False)
        if versions or aside:
            record(at, plan, said, patience.limits(at, end_idle=end_idle))


def write(plan: convert.Plan, *, dry_run: bool) -> None:
    """Write the new files, or only say which."""
    new, there = plan.new, len(plan.files) - len(plan.new)
    if dry_run:
        for each in new:
            say(f"would write {display(plan.folder / each.name)} of {convert.source(each.original, each.part)}")
    else:
        paths = convert.write(plan)
        for path in paths[:SHOWN]:
            say(f"wrote {display(path)}")
        if paths[SHOWN:]:
            say(f"wrote {len(paths) - SHOWN} more")
    done = f"{counted(len(new), 'file')} {'to be written to' if dry_run else 'written to'} {display(plan.folder)}"
    say(f"{done}, {there} there already" if there else done)


def counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def standing_of(conn: Connection[DictRow], plan: convert.Plan, said: Said) -> books.Standing:
    """Return what has run in a session's database, by its old table and by what was said."""
    found = books.read(conn, plan.collection)
    books.decided(found, plan.collection.originals, said.ran, said.pending)
    return found


def new_in(conn: Connection[DictRow], plan: convert.Plan, standing: books.Standing) -> list[str]:
    """Return the versions to be recorded: what has run and is in neither of our tables.

    What was recorded once and taken back since stays so, however often the import is repeated.
    """
    known = set() if is_in_the_place_of_ours(conn, plan, standing) else set(known_in(conn))
    return [each.version for each in plan.files if each.original.key in standing.ran and each.version not in known]


def is_in_the_place_of_ours(conn: Connection[DictRow], plan: convert.Plan, standing: books.Standing) -> bool:
    """Whether golang-migrate's table stands where ours would be made."""
    if plan.collection.tool != "numbered" or standing.table != "schema_migrations":
        return False
    return bool(postgres.row(conn, "select coalesce(current_schema(), 'public') = %s as here", standing.schema)["here"])


def known_in(conn: Connection[DictRow]) -> list[str]:
    """Return the versions that our tables know, whatever has become of them."""
    found = history.read(conn)
    kept = postgres.fetch(conn, "select version from inv.migrations") if found.ready else []
    return [*(each.version for each in found.applied), *(row["version"] for row in kept)]


def tell(
    at: open_target.OpenTarget, plan: convert.Plan, standing: books.Standing, versions: Sequence[str], *, aside: bool
) -> None:
    """Say what an old table tells, and what would be done about it."""
    for note in standing.notes:
        say(f"note: {note}")
    has = [each for each in plan.files if each.original.key in standing.ran]
    last = f", the last {has[-1].name}" if has else ""
    say(f"{standing.schema}.{standing.table}: {len(has)} of {len(plan.files)} have run in {at.name}{last}")
    if not (versions or aside):
        say("all that has run is recorded: nothing to do in the database")
    if aside:
        say(
            f"golang-migrate's table has the name of ours, and becomes {books.SET_ASIDE}: "
            "a release that runs golang-migrate as it starts must not start any more"
        )


def record(at: open_target.OpenTarget, plan: convert.Plan, said: Said, limits: patience.Limits) -> None:
    """Record what has run, in one transaction, by what the old table says now."""
    from psycopg import sql

    def noted(conn: Connection[DictRow]) -> int:
        standing = standing_of(conn, plan, said)
        versions = new_in(conn, plan, standing)
        if is_in_the_place_of_ours(conn, plan, standing):
            old, new = sql.Identifier(standing.schema, standing.table), sql.Identifier(books.SET_ASIDE)
            conn.execute(sql.SQL("alter table {} rename to {}").format(old, new))
        history.prepare(conn, history.read(conn))
        made = [files.read(each.there or plan.folder / each.name) for each in plan.files if each.version in versions]
        if made:
            conn.execute(history.note_known(history.read(conn), made, postgres.whoami()))
        return len(made)

    with lock.hold_lock(at):
        production_guard.stamp(at)
        number = patience.run_patiently(at, noted, what="the history of migrations", limits=limits)
    say(f"recorded {counted(number, 'migration')} in {at.name}: inv db.migrations shows what is left")
