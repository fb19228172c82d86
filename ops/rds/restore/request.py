"""The requests by which an instance is restored, and those that give it what a restore does not copy.

By default a restored instance has the VPC's default security group, the default parameter group, no tags, one zone, and is
enrolled into paid extended support (API reference of RestoreDBInstanceFromDBSnapshot and RestoreDBInstanceToPointInTime; User
Guide, "Restoring to a DB instance"). Both take less than CreateDBInstance: which fields, botocore's model tells.
"""

from __future__ import annotations

from typing import Any

from config.settings import Settings
from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.rds import differences, request
from ops.rds.cluster.row import cluster_of
from ops.rds.restore import operations
from ops.rds.restore.names import AS, BESIDE, SOURCE, Names
from ops.rds.restore.source import Source

NOT_ON_RESTORE = {
    "DBInstanceIdentifier": "it is another one",
    "DBClusterIdentifier": "it is another one",
    "DatabaseName": "the databases come with the data",
    "DBName": "for Oracle and SQL Server only; the databases come with the data",
    "AllocatedStorage": "never less than the source has",
    "ManageMasterUserPassword": "for Oracle only: ModifyDBInstance turns it on afterwards",
}
"""Fields that all three operations have, and that are not asked for when restoring Postgres."""


def members(aws: Aws, name: str) -> set[str]:
    """Return the fields that an operation of RDS takes, by botocore's model."""
    return set(aws.client("rds").meta.service_model.operation_model(name).input_shape.members)


def build(
    settings: Settings, aws: Aws, source: Source, which: Names, live: Row | None, groups: list[str]
) -> dict[str, Any]:
    """Return the request: what the settings say, and of the live instance its parameter group, subnet group and tags."""
    wanted = request.build(settings, aws.region, groups)
    rds = settings.rds
    takes = members(aws, operations.name(rds, source))
    asked = {name: value for name, value in wanted.items() if name in takes and name not in NOT_ON_RESTORE}
    if rds.is_cluster:
        asked |= {"DBClusterIdentifier": which.beside, **operations.of_cluster(source, which.live)}
    elif source.snapshot:
        asked |= {"DBSnapshotIdentifier": source.snapshot, "DBInstanceIdentifier": which.beside}
    else:
        asked |= {
            "SourceDBInstanceIdentifier": which.live,
            "TargetDBInstanceIdentifier": which.beside,
            "RestoreTime": source.at,
        }
    return {**asked, **kept(settings, live), "Tags": tags.to_aws(labels(settings, source, which, live))}


def kept(settings: Settings, live: Row | None) -> dict[str, Any]:
    """Return what only the live instance tells."""
    if live is None:
        return {}
    found: dict[str, Any] = {}
    parameters = (cluster_of(live) or {}).get("DBClusterParameterGroup", "")
    if parameters and not parameters.startswith("default."):
        found["DBClusterParameterGroupName"] = parameters
    group = next((one.get("DBParameterGroupName", "") for one in live.get("DBParameterGroups", [])), "")
    if group and not group.startswith("default."):
        found["DBParameterGroupName"] = group
    subnets = live.get("DBSubnetGroup", {}).get("DBSubnetGroupName")
    if subnets and subnets != "default" and not settings.rds.subnet_group:
        found["DBSubnetGroupName"] = subnets
    return found


def labels(settings: Settings, source: Source, which: Names, live: Row | None) -> dict[str, str]:
    """Return the tags of a restored instance: those of the live one, and what proves where it comes from."""
    its = {k: v for k, v in tags.from_aws((live or {}).get("TagList")).items() if not k.startswith(("aws:", "inv:"))}
    beside = {BESIDE: which.live, SOURCE: str(source), AS: which.beside}
    return {**its, **tags.of_project(settings.rds.project), **beside}


def shown(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a request as JSON takes it."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in asked.items()}


def rest(settings: Settings, aws: Aws, source: Source, row: Row) -> dict[str, Any]:
    """Return what is to be changed of a restored instance: all that the settings say and the restore did not take.

    Empty once it is as wanted; the password is not in it.
    """
    wanted = request.build(settings, aws.region, [])
    change = "ModifyDBCluster" if settings.rds.is_cluster else "ModifyDBInstance"
    left = (members(aws, change) & set(wanted)) - members(aws, operations.name(settings.rds, source))
    left -= {"MasterUserPassword", "AllocatedStorage", "EngineVersion"}
    paths = dict(differences.compared(settings).values())
    differs = {
        name for name in left if name in paths and differences.told(row, paths[name]) not in (None, wanted[name])
    }
    if "EnablePerformanceInsights" in left and row.get("PerformanceInsightsEnabled") is False:
        differs.add("EnablePerformanceInsights")
    if row.get("MaxAllocatedStorage") is None and "MaxAllocatedStorage" in left:
        differs.add("MaxAllocatedStorage")
    insights = {"EnablePerformanceInsights", "PerformanceInsightsRetentionPeriod", "DatabaseInsightsMode"}
    if differs & insights:  # each is checked against the others
        differs |= insights & left
    return {name: wanted[name] for name in sorted(differs)}
