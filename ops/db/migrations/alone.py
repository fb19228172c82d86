"""Statements that refuse a transaction: whether a run that was cut off has done one is found by looking.

What each leaves when it is broken off is told in its page of https://www.postgresql.org/docs/current/sql-commands.html.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from ops import postgres
from ops.db.load import ALONE

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

_NAME = r'(?:"(?:[^"]|"")*"|[^\s"();,.]+)'
_PATH = rf"{_NAME}(?: \. {_NAME})?"
_INDEX = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?:IF NOT EXISTS )?(?!ON\b)(?P<index>{_NAME}) ON (?:ONLY )?(?P<table>{_PATH})"
)
_DROPS = re.compile(rf"DROP INDEX CONCURRENTLY (?:IF EXISTS )?(?P<index>{_PATH})")
_DETACHES = re.compile(
    rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?(?P<table>{_PATH})(?: \*)? DETACH PARTITION (?P<part>{_PATH}) CONCURRENTLY"
)
_MAKES = re.compile(
    rf"(?P<verb>CREATE|DROP) (?P<kind>DATABASE|TABLESPACE|SUBSCRIPTION) (?:IF EXISTS )?(?P<name>{_NAME})"
)
_AGAIN = re.compile(r"VACUUM|REINDEX|CLUSTER|DISCARD|ALTER SYSTEM|ALTER DATABASE")
_MAY_COMMIT = re.compile(r"(CALL|DO)\b")

INDEX = """
select i.indisvalid as valid from pg_class c join pg_index i on i.indexrelid = c.oid
where c.relname = %s and c.relnamespace = (select relnamespace from pg_class where oid = to_regclass(%s))
"""
PART = "select inhdetachpending as pending from pg_inherits where inhrelid = to_regclass(%s) and inhparent = to_regclass(%s)"
THERE = {
    "DATABASE": "select count(*) as n from pg_database where datname = %s",
    "TABLESPACE": "select count(*) as n from pg_tablespace where spcname = %s",
    "SUBSCRIPTION": "select count(*) as n from pg_subscription where subname = %s"
    " and subdbid = (select oid from pg_database where datname = current_database())",
}

Told = Literal["done", "again", "unknown"]


class Look(NamedTuple):
    """What is found of a statement that a run before has begun."""

    told: Told
    instead: str = ""
    """The statement that brings it to its end, where that is another one."""


def refuses_transaction(words: str) -> bool:
    """Whether a statement, by its first words in capitals, must or may have to run outside of a transaction."""
    return bool(ALONE.match(words) or _MAY_COMMIT.match(words) or _MAKES.match(words))


def look(conn: Connection[DictRow], words: str) -> Look:
    """Find out whether a statement was done that a run before has begun; what it left half made is cleared away where it runs again."""
    if made := _INDEX.match(words):
        found = postgres.fetch(conn, INDEX, folded(made["index"]), path(made["table"]))
        return Look("done" if found and found[0]["valid"] else "again")
    if dropped := _DROPS.match(words):
        there = postgres.row(conn, "select to_regclass(%s) is not null as there", path(dropped["index"]))["there"]
        return Look("again" if there else "done")
    if detached := _DETACHES.match(words):
        rows = postgres.fetch(conn, PART, path(detached["part"]), path(detached["table"]))
        if rows and rows[0]["pending"]:
            whole, part = path(detached["table"]), path(detached["part"])
            return Look("again", f"alter table {whole} detach partition {part} finalize")
        return Look("again" if rows else "done")
    if made := _MAKES.match(words):
        there = conn.execute(THERE[made["kind"]].encode(), [folded(made["name"])]).fetchone()
        assert there is not None
        return Look("done" if bool(there["n"]) == (made["verb"] == "CREATE") else "again")
    return Look("again" if _AGAIN.match(words) else "unknown")


def folded(name: str) -> str:
    """Return a name as the catalogs have it, from its words in capitals."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def path(name: str) -> str:
    """Return a name with its schema for SQL, from its words in capitals."""
    return ".".join(part if part.startswith('"') else part.lower() for part in name.split(" . "))
