"""One table of a dump, brought back beside the live one as `T__restored`.

Its structure is the dump's, its rows are all that the dump has of it and its partitions. The dump's schema is built in a
database of its own for that, and only those rows: so whatever pg_dump may write, the server itself says what the table is.
"""

from __future__ import annotations

import traceback
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres, row_values
from ops.console import few, say
from ops.db import create_database, lock, swap
from ops.errors import Misconfigured, Problem, Refused
from ops.targets.identity import NEXT
from ops.targets.open_target import OpenTarget
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed, Identifier

    from ops.db.copies.restore import Source

SUFFIX = "__restored"
MARK = "[inv: restored]"
"""In the comment of what was brought back, so that no table of anybody else is ever replaced."""
TABLES = """
select c.oid, nspname as schema, relname as name, format('%I.%I', nspname, relname) as shown,
       array[relname, nspname || '.' || relname, format('%I', relname), format('%I.%I', nspname, relname)] as spellings
from pg_class c join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'p') and nspname not like 'pg\\_%' and nspname <> 'information_schema'
order by nspname <> 'public', 2, 3
"""
WITHIN = """
with recursive below as (select %s::oid as oid union select inhrelid from pg_inherits join below on inhparent = below.oid)
select nspname as schema, relname as name from below join pg_class c using (oid) join pg_namespace n on n.oid = relnamespace
"""
COLUMNS = """
select attname as name, format_type(atttypid, atttypmod) as type, attnotnull as not_null, attidentity = 'a' as always,
       attgenerated <> '' as generated,
       case when attcollation <> typcollation then (select format('%%I.%%I', nspname, collname)
         from pg_collation l join pg_namespace n on n.oid = collnamespace where l.oid = attcollation) end as collation,
       coalesce(attnum = any(i.indkey), false) as in_key
from pg_attribute a join pg_type t on t.oid = atttypid left join pg_index i on i.indrelid = attrelid and indisprimary
where attrelid = %s and attnum > 0 and not attisdropped order by attnum
"""
LIVE = """
select c.oid, relkind::text as kind, obj_description(c.oid, 'pg_class') as comment, pg_get_userbyid(relowner) as owner
from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = %s and relname = %s
"""


class Found(NamedTuple):
    """A table of a dump."""

    schema: str
    name: str
    columns: list[DictRow]

    @property
    def restored(self) -> str:
        """The name that it gets: 63 bytes at most."""
        return self.name.encode()[: 63 - len(SUFFIX)].decode(errors="ignore") + SUFFIX


class Back(NamedTuple):
    """A table that came back."""

    name: str
    rows: int
    merge_sql: str


def bring_back(at: OpenTarget, source: Source, table: str, file: str) -> Back:
    """Build the dump's schema beside, load the table's rows there, and copy them over in one transaction.

    Raises `Misconfigured` where the dump has no such table, `Refused` where another one has the name.
    """
    with lock.hold_lock(at):
        at.required()
        swap.sweep(at)
        try:
            create_database.create_database(at, at.name + NEXT)
            with at.connect(NEXT) as conn:
                source.fill_schema(conn)
                conn.execute("select pg_catalog.set_config('search_path', '', false)")
                oid, found = find(conn, table, file)
                rows = postgres.fetch(conn, WITHIN, oid)
                source.fill_tables(conn, [(row["schema"], row["name"]) for row in rows])
                with at.connect() as live:
                    count = copy_over(conn, live, found, file)
                    told = merging(live, found)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # as swap.exchange does
            raise
        finally:
            swap.discard(at)
    name = f"{found.schema}.{found.restored}"
    say(f"{count} rows of {found.schema}.{found.name} are back as {name}; the live table is as it was")
    return Back(name, count, told)


def find(conn: Connection[DictRow], table: str, file: str) -> tuple[int, Found]:
    """Return the table that a name stands for, by its oid; raises `Misconfigured` where there is none, or several."""
    rows = postgres.fetch(conn, TABLES)
    named = [row for row in rows if table in row["spellings"]]
    named = named or [row for row in rows if table.lower() in row["spellings"]]
    if not named:
        have = few([row["shown"] for row in rows], 20) or "none"
        raise Misconfigured(f"--table {table}: {file} has no such table; it has {have}")
    if len(named) > 1 and named[0]["schema"] != "public":
        raise Misconfigured(f"--table {table}: in several schemas of {file}: give one, as {named[0]['shown']}")
    row = named[0]
    return row["oid"], Found(row["schema"], row["name"], postgres.fetch(conn, COLUMNS, row["oid"]))


def copy_over(conn: Connection[DictRow], live: Connection[DictRow], found: Found, file: str) -> int:
    """Make the table in the live database and fill it, all or nothing; return its rows."""
    import psycopg
    from psycopg import sql

    target, source = sql.Identifier(found.schema, found.restored), sql.Identifier(found.schema, found.name)
    live.execute("select pg_catalog.set_config('search_path', '', false)")
    beside = postgres.fetch(live, LIVE, found.schema, found.restored)
    if beside and MARK not in (beside[0]["comment"] or ""):
        raise Refused(
            f"{found.schema}.{found.restored} was not put there by inv: give it another name, then run this again"
        )
    names = columns(found.columns)
    try:
        with live.transaction():
            if beside:
                live.execute(sql.SQL("drop table {}").format(target))
            live.execute(made(found, target))
            out = sql.SQL("copy (select {} from {}) to stdout").format(names, source)
            into = sql.SQL("copy {} ({}) from stdin").format(target, names)
            with conn.cursor() as reader, live.cursor() as writer:
                with reader.copy(out) as rows, writer.copy(into) as copy:
                    for block in rows:
                        copy.write(block)
                count = writer.rowcount
            if key := columns([each for each in found.columns if each["in_key"]]):
                live.execute(sql.SQL("alter table {} add primary key ({})").format(target, key))
            when = in_utc(datetime.now(timezone.utc))
            note = sql.Literal(f"{MARK} from {file.rpartition('/')[2]}, {when}")
            live.execute(sql.SQL("comment on table {} is {}").format(target, note))
            give(live, found, target)
    except psycopg.errors.InvalidSchemaName:
        raise Problem(f"the live database has no schema {found.schema}: create it there, then run this again") from None
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidTextRepresentation) as error:
        raise Problem(
            f"the live database lacks what the table of the dump needs ({row_values.message(error.diag)}): "
            "restore all of it into a database of its own, by a target whose URL names that"
        ) from None
    return count


def made(found: Found, target: Identifier) -> Composed:
    """Return the statement that makes the table: plain columns, for what was generated holds what it was."""
    from psycopg import sql

    parts = []
    for each in found.columns:
        collation = f" collate {each['collation']}" if each["collation"] else ""
        more = " not null" if each["not_null"] else ""
        parts.append(sql.SQL("{} {}").format(sql.Identifier(each["name"]), sql.SQL(each["type"] + collation + more)))
    return sql.SQL("create table {} ({})").format(target, sql.SQL(", ").join(parts))


def give(live: Connection[DictRow], found: Found, target: Identifier) -> None:
    """Give the table to the owner of the live one, where this user may; nobody else may read it."""
    import psycopg
    from psycopg import sql

    there = postgres.fetch(live, LIVE, found.schema, found.name)
    if not there:
        return
    try:
        with live.transaction():
            live.execute(sql.SQL("alter table {} owner to {}").format(target, sql.Identifier(there[0]["owner"])))
    except psycopg.errors.InsufficientPrivilege:
        say(f"note: {found.schema}.{found.restored} belongs to this user, who may not give it to {there[0]['owner']}")


def columns(rows: list[DictRow]) -> Composed | None:
    """Return columns as SQL lists them; None for none."""
    from psycopg import sql

    return sql.SQL(", ").join(sql.Identifier(each["name"]) for each in rows) if rows else None


def compared(of: str, column: DictRow) -> Composed:
    """Return a column as it can be compared: some types have no equality, save as text."""
    from psycopg import sql

    cast = "::text" if column["type"] in ("json", "xml", "point", "polygon") else ""
    return sql.SQL("{}" + cast).format(sql.Identifier(of, column["name"]))


def merging(live: Connection[DictRow], found: Found) -> str:
    """Return SQL that brings the rows into the live table, for a person to choose from."""
    from psycopg import sql

    target, source = sql.Identifier(found.schema, found.name), sql.Identifier(found.schema, found.restored)
    there = postgres.fetch(live, LIVE, found.schema, found.name)
    if not there:
        rename = sql.SQL("alter table {} rename to {};").format(source, sql.Identifier(found.name))
        return "-- the live database has no such table; this gives it the name:\n" + rename.as_string(live)
    now = postgres.fetch(live, COLUMNS, there[0]["oid"])
    had = {each["name"] for each in found.columns}
    common = [each for each in now if each["name"] in had and not each["generated"]]
    key = [each for each in now if each["in_key"]]
    always = sql.SQL(" overriding system value" if any(each["always"] for each in common) else "")
    names = columns(common)
    lines = []
    if key and all(each["name"] in had for each in key):
        same = sql.SQL(" and ").join(sql.SQL("l.{0} = r.{0}").format(sql.Identifier(each["name"])) for each in key)
        lines.append("-- rows that are gone:")
        lines.append(
            sql.SQL("insert into {} ({}){} select {} from {} r where not exists (select from {} l where {});")
            .format(target, names, always, names, source, target, same)
            .as_string(live)
        )
        changing = [each for each in common if not each["in_key"]]
        if changing:
            one = [sql.Identifier(each["name"]) for each in changing]
            sets = sql.SQL(", ").join(sql.SQL("{0} = r.{0}").format(each) for each in one)
            mine, other = (sql.SQL(", ").join(compared(of, each) for each in changing) for of in "lr")
            lines.append("-- rows that were changed since, as they were:")
            lines.append(
                sql.SQL("update {} l set {} from {} r where {} and ({}) is distinct from ({});")
                .format(target, sets, source, same, mine, other)
                .as_string(live)
            )
    else:
        lines.append("-- all of its rows (there is no primary key by which to tell those that are there):")
        lines.append(
            sql.SQL("insert into {} ({}){} select {} from {};")
            .format(target, names, always, names, source)
            .as_string(live)
        )
    lines.append("-- when all is well:")
    lines.append(sql.SQL("drop table {};").format(source).as_string(live))
    return "\n".join(lines)
