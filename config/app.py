"""The app: section of invoke.yaml, parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.section import Section, refuse


@dataclass(frozen=True)
class App:
    """How app.run serves the feed."""

    host: str
    """The address it listens at."""
    port: int
    pool_size: int
    """Connections to the database, and as many requests at once."""
    hide_expired: bool


def app(config: Mapping[str, Any]) -> App:
    """Read the app: section."""
    s = Section("app", config)
    read = App(
        host=s.text("host"), port=s.count("port"), pool_size=s.count("pool_size"), hide_expired=s.flag("hide_expired")
    )
    if not 0 < read.port < 65536:
        s.fault("port", f"{read.port} is not a port: give one from 1 to 65535")
    if not 0 < read.pool_size <= 1000:
        s.fault("pool_size", f"{read.pool_size} is not a number of connections: give one from 1 to 1000")
    refuse("invoke.yaml", s.faults)
    return read
