"""Times as other programs write them, and lengths of time as people read them."""

from __future__ import annotations

from datetime import datetime, timezone


def moment(text: str) -> datetime | None:
    """Read a time in any form of ISO 8601, in UTC where it has no zone; None for what is no time.

    Lambda writes +0000 (LastModified), Docker nine digits of a second (logs --timestamps).
    """
    from dateutil.parser import isoparse

    try:
        read: datetime = isoparse(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=timezone.utc)


def in_utc(at: datetime, *, seconds: bool = False) -> str:
    """Return a time for people, in UTC and saying so: 2026-11-30 08:05 UTC; JSON has ISO 8601."""
    return f"{at.astimezone(timezone.utc):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}} UTC"


def largest_unit(seconds: float) -> tuple[int, str]:
    """Return a length of time in its largest whole unit: (3, "day"); seconds below a minute, none below zero."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return int(seconds // size), unit
    return max(0, int(seconds)), "second"
