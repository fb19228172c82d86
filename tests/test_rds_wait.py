"""The wait for an instance, on a clock that is moved by hand.

moto is available at once, so the states come from a list here, worded as
DescribeDBInstances words them, and the refusals from botocore's Stubber.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from config import rds as settings_of
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.errors import InProgress, Problem
from ops.rds import instance
from ops.rds.waiting import HOPELESS, RESTING, STARTABLE, Events, Goal, is_gone, is_stopped, is_usable, wait
from tests.fix_aws import HOST, Hands, quiet, ready, row

CREATE = Goal("rds.create", is_usable, {**HOPELESS, **RESTING})


class Silent(Events):
    def __init__(self) -> None:
        self.kind = "db-instance"

    def tell(self) -> None:
        pass


def waited(states: list[Any], hands: Hands, goal: Goal = CREATE, minutes: float = 60) -> Row | None:
    """Wait while AWS tells these states one after the other, the last one for ever."""
    told = iter(states)
    last: list[Any] = [None]

    def find() -> Row | None:
        last[0] = next(told, last[0])
        if isinstance(last[0], Exception):
            raise last[0]
        answer: Row | None = last[0]
        return answer

    return wait(find, goal, Silent(), minutes, hands.clock)


def refused(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "DescribeDBInstances",
    )


def test_a_new_instance_goes_through_its_states_one_line_each(hands: Hands, capsys: pytest.CaptureFixture[str]) -> None:
    """While creating there is no Endpoint; the secret comes after the instance."""
    ready = row("available", address=HOST, secret="active")
    states = [
        None,  # AWS may not know yet what it has just made
        row("creating"),
        row("creating"),
        row("backing-up", address=HOST, secret="creating"),
        row("available", secret="active"),
        row("available", address=HOST, secret="creating"),
        ready,
    ]
    assert waited(states, hands) == ready
    assert hands.slept == [10.0] * 6
    assert capsys.readouterr().err.splitlines() == [
        "0:00 being made",
        "0:10 creating",
        "0:30 backing-up",
        "0:40 available, its address not known yet",
        "0:50 available, its secret creating",
    ]


@pytest.mark.parametrize("state", [*HOPELESS, *RESTING])
def test_what_never_heals_ends_the_wait_at_once_with_advice(hands: Hands, state: str) -> None:
    with pytest.raises(Problem, match=f"the instance is {state}, which waiting does not heal: .+") as caught:
        waited([row("creating"), row(state)], hands)
    assert caught.value.code == 1
    assert hands.slept == [10.0]
    assert {**HOPELESS, **RESTING}[state] in str(caught.value)


def test_the_limit_is_a_setting_and_exit_3(hands: Hands) -> None:
    with pytest.raises(InProgress, match=r"still creating after 45 minutes.*run inv rds\.create again") as caught:
        waited([row("creating")], hands, minutes=45)
    assert caught.value.code == 3
    assert sum(hands.slept) == 45 * 60


def test_a_limit_of_none_looks_once(hands: Hands) -> None:
    with pytest.raises(InProgress):
        waited([row("creating")], hands, minutes=0)
    assert hands.slept == []


@pytest.mark.parametrize(
    "trouble",
    [
        refused("Throttling"),
        refused("InternalFailure", 500),
        refused("ServiceUnavailable", 503),
        EndpointConnectionError(endpoint_url="https://rds"),
    ],
)
def test_what_passes_is_waited_out(hands: Hands, trouble: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    ready = row("available", address=HOST)
    assert waited([row("creating"), trouble, trouble, ready], hands) == ready
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied", "InvalidClientTokenId"])
def test_what_a_person_must_do_ends_the_wait(hands: Hands, code: str) -> None:
    with pytest.raises(ClientError):
        waited([row("creating"), refused(code, 403)], hands)
    assert hands.slept == [10.0]


def test_an_instance_that_somebody_deletes_meanwhile_is_said(hands: Hands) -> None:
    with pytest.raises(Problem, match="is gone: somebody has deleted it"):
        waited([row("creating"), None], hands)


def test_an_instance_that_never_appears_is_said(hands: Hands) -> None:
    with pytest.raises(Problem, match="is gone"):
        waited([None], hands)
    assert sum(hands.slept) <= 80


def test_deleting_and_stopping_are_goals_of_their_own(hands: Hands) -> None:
    assert waited([row("deleting"), row("deleting"), None], hands, Goal("rds.delete", is_gone, {})) is None
    end = row("stopped")
    assert waited([row("available"), row("stopping"), end], hands, Goal("rds.stop", is_stopped, HOPELESS)) is end


def test_ctrl_c_says_how_to_go_on(hands: Hands, capsys: pytest.CaptureFixture[str]) -> None:
    def press(_: float) -> None:
        raise KeyboardInterrupt

    hands.then = press
    with pytest.raises(KeyboardInterrupt):
        waited([row("creating")], hands)
    assert "run inv rds.create again to go on waiting" in capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    waited([row("creating"), row("backing-up"), row("available", address=HOST)], hands)
    assert "of at most 60:00" in screen.getvalue()
    assert "━" in screen.getvalue()


# --- what only AWS itself does: by Stubber ----------------------------------------------


def test_each_event_is_said_once(
    stubbed: tuple[Aws, Stubber], hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    now = datetime(2026, 11, 22, tzinfo=timezone.utc)
    first = {"Date": now, "Message": "DB instance created"}
    second = {"Date": now + timedelta(minutes=5), "Message": "Backing up DB instance"}
    common = {"SourceIdentifier": "x", "SourceType": "db-instance"}
    stub.add_response("describe_events", {"Events": [first]}, {**common, "Duration": 2})
    stub.add_response("describe_events", {"Events": [first, second]}, {**common, "Duration": 7})
    stub.add_client_error("describe_events", "AccessDenied", http_status_code=403)
    events = Events(aws.client("rds"), "x", hands.clock)
    events.tell()
    hands.time = 300
    events.tell()
    events.tell()
    events.tell()  # refused once, it is not asked again
    assert capsys.readouterr().err.splitlines() == [
        "RDS: DB instance created",
        "RDS: Backing up DB instance",
        "note: RDS events are not shown (AccessDenied)",
    ]


def test_stop_tells_the_date_that_aws_gives(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "available")
    stub.add_response("stop_db_instance", {}, {"DBInstanceIdentifier": "cruddur-db-instance"})
    ready(stub, "available")
    quiet(stub)
    ready(stub, "stopping")
    quiet(stub)
    ready(stub, "stopped", AutomaticRestartTime=datetime(2026, 11, 29, 10, 30, tzinfo=timezone.utc))
    told = instance.stop_instance(aws, settings_of.rds({})[0], hands.clock)
    assert "AWS starts it by itself on 2026-11-29 10:30 UTC" in told
    assert "still billed" in told


def test_start_waits_for_a_stop_that_is_under_way(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "stopping")
    ready(stub, "stopping")
    quiet(stub)
    ready(stub, "stopped")
    stub.add_response("start_db_instance", {}, {"DBInstanceIdentifier": "cruddur-db-instance"})
    ready(stub, "stopped")  # the state lags behind the call
    quiet(stub)
    ready(stub, "starting")
    quiet(stub)
    ready(stub, "available")
    assert instance.start_instance(aws, settings_of.rds({})[0], hands.clock) == "cruddur-db-instance is available"


@pytest.mark.parametrize("state", ["incompatible-network", "inaccessible-encryption-credentials-recoverable"])
def test_start_leads_out_of_a_state_whose_cause_is_mended(
    stubbed: tuple[Aws, Stubber], hands: Hands, state: str
) -> None:
    """create and stop give up on these and name rds.start: the state from which it starts is no fault while it lags."""
    aws, stub = stubbed
    assert "inv rds.start" in HOPELESS[state]
    ready(stub, state)
    stub.add_response("start_db_instance", {}, {"DBInstanceIdentifier": "cruddur-db-instance"})
    for status in (state, state, "starting"):
        ready(stub, status)
        quiet(stub)
    ready(stub, "available")
    assert instance.start_instance(aws, settings_of.rds({})[0], hands.clock) == "cruddur-db-instance is available"


def test_start_ends_where_the_cause_is_not_mended_after_all(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "incompatible-network")
    stub.add_response("start_db_instance", {})
    for status in ("incompatible-network", "starting", "incompatible-network"):
        ready(stub, status)
        quiet(stub)
    with pytest.raises(Problem, match="is incompatible-network, which waiting does not heal: its VPC or subnets"):
        instance.start_instance(aws, settings_of.rds({})[0], hands.clock)


def test_a_start_that_aws_refuses_says_what_stays_in_the_way(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "incompatible-network")
    stub.add_client_error("start_db_instance", "InvalidDBInstanceState")
    ready(stub, "incompatible-network")
    with pytest.raises(Problem, match=r"AWS refuses start_db_instance: its VPC or subnets do not fit.*rds\.delete"):
        instance.start_instance(aws, settings_of.rds({})[0], hands.clock)


def test_a_start_whose_answer_was_lost_and_that_was_repeated_goes_on(
    stubbed: tuple[Aws, Stubber], hands: Hands
) -> None:
    aws, stub = stubbed
    ready(stub, "stopped")
    stub.add_client_error("start_db_instance", "InvalidDBInstanceState")
    ready(stub, "starting")
    ready(stub, "available")
    assert "is available" in instance.start_instance(aws, settings_of.rds({})[0], hands.clock)


@pytest.mark.parametrize("state", [state for state in HOPELESS if state not in STARTABLE])
def test_start_does_not_try_what_aws_does_not_do(stubbed: tuple[Aws, Stubber], hands: Hands, state: str) -> None:
    aws, stub = stubbed
    ready(stub, state)
    ready(stub, state)
    quiet(stub)
    with pytest.raises(Problem, match="which waiting does not heal"):
        instance.start_instance(aws, settings_of.rds({})[0], hands.clock)


def test_a_snapshot_is_waited_for_past_what_passes_and_its_state_is_shown(
    stubbed: tuple[Aws, Stubber], hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    rds = settings_of.rds({"wait_minutes": "1"})[0]
    making = {"DBSnapshotIdentifier": "s1", "Status": "creating", "PercentProgress": 40}
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [making]})
    stub.add_client_error("describe_db_snapshots", "ServiceUnavailable", http_status_code=503)
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [{**making, "Status": "available"}]})
    instance.wait_for_snapshot(aws, rds, "s1", hands.clock)
    said = capsys.readouterr().err
    assert "0:00 creating, 40%" in said
    assert "0:10 no answer (AWS failed at DescribeDBSnapshots" in said
    for _ in range(7):
        stub.add_response("describe_db_snapshots", {"DBSnapshots": [making]})
    with pytest.raises(
        InProgress,
        match=r"^the snapshot s1 is still creating, 40% after 1 minutes .*: run this again to go on waiting$",
    ):
        instance.wait_for_snapshot(aws, rds, "s1", hands.clock)
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [{**making, "Status": "failed"}]})
    with pytest.raises(Problem, match="the snapshot s1 has failed: delete it, then run this again"):
        instance.wait_for_snapshot(aws, rds, "s1", hands.clock)


def test_a_snapshot_under_way_is_waited_for_and_not_made_twice(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "backing-up")
    making = {"DBSnapshotIdentifier": "s1", "Status": "creating", "PercentProgress": 40}
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [making]})
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [making]})
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [{**making, "Status": "available"}]})
    assert instance.take_snapshot(aws, settings_of.rds({})[0], "", hands.clock) == "s1"
