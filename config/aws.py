"""The aws: section of invoke.yaml, parsed and checked: how long AWS may be silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.section import Section, refuse


@dataclass(frozen=True)
class Limits:
    """How long AWS is waited for, in seconds; login and region are boto3's own to configure."""

    login_timeout: float
    """For the login as a whole, however many services, files and programs it takes."""
    connect_timeout: float
    """For each try to reach a service."""
    timeout: float
    """For a service that says nothing: what has taken a request and does not answer is given up after that."""


def limits(config: Mapping[str, Any]) -> Limits:
    """Read the aws: section."""
    s = Section("aws", config)
    read = Limits(s.seconds("login_timeout"), s.seconds("connect_timeout"), s.seconds("timeout"))
    refuse("invoke.yaml", s.faults)
    return read
