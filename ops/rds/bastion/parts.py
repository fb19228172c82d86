"""What the bastion of an instance consists of, and what each part is called and known by."""

from __future__ import annotations

from dataclasses import dataclass

from config.rds import Rds
from ops.cloud import tags
from ops.cloud.own_group import OwnGroup

BASTION = "inv:bastion"
"""The tag of each part: its value is the instance that it is for."""
CLASS = "t4g.nano"
"""The smallest that EC2 has; what it passes on is a few connections."""
IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
"""The public parameter with the id of Amazon Linux 2023, which brings the agent of Session Manager
(https://docs.aws.amazon.com/linux/al2023/ug/ec2.html)."""
CORE = "AmazonSSMManagedInstanceCore"
"""AWS's policy for a machine that Session Manager reaches."""
DISK_GB = 8
ENDPOINTS = ("ssm", "ssmmessages")
"""By which an agent without a way to the internet is reached; ec2messages only by agents before 3.3.40."""


@dataclass(frozen=True)
class Parts:
    """The bastion of one instance."""

    identifier: str
    """The instance's."""
    project: str

    @property
    def name(self) -> str:
        """Of machine, role and profile; IAM takes 64 letters."""
        return f"inv-bastion-{self.identifier}"[:64].rstrip("-")

    @property
    def tags(self) -> dict[str, str]:
        return {**tags.of_project(self.project), BASTION: self.identifier}

    @property
    def group(self) -> OwnGroup:
        return OwnGroup(
            name=f"bastion-{self.identifier}",
            description=f"Bastion of the RDS instance {self.identifier}: nothing comes in (inv rds.bastion)",
            project=self.project,
            key=BASTION,
            owner=self.identifier,
        )


def of(rds: Rds) -> Parts:
    """Return the parts of the bastion of the settings' instance."""
    return Parts(rds.identifier.lower(), rds.project)
