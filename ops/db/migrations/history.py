"""Which migrations a database has: dbmate's `schema_migrations`, and beside it what only we keep, `inv.migrations`.

`schema_migrations` decides what is applied, whoever wrote it. A row of `inv.migrations` tells more about that, or
is history: of a migration that was taken back, by us or by another tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops import postgres, row_values
from ops.db.migrations.files import Migration, Section
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed, Identifier

# dbmate's own choice of a schema: the session's current one, else public
LOOK = """
select coalesce(current_schema(), 'public') as schema,
  to_regclass('inv.migrations') is not null as kept,
  (select array_agg(attname::text order by attnum) from pg_attribute
   where attrelid = to_regclass(format('%I.schema_migrations', coalesce(current_schema(), 'public')))
     and attnum > 0 and not attisdropped) as columns
"""

# As dbmate makes it
TABLE = "create table if not exists {}.schema_migrations (version varchar not null primary key)"

# Only where it is not there yet: "if not exists" wants the right to create all the same
LEDGER = """
do $$ begin
  if to_regclass('inv.migrations') is null then
    create schema if not exists inv;
    comment on schema inv is 'What the inv tasks remember of this database.';
    create table inv.migrations (
      id bigint generated always as identity,
      version text not null,
      name text not null,
      digest text not null,
      state text not null,
      begun_at timestamptz not null default now(),
      applied_at timestamptz,
      seconds double precision,
      applied_by text not null,
      login text not null default current_user,
      client inet default inet_client_addr(),
      down text,
      down_line int,
      down_transaction boolean,
      down_allow text[],
      done int not null default 0,
      rolled_back_at timestamptz,
      rolled_back_by text,
      primary key (version, id)
    );
    comment on table inv.migrations is
      'Migrations that were applied, by the SHA-256 of their file, with what takes them back; schema_migrations decides which are.';
    comment on column inv.migrations.state is
      'applying or undoing while one without a transaction runs, apply_failed or undo_failed where a statement of it has failed behind others that were done, applied, or undone';
    comment on column inv.migrations.done is 'Statements that one without a transaction has done.';
  end if;
end $$;
"""

APPLIED = """
select version, h.name, digest, state, applied_at, seconds, applied_by, login, down, down_line, down_transaction, down_allow, done
from {} s left join lateral (
  select * from inv.migrations m where m.version = s.version order by id desc limit 1
) h using (version)
order by version collate "C"
"""
BARE = """
select version, null as name, null as digest, null as state, null as applied_at, null as seconds, null as applied_by,
  null as login, null as down, null as down_line, null as down_transaction, null as down_allow, 0 as done
from {} order by version collate "C"
"""
# Only where it is not applied: a run that was cut off before the end of what has no transaction
BEGUN = """
select distinct on (version) version, digest, state, done, begun_at, applied_by from inv.migrations m
where state in ('applying', 'apply_failed') and not exists (select from {} s where s.version = m.version)
  and not exists (select from inv.migrations later where later.version = m.version and later.id > m.id)
"""


# What another tool has taken back meanwhile: should it apply that again, our row would tell of the time before
OVERTAKEN = """
update inv.migrations m set state = 'undone', rolled_back_at = clock_timestamp(), rolled_back_by = 'another tool'
where state = 'applied' and not exists (select from {} s where s.version = m.version)
"""


@dataclass(frozen=True)
class Applied:
    """A migration that the database has."""

    version: str
    name: str | None
    """As its file was called; None where another tool has applied it, as for all that follows."""
    digest: str | None
    """SHA-256 of its file, as it was."""
    applied_at: datetime | None
    seconds: float | None
    """How long it took."""
    applied_by: str | None
    """user@host of the workspace."""
    login: str | None
    """The database's user."""
    down: Section | None
    """What takes it back, as it was in the file."""
    undoing: bool = False
    """Whether it is being taken back outside of a transaction, or was when a run was cut off."""
    done: int = 0
    """How many statements of that were done."""
    doubtful: bool = False
    """Whether nobody knows if the next one was, too: not where it has failed."""


@dataclass(frozen=True)
class Begun:
    """A migration without a transaction that has not come to its end: where its run was cut off, how far it came is found by looking."""

    version: str
    digest: str
    done: int
    """Statements that were done."""
    begun_at: datetime
    applied_by: str
    doubtful: bool = True
    """Whether nobody knows if the next one was, too: not where it has failed."""


@dataclass(frozen=True)
class History:
    """What a database tells of its migrations."""

    schema: str
    """Where `schema_migrations` is, or would be."""
    applied: list[Applied]
    """By version, in byte order, as dbmate sorts them."""
    begun: dict[str, Begun]
    """By version."""
    ready: bool
    """Whether both tables are there."""

    def find(self, version: str) -> Applied | None:
        return next((each for each in self.applied if each.version == version), None)


def applied(conn: Connection[DictRow]) -> list[Applied]:
    """Return the migrations that the database of a session has, by version; raises as `read`."""
    return read(conn).applied


def schema_of(conn: Connection[DictRow]) -> str:
    """Return the schema in which the history of a session's database is, or would be."""
    return str(postgres.row(conn, LOOK)["schema"])


def read(conn: Connection[DictRow]) -> History:
    """Read the history of the database of a session; raises `Misconfigured` where `schema_migrations` is another tool's."""
    from psycopg import sql

    found = postgres.row(conn, LOOK)
    schema, columns = found["schema"], found["columns"]
    if not columns:
        return History(schema, [], {}, ready=False)
    if columns != ["version"]:
        raise Misconfigured(
            f"{schema}.schema_migrations ({', '.join(columns)}) is another tool's: inv db.migration-import takes its files and state over"
        )
    table = sql.Identifier(schema, "schema_migrations")
    rows = conn.execute(sql.SQL(APPLIED if found["kept"] else BARE).format(table)).fetchall()
    begun = conn.execute(sql.SQL(BEGUN).format(table)).fetchall() if found["kept"] else []
    return History(
        schema,
        [of_row(row) for row in rows],
        {row["version"]: begun_of(row) for row in begun},
        ready=found["kept"],
    )


def begun_of(row: DictRow) -> Begun:
    doubtful = row["state"] == "applying"
    return Begun(row["version"], row["digest"], row["done"], row["begun_at"], row["applied_by"], doubtful)


def of_row(row: DictRow) -> Applied:
    """Return a row of the history; one that was taken back since, and applied again by another tool, tells nothing."""
    known = row["state"] not in (None, "undone")
    undoing = row["state"] in ("undoing", "undo_failed")
    down = None
    if known and row["down"] is not None:
        down = Section(row["down"], row["down_line"], row["down_transaction"], tuple(row["down_allow"] or ()))
    return Applied(
        row["version"],
        row["name"] if known else None,
        row["digest"] if known else None,
        row["applied_at"] if known else None,
        row["seconds"] if known else None,
        row["applied_by"] if known else None,
        row["login"] if known else None,
        down,
        undoing=undoing,
        done=row["done"] if undoing else 0,
        doubtful=row["state"] == "undoing",
    )


def prepare(conn: Connection[DictRow], history: History) -> None:
    """Make both tables where they are not there, and see that the one agrees with the other; raises `Problem` where the login may not."""
    import psycopg
    from psycopg import sql

    if history.ready:
        conn.execute(sql.SQL(OVERTAKEN).format(table(history)))
        return
    try:
        with conn.transaction():
            conn.execute(sql.SQL(TABLE).format(sql.Identifier(history.schema)))
            conn.execute(LEDGER)
    except psycopg.errors.InsufficientPrivilege as error:
        login, database = conn.info.user, conn.info.dbname
        raise Problem(
            f"{login} may not keep the history of migrations in {database} ({row_values.message(error.diag)}): nothing was changed: "
            f'grant create on database "{database}" to "{login}"; grant create on schema "{history.schema}" to "{login}"; '
            "or let one who may run this once"
        ) from None


def note_up(conn: Connection[DictRow], history: History, migration: Migration, by: str, seconds: float | str) -> str:
    """Return the SQL that records a migration as applied, in the transaction that does it; its seconds may be an expression."""
    from psycopg.pq import Escaping

    escaping = Escaping(conn.pgconn)  # what sql.Literal takes ten times as long for, a thousand times over

    def literal(value: str | float | list[str] | None) -> str:
        if isinstance(value, list):
            return f"array[{', '.join(map(literal, value))}]::text[]"
        if isinstance(value, str):
            return bytes(escaping.escape_literal(value.encode())).decode()
        return "null" if value is None else str(value)

    told = ", ".join(map(literal, (*told_of(migration), by)))
    took = seconds if isinstance(seconds, str) else round(seconds, 6)
    schema = bytes(escaping.escape_identifier(history.schema.encode())).decode()
    return (
        f"with recorded as (insert into {schema}.schema_migrations (version) values ({literal(migration.version)}))"
        " insert into inv.migrations (version, name, digest, down, down_line, down_transaction, down_allow, applied_by, seconds,"
        f" state, applied_at) values ({told}, {took}, 'applied', clock_timestamp())"
    )


def told_of(migration: Migration) -> tuple[str, str, str, str | None, int | None, bool | None, list[str] | None]:
    """Return what the history keeps of a file: its version, name, digest, and down part with line and options."""
    down = migration.down
    if down is None or is_foreign(down.sql):
        return migration.version, migration.name, migration.digest, None, None, None, None
    return migration.version, migration.name, migration.digest, down.sql, down.line, down.transaction, list(down.allow)


def is_foreign(text: str) -> bool:
    """Whether a text holds bytes that are no UTF-8, which the history cannot."""
    return not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text)


def note_down(history: History, version: str, by: str) -> Composed:
    """Return the SQL that records that a migration was taken back, in the transaction that does it."""
    from psycopg import sql

    return sql.SQL(
        "delete from {} where version = {version}; update inv.migrations set state = 'undone',"
        " rolled_back_at = clock_timestamp(), rolled_back_by = {by} where version = {version} and state <> 'undone'"
    ).format(table(history), version=sql.Literal(version), by=sql.Literal(by))


def note_known(history: History, migrations: Sequence[Migration], by: str) -> Composed:
    """Return the SQL that records migrations as applied whose work another file has done: the schema's."""
    from psycopg import sql

    lines = []
    for migration in migrations:
        told = [sql.Literal(value) for value in (*told_of(migration), by)]
        lines.append(
            sql.SQL(
                "insert into {0} (version) values ({1}) on conflict do nothing;"
                " insert into inv.migrations (version, name, digest, down, down_line, down_transaction, down_allow, applied_by,"
                " state, applied_at) values ({2}, 'applied', clock_timestamp());"
            ).format(table(history), sql.Literal(migration.version), sql.SQL(", ").join(told))
        )
    return sql.SQL("\n").join(lines)


def table(history: History) -> Identifier:
    """Return the name of `schema_migrations` for SQL."""
    from psycopg import sql

    return sql.Identifier(history.schema, "schema_migrations")


def begin_up(conn: Connection[DictRow], migration: Migration, by: str) -> None:
    """Note that a migration begins that is no transaction, with all that its end will want to tell."""
    conn.execute(BEGIN, (*told_of(migration), by, "applying"))


def begin_down(conn: Connection[DictRow], version: str, migration: Migration | None, by: str) -> None:
    """Note that what takes a migration back begins, and is no transaction; `migration` is its file, where that is there."""
    noted = conn.execute(
        "update inv.migrations set state = 'undoing', done = 0 where id ="
        " (select max(id) from inv.migrations where version = %s and state <> 'undone')",
        (version,),
    ).rowcount
    if not noted and migration:
        conn.execute(BEGIN, (*told_of(migration), by, "undoing"))


BEGIN = """
insert into inv.migrations (version, name, digest, down, down_line, down_transaction, down_allow, applied_by, state)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
ACCEPT = """
update inv.migrations set digest = %(digest)s, down = %(down)s, down_line = %(line)s, down_transaction = %(transaction)s,
  down_allow = %(allow)s where version = %(version)s and state = 'applied'
"""


def accept(conn: Connection[DictRow], migration: Migration) -> None:
    """Take a file as it is for what was applied."""
    version, _, digest, down, line, transaction, allow = told_of(migration)
    values = {"version": version, "digest": digest, "down": down, "line": line, "transaction": transaction}
    conn.execute(ACCEPT, {**values, "allow": allow})


STEP = "update inv.migrations set done = %s where version = %s and state in ('applying', 'undoing')"
FORGET = "delete from inv.migrations where version = %s and state = 'applying' and done = 0"
# What we have not applied has a row only for as long as it is taken back
FAILED = """
with nothing as (
  delete from inv.migrations where version = %(version)s and done = 0
    and (state = 'applying' or (state = 'undoing' and applied_at is null))
)
update inv.migrations set state = case when state = 'applying' then 'apply_failed' when done = 0 then 'applied' else 'undo_failed' end
where version = %(version)s and (done > 0 and state in ('applying', 'undoing') or state = 'undoing' and applied_at is not null)
"""
GO_ON = """
update inv.migrations set state = case state when 'apply_failed' then 'applying' else 'undoing' end
where version = %s and state in ('apply_failed', 'undo_failed')
"""


def end_up(history: History, version: str, seconds: float) -> Composed:
    """Return the SQL that records the end of a migration that was begun by `begin_up`."""
    from psycopg import sql

    return sql.SQL(
        "insert into {} (version) values ({version}) on conflict do nothing; update inv.migrations set state = 'applied',"
        " applied_at = clock_timestamp(), seconds = {seconds} where version = {version} and state = 'applying'"
    ).format(table(history), version=sql.Literal(version), seconds=sql.Literal(round(seconds, 6)))
