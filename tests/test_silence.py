"""Whoever waits is told for what, and nobody waits for ever on what has fallen silent."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops import calls, postgres, silence
from ops.db import build
from ops.targets import outcome
from tests.cutting import ANSWER, ASKING, HUSHED, SILENT, Cut, Proxy
from tests.fix_cli import Cli, copy_suite
from tests.fix_suppliers import Database

LIMIT = 2
SHORT = {"INVOKE_DB_SILENCE_TIMEOUT": str(LIMIT), "INVOKE_DB_CONNECT_TIMEOUT": str(LIMIT)}
LOCAL = "CONNECTION_URL"
BY_PSQL = "\\echo this is for psql\ninsert into users (display_name, handle, cognito_user_id) values ('x', 'silent', 'MOCK');\n"
PLAIN = BY_PSQL.partition("\n")[2]


@pytest.fixture
def filled(one: Database, tmp_path: Path) -> Cli:
    """A database with the example's rows, and a copy of the suite."""
    build.setup(one.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    return Cli(copy_suite(tmp_path / "clone"))


def through(one: Database, proxy: Proxy) -> dict[str, str]:
    return {**SHORT, LOCAL: one.target(host="127.0.0.1", port=str(proxy.port)).url(show_password=True)}


@pytest.mark.parametrize("how", [SILENT, HUSHED])
@pytest.mark.parametrize("way", [ASKING, ANSWER])
@pytest.mark.parametrize(
    ("task", "word"),
    [("db.status", b"pg_database"), ("db.sessions", b"backend_start"), ("db.query home", b"activities")],
)
def test_a_server_that_falls_silent_is_left(
    one: Database, filled: Cli, how: str, way: str, task: str, word: bytes
) -> None:
    with Proxy(int(one.server.params["port"]), Cut(word, way, how)) as proxy:
        begun = time.monotonic()
        done = filled(*task.split(), env=through(one, proxy))
        assert proxy.hit
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    address = one.target(host="127.0.0.1", port=str(proxy.port)).address
    assert f"waiting for {address} (local)" in lines
    assert f"{address} (local) has fallen silent, no answer for {LIMIT} s" in lines[-1]
    assert time.monotonic() - begun < LIMIT + 6


@pytest.mark.parametrize("how", [SILENT, HUSHED])
@pytest.mark.parametrize("text", [PLAIN, BY_PSQL], ids=["plain", "by psql"])
def test_a_load_is_ended_too_and_leaves_nothing(
    one: Database, filled: Cli, tmp_path: Path, how: str, text: str
) -> None:
    file = tmp_path / "more.sql"
    file.write_text(text)
    with Proxy(int(one.server.params["port"]), Cut(b"'silent'", ASKING, how)) as proxy:
        done = filled("db.seed", "--file", str(file), env=through(one, proxy))
        assert proxy.hit
    assert done.returncode == 1, done.stderr
    assert "has fallen silent" in done.stderr or "has given no answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert one.scalar("select count(*) from users where handle = 'silent'") == 0


def test_a_server_that_is_at_work_is_waited_for(
    one: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silence, "limit", 1.0)
    with postgres.connect(one.target(), task="test", dbname="postgres") as conn:
        conn.execute("select pg_sleep(4)")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"waiting for {one.target().address} (local)"
    assert "the server is at work for 0:0" in said[1]


def test_an_answer_without_an_end_is_given_up(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq would keep all of its 100 GB."""
    monkeypatch.setattr(silence, "MOST", 32 << 20)
    monkeypatch.setattr(silence, "PERIOD", 0.01)
    begun, before = time.monotonic(), silence.peak()
    with postgres.connect(one.target(), task="test", dbname="postgres") as conn:
        with pytest.raises(psycopg.OperationalError) as caught:
            conn.execute("select repeat(md5(n::text), 31250) from generate_series(1, 100000) n")
        assert conn.closed
    what, step = outcome.meaning(caught.value)
    assert what == f"{one.target().address} (local) has given no answer with an end, but more than 32 MB of one"
    assert step.startswith("see that it is a PostgreSQL")
    assert silence.peak() - before < 1 << 30
    assert time.monotonic() - begun < 10


def test_who_holds_a_lock_is_named(
    one: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silence, "limit", 1.0)
    with one.connect("postgres") as holder, postgres.connect(one.target(), task="test", dbname="postgres") as conn:
        holder.execute("set application_name = 'theirs'; select pg_advisory_lock(4711)")
        threading.Timer(3.5, holder.execute, ["select pg_advisory_unlock(4711)"]).start()
        conn.execute("select pg_advisory_lock(4711)")
        pid = holder.info.backend_pid
    assert f"waiting for a lock held by pid {pid} (theirs, " in capsys.readouterr().err


def test_a_session_that_was_closed_meanwhile_is_no_fault_of_who_asks_for_it(one: Database) -> None:
    """Which is done beside the wait, in a thread of its own."""
    with postgres.connect(one.target(), task="test", dbname="postgres") as conn:
        ask: Any = vars(conn)["ask"]
        assert ask() is None, "it is there, and waits for its client"
    assert ask() is None


def test_template1_in_use_names_who_uses_it(one: Database, inv: Cli) -> None:
    with one.connect("template1") as user:
        done = inv("db.setup", env={LOCAL: one.url})
        pid = user.info.backend_pid
    assert done.returncode == 1, done.stderr
    assert f"waiting for {one.target().address} (local)" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "template1, of which new databases are made, is in use by pid" in last
    assert str(pid) in last
    assert inv("db.setup", env={LOCAL: one.url}).returncode == 0


def test_a_resolver_that_is_silent_holds_nobody(inv: Cli, tmp_path: Path) -> None:
    """The C library asks twice for 5 s; in a mount namespace of its own the resolver is one that never answers."""
    quiet = tmp_path / "resolv.conf"
    quiet.write_text("nameserver 127.0.0.153\n")
    own = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m"]
    if not shutil.which("unshare") or subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace to be had here (unshare)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        try:
            resolver.bind(("127.0.0.153", 53))
        except OSError:
            pytest.skip("port 53 is root's")
        words = ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(quiet)]
        begun = time.monotonic()
        done = subprocess.run(
            [*own, *words, str(Path(sys.executable).parent / "inv"), "db.wait", "--timeout", "3"],
            cwd=inv.root,
            env={**os.environ, LOCAL: "postgresql://u:hushhush@db.example.com/cruddur"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert time.monotonic() - begun < 3 + 4
    assert done.returncode == 1
    assert "waiting for the address of db.example.com" in done.stderr
    assert re.search(r"db\.example\.com: the resolver has not answered for \d s \(db\.connect_timeout\)", done.stderr)


def test_a_silent_docker_is_left(inv: Cli, tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("no docker here")
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "d"))
        daemon.listen(16)
        done = inv("db.up", "-t", "docker", env={**SHORT, "DOCKER_HOST": f"unix://{tmp_path / 'd'}"})
    assert done.returncode == 1
    assert "waiting for Docker" in done.stderr
    assert f"Docker has given no answer for {LIMIT} s (db.silence_timeout)" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("program", ["git", "gp"])
def test_a_program_that_hangs_is_ended(inv: Cli, tmp_path: Path, program: str) -> None:
    hangs = tmp_path / "bin" / program
    hangs.parent.mkdir()
    hangs.write_text("#!/bin/sh\nexec sleep 50\n")
    hangs.chmod(0o755)
    path = f"{hangs.parent}:{os.environ['PATH']}"
    done = inv("env.set", "POSTGRES_PASSWORD", "--share", env={**SHORT, "PATH": path}, stdin="hushhush")
    assert f"waiting for {program}" in done.stderr
    assert done.returncode == (1 if program == "gp" else 0)
    assert "POSTGRES_PASSWORD" in (inv.root / ".env").read_text()


def test_each_kind_of_call_of_aws_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Some are made in turn, some side by side."""
    kinds: set[str] = set()
    for what in ("rds DescribeDBInstances", "rds DescribeDBInstances", "ec2 DescribeVpcs"):
        with (
            silence.watched(calls.Call(f"AWS ({what})", kinds=kinds)),
            silence.watched(calls.Call(f"AWS ({what})", kinds=kinds)),
        ):
            time.sleep(silence.PATIENCE + 3 * silence.PERIOD)
    said = capsys.readouterr().err.splitlines()
    assert said == ["waiting for AWS (rds DescribeDBInstances)", "waiting for AWS (ec2 DescribeVpcs)"]
