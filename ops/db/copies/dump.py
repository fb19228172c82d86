"""db.dump: a database, or some of its tables, as a file that pg_restore, psql and db.restore read.

By pg_dump (https://www.postgresql.org/docs/current/app-pgdump.html), which reads all in one snapshot and locks nobody out.
What it would say of rights and names only after its start is asked before; what it says itself becomes one line.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import gzip
import io
import itertools
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from config.paths import local_dir, private_folder
from config.settings import Settings
from ops import console, meter, postgres, postgres_errors, process, row_values, silence
from ops.console import few, say
from ops.db.copies import beside, programs, relay
from ops.db.copies.beside import Beside
from ops.db.copies.programs import Programs
from ops.db.plans import marker
from ops.db.status import human
from ops.errors import Misconfigured, Problem
from ops.targets import outcome, replica
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

Form = Literal["plain", "gzip", "custom", "directory"]
Holds = Literal["all", "schema", "data"]
ENDINGS: dict[str, Form] = {".sql": "plain", ".sql.gz": "gzip", ".dump": "custom"}
WRITTEN = f"{', '.join(ENDINGS)}, or a folder: NAME/"
LETTERS: dict[Form, str] = {"plain": "p", "gzip": "p", "custom": "c", "directory": "d"}
FOLDER = "dumps"
"""In .local, where no file is named."""
MOST_JOBS = 64
SUITE = "inv"
"""The schema of our own notes: they are dumped, and counted nowhere."""
SOON = 0.5
"""Seconds between two looks at how far it is."""
BLOCK = 1 << 20

READ = """
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind in ('r', 'p') as is_table, c.relkind = 'S' as is_sequence,
  pg_catalog.format('%I.%I', n.nspname, c.relname) as shown, greatest(c.relpages, 0)::bigint * 8192 as bytes,
  pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select') as may_read,
  pg_catalog.row_security_active(c.oid) as filtered,
  (with recursive below(oid) as (
    select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = c.oid
    union select i.inhrelid from pg_catalog.pg_inherits i join below b on i.inhparent = b.oid
  ) select array(select oid::bigint from below)) as below
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'S', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_catalog.pg_depend d
    where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by n.nspname collate "C", c.relname collate "C"
"""
"""What pg_dump may be asked for, but what belongs to extensions. A table is locked, which wants the right to read it, also without its rows."""
WHICH = "select name, pg_catalog.to_regclass(name)::oid::bigint as oid from pg_catalog.unnest(%s::text[]) as name"
COPIES = """
select relid::bigint as oid, bytes_processed as bytes from pg_catalog.pg_stat_progress_copy p
join pg_catalog.pg_stat_activity a using (pid) where a.application_name = %s and p.datname = %s
"""
# What differs from run to run, and what older readers stop at: the guard is for psql alone, and names a key drawn by lot
GUARD = re.compile(rb"^\\(un)?restrict [^\n]*", re.MULTILINE)
NEWER = re.compile(rb"^SET transaction_timeout = 0;", re.MULTILINE)
"""Of PostgreSQL 17, and no setting of older ones, for whose dumps it is left out."""
FIRST = b"SET client_encoding"
"""What follows on those lines at the beginning."""
ENDS = b"-- PostgreSQL database dump complete"
EDGE = 4096
"""Bytes at either end in which those lines stand."""


@dataclass(frozen=True)
class How:
    """What is dumped, and as what."""

    form: Form
    holds: Holds = "all"
    tables: Sequence[str] = ()
    """As they are given; none: all."""
    jobs: int = 1
    overwrite: bool = False


@dataclass(frozen=True)
class Dumped:
    """A database, dumped."""

    target: str
    """As it is given to --target."""
    database: str
    """Its name."""
    file: str
    """Where the dump is: a file, or a folder."""
    form: Form
    """How it is written: SQL, SQL in gzip, or pg_dump's own, as one file or a folder."""
    holds: Holds
    """Whether it has schema and rows, or only one of them."""
    tables: int
    """How many it has, without the suite's own notes."""
    size_bytes: int
    """Of the file, or of all in the folder."""
    took_seconds: float
    """From the start of pg_dump to its end."""
    server_version: str
    """Of Postgres, as the server says it."""
    program_major: int
    """The major version of the pg_dump that wrote it: older ones may not read it."""


class Table(NamedTuple):
    """A table, view or sequence that pg_dump may be asked for."""

    oid: int
    schema: str
    name: str
    shown: str
    is_table: bool
    is_sequence: bool
    may_read: bool
    filtered: bool
    bytes: int
    below: Sequence[int]

    @property
    def pattern(self) -> str:
        """As pg_dump takes it for this one and no other."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))


def show(
    settings: Settings,
    target: str,
    file: str,
    *,
    schema_only: bool,
    data_only: bool,
    tables: Sequence[str],
    jobs: str,
    overwrite: bool,
    json: bool,
) -> None:
    """Dump a target's database, and print where to."""
    if schema_only and data_only:
        raise Misconfigured("give one of --schema-only, --data-only")
    holds: Holds = "schema" if schema_only else "data" if data_only else "all"
    count = number(jobs)
    how = How(form_of(file, count), holds, tables, count, overwrite)
    named = Path.cwd() / Path(file).expanduser() if file else None
    if named:
        beside.check_place(named, folder=how.form == "directory", overwrite=overwrite)
    with replica.open_for_reading(settings, target, "db.dump") as at:
        at.required()
        marker.require_rows(at.conn, at.name)
        made = dump(at, named or new_place(at, how.form), how)
    what = {"all": "", "schema": " without rows", "data": ", rows only"}[made.holds]
    tables_of_it = f"{made.tables} table{'s' if made.tables != 1 else ''}{what}"
    say(f"dumped {made.database}: {tables_of_it}, {human(made.size_bytes)} in {made.took_seconds:.1f} s")
    if json:
        console.as_json(made)
    else:
        console.result(made.file)


def number(jobs: str) -> int:
    """Return how many tables are read at a time."""
    if not jobs.isascii() or not jobs.isdigit() or not 1 <= int(jobs) <= MOST_JOBS:
        raise Misconfigured(f"--jobs {jobs}: give a number from 1 to {MOST_JOBS}")
    return int(jobs)


def form_of(file: str, jobs: int) -> Form:
    """Return how a file is written, by its name; raises `Misconfigured` where that does not tell."""
    found = next((form for ending, form in ENDINGS.items() if file.endswith(ending)), None)
    if jobs > 1 and found:
        raise Misconfigured(f"--jobs {jobs}: only a folder is written by several at once: --file NAME/")
    if found:
        return found
    if jobs > 1 or file.endswith("/"):
        return "directory"
    if file:
        raise Misconfigured(f"--file {file}: the name's end says what is written, {WRITTEN}")
    return "custom"


def new_place(at: OpenTarget, form: Form) -> Path:
    """Return where a dump goes that has no name: in .local, under one that is not there yet."""
    folder = private_folder(local_dir(at.settings.root) / FOLDER)
    beside.give(folder, folder.parent)
    stem = re.sub(r"[^\w.-]", "_", f"{at.target.name}-{at.name}")
    ending = "" if form == "directory" else ".dump"
    stem = f"{stem}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    names = itertools.chain(
        [stem], (f"{stem}-{number}" for number in itertools.count(2))
    )  # two may be made in a second
    places = (folder / f"{name}{ending}" for name in names)
    return next(place for place in places if not place.exists())


def dump(at: OpenTarget, place: Path, how: How) -> Dumped:
    """Write a target's database to a place, whole or not at all.

    Raises `Misconfigured` for a place that is taken and tables that are not there, `Problem` for what may not be read, and
    where the server, the way there or the disk fails.
    """
    beside.check_place(place, folder=how.form == "directory", overwrite=how.overwrite)
    client = programs.find_programs(at.conn.info.server_version // 10000)
    with at.connect() as conn:
        conn.execute("set default_transaction_read_only = on")
        every = [Table(**{key: row[key] for key in Table._fields}) for row in postgres.fetch(conn, READ)]
        wanted = chosen(conn, every, how.tables) if how.tables else every
        encoding = conn.info.parameter_status("server_encoding")
    check_rights(at, wanted, rows=how.holds != "schema")
    argv = [
        client.pg_dump,
        f"--format={LETTERS[how.form]}",
        f"--lock-wait-timeout={at.settings.lock_timeout * 1000:.0f}",
    ]
    argv += [*(f"--table={table.pattern}" for table in wanted)] if how.tables else []
    argv += [f"--{how.holds}-only"] if how.holds != "all" else []
    argv += [f"--jobs={how.jobs}"] if how.form == "directory" else []
    argv += ["--encoding=UTF8"] if encoding != "SQL_ASCII" else []  # whose bytes may be anything
    with beside.open_beside(place, folder=how.form == "directory", overwrite=how.overwrite) as made:
        begun = time.monotonic()
        write(at, client, argv, made, place, how, wanted)
        took = time.monotonic() - begun
    return Dumped(
        target=at.target.name,
        database=at.name,
        file=str(place),
        form=how.form,
        holds=how.holds,
        tables=sum(table.is_table and table.schema != SUITE for table in wanted),
        size_bytes=size(place),
        took_seconds=round(took, 3),
        server_version=at.facts["version"],
        program_major=client.major,
    )


def chosen(conn: Connection[DictRow], every: Sequence[Table], names: Sequence[str]) -> list[Table]:
    """Return the tables of these names, with the partitions of each; raises `Misconfigured` for one that is not there."""
    import psycopg

    known = {table.oid: table for table in every}
    try:
        rows = postgres.fetch(conn, WHICH, list(names))
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        raise Misconfigured(f"--table {' '.join(names)}: {row_values.message(error.diag)}") from None
    found: dict[int, Table] = {}
    for row in rows:
        table = known.get(row["oid"])
        if not table:
            near = difflib.get_close_matches(row["name"], [t.shown for t in every] + [t.name for t in every], 1)
            raise Misconfigured(
                f"--table {row['name']}: {conn.info.dbname} has no such table"
                + (f", did you mean {near[0]}?" if near else ": inv db.status lists them")
            )
        found |= {oid: known[oid] for oid in (table.oid, *table.below) if oid in known}
    return list(found.values())


def check_rights(at: OpenTarget, tables: Sequence[Table], *, rows: bool) -> None:
    """See that the login may read all of these, and all of each; raises `Problem` that names those that it may not."""
    user = at.conn.info.user
    # a view is not read, and of a sequence only where it stands
    if closed := [t.shown for t in tables if not t.may_read and (t.is_table or (rows and t.is_sequence))]:
        raise Problem(
            f"{user} may not read {few(closed, 10)}: grant select on them to it, or name a login that may read all (pg_read_all_data)"
        )
    if rows and (hidden := [t.shown for t in tables if t.filtered and t.is_table]):
        raise Problem(
            f"row level security hides rows of {few(hidden, 10)} from {user}: name their owner, or a login with bypassrls; nothing was dumped"
        )


def size(place: Path) -> int:
    """Return the bytes of a file, or of all in a folder."""
    return sum(path.stat().st_size for path in [place, *place.rglob("*")] if path.is_file())


# --- the program ------------------------------------------------------------------------


def write(
    at: OpenTarget, client: Programs, argv: Sequence[str], made: Beside, place: Path, how: How, tables: Sequence[Table]
) -> None:
    """Have pg_dump write to where it is made, and see that it is whole."""
    packer = Packer(made.path, at.conn.info.server_version) if how.form == "gzip" else None
    to = [] if packer else [f"--file={made.path}"]
    with relay.open_way(at, client) as env, shown(at, tables):
        done = process.run(
            [*argv, *to],
            env,
            watch=functools.partial(watched, at),
            stdout=packer.start() if packer else subprocess.PIPE,
            umask=0o077,
            pass_fds=[made.held],
        )
    if packer and (error := packer.end()) and isinstance(error, OSError):
        raise beside.unwritable(place, error)
    if done.returncode != 0:
        raise failure(at, place, done.stderr)
    if packer and packer.error:
        raise packer.error
    if how.form == "plain":
        settle(made.path, at.conn.info.server_version)
    elif how.form == "directory" and not (made.path / "toc.dat").exists():
        raise Problem(f"pg_dump has written nothing to {place}: {' '.join(done.stderr.split())}")
    for line in done.stderr.splitlines():
        if line.strip():
            say(f"note: {line}")


@contextlib.contextmanager
def watched(at: OpenTarget, child: subprocess.Popen[str]) -> Iterator[None]:
    """Look after pg_dump: say whose lock it waits for, and end it where the server has fallen silent.

    It has the server wait for long, while it packs and writes: so a server that answers others is sign enough.
    """
    conn: Any = at.conn
    session = (postgres.application(at.task), at.name, list(at.work.pids))

    def ask() -> str | None:
        return conn.others(session) or conn.others()  # type: ignore[no-any-return]

    with silence.watching_child(conn.what, ask, child, quiet=silence.PROGRESS if console.watched() else ""):
        yield


@contextlib.contextmanager
def shown(at: OpenTarget, tables: Sequence[Table]) -> Iterator[None]:
    """Show at a terminal how far it is: of each table what the server has sent of it (pg_stat_progress_copy)."""
    if not console.watched():
        yield
        return
    sizes = {table.oid: table.bytes for table in tables}
    names = {table.oid: table.shown for table in tables}
    now: dict[int, int] = {}
    over = threading.Event()
    with meter.measured(f"dumping {at.name}", sum(sizes.values()), lambda _: names.get(max(now, default=0), "")) as bar:

        def look() -> None:
            seen: set[int] = set()
            while not over.wait(SOON):
                try:
                    rows = postgres.fetch(at.conn, COPIES, postgres.application(at.task), at.name)
                except Exception:  # an ornament ends no dump
                    return
                now.clear()
                now.update({row["oid"]: min(row["bytes"], sizes.get(row["oid"], 0)) for row in rows})
                seen |= set(now)
                bar.done = sum(now.get(oid, sizes.get(oid, 0)) for oid in seen)

        looker = threading.Thread(target=look, daemon=True)
        looker.start()
        try:
            yield
        finally:
            over.set()
            looker.join()


# --- what is the same each time ---------------------------------------------------------


def dashed(found: re.Match[bytes]) -> bytes:
    """Return a comment in the place of a line, as long as that."""
    return b"-" * len(found[0])


def head(text: bytes, server_version: int) -> bytes:
    """Return the beginning of a dump without what differs between two, and what the server's own psql does not know."""
    settings = max(0, text.find(FIRST))
    begin = GUARD.sub(dashed, text[:settings])
    return (NEWER.sub(dashed, begin) if server_version < 170000 else begin) + text[settings:]


def tail(text: bytes) -> bytes:
    """Return the end of a dump without what differs between two; raises `Problem` where that is not the end of one."""
    ends = text.rfind(ENDS)
    if ends < 0:
        raise Problem("pg_dump has ended before its last line: run this again")
    return text[:ends] + GUARD.sub(dashed, text[ends:])


def settle(path: Path, server_version: int) -> None:
    """Write both ends of a file of SQL anew; raises `Problem` where its last line is not that of a whole dump."""
    with path.open("r+b") as file:
        begin = file.read(EDGE)
        file.seek(0)
        file.write(head(begin, server_version))
        file.seek(max(0, file.seek(0, os.SEEK_END) - EDGE))
        end = file.read()
        file.seek(-len(end), os.SEEK_END)
        file.write(tail(end))


@dataclass
class Packer:
    """Packs what pg_dump writes into a file, in a thread of its own."""

    path: Path
    server_version: int
    error: Exception | None = None
    thread: threading.Thread = field(default_factory=threading.Thread)

    def start(self) -> int:
        """Return the descriptor that pg_dump writes to."""
        out, end = os.pipe()
        self.thread = threading.Thread(target=self.run, args=[out], daemon=True)
        self.thread.start()
        return end

    def run(self, out: int) -> None:
        try:  # pg_dump sees a pipe without a reader where this fails
            with (
                io.BufferedReader(io.FileIO(out), BLOCK) as pipe,
                self.path.open("wb") as file,
                gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed,
            ):
                held = head(pipe.read(2 * EDGE), self.server_version)
                while block := pipe.read1(BLOCK):
                    held += block
                    packed.write(held[:-EDGE])
                    held = held[-EDGE:]
                packed.write(tail(held))
        except Exception as error:  # raised where it is waited for
            self.error = error

    def end(self) -> Exception | None:
        """Wait for the end; return what packing failed by."""
        self.thread.join()
        return self.error


# --- what it says -----------------------------------------------------------------------

CONNECTING = re.compile(r"connection to server (?:at|on) .*", re.DOTALL)
BROKEN = re.compile(
    r"server closed the connection|connection to server was lost|no connection to the server|Connection reset|could not (?:send|receive)"
    r"|terminating connection|EOF detected|SSL connection has been closed|SSL error|unexpected EOF|lost synchronization"
)
WAITED = re.compile(r"due to (lock|statement) timeout")
QUEUED = re.compile(r'could not obtain lock on relation "([^"]+)"')
"""Of several jobs: https://www.postgresql.org/docs/current/app-pgdump.html, --jobs."""
CONFLICT = re.compile(r"conflict with recovery")
CLOSED = re.compile(r"permission denied for ([\w ]+? (?:\"[^\"]+\"|\S+))")
FULL = re.compile(r"No space left on device|Disk quota exceeded")


def failure(at: OpenTarget, place: Path, stderr: str) -> Problem:
    """Return what pg_dump says of its failure, as the next step."""
    text = " ".join(stderr.split())
    if refused := CONNECTING.search(stderr):
        return postgres_errors.refusal(at.target, refused[0])
    if FULL.search(text) and "ERROR:" not in text:
        return beside.full(place)
    if WAITED.search(text):
        return Problem(
            f"another session holds a table of {at.name} for longer than {at.settings.lock_timeout:.0f} s (db.lock_timeout): "
            "inv db.sessions shows whose it is; then run this again"
        )
    if queued := QUEUED.search(text):
        return Problem(
            f"another session wants {queued[1]} for itself, which several jobs cannot wait for: run this again, or with --jobs 1"
        )
    if CONFLICT.search(text):
        return Problem(
            f"{at.target.address}: the replica ended the dump, which was in the way of what its primary changes: "
            "raise max_standby_streaming_delay there, or dump the primary"
        )
    if closed := CLOSED.search(text):
        return Problem(
            f"{at.conn.info.user} may not read {closed[1]}: grant it the right, or name a login that may read all"
        )
    if BROKEN.search(text):
        what, step = outcome.worded(None, text)
        return Problem(f"{at.target.address}: {what}; nothing was written: {step or outcome.AGAIN}")
    told = re.sub(r"pg_dump: (error|detail|hint): ", "", text)
    return Problem(f"{at.name} could not be dumped: {console.harmless(told) or 'pg_dump failed without a word'}")
