"""db.sessions and db.kill-sessions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ops import postgres as connections
from ops.db import build, lock, sessions
from ops.errors import Problem
from ops.targets import opening
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

pytestmark = pytest.mark.every_server


@pytest.fixture
def filled(database: Database) -> Database:
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    return database


def session(database: Database, **params: str) -> psycopg.Connection[Any]:
    kwargs: dict[str, Any] = {**database.server.params, "dbname": database.name, **params}
    return psycopg.connect(**kwargs)


def ours(database: Database, **params: str) -> dict[int, sessions.Session]:
    """Return the sessions on our database, as a user sees them, by pid."""
    settings = database.settings(CONNECTION_URL=database.target(**params).url(show_password=True))
    with opening.open_target(settings, "local", "db.sessions") as at:
        return {s.pid: s for s in sessions.listed(at) if s.database == database.name}


def test_lists_who_does_what(filled: Database) -> None:
    with session(filled, application_name="feed ü") as idle, session(filled) as busy:
        idle.execute("select 1")
        idle.commit()
        busy.execute("select\n\n   count(*)\tfrom users")
        found = ours(filled)
        assert set(found) == {idle.info.backend_pid, busy.info.backend_pid}
        first, second = found[idle.info.backend_pid], found[busy.info.backend_pid]
        assert set(sessions.COLUMNS) <= set(sessions.as_row(first))
        assert first.user == filled.server.params["user"]
        assert first.state == "idle"
        assert second.state == "idle in transaction"
        assert second.query == "select count(*) from users", "on one line"
        assert first.age_seconds in range(60)
        assert str(sessions.as_row(first)["age"]).startswith("00:00:")
        assert sessions.as_row(second)["client"] not in ("", "hidden")


def test_the_command_line_prints_a_table_or_json(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.create", env=env)
    with session(one, application_name="feed") as conn:
        rows = json.loads(inv.ok("db.sessions", "--json", env=env))
        assert [r["application"] for r in rows if r["pid"] == conn.info.backend_pid] == ["feed"]
        lines = inv.ok("db.sessions", env=env).splitlines()
        assert lines[0].split() == list(sessions.COLUMNS)
        assert any(line.startswith(str(conn.info.backend_pid)) and " feed " in line for line in lines)


def test_kill_ends_those_on_the_database_and_no_others(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.create", env=env)
    with contextlib.suppress(psycopg.OperationalError), session(one) as mine, session(one, dbname="postgres") as other:
        mine.execute("select 1")
        done = inv("db.kill-sessions", env=env)
        assert done.returncode == 0
        assert done.stdout == ""
        assert f"ended pid {mine.info.backend_pid} (" in done.stderr
        assert f"1 sessions ended on {one.name}" in done.stderr
        assert other.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            mine.execute("select 1")
    assert f"0 sessions ended on {one.name}" in inv("db.kill-sessions", env=env).stderr


def test_our_own_sessions_have_a_name(filled: Database) -> None:
    settings = filled.settings()
    with opening.open_target(settings, "local", "db.seed") as at, at.connect() as conn, lock.hold_lock(at):
        found = ours(filled)[conn.info.backend_pid]
        assert found.application == connections.application("db.seed")
        assert found.application.startswith("inv db.seed ")
        assert "@" in found.application
        assert str(at.conn.info.backend_pid) in lock.holder(at)


def test_a_long_user_name_is_cut_at_a_whole_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "whoami", lambda: "ü" * 60)
    name = connections.application("db.setup")
    assert len(name.encode()) <= 63
    assert name.endswith("ü")


@pytest.fixture
def guest(filled: Database) -> Iterator[dict[str, str]]:
    """A user who may not see what others do."""
    role = f"{filled.name}_guest"
    with filled.connect("postgres") as conn:
        conn.execute(f"create role {role} login createdb password 'x'".encode())
    yield {"user": role, "password": "x"}
    with filled.connect("postgres") as conn:
        conn.execute(f"drop role {role}".encode())


def test_a_restricted_user_sees_that_others_are_there(filled: Database, guest: dict[str, str]) -> None:
    with session(filled, application_name="secret work") as conn:
        conn.execute("select 'a secret'")
        found = ours(filled, **guest)[conn.info.backend_pid]
        assert (found.application, found.hidden) == ("secret work", True)
        assert (found.state, found.client_address, found.age_seconds, found.query) == (None, None, None, None)
        shown = sessions.as_row(found)
        assert (shown["state"], shown["client"], shown["age"]) == ("hidden", "hidden", None)
        at = opening.open_target(
            filled.settings(CONNECTION_URL=filled.target(**guest).url(show_password=True)), "local", "db.sessions"
        )
        with at as seen:
            in_the_way = sessions.in_the_way(seen.conn, [filled.name])
            assert [s["pid"] for s in in_the_way] == [conn.info.backend_pid]
            assert not in_the_way[0]["idle"]
            with pytest.raises(Problem, match=r"hidden from this user\) is in the way and this user may not end it"):
                sessions.end_sessions(seen.conn, in_the_way)


def test_a_restricted_user_is_told_who_holds_the_lock(filled: Database, guest: dict[str, str]) -> None:
    with opening.open_target(filled.settings(), "local", "db.setup") as at, lock.hold_lock(at):
        settings = filled.settings(CONNECTION_URL=filled.target(**guest).url(show_password=True))
        with opening.open_target(settings, "local", "db.setup") as other:
            who = lock.holder(other)
            assert who == f"{connections.application('db.setup')} (pid {at.conn.info.backend_pid})"
    with opening.open_target(filled.settings(), "local", "db.setup") as at:
        assert lock.holder(at) == "another run on this database"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (3725, "01:02:05"), (86400, "1 day"), (180_061, "2 days 02:01:01")]
)
def test_an_age_is_told_as_postgres_does(one: Database, seconds: int, text: str) -> None:
    assert sessions.length(seconds) == text
    assert one.scalar(f"select (justify_hours(interval '{seconds} seconds'))::text", "postgres") == text
