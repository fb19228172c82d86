"""The docker target: the compose service, reached from outside its network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import load
from config.targets import Target
from ops.errors import NothingAnswers, Problem
from ops.targets import compose
from tests.fix_cli import Cli, lines_of
from tests.servers import free_port

IMAGE = os.environ.get("POSTGRES_IMAGE", "")
PYTHON = os.environ.get("PYTHON_IMAGE", "python:3.13-slim")


def missing(*others: str) -> str:
    """Return why there is no Docker to test with, or which image of those needed is not here."""
    if not shutil.which("docker"):
        return "docker is not installed"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "Docker does not run here"
    for image in (IMAGE or "postgres:18", *others):
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode:
            return (
                f"the image {image} is not here: docker pull {image}, or name another by POSTGRES_IMAGE, PYTHON_IMAGE"
            )
    return ""


@pytest.fixture
def docker(inv: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """`inv` in a clone whose compose project and port are its own."""
    if reason := missing():
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail(f"Docker is required here: {reason}")
        pytest.skip(reason)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"t{uuid.uuid4().hex[:8]}")
    monkeypatch.setenv("DB_PORT", str(free_port()))
    yield inv
    subprocess.run([*compose.command(), "down", "-v"], cwd=inv.root, capture_output=True, check=False)


@pytest.mark.slow
def test_from_nothing_to_rows_and_away_again(docker: Cli) -> None:
    done = docker("db.setup", "-t", "docker")
    assert done.returncode == 1
    assert "inv db.up -t docker" in done.stderr
    docker.ok("db.up", "-t", "docker")
    docker.ok("db.up", "-t", "docker")
    done = docker("db.setup", "-t", "docker")
    assert done.returncode == 0, done.stderr
    assert f"using its published port 127.0.0.1:{os.environ['DB_PORT']}" in done.stderr
    assert "public.activities  9" in docker.ok("db.status", "-t", "docker")
    url = docker.ok("db.url", "-t", "docker", "--show-password").strip()
    assert url == f"postgresql://postgres:password@127.0.0.1:{os.environ['DB_PORT']}/cruddur"
    docker.ok("db.down", "-t", "docker")
    assert docker("db.status", "-t", "docker").returncode == 1
    docker.ok("db.up", "-t", "docker")
    assert "public.activities  9" in docker.ok("db.status", "-t", "docker")  # a stop keeps the data
    done = docker("db.down", "-t", "docker", "--wipe")
    assert done.returncode == 2
    assert "--confirm cruddur" in done.stderr
    docker.ok("db.down", "-t", "docker", "--wipe", "--confirm", "cruddur")
    docker.ok("db.up", "-t", "docker")
    assert "not there yet" in docker.ok("db.status", "-t", "docker") or "public" not in docker.ok(
        "db.status", "-t", "docker"
    )


@pytest.mark.slow
def test_a_port_that_another_program_has_is_named(docker: Cli) -> None:
    with socket.create_server(("127.0.0.1", int(os.environ["DB_PORT"]))):
        done = docker("db.up", "-t", "docker")
    assert done.returncode == 1
    assert lines_of(done.stderr)[-1].endswith(
        f"port {os.environ['DB_PORT']} is taken by another program: stop that, or set DB_PORT (APP_PORT for the feed)"
    )
    docker.ok("db.up", "-t", "docker")


@pytest.mark.slow
def test_wipe_takes_the_data_of_the_database_only(docker: Cli) -> None:
    """A repository has other services, whose data is nobody's to remove."""
    file = docker.root / "docker-compose.yml"
    image = IMAGE or "postgres:18"
    other = f"  other:\n    image: {image}\n    environment: {{POSTGRES_PASSWORD: x}}\n    volumes: [other-data:/var/lib/postgresql]\n"
    text = file.read_text().replace("\nvolumes:\n", f"\n{other}\nvolumes:\n  other-data:\n")
    file.write_text(text)

    def told(*argv: str) -> str:
        return subprocess.run(argv, cwd=docker.root, capture_output=True, text=True, check=True).stdout

    told(*compose.command(), "up", "-d", "db", "other")
    docker.ok("db.down", "-t", "docker", "--wipe", "--confirm", "cruddur")
    project = os.environ["COMPOSE_PROJECT_NAME"]
    volumes = told("docker", "volume", "ls", "-q")
    assert f"{project}_other-data" in volumes
    assert f"{project}_db-data" not in volumes
    assert told(*compose.command(), "ps", "-q", "other").strip()


def test_without_docker_it_says_what_to_do(inv: Cli, tmp_path: Path) -> None:
    bare = {"PATH": str(tmp_path)}
    for args in (["db.up"], ["db.setup"], ["db.down"], ["db.wait", "--timeout", "0"]):
        done = inv(*args, "-t", "docker", env=bare)
        assert done.returncode == 1
        assert "install Docker, or leave -t docker out" in done.stderr
        assert len(lines_of(done.stderr)) == 1


def fake(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "Docker does not run"),
        ("permission denied while trying to connect to the Docker daemon socket", "add it to the group docker"),
        ("no configuration file provided: not found", "no configuration file provided: not found"),
        (
            "ERROR: for db  No such image: x:1\nEncountered errors while bringing up the project.",
            "ERROR: for db  No such image: x:1",
        ),
        (
            "failed to bind port 127.0.0.1:5432/tcp: listen tcp4 127.0.0.1:5432: bind: address already in use",
            "port 5432 is taken by another program",
        ),
        (
            "Bind for 127.0.0.1:5432 failed: port is already allocated",
            "stop that, or set DB_PORT (APP_PORT for the feed)",
        ),
    ],
)
def test_an_engine_that_refuses_is_one_line(inv: Cli, tmp_path: Path, stderr: str, told: str) -> None:
    fake(tmp_path, "docker-compose", f"printf '%s\\n' '{stderr}' >&2; exit 1")
    done = inv("db.up", "-t", "docker", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    if shutil.which("docker", path="/usr/bin:/bin"):
        fake(tmp_path, "docker", "exit 1")
        done = inv("db.up", "-t", "docker", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.returncode == 1
    assert told in done.stderr
    assert len(lines_of(done.stderr)) == 1


def test_a_host_that_resolves_is_taken_as_it_is(root: Path) -> None:
    for host in ("localhost", "127.0.0.1", "db.example.com"):
        target = Target("docker", "CONNECTION_LOCAL_DOCKER_URL", {"host": host, "port": "5432", "dbname": "d"})
        assert compose.outside(root, target) is target


def test_the_service_that_does_not_run_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "docker-compose", "exit 0")
    fake(tmp_path, "docker", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    compose.command.cache_clear()
    target = Target("docker", "CONNECTION_LOCAL_DOCKER_URL", {"host": "db", "port": "5432", "dbname": "d"})
    with pytest.raises(NothingAnswers, match=r"inv db\.up -t docker"):
        compose.outside(root, target)
    compose.command.cache_clear()


def test_the_docker_variable_is_checked_like_any_url(root: Path) -> None:
    from config.targets import resolve

    settings = load({}, {"CONNECTION_LOCAL_DOCKER_URL": "postgresql://u:p@ss@db/cruddur"}, root)
    with pytest.raises(Problem, match="CONNECTION_LOCAL_DOCKER_URL: a raw @"):
        resolve(settings, "docker")
    default = resolve(load({}, {}, root), "docker")
    assert default is not None
    assert default.address == "postgres@db:5432/cruddur"
