"""The request that makes the server, and what AWS would refuse in it: it asks nobody, so that all of it is tested offline.

The rules are those that RDS enforces, not those of its API text: that one
leaves out the blank in passwords, and says that gp3 needs Iops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from config.rds import Rds
from config.settings import Settings
from config.targets import MASK
from config.urls import MAINTENANCE, is_port
from ops.aws_errors import NO_REGION
from ops.cloud import tags
from ops.console import say
from ops.rds.cluster import request as cluster

EXTENDED_SUPPORT = {
    True: "open-source-rds-extended-support",
    False: "open-source-rds-extended-support-disabled",
}
TAKEN_USERS = ("admin", "rdsadmin", "public", "none", "user", "all", "default", "group", "order", "select", "table")
FREE_INSIGHTS_DAYS = 7
GP3_TUNABLE_GB = 400
GP3_IOPS, GP3_THROUGHPUT = (12_000, 64_000), (500, 4_000)
"""What a gp3 from that size on has at least, and may have at most; throughput in MiB/s, a quarter of the IOPS at most."""
PROVISIONED = {"io1": 50, "io2": 1000}
"""IOPS for each GB at most; half a one at least."""
PROVISIONED_IOPS = (1_000, 256_000)


@dataclass(frozen=True)
class Master:
    """The login that the instance is born with."""

    user: str
    password: str = field(repr=False)
    """Empty: RDS makes one and keeps it in Secrets Manager."""
    port: str


def master(settings: Settings) -> Master:
    """Return the login, from the variables that prod's URL is built from."""
    get, names = settings.vars.get, settings.focus.names
    return Master(
        user=get(names.user) or settings.rds_read[0].master_username,
        password=get(names.password),
        port=get(names.port, "5432"),
    )


def build(settings: Settings, region: str, groups: list[str], version: str = "") -> dict[str, Any]:
    """Return the request of CreateDBInstance, or of CreateDBCluster. What is unset is left out, so that AWS's own default holds.

    `version` is the minor version that AWS takes for the major one of the settings.
    """
    rds, login = settings.rds, master(settings)
    own = of_cluster if rds.is_cluster else of_instance
    asked = own(settings, region, groups, version)
    asked |= {
        "EngineLifecycleSupport": None if rds.extended_support is None else EXTENDED_SUPPORT[rds.extended_support],
        "Tags": tags.to_aws(tags.of_project(rds.project)),
    }
    if rds.insights_days is not None:
        asked |= {"EnablePerformanceInsights": True, "PerformanceInsightsRetentionPeriod": rds.insights_days}
    asked |= {"MasterUserPassword": login.password} if login.password else {"ManageMasterUserPassword": True}
    return {name: value for name, value in asked.items() if value is not None}


def of_cluster(settings: Settings, _: str, groups: list[str], version: str) -> dict[str, Any]:
    """Return what CreateDBCluster is asked for."""
    login = master(settings)
    return cluster.build(settings, login.user, login.port, groups, version)


def of_instance(settings: Settings, region: str, groups: list[str], version: str) -> dict[str, Any]:
    """Return what CreateDBInstance is asked for."""
    rds, login = settings.rds, master(settings)
    return {
        "DBInstanceIdentifier": rds.identifier,
        "DBName": settings.database,
        "DBInstanceClass": rds.instance_class,
        "Engine": "postgres",
        "EngineVersion": version or rds.engine_version,
        "MasterUsername": login.user,
        "Port": int(login.port),
        "AllocatedStorage": rds.storage_gb,
        "MaxAllocatedStorage": rds.storage_max_gb,
        "StorageType": rds.storage_type,
        "Iops": rds.iops,
        "StorageThroughput": rds.throughput,
        "StorageEncrypted": rds.encrypted,
        "AvailabilityZone": f"{region}{rds.zone}" if rds.zone else None,
        "DBSubnetGroupName": rds.subnet_group,
        "VpcSecurityGroupIds": groups,  # never left out: AWS would take the VPC's default group
        "PubliclyAccessible": rds.public,  # never left out: AWS's default depends on the subnet group
        "MultiAZ": rds.multi_az,
        "BackupRetentionPeriod": rds.backup_days,
        "DeletionProtection": rds.deletion_protection,
        "AutoMinorVersionUpgrade": rds.auto_minor_upgrade,
        "EnableIAMDatabaseAuthentication": rds.iam_auth,
        "DatabaseInsightsMode": rds.insights_mode,
        "CopyTagsToSnapshot": rds.copy_tags,
    }


def masked(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as it may be shown."""
    return {name: MASK if name == "MasterUserPassword" else value for name, value in request.items()}


def faults(settings: Settings, region: str | None) -> list[str]:
    """Return everything in the settings and variables that AWS would refuse, without asking it."""
    rds, found = settings.rds_read[0], list(settings.rds_read[1])
    checks = (name_faults, cluster.faults, upkeep_faults) if rds.is_cluster else CHECKS
    found += [f"rds.{fault}" for check in checks for fault in check(rds)]
    found += login_faults(settings)
    return found + region_faults(region)


def tell_ignored(rds: Rds) -> None:
    """Say which settings nothing follows from; they are no fault, since targets of both engines inherit one section."""
    if ignored := rds.not_its_own():
        other = "an instance" if rds.is_cluster else "a cluster"
        its = "a cluster" if rds.is_cluster else "an instance"
        say(
            f"note: {', '.join(f'rds.{name}' for name in ignored)}: for {other}, and {rds.identifier} is {its} (rds.engine): nothing "
            "follows from it; take it out, or give it to the target that is one"
        )


def region_faults(region: str | None) -> list[str]:
    """Return what is wrong with the region, without which AWS cannot be asked."""
    if not region:
        return [NO_REGION]
    if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d+", region):
        return [f"AWS_DEFAULT_REGION {region!r} is no region: write it like ca-central-1"]
    return []


def name_faults(rds: Rds) -> Iterator[str]:
    name = rds.identifier
    if not re.fullmatch(r"[a-z](-?[a-z0-9])*", name) or len(name) > 63:
        yield (
            f"identifier {name!r}: use at most 63 letters, digits and single hyphens, first a letter, last no hyphen"
        )
    if not re.fullmatch(r"db\.[a-z0-9-]+\.[a-z0-9]+", rds.instance_class):
        yield f"instance_class {rds.instance_class!r}: write it like db.t4g.micro"
    if not re.fullmatch(r"\d{1,2}(\.\d{1,2})?", rds.engine_version):
        yield f"engine_version {rds.engine_version!r}: give a major version like 18, or an exact one like 18.4"
    if rds.zone and not re.fullmatch("[a-z]", rds.zone):
        yield f"zone {rds.zone!r}: give the letter of the zone, behind the region's name, or unset"
    if rds.zone and rds.multi_az and not rds.is_cluster:
        yield "zone and multi_az exclude each other: unset the zone"
    if not re.fullmatch(r"[\w .:/=+@-]{1,256}", rds.project) or rds.project.lower().startswith("aws:"):
        yield f"project {rds.project!r}: a tag holds at most 256 letters, digits, blanks and _.:/=+-@"
    if not rds.ca_url.startswith("https://"):
        yield "ca_url: give an https:// URL, since anyone on the way could change what comes by another"


def storage_faults(rds: Rds) -> Iterator[str]:
    kind, size = rds.storage_type, rds.storage_gb
    if kind not in ("gp2", "gp3", *PROVISIONED):
        yield f"storage_type {kind!r}: use gp3 (or gp2, io1, io2)"
    smallest = 100 if kind in PROVISIONED else 20
    if not smallest <= size <= 65536:
        yield f"storage_gb {size}: give {smallest} to 65536 for {kind}"
    least = -(-size * 11 // 10)  # a tenth more, rounded up
    if rds.storage_max_gb is not None and not least <= rds.storage_max_gb <= 65536:
        yield f"storage_max_gb {rds.storage_max_gb}: give {least} to 65536, a tenth above storage_gb at least, or unset"
    yield from speed_faults(rds)


def speed_faults(rds: Rds) -> Iterator[str]:
    kind, size, iops, throughput = rds.storage_type, rds.storage_gb, rds.iops, rds.throughput
    tuned = " and ".join(name for name in ("iops", "throughput") if getattr(rds, name) is not None)
    if kind == "gp3" and size < GP3_TUNABLE_GB and tuned:
        yield f"{tuned}: AWS refuses any value for gp3 below {GP3_TUNABLE_GB} GB: unset"
    elif kind == "gp3":
        yield from outside("iops", iops, *GP3_IOPS, "gp3")
        most = min(GP3_THROUGHPUT[1], max(iops or 0, GP3_IOPS[0]) // 4)
        yield from outside("throughput", throughput, GP3_THROUGHPUT[0], most, "gp3, a quarter of the iops at most")
    elif kind in PROVISIONED:
        low, high = PROVISIONED_IOPS
        if iops is None:
            yield f"iops: {kind} needs a number"
        least = max(low, -(-size // 2))
        most = max(least, min(high, size * PROVISIONED[kind]))
        yield from outside("iops", iops, least, most, f"{kind} of {size} GB")
        if throughput is not None:
            yield f"throughput: {kind} takes none: unset"
    elif kind == "gp2" and tuned:
        yield f"{tuned}: gp2 takes none: unset"


def outside(name: str, value: int | None, least: int, most: int, about: str) -> Iterator[str]:
    if value is not None and not least <= value <= most:
        yield f"{name} {value}: give {least} to {most} for {about}"


def upkeep_faults(rds: Rds) -> Iterator[str]:
    if rds.backup_days > 35:
        yield f"backup_days {rds.backup_days}: give 0 (none) to 35"
    days, mode = rds.insights_days, rds.insights_mode
    if days is not None and days not in (FREE_INSIGHTS_DAYS, 731) and (days % 31 or not 31 <= days <= 23 * 31):
        yield f"insights_days {days}: give 7 (free), a multiple of 31, or 731"
    if mode not in (None, "standard", "advanced"):
        yield f"insights_mode {mode!r}: use standard, advanced or unset"
    if mode == "advanced" and (days is None or days < 465):
        yield "insights_mode advanced needs insights_days of 465 or more, and costs: use standard"


CHECKS = (name_faults, storage_faults, upkeep_faults)


def login_faults(settings: Settings) -> Iterator[str]:
    """Yield the faults of user, password, port and database; no part of a password is ever in one."""
    login, database = master(settings), settings.database
    names = settings.focus.names
    source = names.user if settings.vars.get(names.user) else "rds.master_username"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,15}", login.user):
        yield f"{source} {login.user!r}: use 1 to 16 letters, digits and _, first a letter"
    elif login.user.lower() in TAKEN_USERS or login.user.lower().startswith("pg_"):
        yield f"{source} {login.user!r}: the name is reserved: use another, like postgres"
    if login.password:
        yield from password_faults(login.password, names.password)
    if not is_port(login.port) or int(login.port) < 1150:
        yield f"{names.port} {login.port!r}: RDS takes 1150 to 65535"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", database):
        yield f"db.name {database!r}: RDS takes 1 to 63 letters, digits and _, first a letter (no hyphen)"
    elif database.lower() in MAINTENANCE:
        yield f"db.name {database!r}: it belongs to the server itself: name a database of your own"


def password_faults(password: str, about: str) -> Iterator[str]:
    if not 8 <= len(password) <= 128:
        yield f"{about}: RDS takes 8 to 128 characters (or unset it, and RDS makes and keeps one)"
    names = {"/": "a slash", "@": "an @", '"': "a double quote", " ": "a blank"}
    bad = [name for character, name in names.items() if character in password]
    if not all(" " <= character <= "~" for character in password):
        bad.append("a character that is not plain ASCII")
    if bad:
        yield f"{about}: RDS takes no password with {', '.join(bad)}"
