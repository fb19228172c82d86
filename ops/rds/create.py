"""rds.create: makes the instance, or takes up its own where an earlier run was cut off.

There is no state but the tags in AWS: each step looks first, so a run may end
anywhere and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from config.section import refuse
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code, errors
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import hide, say
from ops.errors import Problem, Refused
from ops.rds import ca, differences, env_file, instance, lookups, request, server
from ops.rds.bastion import bastion
from ops.rds.cluster import creating, express
from ops.rds.cluster.creating import tell_costs as capacity_costs
from ops.rds.cluster.row import is_express
from ops.rds.security_group import instance_group
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable

GOAL = Goal("rds.create", is_usable, {**HOPELESS, **RESTING})
GROUP_TO_BE = "(the group that rds.create makes)"


def preflight(settings: Settings, aws: Aws, *, ask: bool, quick: bool = False) -> None:
    """Raise `Misconfigured` with everything that is wrong in settings, variables and login; `quick` is express configuration.

    Where something is, AWS is asked for the rest of it, so that one run lists all;
    where nothing is, that is left to the moment before the instance is made.
    """
    region = aws.session.region_name
    found = request.faults(settings, region)
    if quick:
        found += express.faults(settings, region)
    if ask and (none := why_no_login(aws)):
        found.append(none)
    elif ask and found and not quick and not request.region_faults(region):
        with contextlib.suppress(Problem, *errors()):
            found = lookups.look(aws, settings.rds_read[0], found).faults
    refuse("rds.create", found)


def why_no_login(aws: Aws) -> str:
    """Return what is wrong with the login, or nothing."""
    try:
        aws.login.ensure()
    except Problem as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Created:
    """The instance, and where it is reached; on a dry run what AWS would be asked for."""

    identifier: str
    """The instance's name."""
    written: bool
    """False on a dry run."""
    endpoint: str | None
    """Its host name; null on a dry run."""
    port: int | None
    """Null on a dry run."""
    request: dict[str, Any] | None
    """On a dry run the CreateDBInstance or CreateDBCluster request with AWS's own names, its password masked; else null."""


def plan_instance(settings: Settings, aws: Aws, *, quick: bool = False) -> Created:
    """Return the request as AWS would get it, its password masked; nothing is sent. `quick` is by express configuration."""
    preflight(settings, aws, ask=False, quick=quick)
    if quick:
        express.tell(settings)
        say("nothing was sent")
        return Created(
            settings.rds.identifier, False, None, None, express.build(settings, request.master(settings).user)
        )
    request.tell_ignored(settings.rds)
    wanted = request.masked(request.build(settings, aws.region, [GROUP_TO_BE]))
    if settings.rds.is_cluster:
        capacity_costs(settings)
    say("nothing was sent; AWS's own minor version and limits are looked up by rds.create itself")
    return Created(settings.rds.identifier, False, None, None, wanted)


def create_or_resume(settings: Settings, aws: Aws, clock: Clock, *, adopt: bool, quick: bool = False) -> Created:
    """Make the instance or go on with ours, wait for it, save how to reach it; `quick` makes a cluster by express configuration."""
    hide(request.master(settings).password)
    preflight(settings, aws, ask=True, quick=quick)
    if not quick:
        request.tell_ignored(settings.rds)
    env_file.check_kind(settings)
    row: Row | None = instance.find(aws, settings.rds)
    if row is None:
        row = make(settings, aws, quick=quick)
    elif quick:
        express.check_kind(row)
    if row is not None:
        take_over(settings, aws, row, adopt=adopt)
    if quick or (row is not None and is_express(row)):
        express.claim(settings, aws, clock)
    if settings.rds.is_cluster:
        creating.add_instances(settings, aws, clock, settings.rds)
    row = instance.wait_for(aws, settings.rds, GOAL, clock)
    assert row is not None
    finish(settings, row)
    if not settings.rds.public and not is_express(row):
        say(way_in(settings, aws))
    return Created(settings.rds.identifier, True, instance.host(row), instance.port(row), None)


def make(settings: Settings, aws: Aws, *, quick: bool) -> Row | None:
    """Ask AWS for what the settings are about; return the row of one that is suddenly there."""
    if quick:
        return express.make_cluster(settings, aws, request.master(settings).user)
    return (creating.make_cluster if settings.rds.is_cluster else create_instance)(settings, aws)


def create_instance(settings: Settings, aws: Aws) -> Row | None:
    """Ask AWS for the instance; return the row of one that is suddenly there."""
    rds, client = settings.rds, aws.client("rds")
    found = lookups.look(aws, rds)
    refuse("rds.create", found.faults)
    wanted = request.build(settings, aws.region, [instance_group.ensure_group(aws, rds, found.vpc)], found.version)

    def ours() -> Row | None:
        there = instance.find_instance(aws, rds.identifier)
        return there if there and instance.is_ours(there, rds) else None

    try:
        calls.surely(lambda: client.create_db_instance(**wanted), ours)
    except client.exceptions.ClientError as error:
        # another run was first
        if code(error) == "DBInstanceAlreadyExists" and (row := instance.find_instance(aws, rds.identifier)):
            return row
        raise
    kept = (
        f"your {settings.focus.names.password}"
        if request.master(settings).password
        else "made and kept by RDS, new every 7 days"
    )
    say(
        f"asked AWS for {rds.identifier}: PostgreSQL {wanted['EngineVersion']} on {rds.instance_class}, "
        f"password {kept}; this takes 5 to 15 minutes, Ctrl-C is safe"
    )
    return None


def take_over(settings: Settings, aws: Aws, row: Row, *, adopt: bool) -> None:
    """Go on with an instance that is there: ours, or one that the user hands over by --adopt."""
    rds = settings.rds
    if not instance.is_ours(row, rds):
        have = tags.from_aws(row.get("TagList"))
        if tags.is_ours(have) and have.get("Project") not in (None, rds.project):
            raise Problem(
                f"{rds.identifier} belongs to the project {have['Project']}: choose another rds.identifier (or correct rds.project)"
            )
        if not adopt:
            raise Refused(
                f"{rds.identifier} is there already, and not made by inv: choose another rds.identifier; "
                "if it is yours, inv rds.create --adopt tags it"
            )
        aws.client("rds").add_tags_to_resource(
            ResourceName=row["DBInstanceArn"], Tags=tags.to_aws(tags.of_project(rds.project))
        )
        creating.adopt(settings, aws, row)
        say(f"adopted {rds.identifier}: tagged, otherwise unchanged")
    say(f"{rds.identifier} is there already ({row['DBInstanceStatus']}): nothing is made")
    for difference in differences.find_differences(settings, aws, row):
        say(f"differs: {difference}")
    if request.master(settings).password and row.get("MasterUserSecret"):
        say(
            f"differs: RDS keeps the password of this {server.of(rds).word}, {settings.focus.names.password} is another one: unset it"
        )


def way_in(settings: Settings, aws: Aws) -> str:
    """Let our bastion in at an instance without a public address, and return how that is reached."""
    try:
        via = bastion.let_in(settings, aws)
    except Problem as error:  # the instance is there; whoever may do so opens the way
        return f"note: it has no public address, and whether there is a bastion was not looked up: {error}"
    if via:
        return f"it has no public address: the bastion is let in, by {via}"
    return "it has no public address: inv rds.bastion makes a way in, or name yours by via (docs/private.md)"


def finish(settings: Settings, row: Row) -> None:
    """Save the endpoint and fetch the certificates: all that the first connection needs here."""
    env_file.save(settings, row, force=False)
    if settings.rds.is_cluster:
        env_file.save_reader(settings, row)
    if not env_file.leads_to(settings, instance.host(row)):
        say(f"note: {instance.host(row)} does not resolve here yet; that can take some minutes")
    there = ca.bundle(settings).exists()
    if not settings.vars.get(settings.focus.names.sslrootcert) and (not there or is_express(row)):
        try:
            (ca.complete if there else ca.fetch)(settings)
        except Problem as error:  # the instance is there; the first connection tries again
            say(f"note: {error}")
