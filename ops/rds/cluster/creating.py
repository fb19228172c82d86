"""A cluster of Aurora made: the cluster by one call, each of its instances by another.

"For an Aurora DB cluster, CreateDBCluster creates the cluster, and CreateDBInstance its first instance" (Aurora User Guide, "Creating an
Amazon Aurora DB cluster"). A run that is cut off between them leaves a cluster to which nobody can connect, and the next one goes on.
"""

from __future__ import annotations

from config.rds import Rds
from config.section import refuse
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import prices, tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Refused
from ops.rds import instance, lookups, request
from ops.rds.cluster import pause
from ops.rds.cluster import request as asked_for
from ops.rds.cluster.row import cluster_of, instances_of, is_express
from ops.rds.security_group import instance_group
from ops.rds.server import CLUSTER, INSTANCE
from ops.rds.waiting import ALONE, HOPELESS, RESTING, Goal

TASK = "rds.create"
EXPRESS_ALONE = "WithExpressConfiguration"
"""What AWS names in refusing an account of the free plan another cluster ("you need to set WithExpressConfiguration", as people report it)."""
NOT_OF_EXPRESS = ("PubliclyAccessible", "AvailabilityZone")


def tell_costs(settings: Settings, what: str = "costs") -> None:
    """Say what the cluster costs a month."""
    rds = settings.rds
    say(f"{what}: {prices.of_capacity(rds.min_acu, rds.max_acu, asked_for.wanted(rds))}")


def make_cluster(settings: Settings, aws: Aws) -> Row | None:
    """Ask AWS for the cluster, without any instance yet; return the row of one that is suddenly there."""
    rds, client = settings.rds, aws.client("rds")
    found = lookups.look(aws, rds)
    refuse(TASK, found.faults)
    pause.check(settings, aws, TASK)
    check_names(aws, rds, "set another rds.identifier")
    tell_costs(settings)
    wanted = request.build(settings, aws.region, [instance_group.ensure_group(aws, rds, found.vpc)], found.version)

    def ours() -> Row | None:
        there = instance.find(aws, rds)
        return there if there and instance.is_ours(there, rds) else None

    try:
        calls.surely(lambda: client.create_db_cluster(**wanted), ours)
    except client.exceptions.ClientError as error:
        if code(error) == CLUSTER.exists and (row := instance.find(aws, rds)):  # another run was first
            return row
        if EXPRESS_ALONE in error.response["Error"].get("Message", ""):
            raise Refused(
                "AWS takes no other cluster of this account than by express configuration, as it is on the free plan: inv rds.create --express "
                "makes one (with --dry-run it says what that lacks); or upgrade the account's plan"
            ) from error
        raise
    say(f"asked AWS for the cluster {rds.identifier}: PostgreSQL {wanted['EngineVersion']} on Aurora")
    return None


def names(rds: Rds, taken: tuple[str, ...]) -> list[str]:
    """Return the names for the instances that are still to be made."""
    missing = asked_for.wanted(rds) - len(taken)
    every = (f"{rds.identifier}-{number}" for number in range(1, 10))
    return [name for name in every if name not in taken][: max(0, missing)]


def check_names(aws: Aws, rds: Rds, advice: str) -> None:
    """Raise `Refused` where somebody else's instance has a name that one of a new cluster's is to get."""
    for name in names(rds, ()):
        check_free(aws, rds, name, advice)


def check_free(aws: Aws, rds: Rds, name: str, advice: str) -> None:
    """Raise `Refused` where somebody else's instance has a name that the cluster's is to get."""
    there = instance.find_instance(aws, name)
    if there is not None and there.get("DBClusterIdentifier") != rds.identifier:
        raise Refused(
            f"the instance {name} is there already, and not of the cluster {rds.identifier}: nothing was done; {advice}"
        )


def add_instances(settings: Settings, aws: Aws, clock: Clock, rds: Rds, task: str = TASK) -> None:
    """Ask AWS for the instances that a cluster still lacks, once it takes some; `rds` names that one, which need not be the settings'."""
    bad = {**HOPELESS, **RESTING}

    def takes_some(row: Row | None) -> bool:
        return row is not None and (cluster_of(row) or {}).get("Status") == "available"

    row = instance.wait_for(aws, rds, Goal(task, takes_some, bad), clock)
    assert row is not None
    have = tuple(one["DBInstanceIdentifier"] for one in instances_of(row))
    for name in names(rds, have):
        if have and row["DBInstanceStatus"] != ALONE:
            tell_costs(settings, "costs with another instance")
        add(aws, rds, name, first=not have, express=is_express(row))
        have = (*have, name)


def add(aws: Aws, rds: Rds, name: str, *, first: bool, express: bool = False) -> None:
    """Ask AWS for one instance of the cluster, which may be one by express configuration."""
    client = aws.client("rds")
    wanted = asked_for.instance(rds, name, aws.region, first=first)
    if express:  # in no network, by whose choice the zones are AWS's
        wanted = {field: value for field, value in wanted.items() if field not in NOT_OF_EXPRESS}

    def there() -> Row | None:
        row = instance.find_instance(aws, name)
        return row if row and row.get("DBClusterIdentifier") == rds.identifier else None

    check_free(aws, rds, name, "give it another name, then run this again")
    try:
        calls.surely(lambda: client.create_db_instance(**wanted), there)
    except client.exceptions.ClientError as error:
        if code(error) != INSTANCE.exists or not there():  # another run was first
            raise
        return
    what = "writes" if first else "reads"
    say(f"asked AWS for its instance {name}, which {what}; this takes 5 to 15 minutes, Ctrl-C is safe")


def adopt(settings: Settings, aws: Aws, row: Row) -> None:
    """Tag the instances of a cluster that is handed over, too; an instance has none."""
    for one in untagged(row):
        aws.client("rds").add_tags_to_resource(
            ResourceName=one["DBInstanceArn"], Tags=tags.to_aws(tags.of_project(settings.rds.project))
        )


def strangers(row: Row) -> list[Row]:
    """Return the instances of a cluster that somebody else has made in it."""
    return untagged(row)[1 if is_made_by_aws(row) else 0 :]


def untagged(row: Row) -> list[Row]:
    """Return the instances of a cluster that do not carry our tag, the one that writes first."""
    return [one for one in instances_of(row) if not tags.is_ours(tags.from_aws(one.get("TagList")))]


def is_made_by_aws(row: Row) -> bool:
    """Whether the instance that writes is the one that came with a cluster by express configuration, and was not tagged yet."""
    return is_express(row) and bool(instances_of(row)) and len(untagged(row)) == len(instances_of(row))
