"""A cluster of Aurora through the tasks of rds.*: made, cut at each write, beside strangers, changed, deleted; and what is for instances alone."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import tasks
from backend import settings as backend_settings
from config.declared import Kind
from config.targets import Target
from ops import calls
from ops.app import serve
from ops.cloud import tags
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.lambdas import deploy
from ops.lambdas.plan import Plan
from ops.lambdas.user_pool import attach
from ops.rds import create, delete, env_file, events, instance, prod, rotate
from ops.rds.apply import applying
from ops.rds.cluster import capacity, deleting, pause, refusals
from ops.rds.restore import restoring, snapshots
from ops.rds.restore.source import Source
from ops.workspace import doctor
from tests import typed
from tests.fix_aws import HOST, REGION, Configure, Front, Hands, OnInstances, error, outcome
from tests.fix_cli import Cli
from tests.test_rds_policy import allowed

pytestmark = pytest.mark.usefixtures("region")

NAME = "cruddur-db-instance"
WRITER, READER = f"{NAME}-1", f"{NAME}-2"
CLUSTER = {"engine": "aurora-postgresql", "engine_version": "17", "max_acu": "4"}
ONE = {NAME: [WRITER]}


@dataclass
class Scene(OnInstances):
    """moto's clusters, and the tasks on them."""

    config: dict[str, str] = field(default_factory=lambda: dict(CLUSTER))
    environ: dict[str, str] = field(default_factory=lambda: {"PROD_DB_SSLROOTCERT": "/none.pem"})

    def create(self, *, adopt: bool = False) -> create.Created:
        return create.create_or_resume(self.settings, self.aws, self.hands.clock, adopt=adopt)

    def delete(self, *, snapshot: bool = True) -> str:
        return delete.delete_instance(self.settings, self.aws, self.hands.clock, confirm=NAME, snapshot=snapshot)

    def apply(self, **changes: str) -> Any:
        at = replace(self, config={**self.config, **changes})
        return applying.apply(at.settings, at.aws, at.hands.clock, now=False, dry_run=False, confirm=NAME)

    def clusters(self) -> dict[str, list[str]]:
        found = self.rds.describe_db_clusters()["DBClusters"]
        return {
            one["DBClusterIdentifier"]: [each["DBInstanceIdentifier"] for each in one["DBClusterMembers"]]
            for one in found
        }

    def row(self) -> Any:
        return instance.require_instance(self.aws, self.settings.rds)

    def snapshots(self) -> list[str]:
        found = self.rds.describe_db_cluster_snapshots(DBClusterIdentifier=NAME, SnapshotType="manual")
        return [one["DBClusterSnapshotIdentifier"] for one in found["DBClusterSnapshots"]]

    def by_hand(self, *, tagged: bool = False) -> None:
        self.rds.create_db_cluster(
            DBClusterIdentifier=NAME, Engine="aurora-postgresql", MasterUsername="root", MasterUserPassword="huEE33z2Qvl383",
            Tags=tags.to_aws(tags.of_project("cruddur")) if tagged else [],
        )  # fmt: skip


@pytest.fixture
def scene(cloud: Front, configure: Configure, hands: Hands, pauses: None, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(prod, "open_session", lambda *_: io.BytesIO())
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    return Scene(cloud, configure, hands)


# --- made ---------------------------------------------------------------------------------


def test_it_is_made_of_a_cluster_and_an_instance_that_writes(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    made = scene.create()
    said = capsys.readouterr().err
    assert scene.clusters() == ONE
    assert scene.cloud.writes == ["CreateSecurityGroup", "CreateDBCluster", "CreateDBInstance"]
    typed.check(scene.cloud, "a cluster")
    assert made.endpoint == scene.rds.describe_db_clusters()["DBClusters"][0]["Endpoint"]
    assert scene.settings.vars.saved == {"PROD_DB_ENDPOINT": made.endpoint}
    assert "about 44 USD a month where it is idle, 350 if it always took" in said
    assert said.index("costs: about") < said.index("asked AWS for the cluster")
    scene.cloud.forget()
    scene.create()
    assert scene.cloud.writes == []


def test_a_dry_run_shows_the_request_and_its_costs(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    planned = create.plan_instance(scene.settings, scene.aws)
    assert planned.request
    assert planned.request["DBClusterIdentifier"] == NAME
    assert "USD a month" in capsys.readouterr().err
    assert scene.cloud.calls == []


@pytest.mark.parametrize("how", ["lost", "expired"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_cut_at_a_write_the_next_run_makes_the_rest_of_it(scene: Scene, number: int, how: str) -> None:
    scene.config["multi_az"] = "yes"
    came = scene.cloud.cut(number, how)
    outcome(scene.create)
    assert came()
    scene.cloud.mend()
    scene.create()
    assert scene.clusters() == {NAME: [WRITER, READER]}
    assert [one["DBInstanceIdentifier"] for one in scene.rds.describe_db_instances()["DBInstances"]] == [WRITER, READER]


def test_one_without_an_instance_is_not_waited_for_but_says_who_makes_it(scene: Scene) -> None:
    scene.create()
    scene.rds.delete_db_instance(DBInstanceIdentifier=WRITER, SkipFinalSnapshot=True)
    before = scene.hands.clock.monotonic()
    for act in (
        lambda: instance.start_instance(scene.aws, scene.settings.rds, scene.hands.clock),
        lambda: scene.apply(max_acu="8"),
    ):
        with pytest.raises(Problem, match=r"without an instance.* inv rds\.create makes its instance"):
            act()
    assert scene.hands.clock.monotonic() - before < 60
    scene.create()
    assert scene.clusters() == ONE


def test_a_strangers_cluster_is_refused_and_nothing_is_written(scene: Scene) -> None:
    scene.by_hand()
    scene.cloud.forget()
    for act in (scene.create, scene.delete, scene.apply):
        with pytest.raises(Refused, match="not made by inv"):
            act()
    assert scene.cloud.writes == []
    scene.create(adopt=True)
    assert scene.clusters() == ONE


def test_a_strangers_instance_of_the_writers_name_is_refused_before_anything_is_made(scene: Scene) -> None:
    scene.rds.create_db_instance(
        DBInstanceIdentifier=WRITER, DBInstanceClass="db.t4g.micro", Engine="postgres", MasterUsername="root",
        MasterUserPassword="huEE33z2Qvl383", AllocatedStorage=20,
    )  # fmt: skip
    scene.cloud.forget()
    with pytest.raises(Refused, match=f"the instance {WRITER} is there already"):
        scene.create()
    assert scene.cloud.writes == []


def test_an_instance_of_a_cluster_is_nothing_by_itself(scene: Scene) -> None:
    scene.create()
    at = replace(scene, config={"identifier": WRITER})
    with pytest.raises(
        Misconfigured, match=rf"is an instance of the cluster {NAME}: set rds.engine to aurora-postgresql"
    ):
        at.row()
    assert "there is no cluster other" in str(
        outcome(lambda: replace(scene, config={**CLUSTER, "identifier": "other"}).row())
    )


def test_all_that_aws_would_refuse_of_the_settings_is_said_at_once(scene: Scene) -> None:
    scene.config |= {
        "min_acu": "0.3",
        "max_acu": "0.5",
        "pause_after": "1m",
        "backup_days": "0",
        "identifier": "a" * 60,
    }
    with pytest.raises(Misconfigured) as failed:
        create.preflight(scene.settings, scene.aws, ask=False)
    for word in ("min_acu 0.3", "max_acu 0.5", "pause_after", "backup_days 0", "at most 52"):
        assert word in str(failed.value), word


# --- its life -----------------------------------------------------------------------------


@pytest.fixture
def used(cloud: Front, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The rights that the calls of a test ask for."""
    found: set[str] = set()
    begin = calls.Watch.begin

    def noted(self: calls.Watch, context: dict[str, Any], event_name: str, **more: Any) -> None:
        service, operation = event_name.split(".")[1:3]
        found.add(f"{service.replace('-', '')}:{operation}")
        begin(self, context, event_name, **more)

    monkeypatch.setattr(calls.Watch, "begin", noted)
    monkeypatch.setattr(cloud, "clients", {})
    return found


def test_it_is_stopped_started_saved_rotated_changed_restored_and_deleted_by_the_rights_of_the_policies(
    scene: Scene, used: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scene.create()
    scene.apply(min_acu="0")
    scene.apply()
    scene.rds.remove_tags_from_resource(ResourceName=scene.row()["DBInstanceArn"], TagKeys=["ManagedBy"])
    used.discard("rds:RemoveTagsFromResource")
    scene.cloud.forget()
    scene.create(adopt=True)
    typed.check(scene.cloud, "a cluster that is adopted")
    scene.cloud.forget()
    capsys.readouterr()
    clock = scene.hands.clock
    assert "is stopped; AWS starts it by itself" in instance.stop_instance(scene.aws, scene.settings.rds, clock)
    assert "is available" in instance.start_instance(scene.aws, scene.settings.rds, clock)
    name = instance.take_snapshot(scene.aws, scene.settings.rds, "mine", clock)
    assert scene.snapshots() == [name] == ["mine"]
    assert [(one.snapshot, one.ours) for one in snapshots.find(scene.settings, scene.aws) if one.kind == "manual"] == [
        ("mine", True)
    ]
    rotate.rotate_password(scene.settings, scene.aws, clock)
    plan = scene.apply(min_acu="1", max_acu="8", backup_days="14", iam_auth="no")
    assert [step.request for step in plan.steps] == [
        {
            "DBClusterIdentifier": NAME, "ApplyImmediately": True, "BackupRetentionPeriod": 14,
            "EnableIAMDatabaseAuthentication": False, "ServerlessV2ScalingConfiguration": {"MinCapacity": 1.0, "MaxCapacity": 8.0},
        }
    ]  # fmt: skip
    its = capacity.of(scene.row())
    assert its
    assert (its.min_acu, its.max_acu, its.pauses_after_seconds) == (1.0, 8.0, None)
    assert "costs from then on: about 88 USD" in capsys.readouterr().err
    events.find(scene.settings, scene.aws, 24)
    told = instance.told(instance.facts(scene.settings, scene.aws, scene.row()))
    assert told["instances"] == [f"{WRITER}: available, writes"]
    typed.check(scene.cloud, "a cluster's life")
    scene.cloud.forget()
    with pytest.raises(Refused, match=r"made by inv rds.create"):
        scene.apply(multi_az="yes")
    for wanted, given in ((Source(snapshot="mine"), ""), (Source(at=scene.row()["InstanceCreateTime"]), "at-birth")):
        restoring.restore(scene.settings, scene.aws, clock, wanted, given, swap=False, confirm="")
    assert scene.clusters() == {**ONE, BESIDE: [f"{BESIDE}-1"], "at-birth": ["at-birth-1"]}
    snapshots.remove(scene.settings, scene.aws, "mine")
    typed.check(scene.cloud, "a cluster's earlier states")
    with pytest.raises(Problem, match=rf"stays, it is used by the cluster {BESIDE}, by the cluster at-birth: "):
        scene.delete()
    own, beside = allowed("aurora"), allowed() | allowed("lambda")
    assert own - used == set()
    assert used - own - beside == set()
    assert not any(each.endswith("*") for each in own)


# --- restored -----------------------------------------------------------------------------

BESIDE = f"{NAME}-restored"


def restore(scene: Scene) -> Any:
    return restoring.restore(
        scene.settings, scene.aws, scene.hands.clock, Source(snapshot="mine"), "", swap=False, confirm=""
    )


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_it_is_restored_beside_with_an_instance_and_goes_on_where_it_was_cut(scene: Scene, number: int) -> None:
    scene.create()
    instance.take_snapshot(scene.aws, scene.settings.rds, "mine", scene.hands.clock)
    scene.cloud.forget()
    if number:
        came = scene.cloud.cut(number, "expired")
        assert outcome(lambda: restore(scene))
        assert came()
        scene.cloud.mend()
    done = restore(scene)
    assert scene.clusters() == {**ONE, BESIDE: [f"{BESIDE}-1"]}
    assert [name for name in scene.cloud.writes if name.startswith("Restore")].count(
        "RestoreDBClusterFromSnapshot"
    ) <= 2
    live: Any = scene.row()
    beside: Any = instance.require_instance(scene.aws, replace(scene.settings.rds, identifier=BESIDE))
    for name in (
        "VpcSecurityGroups",
        "IAMDatabaseAuthenticationEnabled",
        "DeletionProtection",
        "ServerlessV2ScalingConfiguration",
    ):
        assert beside[name] == live[name], name
    assert beside["MasterUserSecret"]["SecretArn"] != live["MasterUserSecret"]["SecretArn"]
    assert (done.identifier, done.endpoint) == (BESIDE, instance.host(beside))
    scene.cloud.forget()
    restore(scene)
    assert scene.cloud.writes == []


def test_a_strangers_cluster_of_the_name_is_not_taken_for_a_restored_one(scene: Scene) -> None:
    scene.create()
    instance.take_snapshot(scene.aws, scene.settings.rds, "mine", scene.hands.clock)
    scene.rds.create_db_cluster(
        DBClusterIdentifier=BESIDE,
        Engine="aurora-postgresql",
        MasterUsername="root",
        MasterUserPassword="huEE33z2Qvl383",
    )
    scene.cloud.forget()
    with pytest.raises(Refused, match=rf"{BESIDE} is there already, and not made by rds.restore"):
        restore(scene)
    assert scene.cloud.writes == []


def test_a_reader_is_read_at_and_forgotten_with_the_cluster(scene: Scene) -> None:
    scene.create()
    assert "PROD_READ_CONNECTION_URL" not in scene.settings.vars.saved
    scene.config["multi_az"] = "yes"
    scene.create()
    found = scene.rds.describe_db_clusters()["DBClusters"][0]
    assert (
        scene.settings.vars.saved["PROD_READ_CONNECTION_URL"] == f"postgresql://{found['ReaderEndpoint']}:5432/cruddur"
    )
    scene.delete()
    assert scene.settings.vars.saved == {}


def test_a_reader_is_forgotten_where_the_run_that_deleted_the_cluster_was_cut_off(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.config["multi_az"] = "yes"
    scene.create()
    with monkeypatch.context() as patch:
        patch.setattr(env_file, "forget_replica", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scene.delete()
    assert (scene.clusters(), scene.rows()) == ({}, {})
    scene.delete()
    assert scene.settings.vars.saved == {}


@pytest.mark.parametrize("how", ["lost", "expired"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_cut_while_it_is_deleted_the_next_run_deletes_the_rest(scene: Scene, number: int, how: str) -> None:
    scene.create()
    came = scene.cloud.cut(number, how)
    outcome(scene.delete)
    assert came()
    scene.cloud.mend()
    scene.delete()
    assert (scene.clusters(), scene.rows(), len(scene.snapshots())) == ({}, {}, 1)
    assert not [
        one
        for one in scene.aws.client("ec2").describe_security_groups()["SecurityGroups"]
        if one["GroupName"] != "default"
    ]


def quotas(used: int) -> Any:
    """Answer what moto does not: how many snapshots of clusters an account has, and may have."""
    body = (
        "<DescribeAccountAttributesResponse><DescribeAccountAttributesResult><AccountQuotas><AccountQuota><AccountQuotaName>"
        f"ManualClusterSnapshots</AccountQuotaName><Used>{used}</Used><Max>100</Max></AccountQuota></AccountQuotas>"
        "</DescribeAccountAttributesResult></DescribeAccountAttributesResponse>"
    ).encode()
    return lambda call: ("200 OK", body) if call.action == "DescribeAccountAttributes" else None


@pytest.mark.parametrize(
    ("of", "status", "error", "says"),
    [
        (
            "cluster",
            "backing-up",
            InProgress,
            f"{NAME} is backing-up, and {NAME} cannot be saved in a snapshot now: nothing was done",
        ),
        ("instance", "modifying", InProgress, f"{WRITER} is modifying, and {NAME} cannot be saved"),
        ("cluster", "inaccessible-encryption-credentials", Problem, "nothing was done; inv rds.delete --no-snapshot"),
    ],
)
def test_what_cannot_be_saved_now_is_not_begun_to_be_deleted(
    scene: Scene, of: str, status: str, error: type[Problem], says: str
) -> None:
    from moto.rds.models import rds_backends

    scene.create()
    backend = rds_backends["123456789012"][REGION]
    (backend.clusters[NAME] if of == "cluster" else backend.databases[WRITER]).status = status
    scene.cloud.forget()
    with pytest.raises(error, match=says):
        scene.delete()
    assert scene.cloud.writes == []
    scene.delete(snapshot=False)
    assert scene.clusters() == {}


def test_a_final_snapshot_that_would_be_refused_is_found_before_an_instance_goes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.create()
    scene.cloud.forget()
    scene.cloud.before = quotas(100)
    with pytest.raises(Problem, match="the account has 100 snapshots of clusters, and may have 100: nothing was done"):
        scene.delete()
    scene.cloud.before = quotas(99)
    with monkeypatch.context() as patch:
        instance.take_snapshot(scene.aws, scene.settings.rds, "taken", scene.hands.clock)
        scene.cloud.forget()
        patch.setattr(instance, "snapshot_name", lambda *_: "taken")
        with pytest.raises(Problem, match="there is a snapshot taken already: nothing was done"):
            scene.delete()
    assert scene.cloud.writes == []
    scene.delete()
    typed.check(scene.cloud, "a cluster is deleted")
    assert (scene.clusters(), len(scene.snapshots())) == ({}, 2)


@pytest.mark.parametrize("code", deleting.REFUSED_LATE)
def test_a_final_snapshot_that_is_refused_all_the_same_leaves_the_data_and_says_the_way_on(
    scene: Scene, code: str
) -> None:
    scene.create()
    scene.cloud.before = lambda call: error(code) if call.action == "DeleteDBCluster" else None
    with pytest.raises(
        Problem, match=rf"{code}\): its instances go, its data is whole; .* inv rds.create makes it an instance again"
    ):
        scene.delete()
    assert scene.row()["DeletionProtection"] is True
    scene.cloud.mend()
    scene.create()
    assert scene.clusters() == ONE


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ReadReplicaIdentifiers": ["far"]}, "is followed by far"),
        ({"GlobalClusterIdentifier": "world"}, "is part of the global cluster world"),
    ],
)
def test_a_cluster_that_others_depend_on_keeps_its_instances(scene: Scene, fields: dict[str, Any], says: str) -> None:
    scene.create()
    row = scene.row()
    row["Cluster"] = {**row["Cluster"], **fields}
    with pytest.raises(Refused, match=says):
        deleting.check(scene.settings, scene.aws, row, snapshot=False)


def test_an_instance_that_somebody_else_made_in_it_is_not_deleted(scene: Scene) -> None:
    scene.create()
    scene.rds.create_db_instance(
        DBInstanceIdentifier="theirs",
        DBClusterIdentifier=NAME,
        DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
    )
    scene.cloud.forget()
    with pytest.raises(Refused, match="has the instance theirs"):
        scene.delete()
    assert scene.cloud.writes == []


def test_the_group_of_another_cluster_stays_which_has_no_instance_yet(scene: Scene) -> None:
    """It has no interface by which AWS would keep its group: a restore that was cut off before its instance."""
    scene.create()
    instance.take_snapshot(scene.aws, scene.settings.rds, "mine", scene.hands.clock)
    came = scene.cloud.cut(2, "before")
    outcome(lambda: restore(scene))
    assert came()
    scene.cloud.mend()
    assert scene.clusters() == {**ONE, BESIDE: []}
    [group] = [one["VpcSecurityGroupId"] for one in scene.row()["VpcSecurityGroups"]]
    with pytest.raises(Problem, match=f"the security group {group} stays, it is used by the cluster {BESIDE}: "):
        scene.delete()
    assert group in [one["GroupId"] for one in scene.aws.client("ec2").describe_security_groups()["SecurityGroups"]]


def test_a_cluster_is_not_taken_for_an_instance_that_is_gone(scene: Scene) -> None:
    scene.create()
    other = replace(scene, config={})
    scene.cloud.forget()
    for act in (other.create, other.delete):
        with pytest.raises(Misconfigured, match=rf"is the endpoint of a cluster: set rds.engine to what {NAME} is"):
            act()
    assert scene.cloud.writes == []
    assert f"{NAME}.cluster-" in scene.settings.vars.saved["PROD_DB_ENDPOINT"]


def test_an_instance_is_not_taken_for_a_cluster_that_is_not_there_yet(scene: Scene) -> None:
    replace(scene, config={}).create()
    env_file.clear(scene.settings, scene.settings.vars.saved["PROD_DB_ENDPOINT"])
    scene.cloud.forget()
    for act in (scene.create, scene.delete):
        with pytest.raises(Misconfigured, match=f"{NAME} is an instance: set rds.engine to postgres"):
            act()
    assert scene.cloud.writes == []


def test_a_stopped_cluster_has_to_be_started_before_it_is_deleted(scene: Scene) -> None:
    scene.create()
    instance.stop_instance(scene.aws, scene.settings.rds, scene.hands.clock)
    with pytest.raises(Problem, match=r"inv rds.start, then this again"):
        scene.delete()
    assert scene.clusters() == ONE


# --- it pauses ----------------------------------------------------------------------------


def make_function(scene: Scene) -> None:
    scene.aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps({"Statement": []}))
    scene.aws.client("lambda").create_function(
        FunctionName=scene.settings.lambdas.function, Runtime="python3.13", Handler="a.b", Code={"ZipFile": b"x"},
        Role="arn:aws:iam::123456789012:role/r",
    )  # fmt: skip


def test_a_cluster_that_pauses_is_refused_beside_a_function_unless_it_is_said_twice(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    make_function(scene)
    scene.config["min_acu"] = "0"
    with pytest.raises(Refused, match=r"Cognito gives a sign-up's function 5.* or rds.pause_with_function to yes"):
        scene.create()
    assert scene.clusters() == {}
    scene.config["min_acu"] = "0.5"
    scene.create()
    with pytest.raises(Refused, match="nothing was done"):
        scene.apply(min_acu="0")
    scene.apply(min_acu="0", pause_with_function="yes", pause_after="10m")
    its = capacity.of(scene.row())
    assert its
    assert its.pauses_after_seconds == 600
    assert (
        capacity.words(its)
        == "0 to 4 ACU for each instance; pauses after 10 minutes without a session, and wakes in about 15 s"
    )
    with pytest.raises(Refused, match=r"inv lambda.deploy again"):
        pause.check_row(scene.settings, scene.row(), "lambda.deploy")
    said = capsys.readouterr().err
    assert "note: rds.min_acu is 0, and there is the function" in said


def test_without_a_function_it_may_pause(scene: Scene) -> None:
    scene.config["min_acu"] = "0"
    scene.create()
    [asked] = [call.params for call in scene.cloud.calls if call.action == "CreateDBCluster"]
    assert asked["ServerlessV2ScalingConfiguration.SecondsUntilAutoPause"] == "300"


def test_a_cluster_that_is_being_made_is_waited_for_and_the_wait_ends(scene: Scene) -> None:
    from moto.rds.models import rds_backends

    scene.config["wait_minutes"] = "0.2"
    scene.by_hand(tagged=True)
    rds_backends["123456789012"][REGION].clusters[NAME].status = "upgrading"
    with pytest.raises(InProgress, match=r"the cluster is still upgrading after 0.2 minutes"):
        scene.create()


# --- beside it ----------------------------------------------------------------------------


def test_a_function_is_neither_deployed_beside_nor_attached_to_a_cluster_that_pauses(scene: Scene) -> None:
    scene.config["min_acu"] = "0"
    scene.create()
    make_function(scene)
    scene.cloud.forget()
    with pytest.raises(Refused, match=r"inv lambda.deploy again"):
        deploy.deploy(scene.settings, scene.aws, scene.hands.clock, dry_run=False, adopt=False)
    with pytest.raises(Refused, match=r"inv lambda.attach again"):
        attach.attach(scene.settings, scene.aws, None, Plan(write=True), replace=False)  # type: ignore[arg-type]
    assert scene.cloud.writes == []


def test_doctor_says_that_it_pauses(scene: Scene) -> None:
    scene.config["min_acu"] = "0"
    [fact] = doctor.pauses(scene.settings)
    assert (fact.about, fact.state) == ("pause prod", "note")
    assert "wakes in about 15 s, and Cognito gives" in fact.found


def test_the_feed_keeps_no_session_at_a_database_that_pauses(scene: Scene) -> None:
    def kept(**more: str) -> dict[str, str]:
        scene.config |= more
        settings = scene.settings
        params = {"user": "reader", "password": "x", "host": HOST, "port": "5432", "dbname": "cruddur"}
        return serve.pausing(
            settings, Target("prod", "PROD_CONNECTION_URL", params, kind=Kind.RDS, declared=settings.focus)
        )

    assert kept() == {}
    assert kept(min_acu="0") == {"DB_POOL_KEPT": "0"}
    assert backend_settings.load({"DB_POOL_KEPT": "0"}).pool_kept == 0
    assert backend_settings.load({}).pool_kept == 1


KNOW = {
    *("create", "status", "events", "endpoint", "connect-policy", "start", "stop", "snapshot", "snapshots", "delete"),
    *("rotate-password", "apply", "restore", "undo", "ca", "logs", "allow-my-ip", "rules", "revoke-my-ip", "prune-rules", "bastion"),
}  # fmt: skip
"""The tasks of rds.* that know both; any other must refuse a cluster."""
OPTIONS = {
    "replica": "--dry-run",
    "upgrade": "--to 18 --dry-run",
    "schedule": "",
    "alarms": "",
    "export": "",
}
"""The tasks of rds.* that are for instances alone, and how they are called here."""


def test_each_task_of_rds_knows_clusters_or_says_that_it_does_not(inv: Cli, scene: Scene) -> None:
    every = {name.removeprefix("rds.") for name in tasks.ns.task_names if name.startswith("rds.")}
    assert (every >= KNOW, every - KNOW) == (True, set(refusals.WAYS))
    scene.create()
    scene.cloud.forget()
    for task in refusals.WAYS:
        done = inv(f"rds.{task}", *OPTIONS.get(task, "").split(), env={"INVOKE_RDS_ENGINE": "aurora-postgresql"})
        assert done.returncode == 2, (task, done.stderr)
        [said] = done.stderr.splitlines()
        assert (
            f"inv rds.{task} is for instances, and {NAME} is a cluster of Aurora (rds.engine): nothing was done; "
            in said
        )
    assert scene.cloud.calls == []
