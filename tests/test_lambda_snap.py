"""SnapStart: pools call an alias, which leads to a version with a snapshot; on and off again without a sign-up that nobody takes."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from botocore.stub import ANY, Stubber

from functions.post_confirmation import handler, iam
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.lambdas import delete, invoke, snap_start, status, through
from ops.lambdas import function as functions
from ops.lambdas.plan import Plan
from ops.lambdas.user_pool import attach
from ops.lambdas.way import Way
from tests import typed
from tests.fix_aws import REGION, Call, json_error, outcome, said_first
from tests.fix_cli import SUITE
from tests.fix_lambda import NAME, Stage
from tests.fix_people import Users, event
from tests.test_lambda_function import Bare, made

__all__ = ["made"]

ON, OFF = {"snap_start": "yes"}, {"snap_start": "no"}


@pytest.fixture
def on(stage: Stage) -> Stage:
    stage.config = dict(ON)
    return stage


def alias(stage: Stage) -> dict[str, Any] | None:
    found = snap_start.find_alias(stage.aws, stage.settings().lambdas)
    return dict(found) if found else None


def numbers(stage: Stage) -> list[str]:
    return snap_start.versions(stage.aws, stage.settings().lambdas)


def statements(stage: Stage, alias: str = "") -> int:
    return len(functions.policy(stage.aws, stage.settings().lambdas, alias))


def is_served(stage: Stage, pool_id: str) -> bool:
    """Whether a sign-up of the pool reaches a function that is there and that the pool may call."""
    arn = str(stage.described(pool_id)["LambdaConfig"]["PostConfirmation"])
    way = snap_start.ALIAS if arn.endswith(f":{snap_start.ALIAS}") else ""
    if way:
        stage.client("lambda").get_function(FunctionName=arn)  # raises where there is none
    return attach.statement(stage.aws, stage.settings().lambdas, attach.sid(pool_id), way) is not None


def drift(stage: Stage, pool_id: str) -> list[str]:
    """Return what lambda.status says of alias, snapshot, trigger and permission."""
    found = status.facts(stage.settings(), stage.aws, pool_id)
    return [
        one.part for one in found.drift if one.part in ("alias", "snapshot", "trigger", "permission", "configuration")
    ]


def test_on_then_on_again_then_changed_then_off(on: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pool_id = on.make_pool()
    assert on.deploy(dry_run=True)[-3:] == ["function", "version", "alias"]
    said = capsys.readouterr()
    assert re.search(r"SnapStart costs about 1\.98 USD a month for each version .* and 2 are", said.err)
    assert "after 14 days without a sign-up" in said.err
    assert on.cloud.writes == ["CreateUserPool"]
    done: list[str] = []
    said_before = said_first(on.cloud, capsys, lambda: done.extend(on.deploy()))
    assert re.search(r"SnapStart costs about 1\.98 USD a month for each version .* and 2 are", said_before)
    assert done[-3:] == ["function", "version", "alias"]
    assert on.attach(pool_id) == ["permission", "trigger"]
    assert on.described(pool_id)["LambdaConfig"]["PostConfirmation"].endswith(f":function:{NAME}:live")
    assert (statements(on), statements(on, "live")) == (0, 1)
    on.cloud.forget()
    assert (on.deploy(), on.attach(pool_id), on.cloud.writes) == ([], [], [])
    found = status.facts(on.settings(), on.aws, pool_id)
    assert (found.version, found.snapshot, found.permission) == ("1", "Active", True)
    assert found.alias == found.trigger
    assert drift(on, pool_id) == []

    for memory in ("1024", "768"):
        assert on.deploy({"memory_mb": memory})[:3] == ["configuration", "version", "alias"]
    assert numbers(on) == ["3", "2"]  # the one before stays for calls that began there, the one before that goes
    assert alias(on)["FunctionVersion"] == "3"  # type: ignore[index]

    on.config = {**OFF, "memory_mb": "768"}
    assert drift(on, pool_id) == ["configuration", "alias", "trigger"]
    capsys.readouterr()
    assert on.deploy() == ["configuration", "alias"]
    assert "inv lambda.attach for each leads them to the function itself" in capsys.readouterr().err
    assert alias(on)["FunctionVersion"] == "$LATEST"  # type: ignore[index]
    assert is_served(on, pool_id)
    plan = Plan(write=False)
    attach.attach(on.settings(), on.aws, on.pool(pool_id), plan, replace=False)
    assert on.attach(pool_id) == plan.changed == ["permission", "trigger", "permission", "version", "version", "alias"]
    assert (alias(on), numbers(on), statements(on)) == (None, [], 1)
    assert on.described(pool_id)["LambdaConfig"]["PostConfirmation"].endswith(f":function:{NAME}")
    assert drift(on, pool_id) == []
    on.cloud.forget()
    assert (on.deploy(), on.attach(pool_id), on.cloud.writes) == ([], [], [])


@pytest.mark.slow
def test_cut_at_any_write_of_the_way_there_and_back_every_sign_up_is_served(stage: Stage) -> None:
    """A pool that calls the function is led to the alias, and back; wherever a run ends, its sign-ups reach what it may call.

    Each run begins where the one before was cut off. Of answers that are lost, tests/test_aws_cut.py sees what comes.
    """
    stage.deploy()
    pool_id = stage.make_pool()
    stage.attach(pool_id)
    for number in range(1, 9):  # of writes there are six on the way there, eight on the way back
        for config in (ON, OFF):
            stage.config = dict(config)
            stage.cloud.cut(number, "before")
            outcome(lambda: (stage.deploy(), stage.attach(pool_id)))
            stage.cloud.mend()
            assert is_served(stage, pool_id)
    for config, versions in ((ON, 1), (OFF, 0)):
        stage.config = dict(config)
        stage.deploy()
        assert is_served(stage, pool_id)
        stage.attach(pool_id)
        assert (drift(stage, pool_id), len(numbers(stage))) == ([], versions)


# --- who is in the way --------------------------------------------------------------------


def test_an_alias_of_somebody_elses_is_refused_and_taken_over_when_that_is_said(stage: Stage) -> None:
    stage.deploy()
    stage.client("lambda").create_alias(FunctionName=NAME, Name="live", FunctionVersion="$LATEST", Description="theirs")
    assert stage.deploy() == []  # of no interest without snapshots
    stage.config = dict(ON)
    stage.cloud.forget()
    with pytest.raises(
        Refused, match=r"the alias live of .* not made by inv: remove it, or inv lambda\.deploy --adopt"
    ):
        stage.deploy()
    with pytest.raises(Misconfigured, match=r"no alias live of ours.*inv lambda\.deploy makes it"):
        stage.attach(stage.make_pool())
    assert stage.cloud.writes == ["CreateUserPool"]
    assert drift(stage, "") == ["configuration", "alias"]
    assert stage.deploy(adopt=True) == ["configuration", "version", "alias"]
    assert drift(stage, "") == []


def test_a_pool_that_is_detached_calls_neither_and_the_whole_is_deleted(on: Stage) -> None:
    pools = [on.make_pool() for _ in range(2)]
    on.deploy()
    for pool_id in pools:
        on.attach(pool_id)
    assert on.detach(pools[0]) == ["trigger", "permission"]
    assert "LambdaConfig" not in on.described(pools[0])
    assert (alias(on) is None, statements(on, "live")) == (False, 1)
    delete.delete_all(on.settings(), on.aws, on.hands.clock, confirm=NAME)
    assert "LambdaConfig" not in on.described(pools[1])
    assert alias(on) is None


@pytest.mark.parametrize(
    ("has", "why"),
    [
        ({"FileSystemConfigs": [{"Arn": "a", "LocalMountPath": "/mnt/x"}]}, "a file system: take that off it"),
        ({"EphemeralStorage": {"Size": 513}}, "/tmp is above 512 MB: make it smaller"),
    ],
)
def test_a_function_of_which_aws_takes_no_snapshot_is_refused(on: Stage, has: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        snap_start.check(on.aws, on.settings().lambdas, {"Configuration": has}, adopt=False)


def test_a_python_of_which_aws_takes_no_snapshot_is_refused_before_anything(on: Stage) -> None:
    with pytest.raises(Misconfigured, match=r"no snapshot of python3\.11: set lambda\.python to 3\.12 or newer"):
        on.deploy({"python": "3.11"})
    assert on.cloud.calls == []


# --- fourteen days without a sign-up ------------------------------------------------------


def newest_version() -> Any:
    """Return moto's own newest version."""
    from moto.awslambda.utils import get_backend
    from moto.core.models import DEFAULT_ACCOUNT_ID

    backend: Any = get_backend(DEFAULT_ACCOUNT_ID, REGION)
    return backend._lambdas._functions[NAME]["versions"][-1]


def test_the_alias_moves_only_when_the_snapshot_is_there(on: Stage) -> None:
    on.deploy()
    led: list[str] = []

    def begin(call: Call) -> None:
        if call.writes and call.action.endswith("/versions"):
            newest_version().state = "Pending"

    def end(_: float) -> None:
        led.append(alias(on)["FunctionVersion"])  # type: ignore[index]
        newest_version().state = "Active"

    on.cloud.after, on.hands.then = begin, end
    assert on.deploy({"memory_mb": "1024"}) == ["configuration", "version", "alias"]
    assert (led, alias(on)["FunctionVersion"]) == (["1"], "2")  # type: ignore[index]


def test_the_alias_follows_when_the_functions_url_leads_another_way(on: Stage) -> None:
    on.deploy()
    through.point(on.aws, on.settings(), on.hands.clock, Way("elsewhere.example.com", 5433))
    called = snap_start.version(on.aws, on.settings().lambdas, "live")
    assert "@elsewhere.example.com:5433/" in functions.environment({"Configuration": called})["CONNECTION_URL"]
    assert drift(on, "") == []


def fall_asleep(stage: Stage) -> Any:
    """Have the newest version be Inactive, as AWS does after fourteen days; the call that is refused then wakes it."""
    newest = newest_version()
    newest.state = "Inactive"

    def refuse(call: Call) -> Any:
        if not call.action.endswith("/invocations") or newest.state == "Active":
            return None
        newest.state = "Active"
        return json_error("SnapStartNotReadyException", "Lambda is initializing your function.", "409 Conflict")

    stage.cloud.before = refuse
    return newest


def test_a_pool_that_saw_no_sign_up_for_two_weeks(on: Stage) -> None:
    pool_id = on.make_pool()
    on.deploy()
    on.attach(pool_id)
    newest = fall_asleep(on)
    found = status.facts(on.settings(), on.aws, pool_id)
    [one] = [one for one in found.drift if one.part == "snapshot"]
    assert (found.version, found.snapshot) == ("1", "Inactive")
    assert re.search(
        r"after 14 days without a sign-up.*sees an error and leaves no row.*inv lambda\.deploy calls it and waits",
        one.message,
    )
    with pytest.raises(
        InProgress, match=r"and makes one now: sign-ups fail until it is there; inv lambda\.deploy waits for that"
    ):
        invoke.invoke_in_aws(on.aws, on.settings(), {})
    assert drift(on, pool_id) == []
    on.cloud.forget()
    invoke.invoke_in_aws(on.aws, on.settings(), {})
    assert [call.params["Qualifier"] for call in on.cloud.calls if call.action.endswith("/invocations")] == ["live"]
    newest = fall_asleep(on)
    assert on.deploy(dry_run=True) == ["version"]
    assert newest.state == "Inactive"
    assert on.deploy() == ["version"]
    assert (newest.state, on.deploy(), numbers(on)) == ("Active", [], ["1"])


STATES: list[tuple[dict[str, Any], ...]] = [
    ({"State": "Pending"}, {"State": "Pending"}, {"State": "Active", "SnapStart": {"OptimizationStatus": "On"}}),
    ({"State": "Inactive"}, {"State": "Pending"}, {"State": "Active", "SnapStart": {"OptimizationStatus": "On"}}),
]


@pytest.mark.parametrize("states", STATES)
def test_a_snapshot_is_waited_for(
    made: Bare, states: tuple[dict[str, Any], ...], capsys: pytest.CaptureFixture[str]
) -> None:
    lam = made.settings().lambdas
    with Stubber(made.client("lambda")) as stub:
        for state in states:
            asked = {"FunctionName": NAME, "Qualifier": "7"}
            stub.add_response("get_function_configuration", state, asked)
            if state["State"] == "Inactive":
                stub.add_client_error("invoke", "SnapStartNotReadyException", expected_params={**asked, "Payload": ANY})
        snap_start.wait(made.aws, lam, "7", made.hands.clock)
        stub.assert_no_pending_responses()
    assert len(made.hands.slept) == 2
    assert "the snapshot of version 7 is being made" in capsys.readouterr().err


def test_what_comes_of_a_snapshot_that_is_not_made(made: Bare) -> None:
    lam = made.settings().lambdas
    failed = {"State": "Failed", "StateReasonCode": "FunctionError.InitTimeout", "StateReason": "too slow"}
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("get_function_configuration", failed)
        with pytest.raises(
            Problem, match=r"snapshot of version 7 .*FunctionError\.InitTimeout: too slow.*then inv lambda\.deploy"
        ):
            snap_start.wait(made.aws, lam, "7", made.hands.clock)
        for _ in range(302):
            stub.add_response("get_function_configuration", {"State": "Pending"})
        with pytest.raises(InProgress, match=r"not there after 5 minutes .*run this again to go on waiting"):
            snap_start.wait(made.aws, lam, "7", made.hands.clock)


def dropped(made: Bare, numbers: dict[str, str], live: str) -> list[str]:
    """Return which versions are dropped beside the live one, where these are there in these states."""
    with Stubber(made.client("lambda")) as stub:
        rows: Any = [{"Version": one, "Description": snap_start.MARK} for one in numbers]
        stub.add_response("list_versions_by_function", {"Versions": rows})
        for number in sorted(set(numbers) - {live}, key=int, reverse=True):
            asked = {"FunctionName": NAME, "Qualifier": number}
            stub.add_response("get_function_configuration", {"State": numbers[number]}, asked)
        return snap_start.superfluous(made.aws, made.settings().lambdas, live)


def test_the_live_version_and_the_newest_good_one_before_it_are_kept(made: Bare) -> None:
    every = {"1": "Active", "2": "Active", "3": "Inactive", "4": "Active", "5": "Failed"}
    assert dropped(made, every, "4") == ["5", "3", "1"]
    assert dropped(made, {"1": "Active", "2": "Active", "3": "Failed"}, "2") == ["3"]


@pytest.mark.parametrize("led", [True, False], ids=["of the alias", "beside it"])
def test_a_snapshot_that_failed_does_not_stay_the_only_one(on: Stage, *, led: bool) -> None:
    """The sandbox publishes nothing where nothing has changed, as AWS."""
    on.deploy()
    if not led:
        on.client("lambda").update_function_configuration(FunctionName=NAME, MemorySize=1024)
        on.client("lambda").publish_version(FunctionName=NAME, Description=snap_start.MARK)
    newest_version().state = "Failed"
    config = {} if led else {"memory_mb": "1024"}
    assert on.deploy(config)[:2] == ["version", "alias"]
    assert alias(on)["FunctionVersion"] == ("2" if led else "3")  # type: ignore[index]
    assert numbers(on) == (["2"] if led else ["3", "1"])
    assert on.deploy(config) == []


def test_who_else_may_call_the_alias_is_named_and_keeps_no_version(
    on: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    on.deploy()
    on.client("lambda").add_permission(
        FunctionName=NAME,
        Qualifier="live",
        StatementId="theirs",
        Action="lambda:InvokeFunction",
        Principal="123456789012",
    )
    on.config = dict(OFF)
    capsys.readouterr()
    assert on.deploy() == ["configuration", "alias", "version"]
    said = capsys.readouterr().err
    assert "theirs of somebody else's lets it be called; aws lambda remove-permission" in said
    assert "lambda.attach" not in said
    on.client("lambda").remove_permission(FunctionName=NAME, Qualifier="live", StatementId="theirs")
    assert on.deploy() == ["alias"]
    assert alias(on) is None


@pytest.mark.parametrize(
    ("state", "part", "says"),
    [
        ({"State": "Pending"}, "snapshot", "is being made: a sign-up is confirmed meanwhile, but"),
        (
            {"State": "Active", "Version": "$LATEST"},
            "alias",
            "leads to the function itself, of which there is no snapshot",
        ),
        (
            {"State": "Active", "SnapStart": {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}},
            "snapshot",
            "is not there, so it starts without one",
        ),
        ({"State": "Failed", "StateReasonCode": "X", "StateReason": "why"}, "snapshot", r"\(X: why\): mend that"),
    ],
)
def test_what_status_says_of_a_version(made: Bare, state: dict[str, Any], part: str, says: str) -> None:
    lam = replace(made.settings().lambdas, snap_start=True)
    with Stubber(made.client("lambda")) as stub:
        stub.add_response(
            "get_alias",
            {"AliasArn": "a:live", "FunctionVersion": state.get("Version", "7"), "Description": "inv lambda.deploy"},
        )
        if "Version" not in state:
            stub.add_response("get_function_configuration", state)
        found = status.look_at_alias(made.aws, lam, state)
    assert [(one.part, bool(re.search(says, one.message))) for one in found.drift] == [(part, True)]


# --- as the AWS CLI asks ------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_sent_is_what_the_aws_cli_sends(on: Stage) -> None:
    pytest.importorskip("awscli", reason="the AWS CLI is not installed: pip install -r requirements-dev.txt")
    pool_id = on.make_pool()
    arn, sid = on.described(pool_id)["Arn"], f"inv-{pool_id}"
    name = f"--function-name {NAME}"
    alias = f"{name} --name live --description 'inv lambda.deploy: what user pools call' --function-version"
    who = f"--source-arn {arn} --source-account {arn.split(':')[4]} --principal cognito-idp.amazonaws.com"
    permission = f"--statement-id {sid} --action lambda:InvokeFunction {who}"

    def sent() -> list[dict[str, Any]]:
        found = [typed.fields(call) for call in on.cloud.calls if call.writes and call.action != "UpdateUserPool"]
        on.cloud.forget()
        return found

    def as_typed(*commands: str) -> list[dict[str, Any]]:
        return [typed.ask(on.cloud, f"lambda {command}", {}) for command in commands]

    publish = f"publish-version {name} --description 'inv lambda.deploy'"
    on.deploy()
    assert sent()[-2:] == as_typed(publish, f"create-alias {alias} 1")
    on.attach(pool_id)
    assert sent() == as_typed(f"add-permission {name} --qualifier live {permission}")
    on.deploy({"memory_mb": "1024"})
    assert sent() == as_typed(
        f"update-function-configuration {name} --memory-size 1024",
        publish,
        f"update-alias {alias} 2 --routing-config AdditionalVersionWeights={{}}",
    )
    on.config = {**OFF, "memory_mb": "1024"}
    on.deploy()
    on.attach(pool_id)
    assert sent() == as_typed(
        f"update-function-configuration {name} --snap-start ApplyOn=None",
        f"update-alias {alias} '$LATEST' --routing-config AdditionalVersionWeights={{}}",
        f"add-permission {name} {permission}",
        f"remove-permission {name} --qualifier live --statement-id {sid}",
        f"delete-function {name} --qualifier 2",
        f"delete-function {name} --qualifier 1",
        f"delete-alias {name} --name live",
    )


# --- in the sandbox of a snapshot ---------------------------------------------------------

FROZEN = """
import json, os, sys
from functions.post_confirmation import handler
links = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{one}")]
assert not [one for one in links if one.startswith("socket:")], links
assert handler.SNAPSHOT and handler.database.connection is None
print("ready", flush=True)
for line in sys.stdin:
    handler.handler(json.loads(line), None)
"""


def test_nothing_is_open_when_the_snapshot_is_taken_and_a_restored_one_stores(function: Users) -> None:
    """A process that is stopped and goes on is the nearest that a machine without Firecracker has to a snapshot."""
    environ = {**os.environ, "CONNECTION_URL": function.url, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN], cwd=SUITE, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        process.send_signal(signal.SIGCONT)
        print(json.dumps(event(1)), file=process.stdin, flush=True)
        told = json.loads(process.stdout.readline())
        process.stdin.close()
    assert told["outcome"] == "inserted", told


def test_the_start_before_the_snapshot_is_not_taken_off_cognitos_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []

    def seen(_: object, since: float) -> float:
        spent.append(since)
        return 0.0

    monkeypatch.setattr(handler, "SNAPSHOT", True)
    monkeypatch.setattr(handler, "starting", time.monotonic() - 3)
    monkeypatch.setattr(handler, "allowed", seen)
    monkeypatch.setattr(handler.Database, "within", lambda *_: None)
    for _ in range(2):
        handler.handler(event(1), None)
    assert spent == [handler.COLD, float("inf")]


class Giver(http.server.BaseHTTPRequestHandler):
    """Lambda's own answer to a function that asks for its role's keys."""

    answer: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        known = (self.path, self.headers["Authorization"]) == ("/keys?of=it", "a word")
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(self.answer if known else b"no")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def giver() -> Iterator[dict[str, str]]:
    with http.server.HTTPServer(("127.0.0.1", 0), Giver) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield {iam.GIVER: f"http://127.0.0.1:{server.server_port}/keys?of=it", iam.WORD: "a word"}
        server.shutdown()


def test_the_keys_of_a_role_are_asked_for_where_a_snapshot_has_none(giver: dict[str, str]) -> None:
    of_the_snapshot = {**giver, "AWS_ACCESS_KEY_ID": "expired", "AWS_SECRET_ACCESS_KEY": "expired"}
    Giver.answer = json.dumps({"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": "x"}).encode()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert iam.keys(of_the_snapshot) == keys
    assert iam.keys(keys) is keys
    for answer, environ, why in (
        (b"{}", giver, "KeyError"),
        (b"[]", giver, "TypeError"),
        (b"no", giver, "JSONDecodeError"),
        (b"{}", {**giver, iam.WORD: "another"}, "JSONDecodeError"),
        (b"{}", {iam.GIVER: "http://127.0.0.1:1/"}, "ConnectionRefusedError"),
        (b"{}", {iam.GIVER: "http://127.0.0.1:x/"}, "ValueError"),
    ):
        Giver.answer = answer
        with pytest.raises(iam.Unsigned, match=rf"Lambda gives no keys of the role \({why}\)"):
            iam.keys(environ)
