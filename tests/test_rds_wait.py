"""The wait for an instance, on a clock that is moved by hand.

moto is available at once, so the states come from a list here, worded as
DescribeDBInstances words them, and the refusals from botocore's Stubber.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from config import rds as settings_of
from ops.aws import Aws
from ops.errors import InProgress, Misconfigured, Problem
from ops.rds import instance, rotate
from ops.rds.waiting import HOPELESS, RESTING, Events, Goal, Row, gone, stopped, usable, wait
from tests.fix_aws import Configure, Hands

CREATE = Goal("rds.create", usable, {**HOPELESS, **RESTING})
HOST = "x.abc.ca-central-1.rds.amazonaws.com"


def row(status: str, *, address: str = "", secret: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"DBInstanceIdentifier": "cruddur-db-instance", "DBInstanceStatus": status}
    if address:
        found["Endpoint"] = {"Address": address, "Port": 5432}
    if secret:
        found["MasterUserSecret"] = {"SecretArn": "arn", "SecretStatus": secret}
    return found


class Silent(Events):
    def __init__(self) -> None:
        pass

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
    assert waited([row("deleting"), row("deleting"), None], hands, Goal("rds.delete", gone, {})) is None
    end = row("stopped")
    assert waited([row("available"), row("stopping"), end], hands, Goal("rds.stop", stopped, HOPELESS)) is end


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


@pytest.fixture
def stubbed(configure: Configure) -> Iterator[tuple[Aws, Stubber]]:
    """An `Aws` whose RDS client answers what the test says and fails on anything else."""
    client = boto3.client("rds", region_name="ca-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    aws = Aws(configure())
    aws._clients["rds"] = client
    with Stubber(client) as stub:
        yield aws, stub
        stub.assert_no_pending_responses()


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


def ready(stub: Stubber, status: str, **extra: Any) -> None:
    found = {**row(status, address=HOST), **extra}
    stub.add_response("describe_db_instances", {"DBInstances": [found]})


def quiet(stub: Stubber) -> None:
    stub.add_response("describe_events", {"Events": []})


def test_stop_tells_the_date_that_aws_gives(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "available")
    stub.add_response("stop_db_instance", {}, {"DBInstanceIdentifier": "cruddur-db-instance"})
    ready(stub, "available")
    quiet(stub)
    ready(stub, "stopping")
    quiet(stub)
    ready(stub, "stopped", AutomaticRestartTime=datetime(2026, 11, 29, 10, 30, tzinfo=timezone.utc))
    told = instance.stop(aws, settings_of.rds({})[0], hands.clock)
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
    assert instance.start(aws, settings_of.rds({})[0], hands.clock) == "cruddur-db-instance is available"


def test_a_snapshot_under_way_is_waited_for_and_not_made_twice(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    ready(stub, "backing-up")
    making = {"DBSnapshotIdentifier": "s1", "Status": "creating", "PercentProgress": 40}
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [making]})
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [making]})
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [{**making, "Status": "available"}]})
    assert instance.snapshot(aws, settings_of.rds({})[0], "", hands.clock) == "s1"


OURS = [{"Key": "Project", "Value": "cruddur"}, {"Key": "ManagedBy", "Value": "inv"}]


def test_a_managed_password_is_rotated_by_rds(stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure) -> None:
    """moto loses the secret on rotation."""
    aws, stub = stubbed
    secret = {"SecretArn": "arn", "SecretStatus": "active"}
    ready(stub, "available", MasterUserSecret=secret, TagList=OURS)
    rotation = {"DBInstanceIdentifier": "cruddur-db-instance", "ApplyImmediately": True}
    stub.add_response("modify_db_instance", {}, {**rotation, "RotateMasterUserPassword": True})
    ready(stub, "resetting-master-credentials", MasterUserSecret={**secret, "SecretStatus": "rotating"})
    quiet(stub)
    ready(stub, "available", MasterUserSecret=secret)
    assert "kept in Secrets Manager" in rotate.run(configure(), aws, hands.clock)
    assert configure().vars.saved == {}


def test_an_own_password_is_saved_before_it_is_sent(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    configure().vars.env_file.write_text(f"PROD_CONNECTION_URL='postgresql://postgres:old-one-1@{HOST}:5432/cruddur'\n")
    ready(stub, "available", TagList=OURS, MasterUsername="postgres")
    stub.add_client_error("modify_db_instance", "InvalidDBInstanceState")
    with pytest.raises(ClientError):
        rotate.run(configure(), aws, hands.clock)
    first = configure().vars.saved["POSTGRES_MASTER_PASSWORD"]
    sent: list[str] = []
    aws.client("rds").meta.events.register(
        "provide-client-params.rds.ModifyDBInstance", lambda params, **_: sent.append(params["MasterUserPassword"])
    )
    ready(stub, "available", TagList=OURS, MasterUsername="postgres")
    stub.add_response("modify_db_instance", {})
    ready(stub, "available", MasterUsername="postgres")
    rotate.run(configure(), aws, hands.clock)
    saved = configure().vars.saved
    assert sent == [saved["POSTGRES_MASTER_PASSWORD"]] != [first]
    assert saved["PROD_CONNECTION_URL"] == f"postgresql://postgres:{sent[0]}@{HOST}:5432/cruddur"
    assert sent[0] not in "".join(capsys.readouterr())


def test_an_own_password_that_the_environment_hides_is_not_rotated(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    ready(stub, "available", TagList=OURS)
    with pytest.raises(Misconfigured, match="unset POSTGRES_MASTER_PASSWORD"):
        rotate.run(configure(POSTGRES_MASTER_PASSWORD="in-the-shell"), aws, hands.clock)
