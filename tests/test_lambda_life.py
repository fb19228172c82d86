"""status, invoke, logs, layer and delete: what is shown, what is sent, and what stays."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import time
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from botocore.stub import ANY, Stubber

from config.settings import load
from config.targets import Target
from ops import console
from ops.errors import Misconfigured, Problem, Refused
from ops.lambdas import delete, function, invoke, local, logs, publish, role, sign_ups, status
from ops.lambdas.package import archive, function_code, layer
from ops.lambdas.plan import Plan
from ops.lambdas.runtime_api import Answer
from ops.postgres import environment
from ops.targets.embedded import binaries
from tests.fix_aws import LOGIN, Front
from tests.fix_cli import Cli, lines_of
from tests.fix_lambda import HOST, NAME, Stage
from tests.fix_people import event
from tests.fix_suppliers import Database
from tests.servers import Server

ARN = f"arn:aws:lambda:ca-central-1:123456789012:function:{NAME}"


def facts(stage: Stage, pool_id: str = "", config: dict[str, str] | None = None) -> status.Status:
    return status.facts(stage.settings(config), stage.aws, pool_id)


def drift(stage: Stage, pool_id: str = "") -> str:
    """Return what is not as it was made, a line each."""
    return "\n".join(one.message for one in facts(stage, pool_id).drift)


@pytest.fixture
def deployed(stage: Stage) -> Stage:
    stage.deploy()
    stage.cloud.forget()
    return stage


# --- status -------------------------------------------------------------------------------


def test_status_shows_no_drift_after_deploy_and_attach(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    deployed.attach(pool_id)
    deployed.cloud.forget()
    shown = facts(deployed, pool_id)
    assert shown.drift == []
    assert (shown.trigger, shown.permission, shown.runtime_ends_on) == (ARN, True, date(2029, 6, 30))
    assert (shown.login, shown.login_note) == ("lets_in", None)
    assert (
        shown.database
        == f"postgresql://lambda_signup:****@{HOST}:{deployed.database.server.port}/{deployed.database.name}?sslmode=verify-full"
    )
    assert deployed.cloud.writes == []


def test_status_names_each_drift_and_what_to_do(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    client = deployed.client("lambda")
    newer = published(deployed, "psycopg for python3.13 x86_64, sha256:other")
    ec2 = deployed.client("ec2")
    [door] = ec2.describe_security_groups(GroupNames=["door"])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=door["GroupId"], IpPermissions=door["IpPermissions"])
    deployed.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{NAME}")
    client.update_function_code(FunctionName=NAME, ZipFile=b"other")
    client.update_function_configuration(
        FunctionName=NAME,
        Runtime="python3.9",
        Handler="x.y",
        Timeout=9,
        Environment={"Variables": {"CONNECTION_URL": "postgresql://root:Xq7Zw9Kv@elsewhere/cruddur"}},
    )
    told = drift(deployed, pool_id)
    for part in (
        "maintains python3.9 until 2025-12-15",
        "leads to elsewhere",
        "logs in as root",
        "Runtime is python3.9, and is to be python3.13: inv lambda.deploy puts it right",
        "Timeout is 9",
        "Handler is x.y",
        "the code is not what is here",
        f":1'], and is to be ['{newer}']",
        "rule would be created: sg-",
        f"logs would be created: /aws/lambda/{NAME}, kept 14 days",
        f"the pool {pool_id} calls nothing: inv lambda.attach sets the trigger",
    ):
        assert part in told, told
    assert "Xq7Zw9Kv" not in told
    for version in (1, 2):
        client.delete_layer_version(LayerName=f"{NAME}-psycopg", VersionNumber=version)
    client.update_function_configuration(
        FunctionName=NAME,
        Environment={"Variables": {"THEIR_KEY": "Xq7Zw9Kv"}},
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
    )
    told = drift(deployed)
    assert f"{NAME}-psycopg has no version for python3.13 on x86_64: inv lambda.deploy publishes it" in told
    assert "CONNECTION_URL is missing" in told
    assert "THEIR_KEY" not in told
    assert "VpcConfig is {'SubnetIds': [], 'SecurityGroupIds': []}, and is to be {'SubnetIds': ['subnet-" in told


def test_status_shows_what_there_is_none_of(deployed: Stage, inv: Cli) -> None:
    variables = {name: deployed.settings().vars.get(name) for name in (*LOGIN, "AWS_ENDPOINT_URL")}
    done = inv("lambda.status", env=variables)
    assert done.returncode == 0, done.stderr
    shown = dict(re.split(r" {2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert (shown["trigger"], shown["drift"][:4], shown["ours"]) == ("none", "none", "yes")
    assert "no user pool is named (AWS_COGNITO_USER_POOL_ID)" in done.stderr


def published(stage: Stage, description: str) -> str:
    made = stage.client("lambda").publish_layer_version(
        LayerName=f"{NAME}-psycopg", Content={"ZipFile": b"zip"}, Description=description
    )
    return str(made["LayerVersionArn"])


def test_status_compares_what_deploy_compares(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever deploy would change, status names; and it prints nothing beside its result."""
    iam, client = deployed.client("iam"), deployed.client("lambda")
    have = deployed.function()["Configuration"]
    hand = iam.create_role(RoleName="hand", AssumeRolePolicyDocument=json.dumps(role.TRUST))["Role"]["Arn"]
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(role.TRUST).replace("lambda.", "ec2."))
    iam.detach_role_policy(RoleName=NAME, PolicyArn=role.basic(deployed.aws))
    iam.delete_role_policy(RoleName=NAME, PolicyName=role.VPC_POLICY)
    vpc = {"SubnetIds": have["VpcConfig"]["SubnetIds"][:1], "SecurityGroupIds": have["VpcConfig"]["SecurityGroupIds"]}
    client.update_function_configuration(FunctionName=NAME, Role=hand, VpcConfig=vpc, Layers=[])
    capsys.readouterr()
    deployed.cloud.forget()
    told = drift(deployed)
    assert deployed.cloud.writes == []
    assert capsys.readouterr().out == ""
    for part in (
        f"role would be updated: {NAME} trusts lambda.amazonaws.com; inv lambda.deploy puts it right",
        "role's policy for logs would be created: AWSLambdaBasicExecutionRole",
        "role's policy for the VPC would be created",
        f"Role is {hand}, and is to be {have['Role']}",
        f"VpcConfig is {{'SubnetIds': ['{vpc['SubnetIds'][0]}'], ",
        f"Layers is [], and is to be ['{have['Layers'][0]['Arn']}']",
    ):
        assert part in told, told
    deployed.deploy()
    assert facts(deployed).drift == []
    iam.untag_role(RoleName=NAME, TagKeys=["ManagedBy"])
    assert "inv lambda.deploy --adopt takes it over" in drift(deployed)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("alter role lambda_signup password 'another'", "refuses the password or the role of the function"),
        ("alter role lambda_signup nologin", "refuses the password or the role of the function"),
        ("revoke select on users from lambda_signup", "lambda_signup lacks SELECT (cognito_user_id, handle) on public"),
        (
            "revoke insert on users from lambda_signup; grant insert (handle, cognito_user_id) on users to lambda_signup",
            "lambda_signup lacks INSERT (display_name, email) on public.users",
        ),
        (
            "alter table users add number serial",
            "lambda_signup lacks USAGE on public.users_number_seq",
        ),
        ("revoke all on schema public from public, lambda_signup", "lambda_signup lacks USAGE on schema public"),
        ("do $$ begin execute format('revoke all on database %I from public, lambda_signup', current_database()); end $$",
         "lambda_signup may not connect to the database t"),
    ],
)  # fmt: skip
def test_status_tries_the_login_and_deploy_puts_right_what_it_lacks(deployed: Stage, fault: str, said: str) -> None:
    deployed.database.do(fault)
    told = drift(deployed).splitlines()
    assert any(said in line and line.endswith(": inv lambda.deploy puts it right") for line in told), told
    assert not any(str(urlsplit(deployed.url()).password) in line for line in told)
    deployed.deploy()
    shown = facts(deployed)
    assert (shown.drift, shown.login) == ([], "lets_in")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("alter table users rename to people", "has no table public.users: inv db.setup -t prod"),
        ("alter table users drop email", "public.users has no column email: add it to sql/schema.sql, then inv db.setup"),
        ("", "the database is not there yet: inv db.setup -t prod"),
    ],
)  # fmt: skip
def test_status_sees_that_the_function_has_nowhere_to_write(deployed: Stage, fault: str, said: str) -> None:
    database = deployed.database
    database.do(fault or f'drop database "{database.name}" with (force)', None if fault else "postgres")
    [line] = drift(deployed).splitlines()
    assert said in line


def test_a_login_that_cannot_be_tried_from_here_is_no_drift_and_soon_given_up(deployed: Stage) -> None:
    """As before a closed door, which answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = deployed.client("lambda")
        url = deployed.url().replace(f":{deployed.database.server.port}/", f":{port}/")
        url += "&connect_timeout=600"
        client.update_function_configuration(FunctionName=NAME, Environment={"Variables": {"CONNECTION_URL": url}})
        begun = time.monotonic()
        shown = facts(deployed)
        assert time.monotonic() - begun < 10
    assert (shown.drift, shown.login) == ([], None)
    assert "did not answer in time: open the door for this address (inv rds.allow-my-ip)" in (shown.login_note or "")


def test_a_newer_layer_for_another_runtime_is_no_drift(deployed: Stage) -> None:
    published(deployed, "psycopg for python3.12 x86_64, sha256:other")
    assert facts(deployed).drift == []


def test_status_sees_a_trigger_that_may_not_call_and_another_function_there(deployed: Stage) -> None:
    cognito = deployed.client("cognito-idp")
    pool_id = deployed.make_pool(LambdaConfig={"PostConfirmation": ARN})
    assert "sign-ups of" in drift(deployed, pool_id)
    cognito.update_user_pool(UserPoolId=pool_id, LambdaConfig={"PostConfirmation": f"{ARN}x"})
    assert "inv lambda.attach --replace" in drift(deployed, pool_id)
    assert "no user pool" in drift(deployed, "ca-central-1_None")


def test_status_without_instance_or_role(deployed: Stage) -> None:
    deployed.client("rds").delete_db_instance(DBInstanceIdentifier="cruddur-db-instance", SkipFinalSnapshot=True)
    iam = deployed.client("iam")
    iam.detach_role_policy(RoleName=NAME, PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")
    iam.delete_role_policy(RoleName=NAME, PolicyName="vpc-access")
    iam.delete_role(RoleName=NAME)
    told = drift(deployed)
    assert "there is no instance cruddur-db-instance" in told
    assert f"role would be created: {NAME}; inv lambda.deploy puts it right" in told


def test_status_of_nothing_says_what_makes_it(stage: Stage) -> None:
    with pytest.raises(Problem, match=r"no function .*: inv lambda\.deploy makes it"):
        facts(stage)


# --- invoke -------------------------------------------------------------------------------

DEPLOYED: dict[str, Any] = {"Configuration": {"FunctionName": NAME}}


def test_invoke_prints_the_answer_and_the_end_of_the_log(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    import base64

    with Stubber(stage.client("lambda")) as stub:
        stub.add_response("get_function", DEPLOYED)
        answer = {"Payload": io.BytesIO(b'{"a": 1}'), "LogResult": base64.b64encode(b"one\ntwo").decode()}
        wanted = {"FunctionName": NAME, "Payload": b'{"x": 1}', "LogType": "Tail"}
        stub.add_response("invoke", answer, wanted)
        capsys.readouterr()  # that AWS is asked elsewhere is said once
        assert invoke.invoke_in_aws(stage.aws, stage.settings(), {"x": 1}) == {"a": 1}
    assert lines_of(capsys.readouterr().err) == ["one", "two"]


@pytest.mark.parametrize("payload", [b'{"errorMessage": "it broke"}', b'"it broke"'])
def test_a_function_that_fails_is_exit_1_with_its_reason(stage: Stage, payload: bytes) -> None:
    with Stubber(stage.client("lambda")) as stub:
        stub.add_response("get_function", DEPLOYED)
        stub.add_response(
            "invoke",
            {"FunctionError": "Unhandled", "Payload": io.BytesIO(payload)},
            {"FunctionName": ANY, "Payload": ANY, "LogType": ANY},
        )
        with pytest.raises(Problem, match=r"failed \(Unhandled\): it broke"):
            invoke.invoke_in_aws(stage.aws, stage.settings(), {})


def test_there_is_nothing_to_invoke_before_it_is_deployed(stage: Stage) -> None:
    with pytest.raises(Problem, match=r"no function .*: inv lambda\.deploy makes it"):
        invoke.invoke_in_aws(stage.aws, stage.settings(), {}, made_up=True)
    with pytest.raises(
        Problem, match=r"its login is not known: inv lambda\.deploy makes it, or name a database by --target"
    ):
        invoke.invoke_here(stage.settings(), stage.aws, "", {})


def test_an_event_is_a_file_a_sample_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke.event("")["triggerSource"] == "PostConfirmation_ConfirmForgotPassword"
    assert invoke.event("sign-up")["triggerSource"] == "PostConfirmation_ConfirmSignUp"
    path = tmp_path / "e.json"
    path.write_text('{"mine": 1}')
    assert invoke.event(str(path)) == {"mine": 1}
    monkeypatch.setattr("sys.stdin", io.StringIO('{"typed": 1}'))
    assert invoke.event("-") == {"typed": 1}
    with pytest.raises(Misconfigured, match=r"--event nothing: no such file, and no sample: federated"):
        invoke.event("nothing")
    path.write_text("{")
    with pytest.raises(Misconfigured, match="no event in JSON"):
        invoke.event(str(path))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", False),
        ("forgot-password", False),
        ("-", False),
        ("mine.json", False),
        ("sign-up", True),
        ("hostile", True),
        (str(function_code.EVENTS / "federated.json"), True),
        (str(function_code.EVENTS / "forgot-password.json"), False),
    ],
)
def test_a_sample_that_adds_its_user_is_known_also_by_its_path(given: str, expected: bool) -> None:
    assert invoke.is_sample(given) == expected


def send(stage: Stage, event: str, confirm: str = "", *, local: bool = False, target: str = "") -> Any:
    """Send an event as the task does; here with the time that a start takes on a busy machine."""
    how: dict[str, Any] = {"made_up": invoke.is_sample(event), "confirm": confirm}
    if local:
        return invoke.invoke_here(
            stage.settings({"timeout_seconds": "60"}), stage.aws, target, invoke.event(event), **how
        ).returned
    return invoke.invoke_in_aws(stage.aws, stage.settings(), invoke.event(event), **how)


@pytest.mark.parametrize("how", [{}, {"local": True}, {"local": True, "target": "prod"}], ids=str)
def test_nobody_made_up_comes_into_production_unconfirmed(
    deployed: Stage, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, asked = deployed.database.name, list[str]()

    def typed(question: str) -> str:
        asked.append(question)
        return "no"

    deployed.cloud.forget()
    with pytest.raises(Refused, match=f"nothing was done.* add --confirm {name}$") as refused:
        send(deployed, "sign-up", **how)
    assert HOST in str(refused.value)
    with pytest.raises(Refused, match=f"--confirm cruddur is not the name of this database, which is {name}: nothing"):
        send(deployed, "sign-up", "cruddur", **how)
    monkeypatch.setattr(console, "interactive", lambda: True)
    monkeypatch.setattr(console, "ask", typed)
    with pytest.raises(Refused, match="the name does not match: nothing was done"):
        send(deployed, "sign-up", **how)
    assert len(asked) == 1
    assert "type the database's name" in asked[0].lower()
    assert deployed.cloud.writes == []
    assert deployed.database.scalar("select count(*) from users") == 0


def test_an_event_of_ones_own_and_a_confirmed_sample_are_stored(
    deployed: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "build", lambda *_: layer.build_here(tmp_path))
    monkeypatch.setattr(local, "COGNITO", 60)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(event(7)))
    send(deployed, str(own), local=True)
    send(deployed, "sign-up", deployed.database.name, local=True)
    handles = deployed.database.query("select handle from users order by 1")
    assert [row["handle"] for row in handles] == ["andrewbrown", "handle7"]
    send(deployed, "", local=True)  # adds nobody, and so asks nobody


def test_a_log_that_tells_of_no_failure_is_no_failure() -> None:
    logs = ("plain text", "[1]", '{"outcome": "inserted"}')
    invoke.check_stored(Answer({}, logs, 0.1))
    with pytest.raises(Problem, match="stored nothing: no psycopg"):
        invoke.check_stored(Answer({}, (*logs, '{"outcome": "failed", "reason": "no psycopg"}'), 0.1))


# --- logs ---------------------------------------------------------------------------------


def test_logs_follow_prints_each_event_once(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    import time

    client, group = deployed.client("logs"), f"/aws/lambda/{NAME}"
    client.create_log_stream(logGroupName=group, logStreamName="s")

    def put(text: str) -> None:
        event = {"timestamp": int(time.time() * 1000), "message": text + "\n"}
        client.put_log_events(logGroupName=group, logStreamName="s", logEvents=[event])

    console.hide("Xq7Zw9Kv")
    put("one Xq7Zw9Kv")
    more = iter(["two", "three"])

    def sleep(seconds: float) -> None:
        assert seconds == logs.POLL
        text = next(more, "")
        if not text:
            raise KeyboardInterrupt
        put(text)

    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        logs.show(deployed.aws, deployed.settings(), 60, follow=True, sleep=sleep)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 3)[3] for line in printed] == ["one ****", "two", "three"]
    logs.show(deployed.aws, deployed.settings(), 60, follow=False)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_logs_with_nothing_in_them_say_so(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    logs.show(deployed.aws, deployed.settings(), 60, follow=False)
    shown = capsys.readouterr()
    assert (shown.out, "nothing in the last 60 minutes" in shown.err) == ("", True)


def test_logs_that_are_not_there_say_what_makes_them(stage: Stage) -> None:
    with pytest.raises(Problem, match=r"no logs .*inv lambda\.deploy"):
        logs.show(stage.aws, stage.settings(), 60, follow=False)


# --- sign-ups -----------------------------------------------------------------------------


def line_of(outcome: str, **more: object) -> str:
    """Return what the handler prints of a sign-up."""
    about = {
        "function": "post_confirmation",
        "outcome": outcome,
        "sub": "CANARY",
        "changed": [],
        "attempts": 1,
        "ms": 12,
    }
    return json.dumps({**about, **more}) + "\n"


def test_sign_ups_are_counted_by_their_days(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Days are those of UTC, from the first millisecond to the last; what else stands in the log is no sign-up."""
    now = datetime.now(timezone.utc)
    day = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    events = [
        (day - 86_400_001, line_of("inserted")), (day - 86_400_000, line_of("inserted")), (day - 1, line_of("present")),
        (day - 1, line_of("inserted")), (day, line_of("failed", error="UniqueViolation", sqlstate="23505", reason="taken")),
        (day, '{"function": "other", "outcome": "failed"}'), (day, "START"), (day, '{"function": "post_confirmation"}'), (day, "[1]"),
    ]  # fmt: skip
    client, group = deployed.client("logs"), f"/aws/lambda/{NAME}"
    client.create_log_stream(logGroupName=group, logStreamName="s")
    client.put_log_events(
        logGroupName=group, logStreamName="s", logEvents=[{"timestamp": at, "message": text} for at, text in events]
    )
    found = sign_ups.look(deployed.settings(), deployed.aws, 2)
    assert [(d.day_on, d.inserted, d.present, d.failed) for d in found.days] == [
        (now.date() - timedelta(days=1), 2, 1, 0),
        (now.date(), 0, 0, 1),
    ]
    assert [(each.error, each.sqlstate, each.reason) for each in found.failures] == [
        ("UniqueViolation", "23505", "taken")
    ]
    capsys.readouterr()
    sign_ups.show(deployed.settings(), deployed.aws, "3", json=False)
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + 3 + 1
    assert "failed: UniqueViolation 23505 taken" in told.out
    assert "CANARY" not in told.out
    assert "inv lambda.sync-users makes the rows that are missing" in told.err
    assert set(deployed.cloud.writes) <= {"CreateLogStream", "PutLogEvents"}


def test_days_that_cannot_be_read_in_time_or_are_not_kept_are_said(
    deployed: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [d.failed for d in sign_ups.look(deployed.settings(), deployed.aws, 16).days]
    assert days == [None] * 2 + [0] * 14
    monkeypatch.setattr(sign_ups, "LIMIT", -1.0)
    assert [d.failed for d in sign_ups.look(deployed.settings(), deployed.aws, 3).days] == [None] * 3


def test_many_days_are_few_requests_and_a_full_page_makes_them_fewer_days(
    deployed: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90 days at five requests a second would be 18 s; each sign-up is counted once, on its day, however the days are asked for."""
    now = datetime.now(timezone.utc)
    noon = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    client, group = deployed.client("logs"), f"/aws/lambda/{NAME}"
    client.create_log_stream(logGroupName=group, logStreamName="s")
    for ago in range(13, -1, -1):
        events = [{"timestamp": noon - ago * 86_400_000, "message": line_of("inserted")}] * (ago + 1)
        client.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    asked: list[int] = []
    pages = logs.pages

    def counted(*args: Any, **more: Any) -> Any:
        asked.append(round((more["endTime"] - args[2]) / 86_400_000))
        return pages(*args, **more)

    monkeypatch.setattr(logs, "pages", counted)
    found = sign_ups.look(deployed.settings(), deployed.aws, 14)
    assert [each.inserted for each in found.days] == list(range(14, 0, -1))
    assert asked == [1, 2, 4, 7]
    asked.clear()
    monkeypatch.setattr(logs, "pages", lambda *args, **more: counted(*args, **more, PaginationConfig={"PageSize": 10}))
    found = sign_ups.look(deployed.settings(), deployed.aws, 14)
    assert [each.inserted for each in found.days] == list(range(14, 0, -1))
    assert asked == [1, 2, 4, 2, 1, 2, 1, 1]


# --- the layer ----------------------------------------------------------------------------


def test_the_same_layer_is_published_once(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lam = stage.settings().lambdas
    one = archive.write({"python/a.py": b"1"}, tmp_path / "a.zip")
    other = archive.write({"python/a.py": b"2"}, tmp_path / "b.zip")
    first = publish.ensure_layer(stage.aws, lam, one, Plan())
    second = publish.ensure_layer(stage.aws, lam, other, Plan())
    assert (first[-2:], second[-2:]) == (":1", ":2")
    stage.cloud.forget()
    assert publish.ensure_layer(stage.aws, lam, one, Plan()) == first
    assert stage.cloud.writes == []
    assert [version["Version"] for version in publish.versions(stage.aws, lam)] == [2, 1]
    assert one.sha256 in publish.versions(stage.aws, lam)[1]["Description"]


# --- delete -------------------------------------------------------------------------------


def end(stage: Stage, confirm: str = NAME, **environ: str) -> None:
    delete.delete_all(stage.settings(None, **environ), stage.aws, stage.hands.clock, confirm=confirm)


def test_delete_detaches_first_and_says_what_stays(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pool_id, other = deployed.make_pool(), deployed.make_pool()
    before = deployed.described(pool_id)
    for each in (pool_id, other):
        deployed.attach(each)
    deployed.cloud.forget()
    end(deployed)  # the pools are known by the function's own policy
    writes = deployed.cloud.writes
    assert writes.count("UpdateUserPool") == 2
    assert writes.index(f"DELETE /2015-03-31/functions/{NAME}") > max(
        i for i, w in enumerate(writes) if w == "UpdateUserPool"
    )
    assert deployed.described(pool_id) == before
    said = capsys.readouterr().err
    stays = f"what stays: the logs /aws/lambda/{NAME}, the versions of the layer {NAME}-psycopg"
    assert f"{stays}, the rows in {deployed.database.name}\n" in said
    assert "the role lambda_signup stays, too." in said
    deployed.cloud.forget()
    end(deployed)
    assert deployed.cloud.writes == []
    said = capsys.readouterr().err
    assert f"{stays}\n" in said
    assert "lambda_signup" not in said


def test_delete_of_nothing_says_that_nothing_is_there(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    end(stage)  # where AWS is asked is said with the first call of each kind
    capsys.readouterr()
    end(stage)
    shown = capsys.readouterr()
    assert {line.split()[0] for line in shown.out.splitlines()} == {"unchanged"}
    assert all("not there" in line for line in shown.out.splitlines())
    assert lines_of(shown.err) == []


@pytest.mark.parametrize("kept", [True, False])
def test_the_lines_that_drop_the_login_do_so_for_the_one_who_deployed_it(
    supplier: Server, database: Database, kept: bool
) -> None:
    """No superuser, as on RDS: rights in two databases stand in the way of DROP ROLE, and a right to take them away is wanted."""
    name, master = database.name, f"{database.name}_master"
    database.do("drop role if exists lambda_signup", "postgres")
    database.do(f"create role {master} login createrole createdb password 'Xq7Zw9Kv'", "postgres")
    params = {**supplier.params, "user": master, "password": "Xq7Zw9Kv"}
    try:
        with psycopg.connect(**params, dbname="postgres", autocommit=True) as conn:  # type: ignore[arg-type]
            for suffix in ("", "__prev")[: 1 + kept]:
                conn.execute(f'create database "{name}{suffix}"'.encode())
            conn.execute("create role lambda_signup login password 'x'")
        for suffix in ("", "__prev")[: 1 + kept]:
            with psycopg.connect(**params, dbname=name + suffix) as conn:  # type: ignore[arg-type]
                conn.execute("create schema own; create table own.users (id serial, handle text)")
                conn.execute("grant select, insert on own.users to lambda_signup")
                conn.execute("grant usage on sequence own.users_id_seq to lambda_signup")
                conn.execute(f'grant connect on database "{name}{suffix}" to lambda_signup'.encode())
        lines = delete.statements_to_drop(name, by_token=False)
        lines = lines if kept else lines[:2] + lines[4:]
        psql = binaries.psql()
        assert psql
        env = environment(Target("local", "", {**params, "dbname": name}), task="test")
        call = [psql[0], "--no-psqlrc", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(call, input="\n".join(lines), env=env, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert database.scalar("select count(*) from pg_roles where rolname = 'lambda_signup'", "postgres") == 0
    finally:
        for suffix in database.names():
            database.do(f"reassign owned by {master} to current_user; drop owned by {master}", name + suffix)
        database.do(f"drop role {master}", "postgres")


def test_delete_wants_the_name(deployed: Stage) -> None:
    with pytest.raises(Refused, match=f"add --confirm {NAME}"):
        end(deployed, "")
    with pytest.raises(Refused, match="is not this function"):
        end(deployed, "cruddur")
    assert deployed.cloud.writes == []


def test_delete_asks_a_person(deployed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "interactive", lambda: True)
    monkeypatch.setattr(console, "ask", lambda _: "no")
    with pytest.raises(Refused, match="does not match"):
        end(deployed, "")
    monkeypatch.setattr(console, "ask", lambda _: NAME)
    end(deployed, "")
    assert f"DELETE /2015-03-31/functions/{NAME}" in deployed.cloud.writes


def test_what_is_not_ours_is_not_deleted(deployed: Stage) -> None:
    deployed.client("iam").untag_role(RoleName=NAME, TagKeys=["ManagedBy"])
    deployed.client("lambda").untag_resource(Resource=ARN, TagKeys=["ManagedBy"])
    with pytest.raises(Refused, match=r"not made by inv: inv lambda\.deploy --adopt"):
        end(deployed)
    deployed.client("lambda").tag_resource(Resource=ARN, Tags={"ManagedBy": "inv"})
    end(deployed)
    assert deployed.client("iam").get_role(RoleName=NAME)


def test_a_role_that_serves_others_too_stays_with_all_that_is_theirs(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was made by hand and taken over by --adopt."""
    iam = stage.client("iam")
    theirs = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    trust = json.dumps(role.TRUST).replace("lambda.", "ec2.")
    own = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}}'
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=trust)
    iam.attach_role_policy(RoleName=NAME, PolicyArn=theirs)
    iam.put_role_policy(RoleName=NAME, PolicyName="own", PolicyDocument=own)
    stage.deploy(adopt=True)
    end(stage)
    assert [policy["PolicyArn"] for policy in iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]] == [
        theirs
    ]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == ["own"]
    assert f"{NAME} stays, because it serves others too ({theirs}, own, ec2.amazonaws.com)" in capsys.readouterr().out
    stage.cloud.forget()
    end(stage)
    assert stage.cloud.writes == []
    iam.detach_role_policy(RoleName=NAME, PolicyArn=theirs)
    iam.delete_role_policy(RoleName=NAME, PolicyName="own")
    end(stage)
    assert iam.get_role(RoleName=NAME)  # whom it trusts is left
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(role.TRUST))
    end(stage)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName=NAME)


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ({"Principal": {"Service": ["lambda.amazonaws.com"]}}, []),
        (
            {"Principal": {"Service": ["lambda.amazonaws.com", "edgelambda.amazonaws.com"]}},
            ["edgelambda.amazonaws.com"],
        ),
        ({"Principal": {"Service": "lambda.amazonaws.com", "AWS": "123456789012"}}, ["123456789012"]),
        ({"Principal": "*"}, ["*"]),
        ({"NotPrincipal": {"AWS": "123456789012"}}, ["NotPrincipal"]),
    ],
)
def test_who_may_take_a_role_besides_lambda(principal: dict[str, Any], expected: list[str]) -> None:
    assert role.others({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", **principal}}) == expected


def test_the_pools_of_a_policy_are_those_that_attach_let_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy is the user's own, too: keys in any case, lists of values, names that only look like ours."""
    arn = "arn:aws:cognito-idp:ca-central-1:123456789012:userpool/"
    policy = [
        {"Sid": "inv-ca-central-1_One", "Condition": {"ArnLike": {"aws:sourcearn": f"{arn}ca-central-1_One"}}},
        {"Sid": "inv-ca-central-1_Two", "Condition": {"ArnEquals": {"AWS:SourceArn": [f"{arn}ca-central-1_Two"]}}},
        {"Sid": "inv-ca-central-1_Three", "Condition": {"ArnNotLike": {"AWS:SourceArn": f"{arn}ca-central-1_Three"}}},
        {"Sid": "inv-any", "Condition": {"ArnLike": {"AWS:SourceArn": f"{arn}*"}}},
        {"Sid": "theirs", "Condition": {"ArnLike": {"AWS:SourceArn": f"{arn}ca-central-1_Four"}}},
        {"Sid": "inv-without"},
    ]
    monkeypatch.setattr(function, "policy", lambda *_: policy)
    assert delete.pools(stage.settings(), stage.aws, there=True) == ["ca-central-1_One", "ca-central-1_Two"]


def test_a_pool_that_is_gone_is_said(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    end(deployed, AWS_COGNITO_USER_POOL_ID="ca-central-1_None")
    assert "no user pool ca-central-1_None" in capsys.readouterr().err


def test_a_group_that_is_still_held_is_waited_for(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    from ops.errors import InProgress
    from tests.fix_aws import error

    deployed.cloud.before = lambda call: error("DependencyViolation") if call.action == "DeleteSecurityGroup" else None
    with pytest.raises(InProgress, match="still in use: run this again"):
        end(deployed)
    assert "waiting" in capsys.readouterr().err
    assert sum(deployed.hands.slept) == 79 * 15
    deployed.cloud.before = lambda _: None
    end(deployed)


# --- the command line ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lambda.attach", "no user pool: set AWS_COGNITO_USER_POOL_ID"),
        ("lambda.sync-users --pool nothing", "--pool: nothing is no id"),
        ("lambda.invoke --target local", "--target goes with --local"),
        ("lambda.invoke --local --event nothing", "--event nothing: no such file, and no sample"),
        ("lambda.sign-ups --days 91", "--days 91: give a whole number, 1 to 90"),
        ("lambda.logs --minutes soon", "--minutes soon: give a whole number"),
        ("lambda.status", "no AWS region: set AWS_DEFAULT_REGION"),
    ],
)
def test_what_is_given_wrong_is_one_line_and_exit_2(inv: Cli, line: str, message: str) -> None:
    region = {} if "region" in message else {"AWS_DEFAULT_REGION": "ca-central-1"}
    done = inv(*line.split(), env=region)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(lines_of(done.stderr)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "lambda.status",
        "lambda.logs",
        "lambda.sign-ups",
        "lambda.invoke",
        "lambda.invoke --local",
        "lambda.attach",
    ],
)
def test_before_the_function_is_deployed_each_task_says_so_with_the_same_code(
    cloud: Front, inv: Cli, line: str
) -> None:
    variables = {**LOGIN, "AWS_ENDPOINT_URL": cloud.url, "AWS_COGNITO_USER_POOL_ID": "ca-central-1_abcdefghi"}
    done = inv(*line.split(), env=variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"inv lambda\.deploy makes (it|them)", lines_of(done.stderr)[-1])


def test_a_local_database_needs_no_aws_and_no_roots_of_rds(inv: Cli) -> None:
    nowhere = {"INVOKE_RDS_CA_URL": "https://nowhere.invalid/roots.pem", "PROD_DB_SSLROOTCERT": "/no/such"}
    done = inv("lambda.invoke", "--local", "--event", "sign-up", "--target", "local", env=nowhere, timeout=120)
    assert (done.returncode, json.loads(done.stdout)["userName"] != "") == (1, True)  # there is no database yet
    assert done.stderr.splitlines()[-1].startswith("the function stored nothing: ")
    inv.ok("db.setup")
    done = inv("lambda.invoke", "--local", "--event", "sign-up", "--target", "local", env=nowhere, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"outcome": "inserted"' in done.stderr
    assert json.loads(done.stdout)["triggerSource"] == "PostConfirmation_ConfirmSignUp"
    assert not (inv.root / ".local" / "rds-ca.pem").exists()


# --- settings -----------------------------------------------------------------------------


def test_every_setting_that_cannot_be_meant_is_listed(tmp_path: Path) -> None:
    wrong = {"function": "a b", "timeout_seconds": "0", "memory_mb": "64", "log_days": "2", "wait_minutes": "x"}
    with pytest.raises(Misconfigured, match="5 faults") as caught:
        _ = load({"lambda": wrong}, {}, tmp_path).lambdas
    assert "lambda.memory_mb (INVOKE_LAMBDA_MEMORY_MB): 64 is not between 128 and 10240" in str(caught.value)
