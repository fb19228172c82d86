"""lambda.sign-ups: how many people have signed up on each day, and how many of them have no row, as the function's log tells.

Counted from the line of JSON that each sign-up leaves there (functions/post_confirmation/handler.py), and so for days as long ago as
the log is kept; AWS's own metrics of a function count what it was called for, not what came of it. The newest day is asked for first:
a log is read from its oldest line on, and what cannot be read in time is then what is longest ago. As long as days come in one page,
twice as many are asked for next: an account may ask five times a second, and ninety days of few sign-ups are seven requests.
Logs Insights would count in one, and wants money for all that it reads, also of what is no sign-up.
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html (both times are inclusive),
https://repost.aws/knowledge-center/cloudwatch-logs-throttling (five a second),
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

from config.settings import Settings
from ops import console
from ops.aws import Aws
from ops.errors import Misconfigured
from ops.lambdas import logs
from ops.times import in_utc

PATTERN = '{ $.function = "post_confirmation" }'
LIMIT = 20.0
"""Seconds after which no further day is asked for."""
MOST_DAYS = 90
DAY = 86_400_000
"""In ms."""
OUTCOMES = ("inserted", "present", "failed")
TOLD = 20
"""Failures that are told one by one, the latest."""


@dataclass(frozen=True)
class Day:
    """What came of the sign-ups of a day, in UTC; null where there was no time to read its log, or it is kept no longer (`lambda.log_days`)."""

    day_on: date
    """Which one."""
    inserted: int | None
    """That became a row."""
    present: int | None
    """Whose row was there already."""
    failed: int | None
    """That left no row, which lambda.sync-users makes."""


@dataclass(frozen=True)
class Failed:
    """A sign-up without a row; whose it was is in the log alone."""

    failed_at: datetime
    """When."""
    error: str | None
    """The class of the error, as Python has it."""
    sqlstate: str | None
    """In Postgres's code, where the server has refused it."""
    reason: str | None
    """In words, without anybody's data."""


@dataclass(frozen=True)
class SignUps:
    """The sign-ups that the function was called for, by its log."""

    function: str
    """Its name."""
    log_group: str
    """The name of its log group."""
    days: list[Day]
    """The newest last, each of them also where nobody has signed up."""
    failures: list[Failed]
    """The latest 20 at most, the newest last."""


def show(settings: Settings, aws: Aws, days: str, *, json: bool) -> None:
    """Print the sign-ups of the last days."""
    if not (days.isascii() and days.isdigit() and len(days) < 4 and 0 < int(days) <= MOST_DAYS):
        raise Misconfigured(f"--days {days}: give a whole number, 1 to {MOST_DAYS}")
    found = look(settings, aws, int(days))
    if json:
        console.as_json(found)
        return
    rows = [
        {"day": d.day_on, "inserted": d.inserted, "present": d.present, "failed": d.failed, "": "" if d.failed is not None else "not read"}
        for d in found.days
    ]  # fmt: skip
    console.table(("day", "inserted", "present", "failed", ""), rows)
    if any(d.failed is None for d in found.days):
        console.say(
            f"not read: there was no time, or the log is kept no longer: {settings.lambdas.log_days} days (lambda.log_days)"
        )
    for each in found.failures:
        console.result(
            f"{in_utc(each.failed_at, seconds=True)} failed: {' '.join(filter(None, (each.error, each.sqlstate, each.reason)))}"
        )
    if found.failures:
        console.say("inv lambda.sync-users makes the rows that are missing")


def look(settings: Settings, aws: Aws, days: int, now: Callable[[], float] = time.time) -> SignUps:
    """Return the sign-ups of the last days, today among them; raises `Misconfigured` where there is no log."""
    name, until = settings.lambdas.log_group, time.monotonic() + LIMIT
    today = datetime.fromtimestamp(now(), timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    kept = min(days, settings.lambdas.log_days)
    counted: Counter[tuple[date, str]] = Counter()
    failures, read, at_once = list[Failed](), 0, 1
    while read < kept and time.monotonic() < until:
        at_once = min(at_once, kept - read)
        since = int((today - timedelta(days=read + at_once - 1)).timestamp() * 1000)
        asked = 0
        for page in logs.pages(aws, name, since, until, endTime=since + at_once * DAY - 1, filterPattern=PATTERN):
            asked += 1
            for stamp, told in [(event["timestamp"], sign_up(event["message"]) or {}) for event in page]:
                counted[day_of(stamp), str(told.get("outcome"))] += 1
                failures += [failed(stamp, told)] if told.get("outcome") == "failed" else []
        if time.monotonic() < until:
            read, at_once = read + at_once, at_once * 2 if asked < 2 else max(1, at_once // 2)
    failures.sort(key=lambda each: each.failed_at)
    every = [(ago, (today - timedelta(days=ago)).date()) for ago in reversed(range(days))]
    numbers = [Day(day, *(counted[day, word] if ago < read else None for word in OUTCOMES)) for ago, day in every]
    return SignUps(settings.lambdas.function, name, numbers, failures[-TOLD:])


def day_of(stamp: int) -> date:
    """Return the day in UTC of a time in ms since 1970."""
    return datetime.fromtimestamp(stamp / 1000, timezone.utc).date()


def sign_up(text: str) -> dict[str, Any] | None:
    """Return what a line of the log says of a sign-up; None for any other line."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and told.get("function") == "post_confirmation" else None


def failed(stamp: int, told: dict[str, Any]) -> Failed:
    """Return a failure as it is told; `stamp` in ms since 1970."""
    words = {key: console.redact(str(told[key])) if told.get(key) else None for key in ("error", "sqlstate", "reason")}
    return Failed(datetime.fromtimestamp(stamp / 1000, timezone.utc), **words)
