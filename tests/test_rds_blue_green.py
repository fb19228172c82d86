"""rds.upgrade --blue-green: refused where AWS would, cut anywhere and repeated; what moto does at once, by botocore's Stubber.

moto plays a deployment without any replication; the databases are those of a real server, whose wal_level is as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from ops import postgres
from ops.aws import Aws
from ops.errors import Differs, InProgress, Problem, Refused
from ops.lambdas.following import follow
from ops.rds import create, instance, prod
from ops.rds.proxy import following, parts, role
from ops.rds.upgrade import blue_green, checks, offers, upgrade
from tests import servers, typed
from tests.fix_aws import Configure, Front, Hands, outcome, said_first
from tests.fix_cli import SUITE
from tests.fix_lambda import let_into, role_by_token
from tests.fix_suppliers import Database, supply
from tests.test_rds_proxy import proxied
from tests.test_rds_restore import killed
from tests.test_rds_upgrade import NAME, OURS, TAGS, instances, listed, server

__all__ = ["server"]
OLD = f"{NAME}-old1"
WANTED = upgrade.Wanted("18", "", lambda _: None)
ARN = f"arn:aws:rds:ca-central-1:123456789012:db:{NAME}"
Lead = Callable[..., upgrade.Upgraded]


@pytest.fixture(scope="module", name="postgres")
def server_of_its_own() -> Iterator[servers.Server]:
    """A server of its own: each database of it is looked at."""
    yield from supply("embedded")


@pytest.fixture
def lead(cloud: Front, configure: Configure, hands: Hands, server: Database, monkeypatch: pytest.MonkeyPatch) -> Lead:
    """What upgrades an instance of 17 with a password of ours; the server writes what logical replication needs, it is said."""
    monkeypatch.setattr(prod, "open_session", lambda *_: postgres.connect(server.target(), task="test"))
    monkeypatch.setattr(blue_green, "OF_SERVER", checks.Check("", "select '' as object, '' as mend where false"))
    variables = {"PROD_DB_SSLROOTCERT": "/none.pem", "POSTGRES_MASTER_PASSWORD": "not-used-here"}
    settings = configure({"engine_version": "17"}, **variables)
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    cloud.forget()
    cloud.before = listed

    def act(confirm: str = NAME, dry_run: bool = False, **variables: str) -> upgrade.Upgraded:
        found = configure({"engine_version": "17"}, **variables) if variables else settings
        aws = cloud.aws(found)
        follows = partial(follow, found, aws)
        return blue_green.lead(found, aws, hands.clock, WANTED, confirm=confirm, dry_run=dry_run, follow=follows)

    return act


def test_a_copy_is_made_tried_and_switched_over_to(
    lead: Lead, cloud: Front, configure: Configure, server: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    server.do("create table t (n int primary key)")
    assert (lead(dry_run=True).findings, cloud.writes) == ([], [])
    assert f"until {OLD} is deleted" in (said := capsys.readouterr().err)
    assert "no migrations" in said
    with pytest.raises(Refused, match=f"add --confirm {NAME}"):
        lead(confirm="")
    assert cloud.writes == []
    done = lead()
    typed.check(cloud, "rds.upgrade --blue-green")
    assert instances(cloud, configure) == {NAME: "18.4", OLD: "17"}
    assert (done.from_version, done.to_version, done.upgrade_seconds) == ("17", "18.4", 0)
    assert "a session was opened in" in (said := capsys.readouterr().err)
    assert f"INVOKE_RDS_IDENTIFIER={OLD} inv rds.delete removes it" in said
    cloud.forget()
    assert lead().written is False
    assert cloud.writes == []


def test_a_proxy_is_there_before_and_follows(lead: Lead, cloud: Front, configure: Configure, hands: Hands) -> None:
    settings = configure({"engine_version": "17"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(settings)
    proxied(aws, settings, hands)
    mine, allowed, by_token = parts.of(settings.rds, "ca-central-1"), [], role.by_token

    def noted(rows: Sequence[Mapping[str, object]], user: str) -> dict[str, Any]:
        allowed.append([row["DBInstanceIdentifier"] for row in rows])
        return by_token(rows, user)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(role, "by_token", noted)
        lead()
    [both, one] = allowed
    assert (both[0], len(both), one) == (NAME, 2, [NAME]), "both before the switchover, and the new one alone after it"
    now = instance.require_instance(aws, settings.rds)
    held = role.right(aws, mine)
    assert held
    assert f":{now['DbiResourceId']}/" in str(held["Statement"][0]["Resource"])
    aws.client("iam").delete_role_policy(RoleName=mine.role, PolicyName=role.POLICY)
    with pytest.raises(Refused, match="does not reach"):
        following.check_copy(aws, now)


# What AWS wants for what it does in the caller's name (RDS user guide, "Authorizing access to Amazon RDS blue/green deployment
# operations"); what it wants beyond is in rds.json
IN_OUR_NAME = {"rds:CreateDBInstanceReadReplica", "rds:PromoteReadReplica", "rds:AddTagsToResource"}


def test_its_rights_are_those_that_it_asks_for(lead: Lead, cloud: Front) -> None:
    lead()
    policies = {
        name: json.loads((SUITE / "config" / "policies" / f"{name}.json").read_text()) for name in ("rds", "blue-green")
    }
    rds, own = ({action for one in policy["Statement"] for action in one["Action"]} for policy in policies.values())
    used = {f"rds:{call.action}" for call in cloud.calls if call.params.get("Version") == "2014-10-31"}
    assert own - IN_OUR_NAME == used - rds


WRITES = ("CreateBlueGreenDeployment", "SwitchoverBlueGreenDeployment", "DeleteBlueGreenDeployment")
FOLLOWED = (WRITES[0], "PutRolePolicy", WRITES[1], "PutRolePolicy", WRITES[2])
"""The function, or the proxy, is let into both before the switchover, and into the new one alone after it."""
CUTS = [
    *[("whose function logs in by a token", FOLLOWED, number) for number in (1, 2, 3, 4, 5)],
    ("whose password RDS keeps", ("ModifyDBInstance", *WRITES), 1),
    *[("behind a proxy", FOLLOWED, number) for number in (2, 4)],
]


@pytest.mark.spread
@pytest.mark.parametrize("how", ["before", "lost", "killed before", "killed after"])
@pytest.mark.parametrize(("what", "writes", "number"), CUTS, ids=[f"{what}: {number}" for what, _, number in CUTS])
def test_cut_or_killed_at_any_write_the_next_run_goes_on(
    lead: Lead,
    cloud: Front,
    configure: Configure,
    hands: Hands,
    what: str,
    writes: tuple[str, ...],
    number: int,
    how: str,
    pauses: None,
    own_ids: None,
) -> None:
    settings = configure({"engine_version": "17"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(settings)
    client = aws.client("rds")
    if what == "whose password RDS keeps":
        client.modify_db_instance(DBInstanceIdentifier=NAME, ManageMasterUserPassword=True, ApplyImmediately=True)
    if what == "behind a proxy":
        proxied(aws, settings, hands)
    by_token = what == "whose function logs in by a token"
    if by_token:
        role_by_token(aws, settings, instance.require_instance(aws, settings.rds))
    cloud.forget()
    if how.startswith("killed"):
        with killed(number, how.removeprefix("killed ")):
            failed = outcome(lead)
        assert failed
        assert failed.code == 137
    else:
        reached = cloud.cut(number, how)
        cut = cloud.before
        cloud.before = lambda call: cut(call) or listed(call)
        failed = outcome(lead)
        assert reached()
        assert how == "lost" or failed, "nothing was written any more"
        assert failed is None or (failed.code, "run this again" in str(failed.message)) == (1, True)
    assert tuple(dict.fromkeys(cloud.writes[:number])) == tuple(
        dict.fromkeys(writes[: number - (how == "killed before")])
    )
    cloud.mend()
    if by_token:
        assert NAME in let_into(aws, settings)
    cloud.before = listed
    lead()
    assert instances(cloud, configure) == {NAME: "18.4", OLD: "17"}
    if by_token:
        assert let_into(aws, settings) == {NAME}
    assert lead().written is False
    assert client.describe_blue_green_deployments()["BlueGreenDeployments"] == []
    now = instance.require_instance(aws, settings.rds)
    assert "MasterUserSecret" not in now
    if what == "behind a proxy":
        held = role.right(aws, parts.of(settings.rds, "ca-central-1"))
        assert held
        assert f":{now['DbiResourceId']}/" in str(held["Statement"][0]["Resource"])


def test_a_strangers_deployment_is_left(lead: Lead, cloud: Front, configure: Configure) -> None:
    client = cloud.aws(configure()).client("rds")
    client.create_blue_green_deployment(BlueGreenDeploymentName=f"{NAME}-upgrade", Source=ARN)
    cloud.forget()
    with pytest.raises(Refused, match="is not ours"):
        lead()
    assert cloud.writes == []


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([], "was not made by inv: give it another name"),
        ([{"Key": "ManagedBy", "Value": "inv"}], f"INVOKE_RDS_IDENTIFIER={OLD} inv rds.delete removes it"),
    ],
)
def test_one_that_has_the_name_of_the_one_before_is_found_first(
    lead: Lead, cloud: Front, configure: Configure, labels: list[Any], says: str
) -> None:
    client = cloud.aws(configure()).client("rds")
    client.create_db_instance(
        DBInstanceIdentifier=OLD, DBInstanceClass="db.t4g.micro", Engine="postgres", AllocatedStorage=20, Tags=labels
    )
    cloud.forget()
    for dry_run in (True, False):
        with pytest.raises(Refused, match=says):
            lead(dry_run=dry_run)
    assert cloud.writes == []


@pytest.mark.parametrize(
    ("statement", "object", "mend"),
    [
        ("create table t (n int)", "public.t", "add primary key"),
        ("create unlogged table t (n int primary key)", "public.t", "set logged"),
        ("select lo_create(0)", "1 large objects", "bytea"),
        ("create publication mine", "publication mine", "drop publication mine"),
    ],
)
def test_what_would_not_reach_the_copy(
    lead: Lead, cloud: Front, server: Database, statement: str, object: str, mend: str
) -> None:
    server.do(statement)
    [found] = lead(dry_run=True).findings
    assert (found.database, found.object) == (server.name, object)
    assert mend in found.mend
    with pytest.raises(Differs, match="1 in the way"):
        lead()
    assert cloud.writes == []


def test_a_server_that_writes_too_little_is_told(server: Database) -> None:
    with postgres.connect(server.target(), task="test") as conn:
        [found] = checks.found(conn, None, [blue_green.OF_SERVER])
    assert found.object == "parameter wal_level"
    assert "rds.logical_replication" in found.mend


# --- a password that RDS keeps ------------------------------------------------------------


@pytest.fixture
def kept(cloud: Front, configure: Configure, hands: Hands, lead: Lead) -> Front:
    """The same instance, whose password RDS keeps."""
    client = cloud.aws(configure()).client("rds")
    client.modify_db_instance(DBInstanceIdentifier=NAME, ManageMasterUserPassword=True, ApplyImmediately=True)
    cloud.forget()
    return cloud


def test_one_that_rds_keeps_is_refused_and_the_switch_offered(
    lead: Lead, kept: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"PROD_DB_SSLROOTCERT": "/none.pem"}
    assert lead(dry_run=True, **variables).findings == []
    assert "set POSTGRES_MASTER_PASSWORD to one of your own" in capsys.readouterr().err
    with pytest.raises(Refused, match="RDS keeps the password") as refused:
        lead(**variables)
    assert refused.value.code == 2
    assert kept.writes == []


def test_it_is_taken_over_first(lead: Lead, kept: Front, capsys: pytest.CaptureFixture[str]) -> None:
    assert "costs: one more instance, about " in said_first(kept, capsys, lead)
    assert kept.writes[0] == "ModifyDBInstance"
    change = next(call.params for call in kept.calls if call.action == "ModifyDBInstance")
    assert (change["ManageMasterUserPassword"], change["MasterUserPassword"]) == ("false", "not-used-here")
    assert "not-used-here" not in capsys.readouterr().err


# --- what an instance is refused for ------------------------------------------------------

ROW: dict[str, Any] = {
    **OURS, "DBInstanceStatus": "available", "Endpoint": {"Address": "x", "Port": 5432}, "BackupRetentionPeriod": 7, "DBInstanceArn": ARN,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "to", "says"),
    [
        ({"BackupRetentionPeriod": 0}, "18.4", "keeps no backups"),
        ({"ReadReplicaSourceDBInstanceIdentifier": "first"}, "18.4", "is a replica of first"),
        ({"DBInstanceStatus": "modifying"}, "18.4", "is modifying"),
        ({"EngineVersion": "15.3"}, "18.4", r"--to 15 first"),
        ({"EngineVersion": "10.9"}, "18.4", r"--to 10 first"),
        ({"EngineVersion": "15.4"}, "18.4", ""),
        ({"EngineVersion": "17.0"}, "18.4", ""),
        ({"EngineVersion": "15.3"}, "15.8", ""),
    ],
)
def test_what_aws_would_refuse_of_an_instance(change: dict[str, Any], to: str, says: str) -> None:
    row: Any = {**ROW, **change}
    if not says:
        blue_green.check_row(row, offers.Offer(to))
        return
    with pytest.raises(Problem, match=says):
        blue_green.check_row(row, offers.Offer(to))


def test_a_long_name_fits(configure: Configure) -> None:
    for length in (1, 30, 52, 53, 63):
        assert len(blue_green.name(configure({"identifier": "x" * length}))) <= blue_green.LONGEST


# --- states and refusals, by Stubber ------------------------------------------------------


def deployment(status: str, **more: Any) -> dict[str, Any]:
    marks = [*TAGS, {"Key": "inv:instance", "Value": NAME}]
    one = {"BlueGreenDeploymentIdentifier": "bgd-1", "BlueGreenDeploymentName": f"{NAME}-upgrade", "Status": status}
    return {"BlueGreenDeployments": [{**one, "Source": ARN, "Target": f"{ARN}-green-abc", "TagList": marks, **more}]}


def waited(aws: Aws, settings: Any, hands: Hands) -> Any:
    return blue_green.wait(settings, aws, hands.clock, WANTED, ("AVAILABLE",))


def test_it_waits_until_the_copy_is_there(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    names = {"Filters": [{"Name": "blue-green-deployment-name", "Values": [f"{NAME}-upgrade"]}]}
    for status in ("PROVISIONING", "PROVISIONING", "AVAILABLE"):
        stub.add_response("describe_blue_green_deployments", deployment(status), names)
    assert waited(aws, configure(), hands)["Status"] == "AVAILABLE"
    assert capsys.readouterr().err.count("provisioning") == 1


@pytest.mark.parametrize("status", sorted(blue_green.BAD))
def test_a_state_that_does_not_heal(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, status: str
) -> None:
    aws, stub = stubbed
    stub.add_response("describe_blue_green_deployments", deployment(status, StatusDetails="replication is broken"))
    with pytest.raises(Problem, match=rf"{status}: replication is broken; aws rds delete-blue-green-deployment"):
        waited(aws, configure(), hands)


def test_one_that_takes_longer_is_exit_3(stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands) -> None:
    aws, stub = stubbed
    for _ in range(7):
        stub.add_response("describe_blue_green_deployments", deployment("PROVISIONING"))
    with pytest.raises(InProgress, match=r"inv rds\.upgrade --to 18 --blue-green again"):
        waited(aws, configure({"wait_minutes": "1"}), hands)


def test_one_that_somebody_deletes(stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands) -> None:
    aws, stub = stubbed
    for _ in range(8):
        stub.add_response("describe_blue_green_deployments", {"BlueGreenDeployments": []})
    with pytest.raises(Problem, match="is gone"):
        waited(aws, configure(), hands)


MAKE = (
    "StorageQuotaExceeded", "DBParameterGroupNotFound", "SourceDatabaseNotSupportedFault", "InvalidDBInstanceState", "DBInstanceNotFound",
    "InstanceQuotaExceeded", "AccessDenied", "InvalidParameterCombination", "InvalidParameterValue",
)  # fmt: skip
SWITCH = ("InvalidBlueGreenDeploymentStateFault", "BlueGreenDeploymentNotFoundFault", "AccessDenied")


@pytest.mark.parametrize("code", MAKE)
def test_each_refusal_of_a_copy_is_one_line(stubbed: tuple[Aws, Stubber], configure: Configure, code: str) -> None:
    aws, stub = stubbed
    stub.add_client_error("create_blue_green_deployment", code, "said so")
    row: Any = ROW
    failed = outcome(lambda: blue_green.make(configure(), aws, row, offers.Offer("18.4"), ""))
    assert failed
    assert failed.code in (1, 2)
    assert "said so" in str(failed.message)


def test_one_that_another_run_has_made_is_taken(stubbed: tuple[Aws, Stubber], configure: Configure) -> None:
    aws, stub = stubbed
    stub.add_client_error("create_blue_green_deployment", "BlueGreenDeploymentAlreadyExistsFault")
    stub.add_response("describe_blue_green_deployments", deployment("PROVISIONING"))
    row: Any = ROW
    assert blue_green.make(configure(), aws, row, offers.Offer("18.4"), "")["Status"] == "PROVISIONING"


@pytest.mark.parametrize("code", SWITCH)
def test_each_refusal_of_a_switchover_is_one_line(
    stubbed: tuple[Aws, Stubber], configure: Configure, code: str
) -> None:
    aws, stub = stubbed
    there: Any = deployment("AVAILABLE")["BlueGreenDeployments"][0]
    asked = {"BlueGreenDeploymentIdentifier": "bgd-1", "SwitchoverTimeout": 300}
    stub.add_client_error("switchover_blue_green_deployment", code, "said so", expected_params=asked)
    if code == SWITCH[0]:
        stub.add_response("describe_blue_green_deployments", deployment("AVAILABLE"), {"Filters": ANY})
    failed = outcome(lambda: blue_green.switch(configure(), aws, there))
    assert failed
    assert failed.code in (1, 2)
    assert "said so" in str(failed.message)


def test_a_switchover_of_another_run_is_waited_for(stubbed: tuple[Aws, Stubber], configure: Configure) -> None:
    aws, stub = stubbed
    there: Any = deployment("AVAILABLE")["BlueGreenDeployments"][0]
    stub.add_client_error("switchover_blue_green_deployment", "InvalidBlueGreenDeploymentStateFault")
    stub.add_response("describe_blue_green_deployments", deployment("SWITCHOVER_IN_PROGRESS"))
    blue_green.switch(configure(), aws, there)


def test_without_a_copy_nothing_is_switched(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, _ = stubbed
    monkeypatch.setattr(instance, "find_instance", lambda *_: None)
    there: Any = deployment("AVAILABLE")["BlueGreenDeployments"][0]
    with pytest.raises(Problem, match="nothing was switched"):
        blue_green.try_copy(configure(), aws, hands.clock, there)


def test_a_person_is_asked_for_what_is_left_to_do() -> None:
    assert blue_green.left_to_do(NAME, "AVAILABLE") == f"switch {NAME} over to its copy"
    for state, says in (
        ("SWITCHOVER_IN_PROGRESS", "which AWS switches over"),
        ("SWITCHOVER_COMPLETED", "which is switched over"),
    ):
        assert blue_green.left_to_do(NAME, state).startswith(f"end the upgrade of {NAME}, {says}: ")
