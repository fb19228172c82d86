"""Waiting for a proxy, and for what is behind it: states and events are shown, what never heals ends it."""

from __future__ import annotations

from collections.abc import Callable

from config.settings import Settings
from ops.aws import Aws
from ops.cloud.clock import Clock
from ops.errors import Problem
from ops.rds import waiting
from ops.rds.proxy import standing
from ops.rds.proxy.parts import Parts
from ops.rds.waiting import Events

TASK = "rds.proxy"
ANEW = f"inv {TASK} --delete takes it away, then inv {TASK} makes it anew; the instance is not touched"
BAD = {
    "incompatible-network": f"its subnets or groups do not fit: {ANEW}",
    "insufficient-resource-limits": f"its subnets have too few addresses, or the account too few of something: mend that, then {ANEW}",
    "suspended": f"its instance was away for too long: inv rds.start, then {ANEW}",
}
"""States of a proxy that waiting does not heal."""
LASTING = {
    "AUTH_FAILURE": "its role, or the secret, does not let it log in: inv lambda.deploy, then this again",
    "UNREACHABLE": "no rule lets it in at the instance: inv rds.status shows the door, then this again",
    "CONNECTION_FAILED": "the instance answers it with an error: inv rds.logs shows which",
}
"""Reasons for which a target is not available, each a matter of seconds while IAM and the rules spread."""
SPREADING = 300.0
"""Seconds after which they are no such matter any more."""


def until(
    settings: Settings, aws: Aws, clock: Clock, mine: Parts, again: str, look: Callable[[float], str | None]
) -> None:
    """Wait for the proxy as `waiting.until` does, and tell what RDS tells of it."""
    events = Events(aws.client("rds"), mine.name, clock, "db-proxy")

    def told(elapsed: float) -> str | None:
        if state := look(elapsed):
            events.tell()
        return state

    waiting.until(told, f"the proxy {mine.name}", settings.rds.wait_minutes, f"inv {again}", clock)


def until_available(settings: Settings, aws: Aws, clock: Clock, mine: Parts) -> None:
    """Wait until the proxy takes connections."""

    def look(_: float) -> str | None:
        found = standing.find(aws, mine)
        if found is None:
            raise Problem(f"the proxy {mine.name} is gone: somebody has deleted it")
        state = found["Status"]
        if advice := BAD.get(state):
            raise Problem(f"the proxy {mine.name} is {state}, which waiting does not heal: {advice}")
        return None if state == "available" else state

    until(settings, aws, clock, mine, TASK, look)


def until_healthy(settings: Settings, aws: Aws, clock: Clock, mine: Parts) -> None:
    """Wait until the proxy has a session in its instance."""

    def look(elapsed: float) -> str | None:
        found = [one for one in standing.targets(aws, mine.name) if standing.leads_to(one, mine.identifier)]
        if not found:
            raise Problem(f"the proxy {mine.name} does not lead to {mine.identifier} any more: run inv {TASK} again")
        health = found[0].get("TargetHealth", {})
        state, reason = str(health.get("State") or "REGISTERING"), str(health.get("Reason") or "")
        if state == "AVAILABLE":
            return None
        if reason in LASTING and elapsed >= SPREADING:
            said = " ".join(str(health.get("Description") or reason).split())
            raise Problem(f"the proxy {mine.name} does not reach {mine.identifier} ({said}): {LASTING[reason]}")
        words = f"available, its instance {state.lower()}"
        return f"{words} ({reason.lower().replace('_', ' ')})" if reason else words

    until(settings, aws, clock, mine, TASK, look)


def until_gone(settings: Settings, aws: Aws, clock: Clock, mine: Parts) -> None:
    """Wait until there is no proxy of the name."""

    def look(_: float) -> str | None:
        found = standing.find(aws, mine)
        return None if found is None else found["Status"]

    until(settings, aws, clock, mine, f"{TASK} --delete", look)
