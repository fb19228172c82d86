"""An archive of pg_dump, loaded by pg_restore with several sessions at once.

Owners and rights are left out there and given after, from the archive's own SQL: so a role that the server lacks fails nothing
(https://www.postgresql.org/docs/current/app-pgrestore.html: --no-owner, --no-privileges, --use-list). It runs with --verbose:
what it tells is shown, and a pg_restore whose inv was killed ends at the next line of it, since nobody reads that any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ops import postgres, process, silence
from ops.console import watched
from ops.db.copies import programs, relay, roles
from ops.db.copies.formats import Format
from ops.db.copies.programs import Programs
from ops.db.copies.roles import Roles, Statement
from ops.db.sql_file import hints
from ops.db.sql_file.script import Script
from ops.errors import Misconfigured, Problem, Silent
from ops.meter import Meter, measured
from ops.targets import outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

ENTRY = re.compile(r"\d+; \d+ \d+ (?P<what>.*)")
ROWS = ("TABLE DATA ", "BLOBS ", "SEQUENCE SET ", "MATERIALIZED VIEW DATA ", "STATISTICS DATA ")
GIVEN_AFTER = re.compile(
    r"(ACL|DEFAULT ACL|POLICY|USER MAPPING|DATABASE|DATABASE PROPERTIES) |COMMENT \S+ (POLICY|DATABASE) "
)
"""What names roles besides as an owner, and what goes with it; what is about the database itself is its own already."""
EXTENSION = re.compile(r"EXTENSION - (?P<name>.*) \S*")
NO_READER = re.compile(
    r"unsupported version|does not support compression|no data will be available|unrecognized|not built with",
    re.IGNORECASE,
)
LOST = re.compile(
    r"server closed the connection|terminating connection|connection to (server|database)|no connection to the server|SSL |could not (receive|send) data"
)
PREFIX = re.compile(r"((?:pg_restore:|error: |warning: |detail: |hint: | )*)(.*)")
"""What stands before a message. Its words are written one by one and the message in one piece, whatever lines it has
(pg_log_generic_v in Postgres' src/common/logging.c): of several jobs a message may follow another one's prefix."""
FAILED = ("could not ", "COPY failed ", "error returned ")
"""How an error begins that a server or a file is the cause of."""
TOLD = re.compile(
    r"(while|from TOC entry|connecting|creating|dropping|processing|executing|implied|disabling|enabling|table \"|entering|launching"
    r"|skipping|finished|no item|ready|moving|worker|transferring|reducing|setting|restored|restoring|starting|reading) ?"
)
"""How what --verbose tells begins: it is no error, whatever prefix it has come behind."""
UNKNOWN_SETTING = "Command was: SET transaction_timeout = 0;"
"""pg_restore 17 and newer set it for whatever server; servers before 17 do not know it, and wait without an end anyway."""
SESSIONS = """
select coalesce(bool_or(state = 'active' and wait_event_type is distinct from 'Client'), false) as works,
       concat_ws(' ', count(*), max(state_change), sum(bytes_processed)) as sign
from pg_catalog.pg_stat_activity left join pg_catalog.pg_stat_progress_copy using (pid)
where pg_stat_activity.datname = %s and application_name = %s
"""
COPIES = """
select pid, relid::bigint as oid, bytes_processed as bytes from pg_catalog.pg_stat_progress_copy where datname = %s
"""
SOON = 0.5
"""Seconds between two looks at how far it is."""
LABEL = re.compile(r"(DETAIL|HINT|CONTEXT|LINE \d+|Command was):")


@dataclass(frozen=True)
class Entry:
    """A line of an archive's list."""

    line: str
    what: str
    """Kind, schema, name and owner: TABLE public users bob."""


class Archive:
    """An archive, a pg_restore that reads it, and what it needs."""

    def __init__(self, path: Path, found: Format, shown: str, jobs: int) -> None:
        self.path, self.format, self.shown, self.jobs = path, found, shown, jobs

    def look(self, at: OpenTarget) -> Roles:
        """Check it against the server; return its roles. Raises `Misconfigured` and `Problem`."""
        self.at = at
        self.server = at.conn.info.server_version // 10000
        self.programs, listed = self.reader()
        entries = [Entry(line, found["what"]) for line in listed.splitlines() if (found := ENTRY.match(line))]
        if not entries:
            raise Misconfigured(f"{self.shown} holds nothing: an archive without an entry")
        if self.server < 18:  # it has no functions that would take them
            entries = [each for each in entries if not each.what.startswith("STATISTICS DATA ")]
        if not at.facts["superuser"]:  # only its owner may write it, and CREATE EXTENSION has done so
            entries = [each for each in entries if not each.what.startswith("COMMENT - EXTENSION ")]
        self.entries = entries
        self.check_extensions(at)
        made = self.sql([each for each in entries if not each.what.startswith(ROWS)])
        script = Script(self.shown, made)
        self.named: list[tuple[str, Statement | None]] = []
        for one in script.contents.remarkable:
            text = made[one.start : one.end].decode(errors="replace").rstrip().rstrip(";")
            if one.text.startswith(roles.FIRST):
                each = roles.statement(text)
                if each or one.text.startswith("CREATE POLICY "):
                    self.named.append((text, each))
            elif roles.OF_POLICY.match(one.text) or one.text == "RESET SESSION AUTHORIZATION":
                self.named.append((text, None))
        found_roles = roles.look(at, (each for _, each in self.named if each))
        self.later = [
            text if each is None or found_roles.is_fit(each) else found_roles.instead(each) for text, each in self.named
        ]
        return found_roles

    def reader(self) -> tuple[Programs, str]:
        """Return the programs that read the archive, and its list: of those that do, the newest that is not newer than the server.

        Raises `Misconfigured` where it is damaged, or nothing here reads it.
        """
        all_of_them = programs.all_programs()
        if not all_of_them:
            raise Problem("there is no pg_restore here: install the package postgresql-client")
        older = [each for each in all_of_them if each.major <= self.server]
        newer = [each for each in reversed(all_of_them) if each.major > self.server]
        why = ""
        for each in (*older, *newer):
            done = process.run([each.pg_restore, "--list", str(self.path)], {"LC_ALL": "C"})
            if done.returncode == 0 and not NO_READER.search(done.stderr):
                return each, done.stdout
            said = " ".join(done.stderr.replace("pg_restore: ", "").split())
            if not NO_READER.search(said):
                raise Misconfigured(f"{self.shown} is damaged or cut off ({said}): make or fetch it anew")
            why = why or said
        have = ", ".join(str(each.major) for each in all_of_them)
        by = f", data by {self.format.compression}" if self.format.compression not in ("", "gzip") else ""
        wants = max(self.format.program, 16 if by else 0)
        raise Misconfigured(
            f"{self.shown}: no pg_restore here (of {have}) reads an archive of version {self.format.version}{by}: "
            f"install the package postgresql-client-{wants or 'N, N being the version of the pg_dump'}"
        )

    def check_extensions(self, at: OpenTarget) -> None:
        """Name an extension that the server cannot give; raises `Problem`."""
        wanted = [found["name"] for each in self.entries if (found := EXTENSION.fullmatch(each.what))]
        rows = postgres.fetch(at.conn, "select name from pg_available_extensions where name = any(%s)", wanted)
        have = {row["name"] for row in rows}
        for name in wanted:
            if name not in have:
                raise Problem(f"{self.shown}: the server has no extension {name}: {hints.extension(name)}")

    def sql(self, entries: Sequence[Entry]) -> bytes:
        """Return the SQL of some entries, with owners and rights."""
        argv = [self.programs.pg_restore, "--use-list=/dev/stdin", "--file=-", str(self.path)]
        done = process.run(argv, {"LC_ALL": "C"}, feed=[listed(entries)])
        if done.returncode:
            raise Misconfigured(
                f"{self.shown} is damaged or cut off ({' '.join(done.stderr.split())}): make or fetch it anew"
            )
        return done.stdout.encode()

    def fill(self, conn: Connection[DictRow]) -> None:
        """Load it into the database of `conn`."""
        self.load(conn, [each for each in self.entries if not GIVEN_AFTER.match(each.what)], self.jobs)
        roles.run(conn, self.later)

    def fill_schema(self, conn: Connection[DictRow]) -> None:
        """Load what comes before the rows: all that a table needs."""
        entries = [each for each in self.entries if not GIVEN_AFTER.match(each.what)]
        self.load(conn, entries, 1, ["--section=pre-data"])

    def fill_tables(self, conn: Connection[DictRow], tables: Sequence[tuple[str, str]]) -> None:
        """Load the rows of some tables, by schema and name; those of one name in other schemas come along."""
        names = sorted({name for _, name in tables})
        entries = [each for each in self.entries if each.what.startswith("TABLE DATA ")]
        self.load(conn, entries, 1, ["--section=data", *(f"--table={name}" for name in names)])

    def load(self, conn: Connection[DictRow], entries: Sequence[Entry], jobs: int, more: Sequence[str] = ()) -> None:
        """Have pg_restore load entries into the database of `conn`; raises `Problem` at the first error."""
        from psycopg.conninfo import make_conninfo

        at, dbname = self.at, conn.info.dbname
        argv = [self.programs.pg_restore, "--verbose", "--no-owner", "--no-privileges", "--use-list=/dev/stdin", *more]
        tolerant = self.server < 17 <= self.programs.major
        if not tolerant:
            argv.append("--exit-on-error")
        if jobs > 1 and self.format.kind != "tar":
            argv.append(f"--jobs={jobs}")
        argv += [f"--dbname={make_conninfo(dbname=dbname)}", str(self.path)]
        reading = Reading(tolerant)
        with (
            relay.open_way(at, self.programs) as env,
            measured(self.path.name, 0, reading.running) as meter,
        ):
            session = (postgres.application(at.task), dbname)
            watch = partial(self.watched, at, session, reading, meter)
            try:
                done = process.follow(argv, env, reading.line, feed=[listed(entries)], watch=watch)
            except Silent as error:
                raise outcome.session_lost(self.shown, None, str(error)) from None
        if reading.has_failed(done):
            raise reading.problem(self)

    @contextlib.contextmanager
    def watched(
        self,
        at: OpenTarget,
        session: tuple[str, str],
        reading: Reading,
        meter: Meter,
        child: subprocess.Popen[str],
    ) -> Iterator[None]:
        """Look after a pg_restore: end it at its first error, or when neither it nor the server has done anything for a while."""
        reading.child = child
        over, conn = threading.Event(), cast(Any, at.conn)
        seen = ""

        def ask() -> str | None:
            nonlocal seen
            row = signs(at, session)
            before, seen = seen, row["sign"] if row else seen
            return "" if row and (row["works"] or row["sign"] != before) else None

        def look() -> None:
            rows: dict[tuple[int, int], int] = {}
            while not over.wait(SOON):
                try:
                    for each in postgres.fetch(at.conn, COPIES, session[1]):
                        rows[each["pid"], each["oid"]] = each["bytes"]
                except Exception:  # an ornament ends no restore
                    return
                meter.done = sum(rows.values())

        looker = threading.Thread(target=look, daemon=True)
        if meter.is_alive():
            looker.start()
        try:
            with silence.watching_child(conn.what, ask, child, quiet=silence.PROGRESS if watched() else ""):
                yield
        finally:
            over.set()
            if looker.ident:
                looker.join()


class Reading:
    """What a pg_restore says, line by line."""

    def __init__(self, tolerant: bool) -> None:
        self.tolerant = tolerant
        """Whether it goes on after an error, of which one kind is none."""
        self.child: subprocess.Popen[str] | None = None
        self.last = self.entry = ""
        self.error: list[str] = []
        self.failed = False
        self.begun = self.passed_over = 0
        """How many errors it has begun to tell, and how many of them were of the kind that is none."""
        self.rest: list[str] = []

    def line(self, line: str) -> None:
        """Take the next line."""
        line = line.rstrip()
        if self.failed:
            self.error.append(line)
            return
        marks, said = cast(re.Match[str], PREFIX.match(line)).groups()
        self.begun += marks.count("error: ")
        if self.error and self.tolerant and line == UNKNOWN_SETTING:
            self.error.clear()
            self.passed_over += 1
        elif self.error and ("pg_restore:" in marks or said.startswith(FAILED)):
            self.fail()
        elif self.error:
            self.error.append(line)
        elif said.startswith(FAILED) or (marks.endswith("error: ") and not TOLD.match(said)):
            self.error.append(said)
        elif found := re.match(r"while .*|from TOC entry \d+; \d+ \d+ (.*)", said):
            self.entry = found[1] or ""
        elif marks:
            self.last = said
            self.rest = [*self.rest[-3:], said]

    def has_failed(self, code: int) -> bool:
        """Whether one that has ended with a code has done less than all: each error that was begun must be one that is none."""
        passed_over = self.begun == self.passed_over > 0
        return self.failed or bool(self.error) or code not in (0, 1 if passed_over else 0)

    def fail(self) -> None:
        """Note that it has failed, and end it."""
        self.failed = True
        if self.child:
            self.child.terminate()

    def running(self, _: int) -> str:
        return self.last

    def problem(self, archive: Archive) -> Problem:
        """Return the first error as a line of ours."""
        entry = " ".join(self.entry.split()[:-1]) if self.entry else ""
        what = f"{archive.shown}: {entry}: " if entry else f"{archive.shown}: "
        if not self.error:
            return Problem(f"{what}pg_restore has failed ({'; '.join(self.rest) or 'without a word'})")
        first, *more = self.error
        said = re.sub(r"^(could not execute query: |error returned by [^:]*: )?(ERROR|FATAL):\s+", "", first)
        if "No space left on device" in said or "disk full" in said:
            what_it_is, step = outcome.worded("53100", said)
            return Problem(f"{what}{what_it_is}: nothing of it was kept: {step}")
        if LOST.search(first):
            return outcome.session_lost(archive.shown, None, first)
        lines = [f"  {line}" for line in more if LABEL.match(line) and not line.startswith("Command was")][:5]
        problem = Problem(f"{what}{said}", *lines)
        archive.format.advise(problem, archive.server)
        return problem


def listed(entries: Sequence[Entry]) -> bytes:
    """Return a list as --use-list takes it."""
    return "".join(f"{each.line}\n" for each in entries).encode()


def signs(at: OpenTarget, session: tuple[str, str]) -> DictRow | None:
    """Return signs of life of a pg_restore's sessions, by another connection; None where the server is silent.

    They `work`, or wait for pg_restore, which unpacks: then the `sign` changes with each statement and block of rows.
    """
    import psycopg

    application, dbname = session
    try:
        with postgres.connect(
            at.target, task=at.task, dbname=at.conn.info.dbname, timeout=max(2, round(silence.limit))
        ) as other:
            return postgres.row(other, SESSIONS, dbname, application)
    except (psycopg.Error, Problem):
        return None


def default_jobs() -> int:
    """Return how many sessions load at once where nobody says."""
    return max(1, min(4, os.cpu_count() or 1))
