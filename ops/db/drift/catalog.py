"""All objects of a database, read from the system catalogs at once.

Each in a normal form that is equal between equal schemas on one server version: what belongs to it by name, the expressions
as the server prints them for an empty search_path, and nothing that is only of this server (oids, statistics, storage).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres
from ops.db.drift import kinds
from ops.errors import Problem

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

OLDEST = 150000
LONGEST = "5s"
"""Postgres locks what it prints a definition of, for the blink of the reading: who changes it is not waited for any longer."""


class Key(NamedTuple):
    """What an object is told from others by, as pg_identify_object() says it."""

    kind: str
    name: str


@dataclass(frozen=True)
class Thing:
    """One object."""

    facets: dict[str, str]
    """Its properties by name; one that is at its default is not among them."""
    inside: Key | None
    """What it goes away with: a column's table, a trigger's."""
    oid: int = field(compare=False)
    """What was made first has the lower one, mostly."""


@dataclass(frozen=True)
class Catalog:
    """All objects of the user's schemas in a database."""

    version: int
    """Of the server, as server_version_num: 180006."""
    things: dict[Key, Thing]


def read(conn: Connection[DictRow]) -> Catalog:
    """Read all objects of the database of `conn`; nothing is written, and no setting of the session stays changed.

    Raises `Problem` for a server older than PostgreSQL 15.
    """
    from psycopg.pq import TransactionStatus
    from psycopg.rows import tuple_row

    version = conn.info.server_version
    if version < OLDEST:
        raise Problem(
            f"PostgreSQL {version // 10000} is too old to be compared: this reads {OLDEST // 10000} and newer"
        )
    alone = conn.info.transaction_status is TransactionStatus.IDLE
    with conn.transaction(force_rollback=True):
        if alone:
            conn.execute("set transaction isolation level repeatable read, read only")
        # The planner has no statistics of use on catalogs: it would compile what runs for a moment
        conn.execute(f"set local search_path = ''; set local jit = off; set local lock_timeout = '{LONGEST}'".encode())
        with conn.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(kinds.EVERYTHING.encode()).fetchall()
    things = {}
    for kind, name, in_kind, in_name, oid, facets, rights in rows:
        made = {what: plain(value) for what, value in postgres.shaped(conn, facets, dict).items()}
        made.update(postgres.shaped(conn, rights or {}, dict))
        inside = Key(in_kind, in_name) if in_kind else None
        things[Key(kind, name)] = Thing(made, inside, oid)
    return Catalog(version, things)


def plain(value: object) -> str:
    """Return a property as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
