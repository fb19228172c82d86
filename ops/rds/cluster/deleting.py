"""A cluster of Aurora deleted: its instances first, then itself with the data, of which a final snapshot stays.

"Deleting Aurora DB clusters and DB instances" (Aurora User Guide): the readers go first, then the one that writes; DeleteDBCluster is
refused while any of them is in another state than deleting; the volume stays until the cluster is deleted, which takes the final
snapshot; a cluster that is stopped has to be started before. So the instances are going when AWS is asked for the snapshot, and
whatever it could refuse then (the errors in the API reference of DeleteDBCluster) is looked up before the first of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Problem, Refused
from ops.rds import instance, lookups, protection, snapshot_kinds
from ops.rds.cluster.creating import strangers
from ops.rds.cluster.row import cluster_of, instances_of
from ops.rds.server import CLUSTER, INSTANCE
from ops.rds.waiting import HOPELESS, USABLE

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import AccountQuotaTypeDef

QUOTA = "ManualClusterSnapshots"
"""In DescribeAccountAttributes: the final snapshot is one of them."""
REFUSED_LATE = ("DBClusterSnapshotAlreadyExistsFault", "SnapshotQuotaExceeded", "KMSKeyNotAccessibleFault")
"""What may be refused in spite of the look before: it has come to be so since."""


def check(settings: Settings, aws: Aws, row: Row, *, snapshot: bool) -> None:
    """Raise what AWS would refuse half way."""
    if status_of(row) == "deleting":
        return
    check_instances(row)
    check_alone(row)
    check_state(row, snapshot=snapshot)
    if snapshot:
        check_room(settings, aws)


def status_of(row: Row) -> str:
    """Return the state of the cluster itself."""
    return str((cluster_of(row) or {}).get("Status", ""))


def check_instances(row: Row) -> None:
    """Raise `Refused` for a cluster with an instance that somebody else has made in it."""
    if theirs := [one["DBInstanceIdentifier"] for one in strangers(row)]:
        raise Refused(
            f"{row['DBInstanceIdentifier']} has the instance {', '.join(theirs)}, which was not made by inv: nothing was done; delete "
            "it first (aws rds delete-db-instance), or tag it ManagedBy=inv"
        )


def check_alone(row: Row) -> None:
    """Raise `Refused` for a cluster that others follow, or that is part of a global one: its last instance is not deleted."""
    name, its = row["DBInstanceIdentifier"], cluster_of(row) or {}
    if following := its.get("ReadReplicaIdentifiers"):
        raise Refused(
            f"{name} is followed by {', '.join(following)}, and AWS deletes its last instance only after those: nothing was done"
        )
    if of := its.get("GlobalClusterIdentifier"):
        raise Refused(
            f"{name} is part of the global cluster {of}: nothing was done; aws rds remove-from-global-cluster first, then this again"
        )


def check_state(row: Row, *, snapshot: bool) -> None:
    """Raise `Problem` for a cluster that is not deleted in its state, or not saved before; `InProgress` where that ends by itself."""
    name, state = row["DBInstanceIdentifier"], status_of(row)
    if state in ("stopped", "stopping"):
        raise Problem(f"{name} is {state}, and AWS deletes no cluster then: inv rds.start, then this again")
    if not snapshot:
        return
    if state in HOPELESS:
        raise Problem(
            f"{name} is {state}, and cannot be saved in a snapshot: nothing was done; inv rds.delete --no-snapshot"
        )
    members = {one["DBInstanceIdentifier"]: str(one.get("DBInstanceStatus", "")) for one in instances_of(row)}
    for what, now in {name: state, **members}.items():
        if now not in (*USABLE, *HOPELESS, "deleting"):
            raise InProgress(
                f"{what} is {now}, and {name} cannot be saved in a snapshot now: nothing was done; run inv rds.delete again"
            )


def check_room(settings: Settings, aws: Aws) -> None:
    """Raise `Problem` where the account has as many snapshots as it may have; what AWS does not tell is said."""
    none: list[AccountQuotaTypeDef] = []
    quotas = lookups.asked(
        "how many snapshots there may be",
        lambda: aws.client("rds").describe_account_attributes()["AccountQuotas"],
        none,
    )
    for one in quotas:
        if one["AccountQuotaName"] == QUOTA and one["Used"] >= one["Max"]:
            raise Problem(
                f"the account has {one['Used']} snapshots of clusters, and may have {one['Max']}: nothing was done; "
                f"inv rds.snapshots --prune makes room for the final one of {settings.rds.identifier}, or inv rds.delete --no-snapshot"
            )


def status(aws: Aws, settings: Settings) -> str:
    """Return the state of the cluster itself; nothing where it is gone."""
    row = instance.find(aws, settings.rds)
    return status_of(row) if row else ""


def delete_all(settings: Settings, aws: Aws, row: Row, *, snapshot: bool) -> str:
    """Lift the protection, and ask AWS to delete the instances and the cluster, unless it is at that already.

    Return the name of the final snapshot that this run asked for.
    """
    rds = settings.rds
    if status_of(row) == "deleting":
        say(f"{rds.identifier} is being deleted already")
        return ""
    name = instance.snapshot_name(rds, "final")
    if snapshot and snapshot_kinds.OF_CLUSTER.find(aws, name):
        raise Problem(
            f"there is a snapshot {name} already: nothing was done; run inv rds.delete again, by which it has another name"
        )
    with protection.lift(aws, CLUSTER, row):
        return ask_for_deletion(settings, aws, row, name if snapshot else "")


def ask_for_deletion(settings: Settings, aws: Aws, row: Row, snapshot: str) -> str:
    """Ask AWS to delete the instances and the cluster; return the name of the final snapshot, as it is given."""
    rds, client = settings.rds, aws.client("rds")
    for one in reversed(instances_of(row)):
        delete_instance(aws, one)
    last = {"FinalDBSnapshotIdentifier": snapshot} if snapshot else {"SkipFinalSnapshot": True}
    try:
        calls.surely(
            lambda: client.delete_db_cluster(DBClusterIdentifier=rds.identifier, **last),
            lambda: status(aws, settings) in ("", "deleting") or None,
        )
    except client.exceptions.ClientError as error:
        if code(error) == CLUSTER.missing or status(aws, settings) in ("", "deleting"):  # another run was first
            return snapshot if snapshot and snapshot_kinds.OF_CLUSTER.find(aws, snapshot) else ""
        if code(error) in ("InvalidParameterCombination", CLUSTER.wrong_state):  # some of it is just being changed
            said = error.response["Error"].get("Message", "")
            raise InProgress(
                f"AWS does not delete {rds.identifier} yet ({said}): run inv rds.delete again in a minute"
            ) from error
        if code(error) in REFUSED_LATE:
            raise Problem(
                f"AWS does not save {rds.identifier} in a snapshot ({code(error)}): its instances go, its data is whole; mend that, then "
                "inv rds.delete again, or inv rds.create makes it an instance again"
            ) from error
        raise
    say(f"asked AWS to delete {rds.identifier}" + ("" if snapshot else "; its data goes with it"))
    return snapshot


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
