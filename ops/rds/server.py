"""What the server of a target is in AWS: an instance, or a cluster of Aurora; what RDS calls either, and the calls about it.

The settings say which of both is wanted (`rds.engine`), AWS whether it is there. Names and codes are those of botocore's model of RDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from config.rds import Rds

if TYPE_CHECKING:
    from ops.aws import Aws

LONGEST = 63
"""Of a name, in characters (API references of CreateDBInstance, CreateDBCluster and CreateDBProxy)."""


@dataclass(frozen=True)
class Server:
    """One of both; calls by the names that boto3's client has for them."""

    word: Literal["instance", "cluster"]
    name: str
    """The field that names it: DBInstanceIdentifier."""
    source: Literal["db-instance", "db-cluster"]
    """Whose events are its own."""
    start: str
    stop: str
    modify: str
    delete: str
    missing: str
    """The code of a refusal where it is not there."""
    wrong_state: str
    """That of one where its state does not let it."""
    exists: str
    """That of one where its name is taken."""

    @property
    def article(self) -> str:
        """The word with its article."""
        return "a cluster" if self.word == "cluster" else "an instance"

    def call(self, aws: Aws, operation: str, identifier: str, **fields: Any) -> Any:
        """Make one of the calls above."""
        return getattr(aws.client("rds"), operation)(**{self.name: identifier}, **fields)


INSTANCE = Server(
    word="instance",
    name="DBInstanceIdentifier",
    source="db-instance",
    start="start_db_instance",
    stop="stop_db_instance",
    modify="modify_db_instance",
    delete="delete_db_instance",
    missing="DBInstanceNotFound",
    wrong_state="InvalidDBInstanceState",
    exists="DBInstanceAlreadyExists",
)
CLUSTER = Server(
    word="cluster",
    name="DBClusterIdentifier",
    source="db-cluster",
    start="start_db_cluster",
    stop="stop_db_cluster",
    modify="modify_db_cluster",
    delete="delete_db_cluster",
    missing="DBClusterNotFoundFault",
    wrong_state="InvalidDBClusterStateFault",
    exists="DBClusterAlreadyExistsFault",
)


def of(rds: Rds) -> Server:
    """Return what the server of the settings is."""
    return CLUSTER if rds.is_cluster else INSTANCE
