"""A login by a token of IAM: signed on this machine at each connection, for one instance, port and user, and good for 15 minutes.

RDS takes it in the place of a password from a role with rds_iam, and from that one nothing else (RDS User Guide, "Database
authentication with Amazon RDS"; "Connecting to your DB instance using IAM authentication"). Whatever is wrong with a token is
"PAM authentication failed" there, so what can be known before it is sent is looked at before, and the rest is asked from AWS after.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.targets import Target
from ops import process
from ops.aws import Aws
from ops.console import hide, say
from ops.errors import LoginFailed, Misconfigured, Problem
from ops.rds import connect_policy
from ops.rds.cluster import row as cluster

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

SKEW = 300.0
"""Seconds that a clock may be off before AWS takes no signature of it (IAM User Guide, "Troubleshoot Signature Version 4")."""


@dataclass
class Signer:
    """Signs tokens by one login to AWS, which is looked up once."""

    settings: Settings
    aws: Aws = field(init=False)

    def __post_init__(self) -> None:
        self.aws = Aws(self.settings)

    def __call__(self, target: Target) -> str:
        """Return a token for a login just now; raises `Misconfigured` for a target or a login to AWS that allows none."""
        check(target)
        host = target.host.lower().rstrip(".")
        token = self.aws.database_token(host, target.port, target.params["user"], target.region)
        hide(token.rpartition("=")[2])  # without its signature a token is none
        return token


def check(target: Target) -> None:
    """Raise `Misconfigured` where no token may be sent, or none would be taken."""
    if not target.region:
        raise Misconfigured(
            f"{target.source}: {target.host or 'a socket'} is no instance's own name, for which alone IAM signs a token: give the "
            "endpoint (inv rds.endpoint); a tunnel's address belongs in "
            f"{target.declared.names.hostaddr or 'hostaddr'}"
        )
    if not target.params.get("user"):
        raise Misconfigured(f"{target.source}: names no user, for whom a token is signed")
    if (mode := target.params.get("sslmode")) != "verify-full":
        raise Misconfigured(
            f"{target.source}: sslmode={mode or 'prefer'} would send a token to whoever answers: leave it out, verify-full holds then"
        )


def by_token(settings: Settings, target: Target) -> Target:
    """Return the target with a token in the place of its password."""
    return replace(target.on(password=""), token=Signer(settings))


def asked(settings: Settings, target: Target) -> Target:
    """Return a target on RDS with a token in the place of a password where `rds.login` says so, or its variables name a user alone.

    Where libpq has a file of passwords, a user alone may be one of those in it: then that holds, unless the setting says otherwise.
    """
    way = settings.rds_read[0].login
    if target.source == cluster.BY_IAM:  # it takes nothing else, and no file of passwords holds one for it
        return target if target.token else by_token(settings, target)
    if target.token or way == "password":
        return target
    if way == "iam":
        if target.password:
            say(f"note: {target.source} holds a password, which rds.login does without: take it out")
        return by_token(settings, target)
    alone = target.params.get("user") and not target.password
    return by_token(settings, target) if alone and target.region and not has_password_file(target) else target


def name_of(settings: Settings, user: str) -> str:
    """Return what a role of sql/roles.yaml is called on the server; any other user is called as it is given."""
    from ops.targets.roles import declared

    role = declared.read(settings).roles.get(user)
    return role.name(settings.database) if role else user


def has_password_file(target: Target) -> bool:
    """Whether libpq may find a password elsewhere (PostgreSQL's documentation, "The Password File")."""
    if target.params.get("passfile"):
        return True
    return Path(process.environ().get("PGPASSFILE") or "~/.pgpass").expanduser().is_file()


def explained(settings: Settings, target: Target, error: LoginFailed) -> Problem:
    """Return why a token was refused, as far as AWS tells; else `error`, which names what it may be."""
    from botocore.exceptions import BotoCoreError, ClientError

    if "token is refused" not in str(error):
        return error
    asked_at = time.time()
    try:
        client: RDSClient = Aws(settings).client("rds", region=target.region)
        rows: list[Any] = []
        said: Any = {}
        for page in client.get_paginator("describe_db_instances").paginate():
            said, rows = page["ResponseMetadata"], [*rows, *page["DBInstances"]]
        if ".cluster-" in target.host:
            pages = client.get_paginator("describe_db_clusters").paginate()
            rows += [cluster.as_instance(one, ()) for page in pages for one in page["DBClusters"]]
    except ClientError as refused:
        return clock(dict(refused.response.get("ResponseMetadata", {})), asked_at, target) or error
    except (BotoCoreError, Problem):
        return error
    if wrong := clock(dict(said), asked_at, target):
        return wrong
    host = target.host.lower().rstrip(".")
    row: Any = next((one for one in rows if one.get("Endpoint", {}).get("Address", "").lower() == host), None)
    if row is None:
        return LoginFailed(
            f"{target.address}: the token is refused, and this account has no instance of that name in {target.region}: "
            f"correct {target.source}, or the login to AWS (AWS_PROFILE)"
        )
    kind = "cluster" if cluster.cluster_of(row) else "instance"
    name, port = row["DBInstanceIdentifier"], int(row["Endpoint"]["Port"])
    if port != target.port:
        return LoginFailed(
            f"{target.address}: the token is refused: {name} listens at port {port}, for which it has to be signed: give that "
            f"port in {target.source}, and the tunnel by its own (via)"
        )
    if not row.get("IAMDatabaseAuthenticationEnabled"):
        return LoginFailed(
            f"{target.address}: logins by IAM are off on {name}: aws rds modify-db-{kind} --db-{kind}-identifier {name} "
            "--enable-iam-database-authentication --apply-immediately"
        )
    resource = connect_policy.resource(row, target.params["user"])
    return LoginFailed(
        f"{target.address}: the token is refused: this login to AWS lacks rds-db:connect on {resource} (inv rds.connect-policy "
        "prints the statement), or the user lacks rds_iam (inv db.roles)"
    )


def clock(said: dict[str, Any], now: float, target: Target) -> LoginFailed | None:
    """Return that this machine's clock is wrong, by the time that an answer of AWS's was sent."""
    try:
        sent = parsedate_to_datetime(said["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
    off = now - sent
    if abs(off) < SKEW:
        return None
    way = "ahead" if off > 0 else "behind"
    return LoginFailed(
        f"{target.address}: the token is refused: this machine's clock is {abs(off) / 60:.0f} min {way}: set it"
    )
