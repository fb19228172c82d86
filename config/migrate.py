"""The migrate: section of invoke.yaml, parsed and checked: how a live database is changed without a stall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.section import Section, refuse


@dataclass(frozen=True)
class Migrate:
    """How long a change of a live database may wait, and be waited for; all in seconds."""

    lock_timeout: float
    """For each lock: so long do others wait behind us at most."""
    patience: float
    """For all attempts together."""
    stall: float
    """For which a table may be closed to everybody (ACCESS EXCLUSIVE)."""


def migrate(config: Mapping[str, Any]) -> Migrate:
    """Read the migrate: section."""
    s = Section("migrate", config)
    read = Migrate(s.duration("lock_timeout"), s.duration("patience"), s.duration("stall"))
    if not 0.001 <= read.lock_timeout <= 60:  # 0 would mean to the server: without an end
        s.fault("lock_timeout", "give it from 1ms to 60s: others wait for as long")
    refuse("invoke.yaml", s.faults)
    return read
