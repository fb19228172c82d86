"""The login of a person: what it is called, what the server has of it, and the statements that make it what it is to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import postgres
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import persons
from ops.targets.roles import declared, names

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed

    from ops.targets.open_target import OpenTarget
    from ops.targets.roles.declared import Role

NAME = re.compile(r"[a-z][a-z0-9._-]{0,29}")
BEYOND = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
"""What a login may have beside the rights of its role, and none of ours has."""
FOUND = f"""
select r.oid, r.rolcanlogin as opens, pg_catalog.shobj_description(r.oid, 'pg_authid') as comment,
  array(select name from (values {", ".join(f"('{name}', {name})" for name in BEYOND)}) as has (name, has) where has) as beyond,
  (select count(*) from pg_catalog.pg_stat_activity a where a.usesysid = r.oid)::int as sessions
from pg_catalog.pg_roles r where r.rolname = %s
"""
HELD = """
select pg_get_userbyid(m.roleid) as role, pg_get_userbyid(m.grantor) as grantor,
  coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true) as inherits, (to_jsonb(m) ->> 'set_option')::boolean as becomes
from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = %s
"""
GROUP = "select pg_catalog.shobj_description(oid, 'pg_authid') as comment from pg_catalog.pg_roles where rolname = %s"
IAM = "rds_iam"
"""The role by which RDS lets in by token, and by token alone:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html"""


@dataclass(frozen=True)
class Found:
    """What the server has under the name of a person's login."""

    access: persons.Access
    """What its mark says."""
    opens: bool
    """Whether it may log in."""
    sessions: int
    """That are open as it."""
    beyond: list[str]
    """What it may beside, by the columns of pg_roles."""


def login_of(at: OpenTarget, name: str) -> str:
    """Return the login of a person; raises `Misconfigured` for a name that is none."""
    if not NAME.fullmatch(name):
        raise Misconfigured(f"{name}: name a person in at most 30 lower-case letters, digits, '.', '_' and '-', a letter first")  # fmt: skip
    return names.role_name(names.database_of(at.target), name)


def name_of(at: OpenTarget, login: str) -> str:
    """Return the name that db.grant-access was given, as far as the login shows it."""
    return login.removeprefix(f"{names.database_of(at.target)}_")


def find(at: OpenTarget, conn: Connection[DictRow], login: str) -> Found | None:
    """Return what there is of a login, None where there is nothing; raises `Refused` for a role that is not ours."""
    rows = postgres.fetch(conn, FOUND.encode(), login)  # type: ignore[arg-type] # made of our own words
    if not rows:
        return None
    row = rows[0]
    access = persons.read_mark(row["comment"], names.database_of(at.target))
    if not access:
        raise Refused(
            f"the server has a role {login} that db.grant-access has not made for {names.database_of(at.target)}: it stays as it is; give another name"
        )
    return Found(access, row["opens"], row["sessions"], row["beyond"])


def role_of(settings: Settings, at: OpenTarget, key: str) -> tuple[Role, str]:
    """Return a declared role that people may have, and what it is called on the server.

    Raises `Misconfigured` where the file has none such, and `Problem` where the server has not.
    """
    file = declared.read(settings)
    role = file.roles.get(key)
    if not role or not role.login:
        usable = ", ".join(each.key for each in file.logins()) or "none yet"
        why = "nobody logs in as it" if role else "there is none such"
        raise Misconfigured(f"--role {key}: {why} in {file.name}, use one of {usable}")
    group = role.name(names.database_of(at.target))
    rows = postgres.fetch(at.conn, GROUP, group)
    if not rows:
        raise Problem(f"the server has no role {group} yet: inv db.roles -t {at.target.name} makes it")
    if not role.is_marked(names.database_of(at.target), rows[0]["comment"]):
        raise Refused(f"the role {group} of the server is not of our making: nobody is given its rights")
    return role, group


def takes_tokens(conn: Connection[DictRow]) -> bool:
    """Whether the server lets in by token: it is of RDS, or plays it."""
    return bool(postgres.fetch(conn, "select from pg_catalog.pg_roles where rolname = %s", IAM))


@dataclass(frozen=True)
class Wanted:
    """What a login is to be."""

    login: str
    mark: str
    until: datetime
    group: str
    """The role whose rights it has."""
    becomes: bool
    """Whether it may SET ROLE to what that may become."""
    verifier: str | None
    """Of its password, as Postgres stores it; None: it logs in by token."""


def statements(conn: Connection[DictRow], wanted: Wanted, found: Found | None) -> list[Composed]:
    """Return what makes a login what it is to be, whatever it was.

    Its rights hang on one membership, so that taking that away takes them. From 16 on it has them without being able to SET ROLE to
    the role, which an open session would keep (https://www.postgresql.org/docs/current/sql-grant.html).
    """
    from psycopg import sql

    login = sql.Identifier(wanted.login)
    newer = conn.info.server_version >= 160000
    made: list[Composed] = []
    if not found:
        made.append(sql.SQL("create role {} nologin").format(login))
    less = [sql.SQL("no" + has.removeprefix("rol")) for has in (found.beyond if found else ())]
    password = sql.SQL("null") if wanted.verifier is None else sql.Literal(wanted.verifier)
    clauses = sql.SQL(" ").join([sql.SQL("login inherit"), *less])
    made.append(
        sql.SQL("alter role {} with {} password {} valid until {}").format(
            login, clauses, password, sql.Literal(wanted.until.isoformat())
        )
    )
    made.append(sql.SQL("comment on role {} is {}").format(login, sql.Literal(wanted.mark)))
    held = postgres.fetch(conn, HELD, wanted.login)
    groups = [wanted.group, *([IAM] if wanted.verifier is None else [])]
    made += [
        revoke(row["role"], wanted.login, row["grantor"] if newer else None)
        for row in held
        if row["role"] not in groups or not fits(row, wanted)
    ]
    for group in groups:
        if not any(row["role"] == group and fits(row, wanted) for row in held):
            options = f" with inherit true, set {str(wanted.becomes).lower()}" if newer else ""
            made.append(sql.SQL("grant {} to {}" + options).format(sql.Identifier(group), login))
    return made


def fits(row: DictRow, wanted: Wanted) -> bool:
    """Whether a membership lets do what it is to, and no more; before 16 there is one kind."""
    return row["becomes"] is None or (row["inherits"] and row["becomes"] == wanted.becomes)


def revoke(role: str, login: str, grantor: str | None) -> Composed:
    """Return what takes a membership away; from 16 on there is one for each who has given it."""
    from psycopg import sql

    by = sql.SQL(" granted by {}").format(sql.Identifier(grantor)) if grantor else sql.SQL("")
    return sql.SQL("revoke {} from {}{}").format(sql.Identifier(role), sql.Identifier(login), by)
