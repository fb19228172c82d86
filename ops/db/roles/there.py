"""What the server has: roles, who is a member of which, who owns what, who may do what, and what will be given by default.

Asked of the catalogs alone: which of them have an owner and a schema, the server says itself. What belongs to an extension
is the extension's. https://www.postgresql.org/docs/current/ddl-priv.html, https://www.postgresql.org/docs/current/catalogs.html
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ops import postgres

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PUBLIC = ""
"""Stands for everybody, as a grantee."""

# A schema that was made for an extension is that one's
SCHEMAS = """
select n.oid, n.nspname as name from pg_catalog.pg_namespace n
where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
  and (n.nspname = any({declared}) or not exists (select from pg_catalog.pg_extension where extnamespace = n.oid))
  and not exists (select from pg_catalog.pg_depend where classid = 'pg_catalog.pg_namespace'::regclass and objid = n.oid and deptype = 'e')
"""
OBJECTS = """
with own as ({schemas}), members as (
  select classid, objid from pg_catalog.pg_depend where deptype = 'e'
)
select 'database' as kind, '' as schema, pg_catalog.quote_ident(datname) as name, datname::text as plain, datdba as owner, datacl as acl, '' as part
from pg_catalog.pg_database where datname = pg_catalog.current_database()
union all
select 'schema', nspname, pg_catalog.quote_ident(nspname), nspname, nspowner, nspacl, ''
from pg_catalog.pg_namespace n join own using (oid)
union all
select case relkind when 'S' then 'sequence' else 'table' end, own.name, pg_catalog.format('%I.%I', own.name, relname), own.name || '.' || relname, relowner, relacl, ''
from pg_catalog.pg_class c join own on own.oid = relnamespace
where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and ('pg_catalog.pg_class'::regclass, c.oid) not in (select * from members)
union all
select 'column', own.name, pg_catalog.format('%I.%I', own.name, relname), '', relowner, attacl, pg_catalog.quote_ident(attname)
from pg_catalog.pg_attribute join pg_catalog.pg_class c on c.oid = attrelid join own on own.oid = relnamespace
where attacl is not null and not attisdropped and ('pg_catalog.pg_class'::regclass, c.oid) not in (select * from members)
union all
select 'function', own.name, i.identity, '', proowner, proacl, ''
from pg_catalog.pg_proc p join own on own.oid = pronamespace, pg_catalog.pg_identify_object('pg_catalog.pg_proc'::regclass, p.oid, 0) i
where ('pg_catalog.pg_proc'::regclass, p.oid) not in (select * from members)
union all
select 'type', own.name, i.identity, '', typowner, typacl, ''
from pg_catalog.pg_type t join own on own.oid = typnamespace, pg_catalog.pg_identify_object('pg_catalog.pg_type'::regclass, t.oid, 0) i
where typacl is not null and ('pg_catalog.pg_type'::regclass, t.oid) not in (select * from members)
union all
select 'language', '', pg_catalog.quote_ident(lanname), '', lanowner, lanacl, '' from pg_catalog.pg_language l
where lanacl is not null and ('pg_catalog.pg_language'::regclass, l.oid) not in (select * from members)
union all
select 'foreign data wrapper', '', pg_catalog.quote_ident(fdwname), '', fdwowner, fdwacl, '' from pg_catalog.pg_foreign_data_wrapper where fdwacl is not null
union all
select 'foreign server', '', pg_catalog.quote_ident(srvname), '', srvowner, srvacl, '' from pg_catalog.pg_foreign_server where srvacl is not null
union all
select 'large object', '', oid::text, '', lomowner, lomacl, '' from pg_catalog.pg_largeobject_metadata where lomacl is not null
"""
LETTERS = """case kind when 'database' then 'd' when 'schema' then 'n' when 'table' then 'r' when 'column' then 'c' when 'sequence' then 's'
  when 'function' then 'f' when 'type' then 'T' when 'language' then 'l' when 'foreign data wrapper' then 'F'
  when 'foreign server' then 'S' when 'large object' then 'L' end"""
"""As acldefault() calls them."""
RIGHTS = f"""
with objects as materialized ({OBJECTS})
select kind, schema, name, plain, part, pg_catalog.pg_get_userbyid(owner) as owner, a.*
from objects left join lateral (
  select privilege_type as privilege, grantee::bigint as grantee_oid, coalesce(r.rolname, '') as grantee, is_grantable as grantable,
    pg_catalog.pg_get_userbyid(grantor) as grantor,
    grantee = 0 and exists (
      select from pg_catalog.aclexplode(pg_catalog.acldefault(({LETTERS})::"char", owner)) d where d.grantee = 0 and d.privilege_type = x.privilege_type
    ) as by_default
  from pg_catalog.aclexplode(acl) x left join pg_catalog.pg_roles r on r.oid = grantee
  where grantee <> owner
) a on true
"""
# What the query above does not know: a kind that a newer server has, or an object of the system's
ELSEWHERE = """
select r.rolname as grantee, pg_catalog.pg_describe_object(classid, objid, objsubid) as name
from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = refobjid
where deptype = 'a' and refclassid = 'pg_catalog.pg_authid'::regclass
  and dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
  and case classid
    when 'pg_catalog.pg_class'::regclass then objid < 16384
    when 'pg_catalog.pg_proc'::regclass then objid < 16384
    when 'pg_catalog.pg_type'::regclass then objid < 16384
    else not classid in ('pg_catalog.pg_namespace'::regclass, 'pg_catalog.pg_language'::regclass, 'pg_catalog.pg_default_acl'::regclass,
      'pg_catalog.pg_foreign_data_wrapper'::regclass, 'pg_catalog.pg_foreign_server'::regclass, 'pg_catalog.pg_largeobject'::regclass)
  end
order by 1, 2
"""
DEFAULTS = """
select pg_catalog.pg_get_userbyid(defaclrole) as maker, coalesce(n.nspname, '') as schema, defaclobjtype::text as letter,
  a.privilege_type as privilege, coalesce(r.rolname, '') as grantee
from pg_catalog.pg_default_acl left join pg_catalog.pg_namespace n on n.oid = defaclnamespace,
  pg_catalog.aclexplode(defaclacl) a left join pg_catalog.pg_roles r on r.oid = a.grantee
where a.grantee <> defaclrole and not (defaclnamespace = 0 and a.grantee = 0 and exists (
  select from pg_catalog.aclexplode(pg_catalog.acldefault(case defaclobjtype when 'S' then 's' else defaclobjtype end, defaclrole)) d
  where d.grantee = 0 and d.privilege_type = a.privilege_type))
"""
# From which sequences an INSERT into a table takes numbers by the defaults of its columns, as `serial` makes them
NUMBERS = """
select pg_catalog.format('%I.%I', tn.nspname, t.relname) as table, pg_catalog.format('%I.%I', sn.nspname, s.relname) as sequence
from pg_catalog.pg_attrdef d join pg_catalog.pg_class t on t.oid = adrelid join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
join pg_catalog.pg_depend p on p.classid = 'pg_catalog.pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_catalog.pg_class'::regclass
join pg_catalog.pg_class s on s.oid = p.refobjid and s.relkind = 'S' join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace
"""
# Which catalogs have both an owner and a schema
CATALOGS = """
select attrelid::regclass::text as catalog, max(attname) filter (where attname ~ 'owner$') as owner,
  max(attname) filter (where attname ~ 'namespace$') as schema
from pg_catalog.pg_attribute join pg_catalog.pg_class c on c.oid = attrelid
where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r' and attnum > 0 and atttypid = 'oid'::regtype and attname ~ '(owner|namespace)$'
group by attrelid having count(distinct attname) = 2 order by 1
"""
# What follows another object (a row's type, an array, the sequence of a column) has that one's owner
FOREIGN = """
with own as ({schemas}), owned as ({owned})
select i.type, i.identity as name, pg_catalog.pg_get_userbyid(owner) as owner
from owned, pg_catalog.pg_identify_object(classid, objid, 0) i
where owner is distinct from (select oid from pg_catalog.pg_roles where rolname = {owner})
  and not exists (
    select from pg_catalog.pg_depend d where d.classid = owned.classid and d.objid = owned.objid
      and (deptype in ('i', 'e') or deptype = 'a' and refobjsubid > 0 and refclassid = 'pg_catalog.pg_class'::regclass and i.type = 'sequence'))
order by 1, 2
"""
ROLES = """
select rolname as name, rolcanlogin as login, rolinherit as inherit, rolsuper as superuser, rolcreatedb as createdb, rolcreaterole as createrole,
  rolreplication as replication, rolbypassrls as bypassrls, rolvaliduntil <> 'infinity' as ends,
  pg_catalog.shobj_description(oid, 'pg_authid') as comment
from pg_catalog.pg_roles where rolname = any(%s) or pg_catalog.shobj_description(oid, 'pg_authid') like %s
"""
# Several may have given the same membership, each with options of its own; before 16 there was one, and the member's own INHERIT
MEMBERS = """
select r.rolname as role, m.rolname as member, bool_or(admin_option) as admin, bool_or({inherit}) as inherit, bool_or({set}) as set,
  array_agg(pg_catalog.pg_get_userbyid(grantor)::text order by grantor) as grantors, m.rolsuper or m.rolcreaterole as governs, pg_catalog.shobj_description(m.oid, 'pg_authid') as comment
from pg_catalog.pg_auth_members join pg_catalog.pg_roles r on r.oid = roleid join pg_catalog.pg_roles m on m.oid = member
where r.rolname = any(%(names)s) or m.rolname = any(%(names)s)
group by r.rolname, m.oid, m.rolname, m.rolsuper, m.rolcreaterole
"""
# From 16 on who may make roles may give away those alone that he has with the admin option; before, all but a superuser's
# (https://www.postgresql.org/docs/16/release-16.html)
ME = """
select current_user::text as name, rolsuper as superuser, rolcreaterole as createrole,
  array(select rolname::text from pg_catalog.pg_roles where rolname = any(%(names)s)) as predefined,
  array(
    select p.rolname::text from pg_catalog.pg_roles p where p.rolname = any(%(names)s) and (
      me.rolsuper or pg_catalog.pg_has_role(p.oid, 'member with admin option')
      or (me.rolcreaterole and pg_catalog.current_setting('server_version_num')::int < 160000)
    )
  ) as may_give
from pg_catalog.pg_roles me where rolname = current_user
"""


class Thing(NamedTuple):
    """An object that one may have rights in."""

    kind: str
    schema: str
    """Empty for what has none."""
    name: str
    """As SQL has it, with its schema."""
    owner: str
    plain: str = ""
    """Of a table, a sequence or a schema: the same without quotes."""


class Right(NamedTuple):
    """A privilege that somebody has."""

    kind: str
    name: str
    part: str
    """The column, as SQL has it; empty for the whole."""
    privilege: str
    grantee: str


class DefaultRight(NamedTuple):
    """A privilege that somebody will have in what a role makes."""

    maker: str
    schema: str
    """Empty for all."""
    letter: str
    """Of pg_default_acl: r, S, f, T, n, L."""
    privilege: str
    grantee: str


class Owned(NamedTuple):
    """An object with another owner than it should have."""

    type: str
    """As pg_identify_object() calls it, which is nearly the word of ALTER."""
    name: str
    owner: str


class Options(NamedTuple):
    """Of a membership."""

    admin: bool
    inherit: bool
    set: bool


@dataclass
class There:
    """All of it."""

    me: dict[str, Any]
    """The user of this session: name, superuser, createrole, which of the predefined roles in question there are, and may be given."""
    version: int
    """As server_version_num has it."""
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name, those in question."""
    members: dict[tuple[str, str], Options] = field(default_factory=dict)
    """By role and member."""
    given_by: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By role and member: who has given it, from 16 on each for himself."""
    known_members: set[str] = field(default_factory=set)
    """Those that govern roles anyway, or that the suite has made."""
    things: list[Thing] = field(default_factory=list)
    rights: set[Right] = field(default_factory=set)
    """Without the owners' own, and what everybody has by default."""
    grantable: set[Right] = field(default_factory=set)
    """Those of them that may be passed on."""
    grantors: dict[Right, str] = field(default_factory=dict)
    elsewhere: list[tuple[str, str]] = field(default_factory=list)
    """Grantee and object, in words, of rights that are none of the above."""
    defaults: set[DefaultRight] = field(default_factory=set)
    foreign: list[Owned] = field(default_factory=list)
    numbers: dict[str, set[str]] = field(default_factory=dict)
    """By table: the sequences of its columns."""
    schemas: list[str] = field(default_factory=list)
    """The database's own."""


def read(
    conn: Connection[DictRow], names: Collection[str], marks: str, owner: str, declared: Collection[str], predefined: Collection[str]
) -> There:  # fmt: skip
    """Return what there is of roles by these names, or with marks like this, and in the database of a session."""
    from psycopg import sql

    version = conn.info.server_version
    there = There(conn.execute(ME.encode(), {"names": list(predefined)}).fetchall()[0], version)
    there.roles = {row["name"]: row for row in postgres.fetch(conn, ROLES, list(names), marks)}
    options = {"inherit": "inherit_option", "set": "set_option"} if version >= 160000 else {"inherit": "m.rolinherit", "set": "true"}  # fmt: skip
    for row in conn.execute(MEMBERS.format(**options).encode(), {"names": list(there.roles)}).fetchall():
        there.members[row["role"], row["member"]] = Options(row["admin"], row["inherit"], row["set"])
        there.given_by[row["role"], row["member"]] = row["grantors"]
        if row["governs"] or "[inv: " in (row["comment"] or ""):
            there.known_members.add(row["member"])
    schemas = sql.SQL(SCHEMAS).format(declared=sql.Literal(list(declared)))
    for row in conn.execute(sql.SQL(RIGHTS).format(schemas=schemas)).fetchall():
        add(there, row)
    there.schemas = [thing.schema for thing in there.things if thing.kind == "schema"]
    there.elsewhere = [(row["grantee"], row["name"]) for row in postgres.fetch(conn, ELSEWHERE)]
    there.defaults = {DefaultRight(**row) for row in postgres.fetch(conn, DEFAULTS)}
    for row in conn.execute(NUMBERS.encode()).fetchall():
        there.numbers.setdefault(row["table"], set()).add(row["sequence"])
    parts = [
        f"select '{row['catalog']}'::regclass as classid, oid as objid, {row['owner']} as owner from pg_catalog.{row['catalog']}"
        f" where {row['schema']} in (select oid from own)"
        + (" and relkind in ('r', 'p', 'v', 'm', 'f', 'S')" if row["catalog"] == "pg_class" else "")
        for row in postgres.fetch(conn, CATALOGS)
    ]
    owned = sql.SQL(FOREIGN).format(schemas=schemas, owned=sql.SQL(" union all ".join(parts)), owner=sql.Literal(owner))  # fmt: skip
    there.foreign = [Owned(**row) for row in conn.execute(owned).fetchall()]
    return there


def add(there: There, row: DictRow) -> None:
    """Note an object, and a right in it."""
    thing = Thing(row["kind"], row["schema"], row["name"], row["owner"], row["plain"])
    if row["kind"] != "column" and (not there.things or there.things[-1] != thing):
        there.things.append(thing)
    if row["privilege"] is None or row["by_default"]:
        return
    right = Right(row["kind"], row["name"], row["part"], row["privilege"], row["grantee"])
    there.rights.add(right)
    there.grantors[right] = row["grantor"]
    if row["grantable"]:
        there.grantable.add(right)
