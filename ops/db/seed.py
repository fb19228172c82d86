"""Seeds run once: what was applied is remembered in the database, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops import postgres
from ops.db.script import Script

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

LEDGER = """
create schema if not exists inv;
comment on schema inv is 'What the inv tasks remember of this database.';
create table if not exists inv.seeds (
  name text not null,
  digest text not null,
  tables oid[] not null,
  applied_at timestamptz not null default now(),
  applied_by text not null
);
comment on table inv.seeds is 'Seed files that were applied, by the SHA-256 of their content; tables are those that got rows.';
"""

# An entry counts as long as every table that it filled is still there: a
# schema that was loaded again has made new ones, and they are empty.
APPLIED = """
select name, digest, applied_at from inv.seeds s
where not exists (select from unnest(s.tables) t(oid) where not exists (select from pg_class c where c.oid = t.oid))
order by applied_at desc
"""

NOTE = """
insert into inv.seeds (name, digest, tables, applied_by)
select {}, {}, coalesce(array_agg(relid) filter (where n_tup_ins > 0), '{{}}'), {}
from pg_stat_xact_user_tables where schemaname <> 'inv' and schemaname !~ '^pg_temp'
"""


def digest(script: Script, variables: Mapping[str, str]) -> str:
    """Return what a seed is remembered by: its content, and the variables it was given."""
    return hashlib.sha256(repr((script.digest, sorted(variables.items()))).encode()).hexdigest()


def ledger(script: Script, variables: Mapping[str, str]) -> str:
    """Return the SQL that notes a seed in the transaction that applied it."""
    from psycopg import sql

    values = [sql.Literal(v) for v in (Path(script.name).name, digest(script, variables), postgres.whoami())]
    return LEDGER + sql.SQL(NOTE).format(*values).as_string(None)


def applied(conn: Connection[DictRow]) -> list[DictRow]:
    """Return the seeds that this database holds, newest first."""
    there = postgres.row(conn, "select to_regclass('inv.seeds') is not null as there")["there"]
    return postgres.fetch(conn, APPLIED) if there else []
