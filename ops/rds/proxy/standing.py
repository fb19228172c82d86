"""The proxy as RDS has it: ours or a stranger's, whether it takes connections, and how its target is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.errors import Refused
from ops.rds.proxy.parts import Parts

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_rds.type_defs import DBProxyTargetTypeDef, DBProxyTypeDef


def find(aws: Aws, mine: Parts) -> DBProxyTypeDef | None:
    """Return our proxy, or None; raises `Refused` for one of that name which is not ours."""
    client: RDSClient = aws.client("rds")
    try:
        [found] = client.describe_db_proxies(DBProxyName=mine.name)["DBProxies"]
    except client.exceptions.DBProxyNotFoundFault:
        return None
    if not mine.owns(tags.from_aws(client.list_tags_for_resource(ResourceName=found["DBProxyArn"])["TagList"])):
        raise Refused(
            f"the proxy {mine.name} is there already, and not made by inv: nothing was done; delete or rename it"
        )
    return found


def targets(aws: Aws, name: str) -> list[DBProxyTargetTypeDef]:
    """Return what a proxy leads to; nothing for one that is gone."""
    client: RDSClient = aws.client("rds")
    try:
        pages = list(client.get_paginator("describe_db_proxy_targets").paginate(DBProxyName=name))
    except client.exceptions.DBProxyNotFoundFault:
        return []
    return [target for page in pages for target in page["Targets"]]


def leads_to(target: DBProxyTargetTypeDef, identifier: str) -> bool:
    """Whether a target is that instance."""
    return str(target.get("RdsResourceId") or "").lower() == identifier.lower()


def resource(proxy: DBProxyTypeDef) -> dict[str, str]:
    """Return what a right to log in by a proxy is for, in the words of ops/rds/connect_policy.py.

    Its id, prx-…, is the end of its ARN (RDS User Guide, "Connecting to a database using IAM authentication" of RDS Proxy).
    """
    return {"DBInstanceArn": proxy["DBProxyArn"], "DbiResourceId": proxy["DBProxyArn"].rpartition(":")[2]}


def by_tokens(proxy: DBProxyTypeDef) -> bool:
    """Whether a proxy takes tokens of IAM, and uses them itself."""
    return proxy.get("DefaultAuthScheme") == "IAM_AUTH"


@dataclass(frozen=True)
class Before:
    """A proxy before an instance, whoever made it."""

    name: str
    """As RDS has it."""
    state: str
    """Of the instance behind it, in RDS's word: AVAILABLE."""
    endpoint: str | None
    """Its host name; null while it is being made."""


def before(aws: Aws, row: Row) -> list[Before]:
    """Return every proxy of which an instance is a target."""
    client: RDSClient = aws.client("rds")
    found = []
    for page in client.get_paginator("describe_db_proxies").paginate():
        for proxy in page["DBProxies"]:
            for target in targets(aws, proxy["DBProxyName"]):
                if leads_to(target, row["DBInstanceIdentifier"]):
                    state = str(target.get("TargetHealth", {}).get("State") or "REGISTERING")
                    found.append(Before(proxy["DBProxyName"], state, proxy.get("Endpoint")))
    return found
