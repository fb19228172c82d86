"""Each write of each task is carried out and its answer lost: there is one of each after it, and the task says what is so.

moto does what is asked, then the connection breaks: botocore gets no answer, as where a network or a machine
between fails. It tries three times, as users have it.
"""

from __future__ import annotations

import ast
import io
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.stub import Stubber

from ops import calls, postgres
from ops.aws import Aws
from ops.aws_errors import lost, writes
from ops.cloud import tags
from ops.errors import Unreachable
from ops.lambdas import delete as removal
from ops.rds import create, delete, instance, prod, rotate
from ops.rds.alarms import alarms
from ops.rds.apply import applying
from ops.rds.replica import ending, making
from ops.rds.replica import names as replicas
from ops.rds.restore import restoring, swapping, written_later
from ops.rds.restore import snapshots as snapshots_task
from ops.rds.restore.names import SOURCE
from ops.rds.restore.source import Source
from ops.rds.schedule import own_role, schedule, times
from ops.rds.security_group import own_rule
from ops.rds.security_group.changes import Door
from ops.rds.upgrade import offers, upgrade
from tests import fix_spread, source, typed
from tests.fix_aws import DROPPED, Answer, Call, Configure, Front, Hands, outcome, quiet, ready
from tests.fix_door import ME, NOON
from tests.fix_lambda import Stage, unsign
from tests.test_lambda_cut import door as entered
from tests.test_lambda_cut import own, roles, whole
from tests.test_lambda_pool import FULL

SUITE = Path(__file__).parent.parent
SERVICES = (
    "rds", "ec2", "iam", "lambda", "logs", "cognito-idp", "secretsmanager", "scheduler", "cloudwatch", "sns",
)  # fmt: skip
ONE, TWO = ipaddress.ip_address("8.8.4.4"), ipaddress.ip_address("8.8.8.8")


def asked_for(*but: str) -> set[str]:
    """Return every write to AWS in the source, by the names that clients have for operations, without those of the folders `but`."""
    session = botocore.session.Session()
    every = [op for service in SERVICES for op in session.get_service_model(service).operation_names]
    named = {xform_name(op): op for op in every} | {op: op for op in every}  # steps name them as AWS does
    del named["publish"], named["sign_up"]  # of SNS and Cognito: words of ours, for layers and what is exported
    found = set()
    for path in [path for room in ("rds", "cloud", "lambdas") for path in (SUITE / "ops" / room).rglob("*.py")]:
        if any(path.is_relative_to(SUITE / one) for one in but):
            continue
        for node in ast.walk(source.tree(path)):
            name = (
                node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else ""
            )
            if isinstance(name, str) and writes(named.get(name, "Get")):
                found.add(named[name])
    return found


@dataclass
class Cut:
    """AWS whose answer to one write is lost."""

    cloud: Front
    configure: Configure
    hands: Hands
    stage: Any
    sent: list[str] = field(default_factory=list)
    pool: str = ""
    config: dict[str, str] = field(default_factory=dict)
    """Settings below rds:."""

    @property
    def aws(self) -> Aws:
        return self.cloud.aws(self.settings)

    @property
    def settings(self) -> Any:
        return self.configure(self.config)

    def client(self, service: str) -> Any:
        return self.aws.client(service)

    def forget(self) -> None:
        """Let AWS be empty, and nothing be saved of it."""
        self.cloud.reset()
        self.settings.vars.env_file.unlink(missing_ok=True)

    def rename(self, stage: Stage, label: object) -> None:
        """Take a stage with a function of another name, and without its login."""
        self.stage, stage.name = stage, f"f-{label}"
        unsign(stage.database)

    def at(self, number: int) -> None:
        """Lose the answer to the write of this number, and carry it out."""
        written = []

        def after(call: Call) -> Answer | None:
            if call.writes:
                written.append(call.action)
            return DROPPED if call.writes and len(written) == number else None

        self.sent.clear()
        self.cloud.before, self.cloud.after = lambda _: None, after


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is reached: moto has none."""

    def unreachable(*_: object, **__: object) -> None:
        raise Unreachable("a closed door")

    monkeypatch.setattr(postgres, "connect", unreachable)


@pytest.fixture
def cut(cloud: Front, configure: Configure, hands: Hands, pauses: None, monkeypatch: pytest.MonkeyPatch) -> Cut:
    made = Cut(cloud, configure, hands, None)
    begin = calls.Watch.begin

    def recorded(self: calls.Watch, context: dict[str, Any], event_name: str, **more: Any) -> None:
        operation = event_name.split(".")[2]
        if writes(operation):
            made.sent.append(operation)
        begin(self, context, event_name, **more)

    monkeypatch.setattr(calls.Watch, "begin", recorded)
    monkeypatch.setattr(cloud, "clients", {})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    from moto.scheduler.models import EventBridgeSchedulerBackend

    remove = EventBridgeSchedulerBackend.delete_schedule_group

    def removed_once(self: Any, name: str) -> None:
        self.get_schedule_group(name)  # moto stumbles where Scheduler says that there is none
        remove(self, name)

    monkeypatch.setattr(EventBridgeSchedulerBackend, "delete_schedule_group", removed_once)
    return made


@dataclass(frozen=True)
class Scene:
    """A task: what is there before it, what it writes where nothing is cut, and what is there after."""

    writes: tuple[str, ...]
    act: Callable[[Cut], object]
    check: Callable[[Cut], None]
    before: Callable[[Cut], object] = lambda _: None
    says: str = ""
    code: int | None = None
    """The exit of the run that is cut, where it does not converge itself."""
    config: dict[str, str] = field(default_factory=dict)
    """Settings below rds: that the task has."""


def make(at: Cut) -> None:
    create.create_or_resume(at.settings, at.aws, at.hands.clock, adopt=True)


def by_hand(at: Cut) -> None:
    at.client("rds").create_db_instance(
        DBInstanceIdentifier="cruddur-db-instance", DBInstanceClass="db.t4g.micro", Engine="postgres",
        MasterUsername="root", MasterUserPassword="huEE33z2Qvl383", AllocatedStorage=20,
    )  # fmt: skip


def rows(at: Cut) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = at.client("rds").describe_db_instances()["DBInstances"]
    return found


def groups(at: Cut) -> list[str]:
    every = at.client("ec2").describe_security_groups()["SecurityGroups"]
    return [group["GroupId"] for group in every if group["GroupName"] != "default"]


def snapshots(at: Cut) -> list[str]:
    return [
        one["DBSnapshotIdentifier"]
        for one in at.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    ]


def one_instance(at: Cut) -> None:
    assert [row["DBInstanceStatus"] for row in rows(at)] == ["available"]
    assert len(groups(at)) <= 1


def in_state(state: str) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        assert [row["DBInstanceStatus"] for row in rows(at)] == [state]

    return check


def one_snapshot(at: Cut) -> None:
    assert len(snapshots(at)) == 1


def nothing_but_a_snapshot(at: Cut) -> None:
    assert (rows(at), groups(at), len(snapshots(at))) == ([], [], 1)


def before_the_door(at: Cut) -> Door:
    [group] = groups(at)
    return Door(at.client("ec2"), group, 5432, ME, NOON, timedelta(hours=12))


def long_ago(at: Cut) -> Door:
    """Return the door as it was when what was let in then has ended by now."""
    return replace(before_the_door(at), now=NOON - timedelta(days=2))


def lets_in(*addresses: str) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        found = before_the_door(at).listed()
        assert [(rule.source, rule.owner) for rule in found] == [(f"{address}/32", ME) for address in addresses]

    return check


def own_password(at: Cut) -> None:
    at.settings.vars.env_file.write_text("POSTGRES_MASTER_PASSWORD=old-one-of-before\n")
    make(at)


def with_own_password(at: Cut) -> None:
    at.settings.vars.env_file.write_text("POSTGRES_MASTER_PASSWORD=one-of-our-own\n")


def follow(at: Cut) -> None:
    making.make(at.settings, at.aws, at.hands.clock, confirm="cruddur-db-instance")


def followed(number: int, *, instances: int = 2) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        found = rows(at)
        assert (len(found), sum(bool(replicas.source_of(row)) for row in found)) == (instances, number)  # type: ignore[arg-type]
        assert ("PROD_READ_CONNECTION_URL" in at.settings.vars.saved) == bool(number)

    return check


def password_saved(at: Cut) -> None:
    saved = at.settings.vars.saved
    if "POSTGRES_MASTER_PASSWORD_NEXT" not in saved:  # the second run has put it in the old one's place
        assert saved["POSTGRES_MASTER_PASSWORD"] != "old-one-of-before"


def steps(*acts: Callable[[Cut], object]) -> Callable[[Cut], object]:
    return lambda at: [act(at) for act in acts]


def stop(at: Cut) -> str:
    return instance.stop_instance(at.aws, at.settings.rds, at.hands.clock)


def end(at: Cut) -> None:
    delete.delete_instance(at.settings, at.aws, at.hands.clock, confirm="cruddur-db-instance", snapshot=True)


def to_18(at: Cut) -> None:
    row, offer = instance.require_instance(at.aws, at.settings.rds), offers.Offer("18.4")
    upgrade.save(at.settings, at.aws, offer, at.hands.clock)
    upgrade.send(at.settings, at.aws, row, offer, "")


def upgraded(at: Cut) -> None:
    assert [row["EngineVersion"] for row in rows(at)] == ["18.4"]
    assert len(snapshots(at)) == 1


def at_night(stop: str, start: str = "") -> Callable[[Cut], object]:
    when = times.read(stop, start, "mon-fri", "UTC")
    return lambda at: schedule.put(at.settings, at.aws, at.hands.clock, when, dry_run=False)


def trusted_by_another(at: Cut) -> None:
    of = own_role.names(rows(at)[0])  # type: ignore[arg-type]
    theirs = json.dumps(own_role.trust(of)).replace("scheduler.", "events.")
    at.client("iam").update_assume_role_policy(RoleName=of.role, PolicyDocument=theirs)


def runs(stop: str | None, start: str | None) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        found = schedule.holding(at.aws, instance.require_instance(at.aws, at.settings.rds))
        assert (found and (found.stop, found.start)) == ((stop, start) if stop else None)
        assert len(at.client("iam").list_roles()["Roles"]) == bool(stop)

    return check


def logging(at: Cut) -> None:
    at.client("logs").create_log_group(logGroupName=at.settings.lambdas.log_group)


def watch(at: Cut) -> None:
    alarms.put(at.settings, at.aws, "ada@example.com", dry_run=False)


def watched(number: int) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        found = alarms.holding(at.aws, instance.require_instance(at.aws, at.settings.rds))
        assert (found and (len(found.alarms), found.confirmed)) == ((number, 1) if number else None)

    return check


def names_of(at: Cut) -> dict[str, str]:
    """Return which instance has which name, by what it was restored from."""
    return {row["DBInstanceIdentifier"]: tags.from_aws(row["TagList"]).get(SOURCE, "live") for row in rows(at)}


def named(**expected: str) -> Callable[[Cut], None]:
    """Return a check of that: the name's last word, with `itself` for the one of the settings."""

    def check(at: Cut) -> None:
        found = names_of(at)
        assert {
            name.removeprefix("cruddur-db-instance-").replace("cruddur-db-instance", "itself"): of
            for name, of in found.items()
        } == expected

    return check


def with_snapshot(at: Cut) -> None:
    make(at)
    instance.take_snapshot(at.aws, at.settings.rds, "before", at.hands.clock)


def restore(at: Cut, *, swap: bool = False, wanted: Source | None = None) -> None:
    restoring.restore(
        at.settings,
        at.aws,
        at.hands.clock,
        wanted or Source(snapshot="before"),
        "",
        swap=swap,
        confirm="cruddur-db-instance",
    )


def to_its_birth(at: Cut) -> None:
    restore(at, wanted=Source(at=rows(at)[0]["InstanceCreateTime"]))


def back(at: Cut) -> None:
    swapping.undo(at.settings, at.aws, at.hands.clock, "cruddur-db-instance")


def prune(at: Cut) -> None:
    settings = at.configure({**at.config, "keep_snapshots": "0", "keep_snapshot_days": "0"})
    snapshots_task.prune(settings, at.aws, dry_run=False, confirm="cruddur-db-instance")


def change(at: Cut) -> None:
    settings = at.configure({"backup_days": "14", "instance_class": "db.t4g.small"})
    applying.apply(settings, at.aws, at.hands.clock, now=False, dry_run=False, confirm="cruddur-db-instance")


def is_changed(at: Cut) -> None:
    [row] = rows(at)
    assert (row["BackupRetentionPeriod"], row["DBInstanceClass"]) == (14, "db.t4g.small")


def two_instances(at: Cut) -> None:
    assert len(rows(at)) == 2


def no_snapshot(at: Cut) -> None:
    assert snapshots(at) == []


@pytest.fixture
def let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every instance let in, with nothing later in it: moto has no databases."""
    monkeypatch.setattr(prod, "open_session", lambda *_: io.BytesIO())
    monkeypatch.setattr(written_later, "find", lambda *_: written_later.Found())


RDS = {
    "rds.apply": Scene(("ModifyDBInstance", "ModifyDBInstance"), change, is_changed, make),
    "rds.restore --snapshot": Scene(
        ("RestoreDBInstanceFromDBSnapshot", "ModifyDBInstance"),
        restore,
        named(itself="live", restored="before"),
        with_snapshot,
    ),
    "rds.restore --at": Scene(("RestoreDBInstanceToPointInTime",), to_its_birth, two_instances, make),
    "rds.restore --swap": Scene(
        ("AddTagsToResource", "ModifyDBInstance", "ModifyDBInstance"),
        lambda at: restore(at, swap=True),
        named(itself="before", prev="live"),
        steps(with_snapshot, restore),
    ),
    "rds.undo": Scene(
        ("ModifyDBInstance", "ModifyDBInstance"),
        back,
        named(itself="live", restored="before"),
        steps(with_snapshot, lambda at: restore(at, swap=True)),
    ),
    "rds.replica": Scene(("CreateDBInstanceReadReplica",), follow, followed(1), own_password),
    "rds.replica of a password that RDS keeps": Scene(
        ("ModifyDBInstance", "CreateDBInstanceReadReplica"), follow, followed(1), steps(make, with_own_password)
    ),
    "rds.replica --promote": Scene(
        ("PromoteReadReplica",),
        lambda at: ending.promote_one(at.settings, at.aws, at.hands.clock, confirm="cruddur-db-instance-replica"),
        followed(0, instances=2),
        steps(own_password, follow),
    ),
    "rds.replica --delete": Scene(
        ("ModifyDBInstance", "DeleteDBInstance"),
        lambda at: ending.remove(at.settings, at.aws, at.hands.clock, confirm="cruddur-db-instance-replica"),
        followed(0, instances=1),
        steps(own_password, follow),
    ),
    "rds.snapshots --prune": Scene(("DeleteDBSnapshot",), prune, no_snapshot, with_snapshot),
    "rds.create": Scene(
        ("CreateSecurityGroup", "CreateDBInstance"), make, one_instance, says="asked AWS for cruddur-db"
    ),
    "rds.create --adopt": Scene(("AddTagsToResource",), make, one_instance, by_hand, "adopted cruddur-db-instance"),
    "rds.stop": Scene(("StopDBInstance",), stop, in_state("stopped"), make),
    "rds.start": Scene(
        ("StartDBInstance",),
        lambda at: instance.start_instance(at.aws, at.settings.rds, at.hands.clock),
        one_instance,
        steps(make, stop),
    ),
    "rds.snapshot": Scene(
        ("CreateDBSnapshot",),
        lambda at: instance.take_snapshot(at.aws, at.settings.rds, "before-it", at.hands.clock),
        one_snapshot,
        make,
    ),
    "rds.delete": Scene(
        ("ModifyDBInstance", "DeleteDBInstance", "DeleteSecurityGroup"),
        end,
        nothing_but_a_snapshot,
        make,
        "its data is in the snapshot cruddur-db-instance-final-",
    ),
    "rds.rotate-password": Scene(
        ("ModifyDBInstance",),
        lambda at: rotate.rotate_password(at.settings, at.aws, at.hands.clock),
        password_saved,
        own_password,
        code=1,
    ),
    "rds.upgrade": Scene(("CreateDBSnapshot", "ModifyDBInstance"), to_18, upgraded, make),
    "rds.schedule": Scene(
        ("CreateScheduleGroup", "CreateRole", "PutRolePolicy", "CreateSchedule", "CreateSchedule"),
        at_night("20:00", "08:00"),
        runs("20:00", "08:00"),
        make,
    ),
    "rds.schedule at other times": Scene(
        ("UpdateAssumeRolePolicy", "UpdateSchedule", "DeleteSchedule"),
        at_night("21:00"),
        runs("21:00", None),
        steps(make, at_night("20:00", "08:00"), trusted_by_another),
    ),
    "rds.schedule --delete": Scene(
        ("DeleteScheduleGroup", "DeleteRolePolicy", "DeleteRole"),
        lambda at: schedule.delete(at.settings, at.aws, dry_run=False),
        runs(None, None),
        steps(make, at_night("20:00", "08:00")),
    ),
    "rds.alarms": Scene(
        ("CreateTopic", "Subscribe", "PutMetricFilter", "PutMetricAlarm", "PutMetricAlarm", "PutMetricAlarm"),
        watch,
        watched(3),
        steps(make, logging),
    ),
    "rds.alarms --delete": Scene(
        ("DeleteAlarms", "DeleteMetricFilter", "DeleteTopic"),
        lambda at: alarms.delete(at.settings, at.aws, dry_run=False),
        watched(0),
        steps(make, logging, watch),
    ),
    "rds.allow-my-ip": Scene(
        ("AuthorizeSecurityGroupIngress",),
        lambda at: own_rule.allow(before_the_door(at), ONE),
        lets_in("8.8.4.4"),
        make,
    ),
    "rds.allow-my-ip from elsewhere": Scene(
        ("ModifySecurityGroupRules", "CreateTags"),
        lambda at: own_rule.allow(before_the_door(at), TWO),
        lets_in("8.8.8.8"),
        steps(make, lambda at: own_rule.allow(before_the_door(at), ONE)),
    ),
    "rds.prune-rules": Scene(
        ("RevokeSecurityGroupIngress",),
        lambda at: own_rule.prune(before_the_door(at)),
        lets_in(),
        steps(make, lambda at: own_rule.allow(long_ago(at), ONE)),
    ),
    "rds.revoke-my-ip": Scene(
        ("RevokeSecurityGroupIngress",),
        lambda at: own_rule.revoke(before_the_door(at)),
        lets_in(),
        steps(make, lambda at: own_rule.allow(before_the_door(at), ONE)),
    ),
}


# --- clusters: made, deleted and exchanged they are cut in tests/test_rds_cluster.py and tests/test_rds_cluster_swap.py


def clusters(at: Cut) -> list[Any]:
    found: list[Any] = at.client("rds").describe_db_clusters()["DBClusters"]
    return found


def cluster_by_hand(at: Cut) -> None:
    its = {"DBClusterIdentifier": "cruddur-db-instance", "Engine": "aurora-postgresql"}
    at.client("rds").create_db_cluster(**its, MasterUsername="root", MasterUserPassword="huEE33z2Qvl383")
    at.client("rds").create_db_instance(
        **its, DBInstanceIdentifier="cruddur-db-instance-1", DBInstanceClass="db.serverless"
    )


def one_cluster(state: str = "available", number: int = 1) -> Callable[[Cut], None]:
    """Return a check that there are so many, each with an instance, and that the settings' own is in a state."""

    def check(at: Cut) -> None:
        assert [len(one["DBClusterMembers"]) for one in clusters(at)] == [1] * number
        assert instance.require_instance(at.aws, at.settings.rds)["DBInstanceStatus"] == state

    return check


def ours(at: Cut) -> None:
    one_cluster()(at)
    assert instance.is_ours(instance.require_instance(at.aws, at.settings.rds), at.settings.rds)


def cluster_snapshots(number: int) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        found = at.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
        assert len(found) == number

    return check


def grow(at: Cut) -> None:
    settings = at.configure({**at.config, "backup_days": "14", "max_acu": "8"})
    applying.apply(settings, at.aws, at.hands.clock, now=False, dry_run=False, confirm="cruddur-db-instance")


def is_grown(at: Cut) -> None:
    [one] = clusters(at)
    assert (one["BackupRetentionPeriod"], one["ServerlessV2ScalingConfiguration"]["MaxCapacity"]) == (14, 8.0)


CLUSTERS = {
    "rds.create --adopt": Scene(
        ("AddTagsToResource", "AddTagsToResource"), make, ours, cluster_by_hand, "adopted cruddur-db-instance"
    ),
    "rds.apply": Scene(("ModifyDBCluster",), grow, is_grown, make),
    "rds.stop": Scene(("StopDBCluster",), stop, one_cluster("stopped"), make),
    "rds.start": Scene(("StartDBCluster",), RDS["rds.start"].act, one_cluster(), steps(make, stop)),
    "rds.snapshot": Scene(("CreateDBClusterSnapshot",), RDS["rds.snapshot"].act, cluster_snapshots(1), make),
    "rds.snapshots --prune": Scene(("DeleteDBClusterSnapshot",), prune, cluster_snapshots(0), with_snapshot),
    "rds.rotate-password": Scene(
        ("ModifyDBCluster",), RDS["rds.rotate-password"].act, password_saved, own_password, code=1
    ),
    "rds.restore --snapshot": Scene(
        ("RestoreDBClusterFromSnapshot", "CreateDBInstance", "ModifyDBCluster"),
        restore,
        one_cluster(number=2),
        with_snapshot,
    ),
    "rds.restore --at": Scene(
        ("RestoreDBClusterToPointInTime", "CreateDBInstance", "ModifyDBCluster"),
        to_its_birth,
        one_cluster(number=2),
        make,
    ),
}
AURORA = {"engine": "aurora-postgresql", "engine_version": "17"}
OF_CLUSTER = " of a cluster"
RDS |= {f"{name}{OF_CLUSTER}": replace(scene, config=AURORA) for name, scene in CLUSTERS.items()}


def walked(
    at: Cut, scene: Scene, fresh: Callable[[int], object], capsys: pytest.CaptureFixture[str], name: str = ""
) -> None:
    """Lose the answer to each write in turn; the run converges, and the next one changes nothing any more.

    Where none is lost, all that is asked is what a person types for the task of that name.
    """
    at.config = scene.config
    for number in (0, *fix_spread.some(range(1, len(scene.writes) + 1))):
        fresh(number)
        at.cloud.mend()
        scene.before(at)
        capsys.readouterr()
        at.at(number)
        at.cloud.forget()
        failed = outcome(lambda: scene.act(at))  # called at once
        said = capsys.readouterr().err
        where = f"{scene.writes[number - 1] if number else 'nothing'} is lost: {said}"
        if number == 0:
            assert tuple(at.sent) == scene.writes
            if name:
                typed.check(at.cloud, name)
        elif (lost := scene.writes[number - 1]) not in calls.REPEATABLE and not lost.startswith("Modify"):
            assert at.cloud.writes.count(lost) <= scene.writes.count(lost), f"{where}, and done again"
        assert (failed.code if failed else None) == (scene.code if number else None), f"{where} {failed}"
        if failed:
            assert "it may be done or not: run this again, it looks first" in str(failed.message)
        elif scene.says:
            assert scene.says in said, where
        scene.check(at)
        at.cloud.mend()
        outcome(lambda: scene.act(at))
        scene.check(at)


@pytest.mark.parametrize("name", RDS)
def test_a_lost_answer_of_rds_leaves_one_of_each(
    cut: Cut, let_in: None, closed: None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    as_typed = "" if name.endswith(OF_CLUSTER) else name  # tests/test_rds_cluster.py compares those of clusters
    walked(cut, RDS[name], lambda _: cut.forget(), capsys, as_typed)


# --- the function ----------------------------------------------------------------------


def deployed(at: Cut) -> None:
    at.stage.config = {}
    at.stage.deploy()


def again(at: Cut) -> None:
    at.stage.deploy({"memory_mb": "1024", "log_days": "30"})


def another(at: Cut) -> None:
    """Deploy, then let somebody else change the code."""
    deployed(at)
    at.client("lambda").update_function_code(FunctionName=at.stage.name, ZipFile=b"another")


def one_of_each(at: Cut) -> None:
    whole(at.stage)


def changed(at: Cut) -> None:
    have = at.stage.function()["Configuration"]
    assert have["MemorySize"] == 1024
    versions = at.client("lambda").list_layer_versions(LayerName=f"{at.stage.name}-psycopg")["LayerVersions"]
    assert len(versions) == 1


def others(at: Cut) -> None:
    """A role and a function of our names that were made by hand, the role for another service."""
    policy = '{"Version": "2012-10-17", "Statement": []}'
    arn = at.client("iam").create_role(RoleName=at.stage.name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    at.client("lambda").create_function(
        FunctionName=at.stage.name, Runtime="python3.12", Role=arn, Handler="x", Code={"ZipFile": b"another"}
    )


def pooled(at: Cut) -> None:
    deployed(at)
    at.pool = at.stage.make_pool(**FULL)


def attached(at: Cut) -> None:
    pooled(at)
    at.stage.attach(at.pool)


def calling(*sids: str) -> Callable[[Cut], None]:
    def check(at: Cut) -> None:
        config = at.stage.described(at.pool)["LambdaConfig"]
        assert ("PostConfirmation" in config) == bool(sids)
        policy = outcome_of_policy(at)
        assert re.findall(r'"Sid": ?"(inv)', policy) == list(sids)

    return check


def outcome_of_policy(at: Cut) -> str:
    client = at.client("lambda")
    try:
        return str(client.get_policy(FunctionName=at.stage.name)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return ""


def removed(at: Cut) -> None:
    settings = at.stage.settings(AWS_COGNITO_USER_POOL_ID=at.pool)
    removal.delete_all(settings, at.stage.aws, at.hands.clock, confirm=at.stage.name)


def nothing_left(at: Cut) -> None:
    assert (roles(at.stage), own(at.stage)) == ([], [])
    assert not [one for one in entered(at.stage) if one in own(at.stage)]
    assert "PostConfirmation" not in at.stage.described(at.pool)["LambdaConfig"]


def with_snapshots(at: Cut) -> None:
    at.stage.config = {"snap_start": "yes"}
    at.stage.deploy()


def by_alias(at: Cut) -> None:
    with_snapshots(at)
    at.pool = at.stage.make_pool(**FULL)
    at.stage.attach(at.pool)


def led_back(at: Cut) -> None:
    at.stage.config = {}
    at.stage.attach(at.pool)


def one_version(at: Cut) -> None:
    client = at.client("lambda")
    found = client.get_alias(FunctionName=at.stage.name, Name="live")
    versions = [one["Version"] for one in client.list_versions_by_function(FunctionName=at.stage.name)["Versions"]]
    assert (found["FunctionVersion"], versions) == ("1", ["$LATEST", "1"])


def no_alias(at: Cut) -> None:
    calling("inv")(at)
    client = at.client("lambda")
    assert client.list_aliases(FunctionName=at.stage.name)["Aliases"] == []
    assert len(client.list_versions_by_function(FunctionName=at.stage.name)["Versions"]) == 1


PARTS = (
    "CreateRole", "AttachRolePolicy", "PutRolePolicy", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress",
    "PublishLayerVersion", "CreateLogGroup", "PutRetentionPolicy",
)  # fmt: skip
LAMBDA = {
    "lambda.deploy": Scene((*PARTS, "CreateFunction"), deployed, one_of_each),
    "lambda.deploy of what differs": Scene(
        ("PutRetentionPolicy", "UpdateFunctionConfiguration", "UpdateFunctionCode"), again, changed, another
    ),
    "lambda.deploy --adopt": Scene(
        ("TagRole", "UpdateAssumeRolePolicy", *PARTS[1:], "TagResource", "UpdateFunctionConfiguration", "UpdateFunctionCode"),
        lambda at: at.stage.deploy(adopt=True),
        one_of_each,
        others,
    ),
    "lambda.deploy with snapshots": Scene(
        ("UpdateFunctionConfiguration", "PublishVersion", "CreateAlias"), with_snapshots, one_version, deployed
    ),
    "lambda.attach without snapshots any more": Scene(
        ("AddPermission", "UpdateUserPool", "RemovePermission", "UpdateAlias", "DeleteFunction", "DeleteAlias"),
        led_back,
        no_alias,
        by_alias,
    ),
    "lambda.attach": Scene(("AddPermission", "UpdateUserPool"), lambda at: at.stage.attach(at.pool), calling("inv"), pooled),
    "lambda.detach": Scene(("UpdateUserPool", "RemovePermission"), lambda at: at.stage.detach(at.pool), calling(), attached),
    "lambda.delete": Scene(
        (
            "UpdateUserPool", "RemovePermission", "DeleteFunction", "RevokeSecurityGroupIngress", "DeleteSecurityGroup",
            "DetachRolePolicy", "DeleteRolePolicy", "DeleteRole",
        ),
        removed,
        nothing_left,
        attached,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LAMBDA)
def test_a_lost_answer_of_the_function_leaves_one_of_each(
    cut: Cut, stage: Stage, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    walked(cut, LAMBDA[name], lambda number: cut.rename(stage, number), capsys)


# --- every write -----------------------------------------------------------------------

BLUE_GREEN = ("CreateBlueGreenDeployment", "SwitchoverBlueGreenDeployment", "DeleteBlueGreenDeployment")
OF_CLUSTERS = (
    "in tests/test_rds_cluster.py, with what is written for its instances: an answer lost, and a login that ends"
)
RARE = {
    "Invoke": "an event is sent once: where its answer is lost, nobody knows whether it has run",
    "SetUserPoolMfaConfig": "only where AWS has turned the second factor off meanwhile; AWS is in the same state after it as after one",
    "CreateDBCluster": OF_CLUSTERS,
    "DeleteDBCluster": OF_CLUSTERS,
    **dict.fromkeys(
        BLUE_GREEN, "in tests/test_rds_blue_green.py, with what is written before: each is lost, refused and killed at"
    ),
}


@source.GROUP
def test_every_write_in_the_source_is_cut_here() -> None:
    cut = {write for scene in (*RDS.values(), *LAMBDA.values()) for write in scene.writes}
    # tests/test_rds_bastion.py and tests/test_rds_proxy.py cut whatever those are
    assert cut | set(RARE) == asked_for("ops/rds/bastion", "ops/rds/proxy", "ops/rds/security_group/between.py")
    assert not cut & set(RARE), "a reason for what is cut"
    assert set(calls.REPEATABLE) <= asked_for()


@source.GROUP
def test_every_write_for_an_instance_a_cluster_and_a_proxy_is_what_a_person_types() -> None:
    """`typed.check` compares all that a test has recorded; this holds that each write of the source is in one of its lists.

    The function is no part of what grows, nor the bastion; the variable of the function that a proxy changes is.
    """
    pytest.importorskip("awscli", reason="the AWS CLI is not installed: pip install -r requirements-dev.txt")
    asked = asked_for("ops/lambdas", "ops/rds/bastion")
    assert typed.operations() == asked | {"UpdateFunctionConfiguration"}


@source.GROUP
def test_what_has_a_token_against_repetition_gets_one_from_botocore() -> None:
    """botocore fills in a token that the model calls one; where there is one, a repetition does no harm."""
    session = botocore.session.Session()
    ours = asked_for()
    models = [session.get_service_model(service) for service in SERVICES]
    with_token = {
        name
        for model in models
        for name in model.operation_names
        if name in ours and model.operation_model(name).idempotent_members
    }
    assert with_token <= set(calls.REPEATABLE)


def test_a_rotation_by_rds_whose_answer_is_lost_is_not_asked_for_twice(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto knows no managed passwords."""
    aws, stub = stubbed
    monkeypatch.setattr(rotate, "version", lambda *_: "")
    ours = {
        "TagList": [{"Key": "Project", "Value": "cruddur"}, {"Key": "ManagedBy", "Value": "inv"}],
        "MasterUserSecret": {"SecretArn": "arn", "SecretStatus": "active"},
    }
    ready(stub, "available", **ours)
    stub.add_client_error("modify_db_instance", "InternalFailure", http_status_code=503)
    rotating = {**ours, "MasterUserSecret": {"SecretArn": "arn", "SecretStatus": "rotating"}}
    ready(stub, "available", **rotating)
    ready(stub, "available", **rotating)
    quiet(stub)
    ready(stub, "available", **ours)
    assert "has a new master password" in rotate.rotate_password(configure(), aws, hands.clock)


@pytest.mark.parametrize(
    ("status", "code", "is_lost"),
    [(503, "InternalFailure", True), (500, "", True), (503, "RequestLimitExceeded", False), (400, "Throttling", False)],
)
def test_what_counts_as_lost(status: int, code: str, is_lost: bool) -> None:
    assert lost(None, status, code) is is_lost
