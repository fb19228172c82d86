"""What a cluster of Aurora has of capacity and instances, and when it pauses.

"Scaling to Zero ACUs with automatic pause and resume for Aurora Serverless v2" (Aurora User Guide): with a minimum of 0 an instance
pauses once nobody has been connected for a while, and a login wakes it, which takes about 15 seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ops import times
from ops.cloud.facts import Row
from ops.rds.cluster import row as rows

OF_EXPRESS = {
    "groups": "none: its gateway to the internet lets in by tokens of IAM alone (inv rds.connect-policy)",
    "password": "none",
}
"""What is told of a cluster by express configuration in the place of groups and password."""
WAKES = "about 15 s"
"""What AWS says of how long it takes."""


@dataclass(frozen=True)
class Member:
    """An instance of a cluster."""

    identifier: str
    """Its name."""
    status: str
    """In RDS's word."""
    writes: bool
    """Whether it is the one that writes."""
    zone: str | None
    """The availability zone; null while it is being made."""


@dataclass(frozen=True)
class Capacity:
    """What a cluster of Aurora has beside what an instance has; null is what RDS does not tell."""

    min_acu: float | None
    """Capacity units that each of its instances has at least; 0 pauses."""
    max_acu: float | None
    """At most."""
    pauses_after_seconds: int | None
    """Without a session; null where it does not pause."""
    reader_endpoint: str | None
    """The name at which its readers are reached; null where it has none."""
    instances: list[Member]
    """The one that writes first."""
    express: bool
    """Whether it was made by express configuration: in no network, without a password."""


def of(row: Row) -> Capacity | None:
    """Return that of a cluster, None for an instance."""
    found = rows.cluster_of(row)
    if found is None:
        return None
    its: dict[str, Any] = dict(found.get("ServerlessV2ScalingConfiguration") or {})
    least = its.get("MinCapacity")
    return Capacity(
        min_acu=least,
        max_acu=its.get("MaxCapacity"),
        pauses_after_seconds=its.get("SecondsUntilAutoPause", 300) if least == 0 else None,
        reader_endpoint=rows.reader_endpoint(row) or None,
        instances=[
            Member(
                one["DBInstanceIdentifier"], one.get("DBInstanceStatus", ""), place == 0, one.get("AvailabilityZone")
            )
            for place, one in enumerate(rows.instances_of(row))
        ],
        express=rows.is_express(row),
    )


def words(its: Capacity) -> str:
    """Return the capacity for people."""
    if its.min_acu is None or its.max_acu is None:
        return "of classes that are set by hand"
    said = f"{its.min_acu:g} to {its.max_acu:g} ACU for each instance"
    if its.pauses_after_seconds is None:
        return said
    count, unit = times.largest_unit(its.pauses_after_seconds)
    return f"{said}; pauses after {count} {unit}{'' if count == 1 else 's'} without a session, and wakes in {WAKES}"


def pauses(row: Row) -> bool:
    """Whether the server pauses by itself."""
    found = of(row)
    return found is not None and found.pauses_after_seconds is not None
