"""rds.create makes one instance and one group, however often and wherever it is cut off."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from config.settings import Settings
from ops.aws import Aws
from ops.cloud.facts import table_rows
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.rds import create, delete, differences, instance
from tests.fix_aws import Answer, Call, Configure, Front, Hands, Killed, error, outcome, ready

TAGS = [{"Key": "Project", "Value": "cruddur"}, {"Key": "ManagedBy", "Value": "inv"}]
CANARY = "Can%ary:'99'x"


def rows(cloud: Front, settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.aws(settings).client("rds").describe_db_instances()["DBInstances"]
    return found


def groups(cloud: Front, settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.aws(settings).client("ec2").describe_security_groups()["SecurityGroups"]
    return [group for group in found if group["GroupName"] != "default"]


def make(cloud: Front, settings: Settings, hands: Hands, *, adopt: bool = False) -> None:
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=adopt)


@pytest.mark.quick
def test_it_makes_the_instance_with_the_safe_defaults(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure(), hands)
    [row] = rows(cloud, configure())
    [group] = groups(cloud, configure())
    assert cloud.writes == ["CreateSecurityGroup", "CreateDBInstance"]
    assert group["IpPermissions"] == []
    assert [g["VpcSecurityGroupId"] for g in row["VpcSecurityGroups"]] == [group["GroupId"]]
    [call] = [call for call in cloud.calls if call.action == "CreateDBInstance"]
    sent = {k: v for k, v in call.params.items() if k != "Version" and not k.startswith("VpcSecurityGroupIds")}
    assert sent == {
        "DBInstanceIdentifier": "cruddur-db-instance",
        "DBName": "cruddur",
        "DBInstanceClass": "db.t4g.micro",
        "Engine": "postgres",
        "EngineVersion": "18",
        "MasterUsername": "postgres",
        "ManageMasterUserPassword": "true",
        "Port": "5432",
        "AllocatedStorage": "20",
        "MaxAllocatedStorage": "50",
        "StorageType": "gp3",
        "StorageEncrypted": "true",
        "PubliclyAccessible": "true",
        "MultiAZ": "false",
        "BackupRetentionPeriod": "7",
        "DeletionProtection": "true",
        "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
        "AutoMinorVersionUpgrade": "true",
        "EnableIAMDatabaseAuthentication": "true",
        "DatabaseInsightsMode": "standard",
        "EnablePerformanceInsights": "true",
        "PerformanceInsightsRetentionPeriod": "7",
        "CopyTagsToSnapshot": "true",
        "Tags.Tag.1.Key": "Project",
        "Tags.Tag.1.Value": "cruddur",
        "Tags.Tag.2.Key": "ManagedBy",
        "Tags.Tag.2.Value": "inv",
    }


@pytest.mark.quick
def test_a_second_run_writes_nothing_and_shows_what_differs(
    cloud: Front, configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    make(cloud, configure(), hands)
    env = configure().vars.env_file
    before = env.read_bytes(), env.stat().st_mtime_ns
    cloud.forget()
    make(cloud, configure({"backup_days": "14", "public": "no"}), hands)
    assert cloud.writes == []
    assert (env.read_bytes(), env.stat().st_mtime_ns) == before
    said = capsys.readouterr().err
    assert "differs: backup_days is 7, the settings say 14" in said
    assert "differs: public is yes, the settings say no" in said
    assert "differs: engine_version" not in said


def test_the_endpoint_is_saved_and_no_password_that_rds_keeps(cloud: Front, configure: Configure, hands: Hands) -> None:
    settings = configure()
    settings.vars.env_file.write_text("# mine\nA=1\n")
    make(cloud, configure(), hands)
    text = settings.vars.env_file.read_text()
    host = "cruddur-db-instance.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"
    assert text == f"# mine\nA=1\nPROD_DB_ENDPOINT='{host}'\n"
    assert settings.vars.env_file.stat().st_mode & 0o777 == 0o600


def test_the_url_is_saved_where_the_password_is_the_users_own(
    cloud: Front, configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    make(
        cloud, configure(POSTGRES_MASTER_PASSWORD=CANARY, POSTGRES_MASTER_USERNAME="root", POSTGRES_PORT="5544"), hands
    )
    saved = configure().vars.saved
    assert saved["PROD_CONNECTION_URL"] == (
        "postgresql://root:Can%25ary%3A%2799%27x@cruddur-db-instance.aaaaaaaaaa.ca-central-1.rds.amazonaws.com:5544/cruddur"
    )
    assert CANARY not in "".join(capsys.readouterr())
    [call] = [call for call in cloud.calls if call.action == "CreateDBInstance"]
    assert call.params["MasterUserPassword"] == CANARY
    assert "ManageMasterUserPassword" not in call.params


def test_a_url_that_leads_outside_rds_is_kept(
    cloud: Front, configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = "PROD_CONNECTION_URL='postgresql://u:Xq7Zw9Kv@db.example.com/shop'\n"
    configure().vars.env_file.write_text(mine)
    make(cloud, configure(POSTGRES_MASTER_PASSWORD=CANARY), hands)
    assert mine in configure().vars.env_file.read_text()
    assert "names db.example.com, kept" in capsys.readouterr().err


# --- somebody else's --------------------------------------------------------------------


def by_hand(cloud: Front, settings: Settings, **extra: Any) -> None:
    cloud.aws(settings).client("rds").create_db_instance(
        DBInstanceIdentifier="cruddur-db-instance",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        EngineVersion="18",
        MasterUsername="root",
        MasterUserPassword="huEE33z2Qvl383",
        AllocatedStorage=20,
        **extra,
    )


def test_an_instance_made_by_hand_is_refused_and_adopted_on_demand(
    cloud: Front, configure: Configure, hands: Hands
) -> None:
    by_hand(cloud, configure())
    cloud.forget()
    with pytest.raises(Refused, match=r"not made by inv.*--adopt"):
        make(cloud, configure(), hands)
    assert cloud.writes == []
    make(cloud, configure(), hands, adopt=True)
    assert cloud.writes == ["AddTagsToResource"]
    cloud.forget()
    make(cloud, configure(), hands)
    assert cloud.writes == []


def test_another_projects_instance_is_refused_even_with_adopt(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure({"project": "shop"}), hands)
    cloud.forget()
    for adopt in (False, True):
        with pytest.raises(Problem, match="belongs to the project shop"):
            make(cloud, configure(), hands, adopt=adopt)
    assert cloud.writes == []


def test_deleting_what_is_not_ours_is_refused(cloud: Front, configure: Configure, hands: Hands) -> None:
    by_hand(cloud, configure())
    cloud.forget()
    with pytest.raises(Refused, match="was not made by inv"):
        end(cloud, configure(), hands)
    assert cloud.writes == []


# --- cut off anywhere -------------------------------------------------------------------


def end(cloud: Front, settings: Settings, hands: Hands, confirm: str = "cruddur-db-instance") -> None:
    delete.delete_instance(settings, cloud.aws(settings), hands.clock, confirm=confirm, snapshot=True)


def made_and_ended(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure(), hands)
    end(cloud, configure(), hands)


HOWS = ["throttled", "before", "lost", "expired"]


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("adopt", [False, True])
def test_create_cut_at_any_write_and_run_again_leaves_one_of_each(
    cloud: Front, configure: Configure, hands: Hands, how: str, adopt: bool
) -> None:
    number, cuts = 0, 0
    while True:
        number += 1
        cloud.reset()
        configure().vars.env_file.unlink(missing_ok=True)
        if adopt:
            by_hand(cloud, configure())
        reached = cloud.cut(number, how)
        if failed := outcome(lambda: make(cloud, configure(), hands, adopt=adopt)):
            cuts += 1
            assert failed.code == (2 if how == "expired" else 1)
        cloud.mend()
        make(cloud, configure(), hands, adopt=adopt)
        assert [row["DBInstanceIdentifier"] for row in rows(cloud, configure())] == ["cruddur-db-instance"]
        assert len(groups(cloud, configure())) == (0 if adopt else 1)
        assert "PROD_DB_ENDPOINT" in configure().vars.saved
        if not reached():
            break
    assert number == (2 if adopt else 3)
    assert how == "lost" or cuts >= number - 1  # a lost answer is looked after at once


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("how", HOWS)
def test_delete_cut_at_any_write_and_run_again_leaves_nothing(
    cloud: Front, configure: Configure, hands: Hands, how: str
) -> None:
    number = 0
    while True:
        number += 1
        cloud.reset()
        configure().vars.env_file.unlink(missing_ok=True)
        make(cloud, configure(), hands)
        reached = cloud.cut(number, how)
        outcome(lambda: end(cloud, configure(), hands))
        cloud.mend()
        end(cloud, configure(), hands)
        assert rows(cloud, configure()) == []
        assert groups(cloud, configure()) == []
        assert configure().vars.saved == {}
        if not reached():
            break
    assert number == 4  # the protection, the instance, the group


def test_the_answer_that_was_lost_is_no_failure_when_botocore_repeats_the_call(
    cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first CreateDBInstance is carried out, its answer lost; the repeated one finds the name taken."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(cloud, "clients", {})
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    for lost in ("CreateDBInstance", "CreateSecurityGroup", "DeleteDBInstance"):
        cloud.reset()
        answers = [error("InternalFailure", "503 Service Unavailable")]
        cloud.after = lambda call, lost=lost, answers=answers: (  # type: ignore[misc]
            answers.pop() if call.action == lost and answers else None
        )
        make(cloud, configure(), hands)
        assert len(rows(cloud, configure())) == len(groups(cloud, configure())) == 1
        end(cloud, configure(), hands)
        assert not answers
        assert rows(cloud, configure()) == []


@pytest.mark.parametrize("number", range(1, 6))
def test_create_and_delete_killed_after_the_kth_write(
    cloud: Front, configure: Configure, hands: Hands, number: int
) -> None:
    """The process dies, as by Ctrl-C or a lost workspace: cut by botocore's own event, with no answer handled."""
    done = 0

    def count(model: Any, **_: Any) -> None:
        nonlocal done
        done += not model.name.startswith(("Describe", "Get"))
        if done == number:
            raise Killed

    clients = [cloud.aws(configure()).client(service) for service in ("rds", "ec2")]
    for client in clients:
        client.meta.events.register("after-call", count)
    try:
        with pytest.raises(Killed):
            made_and_ended(cloud, configure, hands)
    finally:
        for client in clients:
            client.meta.events.unregister("after-call", count)
    if number < 3:
        make(cloud, configure(), hands)
        assert len(rows(cloud, configure())) == len(groups(cloud, configure())) == 1
    end(cloud, configure(), hands)
    assert (rows(cloud, configure()), groups(cloud, configure()), configure().vars.saved) == ([], [], {})


def test_two_runs_at_once_make_one_instance(cloud: Front, configure: Configure, hands: Hands) -> None:
    """The other one was first between our look and our request."""

    def meanwhile(call: Call) -> None:
        if call.action == "CreateDBInstance":
            cloud.before = lambda _: None
            make(cloud, configure(), hands)

    cloud.before = meanwhile
    make(cloud, configure(), hands)
    assert len(rows(cloud, configure())) == len(groups(cloud, configure())) == 1


# --- delete -----------------------------------------------------------------------------


def test_delete_wants_the_identifier(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure(), hands)
    cloud.forget()
    with pytest.raises(Refused, match="add --confirm cruddur-db-instance"):
        end(cloud, configure(), hands, "")
    with pytest.raises(Refused, match="is not this instance"):
        end(cloud, configure(), hands, "cruddur")
    assert cloud.writes == []


def test_delete_leaves_a_final_snapshot_and_other_variables(cloud: Front, configure: Configure, hands: Hands) -> None:
    configure().vars.env_file.write_text("# mine\nOTHER=x\n")
    make(cloud, configure(), hands)
    end(cloud, configure(), hands)
    [snapshot] = cloud.aws(configure()).client("rds").describe_db_snapshots()["DBSnapshots"]
    assert snapshot["DBSnapshotIdentifier"].startswith("cruddur-db-instance-final-2")
    assert configure().vars.env_file.read_text() == "# mine\nOTHER=x\n"


def test_delete_without_snapshot_leaves_none(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure(), hands)
    delete.delete_instance(
        configure(), cloud.aws(configure()), hands.clock, confirm="CRUDDUR-db-instance", snapshot=False
    )
    assert cloud.aws(configure()).client("rds").describe_db_snapshots()["DBSnapshots"] == []


def test_where_its_snapshot_is_refused_it_is_protected_again(
    cloud: Front, configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    make(cloud, configure(), hands)
    for again in (True, False):  # whether AWS lets it be put back
        lifted = 0

        def before(call: Call, again: bool = again) -> Answer | None:
            nonlocal lifted
            lifted += call.action == "ModifyDBInstance"
            refused = call.action == "DeleteDBInstance" or (
                lifted == 2 and call.action == "ModifyDBInstance" and not again
            )
            return error("SnapshotQuotaExceeded") if refused else None

        cloud.before = before
        with pytest.raises(ClientError, match="SnapshotQuotaExceeded"):
            end(cloud, configure(), hands)
        [row] = rows(cloud, configure())
        assert row["DeletionProtection"] is again
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == (
            "cruddur-db-instance is protected from deletion again"
            if again
            else "note: the deletion protection of cruddur-db-instance is off: inv rds.apply puts it back"
        )
    cloud.mend()
    end(cloud, configure(), hands)
    assert rows(cloud, configure()) == []


@pytest.mark.parametrize("status", ["stopped", "stopping"])
def test_a_protected_instance_that_is_stopped_must_be_started_first(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, status: str
) -> None:
    """AWS changes nothing about a stopped instance, its protection neither; moto does."""
    aws, stub = stubbed
    ready(stub, status, TagList=TAGS, DeletionProtection=True)
    stub.add_response("describe_db_proxies", {"DBProxies": []})
    with pytest.raises(Problem, match=rf"is {status}, and AWS lifts no protection then: inv rds\.start") as told:
        delete.delete_instance(configure(), aws, hands.clock, confirm="cruddur-db-instance", snapshot=True)
    assert told.value.code == 1


def test_a_protection_that_is_not_lifted_yet_is_exit_3(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands
) -> None:
    aws, stub = stubbed
    ready(stub, "available", TagList=TAGS, DeletionProtection=True)
    stub.add_response("describe_db_proxies", {"DBProxies": []})
    stub.add_response("modify_db_instance", {})
    stub.add_client_error("delete_db_instance", "InvalidParameterCombination", "Cannot delete protected DB Instance")
    ready(stub, "available", TagList=TAGS, DeletionProtection=True)
    with pytest.raises(InProgress, match=r"Cannot delete protected DB Instance\): run inv rds\.delete again"):
        delete.delete_instance(configure(), aws, hands.clock, confirm="cruddur-db-instance", snapshot=True)


def test_one_that_is_being_deleted_already_is_waited_for(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto's instances are gone at once."""
    aws, stub = stubbed
    monkeypatch.setattr("ops.rds.security_group.instance_group.remove_group", lambda *_, **__: [])
    ready(stub, "deleting", TagList=TAGS)
    ready(stub, "deleting", TagList=TAGS)
    stub.add_response("describe_events", {"Events": []})
    stub.add_client_error("describe_db_instances", "DBInstanceNotFound")
    assert "is deleted" in delete.delete_instance(
        configure(), aws, hands.clock, confirm="cruddur-db-instance", snapshot=True
    )


def test_what_was_saved_goes_also_when_the_group_stays(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure(), hands)
    [group] = groups(cloud, configure())
    ec2 = cloud.aws(configure()).client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_network_interface(SubnetId=subnet, Groups=[group["GroupId"]], Description="web")
    cloud.before = lambda call: error("DependencyViolation") if call.action == "DeleteSecurityGroup" else None
    with pytest.raises(Problem, match="stays, it is used by the network interface"):
        end(cloud, configure(), hands)
    assert configure().vars.saved == {}
    assert rows(cloud, configure()) == []


# --- the rest of the life ---------------------------------------------------------------


def test_start_stop_and_snapshot_go_through_and_repeat(cloud: Front, configure: Configure, hands: Hands) -> None:
    make(cloud, configure(), hands)
    settings = configure()
    aws = cloud.aws(settings)
    cloud.forget()
    assert "AWS starts it by itself after 7 days" in instance.stop_instance(aws, settings.rds, hands.clock)
    assert "stopped already" in instance.stop_instance(aws, settings.rds, hands.clock)
    assert "is available" in instance.start_instance(aws, settings.rds, hands.clock)
    assert "nothing to do" in instance.start_instance(aws, settings.rds, hands.clock)
    assert cloud.writes == ["StopDBInstance", "StartDBInstance"]
    assert instance.take_snapshot(aws, settings.rds, "Before-It", hands.clock) == "before-it"
    assert instance.take_snapshot(aws, settings.rds, "before-it", hands.clock) == "before-it"
    assert cloud.writes == ["StopDBInstance", "StartDBInstance", "CreateDBSnapshot"]


def test_status_works_on_an_untagged_instance(cloud: Front, configure: Configure) -> None:
    by_hand(cloud, configure())
    settings = configure()
    aws = cloud.aws(settings)
    facts = instance.facts(settings, aws, instance.require_instance(aws, settings.rds))
    assert facts.ours is False
    assert differences.Difference("instance_class", "db.t3.micro", "db.t4g.micro") in facts.differences
    told = instance.told(facts)
    assert told["password"] == "yours"
    assert "instance_class is db.t3.micro, the settings say db.t4g.micro" in map(str, told["differs"])
    assert {"about": "ours", "value": "no"} in table_rows(told)
    assert {"about": "restart", "value": "none"} in table_rows({**told, "restart": None})
    assert {"about": "groups", "value": "none"} in table_rows({**told, "groups": []})
    assert {"about": "port", "value": 0} in table_rows({**told, "port": 0})


def test_status_shows_what_is_pending_and_no_password(stubbed: tuple[Aws, Stubber], configure: Configure) -> None:
    """A change without ApplyImmediately waits for the window: it is shown, and not taken for done."""
    aws, stub = stubbed
    pending = {"AllocatedStorage": 40, "MasterUserPassword": "****"}
    arn = "arn:aws:rds:ca-central-1:123456789012:db:cruddur-db-instance"
    ready(stub, "available", PendingModifiedValues=pending, MasterUsername="postgres", DBInstanceArn=arn)
    settings = aws.settings = configure(AWS_DEFAULT_REGION="ca-central-1")
    facts = instance.facts(settings, aws, instance.require_instance(aws, settings.rds))
    assert facts.pending == [instance.Pending("AllocatedStorage", 40), instance.Pending("MasterUserPassword", None)]
    rows = table_rows(instance.told(facts))
    assert {"about": "pending", "value": "AllocatedStorage becomes 40"} in rows
    assert {"about": "pending", "value": "MasterUserPassword becomes a new one"} in rows


def test_the_limit_is_exit_3_and_says_how_to_go_on(cloud: Front, configure: Configure, hands: Hands) -> None:
    """moto is available at once; the front takes the address out, as AWS leaves it out while creating."""
    make(cloud, configure(), hands)
    settings = configure({"wait_minutes": "2"})
    aws = cloud.aws(settings)
    found = instance.find_instance
    row = {**(found(aws, settings.rds.identifier) or {}), "DBInstanceStatus": "creating", "Endpoint": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "find_instance", lambda *_: row)
        with pytest.raises(InProgress, match=r"still creating after 2 minutes.*inv rds.create again"):
            create.create_or_resume(settings, aws, hands.clock, adopt=False)
    assert 120 <= sum(hands.slept) <= 121


def test_what_only_aws_knows_is_listed_with_the_rest(cloud: Front, configure: Configure, hands: Hands) -> None:
    settings = configure({"storage_gb": "5", "zone": "q", "multi_az": "maybe"}, POSTGRES_PORT="80")
    with pytest.raises(Misconfigured, match="4 faults") as caught:
        make(cloud, settings, hands)
    assert "your account has ca-central-1a" in str(caught.value)
    assert "maybe is none of yes, no" in str(caught.value)
    assert cloud.writes == []


def test_a_zone_that_is_no_letter_does_not_keep_the_rest_from_being_looked_up(
    cloud: Front, configure: Configure, hands: Hands
) -> None:
    """Its line speaks of the region too."""
    with pytest.raises(Misconfigured, match="2 faults") as caught:
        make(cloud, configure({"zone": "ca-central-1a", "subnet_group": "none-such"}), hands)
    assert "rds.subnet_group none-such: there is none" in str(caught.value)
    assert cloud.writes == []


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("vpc", "ca-central-1 has no default VPC: aws ec2 create-default-vpc makes one"),
        ("subnets", r"has subnets in 1 zone\(s\), RDS wants two"),
    ],
)
def test_a_network_that_does_not_do_is_a_fault_before_any_write(
    cloud: Front, configure: Configure, hands: Hands, broken: str, says: str
) -> None:
    """AWS would say DBSubnetGroupDoesNotCoverEnoughAZs when the group is made already."""
    ec2 = cloud.aws(configure()).client("ec2")
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    first, *others = ec2.describe_subnets()["Subnets"]
    for subnet in [*others, *([first] if broken == "vpc" else [])]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    if broken == "vpc":
        ec2.delete_vpc(VpcId=vpc["VpcId"])
    cloud.forget()
    with pytest.raises(Misconfigured, match=says):
        make(cloud, configure(), hands)
    assert cloud.writes == []


def test_a_subnet_group_that_covers_one_zone_is_a_fault(cloud: Front, configure: Configure, hands: Hands) -> None:
    aws = cloud.aws(configure())
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    aws.client("rds").create_db_subnet_group(
        DBSubnetGroupName="narrow", DBSubnetGroupDescription="one zone", SubnetIds=[subnet]
    )
    cloud.forget()
    with pytest.raises(Misconfigured, match="zone\\(s\\), RDS wants two"):
        make(cloud, configure({"subnet_group": "narrow"}), hands)
    assert cloud.writes == []


def test_every_fault_is_listed_at_once_and_nothing_asked(
    cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    settings = configure({"storage_gb": "5", "zone": "ab"}, POSTGRES_MASTER_PASSWORD="short")
    with pytest.raises(Misconfigured, match="5 faults") as caught:
        make(cloud, settings, hands)
    assert len(caught.value.detail) == 5
    assert cloud.calls == []
