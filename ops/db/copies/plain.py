"""A plain dump, loaded by us: over one connection, statement by statement as psql does, with a pointer to what is wrong.

Each statement is kept as it is done, since what it is loaded into is nobody's yet: one transaction of it all would run out of
locks with some thousands of tables or large objects (max_locks_per_transaction).
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops import silence
from ops.db import load
from ops.db.copies import roles
from ops.db.copies.formats import TITLE, Format
from ops.db.copies.roles import Roles, Statement
from ops.db.sql_file.contents import CopyIn, Found
from ops.db.sql_file.metacommands import name_of
from ops.db.sql_file.script import Script, needs_psql
from ops.db.sql_file.text import line_end
from ops.errors import Misconfigured, Problem
from ops.meter import measured
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

OF_DATABASE = re.compile(
    r"(CREATE|ALTER|DROP|COMMENT ON) DATABASE |(GRANT|REVOKE) .* ON DATABASE |SECURITY LABEL .* ON DATABASE "
)
"""What is about the database itself, by pg_dump --create: the one that is restored has its own."""
OF_EXTENSION = re.compile("COMMENT ON EXTENSION ")
STATISTICS = re.compile(rb"SELECT (\* FROM )?pg_catalog\.pg_restore_\w+_stats\(")
OWN = ("restrict", "unrestrict", "c", "connect")
COMMENTS = b"\n-- Name: ", b"\n-- Data for Name: "
OBJECT = re.compile(r"\n-- (?:Data for )?Name: (?P<name>.*); Type: (?P<type>.*); Schema: (?P<schema>.*?); Owner: ")
DATA = re.compile(rb"(INSERT INTO|SELECT pg_catalog\.(setval|lo_open|lowrite|lo_close)\(|COPY )")
INTO = re.compile(rb'(?:COPY|INSERT INTO) ((?:"(?:[^"]|"")+"|[^\s"(.]+)(?:\.(?:"(?:[^"]|"")+"|[^\s"(.]+))?)')


class Plain:
    """A plain dump and what it needs."""

    def __init__(self, script: Script, found: Format) -> None:
        self.script, self.format = script, found
        self.by_pg_dump = TITLE in script.data[: 1 << 14] and all(
            name_of(each.text) in OWN for each in script.contents.commands
        )

    @property
    def shown(self) -> str:
        return self.script.name

    def statements(self) -> Iterator[tuple[Found, Statement]]:
        """Yield the statements that name roles."""
        for found in self.script.contents.remarkable:
            if found.text.startswith(roles.FIRST):
                made = roles.statement(self.script.data[found.start : found.end].decode(errors="replace"))
                if made and not OF_DATABASE.match(found.text):
                    yield found, made

    def look(self, at: OpenTarget) -> Roles:
        """Check it against the server; return its roles. Raises `Misconfigured` and `Problem`."""
        self.at = at
        self.server = at.conn.info.server_version // 10000
        self.plan = self.planned(at)
        load.check_extensions(at, [self.plan])
        load.check_client([self.plan])
        named = list(self.statements())
        found = roles.look(at, (each for _, each in named))
        unfit = [(where, each) for where, each in named if not found.is_fit(each)]
        later = [(where, found.instead(each)) for where, each in unfit]
        if any(each.kind == "policy" for _, each in unfit):  # what is said of one comes behind it
            later += [
                (where, self.script.data[where.start : where.end].decode(errors="replace").rstrip().rstrip(";"))
                for where in self.script.contents.remarkable
                if roles.OF_POLICY.match(where.text)
            ]
        later.sort(key=lambda each: each[0].start)
        self.plan = self.plan._replace(pointless=[*self.plan.pointless, *(where for where, _ in later)])
        self.later = [text for _, text in later]
        return found

    def planned(self, at: OpenTarget) -> load.Plan:
        """Return how it is loaded."""
        if not self.by_pg_dump:
            return load.plan(self.script, {}, rebuilds=at.name)
        contents = self.script.contents
        bases = [each for each in contents.commands if name_of(each.text) in ("c", "connect")]
        if len(bases) > 1:
            raise Misconfigured(f"{self.script.at(bases[1].start)}: goes to a second database: make a dump of each")
        for copy in contents.copies:
            if isinstance(copy, CopyIn) and not copy.closed:
                raise Misconfigured(
                    f"{self.script.at(copy.start)}: what follows a COPY FROM stdin must stand on a line of its own"
                )
        nowhere = [each for each in contents.remarkable if OF_DATABASE.match(each.text)]
        if not at.facts["superuser"]:  # only its owner may write it, and CREATE EXTENSION has done so
            nowhere += [each for each in contents.remarkable if OF_EXTENSION.match(each.text)]
        if self.server < 18 <= self.format.program:  # it has no functions that would take them
            nowhere += [
                Found(start, end, "")
                for start, end in self.spans()
                if STATISTICS.match(self.script.data[start : start + 60])
            ]
        extensions = [
            (
                self.script,
                Found(found.start, found.end, roles.plain(name[1]) if name[1][0] == chr(34) else name[1].lower()),
            )
            for found in contents.remarkable
            if (name := load.EXTENSION.match(found.text))
        ]
        return load.Plan(
            self.script,
            {},
            self.for_psql(),
            [],
            [*contents.commands, *nowhere],
            [each for each in contents.remarkable if re.match(load.NEWER, each.text)],
            extensions,
            [each for each in contents.remarkable if re.match(load.ENDLESS, each.text)],
        )

    def for_psql(self) -> Found | None:
        """Return what only psql can do: text in another encoding, strings of before PostgreSQL 9.1."""
        bare = Script(self.script.name, self.script.data)
        contents = self.script.contents
        bare.__dict__["contents"] = type(contents)(contents.statements, contents.remarkable, [], [], contents.copies)
        return needs_psql(bare, {})

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield where each statement begins, and where the next one or a command of psql does."""
        starts = [*self.script.contents.statements, len(self.script.data)]
        commands = [each.start for each in self.script.contents.commands]
        for start, end in itertools.pairwise(starts):
            while commands and commands[0] < start:
                commands.pop(0)
            yield start, min([end, *commands[:1]])

    def fill(self, conn: Connection[DictRow]) -> None:
        """Load it into the database of `conn`."""
        if self.plan.by_psql or not self.by_pg_dump:
            load.load_file(self.at, conn, self.plan)
        else:
            blanks = self.plan.blanks(conn.info.server_version)
            name, size = Path(self.script.name).name, len(self.script.data)
            with self.naming(), told(conn), measured(name, size, partial(load.running, self.script)) as meter:
                load.execute(conn, self.script, blanks, meter)
                self.script.check()
        conn.execute("reset all; reset session authorization; reset role")
        roles.run(conn, self.later)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Have an error tell of which object it is, as the comment before it says, and which versions are between."""
        try:
            yield
        except Problem as error:
            place = re.match(re.escape(self.script.name) + r":(\d+):\d+: ", str(error))
            if place and (name := self.object_at(int(place[1]))):
                error.detail += (f"  object: {name}",)
            self.format.advise(error, self.server)
            raise

    def object_at(self, line: int) -> str:
        """Return what a line of the dump is about; empty where it does not say."""
        data = self.script.data
        end = line_end(data, line)
        start = max(data.rfind(comment, max(0, end - (1 << 20)), end) for comment in COMMENTS)
        found = OBJECT.match(data[start : start + 1000].decode(errors="replace")) if start >= 0 else None
        return f"{found['type']} {found['name']} in schema {found['schema']}" if found else ""

    def fill_schema(self, conn: Connection[DictRow]) -> None:
        """Load what stands before the first row: all that a table needs."""
        if self.plan.by_psql:
            raise Misconfigured(
                f"{self.script.at(self.plan.by_psql.start)}: only psql understands this, so no single table is taken from here: restore all of it"
            )
        end = self.first_row()
        head = Script(self.script.name, self.script.data[:end])
        before = [each for each in self.plan.blanks(conn.info.server_version) if each.start < end]
        with self.naming(), told(conn), measured(Path(head.name).name, end, partial(load.running, head)) as meter:
            load.execute(conn, head, before, meter)
        conn.execute("reset all; reset session authorization; reset role")

    def first_row(self) -> int:
        """Return where the first statement stands that brings rows."""
        found = (start for start in self.script.contents.statements if DATA.match(self.script.data[start : start + 60]))
        return next(found, len(self.script.data))

    def fill_tables(self, conn: Connection[DictRow], tables: Sequence[tuple[str, str]]) -> None:
        """Load the rows of some tables, by schema and name."""
        import psycopg

        from ops.db.sql_file import diagnostics

        copies = {copy.start: copy for copy in self.script.contents.copies if isinstance(copy, CopyIn)}
        with told(conn), measured(Path(self.script.name).name, len(self.script.data)) as meter:
            for start, end in self.spans():
                meter.done = start
                into = INTO.match(self.script.data[start : start + 300])
                if into is None or named(into[1]) not in tables:
                    continue
                if start in copies:
                    if error := load.copied(conn, self.script, copies[start], meter):
                        raise diagnostics.of_statement(self.script, error, [start, end], start)
                    continue
                try:
                    conn.execute(self.script.data[start:end])
                except psycopg.Error as error:
                    raise diagnostics.of_statement(self.script, error.diag, [start, end], start) from None
        self.script.check()


def told(conn: Connection[DictRow]) -> AbstractContextManager[None]:
    """Have the waits for the server be told by a bar alone."""
    return silence.quiet(conn, silence.PROGRESS)


def named(name: bytes) -> tuple[str, str]:
    """Return schema and name of a table as a dump writes it."""
    parts = re.findall(r'"(?:[^"]|"")+"|[^."]+', name.decode(errors="replace"))
    return (roles.plain(parts[0]), roles.plain(parts[1])) if len(parts) > 1 else ("public", roles.plain(parts[0]))
