"""The calls by which an instance, or a cluster of Aurora, is restored: each has one for a snapshot and one for a moment.

A restored cluster has no instance yet; those are made once it is available (API reference of RestoreDBClusterFromSnapshot).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from config.rds import Rds
from ops.rds.restore.source import Source

BY_SNAPSHOT, BY_MOMENT = "RestoreDBInstanceFromDBSnapshot", "RestoreDBInstanceToPointInTime"
CLUSTER_BY_SNAPSHOT, CLUSTER_BY_MOMENT = "RestoreDBClusterFromSnapshot", "RestoreDBClusterToPointInTime"


def name(rds: Rds, source: Source) -> str:
    """Return the operation, as RDS calls it."""
    if rds.is_cluster:
        return CLUSTER_BY_SNAPSHOT if source.snapshot else CLUSTER_BY_MOMENT
    return BY_SNAPSHOT if source.snapshot else BY_MOMENT


def call(client: Any, rds: Rds, source: Source) -> Callable[..., Any]:
    """Return the call of a client's."""
    calls: dict[str, Callable[..., Any]] = {
        BY_SNAPSHOT: client.restore_db_instance_from_db_snapshot,
        BY_MOMENT: client.restore_db_instance_to_point_in_time,
        CLUSTER_BY_SNAPSHOT: client.restore_db_cluster_from_snapshot,
        CLUSTER_BY_MOMENT: client.restore_db_cluster_to_point_in_time,
    }
    return calls[name(rds, source)]


def of_cluster(source: Source, live: str) -> dict[str, Any]:
    """Return the fields that say from what a cluster is restored; `live` is the one whose backups they are."""
    if source.snapshot:
        return {"SnapshotIdentifier": source.snapshot}
    return {"SourceDBClusterIdentifier": live, "RestoreToTime": source.at}
