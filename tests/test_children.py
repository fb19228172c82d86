"""What is started and lives on knows nothing of who started it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.targets.embedded import state
from tests import forked
from tests.fix_cli import Cli
from tests.servers import free_port

SECRETS = (
    "POSTGRES_MASTER_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "PGPASSWORD",
    "GITHUB_TOKEN",
    "WHATEVER_ELSE",
)
PROC = Path("/proc")
if not PROC.is_dir():
    pytest.skip("this system shows no environment of a process in /proc", allow_module_level=True)


@pytest.fixture(autouse=True)
def served() -> None:
    """Have what forks `inv` begin before there is a secret: it would have its environment from the first call."""
    forked.server_for({**os.environ})


@pytest.fixture
def canary() -> str:
    """A secret of this test's own: others run beside it."""
    return f"canary-{secrets.token_hex(8)}"


@pytest.fixture
def logins(canary: str) -> dict[str, str]:
    return {**dict.fromkeys(SECRETS, canary), "PROD_CONNECTION_URL": f"postgresql://u:{canary}@prod.invalid/cruddur"}


def knowing(canary: str) -> Iterator[str]:
    """Yield what each process is that has the canary, in its environment or its arguments."""
    for process in PROC.iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                line = (process / "cmdline").read_bytes()
                if canary.encode() in (process / "environ").read_bytes() + line:
                    yield line.decode(errors="replace").replace("\0", " ")


def test_what_lives_on_does_not_know_the_logins_of_who_started_it(
    inv: Cli, canary: str, logins: dict[str, str]
) -> None:
    inv.ok("db.setup", env=logins)
    assert list(knowing(canary)) == []
    url = inv.ok("db.url", "--show-password").strip()
    told = inv.ok(
        "db.connect",
        env={"CONNECTION_URL": url, **logins},
        stdin="create temp table e (l text); copy e from program 'env'; table e;",
    )
    assert "PATH=" in told
    assert canary not in told


def test_a_crash_leaves_no_image_of_what_holds_secrets(inv: Cli) -> None:
    asked = ("sh", "-c", 'ulimit -c unlimited 2>/dev/null && "$@"', "-")
    if subprocess.run([*asked, "true"], check=False).returncode:
        pytest.skip("nobody may have an image of what crashes here")
    argv = [*asked, sys.executable, "-m", "invoke", "db.setup"]
    done = subprocess.run(argv, cwd=inv.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    server = state.load(inv.root)
    assert server
    pid = (server.data / "postmaster.pid").read_text("utf-8").split()[0]
    assert re.search(r"^Max core file size +0 ", (PROC / pid / "limits").read_text("utf-8"), re.MULTILINE)


def test_the_feed_knows_the_one_login_that_it_is_given(
    inv: Cli, tmp_path: Path, canary: str, logins: dict[str, str]
) -> None:
    """gunicorn writes its name over its environment, so that what stands in for it tells."""
    inv.ok("db.setup")
    (tmp_path / "gunicorn.py").write_text("import json, os; print(json.dumps(dict(os.environ)))", encoding="utf-8")
    env = {**logins, "DB_POOL_TIMEOUT": "3.25", "PYTHONPATH": str(tmp_path), "INVOKE_APP_PORT": str(free_port())}
    told = json.loads(inv.ok("app.run", env=env))
    assert canary not in str(told)
    assert told["DB_POOL_TIMEOUT"] == "3.25"
    assert told["CONNECTION_URL"].startswith("postgresql://")


def test_the_sandbox_knows_none(inv: Cli, canary: str, logins: dict[str, str]) -> None:
    try:
        done = inv("sandbox.up", env=logins, timeout=120)
        assert "AWS_ENDPOINT_URL" in done.stdout, done.stderr
        assert list(knowing(canary)) == []
    finally:
        inv("sandbox.down", timeout=120)
