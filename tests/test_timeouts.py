"""Timeouts that a role or a database sets for people: none of them ends a session of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.targets import Target
from ops import postgres
from ops.db import build, lock
from tests.fix_suppliers import Database

pytestmark = pytest.mark.every_server

KEPT = ("tcp_user_timeout", "wal_sender_timeout")
ALL = (
    r"select name, setting from pg_settings where context = 'user' and unit = 'ms' and name like '%\_timeout'"
    " and name not in ('tcp_user_timeout', 'wal_sender_timeout')"
)


@pytest.fixture
def hurried(database: Database) -> Iterator[Database]:
    """A database all of whose timeouts are a fifth of a second, for a role of its own too."""
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    role = f"{database.name}_hurried"
    database.do(f"create role {role} login superuser password 'hushhush'")
    for row in database.query(ALL):
        database.do(f"alter role {role} set {row['name']} to '200ms'")
        database.do(f"alter database {database.name} set {row['name']} to '200ms'")
    params = {**database.server.params, "user": role, "password": "hushhush"}
    theirs = Database(type(database.server)("hurried", params), database.name, database.root)
    postgres._timeouts.clear()
    yield theirs
    database.do(f"reassign owned by {role} to current_user", "postgres")
    for suffix in database.names():
        database.do(f"reassign owned by {role} to current_user; drop owned by {role}", database.name + suffix)
    database.do(f"drop role {role}", "postgres")


def left_on(conn: Any) -> list[str]:
    return [row["name"] for row in conn.execute(ALL).fetchall() if row["setting"] != "0"]


def test_every_session_of_ours_lifts_all_that_the_server_has(hurried: Database) -> None:
    assert hurried.query("show lock_timeout")[0]["lock_timeout"] == "200ms"
    target = hurried.target()
    for _ in ("the first, which asks for the names", "the next, which starts without"):
        with postgres.connect(target, task="test") as conn:
            assert left_on(conn) == []
    with postgres.connect(target, task="test") as conn:
        conn.execute("reset all")  # between two files
        assert left_on(conn) == []


def test_what_tells_a_peer_that_is_gone_is_left_as_it_is(hurried: Database) -> None:
    with postgres.connect(hurried.target(), task="test") as conn:
        assert not [name for name in KEPT if f"{name}=" in postgres._timeouts[postgres.server_of(hurried.target())]]
        assert conn.execute("select 1").fetchone()


def test_options_of_the_url_stay(hurried: Database) -> None:
    target = hurried.target(options="-c work_mem=7MB -c statement_timeout=1s")
    for _ in range(2):
        with postgres.connect(target, task="test") as conn:
            assert conn.execute("show work_mem").fetchone() == {"work_mem": "7MB"}
            assert left_on(conn) == []


@pytest.mark.parametrize("by_psql", [False, True])
def test_a_load_outlives_them(hurried: Database, by_psql: bool) -> None:
    slow = "create table slow (x int); select pg_sleep(0.7);"
    schema = hurried.sql(f"\\set x 1\n{slow}\nselect :x;\n" if by_psql else slow)
    seed = hurried.sql("select pg_sleep(0.7); insert into slow values (1);", "seed.sql")
    build.setup(hurried.settings(), "local", str(schema), str(seed), {}, "", force=False)
    assert hurried.scalar("select count(*) from slow") == 1


def test_waiting_for_the_lock_leaves_no_limit_behind(hurried: Database) -> None:
    with postgres.connect(hurried.target(), task="test") as conn:
        assert lock.wait_for_lock(conn, hurried.name, 5)
        assert left_on(conn) == []


def test_a_child_that_is_a_person_s_keeps_them(hurried: Database) -> None:
    with postgres.connect(hurried.target(), task="test"):
        pass
    target: Target = hurried.target()
    assert "PGOPTIONS" not in postgres.environment(target, task="db.connect")
    assert "-c transaction_timeout=0" in postgres.environment(target, task="db.seed", untimed=True)["PGOPTIONS"] or (
        hurried.scalar("show server_version_num") < "170000"
    )
