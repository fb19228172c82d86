"""A migration's statements, run one by one in a session of their own, and what each of them did."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops import postgres, row_values
from ops.db import nowhere
from ops.db.rehearsal import locks
from ops.db.rehearsal.locks import Lock

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# Numbers of this transaction and session only: those who read and write beside it do not come in
RELATIONS = """
select c.oid::bigint as oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind,
  pg_catalog.pg_relation_filenode(c.oid)::bigint as file, i.indrelid::bigint as of_table,
  coalesce(case when c.relkind in ('r', 'm') then pg_catalog.pg_total_relation_size(c.oid) else pg_catalog.pg_relation_size(c.oid) end, 0) as bytes,
  coalesce(pg_catalog.pg_relation_size(c.oid), 0) as own_bytes, pg_catalog.pg_stat_get_xact_numscans(c.oid) as scans,
  pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
    + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) as changed
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_index i on i.indexrelid = c.oid
where c.relkind in ('r', 'p', 'm', 'v', 'i', 'I', 'S', 'f')
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
"""
# What is shared by all sessions, where a statement has no transaction of its own to count in
SCANS = "select relid::bigint as oid, seq_scan as scans from pg_catalog.pg_stat_user_tables"
KEYS = "select conrelid::bigint as of_table, oid::bigint as oid from pg_catalog.pg_constraint where contype = 'f' and convalidated"
WAL = "select pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0') as at"


@dataclass(frozen=True)
class Statement:
    """One statement of a file."""

    sql: str
    line: int
    """Where it begins in its file, from 1."""


@dataclass(frozen=True)
class Part:
    """The statements of one direction of a migration."""

    statements: tuple[Statement, ...]
    transaction: bool
    """Whether they are one transaction."""


@dataclass(frozen=True)
class Effect:
    """Work that a statement did on a table, by which its time grows with that."""

    oid: int
    """Of the table."""
    table: str
    what: str
    """rewrite, scan, index, join or change."""
    times: int = 1
    """How many scans, or indexes that were built, or that a changed row comes into."""
    rows: int = 0
    """Of a change: how many."""


@dataclass(frozen=True)
class Ran:
    """What one statement did."""

    statement: Statement
    started: float
    """By the monotonic clock, in seconds."""
    ended: float
    released: float
    """When its locks were given back."""
    locks: tuple[Lock, ...] = ()
    effects: tuple[Effect, ...] = ()
    wal_bytes: int = 0
    before_bytes: int = 0
    """Of the tables that it locked or worked on, with their indexes."""
    after_bytes: int = 0

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Failed(Exception):
    """A statement that the server refused, as it was written."""

    def __init__(self, statement: Statement, error: Any) -> None:
        super().__init__(str(error))
        self.statement = statement
        self.sqlstate: str = error.sqlstate or ""
        said: str = row_values.words(error.diag) or str(error)
        self.message = nowhere.NOT_RUN if said.endswith(nowhere.NO_HANDLER) else said
        self.table = ".".join(filter(None, (error.diag.schema_name, error.diag.table_name)))
        self.column: str = error.diag.column_name or ""
        # Key (maker_id)=(7) is not present in table "makers"
        key = re.match(r'Key \((.*)\)=\(.*\) is not present in table "(.*)"', error.diag.message_detail or "")
        self.missing: tuple[str, str] | None = (key[1], key[2]) if key else None
        """The column and the table that a new foreign key finds no row in."""


@dataclass(frozen=True)
class Look:
    """The database as one look found it."""

    relations: Mapping[int, DictRow]
    keys: frozenset[tuple[int, int]]
    """Foreign keys that hold, with the table that they are on."""
    wal: int


def look(conn: Connection[DictRow], *, shared: bool) -> Look:
    """Read what there is, in one go; `shared`: scans as all sessions have made them."""
    relations = {row["oid"]: row for row in postgres.fetch(conn, RELATIONS)}
    if shared:
        conn.execute("select pg_catalog.pg_stat_force_next_flush()")
        conn.execute("select pg_catalog.pg_stat_clear_snapshot()")
        for row in postgres.fetch(conn, SCANS):
            if row["oid"] in relations:
                relations[row["oid"]]["scans"] = row["scans"]
    keys = frozenset((row["of_table"], row["oid"]) for row in postgres.fetch(conn, KEYS))
    return Look(relations, keys, int(postgres.row(conn, WAL)["at"]))


def look_at(connect: Callable[[], Connection[DictRow]], part: Part) -> list[Ran]:
    """Run the statements of a transaction, return what each of them did, and roll it back; raises `Failed`."""
    found = list[Ran]()
    with contextlib.closing(connect()) as conn:
        pid = conn.info.backend_pid
        conn.execute("begin")
        before, had = look(conn, shared=False), locks.held(conn, pid)
        names = {oid: row["name"] for oid, row in before.relations.items()}
        for statement in part.statements:
            started, ended = execute(conn, statement)
            has, after = locks.held(conn, pid), look(conn, shared=False)
            found.append(told(statement, started, ended, locks.taken(had, has, names), before, after))
            before, had = after, has
        conn.execute("rollback")
    return found


def run(connect: Callable[[], Connection[DictRow]], part: Part) -> list[Ran]:
    """Run the statements of a part for good, and return how long each took; raises `Failed`, with nothing kept of a transaction.

    Nothing is looked at within a transaction, since others wait for its locks; what is none is watched from beside.
    """
    with contextlib.closing(connect()) as conn:
        if not part.transaction:
            return [alone(conn, connect, statement) for statement in part.statements]
        conn.execute("begin")
        took = [(statement, *execute(conn, statement)) for statement in part.statements]
        conn.execute("commit")
        over = time.monotonic()
    return [Ran(statement, started, ended, over) for statement, started, ended in took]


def alone(conn: Connection[DictRow], connect: Callable[[], Connection[DictRow]], statement: Statement) -> Ran:
    """Run a statement outside of a transaction, and return what it did."""
    before = look(conn, shared=True)
    watch = locks.Watch(connect, conn.info.backend_pid)
    with watch.looking():
        started, ended = execute(conn, statement)
    names = {oid: row["name"] for oid, row in before.relations.items()}
    got = locks.taken(frozenset(), frozenset(watch.seen), names)
    return told(statement, started, ended, got, before, look(conn, shared=True))


def execute(conn: Connection[DictRow], statement: Statement) -> tuple[float, float]:
    """Run a statement, and return when it began and ended."""
    import psycopg

    started = time.monotonic()
    try:
        conn.execute(statement.sql.encode(errors="surrogateescape"))
    except psycopg.Error as error:
        if not conn.closed:
            conn.execute("rollback")
        raise Failed(statement, error) from error
    return started, time.monotonic()


def told(statement: Statement, started: float, ended: float, got: Sequence[Lock], before: Look, after: Look) -> Ran:
    """Return what was done between two looks."""
    effects = effects_of(before, after, {lock.relation: lock.level for lock in got})
    touched = {lock.relation for lock in got} | {effect.table for effect in effects}
    tables = [oid for oid, row in before.relations.items() if row["kind"] in ("r", "m") and row["name"] in touched]
    return Ran(
        statement=statement,
        started=started,
        ended=ended,
        released=ended,
        locks=tuple(got),
        effects=tuple(effects),
        wal_bytes=after.wal - before.wal,
        before_bytes=sum(before.relations[oid]["bytes"] for oid in tables),
        after_bytes=sum(after.relations[oid]["bytes"] for oid in tables if oid in after.relations),
    )


def effects_of(before: Look, after: Look, got: Mapping[str, str]) -> list[Effect]:
    """Return the work between two looks on tables that were there before."""
    found, indexes = [], dict[int, int]()
    for oid, row in after.relations.items():
        old, table = before.relations.get(oid), row["of_table"]
        if table in before.relations and row["file"] and (old is None or old["file"] != row["file"]):
            indexes[table] = indexes.get(table, 0) + 1
    for oid, row in after.relations.items():
        old = before.relations.get(oid)
        if old is None or row["kind"] not in ("r", "m"):
            continue
        name, scans = old["name"], row["scans"] - old["scans"] - indexes.get(oid, 0)  # building one is a scan, too
        # what is emptied gets a new file as well, but is not read
        if old["file"] != row["file"] and (row["own_bytes"] or scans > 0 or row["kind"] == "m"):
            found.append(Effect(oid, name, "rewrite"))
            scans -= 1
        if scans > 0:
            found.append(Effect(oid, name, "scan", scans))
        changed = row["changed"] - old["changed"]
        if changed > 0 or (scans > 0 and not old["own_bytes"] and got.get(name) == "row_exclusive"):
            has = sum(each["of_table"] == oid for each in before.relations.values())
            found.append(Effect(oid, name, "change", times=has, rows=changed))
    found += [Effect(oid, before.relations[oid]["name"], "index", times) for oid, times in indexes.items()]
    joined = {table for table, _ in after.keys - before.keys if table in before.relations}
    return found + [Effect(oid, before.relations[oid]["name"], "join") for oid in joined]
