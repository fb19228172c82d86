"""A security group of ours: found by its tags, which come with its birth, so that no run makes a second one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.aws_errors import code
from ops.cloud import tags
from ops.errors import InProgress, Problem

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, SecurityGroupTypeDef


@dataclass(frozen=True)
class OwnGroup:
    """What a group is called and belongs to; the project's name may have changed since its birth."""

    name: str
    """Unique within a VPC for AWS; one that begins with sg- it would refuse."""
    description: str
    project: str
    key: str
    """The tag that says what it belongs to, and its value."""
    owner: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags that make a group, or a rule, belong to the owner."""
        return {**tags.of_project(self.project), self.key: self.owner}

    def find(self, ec2: EC2Client, vpc: str = "") -> list[SecurityGroupTypeDef]:
        """Return the owner's groups by their tags; empty `vpc`: in any."""
        wanted = {"tag:ManagedBy": tags.MANAGED_BY, f"tag:{self.key}": self.owner}
        if vpc:
            wanted["vpc-id"] = vpc
        filters: list[FilterTypeDef] = [{"Name": key, "Values": [value]} for key, value in wanted.items()]
        pages = ec2.get_paginator("describe_security_groups").paginate(Filters=filters)
        return [group for page in pages for group in page["SecurityGroups"]]

    def make(self, ec2: EC2Client, vpc: str) -> str | None:
        """Make the group without any rule and return its id; None where one has the name already."""
        try:
            made = ec2.create_security_group(
                GroupName=self.name,
                Description=self.description,
                VpcId=vpc,
                TagSpecifications=[{"ResourceType": "security-group", "Tags": tags.to_aws(self.tags)}],
            )
        except ec2.exceptions.ClientError as error:
            if code(error) != "InvalidGroup.Duplicate":
                raise
            return None
        return str(made["GroupId"])

    def namesake(self, ec2: EC2Client, vpc: str) -> str:
        """Return the group of this name if it is ours: a search by tags may lag behind its birth."""
        filters: list[FilterTypeDef] = [
            {"Name": "group-name", "Values": [self.name]},
            {"Name": "vpc-id", "Values": [vpc]},
        ]
        for group in ec2.describe_security_groups(Filters=filters)["SecurityGroups"]:
            its = tags.from_aws(group.get("Tags"))
            if tags.is_ours(its) and its.get(self.key) == self.owner:
                return str(group["GroupId"])
            raise Problem(
                f"the security group {group['GroupId']} is called {self.name} and is not ours: "
                f"remove it, or tag it ManagedBy={tags.MANAGED_BY} and {self.key}={self.owner}"
            )
        raise InProgress(f"the security group {self.name} is just being made by another run: run this again")
