"""The rds: and door: sections of invoke.yaml, parsed and checked."""

from __future__ import annotations

from dataclasses import dataclass

# Every key with its built-in default; "unset" leaves a field to AWS. The
# reason for each stands beside it in invoke.yaml.
RDS_DEFAULTS = {
    "identifier": "cruddur-db-instance",
    "instance_class": "db.t4g.micro",
    "engine_version": "18",
    "storage_gb": "20",
    "storage_max_gb": "50",
    "storage_type": "gp3",
    "encrypted": "yes",
    "zone": "any",
    "public": "yes",
    "multi_az": "no",
    "backup_days": "7",
    "deletion_protection": "yes",
    "extended_support": "no",
    "auto_minor_upgrade": "yes",
    "iam_auth": "yes",
    "insights_mode": "standard",
    "insights_days": "7",
    "copy_tags": "yes",
    "project": "cruddur",
    "wait_minutes": "60",
    "ca_url": "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem",
}

DOOR_DEFAULTS = {
    "expires": "12h",
    "echo": "https://checkip.amazonaws.com https://checkip.global.api.aws",
}


@dataclass(frozen=True)
class Rds:
    """What rds.create makes; `None` where a field is left to AWS."""

    identifier: str
    instance_class: str
    engine_version: str
    storage_gb: int
    storage_max_gb: int | None
    storage_type: str
    encrypted: bool
    zone: str | None
    """The letter of the availability zone, behind the region's name."""
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
