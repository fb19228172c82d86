"""The instance as AWS knows it: found by name, known as ours by its tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from config.rds import Rds
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code, other_service, speaking
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Misconfigured, Problem
from ops.rds import differences, server, snapshot_kinds
from ops.rds.alarms import standing
from ops.rds.alarms.standing import Alarms
from ops.rds.cluster import row as cluster
from ops.rds.cluster.capacity import Capacity
from ops.rds.differences import Difference
from ops.rds.proxy import standing as proxies
from ops.rds.proxy.standing import Before
from ops.rds.schedule import times
from ops.rds.schedule.times import Schedule
from ops.rds.waiting import (
    HOPELESS,
    RESTING,
    STARTABLE,
    UNMADE,
    Events,
    Goal,
    is_stopped,
    is_usable,
    status,
    until,
    wait,
)
from ops.times import in_utc

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

R = TypeVar("R")
STOP_DAYS = 7
"""After which AWS starts a stopped instance by itself."""


def find_instance(aws: Aws, identifier: str) -> Row | None:
    """Return DescribeDBInstances' row of an instance, or None."""
    client: RDSClient = aws.client("rds")
    try:
        rows = client.describe_db_instances(DBInstanceIdentifier=identifier).get("DBInstances")
    except client.exceptions.ClientError as error:
        if code(error) == "DBInstanceNotFound":
            return None
        raise
    if not rows:  # RDS has either one or an error
        raise other_service("RDS")
    return rows[0]


def find_named(aws: Aws, its: server.Server, identifier: str) -> Row | None:
    """Return the row of an instance, or of a cluster in the same shape, by its name alone; None where there is none."""
    return (cluster.find_cluster if its is server.CLUSTER else find_instance)(aws, identifier)


def find(aws: Aws, rds: Rds) -> Row | None:
    """Return the row of the settings' instance, or of their cluster in the same shape; None where there is none.

    Raises `Misconfigured` for an instance that belongs to a cluster, which is nothing by itself, and for one where a cluster is meant.
    """
    if rds.is_cluster:
        found = cluster.find_cluster(aws, rds.identifier)
        if found is None and find_instance(aws, rds.identifier) is not None:
            raise Misconfigured(
                f"{rds.identifier} is an instance: set rds.engine to postgres, or give the cluster another name (rds.identifier)"
            )
        return found
    row = find_instance(aws, rds.identifier)
    if row is not None and (of := row.get("DBClusterIdentifier")):
        raise Misconfigured(
            f"{rds.identifier} is an instance of the cluster {of}: set rds.engine to {row.get('Engine')} and rds.identifier to {of}"
        )
    return row


def require_instance(aws: Aws, rds: Rds) -> Row:
    """Return the row of an instance, or of a cluster, that must be there, ours or not."""
    row = find(aws, rds)
    if row is None:
        raise Misconfigured(
            f"there is no {server.of(rds).word} {rds.identifier} in {aws.region}: inv rds.create makes it "
            f"(or correct rds.identifier, {'rds.engine, ' if rds.is_cluster else ''}AWS_DEFAULT_REGION)"
        )
    return row


def is_ours(row: Row, rds: Rds) -> bool:
    """Whether the suite made this instance for this project, or adopted it."""
    have = tags.from_aws(row.get("TagList"))
    return tags.is_ours(have) and have.get("Project") == rds.project


def host(row: Row) -> str:
    """Return the name of the endpoint, or nothing while AWS does not know it."""
    return str(row.get("Endpoint", {}).get("Address") or "")


def port(row: Row) -> int:
    return int(row.get("Endpoint", {}).get("Port") or 5432)


@dataclass(frozen=True)
class Endpoint:
    """Where the instance is reached."""

    identifier: str
    """The instance's name."""
    endpoint: str
    """Its host name."""
    port: int
    """Of the server."""


def endpoint_of(row: Row) -> Endpoint:
    """Return where an instance is reached; raise `InProgress` while AWS does not know it."""
    return Endpoint(row["DBInstanceIdentifier"], endpoint(row), port(row))


def endpoint(row: Row) -> str:
    """Return the name of the endpoint; raise `InProgress` while AWS does not know it."""
    if not host(row):
        raise InProgress(
            f"{row['DBInstanceIdentifier']} is {row['DBInstanceStatus']}, its address is not known yet: "
            "inv rds.create goes on waiting"
        )
    return host(row)


def wait_for(aws: Aws, rds: Rds, goal: Goal, clock: Clock) -> Row | None:
    """Wait with the settings' limit, showing state and events."""
    events = Events(aws.client("rds"), rds.identifier, clock, server.of(rds).source)
    return wait(lambda: find(aws, rds), goal, events, rds.wait_minutes, clock)


def start_instance(aws: Aws, rds: Rds, clock: Clock) -> str:
    """Start a stopped instance, and return what to tell."""
    row: Row | None = require_instance(aws, rds)
    if is_usable(row):
        return f"{rds.identifier} is available already: nothing to do"
    if status(row) == "stopping":
        row = wait_for(aws, rds, Goal("rds.start", is_stopped, HOPELESS), clock)
    begun = status(row) if status(row) in STARTABLE else ""
    if begun:
        send_and_look(aws, rds, begun, server.of(rds).start)
    bad = {**HOPELESS, **UNMADE, "deleting": RESTING["deleting"]}
    wait_for(aws, rds, Goal("rds.start", is_usable, bad, begun), clock)
    return f"{rds.identifier} is available"


def send_and_look(aws: Aws, rds: Rds, state: str, operation: str) -> None:
    """Make a call that leads out of a state, or say what keeps the instance in it."""
    client: RDSClient = aws.client("rds")
    its = server.of(rds)

    def left() -> bool | None:
        return status(find(aws, rds)) != state or None

    try:
        calls.surely(lambda: its.call(aws, operation, rds.identifier), left)
    except client.exceptions.ClientError as error:
        if code(error) not in (its.wrong_state, server.INSTANCE.wrong_state):
            raise
        if left():
            return  # another run was first
        if state in HOPELESS:
            raise Problem(f"{rds.identifier} is {state}, AWS refuses {operation}: {HOPELESS[state]}") from error
        raise


def stop_instance(aws: Aws, rds: Rds, clock: Clock) -> str:
    """Stop an instance, and return what to tell: AWS starts it again by itself."""
    row: Row | None = require_instance(aws, rds)
    assert row is not None
    already = is_stopped(row)
    if is_usable(row) and not rds.is_cluster:
        from ops.rds.replica import following

        following.check_stop(row)
    if not already and row["DBInstanceStatus"] != "stopping":
        send_and_look(aws, rds, status(row), server.of(rds).stop)
    row = wait_for(aws, rds, Goal("rds.stop", is_stopped, {**HOPELESS, "deleting": RESTING["deleting"]}), clock)
    assert row is not None
    return f"{rds.identifier} is stopped{' already' if already else ''}; {restart_time(row)}; storage and backups are still billed"


def restart_time(row: Row) -> str:
    """Say when AWS starts a stopped instance: told by AWS, else seven days from now at most."""
    told = row.get("AutomaticRestartTime")
    if told:
        return f"AWS starts it by itself on {in_utc(told)}"
    latest = datetime.now(timezone.utc) + timedelta(days=STOP_DAYS)
    return f"AWS starts it by itself after {STOP_DAYS} days, on {latest:%Y-%m-%d} at the latest"


def snapshot_name(rds: Rds, kind: str) -> str:
    """Return a name for a snapshot, with the time in it."""
    return f"{rds.identifier}-{kind}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"


def take_snapshot(aws: Aws, rds: Rds, name: str, clock: Clock) -> str:
    """Make a snapshot and wait for it; one that is just being made is waited for instead."""
    kind = snapshot_kinds.of(rds)
    row = require_instance(aws, rds)
    known = kind.listed(aws, rds.identifier, SnapshotType="manual")
    name = name.lower()
    found = [s for s in known if s["DBSnapshotIdentifier"] == name or (not name and s["Status"] == "creating")]
    if found:
        name = found[0]["DBSnapshotIdentifier"]
        say(f"the snapshot {name} is {found[0]['Status']} from an earlier run: no new one is made under that name")
    else:
        name = name or snapshot_name(rds, "snapshot")
        own = {k: v for k, v in tags.from_aws(row.get("TagList")).items() if not k.startswith("aws:")}
        labels = tags.to_aws(own | tags.of_project(rds.project))
        try:
            calls.surely(
                lambda: kind.make(aws, row["DBInstanceIdentifier"], name, labels),
                lambda: kind.find(aws, name),
            )
        except aws.client("rds").exceptions.ClientError as error:
            # ours under that name are known from above: it is one that the look came too early for, or another instance's
            if code(error) != kind.exists:
                raise
            if (kind.find(aws, name) or {}).get("DBInstanceIdentifier") != row["DBInstanceIdentifier"]:
                raise
    wait_for_snapshot(aws, rds, name, clock)
    return name


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is complete."""

    identifier: str
    """The instance's."""
    snapshot: str
    """Its name."""


def wait_for_snapshot(aws: Aws, rds: Rds, name: str, clock: Clock) -> None:
    """Wait until a snapshot can be used."""

    def look(_: float) -> str | None:
        snapshot = snapshot_kinds.of(rds).described(aws, name)
        if snapshot["Status"] == "failed":
            raise Problem(f"the snapshot {name} has failed: delete it, then run this again")
        state = f"{snapshot['Status']}, {snapshot.get('PercentProgress', 0)}%"
        return None if snapshot["Status"] == "available" else state

    until(look, f"the snapshot {name}", rds.wait_minutes, "this", clock)


@dataclass(frozen=True)
class Pending:
    """A change that AWS makes in the next maintenance window."""

    field: str
    """As RDS calls it in ModifyDBInstance: AllocatedStorage."""
    value: str | int | bool | None
    """What it becomes; null for a new password."""


@dataclass(frozen=True)
class Instance:
    """The instance as RDS knows it; null is what RDS does not tell yet."""

    identifier: str
    """Its name."""
    status: str
    """In RDS's word: available, creating, stopped, and so on."""
    ours: bool
    """Whether the suite made or adopted it for this project, as its tags tell."""
    endpoint: str | None
    """Its host name; null while it is being made."""
    port: int
    """Of the server: 5432 while RDS does not tell."""
    engine: str | None
    """In RDS's word: postgres."""
    engine_version: str | None
    """Of PostgreSQL."""
    instance_class: str | None
    """In RDS's word: db.t4g.micro."""
    storage_gib: int | None
    """What it has now; it may grow by itself."""
    storage_type: str | None
    """In RDS's word: gp3."""
    zone: str | None
    """The availability zone."""
    public: bool | None
    """Whether its name leads to a public address."""
    encrypted: bool | None
    """Whether its storage is."""
    security_groups: list[str]
    """Their ids."""
    master_user: str | None
    """The name of the master user."""
    password_managed: bool
    """Whether RDS makes and keeps the password."""
    secret_status: str | None
    """Of the managed secret, in RDS's word: active, rotating, and so on."""
    backup_days: int | None
    """How long backups are kept."""
    deletion_protection: bool | None
    """Whether RDS refuses to delete it."""
    created_at: datetime | None
    """When it was made."""
    restarts_at: datetime | None
    """When AWS starts a stopped instance by itself."""
    pending: list[Pending]
    """What the next maintenance window changes."""
    differences: list[Difference]
    """Where it is not what the settings say."""
    schedule: Schedule | None
    """When rds.schedule stops and starts it; null where it does not, or may not be asked."""
    replicas: list[str]
    """The instances that follow it."""
    replica_of: str | None
    """The instance that it follows; null where it follows none."""
    proxies: list[Before] | None
    """The proxies that lead to it, whoever made them; null where they may not be asked for."""
    alarms: Alarms | None
    """What rds.alarms watches, and who is told; null where there is none, or it may not be asked."""
    cluster: Capacity | None
    """Of a cluster of Aurora, whose facts the others are then: its capacity and its instances; null for an instance."""


def facts(settings: Settings, aws: Aws, row: Row) -> Instance:
    """Return what rds.status shows."""
    from ops.rds.alarms import alarms
    from ops.rds.cluster import capacity
    from ops.rds.schedule import schedule

    alone = not settings.rds.is_cluster

    secret = row.get("MasterUserSecret")
    return Instance(
        identifier=row["DBInstanceIdentifier"],
        status=row["DBInstanceStatus"],
        ours=is_ours(row, settings.rds),
        endpoint=host(row) or None,
        port=port(row),
        engine=row.get("Engine"),
        engine_version=row.get("EngineVersion"),
        instance_class=row.get("DBInstanceClass"),
        storage_gib=row.get("AllocatedStorage"),
        storage_type=row.get("StorageType"),
        zone=row.get("AvailabilityZone"),
        public=row.get("PubliclyAccessible"),
        encrypted=row.get("StorageEncrypted"),
        security_groups=[group["VpcSecurityGroupId"] for group in row.get("VpcSecurityGroups", [])],
        master_user=row.get("MasterUsername"),
        password_managed=bool(secret),
        secret_status=secret.get("SecretStatus") if secret else None,
        backup_days=row.get("BackupRetentionPeriod"),
        deletion_protection=row.get("DeletionProtection"),
        created_at=row.get("InstanceCreateTime"),
        restarts_at=row.get("AutomaticRestartTime"),
        pending=pending(row),
        differences=differences.find_differences(settings, aws, row),
        schedule=unless_refused(lambda: schedule.holding(aws, row)) if alone else None,
        replicas=sorted(row.get("ReadReplicaDBInstanceIdentifiers", [])),
        replica_of=row.get("ReadReplicaSourceDBInstanceIdentifier"),
        proxies=unless_refused(lambda: proxies.before(aws, row)),
        alarms=unless_refused(lambda: alarms.holding(aws, row)) if alone else None,
        cluster=capacity.of(row),
    )


def unless_refused(look: Callable[[], R]) -> R | None:
    """Return what a look finds, nothing where AWS does not permit it or what is there is not ours."""
    try:
        with speaking():
            return look()
    except Problem:
        return None


def pending(row: Row) -> list[Pending]:
    """Return what the next maintenance window changes."""
    waiting = {
        name: value for name, value in row.get("PendingModifiedValues", {}).items() if value not in (None, "", [], {})
    }
    return [Pending(name, None if name == "MasterUserPassword" else plain(waiting[name])) for name in waiting]


def plain(value: Any) -> str | int | bool:
    """Return a value of AWS's; what is put together as text."""
    return value if isinstance(value, str | int) else str(value)


def told(found: Instance) -> dict[str, Any]:
    """Return an instance for people."""
    if found.cluster:
        return of_cluster(found, found.cluster)
    return {
        "instance": found.identifier,
        "status": found.status,
        "ours": found.ours,
        "endpoint": found.endpoint,
        "port": found.port,
        "engine": f"{found.engine or ''} {found.engine_version or ''}",
        "class": found.instance_class,
        "storage": f"{found.storage_gib} GB {found.storage_type or ''}",
        "zone": found.zone,
        **of_both(found),
        **({"replica of": found.replica_of} if found.replica_of else {"replicas": found.replicas}),
        "schedule": times.words(found.schedule) if found.schedule else None,
        "alarms": standing.words(found.alarms) if found.alarms else None,
    }


def of_both(found: Instance) -> dict[str, Any]:
    """Return what an instance and a cluster are both told by."""
    return {
        "public": found.public,
        "encrypted": found.encrypted,
        "groups": found.security_groups,
        "user": found.master_user,
        "password": f"managed by RDS ({found.secret_status or ''})" if found.password_managed else "yours",
        "backup days": found.backup_days,
        "deletion protection": found.deletion_protection,
        "created": in_utc(found.created_at) if found.created_at else None,
        "restart": in_utc(found.restarts_at) if found.restarts_at else None,
        "proxies": [f"{one.name}: {one.state.lower()}" for one in found.proxies or []],
        "pending": [f"{one.field} becomes {'a new one' if one.value is None else one.value}" for one in found.pending],
        "differs": found.differences,
    }


def of_cluster(found: Instance, its: Capacity) -> dict[str, Any]:
    """Return a cluster for people."""
    from ops.rds.cluster import capacity

    return {
        "cluster": found.identifier,
        "status": found.status,
        "ours": found.ours,
        "endpoint": found.endpoint,
        "reads at": its.reader_endpoint,
        "port": found.port,
        "engine": f"{found.engine or ''} {found.engine_version or ''}",
        "capacity": capacity.words(its),
        "instances": [
            f"{one.identifier}: {one.status}, {'writes' if one.writes else 'reads'}" for one in its.instances
        ],
        **of_both(found),
        **(capacity.OF_EXPRESS if its.express else {}),
    }
