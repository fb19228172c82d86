"""What an instance of Postgres on RDS costs a month, by AWS's price list.

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
GB_MONTH = {"gp2": 0.115, "gp3": 0.115, "io1": 0.125, "io2": 0.125}
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
        source = f"list prices of us-east-1; those of {aws.region} could not be asked ({why})"
    return f"about {hour * HOURS + gb * asked.storage_gb:.0f} USD a month: {about} ({source})"


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
