"""The function's log group: kept for a limited time, read from the terminal."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops.aws import Aws
from ops.cloud import tags
from ops.console import as_json, redact, result, say
from ops.errors import Misconfigured
from ops.lambdas.plan import Plan
from ops.times import in_utc

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import FilteredLogEventTypeDef, LogGroupTypeDef

POLL = 2.0
"""Seconds between two looks of --follow."""
OVERLAP = 30_000
"""Milliseconds that --follow looks back each time: CloudWatch may learn of an event later than of its successor."""


@dataclass(frozen=True)
class Event:
    """A line of the function's log."""

    at: datetime
    """When it was written."""
    message: str
    """Lambda's own, or what the function has printed: an object of JSON in itself."""


def find_log_group(aws: Aws, name: str) -> LogGroupTypeDef | None:
    """Return a log group as CloudWatch describes it, or None; names that only begin so are others."""
    logs: CloudWatchLogsClient = aws.client("logs")
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
    return next((group for page in pages for group in page["logGroups"] if group["logGroupName"] == name), None)


def ensure_log_group(aws: Aws, settings: Settings, plan: Plan) -> None:
    """Make the log group before the function would, and limit how long it keeps what it holds."""
    logs: CloudWatchLogsClient = aws.client("logs")
    name, days = settings.lambdas.log_group, settings.lambdas.log_days
    group = find_log_group(aws, name)
    if group is None:

        def make() -> None:
            # the function's first run, or a request of ours whose answer was lost, may have made it
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_group(logGroupName=name, tags=tags.of_project(settings.rds.project))
            logs.put_retention_policy(logGroupName=name, retentionInDays=days)

        plan.create("logs", f"{name}, kept {days} days", make, None)
    elif group.get("retentionInDays") != days:
        kept = group.get("retentionInDays")
        plan.update(
            "logs",
            f"{name}, kept {days} days (were: {kept or 'for ever'})",
            lambda: logs.put_retention_policy(logGroupName=name, retentionInDays=days),
            None,
        )
    else:
        plan.same("logs", f"{name}, kept {days} days")


def lines(
    aws: Aws, name: str, since: int, seen: set[str], until: float = math.inf, **more: Any
) -> Iterator[tuple[int, str]]:
    """Yield time (ms since 1970) and text of each event since then that is not in `seen` yet; `more` is of FilterLogEvents.

    No further page is asked for from `until` on, by time.monotonic().
    """
    for page in pages(aws, name, since, until, **more):
        for event in page:
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                yield event["timestamp"], event["message"].rstrip()


def pages(
    aws: Aws, name: str, since: int, until: float = math.inf, **more: Any
) -> Iterator[list[FilteredLogEventTypeDef]]:
    """Yield the events since then (ms since 1970) as FilterLogEvents hands them out: any of its pages may be empty.

    No further one is asked for from `until` on, by time.monotonic(). Raises `Misconfigured` where there is no such log.
    """
    logs: CloudWatchLogsClient = aws.client("logs")
    try:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=name, startTime=since, **more):
            yield page.get("events", [])
            if time.monotonic() > until:
                return
    except logs.exceptions.ResourceNotFoundException as error:
        raise Misconfigured(f"there are no logs {name} in {aws.region}: inv lambda.deploy makes them") from error


def show(
    aws: Aws,
    settings: Settings,
    minutes: int,
    *,
    follow: bool,
    json: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print the events of the last minutes; `follow` goes on until it is interrupted."""
    name, seen = settings.lambdas.log_group, set[str]()
    since = int(time.time() * 1000) - minutes * 60_000
    while True:
        for stamp, text in lines(aws, name, since, seen):
            when = datetime.fromtimestamp(stamp / 1000, timezone.utc)
            if json:
                as_json(Event(when, redact(text)), indent=None)
                sys.stdout.flush()  # whoever follows waits for it
            else:
                result(redact(f"{in_utc(when, seconds=True)} {text}"))
            since = max(since, stamp - OVERLAP)
        if not follow:
            if not seen:
                say(f"{name}: nothing in the last {minutes} minutes; --minutes looks back further")
            return
        sleep(POLL)
