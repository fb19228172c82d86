"""Waiting for Lambda, which makes and changes functions after it has answered, and for IAM, which spreads slowly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from config.lambdas import Lambda
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud.clock import Clock
from ops.console import progress, say
from ops.errors import InProgress, Problem

POLL = 1.0
"""Seconds between two looks at a function that is being made or changed."""
FRESH = 150.0
"""Seconds for which IAM may not know yet what it has just been told."""
SPREADING = "until AWS knows the role everywhere"
# What Lambda refuses for now, under the code of a real fault, and what is waited for then
NOT_YET = {
    "cannot be assumed by Lambda": SPREADING,
    "does not have permissions to call CreateNetworkInterface": SPREADING,
    "KMS key is invalid for CreateGrant": SPREADING,
    "throttled by EC2": "until EC2 takes more requests",
}
BUSY = ("is in progress", "is currently in the following state: Pending")

Configuration = Mapping[str, Any]
"""A function as GetFunctionConfiguration describes it."""


def is_busy(error: Exception) -> bool:
    """Whether AWS refuses because another change has not ended yet."""
    return code(error) == "ResourceConflictException" and any(text in str(error) for text in BUSY)


def not_yet(error: Exception) -> str:
    """Return what is to be waited for where AWS is only not ready yet; else nothing."""
    if is_busy(error):
        return "for another change to end"
    if code(error) != "InvalidParameterValueException":
        return ""
    return next((what for text, what in NOT_YET.items() if text in str(error)), "")


def patiently(act: Callable[[], None], clock: Clock) -> None:
    """Do it again while AWS refuses because it is not ready yet.

    At the limit a role that is still not known is a fault; what ends by itself is `InProgress`.
    """
    from botocore.exceptions import ClientError

    begun, told = clock.monotonic(), ""
    while True:
        try:
            act()
            return
        except ClientError as error:
            what = not_yet(error)
            if not what:
                raise
            if clock.monotonic() - begun > FRESH:
                if what == SPREADING:
                    raise
                raise InProgress(f"waited {FRESH:.0f} s {what}: run this again to go on waiting") from error
            if what != told:
                say(f"waiting {what}")
                told = what
        clock.sleep(POLL * 2)


def wait_until_settled(aws: Aws, lam: Lambda, clock: Clock, *, failed: bool = False) -> Configuration:
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
