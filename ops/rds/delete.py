"""rds.delete: the instance, its group and what was saved about it; the data stays in a final snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Problem, Refused
from ops.rds import env_file, instance, lookups, protection, server, snapshot_kinds
from ops.rds.cluster import deleting
from ops.rds.cluster.row import instances_of
from ops.rds.proxy import standing
from ops.rds.proxy.standing import Before
from ops.rds.replica import following
from ops.rds.security_group import instance_group
from ops.rds.server import INSTANCE
from ops.rds.waiting import Goal, is_gone
from ops.typed_name import require_confirmation

GOAL = Goal("rds.delete", is_gone, {})
Stands = Callable[[Row, list[Before]], Iterable[str]]
"""Tells what stands without a database then; what deploys functions knows of them."""


def delete_instance(
    settings: Settings,
    aws: Aws,
    clock: Clock,
    *,
    confirm: str,
    snapshot: bool,
    dry_run: bool = False,
    stands: Stands = lambda *_: (),
) -> str:
    """Delete the instance and all that belongs to it; return what to tell."""
    rds = settings.rds
    its = server.of(rds)
    env_file.check_kind(settings)
    row = instance.find(aws, rds)
    if row is not None and not instance.is_ours(row, rds):
        raise Refused(f"{rds.identifier} was not made by inv: inv rds.create --adopt hands it over, then delete it")
    host = instance.host(row) if row else settings.vars.saved.get(settings.focus.names.endpoint, "")
    if row is not None and rds.is_cluster:
        deleting.check(settings, aws, row, snapshot=snapshot)
    elif row is not None and row["DBInstanceStatus"] != "deleting":
        following.check_deletion(aws, rds, row)
    if row is not None and row["DBInstanceStatus"] != "deleting":
        tell_left_alone(aws, row, stands)
    if dry_run:
        return planned(settings, row, snapshot=snapshot)
    require_confirmation(
        rds.identifier,
        confirm,
        this=f"this {its.word}",
        act=f"delete {rds.identifier}",
        question=f"delete the {its.word} {rds.identifier}. Type its name to go on:",
        caseless=True,
    )
    if row is not None:
        act = deleting.delete_all if rds.is_cluster else delete_and_wait
        last = act(settings, aws, row, snapshot=snapshot)
        instance.wait_for(aws, rds, GOAL, clock)
        if last:
            instance.wait_for_snapshot(aws, rds, last, clock)
            say(f"its data is in the snapshot {last}")
    if rds.is_cluster:
        env_file.forget_replica(settings, rds.identifier)
    if host.startswith(f"{rds.identifier}."):  # never the endpoint of another instance
        env_file.clear(settings, host)
    instance_group.remove_group(aws, rds, sleep=clock.sleep)
    return (
        f"{rds.identifier} is deleted"
        if row
        else f"there is no {its.word} {rds.identifier}: what was left of it is gone"
    )


def tell_left_alone(aws: Aws, row: Row, stands: Stands) -> None:
    """Say what will stand without a database."""
    none: list[Before] = []
    proxies = lookups.asked("whether a proxy leads there", lambda: standing.before(aws, row), none)
    for one in proxies:
        say(f"note: the proxy {one.name} leads there, to nothing then, and goes on to cost")
    for told in stands(row, proxies):
        say(f"note: {told}")


def planned(settings: Settings, row: Row | None, *, snapshot: bool) -> str:
    """Return what a run would do."""
    rds = settings.rds
    if row is None:
        return f"nothing was done: there is no {server.of(rds).word} {rds.identifier}, and what is left of it would be taken away"
    its = "its data would stay in a final snapshot" if snapshot else "its data would go with it"
    first = "its deletion protection would be lifted, then " if row.get("DeletionProtection") else ""
    members = ", ".join(one["DBInstanceIdentifier"] for one in reversed(instances_of(row)))
    return f"nothing was done: {first}{members}{' and ' if members else ''}{rds.identifier} would be deleted with its security group; {its}"


def delete_and_wait(settings: Settings, aws: Aws, row: Row, *, snapshot: bool) -> str:
    """Lift the protection and ask AWS to delete the instance, unless it is at that already.

    Return the name of the final snapshot that this run asked for.
    """
    rds = settings.rds
    if row["DBInstanceStatus"] == "deleting":
        say(f"{rds.identifier} is being deleted already")
        return ""
    if row.get("DeletionProtection") and row["DBInstanceStatus"] in ("stopped", "stopping"):
        raise Problem(
            f"{rds.identifier} is {row['DBInstanceStatus']}, and AWS lifts no protection then: inv rds.start, then this again"
        )
    with protection.lift(aws, INSTANCE, row):
        return ask_for_deletion(settings, aws, row, snapshot=snapshot)


def ask_for_deletion(settings: Settings, aws: Aws, row: Row, *, snapshot: bool) -> str:
    """Ask AWS to delete the instance; return the name of the final snapshot."""
    rds, client = settings.rds, aws.client("rds")
    name = instance.snapshot_name(rds, "final")
    last = {"FinalDBSnapshotIdentifier": name} if snapshot else {"SkipFinalSnapshot": True}
    try:
        calls.surely(
            lambda: client.delete_db_instance(DBInstanceIdentifier=rds.identifier, **last),
            lambda: is_being_deleted(aws, settings) or None,
        )
    except client.exceptions.ClientError as error:
        if code(error) == "DBInstanceNotFound" or is_being_deleted(aws, settings):  # another run was first
            return name if snapshot and snapshot_kinds.of(rds).find(aws, name) else ""
        if code(error) == "InvalidParameterCombination":  # it is lifted a moment after AWS has said yes to that
            said = error.response["Error"].get("Message", "")
            raise InProgress(
                f"AWS does not delete {rds.identifier} yet ({said}): run inv rds.delete again in a minute"
            ) from error
        if code(error) == "InvalidDBInstanceState" and snapshot:
            raise Problem(
                f"{rds.identifier} is {row['DBInstanceStatus']} and cannot be saved in a snapshot now: wait until it is "
                "available, or inv rds.delete --no-snapshot"
            ) from error
        raise
    say(f"asked AWS to delete {rds.identifier}" + ("" if snapshot else "; its data goes with it"))
    return name if snapshot else ""


def is_being_deleted(aws: Aws, settings: Settings) -> bool:
    row = instance.find(aws, settings.rds)
    return row is None or row["DBInstanceStatus"] == "deleting"
