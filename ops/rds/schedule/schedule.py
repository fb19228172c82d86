"""rds.schedule: an instance that runs only while it is needed, by EventBridge Scheduler.

Two schedules in a group of the instance's own, which bears our tags; each calls RDS itself ("Using universal targets", Scheduler's
user guide). AWS starts a stopped instance after seven days: the next --stop ends that, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from ops.aws import Aws
from ops.cloud import steps, tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.cloud.steps import Request, Step
from ops.console import say
from ops.errors import InProgress, Refused
from ops.rds import instance
from ops.rds.schedule import own_role
from ops.rds.schedule.own_role import Names
from ops.rds.schedule.times import WEEK, Schedule, Times, words

STOP, START = "stop", "start"
CALLS = {STOP: "stopDBInstance", START: "startDBInstance"}
PATIENCE = {"MaximumEventAgeInSeconds": 900, "MaximumRetryAttempts": 5}
"""An instance that is backed up just then cannot be stopped; a quarter of an hour later somebody may want it again."""
FRESH, PAUSE = 90.0, 5.0
"""Seconds for which a new role is not known everywhere, and between two tries meanwhile."""
NO_TRUST = "execution role"
"""Words of Scheduler's where it cannot take the role: ValidationException, as for anything else that is wrong."""


@dataclass(frozen=True)
class Scheduled:
    """What rds.schedule has done, or would do."""

    identifier: str
    """The instance's name."""
    written: bool
    """False on a dry run, and where nothing was to be done."""
    schedule: Schedule | None
    """What holds after it; null where there is none."""
    requests: list[Request]
    """What AWS was asked, or would be, in this order."""


def put(settings: Settings, aws: Aws, clock: Clock, times: Times, *, dry_run: bool) -> Scheduled:
    """Have the instance stop and start at these times; what is so already is left."""
    row = owned(settings, aws)
    of = own_role.names(row)
    todo = group_steps(aws, of, settings.rds.project) + own_role.steps(aws, of, settings.rds.project)
    todo += [step for kind in CALLS for step in schedule_steps(aws, of, kind, times)]
    say(
        "cost: nothing to speak of, 14 million calls a month are free; an instance that is stopped is not billed, "
        "its storage, backups and public address are"
    )
    if following := row.get("ReadReplicaDBInstanceIdentifiers"):
        say(f"note: AWS stops no instance that has a replica ({', '.join(following)}): inv rds.replica --delete first")
    if not dry_run:
        carry_out(aws, todo, clock)
    holds = Schedule(times.stop or None, times.start or None, list(times.days), times.zone)
    return Scheduled(of.identifier, bool(todo) and not dry_run, holds, [step.request for step in todo])


def delete(settings: Settings, aws: Aws, *, dry_run: bool) -> Scheduled:
    """Take both schedules and their role away; the instance stays as it is."""
    row = instance.find_instance(aws, settings.rds.identifier)
    of = own_role.names(row) if row else own_role.Names(arn_of(settings, aws))
    todo = []
    if group_of(aws, of):
        gone = ("ResourceNotFoundException",)
        request = Request("scheduler", "DeleteScheduleGroup", {"Name": of.group})
        todo.append(Step(f"schedules of {of.identifier}: removed", request, gone))
    todo += own_role.removal(aws, of)
    if not dry_run:
        steps.carry_out(aws, todo)
    return Scheduled(of.identifier, bool(todo) and not dry_run, None, [step.request for step in todo])


def arn_of(settings: Settings, aws: Aws) -> str:
    """Return the ARN of an instance that is gone: the caller's account is the one it was in."""
    identity = aws.client("sts").get_caller_identity()["Arn"].split(":")
    return f"arn:{identity[1]}:rds:{aws.region}:{identity[4]}:db:{settings.rds.identifier}"


def owned(settings: Settings, aws: Aws) -> Row:
    """Return the row of the instance, which must be ours."""
    row = instance.require_instance(aws, settings.rds)
    if not instance.is_ours(row, settings.rds):
        raise Refused(f"{settings.rds.identifier} was not made by inv: inv rds.create --adopt hands it over first")
    return row


# --- what is there ------------------------------------------------------------------------


def group_of(aws: Aws, of: Names) -> dict[str, Any] | None:
    """Return the group of the instance's schedules, or None; raises `Refused` for one of that name which is not ours."""
    client = aws.client("scheduler")
    try:
        group: dict[str, Any] = client.get_schedule_group(Name=of.group)
        have = tags.from_aws(client.list_tags_for_resource(ResourceArn=group["Arn"])["Tags"])
    except client.exceptions.ResourceNotFoundException:
        return None
    if not own_role.is_ours(of, have):
        raise Refused(
            f"the schedule group {of.group} is not ours: remove it, or tag it ManagedBy={tags.MANAGED_BY} and "
            f"{tags.INSTANCE}={of.identifier}"
        )
    if group.get("State") == "DELETING":
        raise InProgress(f"the schedules of {of.identifier} are just being removed: run this again in a minute")
    return group


def find(aws: Aws, of: Names, kind: str) -> dict[str, Any] | None:
    """Return one of the two schedules as Scheduler describes it, or None."""
    client = aws.client("scheduler")
    try:
        found: dict[str, Any] = client.get_schedule(GroupName=of.group, Name=kind)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found


def holding(aws: Aws, row: Row) -> Schedule | None:
    """Return when an instance is stopped and started by our schedules, for rds.status; None where it is not."""
    of = own_role.names(row)
    if group_of(aws, of) is None:
        return None
    found = {kind: one for kind in CALLS if (one := find(aws, of, kind))}
    if not found:
        return None
    read = {kind: of_cron(str(one["ScheduleExpression"])) for kind, one in found.items()}
    days = next(iter(read.values()))[1]
    zone = str(next(iter(found.values())).get("ScheduleExpressionTimezone") or "UTC")
    return Schedule(read.get(STOP, ("",))[0] or None, read.get(START, ("",))[0] or None, days, zone)


def of_cron(text: str) -> tuple[str, list[str]]:
    """Return time and days of a cron expression of ours; one that somebody has changed is shown as it is."""
    parts = text.removeprefix("cron(").removesuffix(")").split()
    try:
        time = f"{int(parts[1]):02}:{int(parts[0]):02}"
    except (ValueError, IndexError):
        return text, []
    return time, list(WEEK) if parts[4] == "*" else parts[4].lower().split(",")


# --- what is to be done -------------------------------------------------------------------


def group_steps(aws: Aws, of: Names, project: str) -> list[Step]:
    """Return what makes the group, if it is not there."""
    if group_of(aws, of):
        return []
    request = Request(
        "scheduler", "CreateScheduleGroup", {"Name": of.group, "Tags": tags.to_aws(own_role.marks(of, project))}
    )
    there = lambda: group_of(aws, of) is not None  # noqa: E731 - asked later
    return [Step(f"schedule group {of.group}: made", request, ("ConflictException",), there)]


def wanted(of: Names, kind: str, times: Times) -> dict[str, Any]:
    """Return one of the two schedules as it should be."""
    return {
        "Name": kind,
        "GroupName": of.group,
        "ScheduleExpression": times.cron(times.stop if kind == STOP else times.start),
        "ScheduleExpressionTimezone": times.zone,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Description": f"{kind} {of.identifier} (inv rds.schedule)",
        "Target": {
            "Arn": f"arn:{of.partition}:scheduler:::aws-sdk:rds:{CALLS[kind]}",
            "RoleArn": of.role_arn,
            "Input": json.dumps({"DbInstanceIdentifier": of.identifier}),
            "RetryPolicy": dict(PATIENCE),
        },
    }


def schedule_steps(aws: Aws, of: Names, kind: str, times: Times) -> list[Step]:
    """Return what makes one of the two as it should be, or takes it away."""
    have, time = find(aws, of, kind), times.stop if kind == STOP else times.start
    if not time:
        if have is None:
            return []
        request = Request("scheduler", "DeleteSchedule", {"GroupName": of.group, "Name": kind})
        return [Step(f"{kind}: no more", request, ("ResourceNotFoundException",))]
    want = wanted(of, kind, times)
    if have is not None and {name: have.get(name) for name in want} == want:
        return []
    said = f"{kind}: at {time} ({times.zone}), {times.shown}"
    if have is None:
        return [Step(said, Request("scheduler", "CreateSchedule", want), ("ConflictException",))]
    return [Step(said, Request("scheduler", "UpdateSchedule", want))]


def carry_out(aws: Aws, todo: Sequence[Step], clock: Clock) -> None:
    """Make the calls; Scheduler looks whether it can take the role, which a new one takes a while for."""
    begun = clock.monotonic()
    for step in todo:
        while True:
            try:
                steps.carry_out(aws, [step])
            except aws.client("scheduler").exceptions.ValidationException as error:
                early = clock.monotonic() - begun < FRESH
                if not early or NO_TRUST not in str(error):
                    raise
                clock.sleep(PAUSE)
                continue
            break


def told(done: Scheduled) -> str:
    """Return what to tell."""
    if done.schedule is None:
        return f"{done.identifier} is neither stopped nor started by a schedule"
    return f"{done.identifier}: {words(done.schedule)}"
