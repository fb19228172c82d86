"""The rds: and door: sections of invoke.yaml, parsed and checked.

Only what cannot be read is refused here; what AWS would refuse is listed by
the preflight (ops/rds/request.py), all of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.defaults import DEFAULTS
from ops.errors import Misconfigured


@dataclass(frozen=True)
class Rds:
    """What rds.create makes; `None` where a field is left to AWS."""

    identifier: str
    """In lower case, as AWS keeps it."""
    master_username: str
    instance_class: str
    engine_version: str
    """A major version, which stands for the minor that AWS takes by default, or an exact one."""
    storage_gb: int
    storage_max_gb: int | None
    storage_type: str
    iops: int | None
    throughput: int | None
    encrypted: bool
    zone: str | None
    """The letter of the availability zone, behind the region's name."""
    subnet_group: str | None
    public: bool
    multi_az: bool
    backup_days: int
    deletion_protection: bool
    extended_support: bool | None
    auto_minor_upgrade: bool | None
    iam_auth: bool | None
    insights_mode: str | None
    insights_days: int | None
    copy_tags: bool | None
    project: str
    wait_minutes: float
    ca_url: str


@dataclass(frozen=True)
class Door:
    """How rds.allow-my-ip finds the address, and how long its rule stays."""

    expires: str
    echo: tuple[str, ...]


class Section:
    """Reads the quoted strings of one section; all that cannot be read is collected."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.config = config
        self.defaults: Mapping[str, str] = DEFAULTS[name]
        self.faults: list[str] = []

    def text(self, key: str) -> str:
        value = self.config.get(key, self.defaults[key])
        if not isinstance(value, str):  # YAML reads 010 as 8 and no as false; INVOKE_* would follow that type
            return self.fault(key, f'write it in invoke.yaml as a quoted string, like "{self.defaults[key]}"')
        return value.strip() or self.fault(key, f'is empty: give it a value, like "{self.defaults[key]}"')

    def fault(self, key: str, what: str) -> str:
        """Note a fault, and go on with the default to find the others."""
        self.faults.append(f"{self.name}.{key} (INVOKE_{self.name.upper()}_{key.upper()}): {what}")
        return self.defaults[key]

    def optional(self, key: str) -> str | None:
        text = self.text(key)
        return None if text == "unset" else text

    def flag(self, key: str) -> bool:
        return bool(self.flag_or_unset(key, ("yes", "no")))

    def flag_or_unset(self, key: str, words: tuple[str, ...] = ("yes", "no", "unset")) -> bool | None:
        text = self.text(key)
        if text not in words:
            text = self.fault(key, f"{text} is none of {', '.join(words)}")
        return None if text == "unset" else text == "yes"

    def count(self, key: str) -> int:
        text = self.text(key)
        if not (text.isascii() and text.isdigit() and len(text) < 7):
            text = self.fault(key, f"{text} is not a whole number")
        return int(text)

    def count_or_unset(self, key: str) -> int | None:
        return None if self.text(key) == "unset" else self.count(key)

    def minutes(self, key: str) -> float:
        try:
            value = float(self.text(key))
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e6:
            value = float(self.fault(key, f"{self.text(key)} is not a number of minutes"))
        return value


def refuse(about: str, faults: list[str]) -> None:
    """Raise `Misconfigured` if there are faults: one as one line, several as a list."""
    if len(faults) == 1:
        raise Misconfigured(faults[0])
    if faults:
        raise Misconfigured(f"{about}: {len(faults)} faults, nothing was done", *(f"- {fault}" for fault in faults))


def rds(config: Mapping[str, Any]) -> tuple[Rds, list[str]]:
    """Read the rds: section; what cannot be read is a fault, and its default stands in for it."""
    s = Section("rds", config)
    read = Rds(
        identifier=s.text("identifier").lower(),
        master_username=s.text("master_username"),
        instance_class=s.text("instance_class"),
        engine_version=s.text("engine_version"),
        storage_gb=s.count("storage_gb"),
        storage_max_gb=s.count_or_unset("storage_max_gb"),
        storage_type=s.text("storage_type"),
        iops=s.count_or_unset("iops"),
        throughput=s.count_or_unset("throughput"),
        encrypted=s.flag("encrypted"),
        zone=s.optional("zone"),
        subnet_group=s.optional("subnet_group"),
        public=s.flag("public"),
        multi_az=s.flag("multi_az"),
        backup_days=s.count("backup_days"),
        deletion_protection=s.flag("deletion_protection"),
        extended_support=s.flag_or_unset("extended_support"),
        auto_minor_upgrade=s.flag_or_unset("auto_minor_upgrade"),
        iam_auth=s.flag_or_unset("iam_auth"),
        insights_mode=s.optional("insights_mode"),
        insights_days=s.count_or_unset("insights_days"),
        copy_tags=s.flag_or_unset("copy_tags"),
        project=s.text("project"),
        wait_minutes=s.minutes("wait_minutes"),
        ca_url=s.text("ca_url"),
    )
    return read, s.faults


def door(config: Mapping[str, Any]) -> Door:
    """Read the door: section."""
    s = Section("door", config)
    read = Door(expires=s.text("expires"), echo=tuple(s.text("echo").split()))
    refuse("invoke.yaml", s.faults)
    return read
