"""What pg_upgrade, or RDS before it, would refuse: found by SQL, while nothing is stopped yet.

RDS runs pg_upgrade on the stopped instance. What that finds ends the upgrade after minutes without a database, and is told in a log
file only. Its checks are those of PostgreSQL's src/bin/pg_upgrade/check.c; those of RDS are in its user guide, "How to perform a
major version upgrade for RDS for PostgreSQL" and "Managing logical replication slots for RDS for PostgreSQL".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

NEWEST = 999


@dataclass(frozen=True)
class Finding:
    """What is in the way of a new major version."""

    check: str
    """Which one has found it, in words."""
    database: str | None
    """Where; null for what is of the whole server."""
    object: str
    """What it is about, as SQL names it."""
    mend: str
    """What to do about it, mostly a statement."""

    def __str__(self) -> str:
        where = f" (database {self.database})" if self.database else ""
        return f"{self.object}{where}: {self.check}: {self.mend}"


@dataclass(frozen=True)
class Check:
    """A look at the server; its rows are `object` and `mend`."""

    what: str
    sql: str
    up_to: int = NEWEST
    """The last old major version that can have it."""
    to: int = 0
    """The first new major version that minds it."""
    of_server: bool = False
    """Whether one look is enough, in any database."""

    def applies(self, old: int, new: int) -> bool:
        return old <= self.up_to and new >= self.to


TABLES = r"""
select pg_catalog.format('%I.%I', n.nspname, c.relname) as object,
  pg_catalog.format('alter table %I.%I {act}', n.nspname, c.relname) as mend
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where {where} order by 1
"""


def of_tables(what: str, act: str, where: str, up_to: int = NEWEST) -> Check:
    """Return the check for tables that fit, each of which an ALTER TABLE mends; `where` knows them as c, their schema as n."""
    return Check(what, TABLES.format(act=act, where=where), up_to=up_to)


# What is stored in a type whose bytes, or the OIDs in them, are others in the new version: also by way of a domain, an
# array, a composite type or a range
STORED = r"""
with recursive edges(part, whole) as materialized (
  select typbasetype, oid from pg_catalog.pg_type where typtype = 'd'
  union all
  select typelem, oid from pg_catalog.pg_type where typtype = 'b' and typelem <> 0
  union all
  select a.atttypid, t.oid from pg_catalog.pg_type t
  join pg_catalog.pg_attribute a on a.attrelid = t.typrelid and not a.attisdropped where t.typtype = 'c'
  union all
  select rngsubtype, rngtypid from pg_catalog.pg_range
), bad(oid) as (
  select t.oid from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where {types}
  union
  select edges.whole from bad join edges on edges.part = bad.oid
)
select pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname) as object,
  case c.relkind
    when 'm' then pg_catalog.format('drop materialized view %I.%I', n.nspname, c.relname)
    when 'i' then pg_catalog.format('drop index %I.%I', n.nspname, c.relname)
    else pg_catalog.format('alter table %I.%I alter column %I type text, or drop column %I',
      n.nspname, c.relname, a.attname, a.attname)
  end as mend
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'm', 'i')
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where a.atttypid in (select oid from bad) and not a.attisdropped
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast_)?temp_'
order by 1
"""


def stored(what: str, types: str, up_to: int = NEWEST) -> Check:
    return Check(what, STORED.format(types=types), up_to)


# The functions that took anyarray and anyelement up to 13, by which aggregates and operators may have been made
POLYMORPHIC = r"""
with old as (
  select p.oid from pg_catalog.pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in (
    'array_append', 'array_cat', 'array_prepend', 'array_remove', 'array_replace', 'array_position', 'array_positions',
    'width_bucket') and p.proargtypes::oid[] && array['anyarray'::regtype, 'anyelement'::regtype]::oid[]
), any_type as (select unnest(array['anyarray'::regtype, 'anyelement'::regtype]::oid[]) as oid)
select 'aggregate ' || a.aggfnoid::pg_catalog.regprocedure as object,
  'drop aggregate ' || a.aggfnoid::pg_catalog.regprocedure || ', and make it with anycompatiblearray after the upgrade' as mend
from pg_catalog.pg_aggregate a
where a.aggfnoid >= 16384 and a.aggtranstype in (select oid from any_type)
  and (a.aggtransfn in (select oid from old) or a.aggfinalfn in (select oid from old))
union all
select 'operator ' || o.oid::pg_catalog.regoperator,
  'drop operator ' || o.oid::pg_catalog.regoperator || ', and make it with anycompatiblearray after the upgrade'
from pg_catalog.pg_operator o
where o.oid >= 16384 and o.oprcode in (select oid from old) and o.oprleft in (select oid from any_type)
"""

CHECKS = (
    Check(
        "a database that lets nobody in, as a DROP DATABASE that was broken off leaves one",
        r"""
        select pg_catalog.format('database %I', datname) as object,
          case datconnlimit when -2 then pg_catalog.format('drop database %I', datname)
          else pg_catalog.format('alter database %I allow_connections true', datname) end as mend
        from pg_catalog.pg_database
        where datname not in ('template0', 'rdsadmin') and (not datallowconn or datconnlimit = -2)
        """,
        of_server=True,
    ),
    Check(
        "a prepared transaction",
        r"""
        select pg_catalog.format('transaction %L of database %I', gid, database) as object,
          pg_catalog.format('rollback prepared %L, or commit prepared %L', gid, gid) as mend
        from pg_catalog.pg_prepared_xacts
        """,
        of_server=True,
    ),
    Check(
        "a logical replication slot, which RDS does not carry over from a version before 17",
        r"""
        select pg_catalog.format('replication slot %I', slot_name) as object,
          pg_catalog.format('drop the subscription, then select pg_drop_replication_slot(%L)', slot_name) as mend
        from pg_catalog.pg_replication_slots where slot_type = 'logical' and not temporary
        """,
        up_to=16,
        of_server=True,
    ),
    Check(
        "a logical replication slot that is past use",
        r"""
        select pg_catalog.format('replication slot %I', slot_name) as object,
          pg_catalog.format('select pg_drop_replication_slot(%L)', slot_name) as mend
        from pg_catalog.pg_replication_slots
        where slot_type = 'logical' and not temporary
          and (wal_status = 'lost' or pg_catalog.to_jsonb(pg_replication_slots) ->> 'invalidation_reason' is not null)
        """,
        of_server=True,
    ),
    Check(
        "a table that a subscription is just copying",
        r"""
        select pg_catalog.format('%s of subscription %I', r.srrelid::pg_catalog.regclass, s.subname) as object,
          'wait until it is ready, or drop the subscription' as mend
        from pg_catalog.pg_subscription_rel r join pg_catalog.pg_subscription s on s.oid = r.srsubid
        where r.srsubstate not in ('i', 'r')
        """,
        to=17,
    ),
    Check(
        "a role whose name is for the server's own roles",
        r"""
        select pg_catalog.format('role %I', rolname) as object,
          pg_catalog.format('alter role %I rename to %I', rolname, 'x' || rolname) as mend
        from pg_catalog.pg_roles where rolname ~ '^pg_' and oid >= 16384
        """,
        of_server=True,
    ),
    stored(
        "a column of a row type of the system's",
        "t.typtype = 'c' and (t.oid < 16384 or n.nspname = 'information_schema')",
    ),
    stored(
        "a column that holds OIDs which are others after it",
        "n.nspname = 'pg_catalog' and t.typname in ('regcollation', 'regconfig', 'regdictionary', 'regnamespace', "
        "'regoper', 'regoperator', 'regproc', 'regprocedure')",
    ),
    stored("a column of type unknown", "n.nspname = 'pg_catalog' and t.typname = 'unknown'"),
    stored(
        "a column of type aclitem, stored in another way since 16",
        "n.nspname = 'pg_catalog' and t.typname = 'aclitem'",
        15,
    ),
    stored(
        "a column of type sql_identifier, stored in another way since 12",
        "n.nspname = 'information_schema' and t.typname = 'sql_identifier'",
        11,
    ),
    stored(
        "a column of a type that 12 has no more",
        "n.nspname = 'pg_catalog' and t.typname in ('abstime', 'reltime', 'tinterval')",
        11,
    ),
    Check(
        "a column that is NOT NULL in the parent table and not in this one",
        r"""
        select pg_catalog.format('%I.%I.%I', n.nspname, c.relname, child.attname) as object,
          pg_catalog.format('alter table %I.%I alter column %I set not null', n.nspname, c.relname, child.attname) as mend
        from pg_catalog.pg_inherits i
        join pg_catalog.pg_attribute parent on parent.attrelid = i.inhparent and parent.attnum > 0 and parent.attnotnull
        join pg_catalog.pg_attribute child on child.attrelid = i.inhrelid and child.attname = parent.attname
          and not child.attnotnull
        join pg_catalog.pg_class c on c.oid = i.inhrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        """,
        to=18,
    ),
    Check(
        "an operator behind its value, which 14 has no more",
        r"""
        select 'operator ' || o.oid::pg_catalog.regoperator as object,
          'drop operator ' || o.oid::pg_catalog.regoperator || ', and use a function instead' as mend
        from pg_catalog.pg_operator o where o.oprright = 0 and o.oid >= 16384
        """,
        up_to=13,
    ),
    Check("made with a function whose arguments are others since 14", POLYMORPHIC, up_to=13),
    Check(
        "a conversion of encodings of your own, whose functions take other arguments since 14",
        r"""
        select pg_catalog.format('conversion %I.%I', n.nspname, c.conname) as object,
          pg_catalog.format('drop conversion %I.%I', n.nspname, c.conname) as mend
        from pg_catalog.pg_conversion c join pg_catalog.pg_namespace n on n.oid = c.connamespace where c.oid >= 16384
        """,
        up_to=13,
    ),
    of_tables(
        "a table with OIDs, which 12 has no more",
        "set without oids",
        "pg_catalog.to_jsonb(c) ->> 'relhasoids' = 'true' and n.nspname <> 'pg_catalog'",
        up_to=11,
    ),
    Check(
        "postgis and what belongs to it must be of the newest version that the old server has",
        r"""
        select pg_catalog.format('extension %I %s', x.extname, x.extversion) as object,
          pg_catalog.format('alter extension %I update to %L (of all that belong to postgis)', x.extname, a.default_version) as mend
        from pg_catalog.pg_extension x join pg_catalog.pg_available_extensions a on a.name = x.extname
        where x.extname ~ '^(postgis|address_standardizer|pgrouting)' and x.extversion <> a.default_version
        """,
    ),
)
"""All of them. Versions before 9.6, which RDS offers no more, have some of their own."""

# rdsadmin is RDS's own, which nobody else may enter
DATABASES = """
select datname as name from pg_catalog.pg_database
where datallowconn and datconnlimit <> -2 and datname not in ('template0', 'rdsadmin') order by 1
"""


def databases(conn: Connection[DictRow]) -> list[str]:
    """Return which databases the new version gets, but for AWS's own."""
    return [str(row["name"]) for row in conn.execute(DATABASES)]


def of_server(conn: Connection[DictRow], old: int, new: int) -> Iterator[Finding]:
    """Yield what is in the way on the server as a whole."""
    yield from found(conn, None, [check for check in CHECKS if check.of_server and check.applies(old, new)])


def of_database(conn: Connection[DictRow], old: int, new: int) -> Iterator[Finding]:
    """Yield what is in the way in the database that a connection is to."""
    yield from found(
        conn, conn.info.dbname, [check for check in CHECKS if not check.of_server and check.applies(old, new)]
    )


def found(conn: Connection[DictRow], database: str | None, checks: list[Check]) -> Iterator[Finding]:
    for check in checks:
        for row in conn.execute(check.sql):
            yield Finding(check.what, database, str(row["object"]), str(row["mend"]))


def extensions(conn: Connection[DictRow], offered: frozenset[str], new: int) -> Iterator[Finding]:
    """Yield the extensions of a database that the new version does not have."""
    sql = "select extname as name, pg_catalog.quote_ident(extname) as quoted from pg_catalog.pg_extension order by 1"
    for row in conn.execute(sql):
        if row["name"] not in (*offered, "plpgsql"):
            what = f"there is none of this name for PostgreSQL {new}"
            yield Finding(what, conn.info.dbname, f"extension {row['quoted']}", f"drop extension {row['quoted']}")
