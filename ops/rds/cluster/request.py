"""The requests by which a cluster of Aurora and its instances are made, and what AWS would refuse in them.

Which fields are the cluster's and which its instances' is in the API reference of CreateDBCluster ("Valid for Cluster Type") and of
CreateDBInstance ("doesn't apply to Amazon Aurora DB instances"). Serverless v2: Aurora User Guide, "Requirements and limitations for
Aurora Serverless v2" and "Scaling to Zero ACUs with automatic pause and resume for Aurora Serverless v2".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.rds import Rds
from config.settings import Settings
from ops.cloud import tags

CLASS = "db.serverless"
"""Of an instance whose capacity is the cluster's matter."""
MOST_ACU = 256
PAUSE_SECONDS = (300, 86_400)
LONGEST = 63 - len("-restored-1")
"""Of a cluster's name: its instances' are made of it, also those of a restored one."""


def build(settings: Settings, user: str, port: str, groups: list[str], version: str) -> dict[str, Any]:
    """Return the request of CreateDBCluster, without its password; None is what is left to AWS."""
    rds = settings.rds
    return {
        "DBClusterIdentifier": rds.identifier,
        "DatabaseName": settings.database,
        "Engine": rds.engine,
        "EngineVersion": version or rds.engine_version,
        "MasterUsername": user,
        "Port": int(port),
        "ServerlessV2ScalingConfiguration": capacity(rds),
        "StorageEncrypted": rds.encrypted,
        "DBSubnetGroupName": rds.subnet_group,
        "VpcSecurityGroupIds": groups,  # never left out: AWS would take the VPC's default group
        "BackupRetentionPeriod": rds.backup_days,
        "DeletionProtection": rds.deletion_protection,
        "EnableIAMDatabaseAuthentication": rds.iam_auth,
        "DatabaseInsightsMode": rds.insights_mode,
        "CopyTagsToSnapshot": rds.copy_tags,
    }


def capacity(rds: Rds) -> dict[str, Any]:
    """Return the range of each of its instances, and when they pause where they may."""
    pause = {"SecondsUntilAutoPause": int(rds.pause_after)} if rds.min_acu == 0 else {}
    return {"MinCapacity": rds.min_acu, "MaxCapacity": rds.max_acu, **pause}


def instance(rds: Rds, name: str, region: str, *, first: bool) -> dict[str, Any]:
    """Return the request of CreateDBInstance for an instance of the cluster; the zone is that of the first one."""
    asked: dict[str, Any] = {
        "DBInstanceIdentifier": name,
        "DBClusterIdentifier": rds.identifier,
        "DBInstanceClass": CLASS,
        "Engine": rds.engine,
        "AvailabilityZone": f"{region}{rds.zone}" if rds.zone and first else None,
        "PubliclyAccessible": rds.public,  # never left out: AWS's default depends on the subnet group
        "AutoMinorVersionUpgrade": rds.auto_minor_upgrade,
        "Tags": tags.to_aws(tags.of_project(rds.project)),
    }
    return {field: value for field, value in asked.items() if value is not None}


def wanted(rds: Rds) -> int:
    """Return how many instances there are to be: one that writes, and with `multi_az` one in another zone that reads."""
    return 2 if rds.multi_az else 1


def faults(rds: Rds) -> Iterator[str]:
    """Yield what AWS would refuse of the settings that a cluster alone has, or has other limits for."""
    if len(rds.identifier) > LONGEST:
        yield f"identifier {rds.identifier!r}: use at most {LONGEST} characters for a cluster, whose instances are named after it"
    for name, least in (("min_acu", 0.0), ("max_acu", 1.0)):
        value = getattr(rds, name)
        if not least <= value <= MOST_ACU or value * 2 % 1:
            yield f"{name} {value:g}: give {least:g} to {MOST_ACU} in steps of 0.5"
    if rds.min_acu > rds.max_acu:
        yield f"min_acu {rds.min_acu:g}: is above max_acu {rds.max_acu:g}: give at most that"
    low, high = PAUSE_SECONDS
    if not low <= rds.pause_after <= high:
        yield f"pause_after: AWS pauses after {low // 60}m to {high // 3600}h without a session: give one of these"
    if rds.backup_days == 0:
        yield "backup_days 0: a cluster of Aurora always keeps backups: give 1 to 35"
