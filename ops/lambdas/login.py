"""The function's login to the database: a role that may read and add users, and nothing else.

Its password lives in the function's environment alone. What stands there is
tried first; only where it does not let in is a new one made. So a run that was
cut off between the database and the function leaves nothing but a login that
the next run replaces.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.sign_up import COLUMNS, ROLE, TABLE
from config.targets import Target, parse
from ops import postgres, row_values
from ops.console import hide
from ops.db.rights import SEQUENCES
from ops.errors import LoginFailed, Misconfigured, NoDatabase, Problem, Refused
from ops.lambdas.plan import Plan
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

GRANTED = ["INSERT", "SELECT"]
OWNED = "inv: function "
"""Begins the comment on the role, which ends with the function whose login it is."""
FACTS = f"""
select to_regclass('{TABLE}') is not null as usable, r.oid is not null as there,
       coalesce(r.rolcanlogin and not (r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls), false) as modest,
       coalesce(shobj_description(r.oid, 'pg_authid'), '') as comment,
       coalesce(has_database_privilege(r.oid, current_database(), 'connect'), false) as connects,
       coalesce(has_schema_privilege(r.oid, 'public', 'usage'), false) as enters,
       array(select name from unnest(array{list(COLUMNS)}) name
              where not exists (select from pg_attribute where attrelid = to_regclass('{TABLE}') and attname = name
                                   and not attisdropped)) as missing,
       array(select privilege_type from pg_class c, aclexplode(c.relacl) a
              where c.oid = to_regclass('{TABLE}') and a.grantee = r.oid order by 1) as granted,
       array(select name from ({SEQUENCES}) s order by 1) as sequences,
       array(select name from ({SEQUENCES}) s
              where not coalesce(has_sequence_privilege(r.oid, s.oid, 'usage, update'), false) order by 1) as closed
  from (select) one left join pg_roles r on r.rolname = '{ROLE}'
"""


@dataclass(frozen=True)
class Client:
    """The function whose login it is, and the instance that it runs beside."""

    name: str
    host: str
    port: int
    url: str = field(repr=False)
    """The CONNECTION_URL that it has now; empty where it has none."""
    exists: Callable[[str], bool]
    """Whether there is a function of a name: the login of one is not another's to change."""


def ensure_login(at: OpenTarget, client: Client, plan: Plan) -> str:
    """Return the CONNECTION_URL of a function.

    Raises `Problem` where the table is not usable, or this user may not make roles.
    """
    import psycopg

    with at.connect() as conn:
        known = facts(at, conn)
        try:
            with conn.transaction():
                url = set_password(at, conn, known, client, plan)
                grant_rights(at, conn, known, plan)
        except psycopg.errors.InsufficientPrivilege as error:
            user = at.target.params.get("user", "this user")
            raise Problem(
                f"{user} may not make the role {ROLE} or give it rights ({row_values.message(error.diag)}): "
                f"deploy as the owner of {TABLE} who has CREATEROLE"
            ) from error
    return url


def check_rights(at: OpenTarget) -> None:
    """Raise `Problem` where the function could not store anybody, before anything is made for it."""
    if not at.database():
        raise NoDatabase(f"{at.target.address}: the database is not there yet: inv db.setup -t {at.target.name}")
    with at.connect() as conn:
        facts(at, conn)


def facts(at: OpenTarget, conn: Connection[DictRow]) -> dict[str, Any]:
    """Return what the database has of table and role."""
    known = postgres.row(conn, FACTS)
    if not known["usable"]:
        raise Problem(f"{at.target.address} has no table {TABLE}: inv db.setup -t {at.target.name}")
    if known["missing"]:
        raise Problem(
            f"{TABLE} of {at.target.address} has no column {', '.join(known['missing'])}, which the function fills: "
            f"add it to sql/schema.sql, then inv db.setup -t {at.target.name}"
        )
    return known


def set_password(at: OpenTarget, conn: Connection[DictRow], known: dict[str, Any], client: Client, plan: Plan) -> str:
    """Return a URL that lets the role in, with a new password where the present one does not."""
    from psycopg import sql

    old = usable_login(at, client)
    if known["there"] and known["modest"] and old and lets_in(at, old):
        plan.same("database login", ROLE)
        return client.url if includes(client.url, old) else old.url(show_password=True)
    other = known["comment"].removeprefix(OWNED)
    if known["comment"].startswith(OWNED) and other != client.name and client.exists(other):
        raise Refused(
            f"{ROLE} is the login of the function {other}, which a new password would lock out: one function writes "
            f"to a server; set lambda.function to that one, or delete it first"
        )
    new = url(at, client, secrets.token_urlsafe(32))
    hide(new.password)
    # what is sent is what Postgres would store: the password itself reaches neither the server nor its log
    verifier = conn.pgconn.encrypt_password(new.password.encode(), ROLE.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("{0} role {1} login {2} password {3}; comment on role {1} is {4}").format(
        sql.SQL("alter" if known["there"] else "create"),
        sql.Identifier(ROLE),
        sql.SQL("" if known["modest"] else "nocreatedb nocreaterole"),
        sql.Literal(verifier),
        sql.Literal(OWNED + client.name),
    )
    act = plan.update if known["there"] else plan.create
    why = "a new password" if known["there"] else f"may {' and '.join(GRANTED)} on {TABLE}"
    act("database login", f"{ROLE}, {why}", lambda: conn.execute(statement), None)
    return new.url(show_password=True)


def grant_rights(at: OpenTarget, conn: Connection[DictRow], known: dict[str, Any], plan: Plan) -> None:
    """Give the role exactly its rights: what it has beyond them on the table is taken away."""
    from psycopg import sql

    role, statements = sql.Identifier(ROLE), []
    if not known["connects"]:
        statements.append(sql.SQL("grant connect on database {} to {}").format(sql.Identifier(at.name), role))
    if not known["enters"]:
        statements.append(sql.SQL("grant usage on schema public to {}").format(role))
    if known["granted"] != GRANTED:
        statements.append(sql.SQL(f"revoke all on {TABLE} from {{}}").format(role))
        statements.append(sql.SQL(f"grant {', '.join(GRANTED)} on {TABLE} to {{}}").format(role))
    numbers = sql.SQL("grant usage on sequence {} to {}")
    statements += [numbers.format(sql.SQL(name), role) for name in known["closed"]]
    what = f"{' and '.join(GRANTED)} on {TABLE}"
    if known["sequences"]:
        what += f", USAGE on {' and '.join(known['sequences'])}"
    if not statements:
        plan.same("database rights", what)
        return
    act = plan.update if known["there"] else plan.create
    act("database rights", what, lambda: conn.execute(sql.SQL("; ").join(statements)), None)


def url(at: OpenTarget, client: Client, word: str) -> Target:
    """Return the function's target: the instance's own name, which inside the VPC leads to its private address.

    TLS is always checked in full there, whatever a tunnel makes necessary here:
    the function brings the certificates.
    """
    params = {"user": ROLE, "password": word, "host": client.host, "port": str(client.port), "dbname": at.name}
    return Target(at.target.name, "CONNECTION_URL", {**params, "sslmode": "verify-full"})


def usable_login(at: OpenTarget, client: Client) -> Target | None:
    """Return the login that we would write, with the password of the present one; None where that is no login of the role."""
    try:
        found = parse(client.url, "CONNECTION_URL", at.target.name)
    except Misconfigured:  # none, or somebody's own text
        return None
    hide(found.password)
    return url(at, client, found.password) if found.params.get("user") == ROLE else None


def includes(have: str, login: Target) -> bool:
    """Whether a URL says what a login of ours does; more of somebody's own stays."""
    return login.params.items() <= parse(have, "CONNECTION_URL", login.name).params.items()


def lets_in(at: OpenTarget, login: Target) -> bool:
    """Whether the database takes a login, tried over the way by which we reach it ourselves."""
    reached = at.target.on(user=ROLE, password=login.password)
    try:
        postgres.connect(reached, task=at.task, timeout=at.settings.connect_timeout).close()
    except LoginFailed:
        return False
    return True
