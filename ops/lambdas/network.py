"""The function's place in the network: beside the instance, let in at its door group to group."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import code, unless
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.cloud.own_group import OwnGroup
from ops.console import say
from ops.errors import InProgress, Problem
from ops.lambdas.plan import Plan
from ops.rds.security_group import location, rules

FUNCTION = "inv:function"
"""The tag that says whose a group or a rule is."""
MOST_SUBNETS = 16
"""Lambda takes no more."""
TRIES, PAUSE = 80, 15.0
"""Lambda keeps its interfaces for some minutes after the function is gone, and a group as long."""


@dataclass(frozen=True)
class Network:
    """Where the instance is."""

    vpc: str
    subnets: tuple[str, ...]
    door: str
    """The instance's security group."""
    port: int


def network_of(aws: Aws, settings: Settings, row: Row) -> Network:
    """Return the instance's VPC and subnets: its subnet group's, else all of its security group's VPC."""
    at = location.find_location(aws, settings)
    group = row.get("DBSubnetGroup") or {}
    subnets = [str(subnet["SubnetIdentifier"]) for subnet in group.get("Subnets", [])]
    vpc, ec2 = str(group.get("VpcId") or ""), aws.client("ec2")
    if not subnets:
        [door] = ec2.describe_security_groups(GroupIds=[at.group])["SecurityGroups"]
        vpc = str(door["VpcId"])
        found = ec2.get_paginator("describe_subnets").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        subnets = [str(subnet["SubnetId"]) for page in found for subnet in page["Subnets"]]
    if not subnets:
        raise Problem(f"{vpc} has no subnets for the function: aws ec2 create-default-subnet, or set rds.subnet_group")
    return Network(vpc, tuple(sorted(subnets)[:MOST_SUBNETS]), at.group, at.port)


def ensure_network(aws: Aws, settings: Settings, place: Network, plan: Plan) -> dict[str, list[str]]:
    """Return the function's VpcConfig, its group made and let in at the instance's door."""
    ec2, mine = aws.client("ec2"), own_group(settings)
    own = [group["GroupId"] for group in mine.find(ec2, place.vpc)]
    if own:
        group = str(own[0])
        plan.same("security group", f"{group} ({mine.name})")
    else:
        group = plan.create(
            "security group",
            f"{mine.name} in {place.vpc}",
            lambda: mine.make(ec2, place.vpc) or mine.namesake(ec2, place.vpc),
            f"(the group {mine.name} that lambda.deploy makes)",
        )
    what = f"{group} may enter {place.door} on port {place.port}"
    if own and any(rule.source == group and rule.reaches(place.port) for rule in listed(aws, place.door)):
        plan.same("rule", what)
    else:
        plan.create("rule", what, lambda: let_in(aws, settings, place, group), None)
    return {"SubnetIds": list(place.subnets), "SecurityGroupIds": [group]}


def listed(aws: Aws, group: str) -> list[rules.Rule]:
    return rules.listed(aws.client("ec2"), group)


def own_group(settings: Settings) -> OwnGroup:
    """Return what the function's group is called and known by; its rule has the same tags."""
    lam = settings.lambdas
    return OwnGroup(
        name=lam.group,
        description=f"The function {lam.function} (inv lambda.deploy)",
        project=settings.rds.project,
        key=FUNCTION,
        owner=lam.function,
    )


def let_in(aws: Aws, settings: Settings, place: Network, group: str) -> None:
    """Let the function's group in at the instance's: addresses come and go, the group stays."""
    ec2, lam = aws.client("ec2"), settings.lambdas
    pair = {"GroupId": group, "Description": f"inv lambda.deploy: {lam.function}"}
    permission = {"IpProtocol": "tcp", "FromPort": place.port, "ToPort": place.port, "UserIdGroupPairs": [pair]}
    with unless("InvalidPermission.Duplicate"):
        ec2.authorize_security_group_ingress(
            GroupId=place.door,
            IpPermissions=[permission],
            TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": tags.to_aws(own_group(settings).tags)}],
        )


def remove_network(aws: Aws, settings: Settings, plan: Plan, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Remove the function's groups, and the rules by which they are let in elsewhere."""
    ec2 = aws.client("ec2")
    own = own_group(settings).find(ec2)
    if not own:
        plan.same("security group", "not there")
    for group in own:
        group_id = str(group["GroupId"])
        entered = ec2.get_paginator("describe_security_groups").paginate(
            Filters=[{"Name": "ip-permission.group-id", "Values": [group_id]}]
        )
        for door in [str(found["GroupId"]) for page in entered for found in page["SecurityGroups"]]:
            for rule in [rule for rule in listed(aws, door) if rule.source == group_id]:
                plan.remove("rule", f"{rule.id} of {door}", functools.partial(revoke_rule, ec2, door, rule.id))
        plan.remove("security group", group_id, functools.partial(delete_group, ec2, group_id, sleep))


def revoke_rule(ec2: Any, door: str, rule_id: str) -> None:
    with unless("InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound"):
        ec2.revoke_security_group_ingress(GroupId=door, SecurityGroupRuleIds=[rule_id])


def delete_group(ec2: Any, group_id: str, sleep: Callable[[float], None]) -> None:
    """Delete a group, waiting while the function's interfaces hold it."""
    for left in reversed(range(TRIES)):
        try:
            ec2.delete_security_group(GroupId=group_id)
            return
        except ec2.exceptions.ClientError as error:
            if code(error) == "InvalidGroup.NotFound":
                return
            if code(error) != "DependencyViolation":
                raise
        if left == TRIES - 1:
            say(f"{group_id} is held by the function's interfaces, which AWS takes away within 20 minutes: waiting")
        if left:
            sleep(PAUSE)
    raise InProgress(f"the security group {group_id} is still in use: run this again in some minutes")
