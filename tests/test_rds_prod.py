"""Production asked from RDS: the endpoint, the secret read at use, TLS verified in full."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from config.targets import Target, ca_bundle, resolve
from ops.errors import InProgress, LoginFailed, Misconfigured, Problem
from ops.rds import create, prod
from ops.targets import identity, opening
from tests.fix_aws import Call, Configure, Front, Hands
from tests.fix_suppliers import Database

HOST = "cruddur-db-instance.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"


@pytest.fixture
def made(cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Front:
    """An instance as a clone that has no variables for it finds it."""
    settings = configure(PROD_DB_SSLROOTCERT="/none.pem")
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    settings.vars.env_file.unlink()
    monkeypatch.setattr(prod, "Aws", cloud.aws)
    return cloud


def asked(settings: Settings) -> Target:
    return opening.resolve_target(settings, "prod")


@pytest.fixture
def no_fetch(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    fetched: list[Settings] = []
    monkeypatch.setattr("ops.rds.ca.fetch", fetched.append)
    return fetched


def test_with_nothing_configured_rds_tells_all_of_it(
    made: Front, configure: Configure, no_fetch: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    """The secret is moto's own: user admin, one fixed password."""
    settings = configure()
    target = asked(settings)
    assert (target.name, target.host, target.port, target.dbname) == ("prod", HOST, 5432, "cruddur")
    assert target.params["user"] == "admin"
    assert len(target.password) > 8
    assert target.params["sslmode"] == "verify-full"
    assert target.params["sslrootcert"] == str(ca_bundle(settings.root))
    assert no_fetch == [settings]
    assert target.password not in "".join(capsys.readouterr())
    assert [
        p for p in settings.root.rglob("*") if p.is_file() and target.password in p.read_text(errors="replace")
    ] == []


def test_the_saved_endpoint_is_enough(made: Front, configure: Configure, no_fetch: list[Settings]) -> None:
    assert asked(configure(PROD_DB_ENDPOINT=HOST)).params["user"] == "admin"


def test_the_endpoint_of_another_instance_is_not_answered_with_this_ones_secret(
    made: Front, configure: Configure
) -> None:
    with pytest.raises(Misconfigured, match=r"POSTGRES_MASTER_PASSWORD beside PROD_DB_ENDPOINT.*is another one"):
        asked(configure(PROD_DB_ENDPOINT="other.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"))
    assert "GetSecretValue" not in [call.action for call in made.calls]


def test_address_and_certificates_come_from_the_variables(
    made: Front, configure: Configure, no_fetch: list[Settings], tmp_path: Path
) -> None:
    own = str(tmp_path / "own.pem")
    target = asked(configure(PROD_DB_HOSTADDR="127.0.0.1", PROD_DB_SSLROOTCERT=own))
    assert (target.params["hostaddr"], target.params["sslrootcert"]) == ("127.0.0.1", own)
    assert no_fetch == []


def test_variables_that_name_all_of_it_ask_nobody(made: Front, configure: Configure) -> None:
    made.forget()
    asked(configure(PROD_CONNECTION_URL="postgresql://u:Xq7Zw9Kv@db.example.com/cruddur"))
    parts = {"POSTGRES_MASTER_USERNAME": "u", "POSTGRES_MASTER_PASSWORD": "Xq7Zw9Kv"}
    asked(configure(PROD_DB_ENDPOINT="db.example.com", **parts))
    assert made.calls == []


def test_a_local_act_never_asks_aws(made: Front, configure: Configure, one: Database) -> None:
    made.forget()
    with opening.open_target(
        configure(CONNECTION_URL=one.target(dbname="postgres1").url(show_password=True)), "", "t", writes=True
    ):
        pass
    assert made.calls == []


def test_no_instance_no_login_and_no_region_say_what_to_set(
    cloud: Front, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        Misconfigured, match=r"prod is not configured.*there is no instance cruddur-db-instance.*rds\.create"
    ):
        asked(configure())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(Misconfigured, match=r"prod is not configured.*RDS was not asked: no AWS login"):
        asked(configure())
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(Misconfigured, match=r"prod is not configured.*RDS was not asked: no AWS region"):
        asked(configure())


def test_an_endpoint_that_is_not_there_yet_is_exit_3(
    made: Front, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto always has an Endpoint; AWS leaves it out while creating."""
    creating = {"DBInstanceIdentifier": "cruddur-db-instance", "DBInstanceStatus": "creating"}
    monkeypatch.setattr("ops.rds.instance.find_instance", lambda *_: creating)
    with pytest.raises(InProgress, match="is creating, its address is not known yet"):
        asked(configure())


def test_a_secret_that_is_refused_is_one_line(made: Front, configure: Configure) -> None:
    made.before = lambda call: denied() if call.action == "GetSecretValue" else None
    from ops.cli import translate

    with pytest.raises(Exception, match="AccessDenied") as caught:
        asked(configure())
    exit = translate(caught.value)
    assert exit is not None
    assert "AWS does not permit GetSecretValue: ask for the rights in config/policies" in str(exit.message)


def denied() -> tuple[str, bytes]:
    return "400 Bad Request", json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()


# --- the connection ---------------------------------------------------------------------


@pytest.fixture
def behind(made: Front, configure: Configure, one: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The instance's name leads to a real server, whose login the secret holds."""
    held = {"username": one.server.params["user"], "password": one.server.params["password"]}
    secrets = [held]
    monkeypatch.setattr("tests.test_rds_prod.SECRETS", secrets)

    def answer(call: Call) -> Any:
        if call.action != "GetSecretValue":
            return None
        current = secrets.pop(0) if len(secrets) > 1 else secrets[0]
        return "200 OK", json.dumps({"SecretString": json.dumps(current)}).encode()

    made.before = answer
    # the embedded server has no TLS; tests of the sandbox go through verify-full
    config = {"db": {"name": one.name}}
    environ = {"PROD_DB_HOSTADDR": "127.0.0.1", "PROD_DB_SSLMODE": "disable"}
    return load(config, {**os.environ, **environ}, one.root)


SECRETS: list[dict[str, str]] = []


@pytest.fixture
def real_port(made: Front, one: Database) -> None:
    """moto echoes the port that was asked for at creation."""
    from moto.rds.models import rds_backends

    backend = rds_backends["123456789012"]["ca-central-1"]
    backend.databases["cruddur-db-instance"].port = one.server.port


def test_the_first_task_that_may_write_stamps_the_database(behind: Settings, real_port: None, one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    for writes in (False, True, True):
        with opening.open_target(behind, "prod", "db.create", writes=writes) as at:
            assert str(at.prod) == "the target says so"
        comment = one.scalar(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
        )
        assert comment == (identity.STAMP if writes else None)  # to look changes nothing


def test_a_database_that_is_not_there_yet_is_not_stamped(behind: Settings, real_port: None) -> None:
    with opening.open_target(behind, "prod", "db.status") as at:
        assert at.database() is None


def test_a_password_that_has_just_rotated_is_read_anew_once(behind: Settings, real_port: None, made: Front) -> None:
    SECRETS.insert(0, {**SECRETS[0], "password": "of-last-week"})
    made.forget()
    with opening.open_target(behind, "prod", "db.status"):
        pass
    assert [call.action for call in made.calls].count("GetSecretValue") == 2


def test_a_password_that_stays_wrong_is_said_after_one_more_look(
    behind: Settings, real_port: None, made: Front
) -> None:
    SECRETS[0] = {**SECRETS[0], "password": "of-last-week"}
    made.forget()
    with (
        pytest.raises(LoginFailed, match=r"refused, also read anew.*rds.rotate-password"),
        opening.open_target(behind, "prod", "t"),
    ):
        pass
    assert [call.action for call in made.calls].count("GetSecretValue") == 2


OWN = {"POSTGRES_MASTER_USERNAME": "postgres", "POSTGRES_MASTER_PASSWORD": "of-nobody-at-all"}


def with_own(settings: Settings, **changed: str) -> Settings:
    """Return settings whose variables name host and login."""
    values = {**settings.vars.environ, "PROD_DB_ENDPOINT": HOST, **OWN, **changed}
    return load(settings.config, values, settings.root)


def test_an_own_password_beside_one_that_rds_keeps_gives_way_to_the_secret(
    behind: Settings, real_port: None, one: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(one.server.port)
    with opening.open_target(with_own(behind, POSTGRES_PORT=port), "prod", "t") as at:
        assert at.target.source == prod.BY_RDS
    said = capsys.readouterr().err
    assert "RDS keeps the password of cruddur-db-instance, POSTGRES_MASTER_PASSWORD is not it: unset it" in said
    assert "of-nobody-at-all" not in said


def test_an_own_password_that_is_wrong_names_the_variables_and_not_the_host(
    behind: Settings, real_port: None, made: Front, one: Database
) -> None:
    """An instance whose password is the user's: RDS has no other."""
    from moto.rds.models import rds_backends

    database = rds_backends["123456789012"]["ca-central-1"].databases["cruddur-db-instance"]
    database.update(manage_master_user_password=False)
    settings = with_own(behind, POSTGRES_PORT=str(one.server.port))
    with (
        pytest.raises(
            LoginFailed,
            match="wrong user or password: correct POSTGRES_MASTER_USERNAME and POSTGRES_MASTER_PASSWORD",
        ),
        opening.open_target(settings, "prod", "t"),
    ):
        pass


def test_a_wrong_login_to_another_server_of_rds_is_not_mended_by_this_instances_secret(
    made: Front, configure: Configure
) -> None:
    error = LoginFailed("wrong user or password")
    other = "other.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"
    settings = with_own(configure(), PROD_DB_ENDPOINT=other)
    target = resolve(settings, "prod")
    assert target is not None
    with pytest.raises(LoginFailed) as caught:
        prod.read_login_again(settings, target, error)
    assert caught.value is error
    assert "GetSecretValue" not in [call.action for call in made.calls]


def test_a_wrong_url_is_the_users_to_correct(made: Front, configure: Configure) -> None:
    made.forget()
    error = LoginFailed("wrong user or password")
    with pytest.raises(LoginFailed) as caught:
        prod.read_login_again(configure(), Target("prod", "PROD_CONNECTION_URL", {"host": HOST, "dbname": "c"}), error)
    assert caught.value is error
    assert made.calls == []


def test_create_says_that_an_own_password_is_not_the_one_that_rds_keeps(
    made: Front, configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configure(POSTGRES_MASTER_PASSWORD="of-nobody-at-all", PROD_DB_SSLROOTCERT="/none.pem")
    create.create_or_resume(settings, made.aws(settings), hands.clock, adopt=False)
    assert "POSTGRES_MASTER_PASSWORD is another one: unset it" in capsys.readouterr().err
    assert "PROD_CONNECTION_URL" not in configure().vars.saved


@pytest.mark.parametrize("held", ["not json", "{}", "[]"])
def test_a_secret_that_holds_something_else_is_one_line(made: Front, configure: Configure, held: str) -> None:
    made.before = lambda call: (
        ("200 OK", json.dumps({"SecretString": held}).encode()) if call.action == "GetSecretValue" else None
    )
    with pytest.raises(Problem, match="does not hold a user and a password"):
        asked(configure())


# --- TLS --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "mode", "own"),
    [
        ("postgresql://u:Xq7Zw9Kv@x.rds.amazonaws.com/c", "verify-full", True),
        ("postgresql://u:Xq7Zw9Kv@X.RDS.amazonaws.com./c", "verify-full", True),
        ("postgresql://u:Xq7Zw9Kv@x.rds.amazonaws.com/c?sslmode=verify-ca", "verify-ca", True),
        ("postgresql://u:Xq7Zw9Kv@x.rds.amazonaws.com/c?sslmode=require", "require", False),
        ("postgresql://u:Xq7Zw9Kv@x.rds.amazonaws.com/c?sslmode=disable", "disable", False),
        ("postgresql://u:Xq7Zw9Kv@x.rds.amazonaws.com.evil.example/c", None, False),
        ("postgresql://u:Xq7Zw9Kv@db.example.com/c", None, False),
        ("postgresql://u:Xq7Zw9Kv@db.example.com/c?sslmode=verify-full", "verify-full", False),
    ],
)
@pytest.mark.parametrize("variable", ["PROD_CONNECTION_URL", "CONNECTION_URL", "CONNECTION_LOCAL_DOCKER_URL"])
def test_rds_is_verified_in_full_whatever_the_variable(
    root: Path, url: str, mode: str | None, own: bool, variable: str
) -> None:
    name = {"PROD_CONNECTION_URL": "prod", "CONNECTION_URL": "local"}.get(variable, "docker")
    target = resolve(load({}, {variable: url}, root), name)
    assert target is not None
    assert target.params.get("sslmode") == mode
    assert target.params.get("sslrootcert") == (str(ca_bundle(root)) if own else None)
