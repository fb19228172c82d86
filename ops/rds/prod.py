"""Production where the variables do not name all of it: RDS is asked for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.declared import Kind
from config.settings import Settings
from config.targets import Target, reached
from ops import postgres
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud.facts import Row
from ops.console import hide, say
from ops.errors import LoginFailed, Misconfigured, Problem
from ops.rds import ca, instance, secret, server
from ops.rds.cluster.row import BY_IAM, is_express

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

BY_RDS = "the RDS secret"


def ask_rds(settings: Settings, *, why: str, aws: Aws | None = None) -> Target:
    """Return the target that the instance of the settings is; `why` says what the variables lack."""
    aws = aws or Aws(settings, tell=say)
    try:
        with speaking():
            row = instance.find(aws, settings.rds)
    except Problem as error:
        raise Misconfigured(f"{why}; RDS was not asked: {error}") from error
    if row is None:
        raise Misconfigured(
            f"{why}; there is no {server.of(settings.rds).word} {settings.rds.identifier} in {aws.region} (inv rds.create)"
        )
    host = instance.endpoint(row)
    named = settings.vars.get(settings.focus.names.endpoint)
    if named and named.lower().rstrip(".") != host.lower():
        raise Misconfigured(f"{why} (the instance {settings.rds.identifier} is another one: {host})")
    say(f"{settings.focus.name} is asked from RDS: {row['DBInstanceIdentifier']}")
    return target_of(settings, aws, row)


def target_of(settings: Settings, aws: Aws, row: Row) -> Target:
    """Return an instance as a target, with the login that RDS keeps, else the user's own."""
    login = credentials(settings, aws, row)
    hide(login.password)
    params = {
        "user": login.user,
        "password": login.password,
        "host": instance.endpoint(row),
        "port": str(instance.port(row)),
        "dbname": settings.database,
    }
    focus = settings.focus
    source = BY_RDS if row.get("MasterUserSecret") and login.password else focus.names.password
    if is_express(row):
        source = BY_IAM
    return reached(settings, Target(focus.name, source, params, kind=Kind.RDS, declared=focus))


def open_session(settings: Settings, aws: Aws, row: Row, task: str) -> Connection[DictRow]:
    """Open a session in the database of an instance, which need not be that of the settings; raises as `postgres.connect`."""
    target = target_of(settings, aws, row)
    require_certificates(settings, target)
    return postgres.connect(target, task=task, timeout=settings.connect_timeout)


def credentials(settings: Settings, aws: Aws, row: Row) -> secret.Login:
    """Return the managed secret's login, else the user's own; without a password where tokens stand in for it."""
    if settings.rds.login == "iam" or is_express(row):
        return secret.Login(settings.vars.get(settings.focus.names.user) or str(row["MasterUsername"]), "")
    if row.get("MasterUserSecret"):
        return secret.read(aws, row)
    names = settings.focus.names
    password = settings.vars.get(names.password)
    if not password:
        raise Misconfigured(
            f"the password of {row['DBInstanceIdentifier']} is yours and not kept by RDS: set {names.password} in .env, "
            f"or {names.url} with a user who logs in by tokens, and no password"
        )
    return secret.Login(settings.vars.get(names.user) or str(row["MasterUsername"]), password)


def read_login_again(settings: Settings, target: Target, error: LoginFailed) -> Target:
    """Return the target with the login that RDS holds now: it may have rotated, or not be the variables' at all.

    Raises `error`, or one that says more, where RDS knows no other login.
    """
    if settings.vars.get(settings.focus.names.next_password):
        raise LoginFailed(
            f"{target.address}: its password is being changed: inv rds.rotate-password, which was cut off, goes on with that"
        ) from error
    if target.source not in (BY_RDS, settings.focus.names.endpoint):
        raise error
    try:
        fresh = ask_rds(settings, why=str(error))
    except Problem:
        if target.source == BY_RDS:
            raise
        raise error from None  # another server than the instance, or RDS cannot be asked
    if fresh.source == BY_IAM:
        raise LoginFailed(
            f"{target.address}: {settings.rds.identifier} has no password, and lets in by tokens of IAM alone: unset "
            f"{settings.focus.names.password}"
        ) from error
    if fresh.source != BY_RDS:
        raise error
    if fresh.password == target.password:
        raise LoginFailed(
            f"{target.address}: the login in the RDS secret is refused, also read anew: inv rds.status tells whether it is "
            "being rotated, inv rds.rotate-password makes a new one"
        ) from error
    if target.source != BY_RDS:
        say(
            f"note: RDS keeps the password of {settings.rds.identifier}, {settings.focus.names.password} is not it: unset it"
        )
    return fresh


def require_certificates(settings: Settings, target: Target) -> None:
    """Fetch the bundle that the target's TLS is checked against, if it is ours and not there yet."""
    path = ca.bundle(settings)
    if target.params.get("sslrootcert") == str(path) and not path.exists():
        ca.fetch(settings)
