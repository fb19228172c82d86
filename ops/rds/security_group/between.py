"""Who stands beside the instance and is let in at its door: a group of its own, and rules from group to group.

Addresses come and go, the groups stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.aws_errors import code, unless
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.own_group import OwnGroup
from ops.cloud.steps import Work
from ops.errors import InProgress
from ops.rds.security_group import rules

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


@dataclass(frozen=True)
class Patience:
    """How long a group is tried to be removed that interfaces still hold, which AWS takes away later."""

    tries: int
    pause_seconds: float
    task: str
    """What goes on with it when that was not long enough: rds.bastion."""


def ensure_group(aws: Aws, mine: OwnGroup, vpc: str, work: Work) -> str:
    """Return the group, made without any rule if it is not there; on a dry run it may be empty."""
    ec2: EC2Client = aws.client("ec2")
    if found := mine.find(ec2, vpc):
        return str(found[0]["GroupId"])
    made: list[str] = []
    work.do(
        f"make the security group {mine.name} without any inbound rule",
        lambda: made.append(mine.make(ec2, vpc) or mine.namesake(ec2, vpc)),
    )
    return made[0] if made else ""


def let_in(aws: Aws, mine: OwnGroup, who: str, at: str, port: int, work: Work, task: str) -> None:
    """Let one group in at another; ours may be empty on a dry run. `task` is whose rule it is: rds.bastion."""
    ec2: EC2Client = aws.client("ec2")
    if who and at and any(rule.source == who and rule.reaches(port) for rule in rules.listed(ec2, at)):
        return

    def write() -> None:
        pair: Any = {"GroupId": who, "Description": f"inv {task}: {mine.owner}"}
        permission: Any = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [pair]}
        with unless("InvalidPermission.Duplicate"):
            ec2.authorize_security_group_ingress(
                GroupId=at,
                IpPermissions=[permission],
                TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": tags.to_aws(mine.tags)}],
            )

    work.do(f"let {who or mine.name} in at {at or mine.name}, port {port}", write)


def remove_group(aws: Aws, mine: OwnGroup, work: Work, clock: Clock, patience: Patience) -> None:
    """Remove our groups, and the rules by which they are let in elsewhere."""
    ec2: EC2Client = aws.client("ec2")
    for group in mine.find(ec2):
        group_id = str(group["GroupId"])
        pages = ec2.get_paginator("describe_security_groups").paginate(
            Filters=[{"Name": "ip-permission.group-id", "Values": [group_id]}]
        )
        for door in [str(found["GroupId"]) for page in pages for found in page["SecurityGroups"]]:
            for rule in [rule for rule in rules.listed(ec2, door) if rule.source == group_id]:

                def revoke(door: str = door, rule_id: str = rule.id) -> None:
                    with unless("InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound"):
                        ec2.revoke_security_group_ingress(GroupId=door, SecurityGroupRuleIds=[rule_id])

                work.do(f"revoke {rule.id} of {door}", revoke)
        work.do(
            f"remove the security group {group_id}",
            lambda group_id=group_id: delete_group(ec2, group_id, clock, patience),  # type: ignore[misc]
        )


def delete_group(ec2: EC2Client, group_id: str, clock: Clock, patience: Patience) -> None:
    """Delete a group, waiting while an interface that is on its way out holds it."""
    for left in reversed(range(patience.tries)):
        try:
            ec2.delete_security_group(GroupId=group_id)
        except ec2.exceptions.ClientError as error:
            if code(error) == "InvalidGroup.NotFound":
                return
            if code(error) != "DependencyViolation":
                raise
        else:
            return
        if left:
            clock.sleep(patience.pause_seconds)
    raise InProgress(
        f"the security group {group_id} is still in use: run inv {patience.task} --delete again in a minute"
    )
