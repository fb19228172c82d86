"""A cluster of Aurora in the shape of an instance: what the tasks ask of either has the same names.

A cluster has endpoint, groups, secret, backups and tags, by which it is found and known as ours; its instances have class, zone and
network. In which state either is, and what DescribeDBClusters answers: Aurora User Guide, "Viewing DB cluster status in an Amazon
Aurora cluster", and the API reference of DBCluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from ops.aws import Aws
from ops.aws_errors import code, other_service
from ops.cloud.facts import Row
from ops.rds.server import CLUSTER
from ops.rds.waiting import ALONE

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_rds.type_defs import DBClusterTypeDef

SAME = (
    *("AutoMinorVersionUpgrade", "AutomaticRestartTime", "BackupRetentionPeriod", "CopyTagsToSnapshot", "DatabaseInsightsMode"),
    *("DeletionProtection", "Engine", "EngineLifecycleSupport", "EngineVersion", "IAMDatabaseAuthenticationEnabled"),
    *("LatestRestorableTime", "MasterUserSecret", "MasterUsername", "PendingModifiedValues", "PerformanceInsightsEnabled"),
    *("PerformanceInsightsRetentionPeriod", "PreferredMaintenanceWindow", "StorageEncrypted", "StorageType", "TagList"),
    *("VpcSecurityGroups", "ServerlessV2ScalingConfiguration", "ReaderEndpoint"),
)  # fmt: skip
"""What DescribeDBClusters calls as DescribeDBInstances does, and two that only a cluster has."""
OF_WRITER = (
    *("AvailabilityZone", "CACertificateIdentifier", "DBInstanceClass", "DBSubnetGroup", "PubliclyAccessible"),
)  # fmt: skip
RENAMED = {
    "DBClusterIdentifier": "DBInstanceIdentifier",
    "DBClusterArn": "DBInstanceArn",
    "DbClusterResourceId": "DbiResourceId",
    "DatabaseName": "DBName",
    "ClusterCreateTime": "InstanceCreateTime",
}
OF_EXPRESS = {"PubliclyAccessible": True, "StorageEncrypted": True}
"""What is so of a cluster by express configuration, and what RDS tells for want of a network and a key of ours otherwise
("Create with express configuration", Aurora User Guide)."""
BY_IAM = "the RDS gateway"
"""What names the login of such a cluster: there is none but that."""


def find_cluster(aws: Aws, identifier: str) -> Row | None:
    """Return a cluster with its instances, in the shape of an instance, or None."""
    client: RDSClient = aws.client("rds")
    try:
        rows = client.describe_db_clusters(DBClusterIdentifier=identifier).get("DBClusters")
    except client.exceptions.ClientError as error:
        if code(error) == CLUSTER.missing:
            return None
        raise
    if not rows:
        raise other_service("RDS")
    return as_instance(rows[0], instances(client, identifier))


def instances(client: RDSClient, identifier: str) -> list[Row]:
    """Return DescribeDBInstances' rows of the instances of a cluster."""
    pages = client.get_paginator("describe_db_instances").paginate(
        Filters=[{"Name": "db-cluster-id", "Values": [identifier]}]
    )
    return [one for page in pages for one in page["DBInstances"]]


def as_instance(cluster: DBClusterTypeDef, every: Iterable[Row]) -> Row:
    """Return what both tell, under an instance's names; the cluster itself and its instances are kept beside."""
    writes = [one["DBInstanceIdentifier"] for one in cluster.get("DBClusterMembers", []) if one.get("IsClusterWriter")]
    found = sorted(every, key=lambda one: (one["DBInstanceIdentifier"] not in writes, one["DBInstanceIdentifier"]))
    told: dict[str, Any] = {name: cluster[name] for name in SAME if name in cluster}  # type: ignore[literal-required]
    told |= {new: cluster[old] for old, new in RENAMED.items() if old in cluster}  # type: ignore[literal-required]
    if found:
        told |= {name: found[0][name] for name in OF_WRITER if name in found[0]}  # type: ignore[literal-required]
    if cluster.get("InternetAccessGatewayEnabled"):
        told |= OF_EXPRESS
    return cast(
        Row,
        {
            **told,
            "DBInstanceStatus": state(cluster, found),
            "Endpoint": {"Address": cluster.get("Endpoint", ""), "Port": cluster.get("Port", 5432)},
            "MultiAZ": len(found) > 1,
            "Cluster": cluster,
            "Instances": found,
        },
    )


def state(cluster: DBClusterTypeDef, found: list[Row]) -> str:
    """Return the state of a cluster, or, where that is available, of the instance that writes."""
    own = cluster.get("Status", "")
    if own != "available":
        return own
    return found[0].get("DBInstanceStatus", "") if found else ALONE


def cluster_of(row: Row) -> DBClusterTypeDef | None:
    """Return DescribeDBClusters' row of a cluster, None for an instance."""
    return cast(dict[str, Any], row).get("Cluster")


def is_express(row: Row) -> bool:
    """Whether it is a cluster by express configuration: in no network of ours, behind Aurora's gateway to the internet."""
    return bool((cluster_of(row) or {}).get("InternetAccessGatewayEnabled"))


def instances_of(row: Row) -> list[Row]:
    """Return the rows of a cluster's instances, the one that writes first; none for an instance."""
    return cast(dict[str, Any], row).get("Instances", [])  # type: ignore[no-any-return]


def machine(row: Row) -> str:
    """Return the name of the instance that writes: a cluster's first, else the instance itself."""
    return next((one["DBInstanceIdentifier"] for one in instances_of(row)), row["DBInstanceIdentifier"])


def readers(row: Row) -> list[Row]:
    """Return the rows of the instances that only read."""
    return instances_of(row)[1:]


def reader_endpoint(row: Row) -> str:
    """Return the name of the endpoint at which is read; nothing where only one instance is there, to which it would lead."""
    return str(cast(dict[str, Any], row).get("ReaderEndpoint") or "") if readers(row) else ""
