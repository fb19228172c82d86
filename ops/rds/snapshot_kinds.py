"""Snapshots of instances and of clusters: RDS has calls of its own for either, and tells the same of both under other names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from config.rds import Rds
from ops.aws_errors import code, other_service

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import DBSnapshotTypeDef

    from ops.aws import Aws

    Row = DBSnapshotTypeDef
    """A snapshot as RDS describes one of an instance."""


@dataclass(frozen=True)
class SnapshotKind:
    """Those of one of both; calls by the names that boto3's client has for them, codes by those of botocore's model."""

    of: str
    """The field that names what it is of."""
    name: str
    """The field that names it."""
    rows: str
    """The field of the answer that has them."""
    describe: str
    create: str
    remove: str
    source: Literal["db-snapshot", "db-cluster-snapshot"]
    """Whose events are its own."""
    missing: str
    exists: str
    wrong_state: str

    def listed(self, aws: Aws, identifier: str, **more: str) -> list[Row]:
        """Return the snapshots of an instance, or a cluster."""
        pages = aws.client("rds").get_paginator(self.describe).paginate(**{self.of: identifier}, **more)
        return [self.renamed(row) for page in pages for row in page[self.rows]]

    def find(self, aws: Aws, name: str) -> Row | None:
        """Return a snapshot, or None."""
        client = aws.client("rds")
        try:
            return self.described(aws, name)
        except client.exceptions.ClientError as error:
            if code(error) != self.missing:
                raise
        except IndexError:
            pass
        except KeyError:  # an answer that is none of RDS's says nothing of what is there
            raise other_service("RDS") from None
        return None

    def described(self, aws: Aws, name: str) -> Row:
        """Return a snapshot that must be there."""
        return self.renamed(getattr(aws.client("rds"), self.describe)(**{self.name: name})[self.rows][0])

    def make(self, aws: Aws, identifier: str, name: str, labels: list[Any]) -> Any:
        """Ask AWS for a snapshot."""
        return getattr(aws.client("rds"), self.create)(**{self.of: identifier, self.name: name}, Tags=labels)

    def take_away(self, aws: Aws, name: str) -> Any:
        """Ask AWS to delete a snapshot."""
        return getattr(aws.client("rds"), self.remove)(**{self.name: name})

    def renamed(self, row: Any) -> Row:
        """Return a row under the names that one of an instance has."""
        return cast("Row", {**row, "DBSnapshotIdentifier": row[self.name], "DBInstanceIdentifier": row.get(self.of)})


OF_INSTANCE = SnapshotKind(
    of="DBInstanceIdentifier",
    name="DBSnapshotIdentifier",
    rows="DBSnapshots",
    describe="describe_db_snapshots",
    create="create_db_snapshot",
    remove="delete_db_snapshot",
    source="db-snapshot",
    missing="DBSnapshotNotFound",
    exists="DBSnapshotAlreadyExists",
    wrong_state="InvalidDBSnapshotState",
)
OF_CLUSTER = SnapshotKind(
    of="DBClusterIdentifier",
    name="DBClusterSnapshotIdentifier",
    rows="DBClusterSnapshots",
    describe="describe_db_cluster_snapshots",
    create="create_db_cluster_snapshot",
    remove="delete_db_cluster_snapshot",
    source="db-cluster-snapshot",
    missing="DBClusterSnapshotNotFoundFault",
    exists="DBClusterSnapshotAlreadyExistsFault",
    wrong_state="InvalidDBClusterSnapshotStateFault",
)


def of(rds: Rds) -> SnapshotKind:
    """Return which snapshots those of the settings' server are."""
    return OF_CLUSTER if rds.is_cluster else OF_INSTANCE
