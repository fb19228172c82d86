"""Where an instance is not what the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud.facts import Row
from ops.errors import Problem
from ops.rds import request
from ops.rds.security_group import instance_group

# Setting -> (field of the request, path in DescribeDBInstances)
COMPARED = {
    "instance_class": ("DBInstanceClass", "DBInstanceClass"),
    "engine_version": ("EngineVersion", "EngineVersion"),
    "storage_gb": ("AllocatedStorage", "AllocatedStorage"),
    "storage_max_gb": ("MaxAllocatedStorage", "MaxAllocatedStorage"),
    "storage_type": ("StorageType", "StorageType"),
    "iops": ("Iops", "Iops"),
    "throughput": ("StorageThroughput", "StorageThroughput"),
    "encrypted": ("StorageEncrypted", "StorageEncrypted"),
    "zone": ("AvailabilityZone", "AvailabilityZone"),
    "public": ("PubliclyAccessible", "PubliclyAccessible"),
    "multi_az": ("MultiAZ", "MultiAZ"),
    "backup_days": ("BackupRetentionPeriod", "BackupRetentionPeriod"),
    "deletion_protection": ("DeletionProtection", "DeletionProtection"),
    "extended_support": ("EngineLifecycleSupport", "EngineLifecycleSupport"),
    "auto_minor_upgrade": ("AutoMinorVersionUpgrade", "AutoMinorVersionUpgrade"),
    "iam_auth": ("EnableIAMDatabaseAuthentication", "IAMDatabaseAuthenticationEnabled"),
    "insights_mode": ("DatabaseInsightsMode", "DatabaseInsightsMode"),
    "insights_days": ("PerformanceInsightsRetentionPeriod", "PerformanceInsightsRetentionPeriod"),
    "copy_tags": ("CopyTagsToSnapshot", "CopyTagsToSnapshot"),
    "master_user": ("MasterUsername", "MasterUsername"),
    "database": ("DBName", "DBName"),
    "port": ("Port", "Endpoint.Port"),
    "subnet_group": ("DBSubnetGroupName", "DBSubnetGroup.DBSubnetGroupName"),
}
NOT_SET = {"master_user": "the master user", "database": "the database", "port": "the port"}
"""What is no key below rds:, as messages call it."""


@dataclass(frozen=True)
class Difference:
    """Where the instance is not what the settings say."""

    setting: str
    """Its key below rds: in invoke.yaml, or master_user, database, port, security_group."""
    value: str | None
    """What the instance has, as invoke.yaml would write it."""
    wanted: str
    """What the settings say."""

    def __str__(self) -> str:
        if self.setting == "security_group":
            return f"the security group is {self.value}, rds.create would take {self.wanted}"
        about = NOT_SET.get(self.setting, self.setting)
        return f"{about} is {self.value}, the settings say {self.wanted}"


def find_differences(settings: Settings, aws: Aws, row: Row) -> list[Difference]:
    """Return the differences; what AWS does not tell is passed over."""
    wanted, found = request.build(settings, aws.region, []), []
    for setting, (asked, path) in COMPARED.items():
        want, have = wanted.get(asked), told(row, path)
        if want is None or have is None or is_same(setting, want, have, wanted):
            continue
        found.append(Difference(setting, plain(have), plain(want)))
    return found + groups(settings, aws, row)


def told(row: Row, path: str) -> Any:
    """Return what stands at a path of the answer, or None."""
    value: Any = row
    for name in path.split("."):
        value = (value or {}).get(name)
    return value


def is_same(setting: str, want: Any, have: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether two values mean the same: some grow by themselves, or are told in other letters."""
    if setting == "engine_version":
        return f"{have}.".startswith(f"{want}.")
    if setting == "storage_gb":  # AWS has raised it as it filled up
        return bool(want <= have <= wanted.get("MaxAllocatedStorage", want))
    if setting == "subnet_group":
        return bool(want.lower() == have.lower())
    return bool(want == have)


def groups(settings: Settings, aws: Aws, row: Row) -> list[Difference]:
    """Return whether its own security group is missing; nothing where EC2 may not be asked."""
    have = [str(one["VpcSecurityGroupId"]) for one in row.get("VpcSecurityGroups", [])]
    try:
        with speaking():
            own = {str(one["GroupId"]) for one in instance_group.own_group(settings.rds).find(aws.client("ec2"))}
    except Problem:
        return []
    if not have or own & set(have):
        return []
    wanted = ", ".join(sorted(own)) or f"one of its own ({instance_group.own_group(settings.rds).name})"
    return [Difference("security_group", ", ".join(have), wanted)]


def plain(value: Any) -> str:
    """Return a value as invoke.yaml writes it."""
    for on, text in request.EXTENDED_SUPPORT.items():
        if value is on or value == text:
            return "yes" if on else "no"
    return str(value)
