"""The numbers that migrations are called by, in the order of time, whatever form each has.

Seconds since 1970, with or without their fraction and without a point (10 to 19 digits: milliseconds, microseconds, and what
Python's `str(time.time()).replace(".", "")` leaves, which has no fixed length); a date with or without a time of day (8 to 20 digits);
or a serial number. Compared as plain numbers, a stamp of 17 digits would be younger than any of 16.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from ops.errors import Misconfigured

Order: TypeAlias = tuple[int, int, int]
"""0 for a serial number and 1 for a time; the number or the seconds since 1970; the fraction in units of 1e-12 s."""

DIGITS = 14
"""Of a stamp as db.migration-new writes it: UTC, from the year down to the second."""
_DATE = re.compile(r"((?:19[7-9]|20[0-9])\d)(0[1-9]|1[0-2])(\d\d)(\d*)")
_EPOCH = re.compile(r"([12]\d{9})(\d{0,9})")


def order(digits: str) -> Order:
    """Return where a stamp stands in time; raises `Misconfigured` for digits that are neither a time nor a serial number."""
    if found := of_date(digits) or of_epoch(digits):
        return found
    if len(digits.lstrip("0")) <= DIGITS:
        return 0, int(digits), 0
    raise Misconfigured(
        f"{digits} is no time of a known form (seconds, milliseconds or microseconds since 1970, or a date): rename the file"
    )


def is_time(digits: str) -> bool:
    """Whether a stamp is a time, and no serial number."""
    return bool(of_date(digits) or of_epoch(digits))


def of_date(digits: str) -> Order | None:
    """Read a date and what follows it, from the hour down to a fraction of a second."""
    match = _DATE.fullmatch(digits)
    if not match or int(match[3]) not in range(1, calendar.monthrange(int(match[1]), int(match[2]))[1] + 1):
        return None
    day = calendar.timegm((int(match[1]), int(match[2]), int(match[3]), 0, 0, 0))
    rest = match[4]
    if len(rest) <= 3:  # a number within the day, as in 2023041502
        return 1, day + 60 * int(rest or 0), 0
    if len(rest) % 2 and len(rest) < 7:
        return None
    parts = [int(rest[at : at + 2] or 0) for at in (0, 2, 4)]
    if parts[0] > 23 or parts[1] > 59 or parts[2] > 59:
        return None
    return 1, day + 3600 * parts[0] + 60 * parts[1] + parts[2], fraction(rest[6:])


def of_epoch(digits: str) -> Order | None:
    """Read seconds since 1970 and the digits of their fraction."""
    match = _EPOCH.fullmatch(digits)
    return (1, int(match[1]), fraction(match[2])) if match else None


def fraction(digits: str) -> int:
    """Return the digits behind a decimal point in units of 1e-12."""
    return int(digits[:12].ljust(12, "0"))


def assign(orders: Sequence[Order], given: Sequence[str]) -> list[str]:
    """Return a stamp of 14 digits for each of a sorted sequence, save where one is given; all different and in the same order.

    Where two have the same second, the later one gets the next. A serial number is filled with zeros: it stands before any time.
    """
    stamps: list[str] = []
    taken = {version for version in given if version}
    before = (0, -1)
    for (kind, own, _), known in zip(orders, given, strict=True):
        number = order(known)[1] if known else max(own, before[1] + 1) if kind == before[0] else own
        while not known and written(kind, number) in taken:
            number += 1
        before = kind, number
        stamps.append(known or written(kind, number))
    return stamps


def written(kind: int, number: int) -> str:
    """Return a serial number, or seconds since 1970, in 14 digits."""
    return shown(number) if kind else f"{number:0{DIGITS}}"


def shown(seconds: int) -> str:
    """Return seconds since 1970 as a stamp."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)).strftime("%Y%m%d%H%M%S")
