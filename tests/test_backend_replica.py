"""The feed at a replica: read there where it is near enough, told where not, and never worse than without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.app import create_app
from backend.db import Pool, query_array_json
from backend.replica import Reading
from config.settings import load
from config.targets import Target
from ops.app import serve
from tests import servers
from tests.fix_suppliers import Database
from tests.test_replica import Pair, pair  # noqa: F401
from tests.test_replica import rows as query_rows

WHERE = "select pg_is_in_recovery() as replica, count(*) as rows from people"


@pytest.fixture
def reading(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:  # noqa: F811
    made = at(pair.primary.url, pair.url(), monkeypatch)
    yield made
    closed(made)


def at(primary: str, replica: str, monkeypatch: pytest.MonkeyPatch) -> Reading:
    for name, value in {"CONNECTION_URL": primary, "READ_CONNECTION_URL": replica, "DB_POOL_TIMEOUT": "2"}.items():
        monkeypatch.setenv(name, value)
    return Reading(Pool(size=2), Pool(size=2, replica=True))


def closed(made: Reading) -> None:
    if made._thread:
        made._thread.join()
    made.primary.close()
    made.replica.close()


def rows(of: Reading) -> Any:
    return of.read(lambda source: query_array_json(WHERE, None, source))


def test_it_is_read_there_as_long_as_it_is_near(
    pair: Pair,  # noqa: F811
    reading: Reading,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair.primary.do("update people set id = id")  # from which on it has a time to tell
    assert rows(reading) == [{"replica": False, "rows": 3}]  # nobody waits for the first look
    assert reading._thread
    reading._thread.join()
    assert rows(reading) == [{"replica": True, "rows": 3}]
    pair.on_standby("select pg_wal_replay_pause()")
    try:
        pair.primary.do("insert into people values (4)")
        reading.look(600)
        assert rows(reading) == [{"replica": True, "rows": 3}]
        reading.look(0.001)
        reading.look(0.001)
        assert rows(reading) == [{"replica": False, "rows": 4}]
    finally:
        pair.on_standby("select pg_wal_replay_resume()")
        pair.primary.do("delete from people where id = 4")
    reading.look(0.001)  # an idle primary has nothing that it lacks
    assert rows(reading) == [{"replica": True, "rows": 3}]
    said = [one.getMessage().partition(" by ")[0] for one in caplog.records]
    assert said == [
        "read at the replica",
        "the database is read itself, not its replica: it lags",
        "read at the replica",
    ]


def test_what_fails_there_is_read_at_the_primary(
    pair: Pair,  # noqa: F811
    reading: Reading,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A query that gives way to what is replayed, or a session that is ended."""
    reading.look(10)
    asked: list[Pool] = []

    def ask(source: Pool) -> Any:
        asked.append(source)
        with source.connection() as conn:
            if source is reading.replica:
                conn.execute("do $$ begin raise exception 'conflict with recovery' using errcode = '40001'; end $$")
            return query_array_json(WHERE, None, source)

    assert reading.read(ask) == [{"replica": False, "rows": 3}]
    assert asked == [reading.replica, reading.primary]
    assert not reading.fit
    assert "conflict with recovery" not in caplog.text  # said by a function, it may hold anybody's data
    reading.look(10)
    assert reading.fit


@pytest.mark.parametrize("what", ["another", "itself", "away", "login"])
def test_one_that_is_none_is_not_read(
    pair: Pair,  # noqa: F811
    postgres: servers.Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    url, why = {
        "another": (
            Target("", "", {**postgres.params, "dbname": "postgres"}).url(show_password=True),
            "it is another server's",
        ),
        "itself": (pair.primary.url, "it follows nobody any more"),
        "away": (pair.url(port=str(servers.free_port())), "nothing answers|no connection|not reachable"),
        "login": (pair.url(password="not this one"), "no connection|wrong user"),
    }[what]
    made = at(pair.primary.url, url, monkeypatch)
    try:
        made.look(10)
        assert rows(made) == [{"replica": False, "rows": 3}]
    finally:
        closed(made)
    [said] = [one.getMessage() for one in caplog.records if one.name == "backend"]
    assert "not its replica: " in said
    assert any(each in said for each in why.split("|")), said


def test_while_the_primary_is_away_the_replica_s_own_word_holds(
    pair: Pair,  # noqa: F811
    reading: Reading,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair.primary.do("update people set id = id")
    reading.look(600)
    monkeypatch.setattr(reading, "place", lambda: None)
    reading.look(600)
    assert rows(reading)[0]["replica"]
    reading.look(0.0001)
    assert not reading.fit


def test_what_the_replica_does_not_know_yet_is_read_at_the_primary(pair: Pair, reading: Reading) -> None:  # noqa: F811
    """A migration that is a moment ahead of it, within the lag that is allowed."""
    reading.look(600)
    pair.on_standby("select pg_wal_replay_pause()")
    try:
        pair.primary.do("alter table people add column handle text")
        assert reading.read(lambda source: query_array_json("select handle from people limit 1", None, source)) == [
            {"handle": None}
        ]
    finally:
        pair.on_standby("select pg_wal_replay_resume()")
        pair.primary.do("alter table people drop column handle")


def test_the_replica_of_one_that_was_restored_from_is_not_read(
    pair: Pair,  # noqa: F811
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A restored server has the same identifier, and none of what was written behind its point; the replica has."""
    restored = servers.standby(pair.primary.server)
    try:
        other = Database(restored, pair.primary.name, root)
        other.do("select pg_promote()")
        pair.primary.do("create table written_later as select generate_series(1, 20000) as id")
        here = pair.primary.scalar("select pg_current_wal_lsn()::text")
        while not pair.on_standby(f"select pg_last_wal_replay_lsn() >= '{here}'"):
            time.sleep(0.01)
        made = at(other.url, pair.url(), monkeypatch)
        try:
            assert made.unfit(600).startswith("it has what its primary has not")
        finally:
            closed(made)
        env = {"STAGING_CONNECTION_URL": other.url, "STAGING_READ_CONNECTION_URL": pair.url()}
        (root / "sql" / "queries").mkdir(parents=True)
        (root / "sql" / "queries" / "where.sql").write_text(WHERE)
        assert query_rows(load({"targets": {"staging": {}}}, env, root)) == [{"replica": False, "rows": 3}]
        assert "so it follows another one: correct STAGING_READ_CONNECTION_URL" in capsys.readouterr().err
    finally:
        restored.stop()
        pair.primary.do("drop table if exists written_later")


def test_health_is_the_primarys_where_the_replica_is_gone(
    pair: Pair,  # noqa: F811
    reading: Reading,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading.look(10)
    monkeypatch.setenv("READ_CONNECTION_URL", pair.url(port=str(servers.free_port())))
    gone = Pool(size=2, replica=True)
    reading.replica.close()
    reading.replica = gone
    monkeypatch.setattr("backend.app.reading", reading)
    answer = create_app().test_client().get("/api/health")
    assert (answer.status_code, answer.json) == (200, {"database": "reachable"})


def test_app_run_hands_it_on(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (tmp_path / "backend").mkdir()
    pair.primary.do("create table if not exists activities (id int)")
    port = str(servers.free_port())
    for read, handed, says in ((pair.url(), True, "read at its replica"), ("", False, "the feed is at")):
        settings = pair.settings(tmp_path, read)
        _, env = serve.command(settings, "staging", port)
        assert ("READ_CONNECTION_URL" in env, env.get("DB_READ_LAG")) == (handed, "10" if handed else None)
        assert says in capsys.readouterr().err
