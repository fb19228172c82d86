"""db.pull: a copy of a source's shape and size, and of nobody's data.

Each column is masked by the source itself, in its own COPY (SELECT …), so that nothing unmasked leaves it; in one snapshot,
read-only, so that a replica will do. The copy is built beside the database that it takes the place of.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import select
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config.settings import Settings
from ops import postgres, silence
from ops.console import as_json, result, say
from ops.db import status, swap
from ops.db.drift import schema_file
from ops.db.plans import marker
from ops.db.pull import columns, keys, masking, masks_file, propose, schema, subset
from ops.db.pull.masks_file import Compose, Decided
from ops.errors import Misconfigured, Problem, Refused
from ops.meter import Meter, measured
from ops.targets import bound, identity, opening, production_guard
from ops.targets.embedded.binaries import hand_over
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

STAMP = "[inv: copy of "
"""Begins the mark of a copy in its database's comment; what it is of and when it was made follow."""
BLOCK = 1 << 18
"""Bytes that are sent at once: a message for each row would cost more than the row."""
LOCK_TIMEOUT = "10s"
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
# What is sent is of no use without what the session was begun with, which no server logs: statements and their
# parameters stand in the log of one with log_statement or log_min_duration_statement
SET_KEY = """
select pg_catalog.set_config('inv.mask_key', lpad(to_hex(substring(k from 1 for 64)::bit(64)::bigint), 16, '0')
  || lpad(to_hex(substring(k from 65)::bit(64)::bigint), 16, '0'), true) is not null as done
from (select ('x' || %s::text)::bit(128)
  # ('x' || coalesce(nullif(pg_catalog.current_setting('inv.mask_pad', true), ''), repeat('0', 32)))::bit(128) as k) as key
"""


@dataclass(frozen=True)
class Copied:
    """A table in the copy."""

    table: str
    """With its schema."""
    what: Literal["all", "part", "skipped"]
    """Which of its rows come along."""
    rows: int
    """How many; with --dry-run as the server estimates them."""
    masked: list[str]
    """The columns whose values do not come along."""
    kept: list[str]
    """The columns whose values do."""
    size_bytes: int | None
    """As they crossed the wire; null with --dry-run."""


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
    with opening.open_target(settings, source, "db.pull") as of:
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


@dataclass
class Plan:
    """All that is known before the first row is read."""

    decided: Mapping[str, Decided]
    chosen: Mapping[str, str]
    """By table: the condition of its rows; empty: all."""
    snapshot: str
    jobs: int
    key: str = field(default="", repr=False)


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
        raise Problem(
            f"{source}: this login may not read {several(lacking)}: grant it select, or pg_read_all_data, there"
        )
    if hidden:
        raise Problem(f"{source}: row security would hide rows of {several(hidden)} from this login: give it BYPASSRLS, or take another one")  # fmt: skip


def several(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


# --- the source ---------------------------------------------------------------------------


@contextlib.contextmanager
def hold_snapshot(source: OpenTarget) -> Iterator[tuple[Connection[DictRow], str]]:
    """Yield a session in a read-only transaction of the source, and the name by which others see the same rows."""
    conn, sent = connect(source)
    with told_of(source), contextlib.closing(conn):
        conn.execute("begin")
        begin(conn, source)
        set_key(conn, source, sent)
        row = postgres.row(conn, "select pg_catalog.pg_export_snapshot() as name")
        yield conn, row["name"]


def connect(source: OpenTarget) -> tuple[Connection[DictRow], str]:
    """Open a session at the source, and return it with what the key is made of there that is sent in a statement.

    The other half is in the session's own options; a pooler takes none, and the whole is sent.
    """
    pad = secrets.token_hex(16) if source.facts["pid"] == source.conn.info.backend_pid else ""
    return source.connect(options=f"-c inv.mask_pad={pad}" if pad else ""), pad


def begin(conn: Connection[DictRow], source: OpenTarget, snapshot: str = "") -> None:
    """Make the transaction read-only and of a snapshot, and have values written alike whoever logs in."""
    conn.execute("set transaction isolation level repeatable read, read only")
    if snapshot:
        conn.execute(f"set transaction snapshot '{snapshot}'".encode())
    timeout = round(source.settings.pull_timeout * 1000)
    conn.execute(
        f"set local statement_timeout = {timeout}; set local lock_timeout = '{LOCK_TIMEOUT}'; set local row_security = off;"
        "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';"
        "set local extra_float_digits = 1; set local bytea_output = 'hex'; set local xmloption = 'content'".encode()
    )


def set_key(conn: Connection[DictRow], source: OpenTarget, pad: str) -> None:
    """Give the transaction the key of the masks."""
    key = keys.of_source(source.settings.root, source.facts["system_id"], source.name)
    sent = f"{int(key, 16) ^ int(pad or '0', 16):032x}"
    postgres.row(conn, SET_KEY, sent)


@contextlib.contextmanager
def told_of(source: OpenTarget) -> Iterator[None]:
    """Have what the source's server says be told as such, and without a value of any row."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise source_problem(source, error, "") from None


def source_problem(source: OpenTarget, error: Exception, table: str) -> Problem:
    """Return an error of the source's server in words."""
    import psycopg

    assert isinstance(error, psycopg.Error)
    where = f"{source.target.name}: {table}" if table else source.target.name
    if isinstance(error, psycopg.errors.SerializationFailure):
        return Problem(
            f"{where}: the replica gave way to what it had to replay (max_standby_streaming_delay): run this again, or read from another server"
        )
    if isinstance(error, psycopg.errors.QueryCanceled) and "statement timeout" in (error.diag.message_primary or ""):
        seconds = source.settings.pull_timeout
        return Problem(f"{where}: took longer than {seconds:.0f} s (db.pull_timeout): raise that, or copy a part of its rows (--rows, --where)")  # fmt: skip
    return Problem(f"{where}: {schema.reason(error)}")


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

    def build(conn: Connection[DictRow]) -> list[status.Table]:
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


def planned(one: Decided, condition: str, rows: int | None = None, size: int | None = None) -> Copied:
    """Return what becomes of a table."""
    what: Literal["all", "part", "skipped"] = "skipped" if one.skip else "part" if condition else "all"
    kept = [name for name in one.table.columns if name in one.columns and name not in one.masked and one.columns[name].basis != "computed"]  # fmt: skip
    count = 0 if one.skip else one.table.rows if rows is None else rows
    return Copied(one.table.plain, what, count, one.masked, kept, size)


def copy_all(of: OpenTarget, at: OpenTarget, plan: Plan, made: dict[str, Copied]) -> None:
    """Copy the rows of all tables, several tables at once; the largest first. Raises what the first of them failed of."""
    todo: queue.SimpleQueue[Decided] = queue.SimpleQueue()
    wanted = [one for one in plan.decided.values() if not one.skip]
    for one in sorted(wanted, key=lambda one: -one.table.bytes):
        todo.put(one)
    stop = threading.Event()
    failed: list[BaseException] = []
    open_now: list[Connection[DictRow]] = []
    total = sum(one.table.bytes for one in wanted) if not any(plan.chosen.values()) else 0
    with measured(f"rows of {of.target.name}", total) as meter:

        def work() -> None:
            try:
                with contextlib.ExitStack() as held:
                    with told_of(of):
                        reader, pad = connect(of)
                    held.enter_context(contextlib.closing(reader))
                    writer = held.enter_context(contextlib.closing(at.connect(identity.NEXT)))
                    open_now.extend((reader, writer))
                    writer.execute("set synchronous_commit = off")
                    with silence.quiet(reader, silence.PROGRESS), silence.quiet(writer, silence.PROGRESS):
                        with told_of(of):
                            reader.execute("begin")
                            begin(reader, of, plan.snapshot)
                            set_key(reader, of, pad)
                        while not stop.is_set() and (one := taken(todo)):
                            condition = plan.chosen.get(one.table.quoted, "")
                            made[one.table.quoted] = copy_table(of, reader, writer, one, condition, meter, stop)
            except BaseException as error:  # raised again in the thread that waits
                failed.append(error)
                stop.set()

        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(plan.jobs, max(1, len(wanted))))]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)
                    if stop.is_set():
                        cancel(open_now)
        except BaseException:
            stop.set()
            cancel(open_now)
            raise
    if failed:
        raise failed[0]


def taken(todo: queue.SimpleQueue[Decided]) -> Decided | None:
    """Return what is next; None where nothing is left."""
    try:
        return todo.get_nowait()
    except queue.Empty:
        return None


def cancel(sessions: Sequence[Connection[DictRow]]) -> None:
    """Have the servers end what these sessions wait for."""
    for conn in sessions:
        with contextlib.suppress(Exception):
            if not conn.closed:
                conn.cancel_safe(timeout=2.0)


def copy_table(
    of: OpenTarget,
    reader: Connection[DictRow],
    writer: Connection[DictRow],
    one: Decided,
    condition: str,
    meter: Meter,
    stop: threading.Event,
) -> Copied:
    """Copy the masked rows of a table; of one in partitions, from each, and into the whole."""
    import psycopg

    rows = size = 0
    names = ", ".join(each.column.quoted for each in one.columns.values() if not each.column.computed)
    into = f"copy {one.table.quoted}{f' ({names})' if names else ''} from stdin"
    for query in queries(one, condition):
        try:
            with writer.cursor() as to:
                with to.copy(into.encode()) as sink:
                    for block in blocks(of, reader, query, one.table.quoted):
                        if stop.is_set():
                            raise Problem("another table failed")
                        sink.write(block)
                        size += len(block)
                        meter.done += len(block)
                rows += max(0, to.rowcount)
        except psycopg.Error as error:
            if writer.closed:
                raise
            raise Problem(f"the copy of {one.table.quoted}: {schema.reason(error)}") from None
    return planned(one, condition, rows, size)


def queries(one: Decided, condition: str) -> Iterator[str]:
    """Yield what reads the masked rows of a table; its rows under the name `t`."""
    copied = [each for each in one.columns.values() if not each.column.computed]
    listed = ", ".join(masking.expression(each.column, each.rule) for each in copied)
    where = f" where {condition}" if condition else ""
    relations = one.table.leaves if one.table.partitioned else [one.table.quoted]
    for relation in relations:
        yield f"copy (select {listed} from only {relation} as t{where}) to stdout"


def blocks(of: OpenTarget, reader: Connection[DictRow], query: str, table: str) -> Iterator[bytes]:
    """Yield the rows of a COPY in pieces of some size.

    By libpq itself: psycopg waits for each row anew, which costs more than all the rest
    (https://www.postgresql.org/docs/current/libpq-copy.html).
    """
    import psycopg
    from psycopg import errors, pq

    pgconn, found = reader.pgconn, bytearray()
    try:
        pgconn.send_query(query.encode())
        first = answer(reader)
        if first is None or first.status != pq.ExecStatus.COPY_OUT:
            raise errors.error_from_result(
                first or pgconn.make_empty_result(pq.ExecStatus.FATAL_ERROR), encoding="utf-8"
            )
        while True:
            size, row = pgconn.get_copy_data(1)
            if size > 0:
                found += row
                if len(found) >= BLOCK:
                    yield bytes(found)
                    found.clear()
            elif size == 0:
                arrived(reader)
            else:
                break
        while (last := answer(reader)) is not None:
            if last.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(last, encoding="utf-8")
        if found:
            yield bytes(found)
    except psycopg.Error as error:
        raise source_problem(of, error, table) from None


def answer(conn: Connection[DictRow]) -> Any:
    """Return the next answer of the server, waiting for it; None where there is none."""
    while conn.pgconn.is_busy():
        arrived(conn)
    return conn.pgconn.get_result()


def arrived(conn: Connection[DictRow]) -> None:
    """Wait until the server has sent something, and take it."""
    pgconn = conn.pgconn
    pgconn.flush()
    if not select.select([pgconn.socket], [], [], 0)[0]:
        with silence.watching(conn):
            select.select([pgconn.socket], [], [])
    pgconn.consume_input()


# --- a first file -------------------------------------------------------------------------

INTRO = """\
# What of each column of production comes along in a copy of it (inv db.pull), by docs/pull.md:
#   keep, null, hash, {constant: …}, {fake: name email handle address phone text url ip date number}, {sql: …}
# A column without a rule stops the copy, save booleans, generated keys, what points to those, and safe_types.
# Proposed from names, types and keys, and from statistics: read each line.
"""


def propose_file(settings: Settings, source: str) -> None:
    """Write a first masks file, for people to read; one that is there stays. Raises `Misconfigured` where it is."""
    path = settings.masks
    name = masks_file.shown(path, settings.root)
    taken_already = Misconfigured(
        f"{name} is there already, and stays as it is: inv db.pull --dry-run says what it lacks"
    )
    if path.exists() or path.is_symlink():
        raise taken_already
    with opening.open_target(settings, source, "db.pull") as of:
        of.required()
        marker.require_rows(of.conn, of.name)
        with hold_snapshot(of) as (reader, _):
            tables = columns.read(reader)
            texts = reader.execute(propose.TEXTS_OF_SCHEMA.encode()).fetchall()
    lines = propose.lines(propose.wanting(tables), tables)
    if texts:
        lines += [
            "",
            "# The schema comes along as it is, with these texts in it: see that they hold nothing of anybody.",
        ]
        lines += [f"#   {row['what']}: {' '.join(row['name'].split())}" for row in texts]
    text = "\n".join([INTRO, "safe_types: []", "", "tables:" if lines and lines[0].startswith("  ") else "tables: {}", *lines, ""])  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f"{path.stem}.") as file:
        file.write(text)
        file.flush()
        Path(file.name).chmod(0o666 & ~schema_file.umask())
        try:
            os.link(file.name, path)  # whole, or not there; never in the place of another
        except FileExistsError:
            raise taken_already from None
    hand_over(path)
    say(f"wrote {name}: read each line, then inv db.pull --dry-run")
