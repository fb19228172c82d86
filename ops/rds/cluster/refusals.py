"""Which tasks are for a cluster of Aurora too, and the way on where one is not: none runs half way."""

from __future__ import annotations

from typing import NoReturn

from ops.cloud.facts import Row
from ops.errors import Misconfigured
from ops.rds.cluster.row import is_express

READER = "a reader is an instance of the cluster: set rds.multi_az to yes, then inv rds.create makes it"
WAYS = {
    "replica": READER,
    "upgrade": "minor versions come by rds.engine_version and inv rds.apply; a major one is tried on a restored cluster first (docs/aurora.md)",
    "export": "import the cluster by hand (aws_rds_cluster, aws_rds_cluster_instance)",
    "schedule": "set rds.min_acu to 0, and it pauses by itself whenever nobody is connected",
    "alarms": "CloudWatch has ServerlessDatabaseCapacity and ACUUtilization for it",
    "proxy": "its capacity grows with its connections, and with a proxy it never pauses",
}
"""The tasks of rds.* that are for instances alone, each with what is done instead."""


OF_EXPRESS = {
    "rotate-password": "it has no password: who comes in shows a token of IAM (inv rds.connect-policy)",
    "restore": "AWS restores its snapshots, into a network (aws rds restore-db-cluster-from-snapshot) or behind a gateway again (with "
    "--no-enable-vpc-networking --enable-internet-access-gateway --enable-iam-database-authentication)",
    "lambda.deploy": "a function of the suite stands in the database's network, which it has none of",
}
"""Tasks that are not for a cluster by express configuration, each with why, or with what is done instead."""


def check_express(row: Row, task: str) -> None:
    """Raise `Misconfigured` for a task of `OF_EXPRESS` where the cluster is one."""
    if is_express(row):
        raise Misconfigured(
            f"{row['DBInstanceIdentifier']} is a cluster by express configuration: nothing was done; {OF_EXPRESS[task]}"
        )


def check_group(row: Row | None) -> None:
    """Raise `Misconfigured` where there is no security group and never will be, since the cluster is one by express configuration."""
    if row is not None and is_express(row):
        raise Misconfigured(
            f"{row['DBInstanceIdentifier']} has no security group: express configuration puts a cluster into no network of yours, and its "
            "gateway to the internet lets in whoever shows a token of IAM; inv rds.connect-policy USER prints the right that decides"
        )


def refuse(identifier: str, task: str) -> NoReturn:
    """Raise `Misconfigured` for a task that is for instances alone, with what is done instead."""
    raise Misconfigured(
        f"inv rds.{task} is for instances, and {identifier} is a cluster of Aurora (rds.engine): nothing was done; {WAYS[task]}"
    )
