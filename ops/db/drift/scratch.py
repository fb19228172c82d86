"""What a look needs of databases: an empty one on the embedded server, and one that holds what the repository says.

The first is only given what pg_dump writes. Migrations and schema files may drop databases and make roles, so what they say is
built on a server of its own, in a folder of .local/drift; it is kept there, stopped, by the digest of what it was built from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from config import paths
from config.settings import Settings
from ops import postgres
from ops.console import say
from ops.db import load, nowhere, scratch_server
from ops.db.sql_file.script import Script
from ops.errors import Problem
from ops.targets import opening
from ops.targets.embedded import binaries, server
from ops.targets.embedded.state import Server
from ops.targets.identity import Reason, facts
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PASSING = "inv_scratch_"
OURS = re.compile(r"^inv_(scratch|schema)_[0-9a-f]{16}$")
"""Names of databases that are ours on the embedded server; inv_schema_ is of a time when what was built lay there, too."""
LAST = 3
"""How many servers that hold what a repository says are kept: one for each branch that is being worked on."""
LOCK = "select pg_try_advisory_lock(hashtextextended(%s, 1)) as got"
DIGEST = re.compile(r"[0-9a-f]{16}")
PASSING_SERVER = "passing"
WHOLE = "whole"
"""The file that is put beside a server once all was built on it."""
NAME = "built"
"""Of the database."""
LACKS = re.compile(r'\b(role|database) "(.+?)" does not exist')
"""Words of Postgres for what is of a whole server, and made by hand there mostly."""
FORM = "2"
"""Goes into the digest: another way to build a database makes it another one."""


@contextlib.contextmanager
def open_scratch(settings: Settings, task: str = "db.drift") -> Iterator[OpenTarget]:
    """Yield an empty database on the embedded server, which is started if it is not there; it is dropped after.

    The place is one like any other: `at.connect()` opens a session in the database, `at.conn` is one beside it.
    """
    at = reached(settings, task, PASSING + secrets.token_hex(8))
    with at.conn:
        sweep(at.conn)
        try:
            make(at)
            yield at
        finally:
            drop(at.conn, at.name)


@dataclass(frozen=True)
class Content:
    """What the repository says of a database."""

    schema: Script | None
    """The schema file, None where there is none."""
    variables: Mapping[str, str]
    """Those of psql, for the file."""
    behind: Callable[[OpenTarget, Connection[DictRow]], None] | None = None
    """What is done behind the file: the migrations that it does not hold."""
    of_behind: str = ""
    """What that is told from another by, as the digests of the migrations."""
    before_all: bool = False
    """Whether the file says that it holds none of the migrations."""

    def digest(self, version: int) -> str:
        """Return what a database that holds it is known by, on a server of a version."""
        parts = (FORM, version, self.schema and self.schema.digest, sorted(self.variables.items()), self.of_behind)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def fill(self, at: OpenTarget) -> None:
        """Load it into an empty database."""
        plans = [load.plan(self.schema, self.variables, rebuilds=at.settings.database)] if self.schema else []
        load.check_extensions(at, plans)
        load.check_client(plans)
        with at.connect() as conn:
            for plan in plans:
                load.load_file(at, conn, plan)
            if self.behind:
                self.behind(at, conn)


@contextlib.contextmanager
def open_built(settings: Settings, content: Content, task: str = "db.drift") -> Iterator[tuple[OpenTarget, float]]:
    """Yield a database that holds what the repository says, and the seconds that it took to build.

    It is kept, by the digest of the content, so that it is built once: nobody writes to it. Raises `Problem` with the
    file's line where the schema does not load.
    """
    with scratch_server.alone(settings.root, scratch_server.DRIFT) as folder:
        place = folder / content.digest(binaries.major(binaries.server_bin()) or 0)
        sweep_servers(folder, place)
        seconds = 0.0
        if not (place / WHOLE).exists():
            begun = time.monotonic()
            build(settings, task, place, content.fill)
            seconds = time.monotonic() - begun
        with open(paths.opened(place / WHOLE, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as mark:
            os.utime(mark.fileno())
        try:
            with on_server(settings, task, server.start_server(place)) as at:
                yield at, seconds
        finally:
            server.stop_server(place)


@contextlib.contextmanager
def open_passing(
    settings: Settings, fill: Callable[[OpenTarget], None], task: str = "db.drift"
) -> Iterator[OpenTarget]:
    """Yield a database that was filled, on a server of its own that is removed after."""
    with scratch_server.alone(settings.root, scratch_server.DRIFT) as folder:
        place = folder / PASSING_SERVER
        sweep_servers(folder, place)
        try:
            build(settings, task, place, fill)
            with on_server(settings, task, server.start_server(place)) as at:
                yield at
        finally:
            scratch_server.remove(place)


def build(settings: Settings, task: str, place: Path, fill: Callable[[OpenTarget], None]) -> None:
    """Fill a database on a new server, which runs on; raises `Problem`, with nothing left, where that does not go.

    A role or database that a statement takes for given, since somebody made it by hand where it is used, is made on another
    new server, and all begun again there: what the first try has made would be in the way.
    """
    given: list[tuple[str, str]] = []
    while lacked := tried(settings, task, place, fill, given):
        given.append(lacked)


def tried(
    settings: Settings, task: str, place: Path, fill: Callable[[OpenTarget], None], given: Sequence[tuple[str, str]]
) -> tuple[str, str] | None:
    """Fill a database on a new server that has some roles and databases; return what is lacking for it, None once it is done."""
    import psycopg
    from psycopg import sql

    try:
        made = scratch_server.start_anew(place)
        with contextlib.closing(postgres.connect(made.target("postgres"), task=task)) as conn:
            conn.execute(f"create database {NAME} template template0".encode())
            for kind, name in given:
                conn.execute(sql.SQL("create {} {}").format(sql.SQL(kind), sql.Identifier(name)))
        with on_server(settings, task, made) as at, contextlib.closing(at.connect()) as conn:
            nowhere.seal(conn)
            fill(at)
            nowhere.unseal(conn)
    except (Problem, psycopg.Error) as error:
        scratch_server.remove(place)
        said = str(error)
        if (found := LACKS.search(said)) and (found[1], found[2]) not in given and not found[2].startswith("pg_"):
            return found[1], found[2]
        if nowhere.NO_HANDLER in said and isinstance(error, Problem):
            raise Problem(f"{error.args[0]}: {nowhere.NOT_RUN}", *error.args[1:]) from error
        raise
    except BaseException:
        scratch_server.remove(place)
        raise
    return None


@contextlib.contextmanager
def on_server(settings: Settings, task: str, made: Server) -> Iterator[OpenTarget]:
    """Yield the database of a server of ours as a place like any other."""
    target = made.target(NAME)
    with contextlib.closing(opening.maintenance(settings, target, task)) as conn:
        yield OpenTarget(settings, target, task, conn, facts(conn, NAME), Reason())


def sweep_servers(folder: Path, wanted: Path) -> None:
    """Stop and remove what runs that were killed have left, and what was not asked for in a long time."""
    others = [each for each in folder.iterdir() if each.is_dir() and each != wanted]
    whole = [each for each in others if DIGEST.fullmatch(each.name) and (each / WHOLE).exists()]
    newest = sorted(whole, key=lambda each: (each / WHOLE).stat().st_mtime, reverse=True)[: LAST - 1]
    for each in others:
        if each in newest:
            server.stop_server(each)
        else:
            scratch_server.remove(each)


def reached(settings: Settings, task: str, name: str) -> OpenTarget:
    """Return a database of this name on the embedded server, as a place, whether it is there or not."""
    running = server.start_server(settings.root)
    target = running.target(name)
    conn = opening.maintenance(settings, target, task)
    return OpenTarget(settings, target, task, conn, facts(conn, name), Reason())


def make(at: OpenTarget) -> None:
    """Create the database, of nothing but what Postgres itself puts there, and hold its lock."""
    at.conn.execute(LOCK.encode(), [at.name])
    at.conn.execute(f"create database {at.name} template template0".encode())
    at.look_again()


def sweep(conn: Connection[DictRow]) -> None:
    """Remove what runs that were killed have left."""
    for row in postgres.fetch(conn, "select datname from pg_database where datname ~ %s", OURS.pattern):
        discard(conn, row["datname"])


def discard(conn: Connection[DictRow], name: str) -> None:
    """Remove a database of ours in which nobody works."""
    if OURS.match(name) and postgres.row(conn, LOCK, name)["got"]:
        drop(conn, name)


def drop(conn: Connection[DictRow], name: str) -> None:
    """Remove a database of ours; what cannot be removed now, the next run does."""
    import psycopg

    assert OURS.match(name)
    try:
        conn.execute(f"drop database if exists {name} with (force)".encode())
        conn.execute(b"select pg_advisory_unlock(hashtextextended(%s, 1))", [name])
    except psycopg.Error as error:
        say(f"note: {name} on the embedded server is removed by the next run: {' '.join(str(error).split())}")
