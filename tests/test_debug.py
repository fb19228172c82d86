"""invoke's debug log: it shows what invoke does, and nothing that a library knows of secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from invoke.context import Context

from ops import cli
from tests.fix_aws import Front, error
from tests.fix_cli import Cli
from tests.fix_lambda import Stage

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-key",
    "AWS_SESSION_TOKEN": "canary-of-the-session",
    "POSTGRES_MASTER_PASSWORD": "canary-of-the-master",
    "CONNECTION_URL": "postgresql://someone:canary-of-the-url@127.0.0.1:1/cruddur",
}
VARIABLES = {**CANARIES, "INVOKE_RDS_CA_URL": "https://127.0.0.1:1/none.pem", "INVOKE_RDS_WAIT_MINUTES": "0.01"}
CLOUD = (("rds.create",), ("rds.status",), ("rds.endpoint",), ("rds.rules",), ("lambda.status",), ("lambda.logs",))
HERE = (("db.status",), ("db.setup",), ("db.query", "counts"), ("db.url",), ("env.show",))


@pytest.mark.parametrize("by", ["-d", "INVOKE_DEBUG"])
@pytest.mark.parametrize("task", [*CLOUD, *HERE], ids="".join)
def test_the_debug_log_holds_no_secret(cloud: Front, inv: Cli, task: tuple[str, ...], by: str) -> None:
    args, more = (("-d", *task), {}) if by == "-d" else (task, {by: "1"})
    done = inv(*args, env={**VARIABLES, **more})
    assert "invoke." in done.stderr  # it is on
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_a_new_password_is_not_in_the_debug_log(cloud: Front, inv: Cli) -> None:
    """AWS refuses it, after the request with it was made."""
    unset = {**VARIABLES, "POSTGRES_MASTER_PASSWORD": ""}
    (inv.root / ".env").write_text(f"POSTGRES_MASTER_PASSWORD={CANARIES['POSTGRES_MASTER_PASSWORD']}\n")
    inv("rds.create", env=unset)
    cloud.before = lambda call: error("InvalidDBInstanceState") if call.action == "ModifyDBInstance" else None
    done = inv("-d", "rds.rotate-password", env=unset)
    sent = [call.params["MasterUserPassword"] for call in cloud.calls if call.action == "ModifyDBInstance"]
    assert sent, done.stderr
    assert "invoke." in done.stderr
    for secret in (*sent, "canary"):
        assert secret not in done.stdout + done.stderr


@pytest.fixture
def debugging() -> Iterator[None]:
    """The levels as `inv -d` leaves them."""
    root, own = logging.getLogger(), logging.getLogger("invoke")
    before = root.level, own.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before[0])
    own.setLevel(before[1])


def test_the_login_of_a_function_is_not_in_the_debug_log(
    stage: Stage, debugging: None, caplog: pytest.LogCaptureFixture
) -> None:

    @cli.task()
    def deploy(c: Context) -> None:
        stage.deploy()
        logging.getLogger("invoke").debug("seen")

    deploy(Context())
    password = stage.url().partition("@")[0].rpartition(":")[2]
    assert "seen" in caplog.text
    assert password not in caplog.text
