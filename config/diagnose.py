"""The diagnose: section of invoke.yaml, parsed and checked: from when on something counts as a fault of a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.section import Section, refuse


@dataclass(frozen=True)
class Diagnose:
    """How long is long."""

    unused_days: int
    """Days of statistics before an index that nobody has read is called unused."""
    pace_days: int
    """Days of statistics before a pace is taken from them."""
    long: float
    """Seconds that a transaction may last."""
    blocked: float
    """Seconds that one session may keep another waiting."""
    timeout: float
    """Seconds that one of its own statements may take."""


def diagnose(config: Mapping[str, Any]) -> Diagnose:
    """Read the diagnose: section."""
    s = Section("diagnose", config)
    read = Diagnose(
        unused_days=s.count("unused_days"),
        pace_days=s.count("pace_days"),
        long=s.duration("long"),
        blocked=s.duration("blocked"),
        timeout=s.duration("timeout"),
    )
    refuse("invoke.yaml", s.faults)
    return read
