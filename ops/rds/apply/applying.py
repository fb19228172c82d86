"""rds.apply: the settings become the instance's, in as few requests as there can be."""

from __future__ import annotations

from dataclasses import replace

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Refused
from ops.rds import differences, instance, request, server
from ops.rds.apply import planning
from ops.rds.apply.planning import Plan, Step
from ops.rds.cluster import creating, pause
from ops.rds.replica import following
from ops.rds.security_group import instance_group
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable, require_usable
from ops.times import in_utc
from ops.typed_name import require_confirmation

TASK = "rds.apply"
COSTS = {"instance_class", "storage_gb", "storage_type", "multi_az", "min_acu", "max_acu"}
"""The settings that change the bill."""


def apply(settings: Settings, aws: Aws, clock: Clock, *, now: bool, dry_run: bool, confirm: str) -> Plan:
    """Change what differs; return the plan, with whether it was carried out.

    Raises `Refused` where something of it cannot be changed, `InProgress` where it can be later.
    """
    rds = settings.rds
    row = instance.require_instance(aws, rds)
    if not instance.is_ours(row, rds):
        raise Refused(f"{rds.identifier} was not made by inv: inv rds.create --adopt hands it over first")
    request.tell_ignored(rds)
    plan = planning.make(settings, aws, row, now=now)
    tell(plan)
    for step in plan.steps:
        if version := step.request.get("EngineVersion"):
            following.check_minor(aws, row, version)
    if plan.refused:
        waits = len(plan.refused) == 1 and plan.refused[0].startswith("the storage cannot be changed")
        raise (InProgress if waits else Refused)(f"nothing was changed: {'; '.join(plan.refused)}")
    if any(one.setting == "min_acu" for one in plan.changes):
        pause.check(settings, aws, TASK)
    if plan.steps and not dry_run:
        require_usable(row, TASK)
    tell_costs(settings, aws, plan)
    tell_steps(plan)
    if dry_run or not plan.steps:
        say("nothing was sent" if plan.steps else f"{rds.identifier} is as the settings say, or will be in the window")
        return plan
    changed = ", ".join(name for step in plan.steps for name in step.settings)
    require_confirmation(
        rds.identifier,
        confirm,
        this=f"this {server.of(rds).word}",
        act=f"change {changed} of {rds.identifier}",
        question=f"change {changed}. Type {rds.identifier} to go on:",
        caseless=True,
    )
    if any("VpcSecurityGroupIds" in step.request for step in plan.steps):
        vpc = str(row.get("DBSubnetGroup", {}).get("VpcId") or "")
        plan = planning.without_group_to_be(plan, instance_group.ensure_group(aws, rds, vpc))
    for step in plan.steps:
        send(settings, aws, step)
        wait(settings, aws, step, clock)
    return replace(plan, written=True)


def tell(plan: Plan) -> None:
    """Say each change with what it means, and what is waiting."""
    for one in plan.changes:
        when: str = "waits for the window already" if one.pending else one.when
        about = differences.NOT_SET.get(one.setting, one.setting)
        say(f"{about}: {one.value} -> {one.wanted} ({when}: {one.meaning})")
    for waiting in plan.pending:
        say(f"pending: {waiting.field} becomes {'a new one' if waiting.value is None else waiting.value} in the window")
    for action in plan.maintenance:
        until = f", by itself on {in_utc(action.applies_at)}" if action.applies_at else ""
        say(f"maintenance: {action.action} ({action.description or 'no description'}){until}")


def tell_costs(settings: Settings, aws: Aws, plan: Plan) -> None:
    """Say what it costs from then on, where that changes."""
    rds = settings.rds
    if not COSTS & {one.setting for one in plan.changes}:
        return
    if rds.is_cluster:
        creating.tell_costs(settings, "costs from then on")
        return
    asked = prices.Asked(rds.instance_class, rds.storage_gb, rds.storage_type, rds.multi_az)
    say(f"costs from then on: {prices.told(aws, asked)}")


def tell_steps(plan: Plan) -> None:
    """Say what is changed when."""
    for step in plan.steps:
        when = "now" if step.at_once else f"in the maintenance window, {plan.window or 'weekly'} UTC (--now: at once)"
        say(f"changed {when}: {', '.join(step.settings)}")


def send(settings: Settings, aws: Aws, step: Step) -> None:
    """Ask AWS for a step, once: where the answer was lost, it is looked."""
    client, rds = aws.client("rds"), settings.rds
    its = server.of(rds)

    def taken() -> bool | None:
        row = instance.require_instance(aws, rds)
        left = unfinished(settings, aws, row, step)
        return (not is_usable(row) or not left) or None

    try:
        calls.surely(lambda: getattr(client, its.modify)(**step.request), taken)
    except client.exceptions.ClientError as error:
        if code(error) == its.wrong_state and taken():
            return  # the call before, whose answer was lost, or another run
        raise
    say(f"asked AWS: {', '.join(step.settings)}")


def unfinished(settings: Settings, aws: Aws, row: Row, step: Step) -> list[str]:
    """Return the settings of a step that neither hold nor wait for the window."""
    found = [planning.change(row, one) for one in differences.find_differences(settings, aws, row)]
    return [one.setting for one in found if one.setting in step.settings and (step.at_once or not one.pending)]


def wait(settings: Settings, aws: Aws, step: Step, clock: Clock) -> None:
    """Wait until what was asked for at once holds; what waits for the window is not waited for."""
    if not step.at_once:
        return

    def reached(row: Row | None) -> bool:
        return row is not None and is_usable(row) and not unfinished(settings, aws, row, step)

    instance.wait_for(aws, settings.rds, Goal(TASK, reached, {**HOPELESS, **RESTING}), clock)
