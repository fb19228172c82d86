"""The plan of rds.apply: each difference with what changing it means, what is refused, and the requests in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from config.settings import Settings
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.rds import differences, instance, lookups, request, server
from ops.rds.apply import limits
from ops.rds.apply.meaning import BACKUPS_ON_OFF, IN_STORAGE, MEANINGS, OF_CLUSTER, OF_EXPRESS, Meaning, When
from ops.rds.cluster.row import cluster_of, is_express
from ops.rds.differences import Difference
from ops.rds.instance import Pending
from ops.rds.security_group import instance_group

RENAMED = {"Port": "DBPortNumber"}
"""What ModifyDBInstance calls otherwise than CreateDBInstance."""
GROUP_TO_BE = "(the group that rds.apply makes)"


@dataclass(frozen=True)
class Change:
    """A difference, and what changing it means."""

    setting: str
    """Its key below rds: in invoke.yaml, or master_user, database, port, security_group."""
    value: str | None
    """What the instance has."""
    wanted: str
    """What the settings say."""
    when: When
    """In which way it is changed; window and restart are made now by --now."""
    meaning: str
    """In words."""
    pending: bool
    """Whether AWS has it already, for the maintenance window."""


@dataclass(frozen=True)
class Maintenance:
    """What AWS wants to do to the instance itself."""

    action: str
    """In RDS's word: system-update, db-upgrade, and so on."""
    description: str | None
    """In AWS's words."""
    applies_at: datetime | None
    """When AWS does it by itself; null where it is left to you."""


@dataclass(frozen=True)
class Step:
    """A request of ModifyDBInstance, or of ModifyDBCluster."""

    at_once: bool
    """Whether it is made now, not in the maintenance window."""
    settings: list[str]
    """What it changes."""
    request: dict[str, Any]
    """Its fields, by AWS's own names."""


@dataclass(frozen=True)
class Plan:
    """What rds.apply does, or has done."""

    identifier: str
    """The instance's name."""
    window: str | None
    """The weekly maintenance window, in UTC, as RDS writes it."""
    changes: list[Change]
    """All differences."""
    pending: list[Pending]
    """What AWS changes in the next window, by whoever asked for it."""
    maintenance: list[Maintenance]
    """What AWS wants to do itself."""
    refused: list[str]
    """Why nothing is changed, each in words; empty where all can be."""
    steps: list[Step]
    """The requests, in their order."""
    written: bool
    """Whether they were sent."""


def make(settings: Settings, aws: Aws, row: Row, *, now: bool) -> Plan:
    """Look at the instance and return the plan; nothing is written."""
    rds = settings.rds
    faults = request.faults(settings, aws.session.region_name)
    found = lookups.Found()
    differ = differences.find_differences(settings, aws, row)
    named = {one.setting for one in differ}
    if named & {"engine_version", "instance_class", *IN_STORAGE, "multi_az", "min_acu", "max_acu"}:
        lookups.optional("the engine version", lookups.version, aws, rds, found)
    changes = [change(row, one) for one in differ]
    refused = [*faults, *found.faults, *refusals(changes, now=now)]
    if found.version and named & {"instance_class", "storage_type", "multi_az"}:
        runs = str(row.get("EngineVersion") or found.version)
        refused += limits.class_faults(aws, rds, row, runs)
    todo = [one for one in changes if not one.pending or now]
    if any(one.setting in IN_STORAGE for one in todo) and (until := limits.storage_until(aws, row)):
        refused.append(f"the storage cannot be changed {until}: run this again then")
    pending = instance.pending(row)
    steps = [] if refused else list(make_steps(settings, aws, row, todo, found.version, now=now))
    return Plan(
        rds.identifier,
        row.get("PreferredMaintenanceWindow"),
        changes,
        pending,
        maintenance(aws, row),
        refused,
        steps,
        False,
    )


def change(row: Row, one: Difference) -> Change:
    """Return what a difference means."""
    about = OF_CLUSTER.get(one.setting) if cluster_of(row) else None
    about = (OF_EXPRESS.get(one.setting) if is_express(row) else None) or about or meaning(one)
    _, path = differences.PATHS.get(one.setting, ("", ""))
    waiting = row.get("PendingModifiedValues", {}).get(path.rpartition(".")[2])
    pending = waiting is not None and differences.plain(waiting) == one.wanted
    return Change(one.setting, one.value, one.wanted, about.when, about.words, pending)


def meaning(one: Difference) -> Meaning:
    """Return what changing it means; some depend on the values."""
    have, want = one.value or "", one.wanted
    if one.setting == "storage_gb" and int(want) < int(have):
        return Meaning(
            "never", f"storage does not shrink: set rds.storage_gb to {have}, or dump the data into a smaller instance"
        )
    if one.setting == "engine_version":
        old, new = lookups.numbers(have), lookups.numbers(want)
        if new[:1] != old[:1]:
            return Meaning(
                "never", f"another major version is a migration of its own: set rds.engine_version to {old[0]}"
            )
        if new < old:
            return Meaning("never", f"no version goes back: set rds.engine_version to {have}, or to {old[0]}")
    if one.setting == "backup_days" and "0" in (have, want):
        return BACKUPS_ON_OFF
    return MEANINGS[one.setting]


def refusals(changes: Iterable[Change], *, now: bool) -> Iterator[str]:
    """Yield why nothing is changed."""
    for one in changes:
        about = differences.NOT_SET.get(one.setting, f"rds.{one.setting}")
        if one.when == "never":
            yield f"{about} is {one.value}, not {one.wanted}: {one.meaning}"
        if one.setting == "port" and not now:
            yield f"{about} becomes {one.wanted}: AWS restarts it at once for that, whatever is asked: add --now"


def maintenance(aws: Aws, row: Row) -> list[Maintenance]:
    """Return what AWS wants to do to the instance (DescribePendingMaintenanceActions)."""

    def look_up() -> list[Maintenance]:
        pages = (
            aws.client("rds")
            .get_paginator("describe_pending_maintenance_actions")
            .paginate(ResourceIdentifier=row["DBInstanceArn"])
        )
        found = [
            action
            for page in pages
            for resource in page["PendingMaintenanceActions"]
            for action in resource.get("PendingMaintenanceActionDetails", [])
        ]
        return [
            Maintenance(
                str(one.get("Action", "")),
                one.get("Description"),
                one.get("CurrentApplyDate") or one.get("AutoAppliedAfterDate") or one.get("ForcedApplyDate"),
            )
            for one in found
        ]

    return lookups.asked("pending maintenance", look_up, [])


def make_steps(
    settings: Settings, aws: Aws, row: Row, changes: list[Change], version: str, *, now: bool
) -> Iterator[Step]:
    """Yield as few requests as there can be: one where all is made now or all waits, else two.

    What is asked for at once brings along whatever waits for the window (User Guide, "Using the schedule modifications
    setting"): where something does, the rest waits with it, unless `now`.
    """
    quiet = [one for one in changes if one.when == "at once"]
    later = [one for one in changes if one.when != "at once"]
    queued = bool(row.get("PendingModifiedValues"))
    if now or not queued:
        together = [*quiet, *later] if now else quiet
        if together:
            yield step(settings, aws, row, together, version, at_once=True)
        later = [] if now else later
    else:
        later = [*quiet, *later]
    if later:
        yield step(settings, aws, row, later, version, at_once=False)


def step(settings: Settings, aws: Aws, row: Row, changes: list[Change], version: str, *, at_once: bool) -> Step:
    """Return the request that makes these changes."""
    wanted = request.build(settings, aws.region, [], version)
    names = {one.setting for one in changes}
    its, known = server.of(settings.rds), differences.compared(settings)
    fields = {known[name][0].partition(".")[0] for name in names if name in known}
    if names & set(IN_STORAGE):  # provisioned storage wants its numbers with each of them
        fields |= (
            {"AllocatedStorage", "Iops", "StorageThroughput"} if settings.rds.iops or settings.rds.throughput else set()
        )
    if names & {"insights_mode", "insights_days"}:  # each is checked against the others
        fields |= {"EnablePerformanceInsights", "PerformanceInsightsRetentionPeriod", "DatabaseInsightsMode"}
    renamed = {} if settings.rds.is_cluster else RENAMED
    asked = {renamed.get(name, name): wanted[name] for name in sorted(fields) if name in wanted}
    if "AllocatedStorage" in asked:
        asked["AllocatedStorage"] = max(asked["AllocatedStorage"], row.get("AllocatedStorage", 0))
    if "security_group" in names:
        asked["VpcSecurityGroupIds"] = [
            *(str(one["VpcSecurityGroupId"]) for one in row.get("VpcSecurityGroups", [])),
            *(own_groups(settings, aws) or [GROUP_TO_BE]),
        ]
    return Step(at_once, sorted(names), {**asked, its.name: settings.rds.identifier, "ApplyImmediately": at_once})


def own_groups(settings: Settings, aws: Aws) -> list[str]:
    return [str(one["GroupId"]) for one in instance_group.own_group(settings.rds).find(aws.client("ec2"))][:1]


def without_group_to_be(plan: Plan, group: str) -> Plan:
    """Return the plan with the group that has been made in place of its name."""
    steps = []
    for one in plan.steps:
        ids = one.request.get("VpcSecurityGroupIds")
        more = {"VpcSecurityGroupIds": [group if each == GROUP_TO_BE else each for each in ids]} if ids else {}
        steps.append(replace(one, request={**one.request, **more}))
    return replace(plan, steps=steps)
