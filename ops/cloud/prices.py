"""What things of AWS cost a month: an instance of Postgres by AWS's price list, what stands beside one by list prices.

The Price List Query API has few endpoints, of which us-east-1 is one, and knows the prices of all regions (Billing User Guide,
"Using the Price List Query API"). Who may not ask it, or asks where it is not, is told the list prices of one region.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ops.aws import Aws
from ops.aws_errors import code, errors

ENDPOINT = "us-east-1"
HOURS = 730
"""Of a month, as AWS reckons."""
VOLUMES = {
    "gp2": "General Purpose",
    "gp3": "General Purpose-GP3",
    "io1": "Provisioned IOPS",
    "io2": "Provisioned IOPS-IO2",
}
"""A storage type, as the price list calls it."""
HOURLY = {
    "db.t4g.micro": 0.016,
    "db.t4g.small": 0.032,
    "db.t4g.medium": 0.065,
    "db.t4g.large": 0.129,
    "db.m7g.large": 0.168,
}
"""USD for an hour of one zone, us-east-1, Linux, without a contract; for where the price list cannot be asked."""
BASE = "list prices of us-east-1"
"""Where the prices below hold; other regions are up to half as much above."""
GB_MONTH = {"gp2": 0.115, "gp3": 0.115, "io1": 0.125, "io2": 0.125}
ACU_HOUR, AURORA_GB_MONTH, AURORA_MILLION = 0.12, 0.10, 0.20
"""Of Aurora PostgreSQL, Standard: a capacity unit, a GB of the cluster's volume, a million requests to it."""
AURORA_PAGE = "https://aws.amazon.com/rds/aurora/pricing/"
SNAPSHOT_GB_MONTH = 0.095
ALARM_MONTH, METRIC_MONTH = 0.10, 0.30
"""Of CloudWatch, each; ten of both are free."""
MACHINE_HOUR = {"t4g.nano": 0.0042}
"""Of EC2, Linux."""
DISK_GB_MONTH, ADDRESS_HOUR, ENDPOINT_HOUR = 0.08, 0.005, 0.01
"""gp3 of a machine's own, a public IPv4 address, an interface endpoint of a VPC in one zone."""
PROXY_CPU_HOUR, SECRET_MONTH = 0.015, 0.40
"""RDS Proxy by the vCPUs of the instance behind it, two at least (https://aws.amazon.com/rds/proxy/pricing/); a secret."""
SNAPSHOT_GB_SECOND, RESTORED_GB = 0.0000015046, 0.0001397998
"""Lambda SnapStart for Python: a version's memory while its snapshot is kept, three hours at least; and with each start from it."""
LAMBDA_PAGE = "https://aws.amazon.com/lambda/pricing/"
SIZES = {"micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}
"""vCPUs of the sizes of a class; one of Nxlarge has 4 N (RDS User Guide, "Hardware specifications for DB instance classes")."""
PAGE = "https://aws.amazon.com/rds/postgresql/pricing/"


@dataclass(frozen=True)
class Asked:
    """What is to be paid for."""

    instance_class: str
    storage_gb: int
    storage_type: str
    multi_az: bool


def told(aws: Aws, asked: Asked) -> str:
    """Say what it costs a month, and where that is known from; never raises what AWS refuses."""
    about = f"{asked.instance_class} with {asked.storage_gb} GB {asked.storage_type}{' in two zones' if asked.multi_az else ''}"
    try:
        hour, gb = listed(aws, asked)
        source = f"{aws.region}, by AWS's price list"
    except LookupError as why:
        if asked.instance_class not in HOURLY:
            return f"{about}, at a price that could not be looked up ({why}): {PAGE}"
        twice = 2 if asked.multi_az else 1
        hour, gb = HOURLY[asked.instance_class] * twice, GB_MONTH.get(asked.storage_type, GB_MONTH["gp3"]) * twice
        source = f"{BASE}; those of {aws.region} could not be asked ({why})"
    return f"about {hour * HOURS + gb * asked.storage_gb:.0f} USD a month: {about} ({source})"


def of_capacity(least: float, most: float, instances: int) -> str:
    """Say what a cluster of Aurora costs a month, by the capacity that its instances have."""
    low, high = (acu * ACU_HOUR * HOURS * instances for acu in (least, most))
    idle = "nothing while it is paused" if least == 0 else f"about {low:.0f} USD a month where it is idle"
    each = f"for {instances} instances" if instances > 1 else "for one instance"
    return (
        f"{idle}, {high:.0f} if it always took all that it may ({least:g} to {most:g} ACU at {ACU_HOUR:g} USD an hour, {each}), and "
        f"{AURORA_GB_MONTH:g} for each GB and month, {AURORA_MILLION:g} for a million requests to its volume ({BASE}; {AURORA_PAGE})"
    )


def of_snapshot(gb: int) -> str:
    """Say what a snapshot costs a month, which is by what it holds and no other does."""
    per = SNAPSHOT_GB_MONTH
    return f"about {per:g} USD for each GB in it and month, {gb * per:.2f} USD for {gb} GB at most ({BASE})"


def of_versions(memory_mb: int, kept: int) -> str:
    """Say what a function's versions cost a month that start from snapshots, and each start."""
    gb = memory_mb / 1024
    month = gb * HOURS * 3600 * SNAPSHOT_GB_SECOND
    return (
        f"about {month:.2f} USD a month for each version that is kept, and {kept} are, and {gb * RESTORED_GB:.5f} USD for each start "
        f"from a snapshot ({BASE}: {LAMBDA_PAGE})"
    )


def of_alarms(alarms: int, metrics: int) -> str:
    """Say what alarms, and metrics of one's own, cost a month."""
    price = ALARM_MONTH * alarms + METRIC_MONTH * metrics
    return f"at most {price:.2f} USD a month for {alarms} alarms ({BASE}; the first ten are free)"


def of_machine(kind: str, disk_gb: int, *, public: bool) -> str:
    """Say what a machine of EC2 costs a month, by the hours it runs."""
    disk = DISK_GB_MONTH * disk_gb
    most = (MACHINE_HOUR[kind] + (ADDRESS_HOUR if public else 0)) * HOURS + disk
    parts = f"{kind}{', its public address' if public else ''}, {disk_gb} GB"
    return f"about {most:.2f} USD a month if it never stopped ({parts}), {disk:.2f} while it is stopped, by {BASE}"


def of_endpoints() -> str:
    """Say what endpoints in a VPC cost a month."""
    return f"about {ENDPOINT_HOUR * HOURS:.2f} USD a month each, and for each zone"


def of_proxy(instance_class: str, *, secret: bool) -> str:
    """Say what a proxy before an instance costs a month, and the secret that it logs in by."""
    size = instance_class.rpartition(".")[2]
    times = size.removesuffix("xlarge")
    cpus = 4 * int(times) if times.isdigit() else SIZES.get(size, 2)
    price = PROXY_CPU_HOUR * cpus * HOURS + (SECRET_MONTH if secret else 0)
    parts = f"{cpus} vCPUs of {instance_class}{', and a secret' if secret else ''}"
    return f"about {price:.2f} USD a month as long as it is there, used or not ({parts}; {BASE})"


def listed(aws: Aws, asked: Asked) -> tuple[float, float]:
    """Return USD for an hour and for a GB and month; raises `LookupError` with the reason."""
    zones = "Multi-AZ" if asked.multi_az else "Single-AZ"
    try:
        client = aws.client("pricing", region=ENDPOINT)
        hour = lowest(
            client, aws.region, instanceType=asked.instance_class, databaseEngine="PostgreSQL", deploymentOption=zones
        )
        volume = VOLUMES.get(asked.storage_type, asked.storage_type)
        gb = lowest(client, aws.region, productFamily="Database Storage", volumeType=volume, deploymentOption=zones)
    except errors() as error:
        raise LookupError(code(error) or "no answer") from error
    return hour, gb


def lowest(client: Any, region: str, **wanted: str) -> float:
    """Return the lowest price on demand of the products that fit."""
    fields = {"regionCode": region, **wanted}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    answer = client.get_products(ServiceCode="AmazonRDS", Filters=filters, FormatVersion="aws_v1", MaxResults=100)
    found = [price for text in answer.get("PriceList", []) for price in on_demand(json.loads(text))]
    if not found:
        raise LookupError("it lists none")
    return min(found)


def on_demand(product: dict[str, Any]) -> Iterator[float]:
    """Yield the prices of a product of the list, in USD for its unit, without those of other engines."""
    engine = product.get("product", {}).get("attributes", {}).get("databaseEngine", "Any")
    if engine not in ("PostgreSQL", "Any"):
        return
    for offer in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in offer.get("priceDimensions", {}).values():
            if price := float(dimension.get("pricePerUnit", {}).get("USD") or 0):
                yield price
