"""What becomes of an instance's replicas by what other tasks do to it, or what is to be done before.

By the RDS User Guide: "Deleting a DB instance" (a replica whose source is deleted is promoted), "Stopping an Amazon RDS DB instance
temporarily" (none that has a replica), "Upgrades of the RDS for PostgreSQL DB engine" (another major version comes to replicas by
itself, a minor one wants them first), "Creating a blue/green deployment" and "Switching a blue/green deployment" (replicas are copied,
and renamed likewise), "Renaming a DB instance" (they stay with the one that is renamed).
"""

from __future__ import annotations

from config.rds import Rds
from config.settings import Settings
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Refused
from ops.rds import env_file, instance, lookups
from ops.rds.replica import names
from ops.rds.replica.making import TASK


def check_deletion(aws: Aws, rds: Rds, row: Row) -> None:
    """Raise `Refused` where ours would be left to be paid for; say what becomes of others'."""
    if source := names.source_of(row):
        raise Refused(
            f"{rds.identifier} is a replica of {source}, and leaves no snapshot: INVOKE_RDS_IDENTIFIER={source} inv {TASK} --delete"
        )
    if ours := names.ours(aws, rds, row):
        raise Refused(
            f"{rds.identifier} has the replica {', '.join(ours)}, which AWS would promote to an instance of its own that is paid for: "
            f"inv {TASK} --delete first, or inv {TASK} --promote where it is to stay"
        )
    for name in names.replicas_of(row):
        say(f"its replica {name}, which is not ours, is promoted by AWS to an instance of its own")


def check_stop(row: Row) -> None:
    """Raise `Refused` for an instance that AWS does not stop."""
    name = row["DBInstanceIdentifier"]
    if source := names.source_of(row):
        raise Refused(f"{name} is a replica of {source}, which AWS does not stop: nothing was done")
    if following := names.replicas_of(row):
        raise Refused(
            f"{name} has the replica {', '.join(following)}, and AWS stops none that has: inv {TASK} --delete first"
        )


def check_minor(aws: Aws, row: Row, version: str) -> None:
    """Raise `Refused` where a replica has not the minor version yet that its source is to get."""
    for name in names.replicas_of(row):
        there = instance.find_instance(aws, name)
        if there and lookups.numbers(there["EngineVersion"]) < lookups.numbers(version):
            raise Refused(
                f"its replica {name} has PostgreSQL {there['EngineVersion']}, and AWS wants that upgraded first: aws rds modify-db-instance "
                f"--db-instance-identifier {name} --engine-version {version} --apply-immediately, then run this again"
            )


def tell_copies(row: Row, old: str) -> None:
    """Say what a switchover makes of replicas; `old` is what comes behind the names of those from before."""
    for name in names.replicas_of(row):
        say(
            f"its replica {name} is copied and exchanged too, its address stays; the one before is {name}{old}, and paid for as well"
        )


def tell_swap(settings: Settings, row: Row, prev: str) -> None:
    """Say what becomes of replicas when the instance gets another name."""
    for name in names.replicas_of(row):
        say(
            f"its replica {name} stays with it, and follows {prev} then: nothing reads there any more; inv {TASK} --delete takes it away, "
            f"then inv {TASK} makes one of the new {settings.rds.identifier}"
        )


def forget_swapped(settings: Settings, row: Row) -> None:
    """Have nothing read at the replicas of an instance that is moved away: their data would be those of another history."""
    for name in names.replicas_of(row):
        env_file.forget_replica(settings, name)
