"""rds.bastion: made, started, taken away; there is no state but tags in AWS, so a run may end anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.cloud.steps import Work
from ops.console import say
from ops.env.variables import forget, store
from ops.rds import instance
from ops.rds.bastion import door, machine, parts, place, role
from ops.rds.security_group import location


@dataclass(frozen=True)
class Bastion:
    """The machine by which Session Manager leads to the instance."""

    machine: str | None
    """Its id; null where it is not there, or only would be made."""
    via: str | None
    """What the target's via takes; null as `machine`."""
    written: bool
    """False on a dry run: then `done` is what would be done."""
    done: list[str]
    """What was done to AWS, each as an imperative; nothing where all was there."""


def make(settings: Settings, aws: Aws, clock: Clock, *, dry_run: bool) -> Bastion:
    """Have the bastion of the instance, running and let in; raises `Misconfigured` where Session Manager would not reach it."""
    mine, work = parts.of(settings.rds), Work(not dry_run)
    with speaking():
        row = instance.require_instance(aws, settings.rds)
        at = location.find_location(aws, settings)
        where = place.find_place(aws, row)
        say(f"the bastion costs {prices.of_machine(parts.CLASS, parts.DISK_GB, public=where.public)}")
        group = door.ensure_group(aws, mine, where.vpc, work)
        role.ensure_role(aws, mine, work)
        made = machine.ensure_machine(aws, mine, where, group, work, clock)
        door.ensure_rule(aws, mine, group, at.group, at.port, work)
        if made and work.write:
            machine.wait_for(aws, made, ("running",), clock)
    via = f"ssm://{made}" if made else None
    if via and work.write:
        save(settings, via)
    return Bastion(made or None, via, work.write, work.done)


def save(settings: Settings, via: str) -> None:
    """Save the way, unless another one is somebody's decision."""
    name = settings.focus.names.via
    have = settings.vars.get(name)
    if have == via:
        return
    if have and not have.startswith("ssm://"):
        say(f"note: {name} names {have}, kept: inv env.set {name} with {via} takes the bastion")
        return
    store(settings, name, via)


def remove(settings: Settings, aws: Aws, clock: Clock, *, dry_run: bool) -> Bastion:
    """Take away all that `make` has made, and what was saved of it."""
    mine, work = parts.of(settings.rds), Work(not dry_run)
    with speaking():
        there = [str(row["InstanceId"]) for row in machine.find_machines(aws, mine)]
        machine.remove_machines(aws, mine, work, clock)
        door.remove_group(aws, mine, work, clock)
        role.remove_role(aws, mine, work)
    name = settings.focus.names.via
    if work.write and settings.vars.saved.get(name) in {f"ssm://{each}" for each in there}:
        forget(settings, name)
    return Bastion(None, None, work.write, work.done)


def let_in(settings: Settings, aws: Aws) -> str:
    """Let our bastion in at the instance's door where there is one; return how it is reached, or nothing."""
    mine, work = parts.of(settings.rds), Work(write=True)
    with speaking():
        there = machine.find_machines(aws, mine)
        if not there:
            return ""
        groups = mine.group.find(aws.client("ec2"))
        at = location.find_location(aws, settings)
        if groups:
            door.ensure_rule(aws, mine, str(groups[0]["GroupId"]), at.group, at.port, work)
    return f"ssm://{there[0]['InstanceId']}"
