"""From what an instance is restored: a snapshot, or a moment in the past of one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from config.rds import Rds
from ops import times
from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.rds import snapshot_kinds
from ops.rds.restore.names import Names

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import DBSnapshotTypeDef


@dataclass(frozen=True)
class Source:
    """One of both."""

    snapshot: str = ""
    at: datetime | None = None

    def __str__(self) -> str:
        return self.snapshot or (f"{self.at:%Y-%m-%dT%H:%M:%SZ}" if self.at else "")

    @property
    def option(self) -> str:
        """The option by which a task is told it."""
        return f"--snapshot {self.snapshot}" if self.snapshot else f"--at {self}"

    @property
    def words(self) -> str:
        return f"the snapshot {self.snapshot}" if self.snapshot else f"its state at {self}"


def read(snapshot: str, at: str) -> Source:
    """Return what the options name; raises `Misconfigured` unless it is one thing."""
    if bool(snapshot) == bool(at):
        raise Misconfigured("say from what: --snapshot NAME (inv rds.snapshots lists them), or --at 2026-11-20T14:05Z")
    if snapshot:
        return Source(snapshot=snapshot.lower())
    moment = times.moment(at)
    if moment is None or "T" not in at.upper():
        raise Misconfigured(f"--at {at}: write a moment like 2026-11-20T14:05Z, in UTC or with its offset")
    return Source(at=moment.astimezone(timezone.utc).replace(microsecond=0))


def check(source: Source, aws: Aws, rds: Rds, which: Names, live: Row | None) -> None:
    """Raise what AWS would refuse of a source, before anything is made."""
    if source.snapshot:
        check_snapshot(source.snapshot, aws, rds, which)
    elif source.at:
        check_moment(source.at, rds, live)


def check_snapshot(name: str, aws: Aws, rds: Rds, which: Names) -> None:
    """Raise `Problem` for a snapshot that cannot be restored, `Refused` for one of another instance."""
    found = snapshot_kinds.of(rds).find(aws, name)
    if found is None:
        raise Misconfigured(f"there is no snapshot {name} in {aws.region}: inv rds.snapshots lists those there are")
    if not is_of(found, rds, which):
        raise Refused(
            f"{name} is a snapshot of {found.get('DBInstanceIdentifier')}, not of {rds.identifier}: nothing was made; "
            f"INVOKE_RDS_IDENTIFIER={found.get('DBInstanceIdentifier')} inv rds.restore is for that one"
        )
    if found["Status"] == "creating":
        raise InProgress(
            f"the snapshot {name} is still being made ({found.get('PercentProgress', 0)}%): run this again"
        )
    if found["Status"] != "available":
        raise Problem(
            f"the snapshot {name} is {found['Status']} and cannot be restored: choose another (inv rds.snapshots)"
        )
    if found.get("Engine", rds.engine) != rds.engine:
        raise Problem(f"the snapshot {name} is of {found['Engine']}, not of {rds.engine}: choose another")


def is_of(snapshot: DBSnapshotTypeDef, rds: Rds, which: Names) -> bool:
    """Whether a snapshot is of this instance, by whatever of its names it had then, or of its project."""
    its = tags.from_aws(snapshot.get("TagList"))
    ours = tags.is_ours(its) and its.get("Project") == rds.project
    return ours or snapshot.get("DBInstanceIdentifier") in (which.live, which.beside, which.prev)


def check_moment(at: datetime, rds: Rds, live: Row | None) -> None:
    """Raise `Refused` for a moment that the backups do not reach.

    They begin with the instance's birth, and end some minutes ago (LatestRestorableTime).
    """
    name = rds.identifier
    if live is None:
        raise Refused(
            f"there is no {name} to go back in: inv rds.restore --snapshot NAME restores one that is gone (inv rds.snapshots)"
        )
    days = live.get("BackupRetentionPeriod")
    if days == 0:
        raise Refused(
            f"{name} keeps no backups: set rds.backup_days, then inv rds.apply; inv rds.restore --snapshot NAME works without"
        )
    latest = live.get("LatestRestorableTime")
    if at > (latest or datetime.now(timezone.utc)):
        until = f"{latest:%Y-%m-%dT%H:%M:%SZ}" if latest else "now"
        raise Refused(
            f"--at {at:%Y-%m-%dT%H:%M:%SZ}: the backups of {name} reach until {until}, about five minutes behind"
        )
    born = live.get("InstanceCreateTime")
    if born and at < born:
        raise Refused(
            f"--at {at:%Y-%m-%dT%H:%M:%SZ}: {name} was made at {born:%Y-%m-%dT%H:%M:%SZ}; an earlier state is in a snapshot, or in "
            f"the backups of {name}-prev"
        )
    if days and at < datetime.now(timezone.utc) - timedelta(days=days):
        raise Refused(
            f"--at {at:%Y-%m-%dT%H:%M:%SZ}: {name} keeps backups for {days} days: an earlier state is in a snapshot only"
        )
