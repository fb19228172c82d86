"""Waiting for an instance: what happens is shown, what never heals ends it at once.

botocore's own waiter says nothing, gives up after 30 minutes, and sits them
out on most states that need a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ops.aws_errors import code, explain, transient
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import progress, say
from ops.errors import InProgress, Problem

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

INTERVAL = 10.0
"""Seconds between two looks."""
BIRTH = 60.0
"""Seconds for which AWS may not know yet what it has just made."""
USABLE = ("available", "storage-optimization")

HOPELESS = {
    "failed": "it cannot be saved: inv rds.delete --no-snapshot, then inv rds.create",
    "incompatible-network": "its VPC or subnets do not fit: mend them, then inv rds.start (or inv rds.delete --no-snapshot)",
    "incompatible-option-group": "give it another option group",
    "incompatible-parameters": "its parameter group holds a value that it cannot start with: correct that, then reboot it",
    "incompatible-restore": "it cannot be restored so: inv rds.delete --no-snapshot, then inv rds.create",
    "incompatible-create": "it cannot be made so: inv rds.delete --no-snapshot, then inv rds.create",
    "inaccessible-encryption-credentials": "its encryption key is gone for good, and its data with it: inv rds.delete --no-snapshot",
    "inaccessible-encryption-credentials-recoverable": "its encryption key cannot be used: enable it, then inv rds.start",
    "insufficient-capacity": "AWS has no room for it: inv rds.delete --no-snapshot, then another rds.zone or rds.instance_class",
    "restore-error": "the restore failed: inv rds.delete --no-snapshot, then inv rds.create",
    "storage-full": "its storage is full: raise it (aws rds modify-db-instance --allocated-storage)",
}
STARTABLE = ("stopped", "incompatible-network", "inaccessible-encryption-credentials-recoverable")
"""What StartDBInstance leads out of, the last two once their cause is mended."""
RESTING = {
    "stopped": "inv rds.start starts it",
    "stopping": "when it has stopped, inv rds.start starts it",
    "deleting": "when it is gone, inv rds.create makes a new one",
}
ALONE = "without an instance"
"""A cluster that is there and that nobody can connect to: what is cut off between both calls leaves it so."""
UNMADE = {ALONE: "inv rds.create makes its instance"}


@dataclass(frozen=True)
class Goal:
    """What is waited for: `again` is the command that goes on waiting."""

    again: str
    reached: Callable[[Row | None], bool]
    bad: Mapping[str, str]
    begun: str = ""
    """The state that a call is to lead out of: it lags behind the call, so it is bad only once it comes back."""


def is_usable(row: Row | None) -> bool:
    """Whether one can connect: its address is known and its secret is made, both later than its name."""
    return (
        row is not None
        and row.get("DBInstanceStatus") in USABLE
        and bool(row.get("Endpoint", {}).get("Address"))
        and row.get("MasterUserSecret", {}).get("SecretStatus") not in ("creating", "rotating")
    )


def require_usable(row: Row, again: str) -> None:
    """Raise `Problem` for an instance that AWS would not change now, or only some day; `again` is the task that wants it."""
    if not is_usable(row):
        state = status(row)
        advice = {**HOPELESS, **RESTING, **UNMADE}.get(state, "wait until it is available (inv rds.status)")
        raise Problem(
            f"{row['DBInstanceIdentifier']} is {state}, nothing was changed: {advice}; inv {again} is for then"
        )


def is_stopped(row: Row | None) -> bool:
    return row is not None and row.get("DBInstanceStatus") == "stopped"


def is_gone(row: Row | None) -> bool:
    return row is None


def until(look: Callable[[float], str | None], what: str, minutes: float, again: str, clock: Clock) -> None:
    """Wait until `look`, by the seconds since this began, returns None in the place of a state, which is shown.

    A call that fails for a moment is made again. Raises what else `look` does, and `InProgress` at the limit (`rds.wait_minutes`);
    `what` is waited for, and `again` is the command that goes on.
    """
    begun, limit = clock.monotonic(), minutes * 60
    with progress(limit) as show:
        while True:
            elapsed = clock.monotonic() - begun
            try:
                state = look(elapsed)
                if state is None:
                    return
            except Exception as error:
                if not transient(error):
                    raise
                state = f"no answer ({explain(error)})"
            if elapsed >= limit:
                raise InProgress(
                    f"{what} is still {state} after {minutes:g} minutes (rds.wait_minutes): run {again} again to go on waiting"
                )
            show(state, elapsed)
            try:
                clock.sleep(min(INTERVAL, max(limit - elapsed, 1)))
            except KeyboardInterrupt:
                say(f"AWS goes on by itself: run {again} again to go on waiting")
                raise


def wait(find: Callable[[], Row | None], goal: Goal, events: Events, minutes: float, clock: Clock) -> Row | None:
    """Return the instance when the goal is reached.

    Raises `Problem` on a state that does not heal, `InProgress` at the limit.
    """
    word = events.kind.removeprefix("db-")
    seen, left = False, not goal.begun
    row: Row | None = None

    def look(elapsed: float) -> str | None:
        nonlocal row, seen, left
        row = find()
        if goal.reached(row):
            return None
        if row is None and (seen or elapsed > BIRTH):
            raise Problem(f"the {word} is gone: somebody has deleted it")
        seen = seen or row is not None
        events.tell()
        state = status(row)
        left = left or state != goal.begun
        if left and (advice := goal.bad.get(state)):
            raise Problem(f"the {word} is {state}, which waiting does not heal: {advice}")
        return state

    until(look, f"the {word}", minutes, f"inv {goal.again}", clock)
    return row


def status(row: Row | None) -> str:
    """Return an instance's state in words."""
    if row is None:
        return "being made"
    state = str(row.get("DBInstanceStatus") or "being made")
    if state in USABLE and row.get("MasterUserSecret", {}).get("SecretStatus") in ("creating", "rotating"):
        return f"{state}, its secret {row['MasterUserSecret']['SecretStatus']}"
    if state in USABLE and not row.get("Endpoint", {}).get("Address"):
        return f"{state}, its address not known yet"
    return state


class Events:
    """What RDS itself tells about an instance, or another `kind` of thing, each line once."""

    def __init__(
        self,
        rds: RDSClient,
        identifier: str,
        clock: Clock,
        kind: Literal["db-instance", "db-cluster", "db-proxy"] = "db-instance",
    ) -> None:
        self.rds, self.identifier, self.clock = rds, identifier, clock
        self.kind = kind
        self.begun = clock.monotonic()
        self.seen: set[tuple[Any, str]] = set()
        self.refused = False

    def tell(self) -> None:
        """Say the events since this run began; without the permission it goes without."""
        from botocore.exceptions import ClientError

        if self.refused:
            return
        minutes = int((self.clock.monotonic() - self.begun) // 60) + 2
        try:
            found = self.rds.describe_events(SourceIdentifier=self.identifier, SourceType=self.kind, Duration=minutes)[
                "Events"
            ]
        except ClientError as error:
            if transient(error):
                return
            self.refused = True
            say(f"note: RDS events are not shown ({code(error)})")
            return
        for event in found:
            key = (event.get("Date"), event.get("Message", ""))
            if key not in self.seen:
                self.seen.add(key)
                say(f"RDS: {event.get('Message', '')}")
