"""rds.replica: made, promoted, taken away; cut at each write, beside strangers, and as AWS's own command asks for it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.stub import Stubber

from ops.aws import Aws
from ops.cloud import tags
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.rds import create, delete, env_file, instance, prod
from ops.rds.apply import applying
from ops.rds.replica import ending, following, making, names, request
from ops.rds.restore import making as restoring
from ops.rds.restore import restoring as restoring_task
from ops.rds.restore import swapping, written_later
from ops.rds.restore.source import Source
from ops.rds.schedule import schedule
from ops.rds.schedule.times import read as read_times
from tests.fix_aws import HOST, REGION, Configure, Front, Hands, OnInstances, outcome, quiet, ready
from tests.test_rds_restore import errors_of

pytestmark = pytest.mark.usefixtures("region")

LIVE, REPLICA = "cruddur-db-instance", "cruddur-db-instance-replica"
OWN = {"POSTGRES_MASTER_PASSWORD": "one-of-our-own-1"}
VARIABLE = "PROD_READ_CONNECTION_URL"


@dataclass
class Scene(OnInstances):
    """moto's instance with a password of its own, and the task on it."""

    environ: dict[str, str] = field(default_factory=lambda: dict(OWN))

    def source(self) -> None:
        create.create_or_resume(self.settings, self.aws, self.hands.clock, adopt=False)
        self.cloud.forget()

    def make(self, *, dry_run: bool = False, confirm: str = "") -> making.Replica:
        return making.make(self.settings, self.aws, self.hands.clock, confirm=confirm, dry_run=dry_run)

    def delete(self, *, dry_run: bool = False, confirm: str = REPLICA) -> making.Replica:
        return ending.remove(self.settings, self.aws, self.hands.clock, confirm=confirm, dry_run=dry_run)

    def promote(self, *, dry_run: bool = False, confirm: str = REPLICA) -> making.Replica:
        return ending.promote_one(self.settings, self.aws, self.hands.clock, confirm=confirm, dry_run=dry_run)

    def follows(self) -> dict[str, str]:
        return {name: names.source_of(row) for name, row in self.rows().items()}

    def saved(self) -> str:
        return self.settings.vars.saved.get(VARIABLE, "")


BEFORE, MADE, PROMOTED = {LIVE: ""}, {LIVE: "", REPLICA: LIVE}, {LIVE: "", REPLICA: ""}


@pytest.fixture
def scene(cloud: Front, configure: Configure, hands: Hands, pauses: None, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Every instance lets in: moto has no databases."""
    monkeypatch.setattr(prod, "open_session", lambda *_: io.BytesIO())
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    made = Scene(cloud, configure, hands)
    made.source()
    return made


def test_a_replica_has_what_its_source_has_and_is_read_at(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.rds.create_db_parameter_group(
        DBParameterGroupName="mine", DBParameterGroupFamily="postgres18", Description="mine"
    )
    scene.rds.modify_db_instance(DBInstanceIdentifier=LIVE, DBParameterGroupName="mine")
    scene.rds.add_tags_to_resource(
        ResourceName=scene.rows()[LIVE]["DBInstanceArn"], Tags=[{"Key": "Team", "Value": "web"}]
    )
    scene.cloud.forget()
    done = scene.make()
    said = capsys.readouterr().err
    assert (done.identifier, done.source, done.written, done.port) == (REPLICA, LIVE, True, 5432)
    assert scene.follows() == MADE
    live, made = scene.rows()[LIVE], scene.rows()[REPLICA]
    assert tags.from_aws(made["TagList"]) == {
        "Team": "web", "Project": "cruddur", "ManagedBy": "inv", "inv:replica-of": LIVE,
    }  # fmt: skip
    for name in ("VpcSecurityGroups", "IAMDatabaseAuthenticationEnabled", "DeletionProtection", "PubliclyAccessible"):
        assert made[name] == live[name], name
    [asked] = [call.params for call in scene.cloud.calls if call.action == request.OPERATION]
    assert asked["DBParameterGroupName"] == "mine"
    assert asked["CACertificateIdentifier"] == live["CACertificateIdentifier"]
    assert not {"DBSubnetGroupName", "MultiAZ", "AvailabilityZone", "AllocatedStorage"} & set(asked)
    assert said.index("costs: one more instance, about ") < said.index("asked AWS for")
    assert scene.saved() == f"postgresql://{done.endpoint}:5432/cruddur"
    assert f"saved {VARIABLE}" in said


def test_again_makes_no_second_one_and_saves_what_is_not_saved(scene: Scene) -> None:
    scene.make()
    scene.settings.vars.env_file.unlink()
    scene.cloud.forget()
    assert not scene.make().written
    assert scene.cloud.writes == []
    assert scene.saved()


def test_promoted_it_is_an_instance_of_its_own(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.make()
    before = {**scene.rows()[LIVE], "LatestRestorableTime": None, "ReadReplicaDBInstanceIdentifiers": []}
    done = scene.promote()
    assert (done.identifier, done.source, done.written) == (REPLICA, None, True)
    assert scene.follows() == PROMOTED
    assert scene.rows()[REPLICA]["BackupRetentionPeriod"] == 7
    assert {**scene.rows()[LIVE], "LatestRestorableTime": None} == before
    assert not scene.saved()
    said = capsys.readouterr().err
    assert f"it follows {LIVE} no more, which goes on untouched, and there is no way back" in said
    assert said.index(f"removed {VARIABLE}") < said.index(f"asked AWS to promote {REPLICA}")
    scene.cloud.forget()
    assert not scene.promote(confirm="").written
    for act in (scene.make, scene.delete):  # its data are its own now
        with pytest.raises(
            Refused, match=f"{REPLICA} was promoted and is an instance of its own, with data of its own"
        ):
            act()
    assert scene.cloud.writes == []


def test_deleted_its_source_is_as_it_was(scene: Scene) -> None:
    before = {**scene.rows()[LIVE], "LatestRestorableTime": None}
    scene.make()
    assert scene.delete().written
    assert scene.follows() == BEFORE
    assert {**scene.rows()[LIVE], "LatestRestorableTime": None} == before
    assert not scene.saved()
    assert not scene.delete(confirm="").written
    [asked] = [call.params for call in scene.cloud.calls if call.action == "DeleteDBInstance"]
    assert asked["SkipFinalSnapshot"] == "true"


def test_a_dry_run_writes_nothing(scene: Scene) -> None:
    asked = scene.make(dry_run=True).request
    assert json.loads(json.dumps(asked))["SourceDBInstanceIdentifier"] == LIVE
    assert scene.delete(dry_run=True).request is None
    assert scene.cloud.writes == []
    scene.make()
    env = scene.settings.vars.env_file.read_text()
    scene.cloud.forget()
    assert scene.make(dry_run=True).request is None
    assert scene.delete(dry_run=True).request == {"DBInstanceIdentifier": REPLICA, "SkipFinalSnapshot": True}
    assert scene.promote(dry_run=True).request == {"DBInstanceIdentifier": REPLICA, "BackupRetentionPeriod": 7}
    assert scene.cloud.writes == []
    assert scene.settings.vars.env_file.read_text() == env


def test_without_confirmation_nothing_ends(scene: Scene) -> None:
    scene.make()
    scene.cloud.forget()
    for act in (scene.delete, scene.promote):
        for given, says in (("", f"add --confirm {REPLICA}"), (LIVE, "is not the replica, which is")):
            with pytest.raises(Refused, match=says):
                act(confirm=given)
    assert scene.cloud.writes == []
    assert scene.saved()


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(Misconfigured, match="give one"):
        ending.chosen(making.make, delete=True, promote=True)


# --- cut at each write ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["before", "lost", "expired", "throttled"])
def test_cut_at_any_call_it_is_one_line_and_the_next_run_ends_it(scene: Scene, how: str) -> None:
    for act, before, after in (
        (scene.make, lambda: None, MADE),
        (scene.promote, scene.make, PROMOTED),
        (scene.delete, scene.make, BEFORE),
    ):
        for number in range(1, 9):
            scene.cloud.reset()
            scene.settings.vars.env_file.unlink(missing_ok=True)
            scene.source()
            before()
            reached = scene.cloud.cut(number, how)
            outcome(act)
            was_cut = reached()
            scene.cloud.mend()
            act()
            assert scene.follows() == after
            assert bool(scene.saved()) == (after is MADE)
            if not was_cut:
                break
        assert number > 1


# --- strangers --------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["make", "delete", "promote"])
@pytest.mark.parametrize("what", ["instance", "replica"])
def test_a_stranger_of_the_same_name_is_left_alone(scene: Scene, act: str, what: str) -> None:
    if what == "instance":
        scene.rds.create_db_instance(
            DBInstanceIdentifier=REPLICA, DBInstanceClass="db.t4g.micro", Engine="postgres",
            MasterUsername="root", MasterUserPassword="huEE33z2Qvl383", AllocatedStorage=20,
        )  # fmt: skip
    else:
        scene.rds.create_db_instance_read_replica(DBInstanceIdentifier=REPLICA, SourceDBInstanceIdentifier=LIVE)
    scene.cloud.forget()
    with pytest.raises(Refused, match=r"is there already, and not made by rds\.replica: nothing was done"):
        getattr(scene, act)()
    assert scene.cloud.writes == []


def test_an_instance_that_is_not_ours_gets_none(scene: Scene) -> None:
    scene.rds.remove_tags_from_resource(ResourceName=scene.rows()[LIVE]["DBInstanceArn"], TagKeys=["ManagedBy"])
    with pytest.raises(Refused, match="--adopt hands it over first"):
        scene.make()
    assert scene.follows() == BEFORE


@pytest.mark.parametrize(
    ("saved", "kept"),
    [
        ("postgresql://elsewhere.example/cruddur", True),
        ("postgresql://me@{host}:5432/cruddur", True),  # a login of its own
        ("postgresql://{host}:5432/another", False),
        ("", False),
    ],
)
def test_an_address_of_somebody_elses_is_kept(
    scene: Scene, saved: str, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    row: Any = {
        "DBInstanceIdentifier": REPLICA,
        "Endpoint": {"Address": HOST.replace("x.", f"{REPLICA}."), "Port": 5432},
    }
    url = saved.format(host=instance.host(row))
    scene.settings.vars.env_file.write_text(f"{VARIABLE}={url}\n")
    env_file.save_replica(scene.settings, row)
    assert (scene.saved() == url) == kept
    assert ("kept: unset it" in capsys.readouterr().err) == saved.startswith("postgresql://elsewhere")
    env_file.forget_replica(scene.settings, REPLICA)
    assert scene.saved() == (url if "elsewhere" in url else "")


@pytest.mark.parametrize("follows", [True, False])
def test_an_address_behind_the_name_is_kept_where_it_leads_to_the_replica(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], follows: bool
) -> None:
    """A front that knows both by their names does; a tunnel leads to the instance."""
    monkeypatch.setattr("ops.postgres.row", lambda *_: {"follows": follows})
    scene.environ["PROD_DB_HOSTADDR"] = "127.0.0.1"
    scene.make()
    assert scene.saved().endswith("?hostaddr=127.0.0.1") == follows
    assert ("PROD_DB_HOSTADDR leads to the instance" in capsys.readouterr().err) != follows


def test_one_that_stayed_with_its_renamed_source_is_found_there(scene: Scene) -> None:
    scene.make()
    scene.rds.modify_db_instance(DBInstanceIdentifier=LIVE, NewDBInstanceIdentifier="was", ApplyImmediately=True)
    assert scene.follows() == {"was": "", REPLICA: "was"}
    for one in scene.rds.describe_db_snapshots()["DBSnapshots"]:  # moto gives the next one's the same name
        scene.rds.delete_db_snapshot(DBSnapshotIdentifier=one["DBSnapshotIdentifier"])
    scene.source()
    with pytest.raises(Refused, match=f"{REPLICA} follows was, not {LIVE}"):
        scene.make()
    found = names.find(scene.aws, scene.configure({"identifier": "was"}).rds)
    assert found
    assert found["DBInstanceIdentifier"] == REPLICA
    assert scene.delete().written
    assert scene.follows() == {"was": "", LIVE: ""}


# --- what is refused before anything is made --------------------------------------------


@pytest.mark.parametrize(
    ("row", "error", "says"),
    [
        (
            {"BackupRetentionPeriod": 0},
            Refused,
            "keeps no backups, without which AWS makes no replica: set rds.backup_days",
        ),
        ({"DBInstanceStatus": "stopped"}, Problem, "inv rds.start starts it; inv rds.replica is for then"),
        ({"ReadReplicaSourceDBInstanceIdentifier": "x", "EngineVersion": "13.9"}, Refused, "is a replica itself"),
    ],
)
def test_a_source_that_aws_would_refuse(scene: Scene, row: Any, error: type[Problem], says: str) -> None:
    whole: Any = {**scene.rows()[LIVE], **row}
    with pytest.raises(error, match=says):
        making.check(scene.settings, scene.aws, whole)


def test_a_name_that_is_too_long(configure: Configure) -> None:
    with pytest.raises(Misconfigured, match=r"a shorter rds\.identifier leaves room"):
        names.name(configure({"identifier": "x" * 60}).rds)


def test_where_rds_keeps_the_password_it_is_taken_over_first_and_confirmed(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """AWS makes no replica of an instance whose password it keeps."""
    scene.cloud.reset()
    scene.environ.clear()
    scene.source()
    with pytest.raises(
        Refused, match=r"set POSTGRES_MASTER_PASSWORD to one of your own, and inv rds\.replica changes it"
    ):
        scene.make()
    scene.make(dry_run=True)
    assert "note: RDS keeps the password" in capsys.readouterr().err
    scene.environ.update(OWN)
    with pytest.raises(Refused, match=f"add --confirm {LIVE}"):
        scene.make()
    assert scene.cloud.writes == []
    scene.make(confirm=LIVE)
    assert scene.cloud.writes == ["ModifyDBInstance", request.OPERATION]
    assert not scene.rows()[LIVE].get("MasterUserSecret")


# --- as botocore's model has it ----------------------------------------------------------


def test_every_field_is_one_of_botocores_model(configure: Configure) -> None:
    client = boto3.client("rds", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    aws = Aws(configure())
    aws._clients["rds"] = client
    settings = configure({"storage_gb": "400", "iops": "12000", "throughput": "500", "storage_max_gb": "unset"})
    with Stubber(client) as stub:
        stub.add_response(xform_name(request.OPERATION), {})
        client.create_db_instance_read_replica(**request.build(settings, aws, source_row(), ["sg-1"]))


# --- what only AWS itself does: by Stubber ----------------------------------------------

OURS: dict[str, Any] = {
    "DBInstanceIdentifier": REPLICA,
    "TagList": tags.to_aws({"Project": "cruddur", "ManagedBy": "inv", "inv:replica-of": LIVE}),
    "ReadReplicaSourceDBInstanceIdentifier": LIVE,
}


def source_row() -> Any:
    return {"DBInstanceIdentifier": LIVE, "DBInstanceStatus": "available", "VpcSecurityGroups": []}


CREATE_SAYS = {
    "DBParameterGroupNotFound": "its parameter group is gone",
    "DBSubnetGroupDoesNotCoverEnoughAZs": "subnets in two zones",
    "InvalidDBSubnetGroupFault": "does not fit its VPC",
    "InsufficientDBInstanceCapacity": "AWS has no room for this class there",
    "InvalidSubnet": "correct rds.subnet_group",
    "DBClusterNotFoundFault": "said so",
    "VpcEncryptionControlViolationException": "set another rds.instance_class",
    "ProvisionedIopsNotAvailableInAZFault": "rds.storage_type gp3",
    "StorageTypeNotSupported": "set another rds.storage_type",
    "DBSubnetGroupNotAllowedFault": "said so",
    "OptionGroupNotFoundFault": "its option group is gone",
    "DBInstanceNotFound": "inv rds.create makes it",
    "NetworkTypeNotSupported": "set another rds.subnet_group",
    "InstanceQuotaExceeded": "ask AWS for a higher quota",
    "InvalidDBCapacityReservationState": "said so",
    "StorageQuotaExceeded": "ask AWS for a higher quota",
    "DomainNotFoundFault": "said so",
    "CertificateNotFound": "certificate authority is withdrawn",
    "InvalidDBInstanceState": "wait until it is available",
    "KMSKeyNotAccessibleFault": "the encryption key cannot be used",
    "DBInstanceAlreadyExists": "is there already, and not made by rds.replica",
    "TenantDatabaseQuotaExceeded": "said so",
    "DBSecurityGroupNotFound": "a security group of the instance is gone",
    "InvalidVPCNetworkStateFault": "mend the VPC",
    "InvalidDBClusterStateFault": "said so",
    "DBCapacityReservationNotFound": "said so",
    "DBSubnetGroupNotFoundFault": "correct rds.subnet_group",
}
PROMOTE_SAYS = {
    "DBInstanceNotFound": "is gone: somebody has deleted it",
    "InvalidDBInstanceState": "inv rds.replica --promote again",
}
SAYS = [
    *((request.OPERATION, code, words) for code, words in CREATE_SAYS.items()),
    *(("PromoteReadReplica", code, words) for code, words in PROMOTE_SAYS.items()),
]


def test_the_table_has_each_error_that_aws_documents() -> None:
    assert {(operation, code) for operation, code, _ in SAYS} == set(errors_of(request.OPERATION, "PromoteReadReplica"))


@pytest.mark.parametrize(("operation", "code", "words"), SAYS)
def test_each_documented_error_is_one_line_that_says_what_to_do(
    stubbed: tuple[Aws, Stubber],
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    code: str,
    words: str,
) -> None:
    aws, stub = stubbed
    settings = configure(AWS_DEFAULT_REGION=REGION, **OWN)
    monkeypatch.setattr(restoring, "groups", lambda *_: ["sg-1"])
    stub.add_client_error(xform_name(operation), code, "said so", http_status_code=400)
    if operation == request.OPERATION:
        if code == "DBInstanceAlreadyExists":
            ready(stub, "available", DBInstanceIdentifier=REPLICA)
        failed = outcome(lambda: making.send(settings, aws, source_row()))
    else:
        if code == "DBInstanceNotFound":
            stub.add_client_error("describe_db_instances", code, http_status_code=404)
        else:
            ready(stub, "backing-up", **OURS)
        failed = outcome(lambda: ending.send_promotion(aws, REPLICA, {"DBInstanceIdentifier": REPLICA}))
    assert failed is not None
    assert failed.code == (
        2 if "not made by" in words else 3 if "again" in words and operation != request.OPERATION else 1
    )
    assert words in str(failed.message)


@pytest.mark.parametrize(
    ("row", "code", "says"),
    [
        ({"DBInstanceStatus": "failed"}, 1, "inv rds.replica --delete takes it away"),
        ({"DBInstanceStatus": "storage-full"}, 1, "the instance itself is not touched"),
        ({"DBInstanceStatus": "creating"}, 3, "run inv rds.replica again to go on waiting"),
        (
            {
                "DBInstanceStatus": "available",
                "StatusInfos": [{"StatusType": "read replication", "Status": "terminated", "Normal": False, "Message": "no slot"}],
            },
            1,
            r"does not follow any more (terminated: no slot)",
        ),
    ],
)  # fmt: skip
def test_one_that_does_not_come_up_is_told(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, row: Any, code: int, says: str
) -> None:
    aws, stub = stubbed
    for _ in range(7 if code == 3 else 1):
        stub.add_response("describe_db_instances", {"DBInstances": [{**OURS, **row}]})
        if "StatusInfos" not in row:
            quiet(stub)
    failed = outcome(lambda: making.wait_for(configure({"wait_minutes": "1"}), aws, hands.clock))
    assert failed
    assert failed.code == code
    assert says in str(failed.message)


def test_a_promotion_is_waited_for_until_it_follows_no_more(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands
) -> None:
    aws, stub = stubbed
    ready(stub, "available", **OURS)
    stub.add_response("promote_read_replica", {}, {"DBInstanceIdentifier": REPLICA, "BackupRetentionPeriod": 7})
    for state, row in (
        ("modifying", OURS),
        ("rebooting", OURS),
        ("backing-up", {**OURS, "ReadReplicaSourceDBInstanceIdentifier": ""}),
    ):
        ready(stub, state, **row)
        quiet(stub)
    ready(stub, "available", **{**OURS, "ReadReplicaSourceDBInstanceIdentifier": ""})
    done = ending.promote_one(configure(), aws, hands.clock, confirm=REPLICA)
    assert (done.source, done.endpoint, hands.slept) == (None, HOST, [10.0] * 3)


def test_a_promotion_that_is_under_way_is_no_failure(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands
) -> None:
    aws, stub = stubbed
    ready(stub, "modifying", **OURS)
    with pytest.raises(InProgress, match=r"is modifying: run inv rds\.replica --promote again"):
        ending.promote_one(configure(), aws, hands.clock, confirm=REPLICA)


def test_one_that_was_promoted_while_it_was_asked_is_not_deleted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.make()

    def promoted(*_: str) -> None:
        scene.rds.promote_read_replica(DBInstanceIdentifier=REPLICA)

    monkeypatch.setattr(ending, "ask", promoted)
    with pytest.raises(Refused):
        scene.delete()
    assert scene.follows() == PROMOTED


def test_a_schedule_that_it_stands_in_the_way_of_is_named(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    plan = read_times("20:00", "08:00", "mon-fri", "Europe/Berlin")
    schedule.put(scene.settings, scene.aws, scene.hands.clock, plan, dry_run=False)
    scene.make(dry_run=True)
    assert "note: rds.schedule cannot stop it as long as it has a replica" in capsys.readouterr().err


# --- what other tasks know of it --------------------------------------------------------


def test_an_instance_with_a_replica_of_ours_is_not_deleted_nor_stopped(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.make()
    scene.rds.create_db_instance_read_replica(DBInstanceIdentifier="theirs", SourceDBInstanceIdentifier=LIVE)
    scene.cloud.forget()

    def end() -> str:
        return delete.delete_instance(scene.settings, scene.aws, scene.hands.clock, confirm=LIVE, snapshot=False)

    with pytest.raises(
        Refused, match=f"has the replica {REPLICA}, which AWS would promote .* inv rds.replica --delete first"
    ):
        end()
    with pytest.raises(Refused, match=f"has the replica {REPLICA}, theirs, and AWS stops none that has"):
        instance.stop_instance(scene.aws, scene.settings.rds, scene.hands.clock)
    times = read_times("20:00", "", "mon-fri", "UTC")
    schedule.put(scene.settings, scene.aws, scene.hands.clock, times, dry_run=True)
    assert f"AWS stops no instance that has a replica ({REPLICA}, theirs)" in capsys.readouterr().err
    row = instance.require_instance(scene.aws, scene.settings.rds)
    found = instance.facts(scene.settings, scene.aws, row)
    assert (found.replicas, found.replica_of) == ([REPLICA, "theirs"], None)
    assert instance.told(found)["replicas"] == [REPLICA, "theirs"]
    on_it = scene.configure({"identifier": REPLICA}, **OWN)
    with pytest.raises(Refused, match=f"is a replica of {LIVE}, and leaves no snapshot"):
        delete.delete_instance(on_it, scene.aws, scene.hands.clock, confirm=REPLICA, snapshot=True)
    assert scene.cloud.writes == []
    scene.delete()
    end()
    assert "its replica theirs, which is not ours, is promoted by AWS" in capsys.readouterr().err
    assert scene.follows() == {"theirs": ""}


def test_a_minor_version_wants_the_replica_first_and_a_switchover_takes_it_along(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.make()
    live = scene.rows()[LIVE]
    following.check_minor(scene.aws, live, live["EngineVersion"])
    with pytest.raises(Refused, match=f"--db-instance-identifier {REPLICA} --engine-version 18.99 "):
        following.check_minor(scene.aws, live, "18.99")
    newer = scene.configure({"engine_version": "18.99"}, **OWN)
    with pytest.raises(Refused, match=f"its replica {REPLICA} has PostgreSQL .* and AWS wants that upgraded first"):
        applying.apply(newer, scene.aws, scene.hands.clock, now=False, dry_run=True, confirm="")
    following.tell_copies(live, "-old1")
    assert f"the one before is {REPLICA}-old1" in capsys.readouterr().err


def test_after_a_swap_nobody_reads_at_the_replica_of_the_one_before(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its data are those of another history."""
    monkeypatch.setattr(written_later, "find", lambda *_: written_later.Found())
    scene.make()
    instance.take_snapshot(scene.aws, scene.settings.rds, "before", scene.hands.clock)
    swapping.plan(scene.settings, scene.aws, Source(snapshot="before"), "", swap=True)
    assert f"its replica {REPLICA} stays with it, and follows {LIVE}-prev then" in capsys.readouterr().err
    restoring_task.restore(
        scene.settings, scene.aws, scene.hands.clock, Source(snapshot="before"), "", swap=True, confirm=LIVE
    )
    assert f"its replica {REPLICA} stays with it, and follows {LIVE}-prev then" in capsys.readouterr().err
    assert not scene.saved()
    assert scene.follows() == {LIVE: "", f"{LIVE}-prev": "", REPLICA: f"{LIVE}-prev"}
    swapping.undo(scene.settings, scene.aws, scene.hands.clock, LIVE)
    scene.make()
    assert scene.follows() == {LIVE: "", f"{LIVE}-restored": "", REPLICA: LIVE}
    assert scene.saved()
