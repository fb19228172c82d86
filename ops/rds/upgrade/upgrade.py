"""rds.upgrade: another version of PostgreSQL, in place after a snapshot; what would be refused is found before.

Where a run ends is seen from the instance and its snapshots alone, so the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.targets import Target
from ops import calls, postgres
from ops.aws import Aws
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import minutes, say
from ops.errors import Differs, Problem, Refused
from ops.rds import instance, prod
from ops.rds.replica import following
from ops.rds.upgrade import catalog, checks, offers, statistics
from ops.rds.upgrade.catalog import Catalog
from ops.rds.upgrade.checks import Finding
from ops.rds.upgrade.offers import Offer, fits, major
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable, status
from ops.typed_name import require_confirmation

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

TASK = "rds.upgrade"
FRESH = timedelta(hours=1)
"""How old the snapshot of a run that was cut off may be for the next one to go on with it."""
SETTLED = 300.0
"""Seconds in which an upgrade that AWS has begun shows in the instance's state."""
CatalogOf = Callable[[int], Catalog | None]
"""Returns what the catalogs of a major version hold; None where there is no server of it."""


@dataclass(frozen=True)
class Wanted:
    """What an upgrade is asked for with."""

    to: str
    """A major version, or an exact one."""
    group: str
    """The parameter group of the new version; empty: AWS's own."""
    catalog_of: CatalogOf


@dataclass(frozen=True)
class Upgraded:
    """An instance's way to another version of PostgreSQL."""

    identifier: str
    """The instance's name."""
    written: bool
    """Whether AWS was asked for it: false on a dry run, and where it has the version already."""
    from_version: str
    """What it had."""
    to_version: str
    """What it has now; on a dry run what it would get."""
    snapshot: str | None
    """The one that was made before; null where none was."""
    findings: list[Finding]
    """What is in the way: always empty after an upgrade."""
    upgrade_seconds: float | None = None
    """How long the database was away, until a session was open again, or the copy of a rehearsal, measured; null where this run did not begin it."""
    rehearsed: bool = False
    """Whether it was a copy that was upgraded, and nothing else."""


def upgrade(settings: Settings, aws: Aws, clock: Clock, wanted: Wanted, *, confirm: str, dry_run: bool) -> Upgraded:
    """Lead the instance to a version, or say what is in the way; raises `Differs` for that where it is no dry run."""
    rds, to, group = settings.rds, wanted.to, wanted.group
    row = owned(settings, aws)
    offers.check_wanted(to, row)
    have = row["EngineVersion"]
    if under_way := is_under_way(row):
        say(f"{rds.identifier} is being upgraded already ({status(row)}): waiting for that")
    offer = Offer(to) if under_way else offers.ask(aws, rds, row, to)
    if under_way and dry_run:
        return Upgraded(rds.identifier, False, have, to, None, [])
    if not offer.version:
        say(f"{rds.identifier} has PostgreSQL {have} already")
        if not dry_run:
            finish(settings, aws, clock, have)
        return Upgraded(rds.identifier, False, have, have, None, [])
    snapshot, begun = None, None
    if not under_way:
        check_ready(row)
        if major(offer.version) == major(have):
            following.check_minor(aws, row, offer.version)
        findings = in_the_way(settings, aws, row, offer, wanted)
        tell(row, offer)
        if dry_run:
            return Upgraded(rds.identifier, False, have, offer.version, None, findings)
        require_none(rds.identifier, findings)
        require_confirmation(
            rds.identifier,
            confirm,
            this="this instance",
            act=f"upgrade {rds.identifier}",
            question=f"upgrade {rds.identifier} to PostgreSQL {offer.version}. Type its name to go on:",
            caseless=True,
        )
        snapshot = save(settings, aws, offer, clock)
        begun = clock.monotonic()
        send(settings, aws, row, offer, group)
    done = instance.wait_for(aws, rds, goal(row, offer, clock, to), clock)
    assert done is not None
    back = finish(settings, aws, clock, done["EngineVersion"])
    seconds = None if begun is None else back - begun
    return Upgraded(rds.identifier, True, have, done["EngineVersion"], snapshot, [], seconds)


def owned(settings: Settings, aws: Aws) -> Row:
    """Return the row of the instance, which must be ours."""
    row = instance.require_instance(aws, settings.rds)
    if not instance.is_ours(row, settings.rds):
        raise Refused(f"{settings.rds.identifier} was not made by inv: inv rds.create --adopt hands it over first")
    return row


def in_the_way(settings: Settings, aws: Aws, row: Row, offer: Offer, wanted: Wanted) -> list[Finding]:
    """Return what is in the way in the databases; raises `Misconfigured` for a parameter group that AWS would refuse."""
    offers.check_group(row, offer, wanted.group)
    if major(offer.version) == major(row["EngineVersion"]):
        return []
    return look(settings, aws, row, offer, wanted.catalog_of)


def require_none(identifier: str, findings: list[Finding]) -> None:
    """Raise `Differs` where something is in the way."""
    if findings:
        raise Differs(
            f"{identifier} is not upgraded, {len(findings)} in the way: mend these, then run this again",
            *(f"- {finding}" for finding in findings),
        )


def is_under_way(row: Row) -> bool:
    """Whether AWS is at an upgrade, or has one waiting."""
    return row["DBInstanceStatus"] == "upgrading" or "EngineVersion" in row.get("PendingModifiedValues", {})


def check_ready(row: Row) -> None:
    """Refuse to begin where AWS would not."""
    if not is_usable(row):
        state = status(row)
        advice = {**HOPELESS, **RESTING}.get(state, "wait until it is available (inv rds.status)")
        raise Problem(
            f"{row['DBInstanceIdentifier']} is {state}, nothing was changed: {advice}; inv {TASK} is for then"
        )


def tell(row: Row, offer: Offer) -> None:
    """Say what the upgrade does, takes and costs."""
    size = row.get("AllocatedStorage") or 0
    big = major(offer.version) > major(row["EngineVersion"])
    away = "10 to 30 minutes" if big else "some minutes"
    say(
        f"{row['DBInstanceIdentifier']}: PostgreSQL {row['EngineVersion']} becomes {offer.version} in place, after a snapshot; "
        f"the database is away for {away}, its name and logins stay"
    )
    say(f"the snapshot costs {prices.of_snapshot(size)}, until it is deleted")
    if big:
        for name in row.get("ReadReplicaDBInstanceIdentifiers", []):
            say(f"its replica {name} is upgraded with it")
        if row.get("MasterUserSecret"):
            say(
                "AWS makes no copy to switch over to (blue/green) of an instance whose password RDS keeps; --blue-green with a "
                "password of your own in its variable changes that first, and then the database is away for a minute at most"
            )
        else:
            say(
                "--blue-green shortens its minutes without a database to one at most: a copy is kept up to date, then switched to"
            )


# --- what is in the way -------------------------------------------------------------------


def look(settings: Settings, aws: Aws, row: Row, offer: Offer, catalog_of: CatalogOf) -> list[Finding]:
    """Return all that pg_upgrade or RDS would refuse, in every database of the instance."""
    old, new = major(row["EngineVersion"]), major(offer.version)
    offers.ask_extensions(aws, settings.rds, offer)
    fresh = catalog_of(new)
    if fresh is None:
        say(f"note: views of the system's tables are not checked: there are no programs of PostgreSQL {new} here")
    with server(settings, aws) as connect:
        return look_at(connect, old, new, offer.extensions, fresh)


def look_at(
    connect: Callable[[str], Connection[DictRow]],
    old: int,
    new: int,
    offered: frozenset[str] | None,
    fresh: Catalog | None,
) -> list[Finding]:
    """Return what is in the way on a server; `connect` opens a database by its name, and any for none."""
    with connect("") as conn:
        found = list(checks.of_server(conn, old, new))
        names = checks.databases(conn)
    for name in names:
        with connect(name) as conn:
            found += checks.of_database(conn, old, new)
            if offered is not None:
                found += checks.extensions(conn, offered, new)
            if fresh:
                found += catalog.views(conn, catalog.read(conn), fresh)
    return found


@contextmanager
def server(settings: Settings, aws: Aws) -> Iterator[Callable[[str], Connection[DictRow]]]:
    """Yield what opens a connection to a database of the instance; an empty name is the settings' one."""
    target: Target = prod.ask_rds(settings, why="its databases are looked at", aws=aws)
    prod.require_certificates(settings, target)

    def connect(name: str) -> Connection[DictRow]:
        return postgres.connect(target, task=TASK, dbname=name or None, timeout=settings.connect_timeout)

    yield connect


# --- the way ------------------------------------------------------------------------------


def save(settings: Settings, aws: Aws, offer: Offer, clock: Clock) -> str:
    """Make the snapshot to go back to, or go on with that of a run that was cut off just now; return its name."""
    rds = settings.rds
    begin = f"{rds.identifier}-before-{offer.version.replace('.', '-')}-"
    client = aws.client("rds")
    known = client.describe_db_snapshots(DBInstanceIdentifier=rds.identifier, SnapshotType="manual")["DBSnapshots"]
    latest = datetime.now(timezone.utc) - FRESH
    usable = [
        one["DBSnapshotIdentifier"]
        for one in known
        if one["DBSnapshotIdentifier"].startswith(begin)
        and (one["Status"] == "creating" or (one.get("SnapshotCreateTime") or latest) > latest)
    ]
    name = max(usable, default="") or f"{begin}{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    instance.take_snapshot(aws, rds, name, clock)
    say(f"its data is in the snapshot {name}")
    return name


def send(settings: Settings, aws: Aws, row: Row, offer: Offer, group: str) -> None:
    """Ask AWS for the upgrade of an instance, which need not be that of the settings."""
    client = aws.client("rds")
    rds = replace(settings.rds, identifier=row["DBInstanceIdentifier"])
    more: dict[str, Any] = (
        {"AllowMajorVersionUpgrade": True} if major(offer.version) > major(row["EngineVersion"]) else {}
    )
    if group:
        more["DBParameterGroupName"] = group

    def begun() -> bool | None:
        now = instance.require_instance(aws, rds)
        return (is_under_way(now) or fits(now["EngineVersion"], offer.version)) or None

    calls.surely(
        lambda: client.modify_db_instance(
            DBInstanceIdentifier=rds.identifier, EngineVersion=offer.version, ApplyImmediately=True, **more
        ),
        begun,
    )
    say(f"asked AWS for PostgreSQL {offer.version}; Ctrl-C is safe")


@dataclass
class Progress:
    """Tells when the instance has the version, and when AWS has given it up: then it is available with the old one."""

    before: str
    version: str
    clock: Clock
    seen: bool = False
    """Whether the state has shown the upgrade."""
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock.monotonic()

    def reached(self, row: Row | None) -> bool:
        if row is None or not is_usable(row) or is_under_way(row):
            self.seen = True
            return False
        if fits(row["EngineVersion"], self.version):
            return True
        if self.seen or self.clock.monotonic() - self.begun >= SETTLED:
            raise Problem(
                f"AWS has given up the upgrade, {row['DBInstanceIdentifier']} has {row['EngineVersion']} as before: its log file "
                "that begins with pg_upgrade says why (aws rds describe-db-log-files --filename-contains pg_upgrade "
                f"--db-instance-identifier {row['DBInstanceIdentifier']})"
            )
        return False


def goal(row: Row, offer: Offer, clock: Clock, to: str, option: str = "") -> Goal:
    progress = Progress(row["EngineVersion"], offer.version, clock)
    return Goal(f"{TASK} --to {to}{option}", progress.reached, {**HOPELESS, **RESTING})


# --- after it -----------------------------------------------------------------------------


def finish(settings: Settings, aws: Aws, clock: Clock, version: str) -> float:
    """Give the planner its statistics, and tell what is left to a person; safe to repeat. Return when a session was open, by the clock."""
    try:
        with server(settings, aws) as connect:
            with connect("") as conn:
                back = clock.monotonic()
                names = checks.databases(conn)
            for name in names:
                with connect(name) as conn:
                    if number := statistics.analyze(conn):
                        say(f"{name}: statistics of {number} tables")
                    statistics.tell_outdated(conn)
    except Problem as error:
        raise Problem(
            f"{settings.rds.identifier} has PostgreSQL {version}, its statistics were not looked at: {error}: "
            f"then run inv {TASK} again"
        ) from error
    if not fits(version, settings.rds.engine_version):
        say(f"note: rds.engine_version is {settings.rds.engine_version}: set it to {major(version)} in invoke.yaml")
    return back


def told(done: Upgraded) -> str:
    """Return what to tell of an upgrade, or of what is in its way."""
    if done.findings:
        return "\n".join(str(finding) for finding in done.findings)
    if done.rehearsed:
        took = (
            "another run has seen how long"
            if done.upgrade_seconds is None
            else f"{minutes(done.upgrade_seconds)} minutes"
        )
        return f"{done.identifier}: a copy went from PostgreSQL {done.from_version} to {done.to_version} ({took}), and is removed"
    if done.written:
        return f"{done.identifier} has PostgreSQL {done.to_version}"
    if done.from_version == done.to_version:
        return f"{done.identifier} has PostgreSQL {done.to_version}: nothing to upgrade"
    return f"{done.identifier}: nothing is in the way from PostgreSQL {done.from_version} to {done.to_version}"


def check_clear(done: Upgraded) -> None:
    """Raise `Differs` where a dry run has found something in the way."""
    if done.findings:
        raise Differs(f"{len(done.findings)} in the way of PostgreSQL {done.to_version}: mend these first")
