"""Cut off at any write, whether in AWS or in the database, the tasks converge when they are run again."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ops.lambdas import delete
from tests.fix_aws import Call, Killed, error, outcome
from tests.fix_lambda import NAME, Stage, unsign
from tests.test_lambda_pool import FULL


def door(stage: Stage) -> list[str]:
    """Return the groups that are let in at the instance's."""
    [group] = stage.client("ec2").describe_security_groups(GroupNames=["door"])["SecurityGroups"]
    return [pair["GroupId"] for permission in group["IpPermissions"] for pair in permission["UserIdGroupPairs"]]


def own(stage: Stage) -> list[str]:
    """Return the function's own security groups."""
    groups = stage.client("ec2").describe_security_groups()["SecurityGroups"]
    return [group["GroupId"] for group in groups if group["GroupName"] == f"lambda-{stage.name}"]


def roles(stage: Stage) -> list[str]:
    return [row["RoleName"] for row in stage.client("iam").list_roles()["Roles"] if row["RoleName"] == stage.name]


def whole(stage: Stage) -> None:
    """See that there is one of each, and that the function can log in."""
    assert roles(stage) == [stage.name]
    [group] = own(stage)
    assert door(stage).count(group) == 1
    have = stage.function()["Configuration"]
    client = stage.client("lambda")
    versions = client.list_layer_versions(LayerName=f"{stage.name}-psycopg")["LayerVersions"]
    assert [version["LayerVersionArn"] for version in versions] == [one["Arn"] for one in have["Layers"]]
    [logs] = stage.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{stage.name}")["logGroups"]
    assert logs["retentionInDays"] == 14
    assert stage.lets_in(stage.url())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "lost"])
def test_deploy_cut_at_any_write_and_run_again_leaves_one_of_each(stage: Stage, how: str) -> None:
    number = 0
    while True:
        number += 1
        stage.name = f"f-{number}"
        unsign(stage.database)
        reached = stage.cloud.cut(number, how)
        failed = outcome(stage.deploy)
        stage.cloud.mend()
        stage.deploy()
        whole(stage)
        if not reached():
            assert failed is None
            break
        # an answer that was lost may be taken for what it is
        assert failed is None or failed.code == 1
    assert number == 10  # role 3, group, rule, layer, logs 2, function; and once without a cut


def test_deploy_killed_at_any_statement_to_the_database(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies right after the server has carried a statement out, committed or not."""
    execute = psycopg.Connection.execute
    done = number = 0

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = execute(self, query, *args, **kwargs)
        text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        if "lambda_signup" in text and text.startswith(("create", "alter", "revoke", "grant")):
            done += 1
            if done == number:
                raise Killed
        return result

    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    for number in (1, 2, 3):
        done = 0
        failed = outcome(stage.deploy)
        assert (failed is not None) == (number < 3)
        if number < 3:
            assert stage.database.scalar("select count(*) from pg_roles where rolname = 'lambda_signup'") == 0
    whole(stage)


def test_deploy_killed_between_the_database_and_the_function(stage: Stage) -> None:
    """Of a new password, nobody knows where the run ended before the function had it: another is made."""
    stage.deploy()
    stage.database.do("alter role lambda_signup password 'another'")
    stage.cloud.cut(1, "before")
    failed = outcome(stage.deploy)
    assert failed
    assert failed.code == 1
    assert not stage.lets_in(stage.url())
    stage.cloud.mend()
    assert stage.deploy() == ["database login", "configuration"]
    assert stage.lets_in(stage.url())


@pytest.mark.parametrize("how", ["before", "lost"])
def test_attach_and_detach_cut_at_any_write(stage: Stage, how: str) -> None:
    stage.deploy()
    number = 0
    while True:
        number += 1
        stage.cloud.mend()
        pool_id = stage.make_pool(**FULL)
        before = stage.described(pool_id)
        reached = stage.cloud.cut(number, how)
        outcome(lambda: (stage.attach(pool_id), stage.detach(pool_id)))  # noqa: B023 - called at once
        stage.cloud.mend()
        stage.attach(pool_id)
        stage.detach(pool_id)
        assert stage.described(pool_id) == before
        with pytest.raises(stage.client("lambda").exceptions.ResourceNotFoundException):
            stage.client("lambda").get_policy(FunctionName=NAME)
        if not reached():
            break
    assert number == 5  # the permission and the trigger, there and back


@pytest.mark.spread(most=2)
@pytest.mark.slow
@pytest.mark.parametrize("how", ["lost", "before"])
def test_delete_cut_at_any_write_and_run_again_leaves_nothing(stage: Stage, how: str) -> None:
    def end() -> None:
        settings = stage.settings(AWS_COGNITO_USER_POOL_ID=pool_id)
        delete.delete_all(settings, stage.aws, stage.hands.clock, confirm=stage.name)

    number = 0
    while True:
        number += 1
        stage.name = f"f-{number}"
        stage.deploy()
        pool_id = stage.make_pool()
        before = stage.described(pool_id)
        stage.attach(pool_id)
        reached = stage.cloud.cut(number, how)
        outcome(end)
        stage.cloud.mend()
        end()
        assert stage.described(pool_id) == before
        with pytest.raises(stage.client("lambda").exceptions.ResourceNotFoundException):
            stage.function()
        assert (roles(stage), own(stage), door(stage)) == ([], [], [])
        if not reached():
            break
    assert number == 9  # trigger, permission, function, rule, group, role 3


@pytest.mark.slow
def test_an_answer_that_was_lost_is_no_failure_when_botocore_repeats_the_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write is carried out twice: the second finds it done."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(stage.cloud, "clients", {})
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    lost: set[str] = set()

    def lose(call: Call) -> Any:
        if not call.writes or call.action in {"CreateUserPool", *lost}:  # that one is the test's own
            return None
        lost.add(call.action)
        return error("InternalFailure", "503 Service Unavailable")

    stage.cloud.after = lose
    stage.deploy()
    whole(stage)
    pool_id = stage.make_pool()
    stage.attach(pool_id)
    stage.detach(pool_id)
    delete.delete_all(stage.settings(), stage.aws, stage.hands.clock, confirm=stage.name)
    assert (roles(stage), own(stage), door(stage)) == ([], [], [])
    assert len(lost) == 18
