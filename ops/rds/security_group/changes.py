"""What is written to a group: one rule at a time, each write safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from config.declared import PROD, Names
from ops.addresses import Network
from ops.aws_errors import code, speaking
from ops.cloud import tags
from ops.console import say
from ops.errors import Misconfigured
from ops.rds.security_group import rules
from ops.rds.security_group.rules import Mark, Rule

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import IpPermissionTypeDef, SecurityGroupRuleRequestTypeDef

GONE = ("InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound")
REFUSED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")


class Changed(Exception):
    """The group is not as it was when we looked: look again."""


@dataclass(frozen=True)
class Door:
    """A group and a port, and who stands before it."""

    ec2: EC2Client
    group: str
    port: int
    owner: str
    now: datetime
    lifetime: timedelta
    workspace: str = ""
    """Which of the owner's workspaces this is, by an id that stays when the machine is built anew."""
    named: str = ""
    """The user's own rule, changed in place and then tagged."""
    names: Names = PROD
    """The variables by which group and rule are named."""
    asked: bool = False
    """Whether the lifetime was asked for in so many words: then it is set, longer or shorter."""

    @property
    def mark(self) -> Mark:
        return Mark(self.owner, self.now, self.now + self.lifetime, self.workspace)

    def listed(self) -> list[Rule]:
        with speaking():
            try:
                return rules.listed(self.ec2, self.group)
            except self.ec2.exceptions.ClientError as error:
                raise self.lost(error) from error

    def lost(self, error: Exception) -> Exception:
        """Return what a refusal means that is about the group itself."""
        if code(error) in ("InvalidGroup.NotFound", "InvalidGroupId.Malformed", "InvalidGroupId.NotFound"):
            return Misconfigured(f"the security group {self.group} is not there: correct or unset {self.names.group}")
        return error


def label(door: Door, rule: Rule, mark: Mark) -> None:
    """Tag a rule; where tags are refused, its description says the same."""
    try:
        door.ec2.create_tags(Resources=[rule.id], Tags=tags.to_aws(mark.tags))
    except door.ec2.exceptions.ClientError as error:
        if code(error) in GONE:
            raise Changed from error
        if code(error) not in REFUSED:
            raise
        say("note: AWS does not permit ec2:CreateTags here: owner and expiry go into the description")
        assert rule.network is not None
        replace(door, rule, rule.network, mark.full_description)


def change(door: Door, rule: Rule, wanted: Network) -> None:
    """Give a rule another address, in one step."""
    replace(door, rule, wanted, door.mark.description)
    label(door, Rule(rule.id, rule.group, wanted, str(wanted), "tcp", (door.port, door.port), ""), door.mark)


def replace(door: Door, rule: Rule, wanted: Network, description: str) -> None:
    """Write a rule anew under its id: AWS takes all of it, the description too."""
    body: SecurityGroupRuleRequestTypeDef = {
        "IpProtocol": "tcp",
        "FromPort": door.port,
        "ToPort": door.port,
        "Description": description,
    }
    body["CidrIpv4" if wanted.version == 4 else "CidrIpv6"] = str(wanted)
    try:
        door.ec2.modify_security_group_rules(
            GroupId=door.group, SecurityGroupRules=[{"SecurityGroupRuleId": rule.id, "SecurityGroupRule": body}]
        )
    except door.ec2.exceptions.ClientError as error:
        if code(error) in (*GONE, "InvalidPermission.Duplicate"):
            raise Changed from error
        raise door.lost(error) from error


def send(door: Door, wanted: Network, description: str, **more: Any) -> str:
    """Authorize one rule and return its id."""
    permission: IpPermissionTypeDef = {"IpProtocol": "tcp", "FromPort": door.port, "ToPort": door.port}
    if wanted.version == 4:
        permission["IpRanges"] = [{"CidrIp": str(wanted), "Description": description}]
    else:
        permission["Ipv6Ranges"] = [{"CidrIpv6": str(wanted), "Description": description}]
    made = door.ec2.authorize_security_group_ingress(GroupId=door.group, IpPermissions=[permission], **more)
    return str(made["SecurityGroupRules"][0]["SecurityGroupRuleId"])


def remove(door: Door, rule: Rule) -> None:
    """Revoke one rule; one that is gone already is well."""
    try:
        door.ec2.revoke_security_group_ingress(GroupId=door.group, SecurityGroupRuleIds=[rule.id])
    except door.ec2.exceptions.ClientError as error:
        if code(error) not in GONE:
            raise door.lost(error) from error
        return
    say(f"revoked {rule.id}: {rule.source} of {rule.owner or rule.description or 'nobody'}")
