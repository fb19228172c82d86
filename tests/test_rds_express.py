"""A cluster by Aurora's express configuration: made by one call, cut and killed at each write, beside strangers; what it has none of says so."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from config.declared import Kind
from config.targets import Target
from ops.aws import Aws
from ops.cloud import tags
from ops.errors import InProgress, LoginFailed, Misconfigured, Problem, Refused
from ops.lambdas import deploy
from ops.rds import ca, create, delete, differences, env_file, instance, prod, rotate
from ops.rds.apply import applying
from ops.rds.bastion import bastion
from ops.rds.cluster import creating, express, refusals
from ops.rds.cluster.row import BY_IAM, is_express
from ops.rds.restore import restoring
from ops.rds.restore.source import Source
from ops.rds.security_group import allow
from ops.targets import iam
from tests import test_rds_cluster, typed
from tests.fix_aws import REGION, Configure, Front, Hands, Killed, OnInstances, outcome
from tests.fix_cli import SUITE, Cli
from tests.test_rds_policy import allowed

NAME = "cruddur-db-instance"
WRITER = f"{NAME}-instance-1"
EXPRESS = {"engine": "aurora-postgresql", "engine_version": "17"}
PAGE = ("ec2:DescribeAvailabilityZones", "iam:CreateServiceLinkedRole", "rds:CreateDBCluster", "rds:CreateDBInstance", "rds:EnableInternetAccessGateway")  # fmt: skip
"""The rights that "Create with express configuration" (Aurora User Guide) asks for."""
used = test_rds_cluster.used


@dataclass
class Scene(OnInstances):
    """AWS as its page has it, and the tasks on it."""

    config: dict[str, str] = field(default_factory=lambda: dict(EXPRESS))

    def create(self, *, adopt: bool = False, quick: bool = True) -> create.Created:
        return create.create_or_resume(self.settings, self.aws, self.hands.clock, adopt=adopt, quick=quick)

    def delete(self) -> str:
        return delete.delete_instance(self.settings, self.aws, self.hands.clock, confirm=NAME, snapshot=True)

    def row(self) -> Any:
        return instance.require_instance(self.aws, self.settings.rds)

    def ours(self) -> dict[str, bool]:
        """The instances, and whether each carries our tag."""
        return {name: tags.is_ours(tags.from_aws(row["TagList"])) for name, row in self.rows().items()}

    def by_hand(self, *, quick: bool, ours: bool = False) -> None:
        more = {"WithExpressConfiguration": True} if quick else {"MasterUserPassword": "huEE33z2Qvl383"}
        self.rds.create_db_cluster(
            DBClusterIdentifier=NAME, Engine="aurora-postgresql", MasterUsername="root",
            Tags=tags.to_aws(tags.of_project("cruddur")) if ours else [], **more,
        )  # fmt: skip
        self.cloud.forget()


@pytest.fixture
def scene(
    cloud: Front, configure: Configure, hands: Hands, pauses: None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setattr(prod, "open_session", lambda *_: io.BytesIO())
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    return Scene(cloud, configure, hands)


# --- made ---------------------------------------------------------------------------------


def test_it_is_made_by_one_call_and_what_it_lacks_is_said_before(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    made = scene.create()
    said = capsys.readouterr().err
    typed.check(scene.cloud, "a cluster by express configuration")
    assert scene.ours() == {WRITER: True}
    assert f"{NAME}.cluster-" in str(made.endpoint)
    assert scene.settings.vars.saved == {"PROD_DB_ENDPOINT": made.endpoint}
    for word in (
        "no security group",
        "token of IAM alone",
        "no password",
        "about 44 USD a month",
        "inv db.setup -t prod",
    ):
        assert 0 <= said.index(word) < said.index("asked AWS for the cluster"), word
    scene.cloud.forget()
    for quick in (True, False):
        assert scene.create(quick=quick) == made
    scene.config["public"] = "no"
    scene.create(quick=False)
    assert scene.cloud.writes == []
    said = capsys.readouterr().err
    assert "it has no public address" not in said
    assert "differs: public is yes, the settings say no" in said


def test_a_dry_run_shows_the_request_and_what_it_lacks_and_asks_nobody(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = create.plan_instance(scene.settings, scene.aws, quick=True)
    assert planned.request == express.build(scene.settings, "postgres")
    said = capsys.readouterr().err
    assert all(f"express: {one}" in said for one in express.lacks(scene.settings))
    assert (scene.cloud.calls, planned.written) == ([], False)


def test_the_request_is_one_of_botocores_model_and_takes_what_the_page_lets_be_said_at_birth(
    scene: Scene, stubbed: tuple[Aws, Stubber]
) -> None:
    aws, stub = stubbed
    wanted = express.build(scene.settings, "postgres")
    stub.add_response("create_db_cluster", {"DBCluster": {"DBClusterIdentifier": NAME}}, wanted)
    aws.client("rds").create_db_cluster(**wanted)
    from ops.sandbox.express import AT_BIRTH

    assert set(wanted) <= AT_BIRTH


DOCUMENTED = """<DescribeDBClustersResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><DescribeDBClustersResult><DBClusters>
<DBCluster><BackupRetentionPeriod>1</BackupRetentionPeriod><DBClusterIdentifier>cruddur-db-instance</DBClusterIdentifier>
<Status>available</Status><MultiAZ>false</MultiAZ><Engine>aurora-postgresql</Engine><EngineVersion>17.4</EngineVersion><Port>5432</Port>
<MasterUsername>postgres</MasterUsername><DBClusterMembers/><VpcSecurityGroups/><StorageEncrypted>false</StorageEncrypted>
<DbClusterResourceId>cluster-AHX35HFI2YV26F3XVXVVO3MEHU</DbClusterResourceId>
<DBClusterArn>arn:aws:rds:us-east-1:634686195229:cluster:testvalidation-cluster-3</DBClusterArn>
<IAMDatabaseAuthenticationEnabled>true</IAMDatabaseAuthenticationEnabled><DeletionProtection>false</DeletionProtection>
<ServerlessV2ScalingConfiguration><MinCapacity>1.0</MinCapacity><MaxCapacity>128.0</MaxCapacity></ServerlessV2ScalingConfiguration>
<VPCNetworkingEnabled>false</VPCNetworkingEnabled><InternetAccessGatewayEnabled>true</InternetAccessGatewayEnabled></DBCluster>
</DBClusters></DescribeDBClustersResult></DescribeDBClustersResponse>"""
"""The example of the API reference of DescribeDBClusters, "with Internet Access Gateway, and disabled VPC Networking", with another name."""


def test_it_is_known_by_the_answer_that_aws_documents(scene: Scene) -> None:
    scene.cloud.before = lambda call: ("200 OK", DOCUMENTED.encode()) if call.action == "DescribeDBClusters" else None
    row = scene.row()
    assert is_express(row)
    found = instance.facts(scene.settings, scene.aws, row)
    assert (found.public, found.encrypted, found.security_groups, found.status) == (
        True,
        True,
        [],
        "without an instance",
    )


@pytest.mark.parametrize(
    ("config", "environ", "words"),
    [
        (
            {"engine": "postgres"},
            {},
            r"rds\.engine postgres: --express makes a cluster of Aurora.* set aurora-postgresql",
        ),
        ({"iam_auth": "no"}, {}, "rds.iam_auth no: it takes logins by IAM alone: set yes"),
        ({"login": "password"}, {}, "rds.login password: it takes tokens of IAM alone: set auto"),
        ({"public": "no"}, {}, "rds.public no: it is reached from the internet alone"),
        ({"encrypted": "no"}, {}, "rds.encrypted no: it is always encrypted"),
        ({"subnet_group": "mine"}, {}, "rds.subnet_group mine: it lies in no network of yours"),
        ({"zone": "a"}, {}, "rds.zone a: AWS chooses its zones"),
        ({"max_acu": "0.5"}, {}, "rds.max_acu 0.5: give 1 to 256"),
        ({}, {"POSTGRES_MASTER_PASSWORD": "mine-alone-1"}, "POSTGRES_MASTER_PASSWORD: it has no password"),
        ({}, {"AWS_DEFAULT_REGION": "me-south-1"}, "AWS_DEFAULT_REGION me-south-1: has no express configuration"),
    ],
)
def test_settings_that_do_not_go_with_it_are_refused_before_aws_is_asked(
    scene: Scene, config: dict[str, str], environ: dict[str, str], words: str
) -> None:
    at = replace(scene, config={**EXPRESS, **config}, environ=environ)
    with pytest.raises(Misconfigured, match=words):
        at.create()
    with pytest.raises(Misconfigured, match=words):
        create.plan_instance(at.settings, at.aws, quick=True)
    assert [call.action for call in scene.cloud.calls if call.action != "GetCallerIdentity"] == []
    assert "mine-alone-1" not in str(outcome(at.create))


def test_of_wrong_settings_all_are_said_at_once(scene: Scene) -> None:
    scene.config |= {"iam_auth": "no", "zone": "a", "public": "no"}
    with pytest.raises(Misconfigured) as failed:
        scene.create()
    assert all(word in str(failed.value) for word in ("iam_auth", "zone", "public"))


def test_an_account_that_may_make_no_other_cluster_is_told_of_it(scene: Scene) -> None:
    said = "To use Aurora clusters with free plan accounts you need to set WithExpressConfiguration."
    answer = f"<Response><Error><Code>FreeTierRestrictionError</Code><Message>{said}</Message></Error></Response>"
    scene.cloud.before = lambda call: ("400 Bad Request", answer.encode()) if call.action == "CreateDBCluster" else None
    with pytest.raises(Refused, match=r"on the free plan: inv rds\.create --express makes one"):
        scene.create(quick=False)
    assert scene.rds.describe_db_clusters()["DBClusters"] == []


# --- cut off --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["before", "lost", "dropped", "expired", "throttled"])
@pytest.mark.parametrize("number", [1, 2])
def test_cut_at_a_write_the_next_run_makes_the_rest_of_it(scene: Scene, number: int, how: str) -> None:
    came = scene.cloud.cut(number, how)
    outcome(scene.create)
    assert came()
    scene.cloud.mend()
    scene.create()
    assert scene.ours() == {WRITER: True}
    assert list(scene.settings.vars.saved) == ["PROD_DB_ENDPOINT"]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("number", [1, 2])
def test_killed_at_a_write_the_next_run_makes_the_rest_with_or_without_the_option(
    scene: Scene, number: int, quick: bool
) -> None:
    kill_at(scene, number, scene.create)
    scene.create(quick=quick)
    assert scene.ours() == {WRITER: True}
    assert scene.cloud.writes.count("CreateDBCluster") == 1


def kill_at(scene: Scene, number: int, act: Callable[[], object]) -> None:
    """Run an act whose process dies after its write of this number."""
    client, done = scene.aws.client("rds"), []

    def count(model: Any, **_: Any) -> None:
        if not model.name.startswith("Describe"):
            done.append(model.name)
            if len(done) == number:
                raise Killed

    client.meta.events.register("after-call", count)
    try:
        with pytest.raises(Killed):
            act()
    finally:
        client.meta.events.unregister("after-call", count)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_it_is_deleted_the_next_run_deletes_the_rest(scene: Scene, number: int) -> None:
    scene.create()
    kill_at(scene, number, scene.delete)
    scene.delete()
    assert (scene.rows(), scene.rds.describe_db_clusters()["DBClusters"], scene.settings.vars.saved) == ({}, [], {})
    [left] = scene.rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert left["DBClusterSnapshotIdentifier"].startswith(f"{NAME}-final-")


def test_one_that_was_cut_off_before_its_instance_was_tagged_can_be_deleted(scene: Scene) -> None:
    kill_at(scene, 1, scene.create)
    assert scene.ours() == {WRITER: False}
    scene.delete()
    assert scene.rows() == {}


def test_two_runs_at_once_make_one(scene: Scene) -> None:
    def meanwhile(call: Any) -> None:
        if call.action == "CreateDBCluster":
            scene.cloud.before = lambda _: None
            scene.create()

    scene.cloud.before = meanwhile
    scene.create()
    assert scene.ours() == {WRITER: True}


def hide_writer(scene: Scene) -> Any:
    """Make the cluster, and take its instance out of AWS; return it."""
    from moto.rds.models import rds_backends

    scene.by_hand(quick=True, ours=True)
    return rds_backends["123456789012"][REGION].databases.pop(WRITER)


def test_an_instance_that_comes_later_is_waited_for_and_tagged(scene: Scene) -> None:
    from moto.rds.models import rds_backends

    writer, databases = hide_writer(scene), rds_backends["123456789012"][REGION].databases
    scene.hands.then = lambda at: databases.update({WRITER: writer}) if at >= 30 else None
    scene.create()
    assert scene.ours() == {WRITER: True}
    assert 30 <= scene.hands.time < 60


def test_where_none_comes_one_is_made(scene: Scene) -> None:
    hide_writer(scene)
    scene.create()
    assert scene.ours() == {f"{NAME}-1": True}
    [asked] = [call.params for call in scene.cloud.calls if call.action == "CreateDBInstance"]
    assert not {"PubliclyAccessible", "AvailabilityZone"} & set(asked)
    assert express.BIRTH <= scene.hands.time < express.BIRTH + 60


def test_the_wait_ends_with_exit_code_3(scene: Scene) -> None:
    scene.config["wait_minutes"] = "0.5"
    hide_writer(scene)
    with pytest.raises(InProgress, match=r"inv rds.create again"):
        scene.create()


# --- strangers ------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", [True, False])
def test_a_strangers_cluster_of_the_name_is_refused_and_nothing_is_written(scene: Scene, theirs: bool) -> None:
    scene.by_hand(quick=theirs)
    with pytest.raises(Refused, match="not made by inv" if theirs else "not by express configuration"):
        scene.create()
    with pytest.raises(Refused, match="not made by inv"):
        scene.delete()
    assert scene.cloud.writes == []


def test_one_that_is_handed_over_is_tagged_with_its_instances(scene: Scene) -> None:
    scene.by_hand(quick=True)
    scene.rds.create_db_instance(
        DBInstanceIdentifier="reads",
        DBClusterIdentifier=NAME,
        DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
    )
    scene.create(adopt=True)
    assert scene.ours() == {WRITER: True, "reads": True}


def test_an_ordinary_cluster_of_ours_is_not_taken_for_one(scene: Scene) -> None:
    scene.by_hand(quick=False, ours=True)
    with pytest.raises(Refused, match=r"which AWS makes of no other cluster: nothing was done; leave out --express"):
        scene.create()
    assert scene.cloud.writes == []


def test_a_strangers_instance_in_it_is_neither_tagged_nor_deleted(scene: Scene) -> None:
    scene.create()
    scene.rds.create_db_instance(
        DBInstanceIdentifier="theirs",
        DBClusterIdentifier=NAME,
        DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
    )
    scene.create()
    assert scene.ours() == {WRITER: True, "theirs": False}
    scene.cloud.forget()
    with pytest.raises(Refused, match="has the instance theirs"):
        scene.delete()
    assert scene.cloud.writes == []


# --- its life -------------------------------------------------------------------------------


def test_it_is_stopped_started_saved_changed_and_deleted_by_the_rights_of_the_policies(
    scene: Scene, used: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scene.create()
    clock = scene.hands.clock
    assert "is stopped" in instance.stop_instance(scene.aws, scene.settings.rds, clock)
    assert "is available" in instance.start_instance(scene.aws, scene.settings.rds, clock)
    assert instance.take_snapshot(scene.aws, scene.settings.rds, "mine", clock) == "mine"
    scene.config |= {"max_acu": "8", "backup_days": "14"}
    named = {one.setting for one in differences.find_differences(scene.settings, scene.aws, scene.row())}
    assert {"max_acu", "backup_days"} <= named
    assert not named & {"database", "public", "encrypted", "security_group", "port", "iam_auth", "subnet_group"}
    applying.apply(scene.settings, scene.aws, clock, now=False, dry_run=False, confirm=NAME)
    assert scene.row()["BackupRetentionPeriod"] == 14
    told = instance.told(instance.facts(scene.settings, scene.aws, scene.row()))
    assert (told["instances"], told["password"]) == ([f"{WRITER}: available, writes"], "none")
    assert told["groups"].startswith("none: its gateway to the internet")
    scene.delete()
    assert scene.rows() == {}
    own = allowed("express")
    assert own == set(PAGE)
    assert used <= own | allowed("aurora") | allowed("rds")


def test_the_rights_without_a_tag_are_a_policy_of_their_own_for_one_class_alone() -> None:
    policy = json.loads((SUITE / "config" / "policies" / "express.json").read_text())
    [made] = [one for one in policy["Statement"] if "rds:CreateDBCluster" in one["Action"]]
    assert made["Condition"] == {"StringEquals": {"aws:RequestTag/ManagedBy": "inv"}}
    [gateway] = [one for one in policy["Statement"] if "rds:EnableInternetAccessGateway" in one["Action"]]
    assert gateway["Resource"] == ["arn:aws:rds:*:*:cluster:*", "arn:aws:rds:*:*:db:*"]


def test_a_reader_is_made_beside_it_and_read_at(scene: Scene) -> None:
    scene.config["multi_az"] = "yes"
    scene.create()
    assert scene.ours() == {WRITER: True, f"{NAME}-1": True}
    assert ".cluster-ro-" in scene.settings.vars.saved["PROD_READ_CONNECTION_URL"]
    scene.cloud.forget()
    scene.create()
    assert scene.cloud.writes == []


def test_a_cluster_that_pauses_is_refused_beside_a_function(scene: Scene) -> None:
    test_rds_cluster.make_function(scene)  # type: ignore[arg-type]
    scene.config["min_acu"] = "0"
    scene.cloud.forget()
    with pytest.raises(Refused, match=r"rds.pause_with_function to yes, then inv rds.create again"):
        scene.create()
    assert scene.cloud.writes == []


# --- what it has none of --------------------------------------------------------------------

NONE = r"^cruddur-db-instance has no security group: .* lets in whoever shows a token of IAM"
TASKS: dict[str, tuple[Callable[[Scene], object], str]] = {
    "rds.allow-my-ip": (lambda at: allow.allow(at.aws, at.settings, "8.8.4.4", None), NONE),
    "rds.rules": (lambda at: allow.show(at.aws, at.settings, json=False), NONE),
    "rds.revoke-my-ip": (lambda at: allow.revoke(at.aws, at.settings), NONE),
    "rds.prune-rules": (lambda at: allow.prune(at.aws, at.settings), NONE),
    "rds.bastion": (lambda at: bastion.make(at.settings, at.aws, at.hands.clock, dry_run=False), NONE),
    "rds.rotate-password": (
        lambda at: rotate.rotate_password(at.settings, at.aws, at.hands.clock),
        "nothing was done; it has no password",
    ),
    "rds.restore": (
        lambda at: restoring.restore(
            at.settings, at.aws, at.hands.clock, Source(snapshot="mine"), "", swap=False, confirm=""
        ),
        "nothing was done; AWS restores its snapshots, .* --enable-internet-access-gateway",
    ),
    "lambda.deploy": (
        lambda at: deploy.deploy(at.settings, at.aws, at.hands.clock, dry_run=False, adopt=False),
        "nothing was done; a function of the suite stands in the database's network",
    ),
}


@pytest.mark.parametrize("named", ["", "sg-0123456789abcdef0"])
@pytest.mark.parametrize("task", TASKS)
def test_what_wants_a_group_a_network_or_a_password_says_in_one_line_that_there_is_none(
    scene: Scene, task: str, named: str
) -> None:
    scene.create()
    scene.environ = {"DB_SG_ID": named} if named else {}
    scene.cloud.forget()
    act, words = TASKS[task]
    with pytest.raises(Misconfigured, match=words) as failed:
        act(scene)
    assert "\n" not in str(failed.value)
    exit = outcome(lambda: act(scene))
    assert exit is not None
    assert exit.code == 2
    assert scene.cloud.writes == []
    assert set(refusals.OF_EXPRESS) <= {name.removeprefix("rds.") for name in TASKS}


# --- logging in -----------------------------------------------------------------------------


def test_its_target_logs_in_by_a_token_whatever_file_of_passwords_there_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene.create()
    (tmp_path / "pgpass").write_text("*:*:*:*:theirs\n")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    monkeypatch.setattr(prod, "Aws", scene.cloud.aws)
    settings = scene.settings
    found = prod.ask_rds(settings, why="")
    assert (found.source, found.password, found.params["user"], found.params["sslmode"]) == (
        BY_IAM,
        "",
        "postgres",
        "verify-full",
    )
    signed = iam.asked(settings, found)
    assert signed.token
    assert signed.token(signed).startswith(f"{found.host}:5432/?Action=connect&DBUser=postgres&")


def test_a_password_that_somebody_sets_later_is_named_and_never_saved(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.create()
    host = scene.settings.vars.saved["PROD_DB_ENDPOINT"]
    monkeypatch.setattr(prod, "Aws", scene.cloud.aws)
    scene.environ = {"POSTGRES_MASTER_PASSWORD": "mine-alone-1", "POSTGRES_MASTER_USERNAME": "postgres"}
    env_file.save(scene.settings, scene.row(), force=True)
    assert scene.settings.vars.saved == {"PROD_DB_ENDPOINT": host}
    params = {"user": "postgres", "password": "mine-alone-1", "host": host, "port": "5432", "dbname": "cruddur"}
    target = Target("prod", "PROD_DB_ENDPOINT", params, kind=Kind.RDS, declared=scene.settings.focus)
    with pytest.raises(LoginFailed, match="has no password, and lets in by tokens of IAM alone: unset POSTGRES_MASTER"):
        prod.read_login_again(scene.settings, target, LoginFailed("refused"))


def test_a_bundle_of_certificates_from_before_gets_the_roots_of_its_gateway(scene: Scene) -> None:
    path = ca.bundle(scene.settings)
    path.parent.mkdir(exist_ok=True)
    own = (SUITE / "tests" / "data" / "rds-roots-ca-central-1.pem").read_text()
    path.write_text(own)
    scene.create()
    assert path.read_text() == ca.with_public_roots(own)
    assert path.read_text().startswith(own.rstrip())
    assert path.read_text().count("BEGIN CERTIFICATE") == 4 + ca.public_roots().count("BEGIN CERTIFICATE") > 7
    before = path.stat().st_mtime_ns
    ca.complete(scene.settings)
    assert path.stat().st_mtime_ns == before


# --- as the sandbox has it ------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"EngineVersion": "17.4"}, {"VpcSecurityGroupIds": ["sg-0123456789abcdef0"]}, {"DBSubnetGroupName": "mine"},
        {"ManageMasterUserPassword": True}, {"MasterUserPassword": "huEE33z2Qvl383"}, {"BackupRetentionPeriod": 7},
        {"KmsKeyId": "mine"}, {"Port": 5433},
    ],
)  # fmt: skip
def test_the_sandbox_refuses_at_birth_what_the_page_does_not_let_be_said(scene: Scene, more: dict[str, Any]) -> None:
    client = scene.rds
    with pytest.raises(client.exceptions.ClientError, match="InvalidParameterCombination"):
        client.create_db_cluster(**express.build(scene.settings, "postgres"), **more)
    assert scene.rds.describe_db_clusters()["DBClusters"] == []


def test_the_sandbox_does_not_let_its_logins_be_changed(scene: Scene) -> None:
    scene.create()
    client = scene.rds
    for more in ({"EnableIAMDatabaseAuthentication": False}, {"MasterUserPassword": "huEE33z2Qvl383"}):
        with pytest.raises(client.exceptions.ClientError, match="InvalidParameterCombination"):
            client.modify_db_cluster(DBClusterIdentifier=NAME, **more)
    scene.config |= {"iam_auth": "no", "engine_version": "17.7"}
    with pytest.raises(Problem, match=r"rds.iam_auth is yes, not no: it takes logins by IAM alone"):
        applying.apply(scene.settings, scene.aws, scene.hands.clock, now=False, dry_run=False, confirm=NAME)


def test_by_the_command_line(inv: Cli, scene: Scene) -> None:
    env = {"INVOKE_RDS_ENGINE": "aurora-postgresql"}
    done = inv("rds.create", "--express", "--dry-run", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["WithExpressConfiguration"] is True
    assert "express: it lies in no network" in done.stderr
    done = inv("rds.create", "--express", env={"INVOKE_RDS_ENGINE": "postgres"})
    assert done.returncode == 2
    assert "set aurora-postgresql" in done.stderr
    scene.create()
    scene.cloud.forget()
    done = inv("rds.rules", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no security group" in done.stderr.splitlines()[-1]


def test_which_instances_are_strangers() -> None:
    ours = {"TagList": tags.to_aws(tags.of_project("cruddur"))}
    plain: Any = {"Cluster": {}, "Instances": [{"DBInstanceIdentifier": "a"}]}
    quick: Any = {"Cluster": {"InternetAccessGatewayEnabled": True}, "Instances": [{"DBInstanceIdentifier": "a"}]}
    taken: Any = {**quick, "Instances": [{"DBInstanceIdentifier": "theirs"}, {"DBInstanceIdentifier": "a", **ours}]}
    none: Any = {**quick, "Instances": []}
    for row, names in ((plain, ["a"]), (quick, []), (taken, ["theirs"]), (none, [])):
        assert [one["DBInstanceIdentifier"] for one in creating.strangers(row)] == names
