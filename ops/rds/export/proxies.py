"""The proxy before the instance, with its group of targets, and the secret by which it logs in.

Arguments and imports: the AWS provider's documentation, aws_db_proxy, aws_db_proxy_default_target_group, aws_db_proxy_target and
aws_secretsmanager_secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops.aws import Aws
from ops.cloud import tags
from ops.errors import Refused
from ops.rds.export import roles
from ops.rds.export.hcl import Block, Expression
from ops.rds.export.resources import Found, Resource, present, tagged
from ops.rds.proxy import parts, secret, standing
from ops.rds.proxy.parts import Parts

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_rds.type_defs import DBProxyTypeDef

PROXY = "proxy"
NO_VALUE = "Its value stays in Secrets Manager: the login of the function, which inv lambda.deploy keeps."


def find(aws: Aws, found: Found, settings: Settings) -> DBProxyTypeDef | None:
    """Return our proxy, or None; a stranger's of its name is left out."""
    try:
        return standing.find(aws, parts.of(settings.rds, aws.region))
    except Refused as why:
        found.left_out.append(f"proxy: {why}")
        return None


def add_proxy(aws: Aws, found: Found, settings: Settings, there: DBProxyTypeDef) -> None:
    """Take the proxy up; its groups and the instance are known by then."""
    mine = parts.of(settings.rds, aws.region)
    roles.add_role(aws, found, there["RoleArn"], PROXY)
    if not standing.by_tokens(there):
        add_secret(aws, found, mine)
    have: list[Any] = aws.client("rds").list_tags_for_resource(ResourceName=there["DBProxyArn"])["TagList"]
    body = present(
        [
            ("name", mine.name),
            ("engine_family", there["EngineFamily"]),
            ("default_auth_scheme", "IAM_AUTH" if standing.by_tokens(there) else None),
            ("role_arn", found.refer(there["RoleArn"])),
            ("vpc_subnet_ids", sorted(there.get("VpcSubnetIds", []))),
            ("vpc_security_group_ids", found.refer_all(there.get("VpcSecurityGroupIds", []))),
            ("require_tls", there.get("RequireTLS")),
            ("idle_client_timeout", there.get("IdleClientTimeout")),
            ("debug_logging", there.get("DebugLogging")),
            *tagged(tags.from_aws(have)),
        ]
    )
    for one in there.get("Auth", []):
        login = [
            ("auth_scheme", one.get("AuthScheme")),
            ("iam_auth", one.get("IAMAuth")),
            ("client_password_auth_type", one.get("ClientPasswordAuthType")),
            ("secret_arn", found.refer(str(one.get("SecretArn") or ""))),
        ]
        body.append(Block("auth", (), present(login)))
    made = Resource("aws_db_proxy", PROXY, mine.name, body)
    found.add(made)
    add_targets(aws, found, mine, made)


def add_secret(aws: Aws, found: Found, mine: Parts) -> None:
    """Take up the secret without its value."""
    try:
        there = secret.find(aws, mine)
    except Refused as why:
        found.left_out.append(f"secret: {why}")
        return
    if there is None:
        return
    about = [("name", there["Name"]), ("description", there.get("Description")), ("kms_key_id", there.get("KmsKeyId"))]
    body = present([*about, *tagged(tags.from_aws(there.get("Tags")))])
    found.add(Resource("aws_secretsmanager_secret", PROXY, there["ARN"], body, NO_VALUE), arn=there["ARN"])


def add_targets(aws: Aws, found: Found, mine: Parts, made: Resource) -> None:
    """Take up how its connections are kept, and what it leads to."""
    client: RDSClient = aws.client("rds")
    by = ("db_proxy_name", Expression(f"{made.address}.name"))
    [group] = client.describe_db_proxy_target_groups(DBProxyName=mine.name)["TargetGroups"]
    pool: Any = group.get("ConnectionPoolConfig", {})
    kept = present(
        [
            ("connection_borrow_timeout", pool.get("ConnectionBorrowTimeout")),
            ("init_query", pool.get("InitQuery")),
            ("max_connections_percent", pool.get("MaxConnectionsPercent")),
            ("max_idle_connections_percent", pool.get("MaxIdleConnectionsPercent")),
            ("session_pinning_filters", sorted(pool.get("SessionPinningFilters", []))),
        ]
    )
    found.add(
        Resource("aws_db_proxy_default_target_group", PROXY, mine.name, [by, Block("connection_pool_config", (), kept)])
    )
    for one in standing.targets(aws, mine.name):
        if standing.leads_to(one, mine.identifier):
            body = [
                by,
                ("target_group_name", Expression(f"aws_db_proxy_default_target_group.{PROXY}.name")),
                ("db_instance_identifier", Expression("aws_db_instance.database.identifier")),
            ]
            id_ = f"{mine.name}/{group['TargetGroupName']}/RDS_INSTANCE/{mine.identifier}"
            found.add(Resource("aws_db_proxy_target", PROXY, id_, body))
        else:
            found.left_out.append(f"target {one.get('RdsResourceId')} of {mine.name}: not {mine.identifier}")
