"""Indexes that are made beside the work of others: what a run that was broken off has left, and whether one is valid.

A CREATE INDEX CONCURRENTLY that fails leaves an index that is invalid: it is kept up by every write, serves no query, and IF NOT
EXISTS takes it for the index. A REINDEX CONCURRENTLY leaves one beside it, called `_ccnew` or `_ccold`
(https://www.postgresql.org/docs/current/sql-createindex.html, sql-reindex.html).
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.console import say
from ops.db.sql_file import scan
from ops.errors import Problem

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PERIOD = 0.5
"""Seconds between two looks at a session that builds an index of the name just now."""

# Partitioned indexes are invalid until each partition has its own: that is how they are made
INVALID = """
select i.indexrelid::int8 as oid, i.indexrelid::regclass::text as name, c.relname as bare, i.indrelid::regclass::text as on_table,
  i.indrelid::int8 as table_oid
from pg_index i join pg_class c on c.oid = i.indexrelid
where not i.indisvalid and c.relkind = 'i'
"""
# Without a name it gets one that is free, so it is known by what it indexes
SAME = """
select other.indexrelid::regclass::text as name
from pg_index made join pg_class m on m.oid = made.indexrelid
join pg_index other on other.indrelid = made.indrelid and other.indexrelid <> made.indexrelid and not other.indisvalid
join pg_class o on o.oid = other.indexrelid and o.relkind = 'i'
where made.indrelid = to_regclass(%(table)s) and made.indisvalid
  and regexp_replace(pg_get_indexdef(made.indexrelid), ' INDEX .*? ON ', ' ') = regexp_replace(pg_get_indexdef(other.indexrelid), ' INDEX .*? ON ', ' ')
"""
# Who makes, rebuilds or drops an index concurrently holds this lock on its table; autovacuum does, too, and goes
BUILDERS = """
select l.pid, a.application_name as application, a.usename as user from pg_locks l left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.relation = %s::oid and l.mode = 'ShareUpdateExclusiveLock' and l.granted and l.pid <> pg_backend_pid()
  and a.backend_type is distinct from 'autovacuum worker'
  and l.database = (select oid from pg_database where datname = current_database())
"""


@dataclass(frozen=True)
class Made:
    """What a statement makes, or makes anew, by the names as they are written in it."""

    table: str = ""
    """Of the index; empty where it is not named."""
    index: str = ""
    """Empty where the statement leaves the name to the server."""
    anew: bool = False
    """Whether it is a REINDEX."""


def words(statement: str) -> str:
    """Return the first words of a statement in capitals, names in quotes as written."""
    data = statement.encode()
    return scan.opening(data, scan.skip_blank(data, 0))


def made_by(statement: str) -> Made | None:
    """Return which index a statement makes beside the work of others; None where it makes none, or closes the table meanwhile."""
    data = statement.encode()
    left = scan.words(data, scan.skip_blank(data, 0))
    capitals = [word.upper() for word in left]
    if "CONCURRENTLY" not in capitals:
        return None
    if capitals[0] == "CREATE" and "INDEX" in capitals[1:3]:
        left = left[capitals.index("CONCURRENTLY") + 1 :]
        if [word.upper() for word in left[:3]] == ["IF", "NOT", "EXISTS"]:
            left = left[3:]
        named = bool(left) and left[0].upper() != "ON"
        index, left = (left[0], left[1:]) if named else ("", left)
        left = left[1:]
        if left and left[0].upper() == "ONLY":
            left = left[1:]
        return Made(dotted(left), index)
    if capitals[0] == "REINDEX":
        at = capitals.index("CONCURRENTLY")
        kind = next((word for word in capitals if word in ("INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM")), "")
        if capitals[at - 1] != kind:  # REINDEX (CONCURRENTLY) INDEX name
            at = capitals.index(kind)
        name = dotted(left[at + 1 :])
        return Made(table=name if kind == "TABLE" else "", index=name if kind == "INDEX" else "", anew=True)
    return None


def dotted(left: list[str]) -> str:
    """Return the name at the beginning of these words, with its schema where it has one."""
    return "".join(left[:3]) if left[1:2] == ["."] else "".join(left[:1])


def bare(name: str) -> str:
    """Return a name as the catalog has it."""
    last = name if name.startswith('"') else name.rpartition(".")[2]
    return last[1:-1].replace('""', '"') if last.startswith('"') else last.lower()


def invalid(conn: Connection[DictRow], made: Made) -> list[DictRow]:
    """Return the invalid indexes that a run of the statement may have left before."""
    if made.anew:
        of = ""
        if made.index:
            of = " and indrelid = (select indrelid from pg_index where indexrelid = to_regclass(%(index)s))"
        elif made.table:
            of = " and indrelid = to_regclass(%(table)s)"
        found = conn.execute(f"{INVALID} and c.relname ~ '_cc(new|old)[0-9]*$'{of}".encode(), values(made)).fetchall()
        if not made.index:
            return found
        return [row for row in found if re.fullmatch(re.escape(bare(made.index)) + "_cc(new|old)[0-9]*", row["bare"])]
    if not made.index:
        return []
    return conn.execute(
        f"{INVALID} and i.indrelid = to_regclass(%(table)s) and c.relname = %(bare)s".encode(), values(made)
    ).fetchall()


def values(made: Made) -> dict[str, str]:
    return {"table": made.table, "index": made.index, "bare": bare(made.index)}


def cleared(conn: Connection[DictRow], made: Made, *, what: str) -> dict[int, str]:
    """Drop what a run before has left; return the invalid indexes that are there besides, by oid."""
    from psycopg import sql

    for row in invalid(conn, made):
        await_builders(conn, row, what=what)
        if not still_invalid(conn, row):
            continue
        say(f"{what}: {row['name']} is invalid, left by a run that was broken off: it is dropped and built again")
        conn.execute(sql.SQL("drop index concurrently if exists {}").format(sql.SQL(row["name"])))
    return {row["oid"]: row["name"] for row in conn.execute(INVALID).fetchall()}


def still_invalid(conn: Connection[DictRow], row: DictRow) -> bool:
    return any(each["oid"] == row["oid"] for each in conn.execute(INVALID).fetchall())


def await_builders(conn: Connection[DictRow], row: DictRow, *, what: str) -> None:
    """Wait until nobody works on the table's indexes: an index that is just being built is invalid, too."""
    told = False
    while found := conn.execute(BUILDERS, [row["table_oid"]]).fetchall():
        if not told:
            told = True
            say(
                f"{what}: waits for pid {found[0]['pid']} ({found[0]['user']}), which works on indexes of {row['on_table']}"
            )
        time.sleep(PERIOD)


def check(conn: Connection[DictRow], made: Made, *, what: str) -> None:
    """See that what a statement has made is valid, and drop what the runs before have left under other names.

    Raises `Problem` with the name of an index that is not.
    """
    from psycopg import sql

    if left := invalid(conn, made):
        raise Problem(
            f"{what}: the index {left[0]['name']} is there, but invalid: run this again, it is dropped and built anew"
        )
    if not made.anew and not made.index:
        for row in conn.execute(SAME, values(made)).fetchall():
            say(f"{what}: {row['name']} is invalid, left by a run that was broken off: it is dropped")
            conn.execute(sql.SQL("drop index concurrently if exists {}").format(sql.SQL(row["name"])))


def tell_left(conn: Connection[DictRow], before: dict[int, str], *, what: str) -> None:
    """Say which invalid indexes a statement that failed has left; nothing where the session is gone."""
    import psycopg

    with contextlib.suppress(psycopg.Error):
        left = [row["name"] for row in conn.execute(INVALID).fetchall() if row["oid"] not in before]
        if left:
            say(f"note: {what} has left {', '.join(left)} invalid: the next run drops it and builds it again")
