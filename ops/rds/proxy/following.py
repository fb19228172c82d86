"""What becomes of a proxy by what other tasks do to its instance, or what is to be done before.

A blue/green deployment is possible with a proxy: by the page "Using RDS Proxy with Blue/Green Deployments" of the RDS User Guide
(rds-proxy-blue-green), "RDS Proxy supports Blue/Green Deployments for RDS for PostgreSQL" (announced on 2026-04-09). That page is relied on
here, not the older words elsewhere that deny it. It says: the instance must be a target of the proxy before the deployment is made, and
cannot become one after; before the switchover AWS checks that the proxy reaches both; then it leads to the new one by itself, and
sessions by it are dropped. "Limitations and considerations for Amazon RDS blue/green deployments" adds nothing about proxies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.sign_up import ROLE
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.cloud.steps import Work
from ops.console import say
from ops.errors import Refused
from ops.rds.cluster.row import cluster_of
from ops.rds.proxy import parts, role, standing
from ops.rds.proxy.waiting import TASK

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

OVER = "SWITCHOVER_COMPLETED"


def check_no_copy(aws: Aws, row: Row) -> None:
    """Raise `Refused` where an instance has a blue/green deployment, during which AWS adds it to no proxy."""
    client: RDSClient = aws.client("rds")
    filters: Any = [{"Name": "source", "Values": [row["DBInstanceArn"]]}]
    for one in client.describe_blue_green_deployments(Filters=filters)["BlueGreenDeployments"]:
        if one["Source"] == row["DBInstanceArn"] and not one.get("DeleteTime") and one["Status"] != OVER:
            raise Refused(
                f"{row['DBInstanceIdentifier']} has the blue/green deployment {one['BlueGreenDeploymentName']}, and AWS leads no proxy to it "
                f"meanwhile: end that first (inv rds.upgrade --blue-green goes on with ours), then inv {TASK}"
            )


def check_copy(aws: Aws, row: Row) -> None:
    """Raise `Refused` before a copy is made of an instance that a proxy does not reach: AWS would not switch over."""
    for one in standing.before(aws, row):
        if one.state != "AVAILABLE":
            raise Refused(
                f"the proxy {one.name} does not reach {row['DBInstanceIdentifier']} ({one.state.lower()}), and AWS switches over only where "
                f"it does: inv {TASK} mends ours, then run this again"
            )
        say(
            f"its proxy {one.name} leads to the new one by itself; sessions by it end, as others do, and no name is looked up anew"
        )


def follow_copy(settings: Settings, aws: Aws, rows: list[Row]) -> None:
    """Let our proxy, where it logs in by tokens, into all of these instances: each has an id of its own, for which its right is."""
    mine = parts.of(settings.rds, aws.region)
    if any(one.name == mine.name for one in standing.before(aws, rows[0])):
        proxy = standing.find(aws, mine)
        if proxy is not None and standing.by_tokens(proxy):
            role.ensure(aws, mine, role.by_token(rows, ROLE), Work(write=True))


def check_swap(aws: Aws, row: Row) -> None:
    """Raise `Refused` where a proxy leads to an instance whose name is to be another's: nothing says that it would follow the name."""
    for one in standing.before(aws, row):
        raise Refused(
            f"the proxy {one.name} leads to {row['DBInstanceIdentifier']}, and would go on to do so under its next name: nothing was renamed; "
            + (
                f"take it out of that (aws rds deregister-db-proxy-targets --db-proxy-name {one.name}), then run this again"
                if cluster_of(row)
                else f"inv {TASK} --delete first, and inv {TASK} after it"
            )
        )
