"""What only AWS knows before an instance is made: versions, classes, zones, the VPC.

A look-up that AWS refuses (no permission, or an endpoint that lacks it) is
said, and create goes on: then AWS itself has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from config.rds import Rds
from ops.aws import Aws
from ops.aws_errors import DENIED, code, transient
from ops.console import say
from ops.rds.cluster.request import CLASS

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_rds.type_defs import DBEngineVersionTypeDef, OrderableDBInstanceOptionTypeDef

T = TypeVar("T")
Flag: TypeAlias = Literal[
    "SupportsStorageEncryption", "SupportsIAMDatabaseAuthentication", "SupportsPerformanceInsights", "MultiAZCapable"
]
"""What a class may have, in RDS's word."""


@dataclass
class Found:
    """What the look-ups gave."""

    version: str = ""
    """The minor version that AWS takes; empty where it could not be asked."""
    vpc: str = ""
    zones: set[str] | None = None
    """Where the subnet group has subnets; None for the default VPC."""
    faults: list[str] = field(default_factory=list)

    def knows(self, *settings: str) -> bool:
        """Whether one of these settings is known to be wrong already."""
        return any(re.match(rf"rds\.{setting}\b", fault) for fault in self.faults for setting in settings)


Step = Callable[[Aws, Rds, Found], None]


def look(aws: Aws, rds: Rds, known: list[str] | None = None) -> Found:
    """Ask AWS for everything that the request depends on, but for settings that are known to be wrong."""
    found = Found(faults=list(known or ()))
    optional("the engine version", version, aws, rds, found)
    optional("the instance class", orderable, aws, rds, found)
    optional("the availability zone", zone, aws, rds, found)
    network(aws, rds, found)  # the group cannot be made without it
    optional("whether there are subnets in two zones", subnets, aws, rds, found)
    return found


def optional(what: str, step: Step, aws: Aws, rds: Rds, found: Found) -> None:
    """Run a look-up that one can do without."""
    asked(what, lambda: step(aws, rds, found), None)


def asked(what: str, look_up: Callable[[], T], default: T) -> T:
    """Return what a look-up gives; where AWS refuses it, that is said, and the default holds."""
    from botocore.exceptions import ClientError
    from botocore.parsers import ResponseParserError

    try:
        return look_up()
    except (ClientError, ResponseParserError) as error:
        known = isinstance(error, ResponseParserError) or code(error) in (*DENIED, "InvalidAction") or transient(error)
        if not known:
            raise
        why = "no permission" if code(error) in DENIED else code(error) or "this endpoint does not answer that"
        say(f"note: {what} is not checked beforehand ({why})")
        return default


def version(aws: Aws, rds: Rds, found: Found) -> None:
    """Find the minor version behind a major one, or see that an exact one is still offered."""
    if found.knows("engine_version"):
        return
    client: RDSClient = aws.client("rds")
    wanted = rds.engine_version
    exact = "." in wanted
    asked: dict[str, Any] = {"Engine": rds.engine, "EngineVersion": wanted, **({} if exact else {"DefaultOnly": True})}
    rows = client.describe_db_engine_versions(**asked)["DBEngineVersions"]
    if rows:
        found.version = str(rows[0]["EngineVersion"])
        if not exact:
            say(f"PostgreSQL {wanted} is {found.version} on {'Aurora' if rds.is_cluster else 'RDS'} today")
        if rds.is_cluster:
            capacity(rows[0], rds, found)
        return
    every = client.describe_db_engine_versions(Engine=rds.engine)["DBEngineVersions"]
    offered = sorted({str(row["EngineVersion"]) for row in every}, key=numbers)
    found.faults.append(
        f"rds.engine_version {wanted}: RDS does not offer it (any more); it offers {', '.join(offered) or 'none'}: "
        f"a major version like {offered[-1].partition('.')[0] if offered else '18'} is the safe choice"
    )


def capacity(row: DBEngineVersionTypeDef, rds: Rds, found: Found) -> None:
    """See that the version takes the range of a cluster's capacity, and pauses where it is to (ServerlessV2FeaturesSupport)."""
    takes = row.get("ServerlessV2FeaturesSupport") or {}
    least, most = takes.get("MinCapacity"), takes.get("MaxCapacity")
    if least is not None and rds.min_acu < least:
        found.faults.append(
            f"rds.min_acu {rds.min_acu:g}: PostgreSQL {found.version} takes {least:g} at least{' and does not pause' if least else ''}: "
            "raise it, or set a newer rds.engine_version"
        )
    if most is not None and rds.max_acu > most:
        found.faults.append(f"rds.max_acu {rds.max_acu:g}: PostgreSQL {found.version} takes {most:g} at most: lower it")


def numbers(text: str) -> list[int]:
    """Return the numbers of a version, to sort by."""
    return [int(part) for part in text.split(".") if part.isdigit()]


def orderable(aws: Aws, rds: Rds, found: Found) -> None:
    """See that the class exists for the version, with this storage, in this zone.

    Where the version could not be looked up, an empty answer means nothing.
    """
    if not found.version or found.knows("instance_class", "storage_type", "zone"):
        return
    judge(options_of(aws, rds, found.version), aws.region, rds, found)


def options_of(aws: Aws, rds: Rds, version: str) -> list[OrderableDBInstanceOptionTypeDef]:
    """Return what RDS offers of the class for a version."""
    client: RDSClient = aws.client("rds")
    pages = client.get_paginator("describe_orderable_db_instance_options").paginate(
        Engine=rds.engine,
        EngineVersion=version,
        DBInstanceClass=CLASS if rds.is_cluster else rds.instance_class,
        Vpc=True,
    )
    return [option for page in pages for option in page["OrderableDBInstanceOptions"]]


def judge(options: list[OrderableDBInstanceOptionTypeDef], region: str, rds: Rds, found: Found) -> None:
    """Note what is wanted and not among what RDS offers."""
    if rds.is_cluster:
        judge_zones(options, region, rds, found, f"PostgreSQL {found.version} of Aurora")
        return
    if not options:
        found.faults.append(
            f"rds.instance_class {rds.instance_class}: {region} does not offer it for PostgreSQL {found.version}: "
            "use another, like db.t4g.micro"
        )
        return
    options = [option for option in options if option["StorageType"] == rds.storage_type]
    if not options:
        found.faults.append(f"rds.storage_type {rds.storage_type}: not offered for {rds.instance_class}: use gp3")
        return
    judge_zones(options, region, rds, found, rds.instance_class)
    flags: tuple[tuple[bool | None, Flag, str], ...] = (
        (rds.encrypted, "SupportsStorageEncryption", "encrypted"),
        (rds.iam_auth, "SupportsIAMDatabaseAuthentication", "iam_auth"),
        (rds.insights_days is not None, "SupportsPerformanceInsights", "insights_days"),
        (rds.multi_az, "MultiAZCapable", "multi_az"),
    )
    for wanted, flag, setting in flags:
        if wanted and not any(option.get(flag, True) for option in options):
            found.faults.append(
                f"rds.{setting}: {rds.instance_class} does not have it: use another class, or turn it off"
            )


def judge_zones(
    options: list[OrderableDBInstanceOptionTypeDef], region: str, rds: Rds, found: Found, what: str
) -> None:
    """Note a zone that does not have it; of what is offered nowhere, that."""
    zones = sorted({str(z["Name"]) for option in options for z in option["AvailabilityZones"]})
    if not options:
        found.faults.append(
            f"rds.engine {rds.engine}: {region} does not offer {what} by capacity ({CLASS}): use another"
        )
    elif rds.zone and f"{region}{rds.zone}" not in zones:
        found.faults.append(f"rds.zone {rds.zone}: {what} is offered in {', '.join(zones)}: use one of these, or unset")


def zone(aws: Aws, rds: Rds, found: Found) -> None:
    """See that the zone is there at all."""
    if not rds.zone or found.knows("zone"):
        return
    ec2: EC2Client = aws.client("ec2")
    rows = ec2.describe_availability_zones()["AvailabilityZones"]
    names = sorted(str(row["ZoneName"]) for row in rows)
    if f"{aws.region}{rds.zone}" not in names:
        found.faults.append(
            f"rds.zone {rds.zone}: your account has {', '.join(names)} in {aws.region}: use one of these letters, or unset"
        )


def network(aws: Aws, rds: Rds, found: Found) -> None:
    """Find the VPC: the subnet group's, else the default one."""
    if rds.subnet_group:
        client: RDSClient = aws.client("rds")
        try:
            groups = client.describe_db_subnet_groups(DBSubnetGroupName=rds.subnet_group)["DBSubnetGroups"]
        except client.exceptions.ClientError as error:
            if not code(error).startswith("DBSubnetGroupNotFound"):
                raise
            found.faults.append(
                f"rds.subnet_group {rds.subnet_group}: there is none in {aws.region}: correct or unset it"
            )
            return
        found.vpc = str(groups[0]["VpcId"])
        found.zones = {subnet["SubnetAvailabilityZone"]["Name"] for subnet in groups[0]["Subnets"]}
        return
    ec2: EC2Client = aws.client("ec2")
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        found.faults.append(
            f"{aws.region} has no default VPC: aws ec2 create-default-vpc makes one, or set rds.subnet_group"
        )
        return
    found.vpc = str(vpcs[0]["VpcId"])


def subnets(aws: Aws, _: Rds, found: Found) -> None:
    """See that the VPC has subnets in two zones, which RDS wants of a single instance too."""
    if not found.vpc:
        return
    if found.zones is None:
        ec2: EC2Client = aws.client("ec2")
        rows = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [found.vpc]}])["Subnets"]
        found.zones = {row["AvailabilityZone"] for row in rows}
    if len(found.zones) < 2:
        found.faults.append(
            f"{found.vpc} has subnets in {len(found.zones)} zone(s), RDS wants two: "
            "aws ec2 create-default-subnet, or set rds.subnet_group"
        )
