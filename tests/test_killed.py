"""Killed at any moment: the old or the new database is there, whole and open, and the next run needs no repair."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from ops.db import build, swap
from ops.targets import opening
from tests import forked
from tests.fix_cli import Cli, without_coverage
from tests.fix_spread import steps
from tests.fix_suppliers import Database

SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(10**6)
KILLS = int(os.environ.get("TEST_KILLS", "20"))

SCHEMA = """
create table first (n int primary key);
create table filler as select n from generate_series(1, 2000) n;
create table last (n int primary key);
"""


@dataclass
class Victim:
    """A database whose content is a number, in its first and in its last table."""

    database: Database
    cli: Cli

    def write(self, n: int) -> None:
        (self.cli.root / "n.sql").write_text(f"insert into first values ({n});\ninsert into last values ({n});\n")
        (self.cli.root / "s.sql").write_text(SCHEMA)

    def start(self, *args: str) -> subprocess.Popen[str]:
        return forked.start(
            args,
            cwd=self.cli.root,
            env={**without_coverage(), "CONNECTION_URL": self.database.url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a process group of its own: inv and what it has started
        )

    def setup(self, n: int) -> subprocess.Popen[str]:
        self.write(n)
        return self.start("db.setup", "--schema", "s.sql", "--seed", "n.sql")

    def ok(self, *args: str) -> str:
        process = self.start(*args)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return err

    def content(self, suffix: str = "") -> list[int]:
        """Return the numbers of a database that must be there, whole and open to all.

        One who connects in the instant of the swap is told to come again.
        """
        for attempt in range(3):
            try:
                with self.database.connect(self.database.name + suffix) as conn:
                    row = conn.execute(
                        "select (select array_agg(n order by n) from first) as first,"
                        " (select array_agg(n order by n) from last) as last, (select count(*) from filler) as filler"
                    ).fetchone()
            except psycopg.OperationalError as error:
                if attempt == 2 or "just been dropped or renamed" not in str(error):
                    raise
            else:
                assert row
                assert row["first"] == row["last"]
                assert row["filler"] == 2000
                return list(row["first"] or [])
        raise AssertionError

    def quiet(self) -> None:
        """Wait until what a killed run has sent to the server is through."""
        deadline = time.monotonic() + 10
        query = "select 1 from pg_stat_activity where application_name like 'inv db.%'"
        while self.database.query(query, "postgres"):
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def victim(one: Database, inv: Cli) -> Victim:
    return Victim(one, inv)


def hit(process: subprocess.Popen[str], delay: float, sign: int, *, reached: bool) -> tuple[int, str]:
    """Send a signal to a run after a delay, counted from the moment when it has reached the server."""
    assert process.stderr
    first = process.stderr.readline() if reached else ""
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, sign)
    _, rest = process.communicate(timeout=60)
    return process.returncode, first + rest


def span(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Return how long a whole run takes, and its part after it has reached the server."""
    begun = time.monotonic()
    assert process.stderr
    process.stderr.readline()
    there = time.monotonic()
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    return time.monotonic() - begun, time.monotonic() - there


@pytest.mark.slow
def test_setup_killed_at_random_moments(victim: Victim) -> None:
    print(f"TEST_SEED={SEED}")
    dice = random.Random(SEED)
    span(victim.setup(0))
    whole, working = span(victim.setup(0))
    old, went, longest = 0, {"old": 0, "new": 0}, 1.4
    for n in range(1, KILLS + 1):
        reached = n % 5 > 0  # most in the part that changes something
        delay = dice.uniform(0, longest * (working if reached else whole))
        hit(victim.setup(n), delay, signal.SIGKILL, reached=reached)
        assert victim.content() in ([old], [n]), "at once"
        victim.quiet()
        assert victim.content() in ([old], [n])
        assert victim.database.names() <= {"", "__next", "__prev", "__old"}
        went["new" if victim.content() == [n] else "old"] += 1
        # a run ends soon after the swap: on a machine that has slowed down all would be killed before, on another one behind it
        longest *= 0.8 if victim.content() == [n] else 1.2
        [old] = victim.content()
        if n % 10 == 0:
            victim.setup(n).communicate(timeout=60)
            old = n
            assert victim.content() == [n], "the next run needs no repair"
            assert victim.database.names() == {"", "__prev"}
    print(went)
    assert went["old"]
    assert went["new"]


@pytest.mark.slow
def test_setup_interrupted_at_random_moments(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_INV", "exec")  # how Python leaves is part of it
    print(f"TEST_SEED={SEED}")
    dice = random.Random(SEED)
    span(victim.setup(0))
    _, working = span(victim.setup(0))
    old, tidy, codes = 0, 0, set()
    for n in range(1, 16):
        code, err = hit(victim.setup(n), dice.uniform(0, 0.8 * working), signal.SIGINT, reached=True)
        assert "Traceback" not in err
        assert code in (0, 130) or (code == -signal.SIGINT and "connect: inv" in err)  # done, and Python is leaving
        assert err.strip().endswith("cancelled") == (code == 130)
        assert victim.content() in ([old], [n])
        assert victim.database.names() <= {"", "__next", "__prev", "__old"}
        tidy += victim.database.names() <= {"", "__prev"}
        codes.add(code)
        [old] = victim.content()
    assert 130 in codes
    assert tidy > 10, "an interrupted run clears its own half-made database, unless it is caught at just that"
    span(victim.setup(99))
    assert victim.database.names() == {"", "__prev"}


@pytest.mark.slow
def test_drop_undo_and_seed_killed_at_random_moments(victim: Victim) -> None:
    print(f"TEST_SEED={SEED}")
    dice = random.Random(SEED)
    for _ in range(5):
        span(victim.setup(1))
        span(victim.setup(2))

        hit(victim.start("db.undo"), dice.uniform(0, 0.06), signal.SIGKILL, reached=True)
        victim.quiet()
        assert sorted([victim.content(), victim.content("__prev")]) == [[1], [2]]

        live = victim.content()
        hit(victim.start("db.drop"), dice.uniform(0, 0.06), signal.SIGKILL, reached=True)
        victim.quiet()
        there = "" if "" in victim.database.names() else "__prev"
        assert victim.content(there) == live
        victim.ok("db.drop")
        victim.ok("db.undo")
        assert victim.content() == live
        assert victim.database.names() == {""}

        victim.write(3)
        hit(victim.start("db.seed", "--file", "n.sql"), dice.uniform(0, 0.06), signal.SIGKILL, reached=True)
        victim.quiet()
        assert victim.content() in (live, [*live, 3])
        victim.ok("db.seed", "--file", "n.sql")
        assert victim.content() == [*live, 3], "once and no more"


# --- cut at every single statement -------------------------------------------------------


class Cut(Exception):
    """Stands for the death of the process."""


def setup(victim: Victim) -> None:
    root = victim.cli.root
    build.setup(victim.database.settings(), "local", f"{root}/s.sql", f"{root}/n.sql", {}, "", force=False)


def drop(victim: Victim) -> None:
    with opening.open_target(victim.database.settings(), "local", "db.drop", writes=True) as at:
        swap.drop(at, force=False)


def undo(victim: Victim) -> None:
    with opening.open_target(victim.database.settings(), "local", "db.undo", writes=True) as at:
        swap.undo(at, force=False)


@contextlib.contextmanager
def cut_at(step: int, *, sent: bool) -> Iterator[list[int]]:
    """Break the connection at the statement of this number: before it, or when it is on its way."""
    count = [0]
    execute = psycopg.Connection.execute

    def counted(self: psycopg.Connection[Any], query: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():  # what looks on, where the machine is slow
            return execute(self, query, *args, **kwargs)
        count[0] += 1
        if count[0] < step:
            return execute(self, query, *args, **kwargs)
        if count[0] == step and sent and not any(args):
            raw = query.as_bytes(self) if hasattr(query, "as_bytes") else query
            self.pgconn.send_query(raw.encode() if isinstance(raw, str) else raw)
            self.pgconn.flush()
        self.close()  # and nothing is sent after that: neither clean-up nor unlock
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", counted)
        yield count


@pytest.mark.parametrize(("act", "sent"), [(setup, False), (setup, True), (drop, True), (undo, True)])
@pytest.mark.slow
def test_cut_at_each_statement(victim: Victim, act: Callable[[Victim], None], sent: bool) -> None:
    for n in (1, 2):
        victim.write(n)
        setup(victim)
    for step in steps():
        done = False
        live, kept = victim.content(), victim.content("__prev")
        victim.write(step + 2)
        with cut_at(step, sent=sent) as count, contextlib.suppress(Cut):
            act(victim)
            done = count[0] < step
        victim.quiet()
        names = victim.database.names()
        if act is drop:
            assert live in [victim.content(suffix) for suffix in names & {"", "__prev"}]
        else:
            assert victim.content() in (live, kept, [step + 2])
        act(victim)  # the next run needs no repair
        assert victim.database.names() == ({"__prev"} if act is drop else {"", "__prev"})
        if act is drop:
            undo(victim)
            setup(victim)
        if done:
            break
    assert step > 5, "every statement was cut"
