"""A database for the time of a look, on the embedded server, and one that holds what the repository says.

Names tell what is ours there: `inv_scratch_` or `inv_schema_` and sixteen digits of base 16. Who works in one holds a lock
for its name, so that the next run removes what a killed one has left, and nothing that is in use.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import postgres
from ops.console import say
from ops.db import load
from ops.db.sql_file.script import Script
from ops.targets import opening
from ops.targets.embedded import server
from ops.targets.identity import Reason, facts
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PASSING, KEPT = "inv_scratch_", "inv_schema_"
OURS = re.compile(rf"^({PASSING}|{KEPT})[0-9a-f]{{16}}$")
LAST = 3
"""How many that hold what a repository says are kept: one for each branch that is being worked on."""
LOCK = "select pg_try_advisory_lock{}(hashtextextended(%s, 1)) as got"
FORM = "1"
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
        load.check_client(at, plans)
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
    first = reached(settings, task, "postgres")
    with first.conn as conn:
        name = KEPT + content.digest(conn.info.server_version)
        seconds = 0.0
        got = postgres.row(conn, LOCK.format("_shared"), name)["got"]
        if not got or not there(conn, name):
            begun = time.monotonic()
            build(settings, task, name, content.fill)
            seconds = time.monotonic() - begun
        yield named(first, name), seconds


def build(settings: Settings, task: str, name: str, fill: Callable[[OpenTarget], None]) -> None:
    """Make a kept database: whole under its name or not at all."""
    import psycopg

    with open_scratch(settings, task) as at:
        fill(at)
        old = [row["datname"] for row in postgres.fetch(at.conn, "select datname from pg_database order by oid desc")]
        for each in [one for one in old if one.startswith(KEPT) and OURS.match(one)][LAST - 1 :]:
            discard(at.conn, each)
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):  # another run was faster
            at.conn.execute(f"alter database {at.name} rename to {name}".encode())


def reached(settings: Settings, task: str, name: str) -> OpenTarget:
    """Return a database of this name on the embedded server, as a place, whether it is there or not."""
    running = server.start_server(settings.root)
    target = running.target(name)
    conn = opening.maintenance(settings, target, task)
    return OpenTarget(settings, target, task, conn, facts(conn, name), Reason())


def named(at: OpenTarget, name: str) -> OpenTarget:
    """Return another database of the same server, over the same connection."""
    return OpenTarget(at.settings, at.target.on(dbname=name), at.task, at.conn, facts(at.conn, name), Reason())


def make(at: OpenTarget) -> None:
    """Create the database, of nothing but what Postgres itself puts there, and hold its lock."""
    at.conn.execute(LOCK.format("").encode(), [at.name])
    at.conn.execute(f"create database {at.name} template template0".encode())
    at.look_again()


def there(conn: Connection[DictRow], name: str) -> bool:
    return bool(postgres.fetch(conn, "select from pg_database where datname = %s", name))


def sweep(conn: Connection[DictRow]) -> None:
    """Remove what runs that were killed have left."""
    for row in postgres.fetch(conn, "select datname from pg_database where starts_with(datname, %s)", PASSING):
        discard(conn, row["datname"])


def discard(conn: Connection[DictRow], name: str) -> None:
    """Remove a database of ours in which nobody works."""
    if OURS.match(name) and postgres.row(conn, LOCK.format(""), name)["got"]:
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
