"""The function's login to the database: a role that may read and add users, and nothing else.

By token of IAM it has no password at all. Else that lives in the function's
environment alone: what stands there is tried first, and only where it does not
let in is a new one made. So a run that was cut off between the database and the
function leaves nothing but a login that the next run replaces.

From one way to the other no sign-up is missed: a function that is refused with
its password by "PAM authentication failed" signs a token. So it keeps a password
until the role has rds_iam, and has the next one before that is taken away.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.sign_up import COLUMNS, ROLE, TABLE
from config.targets import Target, parse
from ops import postgres, row_values
from ops.console import hide, say
from ops.db.rights import SEQUENCES
from ops.errors import LoginFailed, Misconfigured, NoDatabase, Problem, Refused
from ops.lambdas.plan import Plan
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed

GRANTED = ["INSERT", "SELECT"]
OWNED = "inv: function "
"""Begins the comment on the role, which ends with the function whose login it is."""
FACTS = f"""
select to_regclass('{TABLE}') is not null as usable, r.oid is not null as there,
       iam.oid is not null as knows_tokens, coalesce(pg_has_role(r.oid, iam.oid, 'usage'), false) as by_token,
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
  from (select) one left join pg_roles r on r.rolname = '{ROLE}' left join pg_roles iam on iam.rolname = 'rds_iam'
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
    tokens: bool = False
    """Whether it is to log in by token, where the server knows what that is."""


@dataclass(frozen=True)
class Given:
    """How a function logs in from now on."""

    url: str = field(repr=False)
    """Its CONNECTION_URL."""
    by_token: bool
    kept: str = field(default="", repr=False)
    """The one that it has, and keeps until `switch` is done; empty where there is nothing to switch before."""
    switch: Callable[[], None] = lambda: None
    """Has the database take the other way, once the function knows both."""


def ensure_login(at: OpenTarget, client: Client, plan: Plan) -> Given:
    """Return how a function logs in; what is left to do then is in that.

    Raises `Problem` where the table is not usable, or this user may not make roles.
    """
    import psycopg

    with at.connect() as conn:
        known = facts(at, conn)
        by_token = client.tokens and known["knows_tokens"]
        if client.tokens and not by_token:
            say(f"note: {at.target.address} knows no rds_iam, by which a login takes tokens: {ROLE} gets a password")
        try:
            with conn.transaction():
                if by_token:
                    given = take_tokens(at, conn, known, client, plan)
                else:
                    given = set_password(at, conn, known, client, plan)
                grant_rights(at, conn, known, plan)
        except psycopg.errors.InsufficientPrivilege as error:
            user = at.target.params.get("user", "this user")
            raise Problem(
                f"{user} may not make the role {ROLE} or give it rights ({row_values.message(error.diag)}): "
                f"deploy as the owner of {TABLE} who has CREATEROLE"
            ) from error
    return given


def take_tokens(at: OpenTarget, conn: Connection[DictRow], known: dict[str, Any], client: Client, plan: Plan) -> Given:
    """Have the role log in by token, and by nothing else: at once where no function has a password of it, else in the end."""
    from psycopg import sql

    old, new = usable_login(at, client), url(at, client, "")
    kept = client.url if old and old.password else ""
    there = client.url if old and not old.password and includes(client.url, new) else new.url()
    if known["there"] and known["modest"] and known["by_token"]:
        plan.same("database login", f"{ROLE}, by token")
        return Given(there, by_token=True, kept=kept)
    check_owner(known, client, "one by token")
    role = sql.Identifier(ROLE)
    make = sql.SQL("{0} role {1} login {2} password null; comment on role {1} is {3}; grant rds_iam to {1}{4}").format(
        sql.SQL("alter" if known["there"] else "create"),
        role,
        sql.SQL("" if known["modest"] else "nocreatedb nocreaterole"),
        sql.Literal(OWNED + client.name),
        sql.SQL(" with inherit true, set false" if conn.info.server_version >= 160000 else ""),
    )
    act = plan.update if known["there"] else plan.create
    if kept and known["there"] and plan.write:
        return Given(there, by_token=True, kept=kept, switch=lambda: change(at, act, f"{ROLE}, by token", make))
    act("database login", f"{ROLE}, by token", lambda: conn.execute(make), None)
    return Given(there, by_token=True)


def change(at: OpenTarget, act: Callable[..., Any], what: str, statement: Composed) -> None:
    """Carry statements out in a session of their own: the first one ended before AWS was waited for."""
    with at.connect() as conn, conn.transaction():
        act("database login", what, lambda: conn.execute(statement), None)


def check_owner(known: dict[str, Any], client: Client, what: str) -> None:
    """Refuse to take the login away from another function."""
    other = known["comment"].removeprefix(OWNED)
    if known["comment"].startswith(OWNED) and other != client.name and client.exists(other):
        raise Refused(
            f"{ROLE} is the login of the function {other}, which {what} would lock out: one function writes "
            f"to a server; set lambda.function to that one, or delete it first"
        )


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


def set_password(at: OpenTarget, conn: Connection[DictRow], known: dict[str, Any], client: Client, plan: Plan) -> Given:
    """Return a URL that lets the role in, with a new password where the present one does not."""
    from psycopg import sql

    old = usable_login(at, client)
    if known["there"] and known["modest"] and not known["by_token"] and old and old.password and lets_in(at, old):
        plan.same("database login", ROLE)
        text = client.url if includes(client.url, old) else old.url(show_password=True)
        return Given(text, by_token=False)
    check_owner(known, client, "a new password")
    # one that a function has got already, by a run that was cut off before the database had it
    waiting = old.password if old and known["by_token"] else ""
    new = url(at, client, waiting or secrets.token_urlsafe(32))
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
    if known["by_token"]:
        statement += sql.SQL("; revoke rds_iam from {}").format(sql.Identifier(ROLE))
    act = plan.update if known["there"] else plan.create
    why = "a new password" if known["there"] else f"may {' and '.join(GRANTED)} on {TABLE}"
    if known["by_token"] and client.url and plan.write:
        text = new.url(show_password=True)
        return Given(text, by_token=False, kept=text, switch=lambda: change(at, act, f"{ROLE}, {why}", statement))
    act("database login", f"{ROLE}, {why}", lambda: conn.execute(statement), None)
    return Given(new.url(show_password=True), by_token=False)


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
    the function brings the certificates. Without a password it signs a token for that name.
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
    return {k: v for k, v in login.params.items() if v}.items() <= parse(
        have, "CONNECTION_URL", login.name
    ).params.items()


def lets_in(at: OpenTarget, login: Target) -> bool:
    """Whether the database takes a login, tried over the way by which we reach it ourselves."""
    reached = at.target.on(user=ROLE, password=login.password)
    try:
        postgres.connect(reached, task=at.task, timeout=at.settings.connect_timeout).close()
    except LoginFailed:
        return False
    return True
