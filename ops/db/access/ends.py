"""How long somebody's access lasts."""

from __future__ import annotations

import re
from datetime import timedelta

from ops.errors import Misconfigured

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
LONGEST = timedelta(days=366)


def length(text: str) -> timedelta:
    """Read a length of time, like 30m, 8h or 5d; raises `Misconfigured`."""
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if not found or not timedelta(0) < (read := int(found[1]) * UNITS[found[2]]) <= LONGEST:
        raise Misconfigured(f"--expires {text}: give a length of time of up to {LONGEST.days} days, like 30m, 8h or 5d")
    return read


def words(left: timedelta) -> str:
    """Return how long it is until a time, for people."""
    minutes = int(left.total_seconds()) // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} days"
