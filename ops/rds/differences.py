"""Where an instance is not what the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud.facts import Row
from ops.errors import Problem
from ops.rds import request
from ops.rds.cluster.row import instances_of, is_express
from ops.rds.security_group import instance_group

Fields: TypeAlias = dict[str, tuple[str, str]]
"""A setting -> the field of the request, and the path in what AWS describes."""
COMPARED: Fields = {
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
CAPACITY = "ServerlessV2ScalingConfiguration"
OF_CLUSTER: Fields = {
    **{name: COMPARED[name] for name in (
        *("engine_version", "encrypted", "backup_days", "deletion_protection", "extended_support", "iam_auth"),
        *("insights_mode", "insights_days", "copy_tags", "master_user", "port", "subnet_group"),
    )},
    "database": ("DatabaseName", "DBName"),
    "min_acu": (f"{CAPACITY}.MinCapacity", f"{CAPACITY}.MinCapacity"),
    "max_acu": (f"{CAPACITY}.MaxCapacity", f"{CAPACITY}.MaxCapacity"),
    "pause_after": (f"{CAPACITY}.SecondsUntilAutoPause", f"{CAPACITY}.SecondsUntilAutoPause"),
}  # fmt: skip
"""Of a cluster; which of its instances are public and how many there are is looked at beside (`of_instances`)."""
NOT_OF_EXPRESS = ("database", "extended_support", "port", "subnet_group")
"""What a cluster by express configuration has otherwise for good: its database is made by SQL, it lies in no network, at one port."""
PATHS: Fields = {**COMPARED, **OF_CLUSTER}
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
    known = compared(settings)
    if is_express(row):
        known = {setting: paths for setting, paths in known.items() if setting not in NOT_OF_EXPRESS}
    for setting, (asked, path) in known.items():
        want, have = told(wanted, asked), told(row, path)
        if want is None or have is None or is_same(setting, want, have, wanted):
            continue
        unit = "s" if setting == "pause_after" else ""
        found.append(Difference(setting, f"{plain(have)}{unit}", f"{plain(want)}{unit}"))
    return found + of_instances(settings, row) + groups(settings, aws, row)


def compared(settings: Settings) -> Fields:
    """Return what is compared of an instance, or of a cluster."""
    return OF_CLUSTER if settings.rds.is_cluster else COMPARED


def of_instances(settings: Settings, row: Row) -> list[Difference]:
    """Return where the instances of a cluster are not what the settings say; nothing for an instance, or where none is there yet."""
    rds, every = settings.rds, instances_of(row)
    have = {"public": row.get("PubliclyAccessible"), "multi_az": len(every) > 1}
    return [
        Difference(name, plain(value), plain(getattr(rds, name)))
        for name, value in have.items()
        if every and value is not None and value != getattr(rds, name)
    ]


def told(row: Mapping[str, Any], path: str) -> Any:
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
    return f"{value:g}" if isinstance(value, float) else str(value)
