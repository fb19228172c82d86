"""The sandbox: everything without an account, through real HTTP and a real database."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from ops.errors import Problem
from ops.sandbox import certificates, lifecycle, moto_server, shell, tls_proxy
from ops.targets import identity
from ops.targets.embedded import state
from tests import forked
from tests.fix_cli import SUITE, Cli, copy_suite

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")

INSTANCE = "cruddur-db-instance"
CA_URL = {"INVOKE_RDS_CA_URL": "https://127.0.0.1:1/none.pem"}  # nothing leaves this machine
# A shell that knows the real production, and leads the SDK elsewhere
REAL = {
    "PROD_CONNECTION_URL": "postgresql://real:secret@real.example/cruddur",
    "PROD_DB_ENDPOINT": "real.example",
    "PROD_DB_SOMETHING_NEW": "x",
    "POSTGRES_MASTER_USERNAME": "real",
    "POSTGRES_MASTER_PASSWORD": "secret",
    "DB_SG_ID": "sg-0123456789abcdef0",
    "DB_SG_RULE_ID": "sgr-0123456789abcdef0",
    "GITPOD_IP": "10.0.0.1",
    "CONNECTION_URL": "postgresql://real:secret@real.example/cruddur",
    "CONNECTION_LOCAL_DOCKER_URL": "postgresql://real:secret@real.example/cruddur",
    "AWS_COGNITO_USER_POOL_ID": "ca-central-1_Real",
    "AWS_USER_POOLS_ID": "ca-central-1_Real",
    "AWS_PROFILE": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_ENDPOINT_URL_RDS": "http://127.0.0.1:1",
}


def bash(root: Path, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run lines as a reader types them, in a shell with the environment activated."""
    env = {**os.environ, **CA_URL, **environ}
    return subprocess.run(
        ["bash", "-c", text],
        cwd=root,
        env={**env, "PATH": forked.path_of(text, env)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def writes(lines: list[str]) -> list[str]:
    return [line for line in lines if not re.match(r"\S+ (Describe|Get|List)", line)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A clone, at a path with a blank and an apostrophe, whose sandbox runs."""
    root = copy_suite(tmp_path_factory.mktemp("sandbox") / "it's a clone")
    yield Cli(root)
    bash(root, "inv sandbox.down")


def entered(box: Cli, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run lines in a shell that has entered the sandbox."""
    return bash(box.root, f'eval "$(inv sandbox.up)" && {text}', **environ)


def test_the_whole_chain_in_a_fresh_clone(tmp_path: Path) -> None:
    """Up, made, let in, attached, signed up, read: with the counts between the steps."""
    root = copy_suite(tmp_path / "clone")
    chain = f"""
        eval "$(inv sandbox.up)" && inv rds.create && : > .local/sandbox/calls.log && inv rds.create &&
        cp .local/sandbox/calls.log second-create && inv rds.allow-my-ip --ip 8.8.4.4 &&
        : > .local/sandbox/calls.log && inv rds.allow-my-ip --ip 8.8.4.4 && cp .local/sandbox/calls.log second-allow &&
        inv db.setup -t prod --confirm cruddur && inv db.sessions -t prod && inv rds.rules --json > rules &&
        echo "port $POSTGRES_PORT" && inv rds.delete --confirm {INSTANCE} && inv sandbox.down
    """
    try:
        done = bash(root, chain, **REAL)
        assert done.returncode == 0, done.stderr
        for name in ("second-create", "second-allow"):
            seen = (root / name).read_text().splitlines()
            assert seen
            assert writes(seen) == [], name
        [rule] = json.loads((root / "rules").read_text())
        port = re.search(r"^port (\d+)$", done.stdout, re.MULTILINE)
        assert port
        assert (rule["address"], rule["protocol"], rule["from_port"]) == ("8.8.4.4/32", "tcp", int(port[1]))
        assert rule["from_port"] == rule["to_port"]
        assert "public.activities 9 rows" in done.stderr
        assert "can be reached from here" in done.stderr
        assert "saved PROD_DB_ENDPOINT in .local/sandbox/env\n" in done.stderr
        assert "removed PROD_DB_ENDPOINT from .local/sandbox/env\n" in done.stderr
        assert not (root / ".env").exists()
        assert not lifecycle.folder(root).exists()
        assert not (root / ".local" / "prod.json").exists()
    finally:
        bash(root, "inv sandbox.down")


@pytest.mark.xdist_group("sandbox")
def test_the_shell_forgets_production_and_writes_no_real_env_file(box: Cli) -> None:
    (box.root / ".env").write_text("PROD_CONNECTION_URL=postgresql://real:secret@real.example/cruddur\n")
    done = entered(box, "env", **REAL)
    assert done.returncode == 0, done.stderr
    seen = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert not {name for name in REAL if name in seen}
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert (seen["PROD_DB_HOSTADDR"], seen["ENV_FILE"]) == ("127.0.0.1", ".local/sandbox/env")
    assert seen["PROD_DB_SSLROOTCERT"] == str(box.root / ".local/sandbox/ca.pem")
    assert stat.S_IMODE((box.root / ".local/sandbox/env").stat().st_mode) == 0o600
    assert stat.S_IMODE((box.root / ".local/sandbox/server.pem").stat().st_mode) == 0o600
    before = (box.root / ".env").read_bytes()
    done = entered(box, f"inv rds.create && inv rds.delete --no-snapshot --confirm {INSTANCE}")
    assert done.returncode == 0, done.stderr
    assert (box.root / ".env").read_bytes() == before


@pytest.mark.xdist_group("sandbox")
def test_up_again_says_the_same_and_starts_nothing(box: Cli) -> None:
    first, second = (bash(box.root, "inv sandbox.up") for _ in range(2))
    assert first.stdout == second.stdout
    assert "starting" not in second.stderr
    status = bash(box.root, "inv sandbox.status")
    assert status.returncode == 0
    assert "outside" in status.stdout
    assert "in the sandbox" in entered(box, "inv sandbox.status").stdout


@pytest.mark.xdist_group("sandbox")
def test_a_process_that_was_killed_comes_back_on_the_ports_the_shells_know(box: Cli) -> None:
    first = bash(box.root, "inv sandbox.up").stdout
    home = lifecycle.folder(box.root)
    os.kill(json.loads((home / "state.json").read_text())["pid"], signal.SIGKILL)
    assert bash(box.root, "inv sandbox.status").returncode == 1
    done = bash(box.root, "inv sandbox.up")
    assert done.stdout == first
    assert "starting the sandbox" in done.stderr


@pytest.mark.xdist_group("sandbox")
def test_two_runs_at_once_start_one(box: Cli) -> None:
    bash(box.root, "inv sandbox.down")
    done = bash(box.root, "inv sandbox.up > one & inv sandbox.up > two; wait; cmp one two")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starting the sandbox") == 1


@pytest.mark.xdist_group("sandbox")
def test_the_users_own_password_is_that_of_the_database(box: Cli) -> None:
    """RDS makes the master user as the request says; moto makes none."""
    own = {"POSTGRES_MASTER_PASSWORD": "it's%40:own", "POSTGRES_MASTER_USERNAME": "cruddurroot"}
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in own.items())
    done = entered(
        box,
        f"export {given} && inv rds.create && inv db.status -t prod && inv db.url -t prod --show-password; "
        f"code=$?; inv rds.delete --no-snapshot --confirm {INSTANCE}; exit $code",
    )
    assert done.returncode == 0, done.stderr
    assert "cruddurroot@" in done.stdout
    assert "sslmode=verify-full" in done.stdout


@pytest.mark.xdist_group("sandbox")
@pytest.mark.parametrize("own", [True, False])
def test_the_password_is_rotated_as_rds_does(box: Cli, own: bool) -> None:
    """moto makes no new secret."""
    given = "export POSTGRES_MASTER_PASSWORD=of-before-1;" if own else ""
    keep = "inv env.set POSTGRES_MASTER_PASSWORD <<< of-before-1; unset POSTGRES_MASTER_PASSWORD;" if own else ""
    url = "inv db.url -t prod --show-password 2>/dev/null"
    done = entered(
        box,
        f": > .local/sandbox/env; {given} inv rds.create && {{ {keep} before=$({url}); inv rds.rotate-password && inv rds.rotate-password && "
        f'test "$before" != "$({url})" && inv sandbox.up >/dev/null && inv db.status -t prod; }}; '
        f"code=$?; inv rds.delete --no-snapshot --confirm {INSTANCE}; exit $code",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("has a new master password") == 2
    assert "TLS on" in done.stdout
    env = box.root / ".local/sandbox/env"
    assert re.findall("POSTGRES_MASTER_PASSWORD.*?=", env.read_text()) == ["POSTGRES_MASTER_PASSWORD="] * own
    assert done.stderr.count("kept in Secrets Manager") == (0 if own else 2)
    env.write_text("")


@pytest.mark.xdist_group("sandbox")
@pytest.mark.skipif(not shutil.which("psql"), reason="psql is not installed")
def test_psql_verifies_the_endpoints_name_too(box: Cli) -> None:
    done = entered(
        box,
        'inv rds.create >&2 && psql "$(inv db.url -t prod --show-password)" -Atc '
        '"select ssl from pg_stat_ssl where pid = pg_backend_pid()"; '
        f"code=$?; inv rds.delete --no-snapshot --confirm {INSTANCE} >&2; exit $code",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "f"  # TLS ends in the front


@pytest.mark.xdist_group("sandbox")
def test_down_twice_is_well_and_takes_the_shell_out(box: Cli) -> None:
    done = entered(box, 'eval "$(inv sandbox.down)" && eval "$(inv sandbox.down)" && env')
    assert done.returncode == 0, done.stderr
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert not names & {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "POSTGRES_PORT", "PROD_DB_HOSTADDR", "ENV_FILE"}
    status = bash(box.root, "inv sandbox.status")
    assert (status.returncode, status.stdout) == (1, "")
    assert "inv sandbox.up" in status.stderr


@pytest.mark.xdist_group("sandbox")
def test_gone_means_that_its_process_is_gone_too(box: Cli) -> None:
    """It takes its state away before it ends."""
    bash(box.root, "inv sandbox.up")
    pid = json.loads((lifecycle.folder(box.root) / "state.json").read_text())["pid"]
    bash(box.root, "inv sandbox.down")
    assert not Path(f"/proc/{pid}/exe").exists()  # one that nobody has asked for its end yet has none either


def test_down_leaves_a_shell_that_was_never_inside_as_it_is(box: Cli) -> None:
    own = {"AWS_ACCESS_KEY_ID": "mine", "AWS_DEFAULT_REGION": "eu-central-1", "ENV_FILE": ".env"}
    (box.root / ".env").touch()
    assert bash(box.root, "inv sandbox.up").returncode == 0
    for said in ("is gone", "there is no sandbox"):
        done = bash(box.root, 'eval "$(inv sandbox.down)" && env', **own)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
        assert own.items() <= dict(line.partition("=")[::2] for line in done.stdout.splitlines()).items()
    assert bash(box.root, "inv sandbox.down", **own).stdout == ""


def test_down_forgets_the_sandboxs_instances_and_pools_and_no_others(tmp_path: Path) -> None:
    from moto.core.models import DEFAULT_ACCOUNT_ID

    local = tmp_path / ".local"
    (local / "pools").mkdir(parents=True)
    host = f"{INSTANCE}{lifecycle.NAME[1:]}"
    ours = {"system_id": "1", "dbname": "cruddur", "address": f"admin@{host}:5432/cruddur"}
    real = {"system_id": "2", "dbname": "cruddur", "address": f"me@{host.replace('aaaaaaaaaa', 'c1xyz')}:5432/cruddur"}
    for name, account in (("sandboxs", DEFAULT_ACCOUNT_ID), ("real", "210987654321")):
        arn = f"arn:aws:cognito-idp:ca-central-1:{account}:userpool/ca-central-1_x"
        (local / "pools" / f"{name}.json").write_text(json.dumps({"UserPool": {"Arn": arn}}))
    (local / "prod.json").write_text(json.dumps([ours, real]))
    lifecycle.forget(tmp_path)
    assert identity.seen(tmp_path) == [real]
    assert [path.name for path in (local / "pools").iterdir()] == ["real.json"]
    (local / "prod.json").write_text(json.dumps([ours]))
    (local / "pools" / "real.json").unlink()
    lifecycle.forget(tmp_path)
    assert list(local.iterdir()) == []
    (local / "prod.json").write_text("{")
    lifecycle.forget(tmp_path)
    assert (local / "prod.json").read_text() == "{"


@pytest.mark.parametrize("broken", ["moto", "servers", "folder", "setting"])
def test_what_fails_stops_the_line_it_stands_in(tmp_path: Path, broken: str) -> None:
    root = copy_suite(tmp_path / "clone")
    environ = {}
    if broken == "moto":
        (root / "moto").mkdir()
        (root / "moto" / "__init__.py").write_text("raise RuntimeError('no moto today')\n")
    elif broken == "servers":
        (root / ".local" / "sandbox").mkdir(parents=True)
        (root / ".local" / "sandbox" / "instances").write_text("")
    elif broken == "folder":
        (root / ".local").mkdir()
        (root / ".local" / "sandbox").write_text("")
    else:
        environ["INVOKE_TARGET"] = "moon"
    try:
        done = bash(root, "inv sandbox.up", **environ)
        assert done.returncode in (1, 2)
        assert done.stdout == "false\n"
        assert "Traceback" not in done.stderr
        assert bash(root, 'eval "$(inv sandbox.up)" && echo reached', **environ).stdout == ""
    finally:
        bash(root, "inv sandbox.down")


def test_without_the_packages_of_the_stand_in_the_file_that_brings_them_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "NEEDED", ("moto", "no_such_package"))
    with pytest.raises(Problem, match=r"needs no_such_package: .* -r requirements-dev\.txt"):
        lifecycle.needs()


# --- the lines for the shell --------------------------------------------------------------------


def test_a_proxy_is_told_to_leave_loopback_alone() -> None:
    """The SDK would ask it for 127.0.0.1."""
    ca = Path("/ca.pem")
    assert "NO_PROXY" not in shell.exports(1, 2, ca, {})
    values = shell.exports(1, 2, ca, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intern.example"})
    assert values["NO_PROXY"].startswith("intern.example,localhost,127.0.0.1,")
    assert values["no_proxy"] == values["NO_PROXY"]
    again = shell.exports(1, 2, ca, {"https_proxy": "http://proxy:3128", **values})
    assert again["NO_PROXY"] == values["NO_PROXY"]


def test_odd_names_and_values_do_not_break_the_lines(tmp_path: Path) -> None:
    ca = tmp_path / 'it\'s $(touch here) `x` "y"' / "ca.pem"
    lines = shell.enter(shell.exports(1, 2, ca, {}), {"PROD_ODD-NAME": "x", "PROD_FINE": "y"}).lines()
    assert "PROD_FINE" in lines[0]
    assert "ODD" not in lines[0]
    done = subprocess.run(
        ["bash", "-c", "\n".join([*lines, 'printf %s "$PROD_DB_SSLROOTCERT"'])],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == str(ca)
    assert list(tmp_path.iterdir()) == []


def test_no_product_code_asks_whether_this_is_the_sandbox() -> None:
    """It comes through the settings that a user has too. What Lambda calls a sandbox is a process of a function."""
    lambdas = {SUITE / "ops" / "lambdas" / name for name in ("local.py", "runtime_api.py")}
    for path in [*(SUITE / "ops").rglob("*.py"), *(SUITE / "config").glob("*.py")]:
        if "sandbox" not in path.parts and path not in lambdas:
            assert "sandbox" not in path.read_text(encoding="utf-8").lower(), path


# --- the TLS front ------------------------------------------------------------------------------


def raw(port: int, *parts: bytes) -> bytes:
    """Say something to the front in the clear, and return its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        for part in parts:
            plain.sendall(part)
        answer = b""
        while len(answer) < 1 or answer[:1] == b"E":
            got = plain.recv(4096)
            answer += got
            if not got:
                break
        return answer


@pytest.fixture
def ports(box: Cli) -> dict[str, int]:
    assert bash(box.root, "inv sandbox.up").returncode == 0
    found: dict[str, int] = json.loads((lifecycle.folder(box.root) / "state.json").read_text())
    return found


@pytest.mark.xdist_group("sandbox")
def test_a_session_in_the_clear_is_refused_as_rds_refuses_it(ports: dict[str, int]) -> None:
    startup = b"user\0admin\0database\0cruddur\0\0"
    message = struct.pack("!ii", len(startup) + 8, 196608) + startup
    assert b"no encryption" in raw(ports["port"], message)
    assert b"no encryption" in raw(ports["port"], message[:3], message[3:])
    assert raw(ports["port"], tls_proxy.GSS_REQUEST) == b"N"
    assert b"no encryption" in raw(ports["port"], tls_proxy.SSL_REQUEST + b"more, before TLS")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(host="127.0.0.1", port=ports["port"], user="admin", dbname="x", sslmode="disable")


@pytest.mark.xdist_group("sandbox")
def test_much_data_passes_in_both_directions(box: Cli, ports: dict[str, int]) -> None:
    """More than the buffers of either side hold."""
    assert entered(box, "inv rds.create").returncode == 0
    [root] = (lifecycle.folder(box.root) / "instances").iterdir()
    data = state.load(root)
    assert data
    with psycopg.connect(
        host=f"{INSTANCE}.aaaaaaaaaa.ca-central-1.rds.amazonaws.com",
        hostaddr="127.0.0.1",
        port=ports["port"],
        user=data.user,
        password=data.passwords[0],
        dbname="postgres",
        sslmode="verify-full",
        sslrootcert=str(lifecycle.folder(box.root) / "ca.pem"),
    ) as conn:
        sent = os.urandom(15_000_000)
        row = conn.execute("select %s::bytea || %s::bytea", [sent, b"!"], binary=True).fetchone()
    assert row
    assert row[0] == sent + b"!"
    assert entered(box, f"inv rds.delete --no-snapshot --confirm {INSTANCE}").returncode == 0


@pytest.mark.xdist_group("sandbox")
@pytest.mark.parametrize(
    ("host", "words"),
    [("evil.example", "does not match host name"), ("a.b.aaaaaaaaaa.ca-central-1.rds.amazonaws.com", "does not match")],
)
def test_another_name_than_the_endpoints_is_not_verified(
    box: Cli, ports: dict[str, int], host: str, words: str
) -> None:
    ca = str(lifecycle.folder(box.root) / "ca.pem")
    with pytest.raises(psycopg.OperationalError, match=words):
        psycopg.connect(
            host=host, hostaddr="127.0.0.1", port=ports["port"], user="admin", sslmode="verify-full", sslrootcert=ca
        )


@pytest.mark.xdist_group("sandbox")
def test_another_ca_does_not_verify_the_endpoint(ports: dict[str, int], tmp_path: Path) -> None:
    certificates.make(tmp_path, "*.example")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(
            host=f"{INSTANCE}.aaaaaaaaaa.ca-central-1.rds.amazonaws.com",
            hostaddr="127.0.0.1",
            port=ports["port"],
            user="admin",
            sslmode="verify-full",
            sslrootcert=str(tmp_path / "ca.pem"),
        )


@pytest.mark.parametrize(("days", "good"), [(0, True), (334, True), (336, False), (400, False)])
def test_certificates_are_made_anew_before_their_end(tmp_path: Path, days: int, good: bool) -> None:
    certificates.make(tmp_path, "*.example")
    assert certificates.good(tmp_path, now=datetime.now(timezone.utc) + timedelta(days=days)) is good
    assert not certificates.good(tmp_path, "*.another")


@pytest.mark.parametrize("name", ["ca.pem", "server.pem"])
@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_certificates_that_are_missing_or_damaged_are_not_good(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    certificates.make(tmp_path, "*.example")
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    assert not certificates.good(tmp_path)


@pytest.mark.xdist_group("sandbox")
def test_a_sandbox_that_runs_near_their_end_goes_on_with_new_ones(box: Cli, ports: dict[str, int]) -> None:
    home = lifecycle.folder(box.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "DAYS", 20)
        certificates.make(home, lifecycle.NAME, lifecycle.PROXIES, *lifecycle.OF_CLUSTERS)
    old = (home / "ca.pem").read_bytes()
    done = entered(
        box, f"inv rds.create && inv db.status -t prod; code=$?; inv rds.delete --confirm {INSTANCE}; exit $code"
    )
    assert done.returncode == 0, done.stderr
    assert (home / "ca.pem").read_bytes() != old
    assert json.loads((home / "state.json").read_text())["port"] == ports["port"]


def test_the_names_of_calls_are_noted_and_nothing_of_their_content() -> None:
    scope = {"HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=AK/20261122/ca-central-1/rds/aws4_request, x"}
    where = {"REQUEST_METHOD": "POST", "PATH_INFO": "/"}
    form = {"Action": "CreateDBInstance", "MasterUserPassword": "secret"}
    assert moto_server.call({**scope, **where}, form) == "rds CreateDBInstance"
    assert moto_server.call({**scope, **where, "HTTP_X_AMZ_TARGET": "a.GetSecretValue"}, {}) == "rds GetSecretValue"
    assert moto_server.call(where, form) == ""
