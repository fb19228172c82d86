"""A cluster by Aurora's express configuration: one call makes it with its instance and a gateway to the internet, in under a minute.

It lies in no network of ours and has no security group; its gateway takes connections from everywhere, port 5432 alone, and lets in by
tokens of IAM alone. What can be said at birth, what later and what never is in "Create with express configuration" (Aurora User Guide,
CHAP_GettingStartedAurora.AuroraPostgreSQL.ExpressConfig); that AWS names the instance, and takes no tags for it, is why it is tagged after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.rds import CLUSTER as ENGINE
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Refused
from ops.rds import instance
from ops.rds.cluster import creating, pause, request
from ops.rds.cluster.row import cluster_of, instances_of, is_express
from ops.rds.server import CLUSTER
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable

TASK = "rds.create"
BIRTH = 300.0
"""Seconds for which AWS is given time to make the instance; its page says that it is there within some."""
NOT_THERE = ("cn-", "us-gov-", "me-central-1", "me-south-1")
"""How the regions begin that have no express configuration: China, GovCloud (US), UAE, Bahrain."""


def build(settings: Settings, user: str) -> dict[str, Any]:
    """Return the request of CreateDBCluster: of the settings that AWS takes at birth, those that it does not choose itself.

    Without DatabaseName, which `db.setup` makes by SQL: the page takes it for a setting of birth, and people report that it is refused.
    """
    rds = settings.rds
    return {
        "DBClusterIdentifier": rds.identifier,
        "Engine": ENGINE,
        "WithExpressConfiguration": True,
        "MasterUsername": user,
        "ServerlessV2ScalingConfiguration": request.capacity(rds),
        "DeletionProtection": rds.deletion_protection,
        **({} if rds.copy_tags is None else {"CopyTagsToSnapshot": rds.copy_tags}),
        "Tags": tags.to_aws(tags.of_project(rds.project)),
    }


def lacks(settings: Settings) -> list[str]:
    """Return what a cluster made so lacks, each in words, to be said before it is made."""
    network = (
        "it lies in no network of yours and has no security group: its gateway to the internet takes connections from everywhere (IPv4), "
        "port 5432 alone, and lets in by a token of IAM alone (rds-db:connect); neither can be turned off"
    )
    return [
        network,
        "no password, so none that RDS keeps; no RDS Proxy, no function of lambda.deploy beside it, no blue/green deployment, no global database",
        "the version is AWS's default, whatever rds.engine_version says, the key AWS's own, the zone AWS's choice; it becomes no ordinary cluster later",
        "backups are kept for one day; that and the rest of the settings is changed by inv rds.apply once it is there",
        f"the database {settings.database} is made by inv db.setup -t {settings.focus.name}",
    ]


def tell(settings: Settings) -> None:
    """Say what it lacks, and what it costs."""
    for one in lacks(settings):
        say(f"express: {one}")
    creating.tell_costs(settings)


def faults(settings: Settings, region: str | None) -> Iterator[str]:
    """Yield what of the settings and variables does not go with it."""
    rds, names, get = settings.rds_read[0], settings.focus.names, settings.vars.get
    if not rds.is_cluster:
        yield f"rds.engine {rds.engine}: --express makes a cluster of Aurora, by which all tasks have to know it: set {ENGINE}"
    checks = (
        (rds.iam_auth is False, "iam_auth no", "it takes logins by IAM alone: set yes"),
        (rds.login == "password", "login password", "it takes tokens of IAM alone: set auto, or iam"),
        (not rds.public, "public no", "it is reached from the internet alone: set yes, or leave out --express"),
        (not rds.encrypted, "encrypted no", "it is always encrypted, by a key of AWS's own: set yes"),
        (
            bool(rds.subnet_group),
            f"subnet_group {rds.subnet_group}",
            "it lies in no network of yours: unset it, or leave out --express",
        ),
        (bool(rds.zone), f"zone {rds.zone}", "AWS chooses its zones: unset it"),
    )
    yield from (f"rds.{setting}: {why}" for is_wrong, setting, why in checks if is_wrong)
    if get(names.password):
        yield f"{names.password}: it has no password, and logs in by tokens of IAM alone: unset it"
    if region and region.startswith(NOT_THERE):
        yield f"AWS_DEFAULT_REGION {region}: has no express configuration: use another region, or leave out --express"


def check_kind(row: Row) -> None:
    """Raise `Refused` for a server of that name that was made otherwise: AWS makes none of it."""
    if not is_express(row):
        raise Refused(
            f"{row['DBInstanceIdentifier']} is there already, and not by express configuration, which AWS makes of no other cluster: "
            "nothing was done; leave out --express, or choose another rds.identifier"
        )


def make_cluster(settings: Settings, aws: Aws, user: str) -> Row | None:
    """Ask AWS for the cluster; return the row of one that is suddenly there. Raises `Refused` as for any other that pauses."""
    rds, client = settings.rds, aws.client("rds")
    pause.check(settings, aws, TASK)
    tell(settings)
    wanted = build(settings, user)

    def ours() -> Row | None:
        there = instance.find(aws, rds)
        return there if there and instance.is_ours(there, rds) else None

    try:
        calls.surely(lambda: client.create_db_cluster(**wanted), ours)
    except client.exceptions.ClientError as error:
        if code(error) == CLUSTER.exists and (row := instance.find(aws, rds)):  # another run was first
            check_kind(row)
            return row
        raise
    say(
        f"asked AWS for the cluster {rds.identifier} by express configuration; this takes about a minute, Ctrl-C is safe"
    )
    return None


def claim(settings: Settings, aws: Aws, clock: Clock) -> None:
    """Wait for the instance that AWS makes by the same call, and tag it as ours; where none comes, it is left to be made by another."""
    rds, begun = settings.rds, clock.monotonic()

    def there(row: Row | None) -> bool:
        alone = row is not None and (cluster_of(row) or {}).get("Status") == "available" and not instances_of(row)
        return is_usable(row) or (alone and clock.monotonic() - begun >= BIRTH)

    row = instance.wait_for(aws, rds, Goal(TASK, there, {**HOPELESS, **RESTING}), clock)
    assert row is not None
    if not creating.is_made_by_aws(row):
        return
    [writer, *_] = instances_of(row)
    its = tags.to_aws(tags.of_project(rds.project))
    aws.client("rds").add_tags_to_resource(ResourceName=writer["DBInstanceArn"], Tags=its)
    say(f"its instance {writer['DBInstanceIdentifier']}, which AWS has made and named, is tagged")
