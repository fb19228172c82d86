"""The rds: and door: sections of invoke.yaml, parsed and checked.

Only what cannot be read is refused here; what AWS would refuse is listed by
the preflight (ops/rds/request.py), all of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.defaults import DEFAULTS
from config.section import Section, refuse

INSTANCE, CLUSTER = "postgres", "aurora-postgresql"
"""The engines, in RDS's words."""
OF_INSTANCE = ("instance_class", "storage_gb", "storage_max_gb", "storage_type", "iops", "throughput")
OF_CLUSTER = ("min_acu", "max_acu", "pause_after", "pause_with_function")
"""The settings that only one of them has (API references of CreateDBInstance and CreateDBCluster: which field is for which)."""


@dataclass(frozen=True)
class Rds:
    """What rds.create makes; `None` where a field is left to AWS."""

    engine: str
    """In RDS's word: postgres for an instance, aurora-postgresql for a cluster of Aurora."""
    identifier: str
    """In lower case, as AWS keeps it."""
    master_username: str
    instance_class: str
    engine_version: str
    """A major version, which stands for the minor that AWS takes by default, or an exact one."""
    min_acu: float
    """Of a cluster: capacity units of Aurora that each of its instances has at least; 0 pauses."""
    max_acu: float
    pause_after: float
    """Seconds without a session after which it pauses, where `min_acu` is 0."""
    pause_with_function: bool
    """Whether it may pause though a function logs in there, which does not wait for it."""
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
    login: str
    """How its target logs in: auto, password or iam."""
    insights_mode: str | None
    insights_days: int | None
    copy_tags: bool | None
    project: str
    keep_snapshots: int
    """How many of our newest snapshots are never pruned."""
    keep_snapshot_days: int
    """For how many days none of them is."""
    wait_minutes: float
    ca_url: str

    @property
    def is_cluster(self) -> bool:
        return self.engine == CLUSTER

    def not_its_own(self) -> list[str]:
        """Return the settings that are set, and that only the other engine has; a default is not set."""
        usual, _ = rds(DEFAULTS["rds"])
        others = OF_INSTANCE if self.is_cluster else OF_CLUSTER
        return [name for name in others if getattr(self, name) != getattr(usual, name)]


@dataclass(frozen=True)
class Door:
    """How rds.allow-my-ip finds the address, and how long its rule stays."""

    expires: str
    echo: tuple[str, ...]


def rds(config: Mapping[str, Any]) -> tuple[Rds, list[str]]:
    """Read the rds: section; what cannot be read is a fault, and its default stands in for it."""
    s = Section("rds", config)
    read = Rds(
        engine=s.word("engine", (INSTANCE, CLUSTER)),
        identifier=s.text("identifier").lower(),
        master_username=s.text("master_username"),
        instance_class=s.text("instance_class"),
        engine_version=s.text("engine_version"),
        min_acu=s.number("min_acu", "of capacity units", lambda value: value >= 0),
        max_acu=s.number("max_acu", "of capacity units", lambda value: value >= 0),
        pause_after=s.duration("pause_after"),
        pause_with_function=s.flag("pause_with_function"),
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
        login=s.word("login", ("auto", "password", "iam")),
        insights_mode=s.optional("insights_mode"),
        insights_days=s.count_or_unset("insights_days"),
        copy_tags=s.flag_or_unset("copy_tags"),
        project=s.text("project"),
        keep_snapshots=s.count("keep_snapshots"),
        keep_snapshot_days=s.count("keep_snapshot_days"),
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
