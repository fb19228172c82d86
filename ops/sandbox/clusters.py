"""What AWS does to clusters of Aurora, and moto leaves out or does otherwise.

moto takes a second cluster of the same name in the place of the first, also one that is renamed, loses the instances of one that is,
forgets a change of logins by IAM, cannot restore a cluster whose password RDS keeps, and gives a restored one a password of its own. Its objects get the names here that those of instances have, so
that a server is kept for a cluster as for an instance; each of its readers has one that follows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ops.sandbox import express
from ops.sandbox.replicas import PASSWORD, SOURCE

MAKES = {
    "CreateDBCluster": "",
    "RestoreDBClusterFromSnapshot": "SnapshotIdentifier",
    "RestoreDBClusterToPointInTime": "SourceDBClusterIdentifier",
}
"""The calls that make one, and the field that names from what."""
IAM = "enable_iam_database_authentication"
SAID = {express.REFUSAL: "A cluster by express configuration does not take that; AWS's own words are others."}
"""What is said with a refusal that is not about a name."""


def backends() -> list[Any]:
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.rds.models import rds_backends

    return list(rds_backends[DEFAULT_ACCOUNT_ID].values())


def refusal(form: dict[str, str]) -> str:
    """Return the code with which AWS refuses a request that moto takes; nothing for another one."""
    name = "DBClusterIdentifier" if form.get("Action") in MAKES else "NewDBClusterIdentifier"
    if any(form.get(name, "").lower() in backend.clusters for backend in backends()):
        return "DBClusterAlreadyExistsFault"
    if any(form.get("NewDBInstanceIdentifier", "").lower() in backend.databases for backend in backends()):
        return "DBInstanceAlreadyExists"
    named = [backend.clusters.get(form.get("DBClusterIdentifier", "").lower()) for backend in backends()]
    return express.refusal(form, any(one is not None and express.is_express(one) for one in named))


def settle(form: dict[str, str] | None = None) -> list[Any]:
    """Have moto's clusters as AWS has them, under the names of instances; return them. `form` is the request that was answered."""
    every = [one for backend in backends() for one in list(backend.clusters.values()) if "postgres" in str(one.engine)]
    for backend in backends():
        for member in filter(is_member, backend.databases.values()):
            member.db_cluster_identifier = member.cluster.db_cluster_identifier
    restored = (form or {}).get("DBClusterIdentifier", "") if MAKES.get((form or {}).get("Action", "")) else ""
    for one in every:
        its = vars(one)
        if IAM in its and (form or {}).get("Action") == "ModifyDBCluster":
            one.iam_auth = its[IAM]
        its.setdefault(PASSWORD, "")
        one.status  # noqa: B018 - creating when it is first read, and available from then on
        one.url_identifier = "aaaaaaaaaa"  # as moto has it in the names of instances; it makes another for each cluster
        if one.db_cluster_identifier == restored.lower() and getattr(one, "master_user_secret", None):
            one.master_user_secret.delete_secret()  # RDS keeps no password of what is restored, until asked
            del one.master_user_secret
            one.manage_master_user_password = False
        its.update(
            {
                "db_instance_identifier": one.db_cluster_identifier,
                "db_instance_arn": one.db_cluster_arn,
                "dbi_resource_id": one.db_cluster_resource_id,
                "address": one.endpoint,
                "db_name": one.database_name,
                "is_replica": False,
                IAM: one.iam_auth,
            }
        )
    return every


def is_cluster(one: Any) -> bool:
    return "db_cluster_members" in dir(type(one))


def is_member(one: Any) -> bool:
    return not is_cluster(one) and getattr(one, "cluster", None) is not None


def readers(cluster: Any) -> list[Any]:
    """Return a cluster's instances that only read, each of which follows it."""
    found = [one for one in cluster.members if not one.is_cluster_writer]
    for one in found:
        setattr(one, SOURCE, cluster)
    return found


def snapshots() -> Iterable[Any]:
    """Yield moto's snapshots of clusters, under the names that those of instances have."""
    for backend in backends():
        for one in list(backend.cluster_snapshots.values()):
            one.database = one.cluster
            one.db_snapshot_identifier = one.db_cluster_snapshot_identifier
            yield one


def writers(one: Any) -> list[str]:
    """Return the names of the instance that the server of a moto object is: of a cluster, that of the one which writes."""
    if is_cluster(one):
        return [each.db_instance_identifier for each in one.members if each.is_cluster_writer]
    return [one.db_instance_identifier]


def names(one: Any) -> set[str]:
    """Return the names at which the server of a moto object is reached."""
    if is_cluster(one):
        writes = [each.address for each in one.members if each.is_cluster_writer]
        reads = [] if readers(one) else [one.reader_endpoint]
        return {name.lower() for name in (one.endpoint, *writes, *reads) if writes}
    reads = [one.cluster.reader_endpoint] if is_member(one) else []
    return {name.lower() for name in (one.address, *reads)}
