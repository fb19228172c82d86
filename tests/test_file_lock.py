"""Two runs at one file or folder: the second says for whom it waits, and has an end."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.paths import local_dir
from ops import file_lock, silence
from ops.adopt import plan
from ops.db import scratch_server
from ops.errors import InProgress, Problem
from ops.sandbox import lifecycle
from ops.targets.embedded import postmaster, server
from ops.targets.tunnel import shared
from ops.testing import server as testing
from tests.fix_cli import Cli
from tests.source import SUITE

pytestmark = pytest.mark.quick

HOLD = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
USERS: dict[str, tuple[Callable[[Path], AbstractContextManager[Any]], str]] = {
    "server": (server.hold_lock, "postgres/lock"),
    "scratch": (lambda root: scratch_server.alone(root, scratch_server.DRIFT), "drift/lock"),
    "sandbox": (lambda root: lifecycle.turns(local_dir(root)), ""),
    "tunnel": (shared.turns, shared.LOCK),
    "tests": (lambda root: testing.hold_folder(local_dir(root) / "testing"), "testing/lock"),
}
"""What takes turns, and the file or folder of `.local` by which it does."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have another process hold the lock of a path until the block ends, or its input does."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"\n"
        yield other


def named(other: subprocess.Popen[bytes]) -> str:
    """Return how a process is named where the kernel tells who holds a lock."""
    return rf" \(pid {other.pid}, python\S* -c .*?\)" if file_lock.LOCKS.exists() else ""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "PATIENCE", 0.02)
    monkeypatch.setattr(file_lock, "limit", 0.1)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("user", USERS)
def test_a_wait_names_who_is_at_it_and_its_setting_and_ends(
    tmp_path: Path, user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    take, path = USERS[user]
    with take(tmp_path):  # makes what it locks
        pass
    with held(local_dir(tmp_path) / path) as other:
        with pytest.raises(Problem) as caught, take(tmp_path):
            pass
        assert caught.value.code == 1
        assert re.fullmatch(
            rf".+{named(other)} is still at it after 0 s \(db\.lock_timeout\): wait for its end, or end it, then run this again",
            str(caught.value),
        )
        assert re.fullmatch(rf"waiting for .+{named(other)}\n", capsys.readouterr().err)
        other.communicate()
    with take(tmp_path):
        assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("brief")
def test_a_run_that_ends_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock, "limit", 30.0)
    place = os.open(tmp_path, os.O_RDONLY)
    with held(tmp_path) as other:
        taker = threading.Thread(target=file_lock.take, args=[place, "it"])
        taker.start()
        taker.join(0.1)
        assert taker.is_alive()
        other.communicate()
        taker.join(20)
        assert not taker.is_alive()
    if file_lock.LOCKS.exists():
        assert file_lock.holders(place) == [os.getpid()]
    os.close(place)


def test_without_the_kernels_list_there_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock, "LOCKS", tmp_path / "none")
    place = os.open(tmp_path, os.O_RDONLY)
    with held(tmp_path), pytest.raises(Problem, match=r"^another inv adopt is at work in"), plan.alone(tmp_path):
        pass
    assert file_lock.holder(place, "it") == "it"
    os.close(place)


def test_the_limit_is_the_setting(inv: Cli) -> None:
    with server.hold_lock(inv.root):
        pass
    with held(local_dir(inv.root) / "postgres" / "lock"):
        done = inv("db.down", env={"INVOKE_DB_LOCK_TIMEOUT": "0.2"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "is still at it after 0 s (db.lock_timeout)" in done.stderr


def test_a_server_that_does_not_stop_is_said_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silence, "PATIENCE", 0.02)
    monkeypatch.setattr(postmaster, "TIMEOUT", 0.6)
    (tmp_path / "postmaster.pid").touch()
    deaf = 'trap "" INT; echo; read line'
    with subprocess.Popen(["sh", "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"\n"
        with pytest.raises(InProgress) as caught:
            postmaster.end(cast("Any", SimpleNamespace(data=tmp_path)), other.pid)
        other.communicate()
    who = f"the embedded server (pid {other.pid})"
    assert str(caught.value).startswith(f"{who} is still stopping after 1 s, which no setting changes: run this again")
    assert capsys.readouterr().err == f"waiting for {who} to stop\n"


def test_no_lock_of_a_file_is_waited_for_elsewhere() -> None:
    """In the kernel such a wait has no end, and nobody is told for whom it is."""
    for path in (SUITE / "ops").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.search(r"\bfcntl\.(flock|lockf)\(", line):
                assert re.search(r"LOCK_NB|LOCK_UN", line), f"{path}: {line.strip()}"
