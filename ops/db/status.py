"""What runs where: version, tables with row counts, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from config.declared import Word
from config.targets import Target
from ops import postgres
from ops.db import seed
from ops.errors import NoDatabase
from ops.targets.identity import PREV, Why
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


@dataclass(frozen=True)
class Table:
    """A table of the user's own."""

    name: str
    """Its schema and name, quoted where SQL wants it."""
    rows: int | None
    """Null where this user may not read it."""
    rows_exact: bool
    """Whether they were counted: from a million on the planner's estimate serves."""
    size_bytes: int
    """With its indexes, and what is stored aside."""


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
    """The newest first; null also where this user may not read them."""


EXACT_BELOW = 1_000_000
"""Rows up to which a table is counted; beyond it the planner's estimate serves."""

TABLES = """
select format('%I.%I', nspname, relname) as name,
       -- a table that was not analysed yet is guessed from its size, a partitioned one from its parts
       case when relkind = 'p' then coalesce((select sum(greatest(l.reltuples, 0))
                from pg_partition_tree(c.oid) t join pg_class l on l.oid = t.relid), 0)
            when reltuples > 0 then reltuples
            else pg_relation_size(c.oid) / 100 end::bigint as estimate,
       pg_total_relation_size(c.oid) as bytes
from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind in ('r', 'p') and nspname not in ('pg_catalog', 'information_schema', 'inv')
  and nspname not like 'pg_toast%' and nspname not like 'pg_temp%'
order by 1
"""


def report(place: OpenTarget) -> Status:
    """Return the facts of a target."""
    import psycopg

    live, kept = place.database(), place.database(PREV)
    target, tables_found, size = place.target, list[Table](), None
    seeds: list[Seed] | None = []
    if live:
        try:
            with place.connect() as conn:
                size = postgres.row(conn, "select pg_database_size(current_database()) as bytes")["bytes"]
                tables_found = tables(conn)
                try:
                    seeds = [
                        Seed(row["name"], row["digest"], row["applied_at"], row["names"]) for row in seed.applied(conn)
                    ]
                except psycopg.errors.InsufficientPrivilege:
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
    )


def variable(target: Target) -> str | None:
    """Return the variable that names a target, None where there is none."""
    names = target.declared.names
    return target.source if target.source in (names.url, names.endpoint, names.password) else None


def tables(conn: Connection[DictRow]) -> list[Table]:
    """Return each table with its rows, counted or estimated, and its size."""
    import psycopg
    from psycopg import sql

    found = []
    for row in postgres.fetch(conn, TABLES):
        exact = row["estimate"] < EXACT_BELOW
        rows: int | None = row["estimate"]
        if exact:
            try:
                counted = conn.execute(sql.SQL("select count(*) as rows from " + row["name"])).fetchone()
                rows = counted["rows"] if counted else None
            except psycopg.errors.InsufficientPrivilege:
                rows = None
        found.append(Table(row["name"], rows, exact, row["bytes"]))
    return found


def count(table: Table) -> str:
    """Return a table's rows as people read them: ~ for an estimate, nothing where we may not look."""
    return "" if table.rows is None else f"{'' if table.rows_exact else '~'}{table.rows}"


def summary(tables: Sequence[Table]) -> str:
    """Return tables with their rows on one line."""
    return ", ".join(f"{t.name} {count(t)} rows" for t in tables) or "none"


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
