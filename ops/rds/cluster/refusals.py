"""Which tasks are for a cluster of Aurora too, and the way on where one is not: none runs half way."""

from __future__ import annotations

from ops.errors import Misconfigured

WORKS = {
    *("create", "status", "events", "endpoint", "connect-policy", "start", "stop", "snapshot", "snapshots", "delete"),
    *("rotate-password", "apply", "restore", "undo", "ca", "logs", "allow-my-ip", "rules", "revoke-my-ip", "prune-rules", "bastion"),
}  # fmt: skip
"""The tasks of rds.* that know both."""
READER = "a reader is an instance of the cluster: set rds.multi_az to yes, then inv rds.create makes it"
WAYS = {
    "replica": READER,
    "upgrade": "minor versions come by rds.engine_version and inv rds.apply; a major one is tried on a restored cluster first (docs/aurora.md)",
    "export": "import the cluster by hand (aws_rds_cluster, aws_rds_cluster_instance)",
    "schedule": "set rds.min_acu to 0, and it pauses by itself whenever nobody is connected",
    "alarms": "CloudWatch has ServerlessDatabaseCapacity and ACUUtilization for it",
    "proxy": "its capacity grows with its connections, and with a proxy it never pauses",
}
"""Others, each with what is done instead."""
GENERAL = "aws rds describe-db-clusters and its neighbours are for that"


def check(identifier: str, task: str) -> None:
    """Raise `Misconfigured` for a task that is for instances alone."""
    if task not in WORKS:
        raise Misconfigured(
            f"inv rds.{task} is for instances, and {identifier} is a cluster of Aurora (rds.engine): nothing was done; "
            f"{WAYS.get(task, GENERAL)}"
        )
