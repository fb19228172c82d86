"""inv app.*: the feed served from here, and from its container."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from config.app import app
from config.defaults import DEFAULTS
from config.settings import load
from ops.app import serve, service
from ops.errors import Misconfigured
from ops.targets import compose
from tests import test_docker
from tests.fix_app import filled, get, wait
from tests.fix_cli import SUITE, Cli
from tests.fix_suppliers import Database
from tests.servers import free_port

INV = str(Path(sys.executable).parent / "inv")
HOME = "/api/activities/home"


@contextlib.contextmanager
def running(root: Path, *args: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run app.run; yield the process and the address that it tells."""
    port = environ.setdefault("INVOKE_APP_PORT", str(free_port()))
    with subprocess.Popen(
        [INV, "app.run", *args],
        cwd=root,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait(f"http://127.0.0.1:{port}/static/icon.svg", 40)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.quick
def test_two_commands_from_a_clone_to_the_feed(inv: Cli) -> None:
    """From a sub-directory, too, and ended by Ctrl-C, which reaches every process of the terminal."""
    inv.ok("db.setup")
    with running(inv.root / "sql" / "queries") as (process, url):
        assert len(get(url + HOME).json) == 9
        assert "<title>Cruddur" in get(url).body.decode()
        assert get(f"{url}/api/health").status == 200
        secrets = inv.ok("db.url", "--show-password").strip()
        assert secrets.partition("@")[0].rpartition(":")[2] not in " ".join(process_line(process.pid))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert f"the feed is at {url} (Ctrl-C ends it)" in err
    assert "Traceback" not in out + err
    assert f'"GET {HOME} HTTP/1.1" 200' in out
    assert "public.activities  9" in inv.ok("db.status")  # the server of the database goes on


def process_line(pid: int) -> list[str]:
    import psutil

    return psutil.Process(pid).cmdline()


def test_it_starts_the_database_and_heals_with_it(inv: Cli) -> None:
    # on a port of its own: where it stops on 5432 another test's server may be a moment later
    inv.ok("db.up", env={"CONNECTION_URL": f"postgresql://postgres:own@127.0.0.1:{free_port()}/cruddur"})
    inv.ok("db.setup")
    inv.ok("db.down")
    with running(inv.root) as (_, url):
        assert get(url + HOME).status == 200
        begun = time.monotonic()
        inv.ok("db.down")
        assert get(url + HOME).status == 503
        assert get(f"{url}/api/health").status == 503
        inv.ok("db.up")
        away = (
            time.monotonic() - begun
        )  # the pool's pauses between attempts grow with it, and a busy machine takes longer for all
        deadline = time.monotonic() + 5 + 2 * away
        while get(url + HOME).status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        inv.ok("db.setup", "--no-seed")
        assert get(url + HOME).json == []


def test_settings_and_variables_reach_it(inv: Cli) -> None:
    inv.ok("db.setup")
    (inv.root / ".env").write_text("FRONTEND_URL=http://localhost:3000\n")
    queries = inv.root / "mine"
    shutil.copytree(inv.root / "sql" / "queries", queries)
    (queries / "home.sql").write_text(
        (queries / "home.sql").read_text().replace("u.handle", "upper(u.handle) as handle")
    )
    with running(inv.root, INVOKE_APP_HIDE_EXPIRED="yes", INVOKE_PATHS_QUERIES="mine", INVOKE_APP_POOL_SIZE="2") as (
        _,
        url,
    ):
        answer = get(url + HOME, Origin="http://localhost:3000")
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert len(answer.json) == 7
        assert answer.json[0]["handle"] == "HANAKO"


def test_what_gunicorn_gets_and_where_the_password_is(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    filled(one)
    shutil.copytree(SUITE / "backend", one.root / "backend")
    settings = load(
        {"app": {"port": str(free_port())}}, {"CONNECTION_URL": one.url, "FRONTEND_URL": "http://f"}, one.root
    )
    argv, env = serve.command(settings, "local", "")
    assert argv[1:] == ["-m", "gunicorn", "-c", str(one.root / "backend" / "gunicorn.conf.py")]
    assert conninfo_to_dict(env.pop("CONNECTION_URL"))["password"] == one.server.params["password"]
    assert env == {
        "DB_POOL_SIZE": "8",
        "DB_QUERIES": str(one.root / "sql" / "queries"),
        "HIDE_EXPIRED": "no",
        "FRONTEND_URL": "http://f",
        "HOST": "127.0.0.1",
        "PORT": str(settings.app.port),
    }
    said = capsys.readouterr().err
    assert f"the feed is at http://127.0.0.1:{settings.app.port} (Ctrl-C ends it)" in said
    assert one.server.params["password"] not in said
    assert serve.command(settings, "local", "4599")[1]["PORT"] == "4599"


def test_a_port_of_roots_is_told_to_an_ordinary_user() -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) <= 80:
        pytest.skip("any user may have port 80 here, or this is no Linux")
    drop = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if os.geteuid() == 0 else ""
    code = f"import os\nfrom ops.app import serve\nfrom ops.errors import Problem\n{drop}\nserve.claim('127.0.0.1', 80)"
    done = subprocess.run([sys.executable, "-c", code], cwd=SUITE, capture_output=True, text=True, check=False)
    assert "port 80 is reserved for root: inv app.run --port 4567" in done.stderr


def told(inv: Cli, *args: str, code: int, **environ: str) -> str:
    """Run a command that must fail in one line, and return it."""
    done = inv(*args, env=environ)
    assert done.returncode == code, done.stderr
    *before, line = done.stderr.splitlines()
    assert all(
        re.match(r"local: |making |waiting for |port 5432 is taken|/\S+ is closed to", said) for said in before
    ), done.stderr
    assert done.stdout == ""
    return line


def test_a_taken_port_is_told_with_a_way_out(inv: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = told(inv, "app.run", "--port", str(port), code=1)
    assert f"port {port} is taken by another program" in line
    assert "inv app.run --port " in line


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "4567.0"])
def test_a_port_that_is_none_is_refused(inv: Cli, port: str) -> None:
    assert f"--port {port}: give a port from 1 to 65535" in told(inv, "app.run", "--port", port, code=2)


def test_an_address_of_another_machine_is_refused(inv: Cli) -> None:
    line = told(inv, "app.run", code=2, INVOKE_APP_HOST="192.0.2.1")
    assert "app.host: 192.0.2.1 is no address of this machine" in line


def test_a_variable_that_the_application_cannot_read_is_one_line(inv: Cli) -> None:
    inv.ok("db.setup")
    done = inv("app.run", env={"FRONTEND_URL": "*", "INVOKE_APP_PORT": str(free_port())})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "FRONTEND_URL: write it like http://localhost:3000"


def test_without_a_database_or_tables_the_next_step_is_told(inv: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_APP_PORT", str(free_port()))
    assert "the database is not there yet: inv db.setup -t local" in told(inv, "app.run", code=1)
    inv.ok("db.create")
    assert "has no table public.activities yet: inv db.setup -t local" in told(inv, "app.run", code=1)


def test_a_target_that_does_not_answer_is_one_line(inv: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_APP_PORT", str(free_port()))
    url = "postgresql://u:hushhush@127.0.0.1:1/db"
    line = told(inv, "app.run", code=1, CONNECTION_URL=url)
    assert "nothing answers at u@127.0.0.1:1/db" in line
    line = told(inv, "app.run", code=2, CONNECTION_URL="hushhush")
    assert "CONNECTION_URL: must begin with" in line
    assert "prod is not configured" in told(inv, "app.run", "-t", "prod", code=2)


def test_a_repository_without_the_reading_side_is_told(inv: Cli) -> None:
    shutil.rmtree(inv.root / "backend")
    for task in ("app.run", "app.up"):
        assert "backend/ is not here" in told(inv, task, code=2)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"port": "0"}, "app.port"),
        ({"port": "70000"}, "app.port"),
        ({"port": 4567}, "app.port"),
        ({"pool_size": "0"}, "app.pool_size"),
        ({"pool_size": "many"}, "app.pool_size"),
        ({"hide_expired": "true"}, "app.hide_expired"),
        ({"host": ""}, "app.host"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(config: dict[str, object], why: str) -> None:
    with pytest.raises(Misconfigured, match=rf"{why} \(INVOKE_"):
        app(config)


def test_the_settings_are_what_invoke_yaml_shows() -> None:
    read = app({})
    assert (read.host, read.port, read.pool_size, read.hide_expired) == ("127.0.0.1", 4567, 8, False)
    assert read == app(DEFAULTS["app"])


# --- in Docker ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "says"),
    [
        ("", {}),
        (
            "postgresql://copy:5433/cruddur",
            {"DOCKER_READ_CONNECTION_URL": "postgresql://postgres:password@copy:5433/cruddur"},
        ),
        ("postgresql://a:b@copy/cruddur", {"DOCKER_READ_CONNECTION_URL": "postgresql://a:b@copy/cruddur"}),
        ("postgresql://copy/other", "names the database other, and docker is cruddur"),
    ],
)
def test_the_container_is_handed_its_replica(tmp_path: Path, read: str, says: dict[str, str] | str) -> None:
    settings = load({"db": {"read_lag": "3s"}}, {"DOCKER_READ_CONNECTION_URL": read}, tmp_path)
    if isinstance(says, str):
        with pytest.raises(Misconfigured, match=f"^DOCKER_READ_CONNECTION_URL: {says}"):
            service.at_replica(settings, "")
        return
    lag = {"DB_READ_LAG": "3"} if says else {}
    assert service.at_replica(settings, "") == says | lag
    reader = "postgresql://cruddur_reader:r@db:5432/cruddur"
    handed = service.at_replica(settings, reader).get("DOCKER_READ_CONNECTION_URL", "")
    assert handed == (
        says["DOCKER_READ_CONNECTION_URL"].replace("postgres:password", "cruddur_reader:r") if says else ""
    )
    assert {*says, *lag} <= set(re.findall(r"\$\{(\w+)", (SUITE / "docker-compose.yml").read_text()))


@pytest.fixture
def docker(inv: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """`inv` in a clone whose compose project and ports are its own, and both base images here."""
    if reason := test_docker.missing(test_docker.PYTHON):
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail(f"Docker is required here: {reason}")
        pytest.skip(reason)
    print(f"on {test_docker.PYTHON} and {test_docker.IMAGE or 'postgres:18'}")
    project = f"t{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", project)
    monkeypatch.setenv("DB_PORT", str(free_port()))
    monkeypatch.setenv("APP_PORT", str(free_port()))
    yield inv
    subprocess.run([*compose.command(), "down", "-v"], cwd=inv.root, capture_output=True, check=False)
    for name in (f"{project}_backend", f"{project}-backend"):
        subprocess.run(["docker", "rmi", name], capture_output=True, check=False)


@pytest.mark.slow
def test_compose_brings_both_up_healthy_and_shows_the_feed(docker: Cli) -> None:
    url = f"http://127.0.0.1:{os.environ['APP_PORT']}"
    (docker.root / ".env").write_text("FRONTEND_URL=http://localhost:3000\nSECRET_OF_MINE=hushhush\n")
    done = docker("app.up", timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"the feed is at {url}" in done.stderr
    assert get(f"{url}/api/health").status == 200
    assert get(url + HOME).status == 503  # no tables yet
    docker.ok("db.setup", "-t", "docker")
    answer = get(url + HOME, Origin="http://localhost:3000")
    assert len(answer.json) == 9
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert "<title>Cruddur" in get(url).body.decode()
    assert f"GET {HOME}" in docker.ok("app.logs", "--lines", "20")
    told_lines = [json.loads(line) for line in docker.ok("app.logs", "--lines", "20", "--json").splitlines()]
    assert any(f"GET {HOME}" in line["message"] and line["at"].startswith("20") for line in told_lines)

    containers = {name: compose.compose(docker.root, "ps", "-q", name).strip() for name in ("db", "backend")}
    for name, container in containers.items():
        assert compose.docker("inspect", "-f", "{{.State.Health.Status}}", container).strip() == "healthy", name
    inside = compose.docker("exec", containers["backend"], "sh", "-c", "id -u; ls -a /app; touch /app/x 2>&1 || true")
    assert inside.splitlines()[0] == "10001"
    assert not {".env", "ops", "tests", ".git", "schema.sql"} & set(inside.split())
    assert "Permission denied" in inside
    assert "hushhush" not in compose.docker("inspect", containers["backend"])

    docker.ok("db.down", "-t", "docker")
    assert get(f"{url}/api/health").status == 503
    docker.ok("db.up", "-t", "docker")
    deadline = time.monotonic() + 15
    while get(url + HOME).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    docker.ok("app.down")
    docker.ok("app.down")
    assert not compose.compose(docker.root, "ps", "-q", "backend").strip()
    assert "public.activities  9" in docker.ok("db.status", "-t", "docker")


@pytest.mark.slow
def test_a_container_that_cannot_start_is_told_and_its_logs_say_why(docker: Cli) -> None:
    done = docker("app.up", env={"FRONTEND_URL": "*"}, timeout=300)
    assert done.returncode == 1
    assert "inv app.logs says why" in done.stderr.splitlines()[-1]
    assert "FRONTEND_URL: write it like http://localhost:3000" in docker.ok("app.logs")


def test_logs_go_on_until_ctrl_c(inv: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_docker.fake(tmp_path, "docker", "exit 1")
    test_docker.fake(tmp_path, "docker-compose", 'echo "$@"; [ "$5" != --follow ] || exec sleep 30')
    path = f"{tmp_path}:/usr/bin:/bin"
    assert inv("app.logs", env={"PATH": path}).stdout == "logs --no-color --tail 100 backend\n"
    with subprocess.Popen(
        [INV, "app.logs", "--follow", "--lines", "5"],
        cwd=inv.root,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "logs --no-color --tail 5 --follow backend\n"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "cancelled\n")
    assert "--lines x: give a whole number" in told(inv, "app.logs", "--lines", "x", code=2)


def test_without_docker_it_says_what_serves_the_feed(inv: Cli, tmp_path: Path) -> None:
    for task in ("app.up", "app.down", "app.logs"):
        assert "inv app.run serves the feed" in told(inv, task, code=1, PATH=str(tmp_path))
