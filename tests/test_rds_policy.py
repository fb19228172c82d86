"""The rights in config/policies are those that the tasks use: no fewer, and none that nobody asks for."""

from __future__ import annotations

import io
import json
import zipfile
from fnmatch import fnmatch
from functools import partial
from typing import Any

import pytest

from config.defaults import DEFAULTS
from ops import calls
from ops.aws import Aws
from ops.errors import Problem
from ops.lambdas import left_alone, role
from ops.lambdas.following import follow
from ops.rds import create, delete, events, instance, prod, rotate
from ops.rds.alarms import alarms
from ops.rds.apply import applying
from ops.rds.logs import reading
from ops.rds.replica import ending, making
from ops.rds.replica import names as replicas
from ops.rds.restore import restoring, snapshots, source, swapping, written_later
from ops.rds.restore.names import PREV, RESTORED
from ops.rds.schedule import own_role, schedule, times
from ops.rds.upgrade import offers, rehearsal
from tests.fix_aws import Call, Configure, Front, Hands, error
from tests.fix_cli import SUITE
from tests.test_rds_logs import LogsOfRds

VERSIONS = {"2014-10-31": "rds", "2016-11-15": "ec2", "2010-05-08": "iam"}
JSON = {"GetProducts": "pricing"}
# What AWS does in the caller's name while it carries out a call; moto asks for no rights
IMPLIED = {
    *("secretsmanager:CreateSecret", "secretsmanager:TagResource", "secretsmanager:RotateSecret"),
    *("kms:DescribeKey", "kms:CreateGrant", "iam:CreateServiceLinkedRole", "ec2:CreateTags"),
}


def action(call: Call) -> str:
    if call.action.startswith("GET /2015-03-31/functions/"):
        return "lambda:GetPolicy" if call.action.endswith("/policy") else "lambda:GetFunction"
    other = JSON.get(call.action, "secretsmanager")
    return f"{VERSIONS.get(call.params.get('Version', ''), other)}:{call.action}"


def allowed(of: str = "rds") -> set[str]:
    policy: dict[str, Any] = json.loads((SUITE / "config" / "policies" / f"{of}.json").read_text())
    return {name for statement in policy["Statement"] for name in statement["Action"]}


def test_the_policy_holds_what_a_whole_life_asks_for_and_nothing_else(
    cloud: Front, configure: Configure, hands: Hands
) -> None:
    used: set[str] = set()

    def note(call: Call) -> Any:
        if (
            "/schedule-groups/" not in call.action
        ):  # a note of rds.replica, for whoever has rights to schedules (schedule.json)
            used.add(action(call))
        if call.action in ("DescribeDBEngineVersions", "DescribeOrderableDBInstanceOptions"):  # not in moto
            body = f"<{call.action}Response><{call.action}Result>{ANSWERS[call.action]}</{call.action}Result></{call.action}Response>"
            return "200 OK", body.encode()
        if call.action == "CreateDBInstance":
            slow.append("DescribeDBInstances")
        if call.action in slow:
            slow.remove(call.action)
            return ("200 OK", MAKING) if call.action == "DescribeDBInstances" else error("DependencyViolation")
        return logs(call)

    logs = LogsOfRds({"error/postgresql.log.2026-11-30-08": ""})
    # moto makes an instance at once, and nothing of it holds its group: once each is as AWS has it
    slow = ["DeleteSecurityGroup"]
    cloud.before = note
    settings = configure({"zone": "a"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(settings)
    has_function(settings, aws)
    used.clear()
    stands = partial(left_alone.told, settings, aws)
    with pytest.raises(Problem, match=r"rds\.zone z(.|\n)*rds\.subnet_group none"):
        create.create_or_resume(configure({"zone": "z", "subnet_group": "none"}), aws, hands.clock, adopt=False)
    create.create_or_resume(settings, aws, hands.clock, adopt=False)
    prod.ask_rds(settings, why="", aws=aws)
    instance.stop_instance(aws, settings.rds, hands.clock)
    instance.start_instance(aws, settings.rds, hands.clock)
    instance.take_snapshot(aws, settings.rds, "", hands.clock)
    rotate.rotate_password(settings, aws, hands.clock)
    offers.ask_extensions(aws, settings.rds, offers.Offer("18.4"))  # the rest of rds.upgrade is in the calls above
    aws.client("rds").remove_tags_from_resource(
        ResourceName=instance.require_instance(aws, settings.rds)["DBInstanceArn"], TagKeys=["ManagedBy"]
    )
    create.create_or_resume(settings, aws, hands.clock, adopt=True)
    change = configure({"zone": "a", "backup_days": "14", "storage_gb": "30"}, PROD_DB_SSLROOTCERT="/none.pem")
    applying.apply(change, aws, hands.clock, now=False, dry_run=False, confirm="cruddur-db-instance")
    grow(settings, aws, hands)
    assert events.find(settings, aws, 24)
    reading.show(settings, aws, reading.Wanted(1), str)
    read_more(
        configure({"zone": "a"}, PROD_DB_SSLROOTCERT="/none.pem", POSTGRES_MASTER_PASSWORD="mine-alone-1"), aws, hands
    )
    with pytest.raises(Problem, match=r"stays, it is used by the instance at-birth"):
        delete.delete_instance(settings, aws, hands.clock, confirm="cruddur-db-instance", snapshot=True, stands=stands)
    delete.delete_instance(settings, aws, hands.clock, confirm="cruddur-db-instance", snapshot=True)
    used -= {"rds:RemoveTagsFromResource", "rds:CreateDBProxy"}  # the test's own
    assert slow == []
    assert allowed() - IMPLIED == used
    assert not any(fnmatch(name, "*[*]*") for name in allowed())


def has_function(settings: Any, aws: Aws) -> None:
    """Make a function whose role may log in to no instance: what changes that right is in lambda.json."""
    lam = settings.lambdas
    role.create_role(aws, settings)
    code = io.BytesIO()
    zipfile.ZipFile(code, "w").close()
    arn = f"arn:aws:iam::123456789012:role/{lam.role}"
    aws.client("lambda").create_function(
        FunctionName=lam.function, Runtime="python3.13", Role=arn, Handler="x.y", Code={"ZipFile": code.getvalue()}
    )


MAKING = (
    b"<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance><DBInstanceIdentifier>cruddur-db-instance"
    b"</DBInstanceIdentifier><DBInstanceStatus>creating</DBInstanceStatus></DBInstance></DBInstances></DescribeDBInstancesResult>"
    b"</DescribeDBInstancesResponse>"
)


# What the caller must be allowed beside the call itself: tags at birth, and giving a role away
BESIDE = {
    *("scheduler:TagResource", "iam:TagRole", "iam:PassRole", "cloudwatch:TagResource", "sns:TagResource"),
}


@pytest.mark.parametrize("name", ["schedule", "alarms"])
def test_the_policy_of_what_is_made_for_an_instance_holds_what_is_asked_for(
    cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    used: set[str] = set()
    begin = calls.Watch.begin

    def noted(self: calls.Watch, context: dict[str, Any], event_name: str, **more: Any) -> None:
        service, operation = event_name.split(".")[1:3]
        used.add(f"{service.removeprefix('cloudwatch-')}:{operation}")
        begin(self, context, event_name, **more)

    settings = configure(PROD_DB_SSLROOTCERT="/none.pem")
    monkeypatch.setattr(cloud, "clients", {})
    monkeypatch.setattr(alarms, "max_connections", lambda *_: 100)
    aws = cloud.aws(settings)
    create.create_or_resume(settings, aws, hands.clock, adopt=False)
    aws.client("logs").create_log_group(logGroupName=settings.lambdas.log_group)
    monkeypatch.setattr(calls.Watch, "begin", noted)
    monkeypatch.setattr(cloud, "clients", {})
    aws = cloud.aws(settings)
    if name == "schedule":
        both, one = (times.read("20:00", start, "mon-fri", "UTC") for start in ("08:00", ""))
        schedule.put(settings, aws, hands.clock, both, dry_run=False)
        of = own_role.names(instance.require_instance(aws, settings.rds))
        theirs = json.dumps(own_role.trust(of)).replace("scheduler.", "events.")
        aws.client("iam").update_assume_role_policy(RoleName=of.role, PolicyDocument=theirs)
        schedule.put(settings, aws, hands.clock, one, dry_run=False)
        schedule.put(settings, aws, hands.clock, times.read("21:00", "", "mon-fri", "UTC"), dry_run=False)
        schedule.delete(settings, aws, dry_run=False)
    else:
        alarms.put(settings, aws, "ada@example.com", dry_run=False)
        alarms.delete(settings, aws, dry_run=False)
    assert allowed(name) - BESIDE == used


def grow(settings: Any, aws: Any, hands: Hands) -> None:
    """Restore from a snapshot and to a moment, swap, go back, prune; beside a proxy, before whatever that is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prod, "open_session", lambda *_: io.BytesIO())
        patch.setattr(written_later, "find", lambda *_: written_later.Found())
        [name, *_] = [one.snapshot for one in snapshots.find(settings, aws)]
        now = instance.require_instance(aws, settings.rds)["InstanceCreateTime"]
        rds, subnets = aws.client("rds"), aws.client("ec2").describe_subnets()["Subnets"]
        follows = partial(follow, settings, aws)
        theirs = {"EngineFamily": "POSTGRESQL", "RoleArn": "arn:aws:iam::123456789012:role/theirs", "Auth": []}
        rds.create_db_proxy(DBProxyName="theirs", VpcSubnetIds=[one["SubnetId"] for one in subnets], **theirs)
        for wanted, given in ((source.Source(at=now), "at-birth"), (source.Source(snapshot=name), "")):
            restoring.restore(
                settings, aws, hands.clock, wanted, given, swap=not given, confirm="cruddur-db-instance", follow=follows
            )
        swapping.undo(settings, aws, hands.clock, "cruddur-db-instance", follow=follows)
    snapshots.remove(settings, aws, name)


def read_more(settings: Any, aws: Any, hands: Hands) -> None:
    """Make replicas, promote one and delete another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prod, "open_session", lambda *_: io.BytesIO())
        name = replicas.name(settings.rds)
        for end in (ending.remove, ending.promote_one):
            making.make(settings, aws, hands.clock, confirm=settings.rds.identifier)
            end(settings, aws, hands.clock, confirm=name)


ANSWERS = {
    "DescribeDBEngineVersions": "<DBEngineVersions><DBEngineVersion><EngineVersion>18.4</EngineVersion></DBEngineVersion></DBEngineVersions>",
    "DescribeOrderableDBInstanceOptions": (
        "<OrderableDBInstanceOptions><OrderableDBInstanceOption><StorageType>gp3</StorageType><AvailabilityZones>"
        "<AvailabilityZone><Name>ca-central-1a</Name></AvailabilityZone></AvailabilityZones>"
        "</OrderableDBInstanceOption></OrderableDBInstanceOptions>"
    ),
}


def test_what_changes_something_is_limited_to_what_is_tagged() -> None:
    policy = json.loads((SUITE / "config" / "policies" / "rds.json").read_text())
    for statement in policy["Statement"]:
        for name in statement["Action"]:
            if name.startswith(("rds:Modify", "rds:Delete", "rds:Stop", "rds:Start", "rds:Promote", "ec2:Delete")):
                assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/ManagedBy": "inv"}}


def statements(name: str) -> dict[str, dict[str, Any]]:
    policy = json.loads((SUITE / "config" / "policies" / f"{name}.json").read_text())
    found = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert len(found) == len(policy["Statement"])
    return found


@pytest.mark.parametrize("name", ["rds", "door", "lambda"])
def test_no_condition_holds_where_its_key_is_missing(name: str) -> None:
    """IfExists would let a request without the tag through."""
    for statement in statements(name).values():
        assert not [operator for operator in statement.get("Condition", {}) if operator.endswith("IfExists")]


@pytest.mark.parametrize("name", ["rds", "door", "lambda"])
def test_tags_of_ec2_are_permitted_at_birth_or_on_what_is_ours(name: str) -> None:
    """Without a condition, whoever may tag could mark any group as ours and then open or remove it."""
    tagging = [s for s in statements(name).values() if "ec2:CreateTags" in s["Action"]]
    assert tagging
    for statement in tagging:
        assert statement["Action"] == ["ec2:CreateTags"]
        [(operator, condition)] = statement["Condition"].items()
        assert operator == "StringEquals"
        assert condition in (
            {"ec2:CreateAction": "CreateSecurityGroup"},
            {"ec2:CreateAction": "AuthorizeSecurityGroupIngress"},
            {"ec2:CreateAction": ["CreateSecurityGroup", "AuthorizeSecurityGroupIngress"]},
            {"aws:ResourceTag/ManagedBy": "inv"},
        )


def test_adopting_is_a_statement_of_its_own() -> None:
    adopt = statements("rds")["TagAtBirthAndAdopt"]
    assert adopt["Action"] == ["rds:AddTagsToResource"]
    assert adopt["Condition"] == {"StringEquals": {"aws:RequestTag/ManagedBy": "inv"}}
    mark = statements("rds")["MarkTheOneBeforeASwap"]
    assert mark["Condition"] == {"StringEquals": {"aws:ResourceTag/ManagedBy": "inv"}}
    others = [
        s for s in statements("rds").values() if "rds:AddTagsToResource" in s["Action"] and s not in (adopt, mark)
    ]
    assert [s["Resource"] for s in others] == ["arn:aws:rds:*:*:snapshot:*"]


def test_only_the_secret_of_the_default_instance_can_be_read() -> None:
    """RDS tags the secret with the instance that it is for; moto does it too."""
    read = statements("rds")["ReadThePasswordAtUse"]
    assert read["Condition"] == {
        "ArnLike": {
            "aws:ResourceTag/aws:rds:primaryDBInstanceArn": [
                f"arn:aws:rds:*:*:db:{DEFAULTS['rds']['identifier']}{suffix}"
                for suffix in ("", RESTORED, rehearsal.SUFFIX, PREV)
            ]
        }
    }


def test_everything_that_is_made_carries_the_tag_that_the_policy_wants(
    cloud: Front, configure: Configure, hands: Hands
) -> None:
    settings = configure(PROD_DB_SSLROOTCERT="/none.pem")
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    for call in cloud.calls:
        if call.action in ("CreateDBInstance", "CreateSecurityGroup"):
            names = [name for name, value in call.params.items() if value == "ManagedBy"]
            assert [call.params[name.replace("Key", "Value")] for name in names] == ["inv"], call.action
