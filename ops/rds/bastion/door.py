"""What lets the bastion in at the instance: a rule from group to group, whatever addresses both have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.aws import Aws
from ops.cloud.steps import Work
from ops.errors import Problem
from ops.rds.bastion.parts import Parts
from ops.rds.security_group import between

if TYPE_CHECKING:
    from ops.cloud.clock import Clock

TASK = "rds.bastion"
PATIENCE = between.Patience(20, 5.0, TASK)
"""The ended machine's interface still holds its group."""


def ensure_group(aws: Aws, mine: Parts, vpc: str, work: Work) -> str:
    """Return the bastion's group, made if it is not there; on a dry run it may be empty. Raises `Problem` where anybody may come in by it."""
    for group in mine.group.find(aws.client("ec2"), vpc):
        if group.get("IpPermissions"):
            raise Problem(
                f"{group['GroupId']} ({mine.group.name}) lets something in, and nothing has to come in there: remove its inbound rules, "
                "then run this again"
            )
    return between.ensure_group(aws, mine.group, vpc, work)


def ensure_rule(aws: Aws, mine: Parts, group: str, door: str, port: int, work: Work) -> None:
    """Let the bastion's group in at the instance's."""
    between.let_in(aws, mine.group, group, door, port, work, TASK)


def remove_group(aws: Aws, mine: Parts, work: Work, clock: Clock) -> None:
    """Remove the bastion's groups, and the rules by which they are let in elsewhere."""
    between.remove_group(aws, mine.group, work, clock, PATIENCE)
