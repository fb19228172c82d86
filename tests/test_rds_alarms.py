"""rds.alarms: which there are, what is asked of AWS, and that nobody is told before a link was clicked.

moto confirms an e-mail at once and sends none: what is not confirmed comes from botocore's Stubber.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ops.aws import Aws
from ops.cloud.steps import Request, Step, carry_out
from ops.errors import Misconfigured, Refused
from ops.rds import create, instance
from ops.rds.alarms import alarms, standing, topic, wanted
from ops.rds.alarms.standing import Alarm, Alarms
from ops.rds.schedule import own_role
from ops.workspace import doctor
from tests.fix_aws import LOGIN, REGION, Configure, Front, Hands, outcome, said_first
from tests.fix_cli import Cli

NAME = "cruddur-db-instance"
EMAIL = "ada@example.com"
GROUP = "/aws/lambda/cruddur-post-confirmation"
KINDS = ["connections", "cpu-credits", "failed-sign-ups", "storage"]


@pytest.fixture
def put(cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What sets the alarms of an instance and a function that are there."""
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    monkeypatch.setattr(alarms, "max_connections", lambda *_: 100)
    settings = configure()
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    cloud.aws(settings).client("logs").create_log_group(logGroupName=GROUP)
    cloud.forget()

    def act(email: str = EMAIL, dry_run: bool = False) -> alarms.Changed:
        return alarms.put(settings, cloud.aws(settings), email, dry_run=dry_run)

    return act


def delete(cloud: Front, configure: Configure, dry_run: bool = False) -> alarms.Changed:
    return alarms.delete(configure(), cloud.aws(configure()), dry_run=dry_run)


def row_of(**more: Any) -> Any:
    return {"DBInstanceIdentifier": NAME, "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": 20, **more}


def test_which_alarms_an_instance_wants() -> None:
    every = {one.kind: one for one in wanted.of_instance(row_of(ReadReplicaDBInstanceIdentifiers=["b", "a"]), 112)}
    assert list(every) == ["storage", "cpu-credits", "connections", "replica-lag-a", "replica-lag-b"]
    assert every["storage"].request("n", "t")["Threshold"] == 2 * 2**30
    assert every["connections"].request("n", "t")["Threshold"] == 89
    assert every["replica-lag-a"].metric["Dimensions"] == [{"Name": "DBInstanceIdentifier", "Value": "a"}]
    large = wanted.of_instance(row_of(DBInstanceClass="db.m7g.large"), None)
    assert [one.kind for one in large] == ["storage"]


def test_the_filter_counts_what_the_function_says_of_a_failure() -> None:
    from functions.post_confirmation import handler

    assert wanted.PATTERN in (handler.__doc__ or "")


@pytest.mark.parametrize("text", ["ada", "ada@", "a b@example.com", "@example.com"])
def test_what_is_no_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        alarms.check_email(text)
    assert text not in str(refused.value)


# --- on moto ------------------------------------------------------------------------------


def test_twice_is_once(
    put: Callable[..., Any], cloud: Front, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [one.state for one in put(dry_run=True).holds.alarms] == [None] * 4
    assert cloud.writes == []
    assert "cost: at most 0.70 USD a month for 4 alarms" in capsys.readouterr().err
    done: list[alarms.Changed] = []
    assert "cost: at most 0.70 USD a month for 4 alarms" in said_first(cloud, capsys, lambda: done.append(put()))
    [first] = done
    assert [one.operation for one in first.requests] == [
        "CreateTopic",
        "Subscribe",
        "PutMetricFilter",
        *["PutMetricAlarm"] * 4,
    ]
    assert first.holds
    assert [one.kind for one in first.holds.alarms] == KINDS
    assert EMAIL not in json.dumps([one.parameters for one in first.requests])
    cloud.forget()
    assert put().written is False
    assert put(email=EMAIL.upper()).written is False
    assert cloud.writes == []
    assert EMAIL not in "".join(capsys.readouterr())


def test_what_somebody_has_changed_is_as_it_should_be_again(
    put: Callable[..., Any], cloud: Front, configure: Configure
) -> None:
    put()
    client = cloud.aws(configure()).client("cloudwatch")
    [have] = client.describe_alarms(AlarmNames=[f"{NAME}-storage"])["MetricAlarms"]
    one = next(iter(wanted.of_instance(row_of(), None))).request(have["AlarmName"], have["AlarmActions"][0])
    client.put_metric_alarm(**{**one, "Threshold": 1.0})
    assert [step.operation for step in put().requests] == ["PutMetricAlarm"]
    assert put().written is False


def test_status_shows_them(put: Callable[..., Any], cloud: Front, configure: Configure) -> None:
    put()
    aws = cloud.aws(configure())
    aws.client("cloudwatch").set_alarm_state(AlarmName=f"{NAME}-storage", StateValue="ALARM", StateReason="tried")
    facts = instance.facts(configure(), aws, instance.require_instance(aws, configure().rds))
    assert instance.told(facts)["alarms"] == "4 alarms, going off: storage; 1 e-mail address(es) told"


def test_status_and_doctor_say_who_has_not_clicked(
    put: Callable[..., Any], cloud: Front, configure: Configure, inv: Cli
) -> None:
    """Through the command line; moto takes each address for confirmed, so one is made to wait there."""
    from moto.sns.models import sns_backends

    put()
    assert list(doctor.alarms(configure())) == []
    [one] = sns_backends["123456789012"][REGION].subscriptions.values()
    one.arn = topic.PENDING
    says = "1 unconfirmed: no alarm arrives there until the link in the e-mail from AWS was clicked"
    where = {name: os.environ[name] for name in (*LOGIN, "AWS_ENDPOINT_URL")}
    told = json.loads(inv("rds.status", "--json", env=where).stdout)["alarms"]
    assert (told["confirmed"], told["unconfirmed"]) == (0, 1)
    shown = dict(re.split(r" {2,}", line, maxsplit=1) for line in inv("rds.status", env=where).stdout.splitlines())
    assert shown["alarms"].startswith(f"4 alarms, none going off; {says}")
    assert not [line for line in inv("doctor", env=where).stdout.splitlines() if "alarms" in line]
    shutil.copy(configure().vars.env_file, inv.root)  # which names the instance
    [line] = [line for line in inv("doctor", env=where).stdout.splitlines() if "alarms" in line]
    assert line.startswith(f"note alarms: {says}")
    configure().vars.env_file.unlink()  # one that knows of no instance asks nobody
    cloud.forget()
    assert list(doctor.alarms(configure())) == []
    assert cloud.calls == []


def test_without_a_function_or_a_server_that_tells_the_rest_is_made(
    put: Callable[..., Any],
    cloud: Front,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud.aws(configure()).client("logs").delete_log_group(logGroupName=GROUP)
    monkeypatch.setattr(alarms, "max_connections", lambda *_: None)
    done = put(email="")
    assert [one.kind for one in done.holds.alarms] == ["cpu-credits", "storage"]
    assert "no alarm for the function" in capsys.readouterr().err
    assert "nobody is told: inv rds.alarms --email" in alarms.told(done)


def test_they_are_taken_away_and_nothing_is_left(put: Callable[..., Any], cloud: Front, configure: Configure) -> None:
    put()
    cloud.forget()
    assert delete(cloud, configure, dry_run=True).written is False
    assert cloud.writes == []
    assert delete(cloud, configure).written is True
    aws = cloud.aws(configure())
    assert aws.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert aws.client("sns").list_topics()["Topics"] == []
    assert aws.client("logs").describe_metric_filters(logGroupName=GROUP)["metricFilters"] == []
    assert delete(cloud, configure).written is False


def alarm_of_theirs(aws: Aws) -> None:
    one = next(iter(wanted.of_instance(row_of(), None))).request(
        f"{NAME}-storage", f"arn:aws:sns:{REGION}:123456789012:theirs"
    )
    aws.client("cloudwatch").put_metric_alarm(**one)


def filter_of_theirs(aws: Aws) -> None:
    theirs = wanted.metric_filter("another", GROUP)
    aws.client("logs").put_metric_filter(**theirs)


THEIRS: dict[str, Callable[[Aws], object]] = {
    "topic": lambda aws: aws.client("sns").create_topic(Name=f"{NAME}-alarms"),
    "alarm": alarm_of_theirs,
    "filter": filter_of_theirs,
}


@pytest.mark.parametrize("theirs", THEIRS)
def test_what_somebody_else_has_made_is_refused_before_any_write(
    put: Callable[..., Any], cloud: Front, configure: Configure, theirs: str
) -> None:
    THEIRS[theirs](cloud.aws(configure()))
    cloud.forget()
    with pytest.raises(Refused, match="is not ours: remove it"):
        put()
    if theirs == "alarm":
        assert delete(cloud, configure).requests == []
    else:
        with pytest.raises(Refused, match="is not ours"):
            delete(cloud, configure)
    assert cloud.writes == []


@pytest.mark.parametrize("how", ["before", "lost"])
def test_cut_at_any_write_the_next_run_ends_it(
    put: Callable[..., Any], cloud: Front, configure: Configure, how: str
) -> None:
    def away() -> alarms.Changed:
        return delete(cloud, configure)

    for act, other, writes in ((put, away, 7), (away, put, 3)):
        for number in range(1, writes + 1):
            cloud.mend()
            other()
            reached = cloud.cut(number, how)
            outcome(act)
            assert reached()
            cloud.mend()
            act()
            cloud.forget()
            act()
            assert cloud.writes == []


# --- by Stubber ---------------------------------------------------------------------------

OF = own_role.Names(f"arn:aws:rds:{REGION}:123456789012:db:{NAME}")


@pytest.fixture
def sns(configure: Configure) -> Iterator[tuple[Aws, Stubber]]:
    client = boto3.client("sns", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    aws = Aws(configure())
    aws._clients["sns"] = client
    with Stubber(client) as stub:
        yield aws, stub
        stub.assert_no_pending_responses()


def subscribed(*arns: str) -> dict[str, Any]:
    rows = [
        {"SubscriptionArn": arn, "Protocol": "email", "Endpoint": f"{number}@example.com"}
        for number, arn in enumerate(arns)
    ]
    return {"Subscriptions": [*rows, {"SubscriptionArn": "arn", "Protocol": "sms", "Endpoint": "+1"}]}


def test_an_address_whose_link_was_not_clicked_is_unconfirmed(sns: tuple[Aws, Stubber]) -> None:
    aws, stub = sns
    stub.add_response("list_subscriptions_by_topic", subscribed("arn:1", topic.PENDING, topic.PENDING))
    assert topic.counted(topic.subscriptions(aws, OF)) == (1, 2)
    told = standing.words(Alarms([Alarm("storage", "OK", "x")], 1, 2))
    assert told.startswith(
        "1 alarms, none going off; 1 e-mail address(es) told, 2 unconfirmed: no alarm arrives there until"
    )


def test_one_that_waits_for_its_click_is_not_asked_again(sns: tuple[Aws, Stubber]) -> None:
    aws, stub = sns
    ours = [{"Key": key, "Value": value} for key, value in own_role.marks(OF, "cruddur").items()]
    stub.add_response("list_tags_for_resource", {"Tags": ours})
    stub.add_response("list_subscriptions_by_topic", subscribed(topic.PENDING))
    assert topic.steps(aws, OF, "cruddur", "0@example.com") == []


CODES = {
    "AuthorizationError": 1,
    "InternalError": 1,
    "InvalidParameter": 2,
    "SubscriptionLimitExceeded": 1,
    "TopicLimitExceeded": 1,
    "Throttled": 1,
    "ConcurrentAccess": 1,
}


@pytest.mark.parametrize("code", CODES)
def test_each_refusal_is_one_line_without_the_address(sns: tuple[Aws, Stubber], code: str) -> None:
    aws, stub = sns
    alarms.check_email(EMAIL)
    stub.add_client_error("subscribe", code, f"Invalid parameter: {EMAIL}", http_status_code=400)
    asked = {"TopicArn": topic.arn(OF), "Protocol": "email", "Endpoint": EMAIL, "ReturnSubscriptionArn": True}
    failed = outcome(lambda: carry_out(aws, [Step("x", Request("sns", "Subscribe", asked))]))
    assert failed
    assert failed.code == CODES[code]
    assert EMAIL not in str(failed.message)
