"""What was made beside an instance and outlives it: named after rds.delete, with what takes it away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from config.settings import Settings
from ops.console import say
from ops.errors import Problem
from ops.rds.alarms import alarms
from ops.rds.bastion import machine, parts
from ops.rds.proxy import parts as proxies
from ops.rds.proxy import standing
from ops.rds.schedule import schedule
from ops.rds.schedule.own_role import Names

if TYPE_CHECKING:
    from ops.aws import Aws


def tell(settings: Settings, aws: Aws) -> None:
    """Say which of the others' parts are left; what this login may not ask is left out, since it has not made it."""
    found = [told for look in (bastion, clock, watchers, proxy) if (told := asked(look, settings, aws))]
    for told in found:
        say(f"left: {told}")


def asked(look: Callable[[Settings, Aws], str], settings: Settings, aws: Aws) -> str:
    """Return what a look has found; nothing where AWS, or the rights there, do not let it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return look(settings, aws)
    except (BotoCoreError, ClientError, Problem):
        return ""


def bastion(settings: Settings, aws: Aws) -> str:
    there = machine.find_machines(aws, parts.of(settings.rds))
    return f"the bastion {there[0]['InstanceId']}, which costs: inv rds.bastion --delete" if there else ""


def proxy(settings: Settings, aws: Aws) -> str:
    there = standing.find(aws, proxies.of(settings.rds, aws.region))
    return f"the proxy {there['DBProxyName']}, which costs: inv rds.proxy --delete" if there else ""


def clock(settings: Settings, aws: Aws) -> str:
    there = schedule.group_of(aws, Names(schedule.arn_of(settings, aws)))
    return "its schedules, which call for an instance that is gone: inv rds.schedule --delete" if there else ""


def watchers(settings: Settings, aws: Aws) -> str:
    there = alarms.ours(aws, Names(schedule.arn_of(settings, aws)))
    return f"{len(there)} alarms, which cost: inv rds.alarms --delete" if there else ""
