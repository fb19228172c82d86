"""Whether two migrations touch a common object, so that their order matters.

By their words: those that both have, that are no words of SQL, and that name more than a column. The server tells which
words are its own (pg_get_keywords, and what lies in pg_catalog). A doubt counts as an object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres
from ops.console import few
from ops.db.migrations import files
from ops.db.migrations.files import Migration
from ops.db.migrations.standing import Standing
from ops.db.sql_file import scan

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

_WORD = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')

# What exists counts, also under a word of SQL (a table may be called comments); what does not, when it is no such word, and
# no column's name: most tables have an id
OURS = """
select word from unnest(%s::text[]) as words (word)
where exists (select from pg_class where relname = word and oid >= 16384)
  or exists (select from pg_proc where proname = word and oid >= 16384)
  or exists (select from pg_type where typname = word and oid >= 16384)
  or not (
    exists (select from pg_get_keywords() k where k.word = words.word)
    or exists (select from pg_type where typname = word) or exists (select from pg_proc where proname = word)
    or exists (select from pg_namespace where nspname = word) or exists (select from pg_language where lanname = word)
    or exists (select from pg_available_extensions where name = word)
    or exists (select from pg_attribute where attname = word and attnum > 0 and attrelid >= 16384)
  )
order by word
"""


def words(text: str) -> set[str]:
    """Return the names in an SQL text as Postgres folds them, those in strings too."""
    plain = scan.without_comments(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")
    found = _WORD.finditer(plain)
    return {each[1].replace('""', '"') if each[1] else each[2].lower() for each in found}


def common(conn: Connection[DictRow], one: str, other: str) -> list[str]:
    """Return the names of objects that two SQL texts share, as far as the database of a session can tell."""
    shared = sorted(words(one) & words(other))
    return [row["word"] for row in postgres.fetch(conn, OURS, shared)] if shared else []


class Late(NamedTuple):
    """A pending migration that is not applied behind another, which is applied in its place."""

    migration: Migration
    other: str
    """What the applied one is called."""
    why: str


def first_late(conn: Connection[DictRow], standing: Standing, pending: Sequence[Migration]) -> Late | None:
    """Return the first that shares an object with one that is applied in its place, or whose file is not here to compare."""
    for migration in pending:
        for name in standing.late.get(migration.version, ()):
            other = standing.files.get(name.partition("_")[0])
            if not other:
                return Late(migration, name, "whose file is not here to compare")
            if shared := common(conn, migration.up.sql, files.read(other.path).up.sql):
                return Late(migration, name, f"both touch {few(shared)}")
    return None
