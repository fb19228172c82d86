"""db.status --watch: what goes on in a database, drawn until Ctrl-C, past the end of its session."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from ops.db import watching
from ops.db.watching import Moment
from ops.errors import NoDatabase
from tests.fix_cli import Cli
from tests.fix_suppliers import Database
from tests.test_meter import INV


@pytest.fixture
def live(one: Database) -> Database:
    """A database with a table."""
    one.do(f"create database {one.name}", "postgres")
    one.do("create table t (a text); insert into t values ('CANARY')")
    return one


@contextlib.contextmanager
def queue(live: Database) -> Iterator[tuple[int, int]]:
    """Have one session hold a lock, and another one wait for it; yield their pids."""
    with live.connect() as holds, live.connect() as waits:
        holds.execute("set application_name = 'app'; begin; lock table t")
        waits.execute("set statement_timeout = '60s'")
        waits.pgconn.send_query(b"update t set a = 'CANARY'")
        try:
            yield holds.info.backend_pid, waits.info.backend_pid
        finally:
            holds.execute("rollback")
            while waits.pgconn.get_result():
                pass


def test_it_draws_who_waits_for_whom_until_ctrl_c(live: Database, inv: Cli) -> None:
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "150", "CONNECTION_URL": live.url}
    with queue(live) as (holds, waits):
        child = subprocess.Popen(
            [INV, "db.status", "--watch"],
            cwd=inv.root,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        said, until = "", time.monotonic() + 60
        while said.count("Ctrl-C ends it") < 2 and time.monotonic() < until:
            said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(master, 65536).decode())
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end, on Linux
            while piece := os.read(master, 65536):
                said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece.decode())
        assert child.wait(60) == 0
    os.close(master)
    assert "Traceback" not in said
    assert "CANARY" not in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert any(line.startswith(f"local: {live.target().address}, PostgreSQL ") for line in lines)
    assert {"waiting for a lock 1"} <= set(lines)
    for wanted in (
        r"size [0-9.]+ MB",
        r"connections \d+ of \d+, \d+ at work",
        r"cache hits .*%",
        r"oldest transaction .* s",
    ):
        assert any(re.fullmatch(wanted, line) for line in lines), wanted
    assert any(re.fullmatch(rf"{holds} \S+ .* s nobody idle in transaction \(app\)", line) for line in lines)
    assert any(re.fullmatch(rf"{waits} \S+ .* s {holds} update t set a = \?", line) for line in lines)


def test_a_session_that_is_lost_is_opened_again(live: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, sleeps = list[Moment](), list[float]()
    draw = watching.drawn

    def kept(title: str, moment: Moment) -> object:
        seen.append(moment)
        return draw(title, moment)

    def passed(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 2:
            ours = "application_name like 'inv db.status%' and datname = current_database()"
            live.do(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {ours}")
        if len(sleeps) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "drawn", kept)
    monkeypatch.setattr(watching, "sleep", passed)
    watching.watch(live.settings(), "local")
    assert [moment.now.reachable for moment in seen] == [True, True, False, True, True]
    assert sleeps == [2.0, 2.0, 5.0, 2.0, 2.0]
    assert seen[2].now.problem is not None
    shown = io.StringIO()
    Console(width=100, file=shown).print(draw("ti\x1b[31mtle", seen[2]))
    assert shown.getvalue().startswith("ti\ufffd[31mtle")
    assert "reachable  no: " in shown.getvalue()


def test_what_stops_the_first_look_is_told(one: Database) -> None:
    with pytest.raises(NoDatabase):
        watching.watch(one.settings(), "local")
