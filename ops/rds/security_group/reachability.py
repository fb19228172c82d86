"""Whether the port can be reached from here, and if not, what is in the way.

A rule is one of several things that must be so: the instance must run and be
public, its subnet must lead to the internet, and this network must let us out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from config.declared import PROD
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud.facts import Row
from ops.errors import Problem

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import RouteTableTypeDef

TIMEOUT = 4.0
TRIES = 3
PAUSE = 2.0
"""Seconds between tries: a new rule takes effect after a moment."""


def is_reachable(address: str, port: int, *, tries: int = TRIES, sleep: Callable[[float], None] = time.sleep) -> str:
    """Try the TCP port; return nothing if it answers, else why not."""
    why = ""
    for attempt in range(tries):
        if attempt:
            sleep(PAUSE)
        try:
            with socket.create_connection((address, port), timeout=TIMEOUT):
                return ""
        except socket.gaierror:
            return "its name does not resolve here"
        except TimeoutError:
            why = "no answer"
        except OSError as error:
            why = (error.strerror or str(error)).lower()
    return why


def why_blocked(instance: Row) -> str:
    """Return what RDS itself knows to be in the way, or nothing."""
    status = str(instance.get("DBInstanceStatus", ""))
    if status in ("stopped", "stopping"):
        return f"it is {status}: inv rds.start"
    if not instance.get("Endpoint"):
        return f"it has no address yet ({status}): inv rds.status"
    if instance.get("PubliclyAccessible") is False:
        return "it is not public: only its own network reaches it (a tunnel, or rds.public in invoke.yaml)"
    return ""


def why_no_route(aws: Aws, instance: Row) -> str:
    """Return why no packet from the internet finds the instance's subnets, or nothing."""
    group = instance.get("DBSubnetGroup") or {}
    subnets = [s["SubnetIdentifier"] for s in group.get("Subnets", [])]
    if not subnets:
        return ""
    ec2: EC2Client = aws.client("ec2")

    def tables(name: str, values: list[str]) -> list[RouteTableTypeDef]:
        found = ec2.describe_route_tables(Filters=[{"Name": name, "Values": values}])
        return list(found["RouteTables"])

    try:
        with speaking():
            of_subnets = tables("association.subnet-id", subnets)
            named = {a.get("SubnetId") for table in of_subnets for a in table.get("Associations", [])}
            if set(subnets) - named:  # these follow the main table of the network
                main = tables("vpc-id", [str(group.get("VpcId"))])
                of_subnets += [t for t in main if any(a.get("Main") for a in t.get("Associations", []))]
    except Problem as error:
        return f"its routes could not be looked up ({error})"
    gateways = [r.get("GatewayId", "") for table in of_subnets for r in table.get("Routes", [])]
    if any(gateway.startswith("igw-") for gateway in gateways):
        return ""
    return f"its subnets have no route to an internet gateway ({group.get('VpcId', 'VPC unknown')})"


def outcome(
    aws: Aws,
    instance: Row | None,
    host: str,
    hostaddr: str,
    port: int,
    *,
    variable: str = PROD.endpoint,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Return one line: the port answers, or what is in the way."""
    if instance and (why := why_blocked(instance)):
        return f"the port was not tried: {why}"
    host = str(((instance or {}).get("Endpoint") or {}).get("Address") or host)
    if not host:
        return f"the port was not tried: set {variable} to the server's name"
    why = is_reachable(hostaddr or host, port, sleep=sleep)
    if not why:
        return f"{host}:{port} can be reached from here"
    reason = why_no_route(aws, instance) if instance else ""
    if not reason and "resolve" not in why:
        reason = f"this network may not let port {port} out, or a network ACL of the VPC stops it"
    return f"{host}:{port} is not reached from here ({why})" + (f": {reason}" if reason else "")
