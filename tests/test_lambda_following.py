"""The function's login by token follows its instance's name from one id to another, and nobody else's does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from config.settings import Settings
from config.sign_up import ROLE
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.cloud.policies import listed
from ops.lambdas import role
from ops.lambdas.following import follow
from ops.rds import connect_policy
from tests.fix_aws import Configure, Front, error
from tests.fix_lambda import NAME, role_by_token

PREFIX = "arn:aws:rds-db:ca-central-1:123456789012:dbuser:"


def instance(name: str) -> Row:
    return {
        "DBInstanceIdentifier": name,
        "DBInstanceArn": f"arn:aws:rds:ca-central-1:123456789012:db:{name}",
        "DbiResourceId": f"db-{name.upper()}",
    }


OLD, NEW, ELSEWHERE = instance("old"), instance("new"), instance("elsewhere")
PROXY = {"DBInstanceArn": OLD["DBInstanceArn"], "DbiResourceId": "prx-1"}


@pytest.fixture
def settings(configure: Configure) -> Settings:
    return configure()


@pytest.fixture
def aws(cloud: Front, settings: Settings) -> Aws:
    made = cloud.aws(settings)
    role_by_token(made, settings, OLD)
    cloud.forget()
    return made


def right(aws: Aws) -> list[str]:
    """Return whom the function is let into."""
    given = role.inner(aws.client("iam"), NAME, role.DATABASE_POLICY)
    return [connect_policy.id_of(one) for one in listed(given["Statement"][0]["Resource"])] if given else []


def give(aws: Aws, *rows: Any) -> None:
    text = json.dumps(connect_policy.document(rows[0], ROLE, *rows[1:]))
    aws.client("iam").put_role_policy(RoleName=NAME, PolicyName=role.DATABASE_POLICY, PolicyDocument=text)


def test_into_both_and_then_into_the_new_one_as_lambda_deploy_would_have_it(
    aws: Aws, settings: Settings, cloud: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    give(aws, OLD, PROXY)
    steps: list[tuple[list[Row], list[str]]] = [
        ([OLD, NEW], ["db-OLD", "db-NEW", "prx-1"]),
        ([NEW], ["db-NEW", "prx-1"]),
    ]
    for rows, then in steps:
        follow(settings, aws, rows, [])
        assert right(aws) == then
        said = capsys.readouterr().err
        assert f"{NAME} may log in by token to {' and '.join(row['DBInstanceIdentifier'] for row in rows)} now" in said
        cloud.forget()
        follow(settings, aws, rows, [])
        assert (cloud.writes, capsys.readouterr().err) == ([], "")
    given = role.inner(aws.client("iam"), NAME, role.DATABASE_POLICY)
    assert given == connect_policy.document(NEW, ROLE, PROXY)
    assert given["Statement"][0]["Resource"][0] == f"{PREFIX}db-NEW/{ROLE}"


@pytest.mark.parametrize("held", [[ELSEWHERE], [], None], ids=["elsewhere", "by password", "no role"])
def test_a_function_that_does_not_log_in_there_by_token_stays_as_it_is(
    aws: Aws, settings: Settings, cloud: Front, capsys: pytest.CaptureFixture[str], held: Sequence[Any] | None
) -> None:
    capsys.readouterr()
    iam = aws.client("iam")
    if held:
        give(aws, *held)
    else:
        iam.delete_role_policy(RoleName=NAME, PolicyName=role.DATABASE_POLICY)
    if held is None:
        iam.delete_role(RoleName=NAME)
    cloud.forget()
    follow(settings, aws, [OLD, NEW], [])
    follow(settings, aws, [NEW], [OLD])
    assert (cloud.writes, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize("why", ["theirs", "GetRolePolicy", "PutRolePolicy"])
def test_what_may_not_be_changed_is_said_and_holds_up_nothing(
    aws: Aws, settings: Settings, cloud: Front, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    if why == "theirs":
        aws.client("iam").untag_role(RoleName=NAME, TagKeys=["ManagedBy"])
    else:
        cloud.before = lambda call: error("AccessDenied") if call.action == why else None
    follow(settings, aws, [OLD, NEW], [])
    cloud.mend()
    assert right(aws) == ["db-OLD"]
    [said] = [line for line in capsys.readouterr().err.splitlines() if "is not seen to" in line]
    assert said.startswith(f"note: whether {NAME} may log in by token to old and new is not seen to (")
    assert said.endswith("): inv lambda.deploy does it")


@pytest.mark.parametrize("why", ["GetRolePolicy", "PutRolePolicy"])
def test_what_was_refused_before_the_exchange_is_mended_after_it(
    aws: Aws, settings: Settings, cloud: Front, why: str
) -> None:
    give(aws, OLD, PROXY)
    cloud.before = lambda call: error("AccessDenied") if call.action == why else None
    follow(settings, aws, [OLD, NEW], [])
    cloud.mend()
    follow(settings, aws, [NEW], [OLD])
    assert right(aws) == ["db-NEW", "prx-1"]
