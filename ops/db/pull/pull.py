"""db.pull: a copy of a source's shape and size, and of nobody's data.

Each column is masked by the source itself, in its own COPY (SELECT …), so that nothing unmasked leaves it; in one snapshot,
read-only, so that a replica will do. The copy is built beside the database that it takes the place of.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import postgres, silence
from ops.console import as_json, few, result, say
from ops.db import status, swap, table_rows
from ops.db.plans import marker
from ops.db.pull import columns, masks_file, schema, subset
from ops.db.pull.masks_file import Compose, Decided
from ops.db.pull.rows import Copied, Plan, copy_all, planned
from ops.db.pull.source import hold_snapshot, told_of
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import bound, identity, opening, production_guard, replica
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

STAMP = "[inv: copy of "
"""Begins the mark of a copy in its database's comment; what it is of and when it was made follow."""


SEQUENCES = """
select format('%I.%I', schemaname, sequencename) as name, last_value as value from pg_catalog.pg_sequences
where schemaname not in ('pg_catalog', 'information_schema', 'inv') and last_value is not null order by 1
"""
# The whole in partitions asks each of them: one that is a foreign table would be asked on another server
ANALYSED = """
select format('%I.%I', n.nspname, c.relname) as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace cross join lateral (
  select coalesce(bool_or(f.relkind = 'f'), false) as afar from pg_catalog.pg_partition_tree(coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)) p
  join pg_catalog.pg_class f on f.oid = p.relid) as tree
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
  and case c.relkind when 'p' then not c.relispartition and not afar when 'r' then not c.relispartition or afar when 'm' then c.relispopulated end
order by 1
"""
OBJECTS = "select count(*)::int as objects from pg_catalog.pg_largeobject_metadata"


@dataclass(frozen=True)
class Pulled:
    """A copy."""

    source: str
    """The target that it is of."""
    target: str
    """The target where it is."""
    database: str
    """Its name there."""
    done: bool
    """False with --dry-run."""
    tables: list[Copied]
    """In the order of their names."""
    copy_seconds: float | None
    """How long the masked rows took; null with --dry-run."""
    duration_seconds: float | None
    """How long all of it took; null with --dry-run."""


@dataclass(frozen=True)
class How:
    """What of a source is copied, and how."""

    rows: str = ""
    """A share of the rows, as 5%; empty: all."""
    where: Sequence[str] = ()
    """TABLE=CONDITION."""
    jobs: str = "2"
    confirm: str = ""
    force: bool = False
    dry_run: bool = False


def show(settings: Settings, compose: Compose, source: str, target: str, how: How, *, json: bool) -> None:
    """Make a copy and tell of it."""
    pulled = pull(settings, compose, source, target, how)
    if json:
        as_json(pulled)
    elif how.dry_run:
        for each in pulled.tables:
            told = f"masked: {', '.join(each.masked) or 'nothing'}; kept: {', '.join(each.kept) or 'nothing'}"
            count = "" if each.what == "skipped" else f", about {each.rows} rows"
            result(f"{each.table}: {each.what}{count}; {told if each.what != 'skipped' else 'no rows'}")


def pull(settings: Settings, compose: Compose, source: str, target: str, how: How) -> Pulled:
    """Make a copy of a source in the place of a target's database, and return what it has.

    Raises `Misconfigured` for a masks file that does not say what becomes of each column, before any row is read, and
    `Refused` for a place that is production or the source itself.
    """
    begun = time.monotonic()
    share, conditions, jobs = subset.share(how.rows), subset.conditions(how.where), number(how.jobs)
    given = masks_file.read(settings, compose)
    check_names(settings, source, target)
    with replica.open_for_reading(settings, source, "db.pull") as of:
        of.required()
        marker.require_rows(of.conn, of.name)
        with hold_snapshot(of) as (reader, snapshot):
            tables = columns.read(reader)
            check_readable(tables, of.target.name)
            decided = masks_file.decide(reader, given, tables, of.target.name)
            for one in decided.values():
                if one.table.absent and not one.skip:  # nothing else can point to an unlogged table
                    say(f"note: {one.table.quoted} is unlogged, and a replica has none of its rows")
                    one.skip = True
            chosen = subset.choose(reader, decided, share, conditions)
            with opening.open_target(settings, target, "db.pull", writes=True) as at:
                check_place(of, at)
                if how.dry_run:
                    return told(of, at, decided, chosen, {})
                production_guard.confirm(at, "pull", how.confirm)
                return put(of, at, reader, Plan(decided, chosen, snapshot, jobs), how, begun)


def number(jobs: str) -> int:
    """Return how many tables are copied at once."""
    if not jobs.isdigit() or not 1 <= int(jobs) <= 16:
        raise Misconfigured(f"--jobs {jobs}: give a number from 1 to 16")
    return int(jobs)


# --- where from and where to --------------------------------------------------------------


def check_names(settings: Settings, source: str, target: str) -> None:
    """See that source and place are two targets, and the place none that is declared as production."""
    here = settings.on(target).focus
    if settings.on(source, "--from").focus is here:
        raise Misconfigured(
            f"--from {here.name}: that is where the copy lands (-t, by default the setting target): name two"
        )
    if here.protected:
        raise Refused(f"{here.name} is declared as production: a copy lands in none; -t names another target")


def check_place(source: OpenTarget, at: OpenTarget) -> None:
    """See that the place is neither production nor the source's own database, whatever name leads there."""
    same = source.facts["system_id"] is not None and (source.facts["system_id"], identity.base(source.name)) == (
        at.facts["system_id"],
        identity.base(at.name),
    )
    if same or identity.is_same_address(source.target, at.target):
        raise Refused(f"{at.target.address} is the very database that --from {source.target.name} names: -t names another target")  # fmt: skip
    if at.prod:
        raise Refused(f"{at.target.address} is production ({at.prod}): a copy lands in none; -t names another target")


def check_readable(tables: Mapping[str, columns.Table], source: str) -> None:
    """Name the tables that this login may not read, or not as a whole: pg_dump asks for each, also one whose rows stay there."""
    lacking = [quoted for quoted, table in tables.items() if not table.readable]
    hidden = [quoted for quoted, table in tables.items() if table.hides]
    if lacking:
        raise Problem(f"{source}: this login may not read {few(lacking)}: grant it select, or pg_read_all_data, there")
    if hidden:
        raise Problem(f"{source}: row security would hide rows of {few(hidden)} from this login: give it BYPASSRLS, or take another one")  # fmt: skip


# --- the copy -----------------------------------------------------------------------------


def put(of: OpenTarget, at: OpenTarget, reader: Connection[DictRow], plan: Plan, how: How, begun: float) -> Pulled:
    """Build the copy beside the target's database and swap it in."""
    with told_of(of):
        objects = postgres.row(reader, OBJECTS)["objects"]
        sequences = postgres.fetch(reader, SEQUENCES)
    before = schema.dumped(of, plan.snapshot, "pre-data")
    after = schema.dumped(of, plan.snapshot, "post-data")
    if objects:
        say(f"note: {objects} large objects stay there: what they hold is not known")
    if any(each.startswith("CREATE FOREIGN TABLE") for each in before):
        say("note: foreign tables lead nowhere in the copy, and their rows stay there")
    wanted = [one.table for one in plan.decided.values() if not one.skip]
    say(
        f"copying {len(wanted)} tables, {status.human(sum(table.bytes for table in wanted))} as {of.target.name} has them"
    )
    made: dict[str, Copied] = {}
    seconds = 0.0

    def build(conn: Connection[DictRow]) -> list[table_rows.Table]:
        nonlocal seconds
        at.work.built = postgres.row(conn, "select oid from pg_database where datname = current_database()")["oid"]
        schema.make(conn, before)
        copying = time.monotonic()
        with silence.quiet(conn, silence.ALL), silence.quiet(reader, silence.ALL):
            copy_all(of, at, plan, made)
        seconds = time.monotonic() - copying
        reader.close()  # a snapshot that is held keeps the source from cleaning up
        with silence.waiting("indexes, constraints and materialized views of the copy"):
            for row in sequences:
                conn.execute("select pg_catalog.setval(%s::regclass, %s)", [row["name"], row["value"]])
            schema.make(conn, after)
        take_statistics(conn)
        old = (at.database() or {}).get("comment") or ""
        production_guard.comment_on(at, at.name + identity.NEXT, f"{without_stamp(old)} {comment}".strip())
        return []  # which tables it has is known

    comment = f"{STAMP}{of.target.name}, {datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}]"
    built = swap.exchange(at, build, act=bound.PULL, force=how.force, check=lambda: schema.check_extensions(at, before))
    pulled = told(of, at, plan.decided, plan.chosen, made, seconds, time.monotonic() - begun)
    rows = sum(each.rows for each in pulled.tables)
    hidden = sum(len(each.masked) for each in pulled.tables if each.what != "skipped")
    say(f"{at.name} is a copy of {of.target.name}: {len(made)} tables, {rows} rows, {hidden} columns masked, in {pulled.duration_seconds:.1f} s")  # fmt: skip
    if built.kept:
        say(f"the previous one is kept as {at.name}{identity.PREV}: inv db.undo swaps back")
    return pulled


def without_stamp(comment: str) -> str:
    """Return a database's comment without the mark of an earlier copy."""
    start = comment.find(STAMP)
    if start < 0:
        return comment
    return f"{comment[:start].rstrip()} {comment[comment.find(']', start) + 1 :].lstrip()}".strip()


def take_statistics(conn: Connection[DictRow]) -> None:
    """Have the planner know the copy's own rows: they are masked already, so that its statistics hold no value of the source."""
    with silence.waiting("statistics of the copy"):
        for row in postgres.fetch(conn, ANALYSED):
            conn.execute(f"analyze {row['name']}".encode())


def told(
    of: OpenTarget,
    at: OpenTarget,
    decided: Mapping[str, Decided],
    chosen: Mapping[str, str],
    made: Mapping[str, Copied],
    copy_seconds: float | None = None,
    seconds: float | None = None,
) -> Pulled:
    """Return a copy, or what one would be where none of it is made."""
    tables = [made.get(quoted) or planned(one, chosen.get(quoted, "")) for quoted, one in sorted(decided.items())]
    return Pulled(of.target.name, at.target.name, at.name, bool(made) or seconds is not None, tables, copy_seconds, seconds)  # fmt: skip
