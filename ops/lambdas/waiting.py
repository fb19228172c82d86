"""Waiting for Lambda, which makes and changes functions after it has answered, and for IAM, which spreads slowly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from config.lambdas import Lambda
from ops.aws import Aws, code
from ops.console import progress, say
from ops.errors import InProgress, Problem
from ops.rds.waiting import Clock

POLL = 1.0
"""Seconds between two looks at a function that is being made or changed."""
FRESH = 150.0
"""Seconds for which IAM may not know yet what it has just been told."""
# What Lambda says of a role that is only too fresh; of others it says other things
TOO_FRESH = ("cannot be assumed by Lambda", "does not have permissions to call CreateNetworkInterface")
BUSY = ("is in progress", "is currently in the following state: Pending")

Configuration = Mapping[str, Any]
"""A function as GetFunctionConfiguration describes it."""


def busy(error: Exception) -> bool:
    """Whether AWS refuses because another change has not ended yet."""
    return code(error) == "ResourceConflictException" and any(text in str(error) for text in BUSY)


def patiently(act: Callable[[], None], clock: Clock) -> None:
    """Do it again while AWS refuses because it is not ready yet: by its message, since the code stands for real faults too."""
    from botocore.exceptions import ClientError

    begun = clock.monotonic()
    told = False
    while True:
        try:
            act()
            return
        except ClientError as error:
            fresh = code(error) == "InvalidParameterValueException" and any(text in str(error) for text in TOO_FRESH)
            if not (fresh or busy(error)) or clock.monotonic() - begun > FRESH:
                raise
            if not told:
                say("waiting until AWS knows the role everywhere" if fresh else "waiting for another change to end")
                told = True
        clock.sleep(POLL * 2)


def settled(aws: Aws, lam: Lambda, clock: Clock, *, failed: bool = False) -> Configuration:
    """Return the configuration when the function is made, and its last change in force, or `failed` as well.

    Raises `Problem` with AWS's reason where that failed, `InProgress` at the limit.
    """
    client, begun, limit = aws.client("lambda"), clock.monotonic(), lam.wait_minutes * 60
    with progress(limit) as show:
        while True:
            now: Configuration = client.get_function_configuration(FunctionName=lam.function)
            doing, wrong = state(now)
            if wrong and not (failed and now.get("State") != "Failed"):
                raise Problem(wrong)
            if not doing:
                return now
            elapsed = clock.monotonic() - begun
            if elapsed >= limit:
                raise InProgress(
                    f"{lam.function} is still {doing} after {lam.wait_minutes:g} minutes (lambda.wait_minutes): "
                    "run this again to go on waiting"
                )
            show(f"{lam.function} is {doing}", elapsed)
            clock.sleep(POLL)


def state(now: Configuration) -> tuple[str, str]:
    """Return what AWS is doing with the function, and what went wrong; each empty where there is nothing of it."""
    name = now["FunctionName"]
    if now.get("State") == "Pending":
        return "being made", ""
    if now.get("State") == "Failed":
        why = f"{now.get('StateReasonCode')}: {now.get('StateReason')}"
        return "", f"AWS could not make {name} ({why}): mend that, then inv lambda.delete and inv lambda.deploy"
    if now.get("LastUpdateStatus") == "InProgress":
        return "being changed", ""
    if now.get("LastUpdateStatus") == "Failed":
        why = f"{now.get('LastUpdateStatusReasonCode')}: {now.get('LastUpdateStatusReason')}"
        return "", f"AWS could not change {name} ({why}): mend that, then run this again"
    return "", ""
