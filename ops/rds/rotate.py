"""rds.rotate-password: a new master password, by RDS or as the user's own.

An own one is saved as NEXT before it is sent, and takes the place of the old
one when AWS has applied it. Wherever a run is cut off the env file holds both,
and the next run goes on with the same new one.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from config.settings import Settings
from config.targets import reached
from ops import calls, postgres
from ops.aws import Aws
from ops.aws_errors import errors, transient
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import hide, say
from ops.env.variables import forget, store
from ops.errors import LoginFailed, Misconfigured, NoDatabase, NotAllowed, Problem, Refused
from ops.rds import env_file, instance, prod, secret, server
from ops.rds.cluster import refusals
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable, require_usable

TASK = "rds.rotate-password"
SETTLED = 60.0
"""Seconds in which a change that nobody can be asked about shows in the instance's state, if it shows at all."""


@dataclass
class Change:
    """Tells when AWS has applied a change: just after the call an instance still looks as before it."""

    clock: Clock
    ask: Callable[[Row], bool | None]
    """Whether it is applied, by what the change itself changes; None where that cannot be asked."""
    answers: bool = True
    seen: bool = False
    """Whether the state has shown it."""
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock.monotonic()

    def applied(self, row: Row | None) -> bool:
        if row is None or not is_usable(row) or "MasterUserPassword" in row.get("PendingModifiedValues", {}):
            self.seen = True
            return False
        answer = self.ask(row) if self.answers else None
        self.answers = answer is not None
        if answer is None:
            return self.seen or self.clock.monotonic() - self.begun >= SETTLED
        return answer


def rotate_password(settings: Settings, aws: Aws, clock: Clock) -> str:
    """Give the instance a new master password; return what to tell. Sessions that are open stay so."""
    rds = settings.rds
    row = instance.require_instance(aws, rds)
    if not instance.is_ours(row, rds):
        raise Refused(f"{rds.identifier} was not made by inv: inv rds.create --adopt hands it over first")
    refusals.check_express(row, "rotate-password")
    if row.get("MasterUserSecret"):
        rotate_managed(settings, aws, row, clock)
        return f"{rds.identifier} has a new master password, kept in Secrets Manager"
    rotate_own(settings, aws, row, clock)
    return f"{rds.identifier} has a new master password, saved in {settings.vars.env_file.name}"


def wait_for(settings: Settings, aws: Aws, reached: Callable[[Row | None], bool], clock: Clock) -> Row:
    row = instance.wait_for(aws, settings.rds, Goal(TASK, reached, {**HOPELESS, **RESTING}), clock)
    assert row is not None
    return row


def modify(settings: Settings, aws: Aws, **change: Any) -> None:
    its = server.of(settings.rds)
    its.call(aws, its.modify, settings.rds.identifier, ApplyImmediately=True, **change)


# --- kept by RDS ------------------------------------------------------------------------


def rotate_managed(settings: Settings, aws: Aws, row: Row, clock: Clock) -> None:
    """Let RDS make a new one, and wait until its secret holds it."""
    if row["MasterUserSecret"].get("SecretStatus") == "rotating":
        say("RDS is at it already: waiting for that")
        wait_for(settings, aws, is_usable, clock)
        return
    require_usable(row, TASK)
    before = version(aws, row)

    def renewed(now: Row) -> bool | None:
        after = version(aws, now)
        return after != before if before and after else None

    def begun() -> bool | None:
        now = instance.require_instance(aws, settings.rds)
        return (not is_usable(now) or renewed(now)) or None

    calls.surely(functools.partial(modify, settings, aws, RotateMasterUserPassword=True), begun)
    wait_for(settings, aws, Change(clock, renewed).applied, clock)


def version(aws: Aws, row: Row) -> str:
    """Return the id of the secret's version; nothing where it cannot be read."""
    try:
        return secret.read(aws, row).version
    except Problem:
        return ""
    except errors() as error:
        if transient(error):
            raise
        return ""


# --- the user's own ---------------------------------------------------------------------


def rotate_own(settings: Settings, aws: Aws, row: Row, clock: Clock) -> None:
    """Make one, save it beside the old one, send it, and let it take the old one's place."""
    names = settings.focus.names
    if settings.vars.environ.get(names.password):
        raise Misconfigured(
            f"{names.password} of the environment would hide the new one: keep it in {settings.vars.env_file.name} "
            f"(unset {names.password}), then run this again"
        )
    password = settings.vars.saved.get(names.next_password, "")
    if password:
        hide(password)
        say("going on with the password of a run that was cut off")
        row = wait_for(settings, aws, is_usable, clock)
        modify(settings, aws, MasterUserPassword=password)
    else:
        require_usable(row, TASK)
        password = secrets.token_urlsafe(24)
        hide(password)
        store(settings, names.next_password, password)
        send_password(settings, aws, password)
    old = settings.vars.get(names.password) or env_file.password(settings)
    row = wait_for(settings, aws, Change(clock, lambda now: is_accepted(settings, now, password, old)).applied, clock)
    store(settings, names.password, password)
    if env_file.host_of(settings.vars.saved.get(names.url, "")) == instance.host(row):
        store(settings, names.url, env_file.target(settings, row, password).url(show_password=True))
    else:
        say(f"note: {names.url} is not changed, it is unset or names another server")
    forget(settings, names.next_password)


def send_password(settings: Settings, aws: Aws, password: str) -> None:
    """Send one that AWS has never seen; where that is refused for certain, the old one holds alone again."""
    from botocore.exceptions import ClientError

    try:
        modify(settings, aws, MasterUserPassword=password)
    except ClientError as error:
        # of a call that was repeated, the first one may have been carried out
        if not transient(error) and not error.response.get("ResponseMetadata", {}).get("RetryAttempts"):
            forget(settings, settings.focus.names.next_password)
        raise


def is_accepted(settings: Settings, row: Row, new: str, old: str) -> bool | None:
    """Whether the server takes the new password; None where it cannot be asked, as from before a closed door.

    That the new one is refused tells something only if the old one is not.
    """
    try:
        target = reached(settings, env_file.target(settings, row, new))
        prod.require_certificates(settings, target)
        for password in filter(None, (new, old)):
            try:
                postgres.connect(target.on(password=password), task=TASK, timeout=settings.connect_timeout).close()
            except (NoDatabase, NotAllowed):  # it has let us in as far as that
                return password == new
            except LoginFailed:
                continue
            return password == new
    except Problem:
        pass
    return None
