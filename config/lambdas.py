"""The lambda: section of invoke.yaml, parsed and checked, and the names that follow from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.section import Section, refuse

# CloudWatch takes these and no others
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
ENOUGH_MB = 512
"""Memory with which a cold sign-up stays below half of what Cognito waits, as `inv bench --only cold-quota` measures it."""
LONGEST = 50
"""Characters of a function's name that leave room for what is named after it (a role's has at most 64)."""


@dataclass(frozen=True)
class Lambda:
    """What lambda.deploy makes."""

    function: str
    python: str
    """The runtime's version, like 3.13."""
    architecture: str
    timeout_seconds: int
    memory_mb: int
    log_days: int
    snap_start: bool
    """Whether pools call a published version, which AWS starts from a snapshot."""
    wait_minutes: float

    @property
    def runtime(self) -> str:
        return f"python{self.python}"

    @property
    def role(self) -> str:
        return self.function

    @property
    def layer(self) -> str:
        return f"{self.function}-psycopg"

    @property
    def group(self) -> str:
        """The security group's name; one that begins with sg- AWS would refuse."""
        return f"lambda-{self.function}"

    @property
    def log_group(self) -> str:
        return f"/aws/lambda/{self.function}"


def lambdas(config: Mapping[str, Any]) -> Lambda:
    """Read the lambda: section; raises `Misconfigured` with everything that cannot be meant.

    Which runtimes there are, the SDK knows (ops/lambdas/package/runtimes.py).
    """
    s = Section("lambda", config)
    read = Lambda(
        function=s.text("function"),
        python=s.text("python"),
        architecture=s.text("architecture"),
        timeout_seconds=s.count("timeout_seconds"),
        memory_mb=s.count("memory_mb"),
        log_days=s.count("log_days"),
        snap_start=s.flag("snap_start"),
        wait_minutes=s.minutes("wait_minutes"),
    )
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}", read.function):
        s.fault("function", f"{read.function!r} is no name: at most {LONGEST} letters, digits, hyphens and underscores")
    if not 1 <= read.timeout_seconds <= 900:
        s.fault("timeout_seconds", f"{read.timeout_seconds} is not between 1 and 900")
    if not 128 <= read.memory_mb <= 10240:
        s.fault("memory_mb", f"{read.memory_mb} is not between 128 and 10240")
    if read.log_days not in LOG_DAYS:
        s.fault("log_days", f"CloudWatch does not keep logs for {read.log_days} days: use one of {LOG_DAYS}")
    refuse("invoke.yaml", s.faults)
    return read
