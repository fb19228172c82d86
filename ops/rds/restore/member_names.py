"""The names of a cluster's instances, which do not follow when a swap gives the cluster another one.

"When you change the DB cluster identifier, the DB cluster endpoints change. The endpoints of the DB instances in the DB cluster don't
change", without an outage; another identifier of an instance restarts it (Aurora User Guide, "Modifying an Amazon Aurora DB cluster").
So clusters are renamed first, instances once there is an endpoint again. Which of them are still to be renamed is in their names: a run
that was cut off is ended by the next one.
"""

from __future__ import annotations

from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.errors import Refused
from ops.rds import instance
from ops.rds.cluster.row import instances_of
from ops.rds.restore.names import Names

NUMBERS = tuple(str(number) for number in range(1, 10))


def to_rename(row: Row, which: Names, name: str = "") -> dict[str, str]:
    """Return our instances of a cluster that carry another of the three names, each with the one that it is to get.

    `name` is what the cluster is called then, where it is to be renamed itself. Nothing for an instance.
    """
    own = name or row["DBInstanceIdentifier"]
    taken = {one["DBInstanceIdentifier"] for one in instances_of(row)}
    found: dict[str, str] = {}
    for one in sorted(
        each["DBInstanceIdentifier"] for each in instances_of(row) if tags.is_ours(tags.from_aws(each.get("TagList")))
    ):
        stem, _, number = one.rpartition("-")
        if stem != own and stem in (which.live, which.beside, which.prev) and number in NUMBERS:
            names = (f"{own}-{each}" for each in (number, *NUMBERS))
            found[one] = next(each for each in names if each not in taken and each not in found.values())
    return found


def check(aws: Aws, which: Names, moves: dict[str, Row]) -> None:
    """Raise `Refused` where an instance that stays has a name that one of theirs is to get; `moves` are both clusters by their next names."""
    every = {old: new for name, row in moves.items() for old, new in to_rename(row, which, name).items()}
    for old, new in every.items():
        if new not in every and instance.find_instance(aws, new) is not None:
            raise Refused(
                f"the instance {new} is there already, and {old} is to be called so: nothing was renamed; give it another name"
            )


def holder(aws: Aws, row: Row, which: Names) -> str:
    """Return the cluster whose instances have names that this one's are to get: after an undo, the one that was swapped in before."""
    for new in to_rename(row, which).values():
        if there := instance.find_instance(aws, new):
            return str(there.get("DBClusterIdentifier") or which.beside)
    return which.beside
