"""When an instance stops and starts: read from what a person writes, and as EventBridge Scheduler takes it.

Cron expressions and time zones: EventBridge Scheduler's user guide, "Schedule types".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ops.errors import Misconfigured

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Times:
    """Times of day in a zone, on days of the week."""

    stop: str
    """20:00; empty where it is not stopped."""
    start: str
    """08:00; empty where it is not started."""
    days: tuple[str, ...]
    """mon, tue …, in the order of the week."""
    zone: str
    """As the tz database calls it: Europe/Berlin."""

    @property
    def shown(self) -> str:
        """The days in words."""
        first, last = self.days[0], self.days[-1]
        if len(self.days) == len(WEEK):
            return "every day"
        if len(self.days) > 2 and WEEK.index(last) - WEEK.index(first) == len(self.days) - 1:
            return f"{first}-{last}"
        return ", ".join(self.days)

    def cron(self, time: str) -> str:
        """Return a time on the days as Scheduler takes it; a range that passes the end of its week it would refuse."""
        hour, minute = time.split(":")
        days = "*" if len(self.days) == len(WEEK) else ",".join(day.upper() for day in self.days)
        return f"cron({int(minute)} {int(hour)} ? * {days} *)"


@dataclass(frozen=True)
class Schedule:
    """When an instance is stopped and started."""

    stop: str | None
    """A time of day, 20:00; null where it is not stopped."""
    start: str | None
    """A time of day, 08:00; null where it is not started."""
    days: list[str]
    """mon, tue and so on."""
    zone: str
    """Of the times, as the tz database calls it."""


def read(stop: str, start: str, days: str, zone: str) -> Times:
    """Read the options; raises `Misconfigured` for what cannot be meant."""
    if not stop and not start:
        raise Misconfigured("say when: --stop 20:00, --start 08:00, or both")
    return Times(time(stop, "--stop"), time(start, "--start"), on_days(days), known_zone(zone))


def time(text: str, option: str) -> str:
    """Return a time of day as HH:MM, or nothing for nothing."""
    if not text:
        return ""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if not found:
        raise Misconfigured(f"{option} {text}: give a time of day like 08:00 or 20:30")
    return f"{int(found[1]):02}:{found[2]}"


def on_days(text: str) -> tuple[str, ...]:
    """Return the days that a text like mon-fri or mon,wed,sat means; fri-mon goes past the end of the week."""
    found: set[str] = set()
    for part in text.lower().split(","):
        first, _, last = (each.strip() for each in part.partition("-"))
        if first not in WEEK or (last or first) not in WEEK:
            raise Misconfigured(f"--days {text}: write mon-fri, or mon,wed,sat, by {', '.join(WEEK)}")
        begin = WEEK.index(first)
        length = (WEEK.index(last or first) - begin) % len(WEEK) + 1
        found |= {WEEK[(begin + number) % len(WEEK)] for number in range(length)}
    return tuple(day for day in WEEK if day in found)


def known_zone(text: str) -> str:
    """Return a time zone, if the tz database of this machine has it, or has none to ask."""
    from zoneinfo import available_timezones

    names = available_timezones()
    if names and text not in names:
        raise Misconfigured(f"--zone {text}: there is no such time zone: write it like Europe/Berlin, or UTC")
    return text


def words(schedule: Schedule) -> str:
    """Return a schedule in words."""
    times = Times(schedule.stop or "", schedule.start or "", tuple(schedule.days or WEEK), schedule.zone)
    parts = [f"stops at {times.stop}"] * bool(times.stop) + [f"starts at {times.start}"] * bool(times.start)
    return f"{' and '.join(parts)}, {times.shown} ({times.zone})"
