"""Several runs, and other people's sessions, at the same time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ops.db import build, rename_database, sessions, swap
from ops.errors import Problem, Refused
from ops.targets import opening
from tests import forked
from tests.fix_cli import Cli
from tests.fix_suppliers import Database


def started(inv: Cli, database: Database, *args: str, **env: str) -> subprocess.Popen[str]:
    return forked.start(
        args,
        cwd=inv.root,
        env={**os.environ, "CONNECTION_URL": database.url, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def setup(database: Database, *, force: bool = False) -> None:
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=force)


def drop(database: Database, *, force: bool = False) -> bool:
    with opening.open_target(database.settings(), "local", "db.drop", writes=True) as at:
        return swap.drop(at, force=force)


@contextlib.contextmanager
def busy(database: Database, **params: str) -> Iterator[psycopg.Connection[Any]]:
    """A session in the middle of a transaction, which may be ended meanwhile."""
    with contextlib.suppress(psycopg.OperationalError):
        kwargs: dict[str, Any] = {**database.server.params, "dbname": database.name, **params}
        with psycopg.connect(**kwargs) as conn:
            conn.execute("select 1")
            yield conn


# --- runs take turns ---------------------------------------------------------------------


def test_two_setups_take_turns_and_each_loads_the_schema_once(one: Database, inv: Cli) -> None:
    create_role = f"do $$ begin execute format('create role %I', '{one.name}_' || gen_random_uuid()); end $$;"
    slow = inv.root / "slow.sql"
    slow.write_text(f"{create_role}\nselect pg_sleep(0.7);\ncreate table t as select clock_timestamp() as at;\n")
    both = [started(inv, one, "db.setup", "--schema", "slow.sql", "--no-seed") for _ in range(2)]
    try:
        said = [process.communicate(timeout=60)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert sum("waiting for inv db.setup " in text for text in said) == 1
        assert one.names() == {"", "__prev"}
        apart = one.scalar("select at from t") - one.scalar("select at from t", one.name + "__prev")
        assert apart.total_seconds() >= 0.7
    finally:
        roles = [r["rolname"] for r in one.query(f"select rolname from pg_roles where rolname ~ '^{one.name}_'")]
        for role in roles:
            with one.connect("postgres") as conn:
                conn.execute(f'drop role "{role}"'.encode())
    assert len(roles) == 2


@contextlib.contextmanager
def holding(database: Database, application: str) -> Iterator[psycopg.Connection[Any]]:
    kwargs: dict[str, Any] = {**database.server.params, "dbname": "postgres", "application_name": application}
    with psycopg.connect(**kwargs, autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(hashtextextended('inv:' || %s, 0))", [database.name])
        yield conn


@pytest.mark.parametrize("task", ["db.setup", "db.drop", "db.undo", "db.create", "db.seed", "db.schema-load"])
def test_a_lock_held_too_long_names_its_holder(one: Database, inv: Cli, task: str) -> None:
    with holding(one, "inv db.setup ann@laptop") as conn:
        process = started(inv, one, task, INVOKE_DB_LOCK_TIMEOUT="1")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert out == ""
        who = f"inv db.setup ann@laptop (pid {conn.info.backend_pid}, from 127.0.0.1, since "
        assert f"waiting for {who}" in err
        assert err.splitlines()[-1].startswith(f"still held after 1 s (db.lock_timeout) by {who}")
    assert one.names() == set()


def test_the_lock_of_another_database_holds_up_nobody(one: Database, inv: Cli) -> None:
    other = Database(one.server, one.name + "x", one.root)
    with holding(other, "inv db.setup ann@laptop"):
        process = started(inv, one, "db.create")
        assert "waiting" not in process.communicate(timeout=60)[1]
        assert process.returncode == 0


def test_a_killed_holder_holds_up_nobody(one: Database, inv: Cli) -> None:
    (inv.root / "slow.sql").write_text("select pg_sleep(100);\n")
    first = started(inv, one, "db.setup", "--schema", "slow.sql")
    sleeping = "select 1 from pg_stat_activity where datname = '{}__next' and query ~ 'pg_sleep' and state = 'active'"
    while not one.query(sleeping.format(one.name), "postgres"):
        assert first.poll() is None
        time.sleep(0.01)
    second = started(inv, one, "db.setup")
    assert second.stderr
    for line in second.stderr:
        if "waiting for inv db.setup" in line:
            break
    os.killpg(first.pid, signal.SIGKILL)
    begun = time.monotonic()
    rest = second.communicate(timeout=60)[1]
    assert second.returncode == 0, rest
    assert time.monotonic() - begun < 10
    assert one.scalar("select count(*) from users") == 5
    assert one.names() == {""}
    first.communicate()


# --- other people's sessions ---------------------------------------------------------------


ENDED = ("just been dropped or renamed", "terminating connection", "closed the connection unexpectedly")


@pytest.mark.slow
def test_clients_that_reconnect_in_a_tight_loop(one: Database) -> None:
    """They are never locked out for long, and setup gets through or refuses cleanly."""
    setup(one)
    stop, gaps, strange = threading.Event(), [0.0], list[str]()
    params: dict[str, Any] = {**one.server.params, "dbname": one.name}

    def client() -> None:
        last = time.monotonic()
        while not stop.is_set():
            try:
                with psycopg.connect(**params, autocommit=True) as conn:
                    conn.execute("select count(*) from users")
            except psycopg.OperationalError as error:
                if not any(words in str(error) for words in ENDED):
                    strange.append(str(error))
            else:
                gaps.append(time.monotonic() - last)
                last = time.monotonic()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    got_through = 0
    try:
        for _ in range(8):
            with contextlib.suppress(Refused):
                setup(one)
                got_through += 1
        setup(one, force=True)
    finally:
        stop.set()
        for thread in clients:
            thread.join()
    print(f"{got_through} of 8 without --force, longest gap {max(gaps):.2f} s")
    assert strange == []
    assert max(gaps) < 3, "Postgres' own stall is five seconds"
    assert one.names() == {"", "__prev"}
    assert one.scalar("select count(*) from users") == 5


@pytest.mark.slow
def test_a_drop_in_the_way_of_a_session_answers_at_once(one: Database, inv: Cli) -> None:
    setup(one)

    def timed() -> tuple[float, int, str]:
        begun = time.monotonic()
        process = started(inv, one, "db.drop")
        err = process.communicate(timeout=60)[1]
        return time.monotonic() - begun, process.returncode, err

    free, held = [], []
    for _ in range(7):
        seconds, code, _ = timed()
        free.append(seconds)
        assert code == 0
        with opening.open_target(one.settings(), "local", "db.undo", writes=True) as at:
            swap.undo(at, force=False)
        with busy(one, application_name="report") as conn:
            seconds, code, err = timed()
            held.append(seconds)
            assert code == 2
            assert f"in use by pid {conn.info.backend_pid} report (" in err
            assert "--force" in err.splitlines()[-1]
        assert one.names() == {""}
    print(f"without {min(free):.3f} s, with a session in the way {min(held):.3f} s")
    assert min(held) - min(free) <= 0.3, "the least of each: a busy machine adds to any single one"


@pytest.fixture
def owner(one: Database) -> Iterator[Database]:
    """The same database as its owner without superuser rights sees it, as on RDS."""
    role = f"{one.name}_owner"
    with one.connect("postgres") as conn:
        conn.execute(f"create role {role} login createdb password 'x'; grant pg_signal_backend to {role}".encode())
    as_owner = Database(one.server, one.name, one.root)
    as_owner.server = type(one.server)("embedded", {**one.server.params, "user": role, "password": "x"})
    yield as_owner
    with one.connect("postgres") as conn:
        for suffix in one.names():
            conn.execute(f'drop database "{one.name}{suffix}" with (force)'.encode())
        conn.execute(f"drop role {role}".encode())


def test_a_superusers_session_in_the_way_of_the_owner(owner: Database, one: Database) -> None:
    setup(owner)
    with one.connect() as idle:
        idle.execute("select 1")
        for act in (drop, setup):
            begun = time.monotonic()
            with pytest.raises(Refused, match=rf"pid {idle.info.backend_pid} .*hidden from this user.*--force"):
                act(owner)
            with pytest.raises(Problem, match=rf"pid {idle.info.backend_pid} .*may not end it"):
                act(owner, force=True)
            assert time.monotonic() - begun < 4, "no five-second stall"
        assert owner.names() == {""}
        assert idle.execute("select count(*) as n from users").fetchone() == {"n": 5}


def test_another_users_session_in_the_way_of_the_owner(owner: Database, one: Database) -> None:
    setup(owner)
    guest = f"{one.name}_guest"
    with one.connect("postgres") as conn:
        conn.execute(f"create role {guest} login password 'x'".encode())
    try:
        with busy(one, user=guest, password="x"):
            with pytest.raises(Refused, match="hidden from this user"):
                drop(owner)
            assert drop(owner, force=True)
    finally:
        with one.connect("postgres") as conn:
            conn.execute(f"drop role {guest}".encode())


@pytest.mark.parametrize("state", ["idle", "busy", "forced"])
def test_a_session_that_comes_between_the_check_and_the_rename(
    one: Database, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    setup(one)
    oid = one.scalar("select oid from pg_database where datname = current_database()")
    with contextlib.ExitStack() as stack:
        came = []

        def settle(*args: Any, **kwargs: Any) -> None:
            came.append(stack.enter_context(busy(one)))
            if state == "idle":
                came[0].rollback()

        monkeypatch.setattr(sessions, "settle", settle)
        begun = time.monotonic()
        if state == "busy":
            with pytest.raises(
                Refused, match=rf"pid {'{}'}.*came in between: nothing was changed".replace("{}", r"\d+")
            ):
                setup(one)
            assert came[0].execute("select count(*) from users").fetchone() == (5,)
        else:
            setup(one, force=state == "forced")
        assert time.monotonic() - begun < 4
    now = one.scalar("select oid from pg_database where datname = current_database()")
    assert (now == oid) == (state == "busy")
    assert one.names() == ({""} if state == "busy" else {"", "__prev"})


def test_a_session_that_cannot_be_ended_in_time(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever holds up the rename, it is given up and said, and nothing is changed."""
    setup(one)
    monkeypatch.setattr(rename_database, "SECONDS", 0.3)
    monkeypatch.setattr(sessions, "end_sessions", lambda *_: None)
    monkeypatch.setattr(rename_database, "CLEAR", "select {names}")
    with busy(one) as conn:
        with pytest.raises(Problem, match=r"could not be renamed in 0 s: nothing was changed"):
            drop(one, force=True)
        assert conn.execute("select count(*) from users").fetchone() == (5,)
    assert one.names() == {""}
