"""What AWS would refuse of a change, found before the call."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from config.rds import Rds
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.rds import lookups
from ops.times import in_utc

COOLDOWN = timedelta(hours=6)
"""After a change of storage, until the next one; longer while it is being optimized (User Guide, "Working with storage")."""
OF_STORAGE = re.compile(r"modification to .*(storage|iops|throughput)", re.IGNORECASE)
"""The events of such a change: "Finished applying modification to allocated storage." (RDS-EVENT-0017) and its like."""


def storage_until(aws: Aws, row: Row) -> str:
    """Return until when the storage cannot be changed, in words; nothing if it can."""
    if row.get("DBInstanceStatus") == "storage-optimization" or row.get("StorageOperationStatus"):
        done = row.get("StorageOperationPercentProgress")
        return f"until it is optimized{f' ({done}% done)' if done is not None else ''}"
    last = lookups.asked("when its storage was changed last", lambda: last_change(aws, row), None)
    if last and (until := last + COOLDOWN) > datetime.now(timezone.utc):
        return f"until {in_utc(until)}, 6 hours after the last change"
    return ""


def last_change(aws: Aws, row: Row) -> datetime | None:
    """Return when AWS worked on the storage last, of the time that counts."""
    minutes = int(COOLDOWN.total_seconds() // 60)
    pages = (
        aws.client("rds")
        .get_paginator("describe_events")
        .paginate(SourceIdentifier=row["DBInstanceIdentifier"], SourceType="db-instance", Duration=minutes)
    )
    events = [event for page in pages for event in page["Events"]]
    dates = [event["Date"] for event in events if OF_STORAGE.search(event.get("Message", "")) and "Date" in event]
    return max(dates, default=None)


def class_faults(aws: Aws, rds: Rds, row: Row, version: str) -> list[str]:
    """Return why the zone of the instance does not have the class with the storage that the settings want.

    Nothing where AWS cannot be asked: it has the last word then.
    """
    wanted = replace(rds, zone=None)
    options = lookups.asked("the instance class", lambda: lookups.options_of(aws, wanted, version), None)
    if options is None:
        return []
    found = lookups.Found(version=version)
    lookups.judge(options, aws.region, wanted, found)
    zones = sorted({str(one["Name"]) for option in options for one in option.get("AvailabilityZones", [])})
    at = row.get("AvailabilityZone")
    if not found.faults and at and at not in zones:
        offered = ", ".join(zones)
        fault = f"rds.instance_class {rds.instance_class}: the instance is in {at}, and it is offered in {offered}"
        return [f"{fault}: use another class, or restore into another zone"]
    return found.faults
