"""db.rehearse: pending migrations, tried on a database of the target's shape before they go there.

Nothing is written on the target: one read-only session asks for counts, and pg_dump for the schema.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import console, postgres, row_values
from ops.console import say
from ops.db import nowhere, shown
from ops.db.drift import schema_file
from ops.db.migrations import history
from ops.db.rehearsal import estimate, pending, queries, remembered, report, rows, scratch, shape
from ops.db.rehearsal.estimate import Cost, Size
from ops.db.rehearsal.report import Rehearsal
from ops.db.rehearsal.scratch import Scratch
from ops.db.rehearsal.shape import Table
from ops.db.rehearsal.traffic import Traffic
from ops.db.rehearsal.trial import Stage, Trial, tried
from ops.db.rehearsal.verdict import Query, Release
from ops.db.status import human
from ops.errors import Differs, Misconfigured, Problem
from ops.targets import opening
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

USUAL = 1.0
"""Seconds that readers and writers run before anything is migrated: what they wait for anyway."""
PARALLEL_FROM = 8192
"""kB of a table from which on Postgres works on it with several processes (min_parallel_table_scan_size)."""
COPIED = ("maintenance_work_mem", "work_mem", "max_parallel_maintenance_workers")
"""Settings of the target by which the time of an index goes."""
SETTINGS = "select name, setting || coalesce(unit, '') as value from pg_catalog.pg_settings where name = any(%s)"
ROLES = "select rolname as name from pg_catalog.pg_roles where rolname !~ '^pg_'"
OIDS = "select c.oid::bigint as oid, format('%I.%I', n.nspname, c.relname) as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm')"


@dataclass(frozen=True)
class Source:
    """What is known of the target: no row of it."""

    name: str
    version: str
    major: int
    schema: str
    """As SQL, without addresses and passwords of other servers."""
    shapes: Mapping[str, Table]
    roles: Sequence[str]
    settings: Mapping[str, str]
    search_path: str
    """As its sessions have it, and SQL takes it."""
    queries: Sequence[Query]
    skipped: int


def show(settings: Settings, target: str, rows: str, max_gb: str, *, json: bool, markdown: bool) -> None:
    """Rehearse what is pending and print it; raises `Differs` where something has to be mended first."""
    if json and markdown:
        raise Misconfigured("give one of --json, --markdown")
    share, most = share_of(rows), gigabytes(max_gb)
    with opening.open_target(settings, target, "db.rehearse", direct=True) as at:
        at.required()
        with at.connect() as conn:
            conn.execute("set default_transaction_read_only = on")
            trials = pending.trials(at.settings, conn)
            source = known(at, conn, needed=bool(trials))
    found = rehearsed(settings, source, trials, share, most)
    if trials:
        remembered.remember(settings.root, found, {trial.version: trial.digest for trial in trials})
    if json:
        console.as_json(found)
    elif markdown:
        console.result(report.markdown(found))
    else:
        report.show(found)
    if told := report.faults(found):
        raise Differs(f"{told[0]}: mend that, then inv db.rehearse", *told[1:])


def share_of(text: str) -> float:
    """Return which part of the rows is wished for, between 0 and 1."""
    told = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%?", text)
    if not told or float(told[1]) > 100:
        raise Misconfigured(f"--rows {text}: give a share of the target's rows, 0% to 100%")
    return float(told[1]) / 100


def gigabytes(text: str) -> float:
    """Return bytes."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= 10_000:
        raise Misconfigured(f"--max-gb {text}: give the most gigabytes that may be made, as 0.5 or 20")
    return float(text) * 1e9


def known(at: OpenTarget, conn: Connection[DictRow], *, needed: bool) -> Source:
    """Ask a target for all that a rehearsal wants to know; not `needed`: nothing is pending."""
    version = conn.info.server_version
    of_others = queries.of_statistics(conn) if needed else queries.Found([], 0)
    folder = at.settings.queries
    own = [*(queries.of_files(folder, at.settings.root) if folder.is_dir() else []), *queries.of_function()]
    return Source(
        name=at.target.name,
        version=at.facts["version"],
        major=version // 10000,
        schema=nowhere.masked(schema_file.dumped(at, history.schema_of(conn))) if needed else "",
        shapes=shape.read(conn) if needed else {},
        roles=[row["name"] for row in postgres.fetch(conn, ROLES)],
        settings={row["name"]: row["value"] for row in postgres.fetch(conn, SETTINGS, list(COPIED))},
        search_path=postgres.row(conn, "select current_setting('search_path') as path")["path"],
        queries=[*own, *of_others.queries] if needed else [],
        skipped=of_others.skipped,
    )


def rehearsed(settings: Settings, source: Source, trials: Sequence[Trial], wanted: float, most: float) -> Rehearsal:
    """Try migrations in their order, up to the first that fails; `wanted` is a share of the rows, `most` in bytes."""
    if not trials:
        say(f"nothing is pending on {source.name}: nothing to rehearse")
        return Rehearsal(source.name, source.version, source.version, 0.0, 0, 0.0, [], 0, 0, [], [])
    share = shape.share(source.shapes, wanted, most)
    notes = (
        []
        if share >= wanted
        else [f"all of the rows that were asked for would be more than --max-gb allows: {share:.1%} were made"]
    )
    parallel = {"min_parallel_table_scan_size": f"{max(8, round(PARALLEL_FROM * share))}kB"}
    with scratch.opened(settings.root, source.major, {**source.settings, **parallel}) as made:
        if made.major != source.major:
            notes.append(
                f"there is no PostgreSQL {source.major} here, which the target has: it was tried on {made.major}"
            )
        load(made, source)
        if "\nCREATE FOREIGN TABLE " in source.schema:
            notes.append("statements on foreign tables are not rehearsed: those lead nowhere here")
        with contextlib.closing(made.connect()) as conn:
            total = sum(each.bytes for each in source.shapes.values())
            say(
                f"making up {share:.1%} of the rows of {len(source.shapes)} tables, about {human(round(total * share))}"
            )
            notes += rows.fill(conn, source.shapes, share)
            size = postgres.row(conn, "select pg_database_size(current_database()) as bytes")["bytes"]
        with staged(made, source) as stage:
            usual = usual_stall(stage.traffic)
            done = list(until_failed(stage, trials))
            if done[-1].failures and len(done) < len(trials):
                notes.append(f"the {len(trials) - len(done)} behind it were not tried")
            return Rehearsal(
                target=source.name,
                target_version=source.version,
                rehearsed_version=str(made.major),
                rows_ratio=share,
                made_bytes=size,
                usual_stall_seconds=usual,
                migrations=done,
                queries=len(stage.release.prepared),
                skipped_queries=source.skipped,
                unprepared=stage.release.unprepared,
                notes=notes,
            )


def until_failed(stage: Stage, trials: Sequence[Trial]) -> Iterator[report.Rehearsed]:
    """Try one migration after another; none behind one that fails, since it may build on that."""
    for trial in trials:
        say(f"trying {trial.version}_{trial.name}")
        found = tried(stage, trial)
        yield found
        if found.failures:
            return


def load(made: Scratch, source: Source) -> None:
    """Build the target's schema, with its roles; raises `Problem` where it cannot be had here, an extension mostly."""
    import psycopg
    from psycopg import sql

    with contextlib.closing(made.connect()) as conn:
        there = {row["name"] for row in postgres.fetch(conn, ROLES)}
        for role in source.roles:
            if role not in there:
                conn.execute(sql.SQL("create role {}").format(sql.Identifier(role)))
        if source.search_path:
            conn.execute(f"alter database {scratch.NAME} set search_path = {source.search_path}".encode())
        nowhere.seal(conn)
        try:
            conn.execute("drop schema public" if "CREATE SCHEMA public;" in source.schema else "select 1")
            conn.execute(source.schema.encode())
        except psycopg.Error as error:
            at = int(error.diag.statement_position or 1)
            line = source.schema[:at].count("\n") + 1
            raise Problem(
                f"the schema of {source.name} cannot be built here, so nothing was tried: {row_values.words(error.diag)} (line {line} of pg_dump's)"
            ) from error


@contextlib.contextmanager
def staged(made: Scratch, source: Source) -> Iterator[Stage]:
    """Yield the database with readers and writers in it, and the running release's queries prepared."""

    @functools.cache
    def costs() -> Mapping[str, Cost]:
        with traffic.without_writers(), contextlib.closing(made.connect()) as conn:
            return estimate.calibrated(conn)

    with contextlib.closing(made.connect()) as conn:
        oids = {row["name"]: row["oid"] for row in postgres.fetch(conn, OIDS)}
    there = {oids[name]: Size(one.rows, one.own_bytes) for name, one in source.shapes.items() if name in oids}
    release = Release(made.connect, shown.without_values)
    traffic = Traffic(made.connect)
    with contextlib.closing(release):
        release.prepare(source.queries)
        with traffic.running():
            yield Stage(made.connect, there, costs, traffic, release, queries.of_migration)


def usual_stall(traffic: Traffic) -> float:
    """Return how long the slowest reader or writer takes while nothing is migrated, in seconds."""
    began = time.monotonic()
    time.sleep(USUAL)
    return traffic.longest(began, time.monotonic())
