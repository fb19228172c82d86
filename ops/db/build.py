"""db.setup, db.schema-load and db.seed: from files to a filled database."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from config import sign_up
from config.settings import Settings
from ops.console import say
from ops.db import load, lock, rights, seed, swap, table_rows
from ops.db.roles import give
from ops.db.sql_file.script import Script, read, read_stdin
from ops.errors import Misconfigured
from ops.targets import identity, open_target, opening, production_guard
from ops.targets.open_target import OpenTarget
from ops.targets.roles import acting
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.db.migrations.baseline import Baseline

DEFAULT = "(default)"
"""Stands for the file that invoke.yaml names."""


def script(given: str, default: Path) -> Script:
    """Read the file of an option: relative to the working directory, - for standard input."""
    if given == "-":
        return read_stdin()
    if given in ("", DEFAULT):
        return read(default)
    try:
        return read(Path.cwd() / Path(given).expanduser(), given)
    except RuntimeError:
        raise Misconfigured(f"{given}: there is no such user whose home that would be: write the path out") from None


def setup(
    settings: Settings, target: str, schema: str, seeds: str, variables: Mapping[str, str], confirm: str, *, force: bool
) -> None:
    """Build the database from schema and seed, and swap it in; `seeds` empty: no rows."""
    begun = time.monotonic()
    if schema == "-" and seeds == "-":
        raise Misconfigured("--schema - and --seed -: standard input can be read once, name a file for the other")
    first = None if by_migrations(settings, schema) else script(schema, settings.schema)
    scripts = [first] if first else []
    after: list[Callable[[], str]] = [str] if first else []
    if seeds:
        rows = script(seeds, settings.seed)
        seed.foresee(rows)
        scripts.append(rows)
        after.append(partial(seed.ledger, rows, variables))
    with opening.open_target(settings, target, "db.setup", writes=True) as at:
        plans = [load.plan(s, variables, rebuilds=at.name) for s in scripts]
        behind = baseline(settings, schema, first, at)
        production_guard.confirm(at, "setup", confirm)
        between = swap.Between(1 if first else 0, partial(behind.bring_up, at)) if behind else None
        built = swap.rebuild(at, plans, force=force, after=after, between=between)
        if behind or (settings.migrations.is_dir() and schema in ("", DEFAULT)):
            at.remember(there=True, applied=[each.version for each in behind.migrations] if behind else [])
        names = [s.name for s in scripts]
        if behind:
            names.insert(1 if first else 0, f"{len(behind.migrations)} migrations")
        say(f"built {at.name} from {' and '.join(names)} in {time.monotonic() - begun:.1f} s")
        say(f"tables: {table_rows.summary(built.tables)}")
        if built.kept:
            say(f"the previous one is kept as {at.name}{identity.PREV}: inv db.undo swaps back")
        option = "" if at.target.name == settings.target else f" -t {at.target.name}"
        say(f"connect: inv db.connect{option}, or with any client: inv db.url{option} --show-password")


def by_migrations(settings: Settings, schema: str) -> bool:
    """Whether a database is built by the migrations alone: no schema file is named, and none is there, but they are."""
    return (
        schema in ("", DEFAULT)
        and not settings.schema.exists()
        and settings.migrations.is_dir()
        and any(settings.migrations.glob("*.sql"))
    )


def baseline(settings: Settings, schema: str, first: Script | None, at: OpenTarget) -> Baseline | None:
    """Return which migrations the schema holds and which are applied behind it; None where another schema is named, or there are none."""
    if not settings.migrations.is_dir() or schema not in ("", DEFAULT):
        return None
    from ops.db.migrations import baseline

    return baseline.of(settings, first, rebuilds=at.name, silent="all are pending: inv db.migrate")


class Care(NamedTuple):
    """What a user lets happen while a live database is changed."""

    allow_stall: bool = False
    """Tables may be closed to all others for longer than the setting."""
    end_idle: bool = False
    """Sessions in the way are ended that are idle in a transaction."""


CAREFUL = Care()


def schema_load(
    settings: Settings, target: str, file: str, variables: Mapping[str, str], confirm: str, care: Care = CAREFUL
) -> None:
    """Load a schema into the live database, in one transaction."""
    source = script(file, settings.schema)
    with opening.open_target(settings, target, "db.schema-load", writes=True, login="migrator") as at:
        plan = load.plan(source, variables)
        production_guard.confirm(at, "schema-load", confirm)
        into(acting.as_owner(at), plan, care)
        say(f"loaded {source.name} into {at.name}")


def seed_load(
    settings: Settings,
    target: str,
    file: str,
    variables: Mapping[str, str],
    confirm: str,
    care: Care = CAREFUL,
    *,
    again: bool,
) -> None:
    """Load a seed into the live database, unless it holds that content already."""
    source = script(file, settings.seed)
    seed.foresee(source)
    with opening.open_target(settings, target, "db.seed", writes=True, login="migrator") as opened:
        at = acting.as_owner(opened)
        plan = load.plan(source, variables)
        production_guard.confirm(at, "seed", confirm)
        with lock.hold_lock(at):
            at.required()
            with at.connect() as conn:
                known = seed.applied(conn)
            same = next((s for s in known if s["digest"] == seed.digest(source, variables)), None)
            if same and not again:
                say(
                    f"{source.name} was applied on {in_utc(same['applied_at'])} and has not changed: nothing to do (--again insists)"
                )
                return
            if not same and any(s["name"] == Path(source.name).name for s in known):
                what = " (or its variables have)" if variables else ""
                say(f"{source.name} has changed{what} since it was applied: applying it as it is now")
            send(at, plan, care, after=partial(seed.ledger, source, variables))
        say(f"seeded {at.name} from {source.name}")


def into(at: open_target.OpenTarget, plan: load.Plan, care: Care = CAREFUL) -> None:
    """Load one checked script into the live database, under the lock."""
    with lock.hold_lock(at):
        at.required()
        send(at, plan, care)


def send(at: open_target.OpenTarget, plan: load.Plan, care: Care, *, after: Callable[[], str] = str) -> None:
    """Send a script to the live database without a stall for those who work with it, and mark that as production if it is."""
    from ops.db.migrations import patience

    limits = patience.limits(at, allow_stall=care.allow_stall, end_idle=care.end_idle)
    limits = replace(patience.fitting(limits, plan.script.contents), allowed_by="--allow-stall")
    load.check_extensions(at, [plan])
    load.check_client([plan])
    production_guard.stamp(at)
    before = rights.read_rights(at)  # a schema that makes its tables anew takes them away
    if before:
        at.work.left = f"inv lambda.deploy gives {sign_up.ROLE} its rights in it again"

    def loaded(conn: Connection[DictRow]) -> None:
        load.load_file(at, conn, plan, after=after, lasting=True, options=patience.options(limits))

    patience.run_patiently(at, loaded, what=Path(plan.script.name).name, limits=limits)
    at.work.done = True
    rights.give_rights(at, before)
    at.work.left = ""
    give.give_rights(at)
    at.look_again()
    production_guard.stamp(at)  # the file may have set another comment
