"""What lets the bastion in at the instance: a rule from group to group, whatever addresses both have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.aws_errors import code, unless
from ops.cloud import tags
from ops.errors import InProgress, Problem
from ops.rds.bastion.parts import Parts
from ops.rds.bastion.work import Work
from ops.rds.security_group import rules

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

    from ops.cloud.clock import Clock

TRIES, PAUSE = 20, 5.0
"""To remove a group that the ended machine's interface still holds, and seconds between two."""


def ensure_group(aws: Aws, mine: Parts, vpc: str, work: Work) -> str:
    """Return the bastion's group, made if it is not there; on a dry run it may be empty. Raises `Problem` where anybody may come in by it."""
    ec2: EC2Client = aws.client("ec2")
    for group in mine.group.find(ec2, vpc):
        if group.get("IpPermissions"):
            raise Problem(
                f"{group['GroupId']} ({mine.group.name}) lets something in, and nothing has to come in there: remove its inbound rules, "
                "then run this again"
            )
        return str(group["GroupId"])
    made: list[str] = []
    work.do(
        f"make the security group {mine.group.name} without any inbound rule",
        lambda: made.append(mine.group.make(ec2, vpc) or mine.group.namesake(ec2, vpc)),
    )
    return made[0] if made else ""


def ensure_rule(aws: Aws, mine: Parts, group: str, door: str, port: int, work: Work) -> None:
    """Let the bastion's group in at the instance's."""
    ec2: EC2Client = aws.client("ec2")
    if group and any(rule.source == group and rule.reaches(port) for rule in rules.listed(ec2, door)):
        return

    def write() -> None:
        pair: Any = {"GroupId": group, "Description": f"inv rds.bastion: {mine.identifier}"}
        permission: Any = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [pair]}
        with unless("InvalidPermission.Duplicate"):
            ec2.authorize_security_group_ingress(
                GroupId=door,
                IpPermissions=[permission],
                TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": tags.to_aws(mine.tags)}],
            )

    work.do(f"let {group or mine.group.name} in at {door}, port {port}", write)


def remove_group(aws: Aws, mine: Parts, work: Work, clock: Clock) -> None:
    """Remove the bastion's groups, and the rules by which they are let in elsewhere."""
    ec2: EC2Client = aws.client("ec2")
    for group in mine.group.find(ec2):
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
            lambda group_id=group_id: delete_group(ec2, group_id, clock),  # type: ignore[misc]
        )


def delete_group(ec2: EC2Client, group_id: str, clock: Clock) -> None:
    """Delete a group, waiting while the ended machine's interface holds it."""
    for left in reversed(range(TRIES)):
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
            clock.sleep(PAUSE)
    raise InProgress(f"the security group {group_id} is still in use: run inv rds.bastion --delete again in a minute")
