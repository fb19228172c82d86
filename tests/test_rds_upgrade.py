"""rds.upgrade: what AWS offers, what is in the way, the way itself, cut anywhere and repeated.

moto changes a version at once and has no list of versions: those, states and refusals come from botocore's Stubber or
from the front. The databases are those of a real server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.stub import Stubber

from ops import postgres
from ops.aws import Aws
from ops.errors import Differs, InProgress, Misconfigured, Problem, Refused
from ops.rds import create, instance, prod
from ops.rds.upgrade import offers, rehearsal, statistics, upgrade
from tests import typed
from tests.fix_aws import Answer, Call, Configure, Front, Hands, outcome, quiet, ready, said_first
from tests.fix_suppliers import Database

NAME = "cruddur-db-instance"
COPY = f"{NAME}-rehearsal"
TAGS = [{"Key": "Project", "Value": "cruddur"}, {"Key": "ManagedBy", "Value": "inv"}]
OURS: dict[str, Any] = {
    "DBInstanceIdentifier": NAME, "TagList": TAGS, "EngineVersion": "17.6", "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": 20,
    "DBParameterGroups": [{"DBParameterGroupName": "default.postgres17"}],
}  # fmt: skip
VERSIONS, ORDERABLE = "describe_db_engine_versions", "describe_orderable_db_instance_options"
ONE = {"OrderableDBInstanceOptions": [{"StorageType": "gp3"}]}


def targets(*versions: str) -> dict[str, Any]:
    rows = [{"Engine": "postgres", "EngineVersion": one} for one in versions]
    return {
        "DBEngineVersions": [
            {
                "EngineVersion": "17.6",
                "ValidUpgradeTarget": [*rows, {"Engine": "aurora-postgresql", "EngineVersion": "18.9"}],
            }
        ]
    }


# --- what AWS offers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "version"), [("18", "18.4"), ("18.1", "18.1"), ("17", "17.10"), ("17.10", "17.10"), ("17.6", "")]
)
def test_the_newest_that_aws_leads_to(
    stubbed: tuple[Aws, Stubber], configure: Configure, wanted: str, version: str
) -> None:
    aws, stub = stubbed
    stub.add_response(
        VERSIONS,
        targets("17.10", "17.7", "18.1", "18.4"),
        {"Engine": "postgres", "EngineVersion": "17.6", "IncludeAll": True},
    )
    if version:
        stub.add_response(
            ORDERABLE, ONE, {"Engine": "postgres", "EngineVersion": version, "DBInstanceClass": "db.t4g.micro"}
        )
    assert offers.ask(aws, configure().rds, OURS, wanted).version == version  # type: ignore[arg-type]


def test_where_aws_does_not_lead(
    stubbed: tuple[Aws, Stubber], configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Aws, "region", "ca-central-1")
    aws, stub = stubbed
    stub.add_response(VERSIONS, targets("17.10", "17.7"))
    with pytest.raises(Misconfigured, match=r"AWS upgrades 17\.6 to 17\.7, 17\.10 only"):
        offers.ask(aws, configure().rds, OURS, "18")  # type: ignore[arg-type]
    stub.add_response(VERSIONS, targets("18.4"))
    stub.add_response(ORDERABLE, {"OrderableDBInstanceOptions": []})
    with pytest.raises(Misconfigured, match=r"db\.t4g\.micro does not run PostgreSQL 18\.4"):
        offers.ask(aws, configure().rds, OURS, "18")  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "InvalidAction"])
def test_where_aws_may_not_be_asked_it_has_the_last_word(
    stubbed: tuple[Aws, Stubber], configure: Configure, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    stub.add_client_error(VERSIONS, code)
    assert offers.ask(aws, configure().rds, OURS, "18").version == "18"  # type: ignore[arg-type]
    assert "which versions AWS upgrades to is not checked beforehand" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("17.5", "no way leads back"), ("16", "no way leads back"), ("x", "give a major version"), ("9.6", "give a")],
)
def test_what_cannot_be_meant(wanted: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        offers.check_wanted(wanted, OURS)  # type: ignore[arg-type]


def test_a_parameter_group_of_the_old_version_wants_another() -> None:
    row: Any = {**OURS, "DBInstanceIdentifier": NAME, "DBParameterGroups": [{"DBParameterGroupName": "mine"}]}
    with pytest.raises(Misconfigured, match=r"parameter group mine.*--parameter-group, or AWS's default\.postgres18"):
        offers.check_group(row, offers.Offer("18.4"), "")
    offers.check_group(row, offers.Offer("18.4"), "mine18")
    offers.check_group(row, offers.Offer("17.10"), "")


@pytest.mark.parametrize(
    ("value", "extensions"), [("hstore, postgis,vector", {"hstore", "postgis", "vector"}), ("", None)]
)
def test_which_extensions_the_new_version_has(
    stubbed: tuple[Aws, Stubber], configure: Configure, value: str, extensions: set[str] | None
) -> None:
    aws, stub = stubbed
    offer = offers.Offer("18.4")
    rows = [{"ParameterName": "rds.force_ssl"}, {"ParameterName": offers.EXTENSIONS, "ParameterValue": value}]
    stub.add_response(
        "describe_engine_default_parameters",
        {"EngineDefaults": {"Parameters": rows}},
        {"DBParameterGroupFamily": "postgres18"},
    )
    offers.ask_extensions(aws, configure().rds, offer)
    assert offer.extensions == extensions


# --- the whole, on moto and a real server -------------------------------------------------


@pytest.fixture
def server(one: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The server behind the instance."""
    one.do(f'create database "{one.name}"', "postgres")
    monkeypatch.setattr(prod, "ask_rds", lambda *_, **__: one.target())
    monkeypatch.setattr(prod, "require_certificates", lambda *_: None)
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    return one


def listed(call: Call) -> Answer | None:
    """Answer what moto does not have."""
    if call.action == "DescribeDBEngineVersions":
        rows = "".join(
            f"<UpgradeTarget><Engine>postgres</Engine><EngineVersion>{one}</EngineVersion></UpgradeTarget>"
            for one in {"17": ("17.10", "18.4"), "18.4": ()}[call.params["EngineVersion"]]
        )
        row = f"<DBEngineVersion><EngineVersion>17</EngineVersion><ValidUpgradeTarget>{rows}</ValidUpgradeTarget></DBEngineVersion>"
        body = f"<DBEngineVersions>{row}</DBEngineVersions>"
    elif call.action == "DescribeOrderableDBInstanceOptions":
        body = "<OrderableDBInstanceOptions><OrderableDBInstanceOption></OrderableDBInstanceOption></OrderableDBInstanceOptions>"
    else:
        return None
    return (
        "200 OK",
        f"<{call.action}Response><{call.action}Result>{body}</{call.action}Result></{call.action}Response>".encode(),
    )


Act = Callable[..., upgrade.Upgraded]


@pytest.fixture
def act(cloud: Front, configure: Configure, hands: Hands, server: Database) -> Act:
    """What upgrades an instance of 17 that is there."""
    settings = configure({"engine_version": "17"})
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    cloud.forget()
    cloud.before = listed

    def done(to: str = "18", confirm: str = NAME, dry_run: bool = False) -> upgrade.Upgraded:
        wanted = upgrade.Wanted(to, "", lambda _: None)
        return upgrade.upgrade(settings, cloud.aws(settings), hands.clock, wanted, confirm=confirm, dry_run=dry_run)

    return done


Rehearse = Callable[..., upgrade.Upgraded]


@pytest.fixture
def rehearse(
    act: Act, cloud: Front, configure: Configure, hands: Hands, server: Database, monkeypatch: Any
) -> Rehearse:
    """What rehearses the upgrade of that instance; behind the copy is the same server."""
    monkeypatch.setattr(prod, "open_session", lambda *_: postgres.connect(server.target(), task="test"))
    settings = configure({"engine_version": "17"})

    def done(dry_run: bool = False) -> upgrade.Upgraded:
        wanted = upgrade.Wanted("18", "", lambda _: None)
        return rehearsal.rehearse(settings, cloud.aws(settings), hands.clock, wanted, dry_run=dry_run)

    return done


def instances(cloud: Front, configure: Configure) -> dict[str, str]:
    rows = cloud.aws(configure()).client("rds").describe_db_instances()["DBInstances"]
    return {row["DBInstanceIdentifier"]: row["EngineVersion"] for row in rows}


def test_a_copy_is_upgraded_tried_and_removed(
    rehearse: Rehearse, cloud: Front, configure: Configure, server: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    server.do("create table t with (autovacuum_enabled = off) as select generate_series(1, 100) as n")
    looked = rehearse(dry_run=True)
    assert (looked.written, looked.findings, cloud.writes) == (False, [], [])
    assert "costs: one more instance" in capsys.readouterr().err
    done = rehearse()
    typed.check(cloud, "rds.upgrade --rehearse")
    assert instances(cloud, configure) == {NAME: "17"}
    assert (done.rehearsed, done.from_version, done.to_version) == (True, "17", "18.4")
    assert done.upgrade_seconds is not None
    assert upgrade.told(done) == f"{NAME}: a copy went from PostgreSQL 17 to 18.4 (0:00 minutes), and is removed"
    said = capsys.readouterr().err
    assert said.index("costs: one more instance, about ") < said.index(f"asked AWS for {COPY}")
    assert re.search(rf"{server.name}: statistics of 1 tables in \d+:\d\d minutes", said)
    assert f"{NAME} stays as it is" in said


def test_without_a_snapshot_one_is_made_and_all_costs_are_said_before(
    rehearse: Rehearse, cloud: Front, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    before, client = cloud.before, cloud.aws(configure()).client("rds")
    gone = [one["DBSnapshotIdentifier"] for one in client.describe_db_snapshots()["DBSnapshots"]]
    none = b"<DescribeDBSnapshotsResponse><DescribeDBSnapshotsResult><DBSnapshots/></DescribeDBSnapshotsResult></DescribeDBSnapshotsResponse>"

    def without(call: Call) -> Answer | None:
        if call.action == "DescribeDBSnapshots" and "CreateDBSnapshot" not in cloud.writes:
            return "200 OK", none
        return before(call)

    cloud.before = without
    said = said_first(cloud, capsys, rehearse)
    assert said.count("costs: one more instance, about ") == 1
    assert (
        "no snapshot yet: one is made, which costs about 0.095 USD for each GB in it and month, 1.90 USD for 20 GB"
        in said
    )
    assert "costs" not in capsys.readouterr().err
    assert cloud.writes[:2] == ["CreateDBSnapshot", "RestoreDBInstanceFromDBSnapshot"]
    [asked] = [call.params for call in cloud.calls if call.action == "RestoreDBInstanceFromDBSnapshot"]
    assert asked["DBSnapshotIdentifier"] not in gone


def test_what_is_in_the_way_is_found_before_a_copy_is_made(rehearse: Rehearse, cloud: Front, server: Database) -> None:
    server.do("create table t (f regproc)")
    with pytest.raises(Differs, match="1 in the way"):
        rehearse()
    assert cloud.writes == []


@pytest.mark.spread
@pytest.mark.parametrize("how", ["before", "lost"])
@pytest.mark.parametrize("number", range(1, 6))
def test_a_rehearsal_cut_at_any_write_is_gone_on_with(
    rehearse: Rehearse, cloud: Front, configure: Configure, number: int, how: str, pauses: None
) -> None:
    reached = cloud.cut(number, how)
    cut = cloud.before
    cloud.before = lambda call: cut(call) or listed(call)
    outcome(rehearse)
    assert reached()
    assert instances(cloud, configure)[NAME] == "17"
    cloud.mend()
    cloud.before = listed
    assert rehearse().to_version == "18.4"
    assert instances(cloud, configure) == {NAME: "17"}


def test_a_strangers_instance_of_the_copys_name_is_left(rehearse: Rehearse, cloud: Front, configure: Configure) -> None:
    client = cloud.aws(configure()).client("rds")
    client.create_db_instance(DBInstanceIdentifier=COPY, DBInstanceClass="db.t4g.micro", Engine="postgres", Tags=TAGS)
    cloud.forget()
    with pytest.raises(Refused, match=f"{COPY} is there already, and no copy of a rehearsal"):
        rehearse()
    assert cloud.writes == []


def test_a_copy_that_aws_gives_up_stays_for_its_log(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    copy: Any = {**OURS, "DBInstanceIdentifier": COPY, "DBInstanceStatus": "available"}
    stub.add_response("modify_db_instance", {})
    for status in ("upgrading", "available"):
        ready(stub, "available", **{**copy, "DBInstanceStatus": status})
        if status == "upgrading":
            quiet(stub)
    wanted = upgrade.Wanted("18", "", lambda _: None)
    with pytest.raises(
        Problem, match=rf"given up the upgrade(.|\n)*INVOKE_RDS_IDENTIFIER={COPY} inv rds\.delete --no-snapshot"
    ):
        rehearsal.lead(configure(), aws, hands.clock, copy, offers.Offer("18.4"), wanted)


def test_a_rehearsal_that_takes_longer_is_exit_3(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    copy: Any = {**OURS, "DBInstanceIdentifier": COPY, "DBInstanceStatus": "available"}
    stub.add_response("modify_db_instance", {})
    for _ in range(7):
        ready(stub, "upgrading", **{**copy, "DBInstanceStatus": "upgrading"})
        quiet(stub)
    wanted = upgrade.Wanted("18", "", lambda _: None)
    with pytest.raises(InProgress, match=r"run inv rds\.upgrade --to 18 --rehearse again to go on waiting"):
        rehearsal.lead(configure({"wait_minutes": "1"}), aws, hands.clock, copy, offers.Offer("18.4"), wanted)


def snapshots(cloud: Front, configure: Configure) -> list[str]:
    client = cloud.aws(configure()).client("rds")
    return [one["DBSnapshotIdentifier"] for one in client.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]]


def test_a_snapshot_then_the_upgrade_then_statistics(
    act: Act, cloud: Front, configure: Configure, server: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    server.do("create table t as select generate_series(1, 100) as n")
    looked = act(dry_run=True)
    assert (looked.written, looked.to_version, looked.findings, cloud.writes) == (False, "18.4", [], [])
    assert "18.4 in place, after a snapshot; the database is away for" in (said := capsys.readouterr().err)
    assert "1.90 USD for 20 GB at most" in said
    with pytest.raises(Refused, match=f"add --confirm {NAME}"):
        act(confirm="")
    assert cloud.writes == []
    results: list[upgrade.Upgraded] = []
    told = said_first(cloud, capsys, lambda: results.append(act()))
    assert "the snapshot costs about 0.095 USD for each GB in it and month, 1.90 USD for 20 GB" in told
    [done] = results
    typed.check(cloud, "rds.upgrade --to another major version")
    assert (done.from_version, done.to_version, done.snapshot) == ("17", "18.4", snapshots(cloud, configure)[0])
    assert f"{server.name}: statistics of 1 tables" in (said := capsys.readouterr().err)
    assert "rds.engine_version is 17: set it to 18" in said
    cloud.forget()
    assert act().written is False
    assert cloud.writes == []
    assert "statistics" not in capsys.readouterr().err


def test_what_is_in_the_way_is_told_and_nothing_is_written(act: Act, cloud: Front, server: Database) -> None:
    server.do("create table t (f regproc)")
    [found] = act(dry_run=True).findings
    assert (found.database, found.object) == (server.name, "public.t.f")
    with pytest.raises(Differs, match=r"1 in the way(.|\n)*alter table public\.t alter column f type text") as told:
        act()
    assert told.value.code == 4
    assert cloud.writes == []
    server.do("alter table t alter column f type text")
    assert act().written


def test_a_minor_version_minds_nothing_of_that(act: Act, cloud: Front, server: Database) -> None:
    server.do("create table t (f regproc)")
    assert act(to="17.10").to_version == "17.10"
    [modify] = [call.params for call in cloud.calls if call.action == "ModifyDBInstance"]
    assert "AllowMajorVersionUpgrade" not in modify


@pytest.mark.parametrize("how", ["before", "lost", "dropped"])
@pytest.mark.parametrize("number", [1, 2])
def test_cut_at_any_write_the_next_run_goes_on(
    act: Act, cloud: Front, configure: Configure, number: int, how: str, pauses: None
) -> None:
    reached = cloud.cut(number, how)
    cut, after = cloud.before, cloud.after
    cloud.before = lambda call: cut(call) or listed(call)
    cloud.after = after
    outcome(act)
    assert reached()
    cloud.mend()
    cloud.before = listed
    act()
    assert act().to_version == "18.4"
    assert len(snapshots(cloud, configure)) == 1  # that of the run that was cut off


def test_one_that_is_not_ours_is_refused(act: Act, cloud: Front, configure: Configure) -> None:
    client = cloud.aws(configure()).client("rds")
    arn = instance.require_instance(cloud.aws(configure()), configure().rds)["DBInstanceArn"]
    client.remove_tags_from_resource(ResourceName=arn, TagKeys=["ManagedBy"])
    cloud.forget()
    with pytest.raises(Refused, match="--adopt hands it over first"):
        act()
    assert cloud.writes == []


def test_statistics_of_others_are_said(server: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """And what was analyzed is not done again."""
    role = f"r{server.name}"
    others = "".join(f"create table t{number:02} (n int); " for number in range(12))
    server.do(f"create role {role} login password 'x'; {others} create table u (n int); alter table u owner to {role}")
    try:
        with postgres.connect(server.target(user=role, password="x"), task="test") as conn:
            assert statistics.analyze(conn) == 1
        assert re.search(r"not yours to analyze: public.t00, .*, public.t09 and 2 more\n", capsys.readouterr().err)
        with postgres.connect(server.target(), task="test") as conn:
            assert (statistics.analyze(conn), statistics.analyze(conn)) == (12, 0)
    finally:
        server.do(f"drop table u; drop role {role}")


# --- waiting ------------------------------------------------------------------------------


def waited(aws: Aws, settings: Any, hands: Hands) -> Any:
    row: Any = {**OURS, "DBInstanceIdentifier": NAME}
    goal = upgrade.goal(row, offers.Offer("18.4"), hands.clock, "18")
    return instance.wait_for(aws, settings.rds, goal, hands.clock)


def test_it_is_done_when_the_instance_has_the_version(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    for status, version in (
        ("available", "17.6"),
        ("upgrading", "17.6"),
        ("upgrading", "18.4"),
        ("backing-up", "18.4"),
    ):
        ready(stub, status, **{**OURS, "EngineVersion": version})
        quiet(stub)
    ready(stub, "available", **{**OURS, "EngineVersion": "18.4"})
    assert waited(aws, configure(), hands)["EngineVersion"] == "18.4"


def test_one_that_aws_gives_up_ends_the_wait(stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure) -> None:
    aws, stub = stubbed
    ready(stub, "upgrading", **OURS)
    quiet(stub)
    ready(stub, "available", **OURS)
    with pytest.raises(Problem, match=r"given up the upgrade.*17\.6 as before: its log file"):
        waited(aws, configure(), hands)


def test_one_that_never_shows_is_given_its_time(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    for _ in range(30):
        ready(stub, "available", **OURS)
        quiet(stub)
    ready(stub, "available", **OURS)
    with pytest.raises(Problem, match="given up"):
        waited(aws, configure(), hands)
    assert hands.time == upgrade.SETTLED


def test_one_that_takes_longer_is_exit_3(stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure) -> None:
    aws, stub = stubbed
    for _ in range(7):
        ready(stub, "upgrading", **OURS)
        quiet(stub)
    with pytest.raises(InProgress, match=r"run inv rds\.upgrade --to 18 again to go on waiting"):
        waited(aws, configure({"wait_minutes": "1"}), hands)


def test_one_that_is_under_way_is_waited_for_and_not_asked_again(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, stub = stubbed
    monkeypatch.setattr(upgrade, "finish", lambda *_: None)
    ready(stub, "upgrading", **OURS)
    ready(stub, "upgrading", **OURS)
    quiet(stub)
    ready(stub, "available", **{**OURS, "EngineVersion": "18.4"})
    wanted = upgrade.Wanted("18", "", lambda _: None)
    done = upgrade.upgrade(configure(), aws, hands.clock, wanted, confirm="", dry_run=False)
    assert done.to_version == "18.4"


CODES = {
    "InvalidParameterCombination": 2,
    "InvalidParameterValue": 2,
    "InvalidDBInstanceState": 1,
    "DBParameterGroupNotFound": 1,
    "DBUpgradeDependencyFailure": 1,
    "StorageQuotaExceeded": 1,
    "InsufficientDBInstanceCapacity": 1,
    "KMSKeyNotAccessibleFault": 1,
    "OptionGroupNotFoundFault": 1,
    "AccessDenied": 1,
    "ExpiredToken": 2,
}
"""What ModifyDBInstance may be refused for (RDS API reference), and our exit code."""


@pytest.mark.parametrize("code", CODES)
def test_each_refusal_is_one_line(stubbed: tuple[Aws, Stubber], configure: Configure, code: str) -> None:
    aws, stub = stubbed
    row: Any = {**OURS, "DBInstanceIdentifier": NAME}
    stub.add_client_error("modify_db_instance", code, "said so")
    failed = outcome(lambda: upgrade.send(configure(), aws, row, offers.Offer("18.4"), "mine18"))
    assert failed
    assert failed.code == CODES[code]
    assert "said so" in str(failed.message) or code == "ExpiredToken"
