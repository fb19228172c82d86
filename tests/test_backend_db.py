"""backend/db.py: a pool that opens when it is used, and heals; JSON built by Postgres."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend import db, settings
from backend.db import (
    AWAY_TIMEOUT,
    Pool,
    pool,
    query,
    query_array_json,
    query_object_json,
    query_wrap_array,
    query_wrap_object,
    told,
)
from config.targets import Target
from tests import servers
from tests.fix_app import filled
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database

OURS = "select count(*) from pg_stat_activity where application_name = 'cruddur backend' and datname = '{}'"


@pytest.fixture
def mine(one: Database) -> Iterator[Pool]:
    """A pool of four on a database with the sample feed."""
    made = Pool(filled(one).url, size=4, timeout=2)
    yield made
    made.close()


def pids(database: Database) -> set[int]:
    return {row["pid"] for row in database.query(OURS.replace("count(*)", "pid").format(database.name), "postgres")}


def connections(database: Database) -> int:
    return int(database.scalar(OURS.format(database.name), "postgres"))


def wait_for(database: Database, number: int) -> None:
    deadline = time.monotonic() + 5
    while connections(database) != number:
        assert time.monotonic() < deadline, f"{connections(database)} connections, not {number}"
        time.sleep(0.02)


# --- JSON built by Postgres ---------------------------------------------------------------


def test_rows_are_an_array_in_their_order(feeds: Database) -> None:
    found = query_array_json("select n, 'x' || n as text from generate_series(1, 500) n order by n desc")
    assert [row["n"] for row in found] == list(range(500, 0, -1))
    assert found[0] == {"n": 500, "text": "x500"}


def test_one_row_is_an_object(feeds: Database) -> None:
    assert query_object_json("select 1 as a, null as b") == {"a": 1, "b": None}
    assert query_object_json("select n from generate_series(1, 3) n") == {"n": 1}


def test_no_row_is_an_empty_one(feeds: Database) -> None:
    assert query_array_json("select 1 as a where false") == []
    assert query_object_json("select 1 as a where false") == {}


@pytest.mark.parametrize(
    "template",
    [
        "select 1 as a",
        "select 1 as a;",
        "\n select 1 as a ;\r\n",
        "-- why; 'so\nselect 1 as a -- and\n",
        "(select 1 as a)",
    ],
)
def test_templates_come_as_people_write_them(feed: Database, template: str) -> None:
    assert query_array_json(template) == [{"a": 1}]
    assert query_object_json(template) == {"a": 1}


@examples(deadline=None)
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_values_are_parameters_whatever_is_in_them(anywhere: Pool, value: str) -> None:
    assert query_object_json("select %(v)s::text as v", {"v": value}, anywhere) == {"v": value}
    assert query_array_json("select %(v)s::text as v", {"v": value}, anywhere) == [{"v": value}]


@pytest.fixture(scope="module")
def anywhere(postgres: servers.Server) -> Iterator[Pool]:
    """A pool on the server's own database, for a test that runs many times."""
    made = Pool(Target("local", "", {**postgres.params, "dbname": "postgres"}).url(show_password=True))
    yield made
    made.close()


def test_the_wrapped_query_is_used_as_those_of_old(feed: Database) -> None:
    with pool.connection() as conn, conn.cursor() as cursor:
        cursor.execute(
            query_wrap_array("select handle from users where handle = %(handle)s").encode(), {"handle": "zoe"}
        )
        row = cursor.fetchone()
        assert row is not None
        assert row[0] == [{"handle": "zoe"}]
        cursor.execute(query_wrap_object("select handle from users where handle = %s").encode(), ["zoe"])
        row = cursor.fetchone()
        assert row is not None
        assert row[0] == {"handle": "zoe"}


# --- queries by name ----------------------------------------------------------------------


def test_a_query_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "short.sql").write_text("\ufeffselect 1", encoding="utf-8")
    assert query("users/short", tmp_path) == "select 1"
    assert "public.activities" in query("home")


@pytest.mark.parametrize("name", ["../schema", "/etc/passwd", "home.sql", "", "a b", "a//b", "nope", "home\0", "."])
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(LookupError, match="quer"):
        query(name)


# --- settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"DB_POOL_SIZE": "0"}, "DB_POOL_SIZE: 0 is not a number above 0"),
        ({"DB_POOL_SIZE": "many"}, "DB_POOL_SIZE: many"),
        ({"DB_POOL_SIZE": "2.5"}, "DB_POOL_SIZE: 2.5"),
        ({"DB_POOL_TIMEOUT": "nan"}, "DB_POOL_TIMEOUT: nan"),
        ({"DB_POOL_TIMEOUT": "61"}, "at most 60"),
        ({"PORT": "65536"}, "PORT: 65536"),
        ({"HIDE_EXPIRED": "true"}, "HIDE_EXPIRED: true is neither yes nor no"),
        ({}, "CONNECTION_URL is not set"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(environ: dict[str, str], why: str) -> None:
    with pytest.raises(settings.Misconfigured, match=why):
        settings.load(environ, complete=True)


def test_an_empty_variable_is_an_unset_one() -> None:
    names = ("DB_POOL_SIZE", "DB_POOL_TIMEOUT", "DB_QUERIES", "HIDE_EXPIRED", "FRONTEND_URL", "HOST", "PORT")
    assert settings.load(dict.fromkeys(names, "")) == settings.load({})
    assert "secret" not in repr(settings.load({"CONNECTION_URL": "postgresql://u:secret@h/d"}))


def test_the_documentation_names_every_variable() -> None:
    source = (SUITE / "backend" / "settings.py").read_text(encoding="utf-8")
    documented = (SUITE / "docs" / "app.md").read_text(encoding="utf-8")
    names = set(re.findall(r'(?:environ\.get|number)\("(\w+)"', source))
    assert {"CONNECTION_URL", "PORT"} <= names
    assert not [name for name in names if f"`{name}`" not in documented]


# --- the pool -----------------------------------------------------------------------------


def test_importing_it_connects_to_nothing_and_needs_no_url() -> None:
    env = {k: v for k, v in os.environ.items() if k != "CONNECTION_URL"}
    code = "import threading, backend.db, backend.home_activities; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=SUITE, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_it_opens_on_first_use_and_closes_cleanly(one: Database, mine: Pool) -> None:
    assert connections(one) == 0
    with mine.connection() as conn:
        assert conn.autocommit
        [(zone, name)] = conn.execute(
            "select current_setting('timezone'), current_setting('application_name')"
        ).fetchall()
        assert (zone, name) == ("UTC", "cruddur backend")
        assert 1 <= connections(one) <= 2  # the one it begins with, and one for whoever waits for that
    threads = threading.active_count()
    mine.close()
    wait_for(one, 0)
    assert threading.active_count() < threads
    with mine.connection():  # and again
        assert connections(one) >= 1


def test_it_never_holds_more_than_its_size(one: Database, mine: Pool) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(mine.connection())
        begun = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            stack.enter_context(mine.connection())
        assert 1.5 < time.monotonic() - begun < 4
        assert connections(one) == 4
    with mine.connection():
        pass


@pytest.mark.parametrize(("kept", "left"), [("0", 0), ("1", 4)])
def test_connections_that_nobody_uses_are_closed_where_none_is_to_be_kept(
    one: Database, mine: Pool, monkeypatch: pytest.MonkeyPatch, kept: str, left: int
) -> None:
    """All of them in that time, so that the database can pause; where some are kept, ten times as much passes for each."""
    monkeypatch.setattr(db, "IDLE_ALONE", 2.0)
    monkeypatch.setenv("DB_POOL_KEPT", kept)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(mine.connection())
        assert connections(one) == 4
    begun = time.monotonic()
    while connections(one) > left and time.monotonic() - begun < 8:
        time.sleep(0.1)
    if kept == "1":
        time.sleep(4)
    assert (connections(one), time.monotonic() - begun < 5) == (left, True)
    with mine.connection():  # and again
        assert connections(one) >= 1


def test_the_urls_own_parameters_win(one: Database) -> None:
    made = Pool(f"{filled(one).url}?application_name=theirs&connect_timeout=7")
    with made.connection() as conn:
        assert conn.info.get_parameters()["application_name"] == "theirs"
        assert conn.info.get_parameters()["connect_timeout"] == "7"
    made.close()


def test_connections_that_were_ended_are_noticed_before_use(one: Database, mine: Pool) -> None:
    """All of them at once, as a restart does: the first request after it must not fail."""
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(mine.connection())
    wait_for(one, 4)
    ended = f"select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{one.name}'"
    assert one.scalar(ended, "postgres") == 4
    wait_for(one, 0)
    begun = time.monotonic()
    assert query_object_json("select 1 as a", source=mine) == {"a": 1}
    assert time.monotonic() - begun < 1


def test_while_the_database_is_away_it_says_so_quickly() -> None:
    made = Pool(f"postgresql://u:hushhush@127.0.0.1:{servers.free_port()}/d", timeout=3)
    with pytest.raises(psycopg.OperationalError), made.connection():
        pass
    for _ in range(3):
        begun = time.monotonic()
        with pytest.raises(psycopg.OperationalError) as caught, made.connection():
            pass
        assert time.monotonic() - begun < AWAY_TIMEOUT + 1.5
        assert "hushhush" not in str(caught.value)
    made.close()


def test_a_query_that_takes_too_long_is_ended(mine: Pool) -> None:
    with mine.connection() as conn:
        assert conn.execute("show statement_timeout").fetchone() == ("10s",)
        conn.execute("set statement_timeout = '50ms'")
        with pytest.raises(psycopg.OperationalError):
            conn.execute("select pg_sleep(5)")


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("select 'CANARY'::int", "InvalidTextRepresentation (22P02)"),
        ("do $$ begin raise 'CANARY'; end $$", "RaiseException (P0001)"),
        ("select * from no_such", 'relation "no_such" does not exist (42P01)'),
    ],
)
def test_nobodys_data_is_in_the_log(mine: Pool, statement: str, shown: str) -> None:
    with mine.connection() as conn, pytest.raises(psycopg.Error) as caught:
        conn.execute(statement.encode())
    assert told(caught.value) == shown


def test_a_child_that_was_forked_has_connections_of_its_own(one: Database, mine: Pool) -> None:
    """As gunicorn's workers have, where the application is loaded before the fork."""
    with mine.connection(), mine.connection():
        parents = pids(one)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns of a fork beside threads: that is the test
        child = os.fork()
    if child == 0:
        code = 1
        try:
            with mine.connection() as conn:
                code = 0 if conn.info.backend_pid not in parents else 2
            mine.close()
            gc.collect()
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    if done[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (done[0], os.waitstatus_to_exitcode(done[1])) == (child, 0)
    with mine.connection() as conn:  # the child's end has closed nothing of ours
        assert parents <= pids(one)
        assert conn.execute("select 1").fetchone() == (1,)


def test_the_module_stands_alone() -> None:
    """It is what an application imports, without the rest of the suite."""
    code = "import sys, backend.app, backend.health; print(sorted({'ops', 'config', 'invoke', 'boto3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=SUITE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
