"""The proxy made, with its group, role and secret, and taken away; there is no state but the tags in AWS, so a run may end anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import prices, tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.cloud.steps import Work
from ops.console import say
from ops.errors import InProgress, Refused
from ops.rds import instance
from ops.rds.proxy import role, secret, standing, waiting
from ops.rds.proxy.parts import PORT, Parts
from ops.rds.proxy.waiting import TASK
from ops.rds.replica import names as replicas
from ops.rds.security_group import between
from ops.rds.waiting import require_usable

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_rds.type_defs import DBProxyTypeDef

PATIENCE = between.Patience(40, 15.0, TASK)
"""A deleted proxy's interfaces hold its group for some minutes."""
TRIES, PAUSE = 12, 5.0
"""To make a proxy with a role that RDS cannot take yet, and seconds between two."""
TO_BE = "(what rds.proxy makes)"


@dataclass(frozen=True)
class Place:
    """Where the proxy stands, and who comes in by it."""

    vpc: str
    subnets: tuple[str, ...]
    door: str
    """The instance's security group."""
    port: int
    """The instance's."""
    client: str
    """The security group of the function."""


@dataclass(frozen=True)
class Login:
    """How the function logs in, and so the proxy; without a password by token."""

    user: str
    password: str = field(repr=False)

    @property
    def way(self) -> str:
        return "password" if self.password else "token"


def owned(settings: Settings, aws: Aws) -> Row:
    """Return the row of the instance, which must be ours and one that a proxy may lead to."""
    row = instance.require_instance(aws, settings.rds)
    name = row["DBInstanceIdentifier"]
    if not instance.is_ours(row, settings.rds):
        raise Refused(f"{name} was not made by inv: inv rds.create --adopt hands it over first")
    if follows := replicas.source_of(row):
        raise Refused(
            f"{name} is a replica of {follows}, and a proxy leads to one that takes writes: INVOKE_RDS_IDENTIFIER={follows} inv {TASK}"
        )
    if cluster := row.get("DBClusterIdentifier"):
        raise Refused(f"{name} is one of the cluster {cluster}: inv {TASK} is for an instance of its own")
    require_usable(row, TASK)
    return row


def tell(row: Row, login: Login) -> None:
    """Say what it costs."""
    say(f"costs: {prices.of_proxy(row['DBInstanceClass'], secret=bool(login.password))}")


def ensure(
    settings: Settings, aws: Aws, clock: Clock, mine: Parts, place: Place, login: Login, work: Work
) -> dict[str, Any]:
    """Have the proxy there, with a session in the instance; return the request by which it is made."""
    group = between.ensure_group(aws, mine.group, place.vpc, work)
    between.let_in(aws, mine.group, group, place.door, place.port, work, TASK)
    between.let_in(aws, mine.group, place.client, group, PORT, work, TASK)
    row = instance.require_instance(aws, settings.rds)
    if login.password:
        policy = role.by_secret(secret.ensure(aws, mine, login.user, login.password, work))
    else:
        policy = role.by_token([row], login.user)
    arn = role.ensure(aws, mine, policy, work)
    asked = request(
        mine, place, group or TO_BE, arn or TO_BE, "" if not login.password else policy["Statement"][0]["Resource"][0]
    )
    there = standing.find(aws, mine)
    if there is None:
        work.do(f"make the proxy {mine.name}, logging in by {login.way}", lambda: send(aws, mine, asked, clock))
    else:
        require_fitting(there, login, policy["Statement"][0]["Resource"])
    if work.write:
        waiting.until_available(settings, aws, clock, mine)
    if there is None or not any(standing.leads_to(one, mine.identifier) for one in standing.targets(aws, mine.name)):
        work.do(f"have it lead to {mine.identifier}", lambda: register(aws, mine))
    if work.write:
        waiting.until_healthy(settings, aws, clock, mine)
    return asked


def require_fitting(there: DBProxyTypeDef, login: Login, wanted: list[str]) -> None:
    """Raise where a proxy of ours is on its way out, or logs in by another way than the function, or by a secret that is gone.

    `wanted` is what its role may read, or log in at.
    """
    name = there["DBProxyName"]
    if there["Status"] == "deleting":
        raise InProgress(f"the proxy {name} is just being deleted: run inv {TASK} again in some minutes")
    if standing.by_tokens(there) == bool(login.password):
        raise Refused(f"the proxy {name} does not log in by {login.way}, as the function does now: {waiting.ANEW}")
    if login.password and [one.get("SecretArn") for one in there.get("Auth", [])] != wanted:
        raise Refused(f"the proxy {name} logs in by a secret that is not ours any more: {waiting.ANEW}")


def request(mine: Parts, place: Place, group: str, arn: str, held: str) -> dict[str, Any]:
    """Return CreateDBProxy's parameters; `held` is the secret's ARN, empty for tokens.

    With DefaultAuthScheme IAM_AUTH the proxy logs in by tokens too, of its own role, and needs no secret; a password is checked
    as Postgres does, so TLS is all that a client needs (RDS API Reference, "CreateDBProxy").
    """
    auth: dict[str, Any] = (
        {
            "Auth": [
                {
                    "AuthScheme": "SECRETS",
                    "SecretArn": held,
                    "IAMAuth": "DISABLED",
                    "ClientPasswordAuthType": "POSTGRES_SCRAM_SHA_256",
                }
            ]
        }
        if held
        else {"DefaultAuthScheme": "IAM_AUTH"}
    )
    return {
        "DBProxyName": mine.name,
        "EngineFamily": "POSTGRESQL",
        **auth,
        "RoleArn": arn,
        "VpcSubnetIds": list(place.subnets),
        "VpcSecurityGroupIds": [group],
        "RequireTLS": True,
        "Tags": tags.to_aws(mine.tags),
    }


def send(aws: Aws, mine: Parts, asked: dict[str, Any], clock: Clock) -> None:
    """Ask AWS for the proxy, once; a role that was just made is waited for, since IAM knows it everywhere only after some seconds."""
    client: RDSClient = aws.client("rds")
    for left in reversed(range(TRIES)):
        try:
            calls.surely(lambda: client.create_db_proxy(**asked), lambda: standing.find(aws, mine))
        except client.exceptions.DBProxyAlreadyExistsFault:
            if standing.find(aws, mine) is None:  # ours, by another run; a stranger's is refused there
                raise
        except client.exceptions.ClientError as error:
            said = str(error.response["Error"].get("Message", "")).lower()
            if not left or not code(error).startswith("InvalidParameter") or "role" not in said:
                raise
            clock.sleep(PAUSE)
            continue
        break
    say(f"asked AWS for the proxy {mine.name}; this takes some minutes, Ctrl-C is safe")


def register(aws: Aws, mine: Parts) -> None:
    """Have the proxy lead to the instance."""
    client: RDSClient = aws.client("rds")

    def done() -> bool | None:
        return any(standing.leads_to(one, mine.identifier) for one in standing.targets(aws, mine.name)) or None

    try:
        calls.surely(
            lambda: client.register_db_proxy_targets(DBProxyName=mine.name, DBInstanceIdentifiers=[mine.identifier]),
            done,
        )
    except client.exceptions.DBProxyTargetAlreadyRegisteredFault:  # another run was first
        if not done():
            raise
    except client.exceptions.ClientError as error:
        if code(error) in ("InvalidDBProxyStateFault", "InvalidDBInstanceState", "InvalidDBInstanceStateFault"):
            raise InProgress(
                f"AWS does not lead {mine.name} to {mine.identifier} yet: run inv {TASK} again in a minute"
            ) from error
        raise


def remove(settings: Settings, aws: Aws, clock: Clock, mine: Parts, work: Work) -> None:
    """Take away the proxy, and then all that was made for it; what it led to is not touched."""
    there = standing.find(aws, mine)
    if there is not None and there["Status"] != "deleting":
        work.do(f"delete the proxy {mine.name}", lambda: drop(aws, mine))
    if there is not None and work.write:
        waiting.until_gone(settings, aws, clock, mine)
    secret.remove(aws, mine, work)
    role.remove(aws, mine, work)
    between.remove_group(aws, mine.group, work, clock, PATIENCE)


def drop(aws: Aws, mine: Parts) -> None:
    """Ask AWS to delete the proxy; its targets are let go with it."""
    client: RDSClient = aws.client("rds")

    def going() -> bool | None:
        now = standing.find(aws, mine)
        return (now is None or now["Status"] == "deleting") or None

    try:
        calls.surely(lambda: client.delete_db_proxy(DBProxyName=mine.name), going)
    except client.exceptions.DBProxyNotFoundFault:  # another run was first
        return
    except client.exceptions.InvalidDBProxyStateFault as error:
        if not going():
            raise InProgress(
                f"AWS does not delete {mine.name} yet: run inv {TASK} --delete again in a minute"
            ) from error
