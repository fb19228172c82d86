"""What the function of lambda.* may do in a database: carried over to the one that takes its place.

Other rights in the tables are the schema's to give; these come from
lambda.deploy, and without them no sign-up would be stored from here on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from config.sign_up import COLUMNS, ROLE, TABLE
from ops import postgres
from ops.console import say
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# Roles belong to the server and are the same in each database; what they may do in one of them is noted here
HAS_RIGHTS = f"""
select from pg_shdepend where deptype = 'a' and refobjid = (select oid from pg_roles where rolname = '{ROLE}')
  and dbid = (select oid from pg_database where datname = """
RIGHTS = f"""
select kind, name, privilege from (
  select 'schema' as kind, quote_ident(nspname) as name, privilege_type as privilege
  from pg_namespace, aclexplode(nspacl) a join pg_roles r on r.oid = a.grantee where rolname = '{ROLE}'
  union all
  select case relkind when 'S' then 'sequence' else 'table' end, format('%I.%I', nspname, relname), privilege_type
  from pg_class c join pg_namespace n on n.oid = relnamespace, aclexplode(relacl) a join pg_roles r on r.oid = a.grantee
  where rolname = '{ROLE}'
) held where exists ({HAS_RIGHTS} current_database()))
"""
SEQUENCES = f"""
select s.oid, quote_ident(sn.nspname) || '.' || quote_ident(s.relname) as name
from pg_class t join pg_namespace tn on tn.oid = t.relnamespace
join pg_attrdef d on d.adrelid = t.oid join pg_attribute a on a.attrelid = t.oid and a.attnum = d.adnum
join pg_depend p on p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
join pg_class s on s.oid = p.refobjid and s.relkind = 'S' join pg_namespace sn on sn.oid = s.relnamespace
where tn.nspname || '.' || t.relname = '{TABLE}' and not a.attname = any(array{list(COLUMNS)})
offset 0
"""
"""The sequences that an INSERT of ours takes numbers from, as `serial` makes them; those of an identity column want no right.

`offset 0` keeps a question about privileges from being asked of what is no sequence, which is an error."""
NUMBERED = f"select name from ({SEQUENCES}) s where not has_sequence_privilege('{ROLE}', s.oid, 'usage, update')"

ROLE_IS_THERE = f"pg_catalog.to_regrole('{ROLE}') is not null"
"""An expression that tells whether there is anything to read at all."""

THERE = "case when kind = 'schema' then to_regnamespace(name) is not null else to_regclass(name) is not null end"
IS_THERE = f"select {THERE} as there from (values (%s, %s)) as held (kind, name)"
GIVE = f"""
declare given record;
begin
  if not exists (select from pg_roles where rolname = '{ROLE}') then
    return;
  end if;
  for given in select * from (values {{held}}) as held (kind, name, privilege) where {THERE} except {RIGHTS} loop
    execute format('grant %s on %s %s to {ROLE}', given.privilege, given.kind, given.name);
  end loop;
  if exists (select from ({RIGHTS}) now where (name, privilege) = ('{TABLE}', 'INSERT')) then
    for given in {NUMBERED} loop
      execute format('grant usage on sequence %s to {ROLE}', given.name);
    end loop;
  end if;
end
"""


class Right(NamedTuple):
    """Something that the function may do."""

    kind: str
    """Of what: schema, table or sequence."""
    name: str
    """As SQL has it."""
    privilege: str


class Held(set[Right]):
    """What the function may do, as far as a run has seen."""

    role = True
    """Whether there may be such a role, so that its rights are to be read before the next change."""


def read(conn: Connection[DictRow]) -> list[Right]:
    """Return the rights in schemas, tables and sequences of the database of a session."""
    return [Right(**row) for row in conn.execute(RIGHTS.encode()).fetchall()]


def give_back(held: Collection[Right]) -> str:
    """Return the SQL that gives those of the rights that are lacking, on what is there; empty where none are held.

    A schema that numbers its rows now has sequences that it had not before.
    """
    from psycopg import sql

    if not held:
        return ""
    rows = [sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, right))) for right in sorted(held)]
    body = GIVE.replace("{held}", sql.SQL(", ").join(rows).as_string())
    return sql.SQL("do {}").format(sql.Literal(body)).as_string()


def tell_gone(conn: Connection[DictRow], held: Collection[Right]) -> None:
    """Say on what that is not there any more the function had a right; sequences that count now follow by themselves."""
    for kind, name, privilege in sorted(held):
        if kind != "sequence" and not postgres.row(conn, IS_THERE, kind, name)["there"]:
            say(f"note: the database has no {name} now, on which {ROLE} may {privilege}")


def read_rights(place: OpenTarget, suffix: str = "") -> list[Right]:
    """Return the rights in schemas, tables and sequences of a database; none if that is not there."""
    found = place.database(suffix)
    if not found or place.conn.execute(f"{HAS_RIGHTS} %s)".encode(), [found["datname"]]).fetchone() is None:
        return []
    if not found["datallowconn"]:
        say(
            f"note: {found['datname']} allows no connections, so what {ROLE} may do in it is not known: inv lambda.deploy gives it again"
        )
        return []
    with place.connect(suffix) as conn:
        return read(conn)


def give_rights(place: OpenTarget, held: list[Right], suffix: str = "") -> None:
    """Give in a database the rights of another one."""
    if not held:
        return
    with place.connect(suffix) as conn:
        conn.execute(give_back(held).encode())
        tell_gone(conn, held)
