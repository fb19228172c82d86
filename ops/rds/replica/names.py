"""Which instance is our replica: its name, and the tags that prove that we made it.

A replica stays with its source when that is renamed (User Guide, "Renaming a DB instance"), and a switchover renames both: so it is
found by its name, else among those that follow the instance.
"""

from __future__ import annotations

from config.rds import Rds
from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.errors import Misconfigured, Refused
from ops.rds import instance
from ops.rds.restore.names import have
from ops.rds.server import LONGEST

REPLICA = "-replica"
OF = "inv:replica-of"
"""Of a replica: the instance that it was made for, by the name of then."""


def name(rds: Rds) -> str:
    """Return what the replica is called; raises `Misconfigured` where RDS would not take that."""
    found = rds.identifier + REPLICA
    if len(found) > LONGEST:
        raise Misconfigured(
            f"an instance cannot be called {found}: {LONGEST} characters at most; a shorter rds.identifier leaves room for {REPLICA}"
        )
    return found


def labels(rds: Rds, source: Row) -> dict[str, str]:
    """Return the tags of a replica: those of its source, and what proves whose it is."""
    its = {k: v for k, v in have(source).items() if not k.startswith(("aws:", "inv:"))}
    return {**its, **tags.of_project(rds.project), OF: rds.identifier}


def is_ours(row: Row, rds: Rds) -> bool:
    """Whether rds.replica made this instance, which need not follow any more."""
    return instance.is_ours(row, rds) and OF in have(row)


def source_of(row: Row) -> str:
    """Return the instance that one follows; nothing for one that follows none."""
    return str(row.get("ReadReplicaSourceDBInstanceIdentifier") or "").rpartition(":")[2]


def replicas_of(row: Row) -> list[str]:
    """Return which instances follow one."""
    return sorted(one.rpartition(":")[2] for one in row.get("ReadReplicaDBInstanceIdentifiers", []))


def find(aws: Aws, rds: Rds) -> Row | None:
    """Return the instance that has the replica's name, whoever made it, else one of ours that follows the instance."""
    if (there := instance.find_instance(aws, name(rds))) is not None:
        return there
    source = instance.find_instance(aws, rds.identifier)
    following = [instance.find_instance(aws, each) for each in replicas_of(source)] if source else []
    return next((one for one in following if one is not None and is_ours(one, rds)), None)


def ours(aws: Aws, rds: Rds, row: Row) -> list[str]:
    """Return which of the replicas of an instance are ours."""
    found = [instance.find_instance(aws, each) for each in replicas_of(row)]
    return [one["DBInstanceIdentifier"] for one in found if one is not None and is_ours(one, rds)]


def require_ours(row: Row, rds: Rds) -> None:
    """Raise `Refused` for an instance that only has the name."""
    if not is_ours(row, rds):
        raise Refused(
            f"{row['DBInstanceIdentifier']} is there already, and not made by rds.replica: nothing was done; it is somebody else's, "
            "give it another name"
        )


def promoted(row: Row) -> Refused:
    """Return what to say of a replica of ours that follows nobody any more."""
    its = row["DBInstanceIdentifier"]
    return Refused(
        f"{its} was promoted and is an instance of its own, with data of its own: nothing was done; "
        f"INVOKE_RDS_IDENTIFIER={its} inv rds.delete removes it, and leaves a snapshot"
    )
