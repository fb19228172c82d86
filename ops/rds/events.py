"""What RDS has done with an instance, in its own words.

AWS keeps events for 14 days (RDS API Reference, "DescribeEvents"). Those of snapshots are asked of all snapshots, and kept
where the snapshot is the instance's: it is listed, or has the name that RDS gives the instance's automated ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from config.settings import Settings
from ops.aws import Aws
from ops.errors import Misconfigured
from ops.rds import instance, server, snapshot_kinds
from ops.rds.cluster.row import instances_of
from ops.times import in_utc

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

KEPT_HOURS = 14 * 24
Source = Literal["db-instance", "db-cluster", "db-snapshot", "db-cluster-snapshot"]


@dataclass(frozen=True)
class Event:
    """One thing that RDS has done."""

    at: datetime
    """When it was done."""
    source: Source
    """With what, in RDS's word."""
    name: str
    """The instance's, or the snapshot's."""
    categories: list[str]
    """In RDS's words: availability, backup, and so on."""
    message: str
    """In RDS's words."""


def read_hours(text: str) -> int:
    """Return --hours; raises `Misconfigured` for what AWS would not take."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= KEPT_HOURS):
        raise Misconfigured(
            f"--hours {text}: give a whole number from 1 to {KEPT_HOURS}: AWS keeps events for {KEPT_HOURS // 24} days"
        )
    return int(text)


def find(settings: Settings, aws: Aws, hours: int) -> list[Event]:
    """Return the events of the last hours, of the instance and its snapshots, newest last."""
    client: RDSClient = aws.client("rds")
    row, kind = instance.require_instance(aws, settings.rds), snapshot_kinds.of(settings.rds)
    name = str(row["DBInstanceIdentifier"])
    snapshots = {one["DBSnapshotIdentifier"] for one in kind.listed(aws, name)}
    found = list(asked(client, server.of(settings.rds).source, hours, name))
    for one in instances_of(row):
        found += asked(client, "db-instance", hours, one["DBInstanceIdentifier"])
    automated = re.compile(rf"rds:{re.escape(name)}-\d{{4}}(-\d\d){{4}}")  # with the time at which it was made
    found += [
        event
        for event in asked(client, kind.source, hours)
        if event.name in snapshots or automated.fullmatch(event.name)
    ]
    return sorted(found, key=lambda event: event.at)


def asked(client: RDSClient, source: Source, hours: int, name: str = "") -> Iterator[Event]:
    """Yield what RDS tells about one instance, or about all sources of a kind."""
    of = {"SourceIdentifier": name} if name else {}
    for page in client.get_paginator("describe_events").paginate(SourceType=source, Duration=hours * 60, **of):  # type: ignore[arg-type]
        for event in page["Events"]:
            yield Event(
                event["Date"].astimezone(timezone.utc),
                source,
                event.get("SourceIdentifier", name),
                list(event.get("EventCategories", [])),
                event.get("Message", ""),
            )


def table_row(event: Event) -> dict[str, str]:
    """Return an event for people."""
    about = f"snapshot {event.name}" if event.source.endswith("snapshot") else event.name
    return {"at": in_utc(event.at, seconds=True), "of": about, "event": event.message}
