"""rds.schedule: times as people write them, what is asked of AWS, and that it may end anywhere and be repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ops.errors import Misconfigured, Refused
from ops.rds import create, instance
from ops.rds.schedule import own_role, schedule, times
from ops.rds.schedule.times import WEEK, Times
from tests.fix_aws import REGION, Configure, Front, Hands, outcome

NIGHTS = times.read("20:00", "08:00", "mon-fri", "Europe/Berlin")
NAME = "cruddur-db-instance"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", WEEK[:5]),
        ("sat-mon", ("mon", "sat", "sun")),
        ("Mon, wed,SAT", ("mon", "wed", "sat")),
        ("mon-sun", WEEK),
        ("fri", ("fri",)),
    ],
)
def test_days(text: str, days: tuple[str, ...]) -> None:
    assert times.on_days(text) == days


def test_as_scheduler_takes_it() -> None:
    assert NIGHTS.cron("20:00") == "cron(0 20 ? * MON,TUE,WED,THU,FRI *)"
    assert Times("", "7:05", WEEK, "UTC").cron("07:05") == "cron(5 7 ? * * *)"
    assert schedule.of_cron(NIGHTS.cron("20:30")) == ("20:30", list(WEEK[:5]))
    assert schedule.of_cron("cron(5 7 ? * * *)") == ("07:05", list(WEEK))
    assert schedule.of_cron("rate(1 hour)") == ("rate(1 hour)", [])


@pytest.mark.parametrize(
    ("stop", "start", "days", "zone", "says"),
    [
        ("", "", "mon-fri", "UTC", "say when"),
        ("24:00", "", "mon-fri", "UTC", "--stop 24:00"),
        ("20:00", "8", "mon-fri", "UTC", "--start 8"),
        ("20:00", "", "mon-fry", "UTC", "--days mon-fry"),
        ("20:00", "", "", "UTC", "--days"),
        ("20:00", "", "mon-fri", "Berlin", "--zone Berlin"),
    ],
)
def test_bad_input(stop: str, start: str, days: str, zone: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        times.read(stop, start, days, zone)


def test_names_fit() -> None:
    for length in (1, 30, 63):
        of = own_role.Names(f"arn:aws:rds:ap-southeast-2:123456789012:db:{'x' * length}")
        assert len(of.role) <= 64
        assert len(of.group) <= 64


# --- on moto ------------------------------------------------------------------------------


@pytest.fixture
def put(cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What sets a schedule on an instance that is there."""
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    settings = configure()
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    cloud.forget()

    def act(wanted: Times = NIGHTS, dry_run: bool = False) -> schedule.Scheduled:
        return schedule.put(settings, cloud.aws(settings), hands.clock, wanted, dry_run=dry_run)

    return act


def holds(cloud: Front, configure: Configure) -> Any:
    settings = configure()
    aws = cloud.aws(settings)
    return schedule.holding(aws, instance.require_instance(aws, settings.rds))


def delete(cloud: Front, configure: Configure, dry_run: bool = False) -> schedule.Scheduled:
    return schedule.delete(configure(), cloud.aws(configure()), dry_run=dry_run)


def test_twice_is_once_and_a_change_changes_only_that(
    put: Callable[..., Any], cloud: Front, configure: Configure
) -> None:
    assert put(dry_run=True).written is False
    assert cloud.writes == []
    first = put()
    assert [one.operation for one in first.requests] == [
        "CreateScheduleGroup", "CreateRole", "PutRolePolicy", "CreateSchedule", "CreateSchedule",
    ]  # fmt: skip
    assert schedule.told(first) == f"{NAME}: stops at 20:00 and starts at 08:00, mon-fri (Europe/Berlin)"
    cloud.forget()
    assert put().written is False
    assert cloud.writes == []
    only = times.read("21:00", "", "mon-fri", "Europe/Berlin")
    assert [one.operation for one in put(only).requests] == ["UpdateSchedule", "DeleteSchedule"]
    assert holds(cloud, configure) == times.Schedule("21:00", None, list(WEEK[:5]), "Europe/Berlin")
    facts = instance.facts(
        configure(), cloud.aws(configure()), instance.require_instance(cloud.aws(configure()), configure().rds)
    )
    assert instance.told(facts)["schedule"] == "stops at 21:00, mon-fri (Europe/Berlin)"


def test_what_it_may_do_is_this_one_instance(put: Callable[..., Any], cloud: Front, configure: Configure) -> None:
    requests = {one.operation: one.parameters for one in put().requests}
    [statement] = json.loads(requests["PutRolePolicy"]["PolicyDocument"])["Statement"]
    assert statement["Resource"].endswith(f":db:{NAME}")
    assert statement["Action"] == ["rds:StopDBInstance", "rds:StartDBInstance"]
    target = requests["CreateSchedule"]["Target"]
    assert target["Arn"] == "arn:aws:scheduler:::aws-sdk:rds:startDBInstance"
    assert json.loads(target["Input"]) == {"DbInstanceIdentifier": NAME}


def test_the_schedules_calls_are_those_of_rds() -> None:
    """As botocore's model has them, whose names differ from the SDK's in the case of a letter."""
    model = boto3.client("rds", region_name=REGION).meta.service_model
    for name in schedule.CALLS.values():
        operation = model.operation_model(name[0].upper() + name[1:])
        assert "DbInstanceIdentifier".lower() in {member.lower() for member in operation.input_shape.members}


def test_it_is_taken_away_and_nothing_is_left(put: Callable[..., Any], cloud: Front, configure: Configure) -> None:
    put()
    cloud.forget()
    assert delete(cloud, configure, dry_run=True).written is False
    assert cloud.writes == []
    assert delete(cloud, configure).written is True
    assert holds(cloud, configure) is None
    assert cloud.aws(configure()).client("iam").list_roles()["Roles"] == []
    assert delete(cloud, configure).written is False
    aws = cloud.aws(configure())
    put()
    aws.client("rds").modify_db_instance(DBInstanceIdentifier=NAME, DeletionProtection=False)
    aws.client("rds").delete_db_instance(DBInstanceIdentifier=NAME, SkipFinalSnapshot=True)
    assert len(delete(cloud, configure).requests) == 3


@pytest.mark.parametrize("theirs", ["group", "role"])
def test_what_somebody_else_has_made_is_refused_before_any_write(
    put: Callable[..., Any], cloud: Front, configure: Configure, theirs: str
) -> None:
    aws = cloud.aws(configure())
    of = own_role.names(instance.require_instance(aws, configure().rds))
    if theirs == "group":
        aws.client("scheduler").create_schedule_group(Name=of.group)
    else:
        aws.client("iam").create_role(RoleName=of.role, AssumeRolePolicyDocument=json.dumps(own_role.trust(of)))
    cloud.forget()
    for act in (put, lambda: delete(cloud, configure)):
        with pytest.raises(Refused, match="is not ours: remove it, or tag it"):
            act()
    assert cloud.writes == []


@pytest.mark.parametrize("how", ["before", "lost"])
def test_cut_at_any_write_the_next_run_ends_it(
    put: Callable[..., Any], cloud: Front, configure: Configure, how: str
) -> None:
    for act, number_of_writes in ((put, 5), (lambda: delete(cloud, configure), 3)):
        for number in range(1, number_of_writes + 1):
            cloud.mend()
            if act is put:
                delete(cloud, configure)
            else:
                put()
            reached = cloud.cut(number, how)
            outcome(act)
            assert reached()
            cloud.mend()
            act()
            cloud.forget()
            act()
            assert cloud.writes == []


# --- by Stubber ---------------------------------------------------------------------------


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(configure: Configure, hands: Hands) -> None:
    from ops.aws import Aws
    from ops.cloud.steps import Request, Step

    client = boto3.client("scheduler", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    aws = Aws(configure())
    aws._clients["scheduler"] = client
    of = own_role.Names(f"arn:aws:rds:{REGION}:123456789012:db:{NAME}")
    step = Step("made", Request("scheduler", "CreateSchedule", schedule.wanted(of, "stop", NIGHTS)))
    said = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    with Stubber(client) as stub:
        for _ in range(2):
            stub.add_client_error("create_schedule", "ValidationException", said)
        stub.add_response("create_schedule", {"ScheduleArn": "arn"})
        schedule.carry_out(aws, [step], hands.clock)
        assert hands.slept == [schedule.PAUSE] * 2
        for _ in range(int(schedule.FRESH // schedule.PAUSE) + 1):
            stub.add_client_error("create_schedule", "ValidationException", said)
        with pytest.raises(client.exceptions.ValidationException):
            schedule.carry_out(aws, [step], hands.clock)


CODES = {
    "ServiceQuotaExceededException": 1,
    "ThrottlingException": 1,
    "InternalServerException": 1,
    "ValidationException": 2,
    "AccessDeniedException": 1,
    "ExpiredTokenException": 2,
}


@pytest.mark.parametrize("code", CODES)
def test_each_refusal_is_one_line(configure: Configure, hands: Hands, code: str) -> None:
    from ops.aws import Aws
    from ops.cloud.steps import Request, Step

    client = boto3.client("scheduler", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    aws = Aws(configure())
    aws._clients["scheduler"] = client
    step = Step("made", Request("scheduler", "DeleteScheduleGroup", {"Name": NAME}))
    with Stubber(client) as stub:
        stub.add_client_error("delete_schedule_group", code, "said so", http_status_code=400)
        failed = outcome(lambda: schedule.carry_out(aws, [step], hands.clock))
    assert failed
    assert failed.code == CODES[code]
