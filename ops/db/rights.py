"""What the function of lambda.* may do in a database: carried over to the one that takes its place.

Other rights in the tables are the schema's to give; these come from
lambda.deploy, and without them no sign-up would be stored from here on.
"""

from __future__ import annotations

from typing import Any

from config.sign_up import COLUMNS, ROLE, TABLE
from ops import postgres
from ops.console import say
from ops.targets.open_target import OpenTarget

# Roles belong to the server and are the same in each database; what they may do in one of them is noted here
HAS_RIGHTS = """
select from pg_shdepend where dbid = %s and deptype = 'a'
  and refobjid = (select oid from pg_roles where rolname = %s)
"""
RIGHTS = """
select 'schema' as kind, quote_ident(nspname) as name, privilege_type as privilege
from pg_namespace, aclexplode(nspacl) a join pg_roles r on r.oid = a.grantee where rolname = %(role)s
union all
select case relkind when 'S' then 'sequence' else 'table' end, format('%%I.%%I', nspname, relname), privilege_type
from pg_class c join pg_namespace n on n.oid = relnamespace, aclexplode(relacl) a join pg_roles r on r.oid = a.grantee
where rolname = %(role)s
"""
THERE = (
    "select case when %s = 'schema' then to_regnamespace(%s) is not null else to_regclass(%s) is not null end as there"
)
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


def read_rights(place: OpenTarget, suffix: str = "") -> list[dict[str, Any]]:
    """Return the rights in schemas, tables and sequences of a database; none if that is not there."""
    found = place.database(suffix)
    if not found or place.conn.execute(HAS_RIGHTS, [found["oid"], ROLE]).fetchone() is None:
        return []
    if not found["datallowconn"]:
        say(
            f"note: {found['datname']} allows no connections, so what {ROLE} may do in it is not known: inv lambda.deploy gives it again"
        )
        return []
    with place.connect(suffix) as conn:
        return conn.execute(RIGHTS, {"role": ROLE}).fetchall()


def give_rights(place: OpenTarget, rights: list[dict[str, Any]], suffix: str = "") -> None:
    """Give in a database the rights of another one; a schema that numbers its rows now has sequences that the other had not."""
    from psycopg import sql

    if not rights:
        return
    role, given = sql.Identifier(ROLE), []
    with place.connect(suffix) as conn:
        for row in rights:
            kind, name = row["kind"], row["name"]
            if postgres.row(conn, THERE, kind, name, name)["there"]:
                given.append((name, row["privilege"]))
                conn.execute(sql.SQL("{}{}").format(sql.SQL(f"grant {row['privilege']} on {kind} {name} to "), role))
            elif kind != "sequence":  # those that count now follow
                say(f"note: the database has no {name} now, on which {ROLE} may {row['privilege']}")
        if (TABLE, "INSERT") in given:
            for row in conn.execute(NUMBERED).fetchall():
                conn.execute(sql.SQL("{}{}").format(sql.SQL(f"grant usage on sequence {row['name']} to "), role))
