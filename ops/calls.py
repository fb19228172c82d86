"""Every call of AWS's: its limits, what is said while it is waited for, and what is not done twice.

botocore repeats a call after an answer that was lost, on its way or by a fault of the service. What was asked
may have been done by then: where doing it again would make a second one, or be refused, it is looked first.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from config.aws import Limits
from ops import silence
from ops.aws_errors import lost, other_service, writes

if TYPE_CHECKING:
    from botocore.config import Config

R = TypeVar("R")
F = TypeVar("F")

TRIES, PAUSE = 3, 1.0
"""Of a write whose answer was lost, and seconds before it is looked whether it is done."""
LOGIN = "login-to-aws"
"""The name of the thread that logs in: it says itself what it waits for."""

SAME, FOUND = "AWS is in the same state after it as after one", "what is there already is taken for what was asked"
REPEATABLE = {
    "AddTagsToResource": SAME,
    "AttachRolePolicy": SAME,
    "CreateTags": SAME,
    "CreateTopic": SAME,
    "DeleteTopic": SAME,
    "ModifySecurityGroupRules": SAME,
    "PutMetricAlarm": SAME,
    "PutMetricFilter": SAME,
    "PutRetentionPolicy": SAME,
    "PutRolePolicy": SAME,
    "SetUserPoolMfaConfig": SAME,
    "TagResource": SAME,
    "TagRole": SAME,
    "UpdateSchedule": SAME,
    "Subscribe": SAME,
    "UpdateAlias": SAME,
    "UpdateAssumeRolePolicy": SAME,
    "UpdateUserPool": SAME,
    "AuthorizeSecurityGroupIngress": FOUND,
    "CreateAlias": FOUND,
    "CreateFunction": FOUND,
    "CreateLogGroup": FOUND,
    "CreateRole": FOUND,
    "CreateSchedule": FOUND,
    "CreateScheduleGroup": FOUND,
    "CreateSecurityGroup": FOUND,
    "DeleteAlarms": FOUND,
    "DeleteAlias": FOUND,
    "DeleteFunction": FOUND,
    "DeleteRole": FOUND,
    "DeleteMetricFilter": FOUND,
    "DeleteRolePolicy": FOUND,
    "DeleteSchedule": FOUND,
    "DeleteScheduleGroup": FOUND,
    "DeleteSecurityGroup": FOUND,
    "DetachRolePolicy": FOUND,
    "RemovePermission": FOUND,
    "RevokeSecurityGroupIngress": FOUND,
    "PublishVersion": "AWS publishes no second version of what has not changed",
    "RunInstances": "botocore sends the same ClientToken again, by which EC2 tells a repetition",
    **dict.fromkeys(
        ("CreateSecret", "PutSecretValue"),
        "botocore sends the same ClientRequestToken again, by which Secrets Manager tells a repetition",
    ),
    "DeleteSecret": FOUND,
}
"""What botocore may repeat when the answer was lost, and why that does no harm. Any other write goes through `surely`."""


def config(limits: Limits, *, ignore_endpoints: bool) -> Config:
    """Return what all clients have in common, those by which a login is made too."""
    from botocore.config import Config

    return Config(
        retries={"mode": "standard"},
        connect_timeout=limits.connect_timeout,
        read_timeout=limits.timeout,
        ignore_configured_endpoint_urls=ignore_endpoints or None,
    )


@dataclass(eq=False)
class Call(silence.Wait):
    """A call that is waited for: each kind is said once, since some are made in turn."""

    kinds: set[str] = field(default_factory=set)
    """What has been said, by all calls of a session."""

    def tell(self, text: str) -> None:
        if text not in self.kinds:
            self.kinds.add(text)
            super().tell(text)


class Watch:
    """Follows the calls of a session by botocore's events."""

    def __init__(self, events: Any, limit: float) -> None:
        """`limit`: seconds after which a call that is not answered is not tried again."""
        self.limit = limit
        self.said: set[str] = set()
        events.register_first("before-call", self.begin)
        events.register_first("after-call", self.end)
        events.register_first("after-call-error", self.fail)
        events.register_first("before-parse", read)

    def follow(self, client: Any) -> None:
        """Have a say in what is repeated: botocore's own word, which is registered for the service, would come first."""
        service = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register_first(f"needs-retry.{service}", self.again)

    def begin(self, context: dict[str, Any], event_name: str, **_: Any) -> None:
        """Have it said what is waited for when it takes longer than a second."""
        context["begun"] = time.monotonic()
        if threading.current_thread().name == LOGIN:
            return
        context["wait"] = Call(f"AWS ({named(event_name)})", kinds=self.said)
        silence.begin(context["wait"])

    def end(self, context: dict[str, Any], **_: Any) -> None:
        if "wait" in context:
            silence.end(context["wait"])

    def fail(self, context: dict[str, Any], event_name: str, exception: Exception, **_: Any) -> None:
        """Note what was asked: botocore's errors do not tell."""
        self.end(context)
        if isinstance(getattr(exception, "kwargs", None), dict):
            exception.kwargs["operation"] = named(event_name)  # type: ignore[attr-defined]

    def again(
        self, request_dict: dict[str, Any], operation: Any, caught_exception: Any = None, response: Any = None, **_: Any
    ) -> bool | None:
        """Return False where a call is not to be repeated; else botocore decides."""
        silent = time.monotonic() - request_dict.get("context", {}).get("begun", time.monotonic()) >= self.limit
        if caught_exception is not None and silent:
            return False
        if not writes(operation.name) or operation.name in REPEATABLE:
            return None
        status = response[0].status_code if response else 0
        code = str(response[1].get("Error", {}).get("Code", "")) if response else ""
        return False if lost(caught_exception, status, code) else None


def read(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Raise `Misconfigured` for an answer that is not in the service's form: botocore takes some for an empty one, and fails over others.

    The root of XML has the operation's name, in a query protocol the result in it too
    (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, …/aws-ec2-query-protocol.html). JSON is an object
    (…/aws-json-1_1-protocol.html); where nothing is told in it there may be none at all, as after
    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html.
    """
    shape, service = operation_model.output_shape, operation_model.service_model
    body, told = response_dict["body"], shape.serialization if shape else {}
    if response_dict["status_code"] >= 300 or "payload" in told:
        return
    match service.resolved_protocol:
        case "query" | "ec2":
            names = (f"{operation_model.name}Response", told.get("resultWrapper", ""))
            fits = all(f"<{name}".encode() in body for name in names)
        case "json" | "rest-json":
            members = shape.members.values() if shape else ()
            silent = all("location" in each.serialization for each in members)  # else a header or the status tells
            fits = (silent and not body) or is_object(body)
        case _:
            fits = True
    if not fits:
        raise other_service(service.service_id)


def is_object(body: bytes) -> bool:
    """Whether a text is an object of JSON."""
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def named(event: str) -> str:
    """Return the call that an event is about: before-call.rds.DescribeDBInstances."""
    _, service, operation = event.split(".")[:3]
    return f"{service} {operation}"


def surely(write: Callable[[], R], look: Callable[[], F | None]) -> R | F:
    """Return what `write` does; where its answer was lost, what `look` finds done, else write again.

    `look` returns None where nothing is done yet. Raises what `write` raised last.
    """
    for left in reversed(range(TRIES)):
        try:
            return write()
        except Exception as error:
            if not lost(error):
                raise
            time.sleep(PAUSE)
            if (found := look()) is not None:
                return found
            if not left:
                raise
    raise AssertionError
