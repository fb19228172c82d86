"""What clients see of a swap: those that reconnect, those of our own pool, the feed, the function.

TEST_SWAPS says how many swaps the pool's clients ride through (200 by hand).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backend.app import create_app
from backend.db import Pool, pool, query, query_array_json, told
from functions.post_confirmation import handler
from functions.post_confirmation.people import Person
from ops.db import build, rename_database, swap
from ops.targets import opening
from tests import servers
from tests.fix_app import filled, get, serve
from tests.fix_people import event
from tests.fix_suppliers import Database, made, supply

SWAPS = int(os.environ.get("TEST_SWAPS", "24"))
pytestmark = pytest.mark.xdist_group("swaps")  # beside others of them a login takes longer than it is tried
SETUPS = 11 if SWAPS >= 200 else 4
CLIENTS = 10
AGAIN = 0.1
"""Seconds after which a client that finds no database tries again: what counts is how many met the moment, not how often."""
RAW = ("FATAL", "connection to server", "consuming input", "DETAIL", "port ")
"""What only libpq and the server write."""


@pytest.fixture(scope="module", params=["embedded", "debian"])
def version(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """The newest and the oldest server."""
    try:
        yield from supply(request.param)
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def versions(version: servers.Server, root: Path) -> Iterator[Database]:
    """A database on the newest and on the oldest server."""
    yield from made(version, root)


def swaps(database: Database, number: int) -> float:
    """Swap so many times; return how long the longest took, in seconds."""
    longest = 0.0
    for _ in range(number):
        begun = time.monotonic()
        with opening.open_target(database.settings(), "local", "db.undo", writes=True, announced=False) as at:
            swap.undo(at, force=True)
        longest = max(longest, time.monotonic() - begun)
    return longest


@contextlib.contextmanager
def beside(client: Callable[[], str], clients: int = CLIENTS) -> Iterator[Counter[str]]:
    """Let clients do something over and over; count what they say of it."""
    seen, stop = Counter[str](), threading.Event()

    def work() -> None:
        while not stop.is_set():
            said = client()
            with lock:
                seen[said] += 1

    lock = threading.Lock()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def reconnecting(database: Database) -> Callable[[], str]:
    params: dict[str, Any] = {**database.server.params, "dbname": database.name}

    def client() -> str:
        try:
            with psycopg.connect(**params, autocommit=True) as conn:
                conn.execute("select count(*) from users")
        except psycopg.OperationalError as error:
            if "does not exist" in str(error):
                time.sleep(AGAIN)
                return "no such database"
            known = ("terminating connection", "closed the connection")
            return "ended" if any(words in str(error) for words in known) else str(error)
        return "ok"

    return client


@pytest.mark.spread(most=2)
@pytest.mark.slow
@pytest.mark.parametrize("user", ["superuser", "owner"])
def test_clients_that_reconnect_beside_setups(versions: Database, user: str) -> None:
    one = versions
    database, role = one, f"{one.name}_owner"
    if user == "owner":
        one.do(f"create role {role} login createdb password 'x'; grant pg_signal_backend to {role}", "postgres")
        database = Database(
            servers.Server(one.server.label, {**one.server.params, "user": role, "password": "x"}), one.name, one.root
        )
    try:
        filled(database)
        with beside(reconnecting(database)) as seen:
            for _ in range(SETUPS):
                build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=True)
    finally:
        for suffix in one.names():
            one.do(f'drop database "{one.name}{suffix}" with (force)', "postgres")
        one.do(f"drop role if exists {role}", "postgres")
    print(dict(seen))
    assert set(seen) <= {"ok", "ended", "no such database"}
    assert seen["ok"] > 100
    # without the door, who looked the name up in those milliseconds, once each
    assert seen["no such database"] <= (1 if user == "superuser" else CLIENTS * SETUPS)


@pytest.mark.slow
def test_clients_of_the_pool_see_no_error(versions: Database, caplog: pytest.LogCaptureFixture) -> None:
    filled(versions)
    filled(versions)
    # on a busy machine ten logins at once may take longer than the two seconds that one waits by default
    mine = Pool(versions.url, size=4, timeout=10)
    text = query("home")
    parameters = {"limit": 20, "before": None, "before_uuid": None, "hide_expired": False}

    def client() -> str:
        try:
            return f"{len(query_array_json(text, parameters, mine))} rows"
        except psycopg.Error as error:
            return f"{type(error).__name__} {error}"

    begun = time.monotonic()
    with caplog.at_level(logging.WARNING), beside(client) as seen:
        longest = swaps(versions, SWAPS)
    mine.close()
    print(f"{SWAPS} swaps in {time.monotonic() - begun:.1f} s, the longest {longest:.2f} s: {dict(seen)}")
    assert set(seen) == {"9 rows"}
    assert seen["9 rows"] > SWAPS
    assert not [line for line in caplog.messages if any(word in line for word in RAW)]


@pytest.mark.slow
def test_the_feed_answers_each_reader(one: Database) -> None:
    filled(one)
    filled(one)
    # on a busy machine eight logins at once may take longer than the two seconds that a request waits by default
    with (
        serve(one.url, DB_POOL_TIMEOUT="10") as url,
        beside(lambda: str(get(f"{url}/api/activities/home").status)) as seen,
    ):
        swaps(one, SWAPS // 2)
    print(dict(seen))
    assert set(seen) == {"200"}


@pytest.mark.slow
def test_the_function_loses_nobody(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(one)
    filled(one)
    monkeypatch.setenv("CONNECTION_URL", one.url)
    kept = threading.local()
    number = iter(range(10**6))

    def client() -> str:
        if not hasattr(kept, "database"):
            kept.database = handler.Database()
        sent = event(next(number))["request"]["userAttributes"]
        try:
            return str(kept.database.within(Person.of(sent, "x"), time.monotonic() + 4).word)
        except Exception as error:
            return json.dumps(handler.told(error))

    with beside(client, 4) as seen:
        swaps(one, SWAPS // 2)
    print(dict(seen))
    assert set(seen) <= {"inserted", "present"}


def test_somebody_who_reads_the_list_of_databases_holds_up_neither_swap_nor_logins(
    one: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pg_dump does for hours: then it is done without the door, and logins wait for no more than an attempt."""
    filled(one)
    filled(one)
    monkeypatch.setattr(rename_database, "DOOR", 0.5)
    longest = 0.0

    def client() -> str:
        nonlocal longest
        begun = time.monotonic()
        one.scalar("select 1", "template1")
        longest = max(longest, time.monotonic() - begun)
        return "ok"

    before = one.scalar("select oid from pg_database where datname = current_database()")
    with one.connect("postgres") as reader, beside(client, 1) as seen:
        reader.execute("begin; select from pg_database")
        assert swaps(one, 1) < 5
    assert one.scalar("select oid from pg_database where datname = current_database()") != before
    print(dict(seen), f"{longest:.2f} s")
    assert longest < 2


# --- what the pool rides through, one by one ----------------------------------------------------


def gone(database: Database) -> Callable[[], None]:
    """Take the name away; return what brings it back."""
    name = database.name
    database.do(f"alter database {name} rename to {name}x", "postgres")
    return lambda: database.do(f"alter database {name}x rename to {name}", "postgres")


def shut(database: Database) -> Callable[[], None]:
    database.do(f"alter database {database.name} allow_connections false", "postgres")
    return lambda: database.do(f"alter database {database.name} allow_connections true", "postgres")


def full(database: Database) -> Callable[[], None]:
    """Let in nobody but superusers, of whom there is one too few."""
    database.do(
        f"alter database {database.name} connection limit 0; alter role {database.name} nosuperuser", "postgres"
    )
    return lambda: database.do(f"alter database {database.name} connection limit -1", "postgres")


@pytest.mark.parametrize("away", [gone, shut, full])
def test_the_pool_waits_for_a_database_that_is_away_for_a_moment(
    one: Database, caplog: pytest.LogCaptureFixture, away: Callable[[Database], Callable[[], None]]
) -> None:
    filled(one)
    one.do(f"create role {one.name} superuser login password 'x'", "postgres")
    mine = Pool(one.target(user=one.name, password="x").url(show_password=True), size=2)
    end = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{one.name}'"
    try:
        assert query_array_json("select 1 as n", source=mine) == [{"n": 1}]
        while one.scalar(f"select count(*) from pg_stat_activity where datname = '{one.name}'", "postgres"):
            with contextlib.suppress(psycopg.OperationalError):
                one.do(end, "postgres")  # again and again: the pool's other connection may be on its way
            time.sleep(0.05)
        back = threading.Timer(0.7, away(one))
        back.start()
        begun = time.monotonic()
        assert query_array_json("select 1 as n", source=mine) == [{"n": 1}]
        assert time.monotonic() - begun > 0.5
        back.join()
    finally:
        mine.close()
        one.do(f"drop role {one.name}", "postgres")
    assert not [line for line in caplog.messages if any(word in line for word in RAW)]


def test_a_query_whose_session_is_ended_is_sent_again(one: Database) -> None:
    filled(one)
    mine = Pool(one.url, size=1)
    end = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{one.name}' and query ~ 'pg_sleep'"
    ended = threading.Timer(2.3, lambda: one.do(end, "postgres"))  # later than a login is tried again
    ended.start()
    try:
        assert query_array_json("select 1 as n from pg_sleep(2.6)", source=mine) == [{"n": 1}]
    finally:
        mine.close()
    with pytest.raises(psycopg.errors.UndefinedTable):
        query_array_json("select * from nothing_like_it", source=mine)
    mine.close()


def test_the_feeds_log_has_no_words_of_libpq(
    one: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CONNECTION_URL", one.url)  # nothing of this name is there
    monkeypatch.setenv("DB_POOL_TIMEOUT", "0.5")
    pool.close()
    try:
        answer = create_app().test_client().get("/api/activities/home")
    finally:
        pool.close()
    assert answer.status_code == 503
    assert "GET /api/activities/home: no connection to be had in time" in caplog.messages
    assert not [line for line in caplog.messages if any(word in line for word in RAW)]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"dbname": "nobody_has_it"}, "there is no database, or no user, of this name just now"),
        ({"user": "nobody_has_it"}, "wrong user or password"),
        ({"password": "wrong"}, "wrong user or password"),
        ({"port": "1"}, "nothing answers at its address"),
        ({"host": "nobody.invalid"}, "its host name does not resolve"),
    ],
)
def test_the_log_says_in_our_words_why_there_is_no_connection(
    one: Database, params: dict[str, str], words: str
) -> None:
    kwargs: dict[str, Any] = {**one.server.params, "dbname": "postgres", **params}
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**kwargs)
    assert told(caught.value) == words
