"""Which rows of an instance are later than the point from which another one was restored.

A restored instance is a physical copy: a row has the number of the transaction that wrote it (xmin) in both. A transaction that
had committed by the restore point shows in both, one that had not shows in the live one only. So rows whose xmin the restored one
does not have were written later; rows that it has more of were changed or deleted since. Exact as long as nobody writes to the
restored one; what rewrites a table as new rows (ALTER TABLE, pg_repack) counts as written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

TABLES = """
    select n.nspname as schema, c.relname as name, has_table_privilege(c.oid, 'select') as readable
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
     order by 1, 2
"""
BATCH = 10_000


@dataclass(frozen=True)
class Later:
    """A table that differs."""

    table: str
    written: int
    """Rows that only the live instance has."""
    gone: int
    """Rows that only the restored one has, as they were."""


@dataclass(frozen=True)
class Found:
    """What was counted."""

    tables: list[Later] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Tables that the login may not read."""


def find(live: Connection[DictRow], restored: Connection[DictRow]) -> Found:
    """Count in all tables of the database; the rows are gone through once on both sides, in little memory."""
    found = Found()
    now, then = tables(live), tables(restored)
    for name in sorted({*now, *then}):
        if not (now.get(name, True) and then.get(name, True)):
            found.unread.append(".".join(name))
            continue
        mine = counts(live, name) if name in now else iter(())
        theirs = counts(restored, name) if name in then else iter(())
        one = compare(".".join(name), mine, theirs)
        if one.written or one.gone:
            found.tables.append(one)
    return found


def tables(conn: Connection[DictRow]) -> dict[tuple[str, str], bool]:
    """Return the tables, and whether the login may read each."""
    return {(row["schema"], row["name"]): row["readable"] for row in conn.execute(TABLES)}


def counts(conn: Connection[DictRow], name: tuple[str, str]) -> Iterator[tuple[int, int]]:
    """Yield transaction numbers of a table in order, and how many rows each has written."""
    from psycopg import errors, sql

    query = sql.SQL("select xmin::text::bigint as xid, count(*) as rows from only {} group by 1 order by 1").format(
        sql.Identifier(*name)
    )
    try:
        with conn.transaction(), conn.cursor(name="written_later") as cursor:
            cursor.itersize = BATCH
            cursor.execute(query)
            for row in cursor:
                yield row["xid"], row["rows"]
    except errors.UndefinedTable:  # dropped meanwhile
        return


def compare(table: str, live: Iterator[tuple[int, int]], restored: Iterator[tuple[int, int]]) -> Later:
    """Go through both in the order of their numbers."""
    written = gone = 0
    mine: Any = next(live, None)
    theirs: Any = next(restored, None)
    while mine or theirs:
        if theirs is None or (mine and mine[0] < theirs[0]):
            written += mine[1]
            mine = next(live, None)
        elif mine is None or theirs[0] < mine[0]:
            gone += theirs[1]
            theirs = next(restored, None)
        else:
            gone += max(theirs[1] - mine[1], 0)
            written += max(mine[1] - theirs[1], 0)
            mine, theirs = next(live, None), next(restored, None)
    return Later(table, written, gone)
