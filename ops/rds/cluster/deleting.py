"""A cluster of Aurora deleted: its instances first, then itself with the data, of which a final snapshot stays.

"Deleting Aurora DB clusters and DB instances" (Aurora User Guide): the readers go first, then the one that writes; the volume stays
until the cluster is deleted, which takes a final snapshot; a cluster that is stopped has to be started before.
"""

from __future__ import annotations

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Problem, Refused
from ops.rds import instance, snapshot_kinds
from ops.rds.cluster.creating import strangers
from ops.rds.cluster.row import cluster_of, instances_of
from ops.rds.server import CLUSTER, INSTANCE


def check_instances(row: Row) -> None:
    """Raise `Refused` for a cluster with an instance that somebody else has made in it."""
    if theirs := [one["DBInstanceIdentifier"] for one in strangers(row)]:
        raise Refused(
            f"{row['DBInstanceIdentifier']} has the instance {', '.join(theirs)}, which was not made by inv: nothing was done; delete "
            "it first (aws rds delete-db-instance), or tag it ManagedBy=inv"
        )


def status(aws: Aws, settings: Settings) -> str:
    """Return the state of the cluster itself; nothing where it is gone."""
    row = instance.find(aws, settings.rds)
    return str((cluster_of(row) or {}).get("Status", "")) if row else ""


def delete_all(settings: Settings, aws: Aws, row: Row, *, snapshot: bool) -> str:
    """Lift the protection, and ask AWS to delete the instances and the cluster, unless it is at that already.

    Return the name of the final snapshot that this run asked for.
    """
    rds, client = settings.rds, aws.client("rds")
    state = str((cluster_of(row) or {}).get("Status", ""))
    if state == "deleting":
        say(f"{rds.identifier} is being deleted already")
        return ""
    if state in ("stopped", "stopping"):
        raise Problem(f"{rds.identifier} is {state}, and AWS deletes no cluster then: inv rds.start, then this again")
    if row.get("DeletionProtection"):
        calls.surely(  # lifted twice is lifted
            lambda: client.modify_db_cluster(
                DBClusterIdentifier=rds.identifier, DeletionProtection=False, ApplyImmediately=True
            ),
            lambda: None,
        )
        say("lifted the deletion protection")
    for one in reversed(instances_of(row)):
        delete_instance(aws, one)
    name = instance.snapshot_name(rds, "final")
    last = {"FinalDBSnapshotIdentifier": name} if snapshot else {"SkipFinalSnapshot": True}
    try:
        calls.surely(
            lambda: client.delete_db_cluster(DBClusterIdentifier=rds.identifier, **last),
            lambda: status(aws, settings) in ("", "deleting") or None,
        )
    except client.exceptions.ClientError as error:
        if code(error) == CLUSTER.missing or status(aws, settings) in ("", "deleting"):  # another run was first
            return name if snapshot and snapshot_kinds.OF_CLUSTER.find(aws, name) else ""
        if code(error) in ("InvalidParameterCombination", CLUSTER.wrong_state):  # some of it is just being changed
            said = error.response["Error"].get("Message", "")
            raise InProgress(
                f"AWS does not delete {rds.identifier} yet ({said}): run inv rds.delete again in a minute"
            ) from error
        raise
    say(f"asked AWS to delete {rds.identifier}" + ("" if snapshot else "; its data goes with it"))
    return name if snapshot else ""


def delete_instance(aws: Aws, row: Row) -> None:
    """Ask AWS to delete an instance of a cluster: the data is the cluster's, and stays."""
    client, name = aws.client("rds"), row["DBInstanceIdentifier"]

    def going() -> bool | None:
        now = instance.find_instance(aws, name)
        return (now is None or now["DBInstanceStatus"] == "deleting") or None

    if row.get("DBInstanceStatus") == "deleting":
        return
    try:
        calls.surely(lambda: client.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True), going)
    except client.exceptions.ClientError as error:
        if code(error) == INSTANCE.missing or going():  # another run was first
            return
        if code(error) in (INSTANCE.wrong_state, CLUSTER.wrong_state):
            raise InProgress(
                f"AWS does not delete {name} while it is {row.get('DBInstanceStatus')}: run inv rds.delete again in a minute"
            ) from error
        raise
    say(f"asked AWS to delete its instance {name}")
