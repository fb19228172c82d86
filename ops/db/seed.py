"""Seeds run once: what was applied is remembered in the database, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ops import postgres
from ops.db.sql_file.script import Script

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# Only where it is not there yet: "if not exists" wants the right to create all the same
LEDGER = """
do $$ begin
  if to_regclass('inv.seeds') is null then
    create schema if not exists inv;
    comment on schema inv is 'What the inv tasks remember of this database.';
    create table inv.seeds (
      id bigint generated always as identity primary key,
      name text not null,
      digest text not null,
      tables oid[] not null,
      names text[] not null,
      applied_at timestamptz not null default now(),
      applied_by text not null
    );
    comment on table inv.seeds is
      'Seed files that were applied, by the SHA-256 of their content; tables and names are of those that got rows.';
  end if;
end $$;
"""

APPLIED = """
select name, digest, applied_at, names,
       not exists (select from unnest(tables) t(oid) where not exists (select from pg_class c where c.oid = t.oid)) as intact
from inv.seeds order by applied_at desc
"""

NOTE = """
insert into inv.seeds (name, digest, tables, names, applied_by)
select {}, {}, coalesce(array_agg(relid order by relid), '{{}}'),
  coalesce(array_agg(format('%I.%I', schemaname, relname) order by schemaname, relname), '{{}}'), {}
from pg_stat_xact_user_tables where n_tup_ins > 0 and schemaname <> 'inv' and schemaname !~ '^pg_temp'
"""


def digest(script: Script, variables: Mapping[str, str]) -> str:
    """Return what a seed is remembered by: its content, and the variables it was given."""
    return hashlib.sha256(repr((script.digest, sorted(variables.items()))).encode()).hexdigest()


def foresee(script: Script) -> None:
    """Begin to hash a seed, since that will be asked for."""
    script.own_digest  # noqa: B018 - begins with being asked for


def ledger(script: Script, variables: Mapping[str, str]) -> str:
    """Return the SQL that notes a seed in the transaction that applied it."""
    from psycopg import sql

    values = [sql.Literal(v) for v in (Path(script.name).name, digest(script, variables), postgres.whoami())]
    return LEDGER + sql.SQL(NOTE).format(*values).as_string(None)


def applied(conn: Connection[DictRow], patience: str = "") -> list[DictRow]:
    """Return the seeds that this database holds, newest first; `patience` is how long a lock is waited for, as `fetch_briefly` takes it.

    An entry counts as long as every table that it filled is still there. A
    schema that was loaded again has made new ones, and they are empty; a
    restored dump has new ones too, and they have rows.
    """
    if not postgres.row(conn, "select to_regclass('inv.seeds') is not null as there")["there"]:
        return []
    entries = postgres.fetch_briefly(conn, APPLIED, patience)
    return [entry for entry in entries if entry["intact"] or is_restored(conn, entry["names"], patience)]


def is_restored(conn: Connection[DictRow], names: Sequence[str], patience: str = "") -> bool:
    """Whether all these tables are there and hold rows."""
    for name in names:
        if not postgres.row(conn, "select to_regclass(%s) is not null as there", name)["there"]:
            return False
        if not postgres.fetch_briefly(
            conn, f"select from {name} limit 1", patience
        ):  # as format('%I.%I') has written it
            return False
    return bool(names)
