"""The instance's own security group: nothing comes in at birth, the door opens it later."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from config.rds import Rds
from ops.aws import Aws
from ops.aws_errors import code, speaking
from ops.cloud import tags
from ops.cloud.own_group import OwnGroup
from ops.console import say
from ops.errors import InProgress, Problem
from ops.rds.security_group.wide_open import is_wide_open

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, SecurityGroupTypeDef
    from mypy_boto3_rds.client import RDSClient

RDS_INTERFACE = "RDSNetworkInterface"
"""What RDS calls the interfaces of its instances."""
TRIES = 20
PAUSE = 15.0
"""Seconds between tries to remove a group that the instance's interface still holds."""


def ensure_group(aws: Aws, rds: Rds, vpc_id: str) -> str:
    """Return the id of the instance's group in this VPC, made if it is not there.

    Its tags come with its birth, so a run that was cut off right after it finds
    it again. Raises `Problem` if somebody else's group has the name.
    """
    ec2, mine = aws.client("ec2"), own_group(rds)
    with speaking():
        for group in mine.find(ec2, vpc_id):
            check_no_rules(group)
            return str(group["GroupId"])
        group_id = mine.make(ec2, vpc_id)
        if group_id is None:
            return mine.namesake(ec2, vpc_id)
    say(f"made the security group {group_id} ({mine.name}): no address may enter yet")
    return group_id


def check_no_rules(group: SecurityGroupTypeDef) -> None:
    """Refuse a group left over from before that lets everybody in; say what else it lets in."""
    ranges = [
        str(one.get("CidrIp") or one.get("CidrIpv6"))
        for permission in group.get("IpPermissions", [])
        for one in [*permission.get("IpRanges", []), *permission.get("Ipv6Ranges", [])]
    ]
    if wide := [text for text in ranges if is_wide_open(ipaddress.ip_network(text, strict=False))]:
        raise Problem(
            f"the security group {group['GroupId']} is there from before and lets everybody in ({wide[0]}): "
            "remove that rule, then run this again"
        )
    if ranges:
        say(f"note: the security group {group['GroupId']} is there from before and lets in {', '.join(ranges)}")


def remove_group(aws: Aws, rds: Rds, *, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Remove the instance's group and return the ids of what was removed; none there is well too.

    AWS lets a group go only when the network interface of the deleted instance
    is gone: that is waited for, and ends in `InProgress` if it takes too long.
    A cluster without instances has no interface, so nothing at AWS would keep its group: that is looked at before.
    """
    ec2, removed = aws.client("ec2"), []
    with speaking():
        for group in own_group(rds).find(ec2):
            if rds.is_cluster and (others := by_clusters(aws, str(group["GroupId"]))):
                raise stays(str(group["GroupId"]), others)
            delete_group(aws, str(group["GroupId"]), sleep)
            removed.append(str(group["GroupId"]))
    return removed


def own_group(rds: Rds) -> OwnGroup:
    """Return what the instance's group is called and known by."""
    return OwnGroup(
        name=f"rds-{rds.identifier.lower()}",
        description=f"Door of the RDS instance {rds.identifier} (inv rds.allow-my-ip)",
        project=rds.project,
        key=tags.INSTANCE,
        owner=rds.identifier.lower(),
    )


def delete_group(aws: Aws, group_id: str, sleep: Callable[[float], None]) -> None:
    """Delete one group, waiting while the deleted instance's interface still holds it.

    Raises `Problem` if something else does, which waiting does not change.
    """
    ec2: EC2Client = aws.client("ec2")
    for left in reversed(range(TRIES)):
        try:
            ec2.delete_security_group(GroupId=group_id)
        except ec2.exceptions.ClientError as error:
            if code(error) == "InvalidGroup.NotFound":
                return
            if code(error) != "DependencyViolation":
                raise
            if others := holders(aws, group_id):
                raise stays(group_id, others) from error
            if not left:
                break
            if left == TRIES - 1:
                say(f"{group_id} is still held by a network interface: waiting for it to go")
            sleep(PAUSE)
        else:
            say(f"removed the security group {group_id}")
            return
    raise InProgress(
        f"the security group {group_id} is still held by the network interface of the deleted instance: "
        "run inv rds.delete again in some minutes"
    )


def stays(group_id: str, others: list[str]) -> Problem:
    """Return that a group is used by others, with what to do."""
    return Problem(
        f"the security group {group_id} stays, it is used {', '.join(others)}: remove that rule, or give these "
        "another group (aws rds modify-db-instance or modify-db-cluster --vpc-security-group-ids, aws ec2 "
        "modify-network-interface-attribute --groups), then run inv rds.delete again"
    )


def holders(aws: Aws, group_id: str) -> list[str]:
    """Return what uses a group besides an instance that is on its way out; what may not be asked is passed over."""
    looks = (by_instances, by_interfaces, by_rules)
    found = []
    for look in looks:
        with contextlib.suppress(Problem), speaking():
            found += look(aws, group_id)
    return found


def by_instances(aws: Aws, group_id: str) -> list[str]:
    client: RDSClient = aws.client("rds")
    pages = client.get_paginator("describe_db_instances").paginate()
    return [
        f"by the instance {row['DBInstanceIdentifier']}"
        for page in pages
        for row in page["DBInstances"]
        if group_id in [one["VpcSecurityGroupId"] for one in row.get("VpcSecurityGroups", [])]
        and row.get("DBInstanceStatus") != "deleting"
    ]


def by_clusters(aws: Aws, group_id: str) -> list[str]:
    client: RDSClient = aws.client("rds")
    pages = client.get_paginator("describe_db_clusters").paginate()
    return [
        f"by the cluster {row['DBClusterIdentifier']}"
        for page in pages
        for row in page["DBClusters"]
        if group_id in [one["VpcSecurityGroupId"] for one in row.get("VpcSecurityGroups", [])]
        and row.get("Status") != "deleting"
    ]


def by_interfaces(aws: Aws, group_id: str) -> list[str]:
    """RDS's own are left out: they are an instance's that is listed, or one's that is gone, and go by themselves."""
    filters: list[FilterTypeDef] = [{"Name": "group-id", "Values": [group_id]}]
    ec2: EC2Client = aws.client("ec2")
    rows = ec2.describe_network_interfaces(Filters=filters, MaxResults=100)["NetworkInterfaces"]
    return [
        f"by the network interface {row['NetworkInterfaceId']} {row.get('Description', '')}".strip()
        for row in rows
        if row.get("Description") != RDS_INTERFACE
    ]


def by_rules(aws: Aws, group_id: str) -> list[str]:
    filters: list[FilterTypeDef] = [{"Name": "ip-permission.group-id", "Values": [group_id]}]
    ec2: EC2Client = aws.client("ec2")
    rows = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    return [f"in a rule of {row['GroupId']} ({row['GroupName']})" for row in rows if row["GroupId"] != group_id]
