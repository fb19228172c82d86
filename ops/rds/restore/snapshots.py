"""rds.snapshots: those of the instance, and the old ones that are pruned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import tags
from ops.console import say
from ops.rds import snapshot_kinds
from ops.times import largest_unit
from ops.typed_name import require_confirmation

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import DBSnapshotTypeDef

FINAL = "-final-"
"""In the name of a snapshot that rds.delete leaves: all that there is of the instance."""


@dataclass(frozen=True)
class Listed:
    """A snapshot of the instance."""

    snapshot: str
    """Its name."""
    kind: str
    """In RDS's word: manual, automated, awsbackup."""
    status: str
    """In RDS's word: available, creating, failed."""
    ours: bool
    """Whether the suite made it for this project, as its tags tell."""
    created_at: datetime | None
    """Null while it is being made."""
    storage_gib: int | None
    """Of the instance at that time; a restored one has it again."""
    full_bytes: int | None
    """The blocks that it holds, as RDS tells; null where it does not."""
    engine_version: str | None
    """Of PostgreSQL."""
    prune: bool
    """Whether rds.snapshots --prune removes it, by the settings."""
    pruned: bool
    """Whether this run removed it."""


def find(settings: Settings, aws: Aws) -> list[Listed]:
    """Return the snapshots of the instance, the newest first."""
    rows = snapshot_kinds.of(settings.rds).listed(aws, settings.rds.identifier)
    last = datetime.max.replace(tzinfo=timezone.utc)
    rows.sort(key=lambda row: (row.get("SnapshotCreateTime") or last, row["DBSnapshotIdentifier"]), reverse=True)
    found = [listed(settings, row) for row in rows]
    old = set(to_prune(settings, found, datetime.now(timezone.utc)))
    return [replace(one, prune=one.snapshot in old) for one in found]


def listed(settings: Settings, row: DBSnapshotTypeDef) -> Listed:
    its = tags.from_aws(row.get("TagList"))
    return Listed(
        snapshot=row["DBSnapshotIdentifier"],
        kind=row.get("SnapshotType", "manual"),
        status=row.get("Status", ""),
        ours=tags.is_ours(its) and its.get("Project") == settings.rds.project and row.get("SnapshotType") == "manual",
        created_at=row.get("SnapshotCreateTime"),
        storage_gib=row.get("AllocatedStorage"),
        full_bytes=row.get("FullSnapshotSizeInBytes"),
        engine_version=row.get("EngineVersion"),
        prune=False,
        pruned=False,
    )


def to_prune(settings: Settings, found: list[Listed], now: datetime) -> Iterator[str]:
    """Yield those that are ours, complete, not the last of an instance, none of the newest, and older than the settings keep."""
    rds = settings.rds
    ours = [one for one in found if one.ours and one.status == "available" and FINAL not in one.snapshot]
    for one in ours[rds.keep_snapshots :]:
        if one.created_at and now - one.created_at > timedelta(days=rds.keep_snapshot_days):
            yield one.snapshot


def prune(settings: Settings, aws: Aws, *, dry_run: bool, confirm: str) -> list[Listed]:
    """Remove old snapshots of ours; return all, with what became of each."""
    rds, found = settings.rds, find(settings, aws)
    old = [one for one in found if one.prune]
    rule = f"the {rds.keep_snapshots} newest of ours and those of the last {rds.keep_snapshot_days} days stay"
    if not old:
        say(f"nothing to prune: {rule}")
        return found
    for one in old:
        say(f"{'would remove' if dry_run else 'to be removed'}: {one.snapshot}, {age(one)} old")
    if dry_run:
        say(f"nothing was removed; {rule}")
        return found
    require_confirmation(
        rds.identifier,
        confirm,
        this="this instance",
        act=f"remove {len(old)} snapshots of {rds.identifier}",
        question=f"remove these {len(old)} snapshots for good. Type {rds.identifier} to go on:",
        caseless=True,
    )
    gone = {one.snapshot for one in old if remove(settings, aws, one.snapshot)}
    return [replace(one, pruned=one.snapshot in gone) for one in found]


def remove(settings: Settings, aws: Aws, name: str) -> bool:
    """Remove a snapshot; whether it is gone."""
    kind = snapshot_kinds.of(settings.rds)
    try:
        calls.surely(
            lambda: kind.take_away(aws, name),
            lambda: kind.find(aws, name) is None or None,
        )
    except aws.client("rds").exceptions.ClientError as error:
        if code(error) == kind.wrong_state:  # a restore or a copy reads it
            say(f"note: {name} is in use, and stays: run this again later")
            return False
        if code(error) != kind.missing:  # another run was first
            raise
    say(f"removed the snapshot {name}")
    return True


def age(one: Listed) -> str:
    """Return how old a snapshot is, for people."""
    if one.created_at is None:
        return "being made"
    count, unit = largest_unit((datetime.now(timezone.utc) - one.created_at).total_seconds())
    return f"{count} {unit[0]}"


def table_row(one: Listed) -> dict[str, Any]:
    size = f"{one.full_bytes / 2**30:.1f} GiB" if one.full_bytes is not None else f"of {one.storage_gib or '?'} GiB"
    what = "removed" if one.pruned else "to prune" if one.prune else ""
    kind = "ours" if one.ours else one.kind
    return {"snapshot": one.snapshot, "age": age(one), "size": size, "kind": kind, "status": one.status, "prune": what}
