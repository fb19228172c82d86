"""The function's login by token: without a password anywhere, and from one way to the other without a sign-up missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ops.lambdas import delete, role, status
from ops.rds import connect_policy
from tests.fix_aws import Killed, outcome
from tests.fix_cli import SUITE
from tests.fix_lambda import NAME, Stage

LOGIN = """
select rolpassword is null as bare, pg_has_role(oid, 'rds_iam', 'usage') as by_token from pg_authid where rolname = 'lambda_signup'
"""


def declare(stage: Stage, way: str) -> None:
    """Write sql/roles.yaml with this way in for the function."""
    text = (SUITE / "sql" / "roles.yaml").read_text(encoding="utf-8")
    head, mark, tail = text.partition("    name: lambda_signup\n")
    (stage.root / "sql" / "roles.yaml").write_text(head + mark + tail.replace("login: token", f"login: {way}", 1))


@pytest.fixture
def by_token(stage: Stage) -> Iterator[Stage]:
    """The stage, with an instance that takes tokens; its server knows rds_iam, as RDS's do."""
    stage.client("rds").modify_db_instance(
        DBInstanceIdentifier="cruddur-db-instance", EnableIAMDatabaseAuthentication=True
    )
    stage.database.do("create role rds_iam nologin", "postgres")
    declare(stage, "token")
    stage.cloud.forget()
    yield stage
    stage.cloud.mend()
    stage.database.do("drop role rds_iam", "postgres")


def policy(stage: Stage) -> dict[str, Any] | None:
    iam = stage.client("iam")
    try:
        found: dict[str, Any] = iam.get_role_policy(RoleName=stage.name, PolicyName=role.DATABASE_POLICY)
    except iam.exceptions.NoSuchEntityException:
        return None
    return dict(found["PolicyDocument"])


def login(stage: Stage) -> dict[str, Any]:
    [row] = stage.database.query(LOGIN)
    return row


def gets_in(stage: Stage) -> bool:
    """Whether a sign-up is stored just now, by the function as it is: with its password, or by a token once the database wants one."""
    url, by_token = stage.url(), login(stage)["by_token"]
    if by_token:  # with a password or without, the function that is here signs one, if its role may
        return policy(stage) is not None
    return bool(conninfo_to_dict(url).get("password")) and stage.lets_in(url)


def test_a_function_by_token_has_no_password_and_the_right_for_its_user_alone(
    by_token: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "role's policy for the database" in by_token.deploy(dry_run=True)
    assert by_token.cloud.writes == []
    parts = by_token.deploy()
    assert parts[3] == "security group"
    assert {"role's policy for the database", "database login"} <= set(parts)
    url = conninfo_to_dict(by_token.url())
    assert (url["user"], url.get("password"), url["sslmode"]) == ("lambda_signup", None, "verify-full")
    assert login(by_token) == {"bare": True, "by_token": True}
    [row] = by_token.client("rds").describe_db_instances()["DBInstances"]
    assert policy(by_token) == connect_policy.document(row, "lambda_signup")
    by_token.cloud.forget()
    assert by_token.deploy() == []
    assert by_token.cloud.writes == []
    found = status.facts(by_token.settings(), by_token.aws, "")
    assert [str(one) for one in found.drift] == []
    assert found.login is None
    declare(by_token, "password")
    assert "signs tokens, lambda_signup is to have a password" in str(
        status.facts(by_token.settings(), by_token.aws, "").drift[0]
    )
    declare(by_token, "token")
    by_token.client("iam").delete_role_policy(RoleName=NAME, PolicyName=role.DATABASE_POLICY)
    drift = status.facts(by_token.settings(), by_token.aws, "").drift
    assert [one.part for one in drift] == ["role_policy_for_database"]
    capsys.readouterr()
    delete.delete_all(by_token.settings(), by_token.aws, by_token.hands.clock, confirm=NAME)
    said = capsys.readouterr()
    assert "revoke rds_iam from lambda_signup;\ngrant lambda_signup to current_user;" in said.err
    assert "removed   role:" in said.out


@pytest.mark.parametrize("lacks", ["iam_auth", "rds_iam"])
def test_an_instance_that_takes_no_tokens_gets_a_password(
    by_token: Stage, capsys: pytest.CaptureFixture[str], lacks: str
) -> None:
    if lacks == "iam_auth":
        name = "cruddur-db-instance"
        by_token.client("rds").modify_db_instance(DBInstanceIdentifier=name, EnableIAMDatabaseAuthentication=False)
    else:
        by_token.database.do("alter role rds_iam rename to elsewhere", "postgres")
    by_token.deploy()
    assert by_token.lets_in(by_token.url())
    assert policy(by_token) is None
    assert "lambda_signup gets a password" in capsys.readouterr().err
    if lacks == "rds_iam":
        by_token.database.do("alter role elsewhere rename to rds_iam", "postgres")


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("how", ["before", "lost"])
@pytest.mark.parametrize("way", ["token", "password"])
def test_from_one_way_to_the_other_cut_at_any_write_of_awss(by_token: Stage, way: str, how: str) -> None:
    other = "password" if way == "token" else "token"
    number = 0
    while True:
        number += 1
        declare(by_token, other)
        by_token.deploy()
        declare(by_token, way)
        assert gets_in(by_token)
        reached = by_token.cloud.cut(number, how)
        outcome(by_token.deploy)
        by_token.cloud.mend()
        assert gets_in(by_token), number
        by_token.deploy()
        assert gets_in(by_token)
        assert bool(conninfo_to_dict(by_token.url()).get("password")) is (way == "password")
        assert login(by_token) == {"bare": way == "token", "by_token": way == "token"}
        assert (policy(by_token) is not None) is (way == "token")
        by_token.cloud.forget()
        assert by_token.deploy() == []
        if not reached():
            break
    assert number == 3  # the policy and the environment, in this order or the other; and once without a cut


@pytest.mark.parametrize("way", ["token", "password"])
def test_from_one_way_to_the_other_killed_at_any_statement(
    by_token: Stage, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    declare(by_token, "password" if way == "token" else "token")
    by_token.deploy()
    execute, done = psycopg.Connection.execute, [0]

    def killed(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        result = execute(self, query, *args, **kwargs)
        text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        if text.startswith("alter role"):
            done[0] += 1
            if done[0] == 1:
                raise Killed
        return result

    monkeypatch.setattr(psycopg.Connection, "execute", killed)
    declare(by_token, way)
    failed = outcome(by_token.deploy)
    assert failed
    assert failed.code == 137
    assert gets_in(by_token)
    by_token.deploy()
    assert gets_in(by_token)
    assert login(by_token) == {"bare": way == "token", "by_token": way == "token"}
    assert by_token.deploy() == []


def test_the_policy_is_the_template_filled_in() -> None:
    text = json.loads((SUITE / "config" / "policies" / "connect.json").read_text(encoding="utf-8"))
    row = {"DBInstanceArn": "arn:aws:rds:REGION:ACCOUNT:db:x", "DbiResourceId": "DB-RESOURCE-ID"}
    assert connect_policy.document(row, "USER") == text
