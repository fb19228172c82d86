"""A replica made, or gone on with, and known to the tasks that read there.

There is no state but the tags in AWS: each step looks first, so a run may end anywhere and the next one goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from config.section import refuse
from config.settings import Settings
from ops import calls, postgres
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Problem, Refused
from ops.rds import env_file, instance, own_password, prod
from ops.rds import request as create_request
from ops.rds.replica import names, request
from ops.rds.restore import making
from ops.rds.schedule import schedule
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable, require_usable
from ops.typed_name import require_confirmation

TASK = "rds.replica"
GROUP_TO_BE = "(the group that rds.replica makes)"
ANEW = "inv rds.replica --delete takes it away, then inv rds.replica makes it anew; the instance itself is not touched"
BAD = {
    **dict.fromkeys((*HOPELESS, *RESTING), ANEW),
    "deleting": "when it is gone, inv rds.replica makes a new one",
}
FAILED = ("error", "terminated")
"""The state of a replication that does not go on by itself (StatusInfos of DescribeDBInstances)."""
CASCADING = (14, 1)
"""From which version on a replica may have one (User Guide, "Working with read replicas for Amazon RDS for PostgreSQL")."""


@dataclass(frozen=True)
class Replica:
    """The replica of the instance."""

    identifier: str
    """Its name."""
    source: str | None
    """The instance that it follows; null where it follows none, or is gone."""
    written: bool
    """Whether AWS was asked for something: false on a dry run, and where all was so already."""
    endpoint: str | None
    """Its host name; null on a dry run, and where it is gone."""
    port: int | None
    """Null where the host name is."""
    request: dict[str, Any] | None
    """On a dry run what AWS would be asked for, with its own names; else null."""


def make(settings: Settings, aws: Aws, clock: Clock, *, confirm: str = "", dry_run: bool = False) -> Replica:
    """Have the replica there and reached, with its address in the target's variable; return it."""
    rds, name = settings.rds, names.name(settings.rds)
    source = owned(settings, aws)
    there = instance.find_instance(aws, name)
    if there is not None:
        require_following(there, settings, source)
        say(f"{name} is there already ({there['DBInstanceStatus']}): nothing is made")
    else:
        check(settings, aws, source)
        switches = own_password.is_to_be_taken_over(
            settings, source, TASK, "makes no replica of such an instance", dry_run=dry_run
        )
        tell(settings, aws, source, switches=switches)
    if dry_run:
        asked = None if there else request.build(settings, aws, source, making.group_ids(source) or [GROUP_TO_BE])
        return Replica(name, rds.identifier, False, None, None, asked)
    if there is None:
        if switches:
            ask(rds.identifier, "this instance", confirm, f"take over the password of {rds.identifier}")
            own_password.take_over(settings, aws, clock, TASK)
        send(settings, aws, source)
    row = wait_for(settings, aws, clock)
    making.connect(settings, aws, row, clock, task=TASK)
    env_file.save_replica(settings, row, hostaddr=address_of(settings, aws, row))
    return Replica(name, rds.identifier, there is None, instance.host(row), instance.port(row), None)


def address_of(settings: Settings, aws: Aws, row: Row) -> str:
    """Return the address behind the instance's name where the replica is reached by it too; a tunnel leads to the instance alone."""
    name = settings.focus.names.hostaddr
    address = settings.vars.get(name)
    if not address:
        return ""
    with prod.open_session(settings, aws, row, TASK) as conn:
        if postgres.row(conn, "select pg_catalog.pg_is_in_recovery() as follows")["follows"]:
            return address
    say(
        f"note: {name} leads to the instance and not to its replica, which is looked for by its name: add ?hostaddr= to its URL"
    )
    return ""


def owned(settings: Settings, aws: Aws) -> Row:
    """Return the row of the instance, which must be ours."""
    row = instance.require_instance(aws, settings.rds)
    if not instance.is_ours(row, settings.rds):
        raise Refused(f"{settings.rds.identifier} was not made by inv: inv rds.create --adopt hands it over first")
    return row


def require_following(row: Row, settings: Settings, source: Row) -> None:
    """Raise `Refused` for an instance of the replica's name that is not ours, or does not follow the instance."""
    names.require_ours(row, settings.rds)
    its, follows = row["DBInstanceIdentifier"], names.source_of(row)
    if not follows:
        raise names.promoted(row)
    if follows != source["DBInstanceIdentifier"]:
        raise Refused(
            f"{its} follows {follows}, not {settings.rds.identifier}: nothing was made; inv rds.replica --delete takes it away first"
        )


def check(settings: Settings, aws: Aws, source: Row) -> None:
    """Raise what AWS would refuse of a source, before anything is asked for."""
    refuse(TASK, create_request.faults(settings, aws.session.region_name))
    name = source["DBInstanceIdentifier"]
    require_usable(source, TASK)
    if (follows := names.source_of(source)) and not source.get("BackupRetentionPeriod"):
        raise Refused(
            f"{name} is a replica itself, of {follows}: set rds.identifier to that one, or make it one of its own (inv {TASK} --promote)"
        )
    if not source.get("BackupRetentionPeriod"):
        raise Refused(
            f"{name} keeps no backups, without which AWS makes no replica: set rds.backup_days, then inv rds.apply"
        )
    version = tuple(int(part) for part in str(source.get("EngineVersion", "")).split(".") if part.isdigit())
    if names.source_of(source) and version < CASCADING:
        raise Refused(f"{name} is a replica itself, which has none before PostgreSQL 14.1: nothing was made")


def tell(settings: Settings, aws: Aws, source: Row, *, switches: bool) -> None:
    """Say what it does and costs."""
    rds = settings.rds
    if switches:
        say(
            f"first: the password is that of {settings.focus.names.password} and no more kept by RDS; the secret goes, and RDS keeps "
            "none as long as there is a replica"
        )
    gb, kind = source.get("AllocatedStorage") or rds.storage_gb, source.get("StorageType") or rds.storage_type
    asked = prices.Asked(rds.instance_class, gb, kind, multi_az=False)
    if instance.unless_refused(lambda: schedule.holding(aws, source)):
        say("note: rds.schedule cannot stop it as long as it has a replica: AWS stops no instance that has one")
    say(f"costs: one more instance, {prices.told(aws, asked)}, until it is deleted")


def ask(name: str, this: str, confirm: str, act: str) -> None:
    require_confirmation(name, confirm, this=this, act=act, question=f"{act}. Type {name} to go on:", caseless=True)


def send(settings: Settings, aws: Aws, source: Row) -> None:
    """Ask AWS for the replica, once: where the answer was lost, it is looked."""
    rds, client, name = settings.rds, aws.client("rds"), names.name(settings.rds)
    asked = request.build(settings, aws, source, making.groups(settings, aws, source))

    def ours() -> Row | None:
        there = instance.find_instance(aws, name)
        return there if there and names.is_ours(there, rds) else None

    try:
        calls.surely(lambda: client.create_db_instance_read_replica(**asked), ours)
    except client.exceptions.ClientError as error:
        if code(error) == "DBInstanceAlreadyExists" and (row := instance.find_instance(aws, name)):
            names.require_ours(row, rds)  # another run was first
            return
        raise
    say(
        f"asked AWS for {name}, a replica of {rds.identifier}; this takes 10 minutes and more for much data, Ctrl-C is safe"
    )


def is_following(row: Row | None) -> bool:
    """Whether a replica can be read at; raises `Problem` where it has stopped following for good."""
    for one in (row or {}).get("StatusInfos", []):
        if one.get("StatusType") == "read replication" and one.get("Status") in FAILED:
            said = " ".join(str(one.get("Message") or "no reason is told").split())
            raise Problem(f"the replica does not follow any more ({one['Status']}: {said}): {ANEW}")
    return is_usable(row)


def wait_for(settings: Settings, aws: Aws, clock: Clock) -> Row:
    goal = Goal(TASK, is_following, BAD)
    row = instance.wait_for(aws, replace(settings.rds, identifier=names.name(settings.rds)), goal, clock)
    assert row is not None
    return row
