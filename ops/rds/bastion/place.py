"""Where the bastion stands: a subnet of the instance's network from which Session Manager is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.cloud import prices
from ops.cloud.facts import Row
from ops.errors import Misconfigured
from ops.rds.bastion import parts

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


@dataclass(frozen=True)
class Place:
    """A subnet, and how one gets out of it."""

    vpc: str
    subnet: str
    public: bool
    """Whether the bastion needs a public address to get out; nothing comes in by it."""


def find_place(aws: Aws, row: Row) -> Place:
    """Return where the bastion of an instance can stand; raises `Misconfigured` where nothing leads out."""
    ec2: EC2Client = aws.client("ec2")
    vpc = str((row.get("DBSubnetGroup") or {}).get("VpcId") or "") or vpc_of_group(ec2, row)
    pages = ec2.get_paginator("describe_subnets").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    subnets = sorted(str(subnet["SubnetId"]) for page in pages for subnet in page["Subnets"])
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    ways = {subnet: way_out(tables, subnet) for subnet in subnets}
    for wanted in ("igw-", "nat-"):
        if found := next((subnet for subnet in subnets if ways[subnet].startswith(wanted)), None):
            return Place(vpc, found, public=wanted == "igw-")
    if subnets and (subnet := by_endpoints(ec2, aws.region, vpc)):
        return Place(vpc, subnet, public=False)
    names = ", ".join(f"com.amazonaws.{aws.region}.{name}" for name in parts.ENDPOINTS)
    raise Misconfigured(
        f"no subnet of {vpc} has a route to the internet, so Session Manager is not reached from there: make the VPC endpoints {names} "
        f"({prices.of_endpoints()}), or give a subnet a route to an internet gateway; then run this again"
    )


def vpc_of_group(ec2: EC2Client, row: Row) -> str:
    """Return the network of an instance's security group, where its own description does not tell."""
    groups = [str(group["VpcSecurityGroupId"]) for group in row.get("VpcSecurityGroups", [])]
    [found, *_] = ec2.describe_security_groups(GroupIds=groups[:1])["SecurityGroups"]
    return str(found["VpcId"])


def way_out(tables: list[Any], subnet: str) -> str:
    """Return to what a subnet's route to the internet leads: igw-…, nat-…, or nothing."""
    own = [t for t in tables if any(a.get("SubnetId") == subnet for a in t.get("Associations", []))]
    main = [t for t in tables if any(a.get("Main") for a in t.get("Associations", []))]
    for table in own or main:
        for route in table.get("Routes", []):
            if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active":
                return str(route.get("GatewayId") or route.get("NatGatewayId") or "")
    return ""


def by_endpoints(ec2: EC2Client, region: str, vpc: str) -> str:
    """Return a subnet from which Session Manager's endpoints are reached, or nothing where they are not there."""
    rows = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["VpcEndpoints"]
    there = {str(row["ServiceName"]): row for row in rows}
    wanted = [there.get(f"com.amazonaws.{region}.{name}") for name in parts.ENDPOINTS]
    if not all(wanted) or not wanted[0]:
        return ""
    return str((wanted[0].get("SubnetIds") or [""])[0])
