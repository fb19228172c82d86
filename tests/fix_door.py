"""An instance with a group of its own, before whose door the tests stand."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from config.settings import Settings
from ops.aws import Aws
from ops.rds.security_group import instance_group, reachability, rules
from ops.rds.security_group.changes import Door
from tests.fix_aws import Configure, Front

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
ME = "me@here"


@dataclass
class Instance:
    """moto's instance cruddur-db-instance, its group, and AWS as another person sees it."""

    cloud: Front
    settings: Settings
    aws: Aws
    ec2: Any
    group: str
    vpc: str

    def door(self, hours: float = 0, **changes: Any) -> Door:
        """Return the door, some hours after noon."""
        values = {"owner": ME, "lifetime": timedelta(hours=12), "port": 5432, **changes}
        return Door(self.aws.client("ec2"), self.group, now=NOON + timedelta(hours=hours), **values)

    def rules(self) -> list[rules.Rule]:
        return rules.listed(self.ec2, self.group)

    def facts(self) -> set[tuple[str, str, tuple[int, int]]]:
        """Return what is let in, and whose it is."""
        return {(rule.owner, rule.source, rule.ports) for rule in self.rules()}

    def add(self, cidr: str, description: str = "office", port: int = 5432, tags: dict[str, str] | None = None) -> str:
        """Add a rule as somebody else would, by hand."""
        field, key = ("Ipv6Ranges", "CidrIpv6") if ":" in cidr else ("IpRanges", "CidrIp")
        permission: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
        permission[field] = [{key: cidr, "Description": description}]
        made = self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[permission])
        rule = str(made["SecurityGroupRules"][0]["SecurityGroupRuleId"])
        if tags:
            self.ec2.create_tags(Resources=[rule], Tags=[{"Key": k, "Value": v} for k, v in tags.items()])
        self.cloud.forget()
        return rule

    def ours(self, cidr: str, owner: str = ME, created: float = 0, lifetime: float = 12, workspace: str = "") -> str:
        """Add a rule as the task does, some hours after noon."""
        since = NOON + timedelta(hours=created)
        mark = rules.Mark(owner, since, since + timedelta(hours=lifetime), workspace)
        return self.add(cidr, mark.description, tags=mark.tags)


_CLIENTS: dict[str, Any] = {}


def quick(aws: Aws) -> Aws:
    """Let all tests of this process share two clients: making one costs more than most tests."""
    if not _CLIENTS:
        with contextlib.redirect_stderr(io.StringIO()):
            _CLIENTS.update({service: aws.client(service) for service in ("ec2", "rds")})
    aws._clients.update(_CLIENTS)
    return aws


def make_instance(cloud: Front, settings: Settings, **more: Any) -> Instance:
    aws = quick(Aws(settings))
    ec2, rds = aws.client("ec2"), aws.client("rds")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    made = instance_group.ensure_group(aws, settings.rds, vpc)
    rds.create_db_instance(
        **{
            "DBInstanceIdentifier": settings.rds.identifier,
            "DBInstanceClass": "db.t4g.micro",
            "Engine": "postgres",
            "AllocatedStorage": 20,
            "MasterUsername": "postgres",
            "MasterUserPassword": "not-used-here",
            "Port": 5432,
            "VpcSecurityGroupIds": [made],
            **more,
        }
    )
    cloud.forget()
    return Instance(cloud, settings, aws, ec2, made, vpc)


@pytest.fixture
def at(cloud: Front, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """The instance; its port is answered for, since nothing listens behind moto's."""
    monkeypatch.setattr(reachability, "is_reachable", lambda *_, **__: "")
    return make_instance(cloud, configure())
