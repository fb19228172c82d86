"""What runs where: version, tables with row counts, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from config.declared import Word
from config.targets import Target
from ops import postgres
from ops.console import few
from ops.db import seed
from ops.db.table_rows import Table, unlocked
from ops.errors import NoDatabase
from ops.targets.identity import PREV, Why
from ops.targets.open_target import OpenTarget

PATIENCE = "250ms"
"""How long a look waits for a lock: behind one that keeps readers out it would say nothing at all of what runs there."""


@dataclass(frozen=True)
class Seed:
    """A seed file that was applied, and whose rows are still there."""

    file: str
    """Its name, without the folder."""
    sha256: str
    """Of its content and the variables it was given."""
    applied_at: datetime
    """When that was."""
    tables: list[str]
    """Those that got rows of it."""


@dataclass(frozen=True)
class Status:
    """A target: its server, its database, and what is in it; null is what nobody answers for."""

    target: str
    """As it is given to --target."""
    kind: Word
    """Who keeps the server: the suite, docker-compose.yml, RDS, or somebody else."""
    variable: str | None
    """The variable that names it; null for the embedded server, and for what RDS was asked."""
    running: bool
    """Whether the server answers: false for an embedded one that is stopped; any other that is silent is an error."""
    address: str | None = None
    """user@host:port/database, as it stands in messages."""
    user: str | None = None
    """Who logs in."""
    host: str | None = None
    """Null for a socket of this machine."""
    port: int | None = None
    """Of the server."""
    database: str | None = None
    """Its name."""
    version: str | None = None
    """Of PostgreSQL."""
    tls: bool | None = None
    """Whether the connection is encrypted."""
    production: bool | None = None
    """Whether a dangerous act wants its name."""
    production_reason: Why | None = None
    """Why: by its declaration, its host, the comment on the database, or since production was seen there."""
    exists: bool | None = None
    """Whether the database is there."""
    previous_database: str | None = None
    """What db.undo brings back."""
    size_bytes: int | None = None
    """Of the database."""
    tables: list[Table] | None = None
    """Null while the server does not run."""
    seeds: list[Seed] | None = None
    """The newest first; null also where this user may not read them, or somebody holds what they filled locked."""
    note: str | None = None
    """What was not looked at since somebody holds it locked, in words."""


def report(place: OpenTarget) -> Status:
    """Return the facts of a target."""
    import psycopg

    live, kept = place.database(), place.database(PREV)
    target, tables_found, size = place.target, list[Table](), None
    seeds: list[Seed] | None = []
    locked: dict[str, list[int]] = {}
    if live:
        try:
            with place.connect() as conn:
                size = postgres.row(conn, "select pg_database_size(current_database()) as bytes")["bytes"]
                tables_found, locked = unlocked(conn, PATIENCE)
                try:
                    rows = seed.applied(conn, PATIENCE)
                    seeds = [Seed(row["name"], row["digest"], row["applied_at"], row["names"]) for row in rows]
                except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
                    seeds = None
        except NoDatabase:  # dropped between the two looks
            live = None
    return Status(
        target=target.name,
        kind=target.kind.word,
        variable=variable(target),
        running=True,
        address=target.address,
        user=target.params.get("user") or None,
        host=target.host or None,
        port=target.port,
        database=target.dbname,
        version=place.facts["version"],
        tls=bool(place.conn.pgconn.ssl_in_use),
        production=bool(place.prod),
        production_reason=place.prod.word,
        exists=live is not None,
        previous_database=kept["datname"] if kept else None,
        size_bytes=size,
        tables=tables_found,
        seeds=seeds,
        note=told(locked) or None,
    )


def told(locked: Mapping[str, Sequence[int]]) -> str:
    """Return what was not looked at, and who holds it; nothing where nobody does."""
    if not locked:
        return ""
    pids = sorted({pid for each in locked.values() for pid in each})
    return (
        f"{few(list(locked))} locked by {few([f'pid {pid}' for pid in pids])}: "
        "rows not counted, sizes as at the last vacuum (inv db.sessions tells who that is)"
    )


def variable(target: Target) -> str | None:
    """Return the variable that names a target, None where there is none."""
    names = target.declared.names
    return target.source if target.source in (names.url, names.endpoint, names.password) else None


def human(size: int | None) -> str:
    """Return a size in bytes as people read it."""
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
