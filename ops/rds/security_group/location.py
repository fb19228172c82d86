"""Where the door is: which security group, which port, of which instance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.settings import Settings
from config.urls import is_port
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.console import few, say
from ops.errors import Misconfigured, Problem
from ops.rds import instance
from ops.rds.cluster import refusals
from ops.rds.security_group.instance_group import RDS_INTERFACE

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef


@dataclass(frozen=True)
class Location:
    """One group and one port, found from the instance or named by variables."""

    group: str
    port: int
    instance: Row | None = field(repr=False)
    """The instance as RDS describes it; None where only DB_SG_ID led here."""
    named_rule: str = ""
    """DB_SG_RULE_ID: the user's own rule."""


def ids(settings: Settings) -> tuple[str, str]:
    """Return what DB_SG_ID and DB_SG_RULE_ID are to this target, each empty when unset; AWS is not asked about what is none."""
    found = []
    for variable, prefix in ((settings.focus.names.group, "sg"), (settings.focus.names.rule, "sgr")):
        text = settings.vars.get(variable)
        if text and not re.fullmatch(rf"{prefix}-[0-9a-f]{{8,17}}", text):
            raise Misconfigured(f"{variable}: {text!r} is no id like {prefix}-0123456789abcdef0: correct or unset it")
        found.append(text)
    return found[0], found[1]


def find_location(aws: Aws, settings: Settings) -> Location:
    """Return the group and port that the address must be let in at."""
    group, rule = ids(settings)
    identifier = settings.rds.identifier
    if not re.fullmatch(r"[a-z](-?[a-z0-9])*", identifier) or len(identifier) > 63:
        raise Misconfigured(
            f"rds.identifier: {identifier!r} is no name of an instance: letters, digits and single hyphens, a letter first"
        )
    saved = settings.vars.get(settings.focus.names.port, "5432")
    if not is_port(saved):
        raise Misconfigured(f"{settings.focus.names.port}: the port must be a number from 1 to 65535")
    row = described(aws, settings, needed=not group)
    refusals.check_group(row)
    port = int(((row or {}).get("Endpoint") or {}).get("Port") or saved)
    its = [g["VpcSecurityGroupId"] for g in (row or {}).get("VpcSecurityGroups", [])]
    if not group:
        group = choose_group(aws, identifier, its, settings.focus.names.group)
    elif row and group not in its:
        say(
            f"note: {settings.focus.names.group} {group} is no group of {identifier} ({', '.join(its)}): a rule in it opens nothing there"
        )
    return Location(group, port, row, rule)


def described(aws: Aws, settings: Settings, *, needed: bool) -> Row | None:
    """Return the instance, or None where it cannot be had and is not needed either."""
    try:
        with speaking():
            return instance.require_instance(aws, settings.rds) if needed else instance.find(aws, settings.rds)
    except Misconfigured:
        raise
    except Problem as error:
        if needed:
            raise
        say(f"note: {settings.rds.identifier} was not looked up ({error}): going on with {settings.focus.names.group}")
        return None


def choose_group(aws: Aws, identifier: str, groups: list[str], variable: str) -> str:
    """Return the one of the instance's groups to open: the one made for it, else its only one."""
    if not groups:
        raise Problem(f"{identifier} has no security group yet: run this again when it is further (inv rds.status)")
    ec2: EC2Client = aws.client("ec2")
    with speaking():
        known = {
            g["GroupId"]: tags.from_aws(g.get("Tags"))
            for g in ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
        }
    own = [g for g in groups if known.get(g, {}).get(tags.INSTANCE) == identifier]
    if own:
        return own[0]
    if len(groups) > 1:
        raise Misconfigured(
            f"{identifier} has the groups {', '.join(groups)}, none of them made by us: name one in {variable}"
        )
    warn_of_others(ec2, groups[0])
    return groups[0]


def warn_of_others(ec2: EC2Client, group: str) -> None:
    """Say what else a group that we did not make stands before: the rule opens that too."""
    filters: list[FilterTypeDef] = [{"Name": "group-id", "Values": [group]}]
    try:
        with speaking():
            found = ec2.describe_network_interfaces(Filters=filters, MaxResults=100)["NetworkInterfaces"]
    except Problem as error:
        say(f"note: what else uses {group} was not looked up ({error})")
        return
    others = [f"{i['NetworkInterfaceId']} {i.get('Description', '')}".strip() for i in found]
    others = [other for other in others if not other.endswith(RDS_INTERFACE)]
    if others:
        say(f"note: {group} is shared: the rule lets this address in at {few(others)} too")
