"""What the handler tries again, how it connects and what it tells: each of its decisions, by a real server's word."""

from __future__ import annotations

import contextlib
import socket
import string
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import psycopg
import pytest

from functions.post_confirmation import handler
from functions.post_confirmation.people import store
from tests.fix_people import NARROW, PLAIN, Make, Users, event, handling, person
from tests.test_lambda_handler import Context, told

REFUSING = """
create sequence public.refusals;
create function public.refuse() returns trigger language plpgsql security definer as $$
begin
  if nextval('public.refusals') <= 3 then raise 'me@example.com' using errcode = tg_argv[0]; end if;
  return new;
end $$;
"""
"""Refuses the first three rows, which a sequence counts through a rollback."""
TRIGGER = """
select setval('public.refusals', 1, false);
create or replace trigger refuse before insert on public.users for each row execute function public.refuse('{}')
"""
HEALS = {
    "serialization_failure": True,
    "deadlock_detected": True,
    "disk_full": True,
    "too_many_connections": True,
    "lock_not_available": True,
    "query_canceled": True,
    "cannot_connect_now": True,
    "connection_failure": True,
    "read_only_sql_transaction": True,
    "statement_too_complex": True,
    "program_limit_exceeded": False,
    "check_violation": False,
    "foreign_key_violation": False,
    "insufficient_privilege": False,
    "undefined_column": False,
    "invalid_text_representation": False,
    "raise_exception": False,
    "internal_error": False,
}


def test_what_may_heal_is_tried_again_and_nothing_else(
    function: Users, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handler, "PAUSE", 0.01)
    function.database.do(REFUSING)
    mine = handler.database
    for number, (condition, heals) in enumerate(HEALS.items()):
        function.database.do(TRIGGER.format(condition))
        handler.handler(event(number), Context(5))
        line = told(capsys)
        assert (line["outcome"], line["attempts"]) == (("inserted", 4) if heals else ("failed", 1)), condition
        assert (line.get("reason"), "example" in str(line)) == (None, False), condition
    assert mine is handler.database, "only what hangs is left behind"


def test_a_database_that_takes_no_rows_for_a_moment_is_waited_for(
    function: Users, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the one that a failover has just made the second one."""
    read_only = f"alter database {function.database.name} set default_transaction_read_only = "
    function.database.do(f"{read_only} on")
    failover = threading.Timer(0.5, lambda: function.database.do(f"set transaction read write; {read_only} off"))
    failover.start()
    handler.handler(event(1), Context(5))
    failover.join()
    assert told(capsys)["outcome"] == "inserted"


def test_what_is_too_long_for_an_index_is_tried_once(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    sub = "".join(Random(4).choices(string.printable, k=100_000))
    handler.handler(event(1, sub=sub), Context(5))
    line = told(capsys)
    assert (line["error"], line["sqlstate"], line["attempts"]) == ("ProgramLimitExceeded", "54000", 1)
    assert "maximum" in line["reason"]
    assert line["sub"] == sub[:64]


def test_the_value_that_a_column_cannot_take_is_not_told(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    function.database.do("alter table public.users alter cognito_user_id type uuid using null")
    handler.handler(event(1, sub="Mia Private"), Context(5))
    line = told(capsys)
    assert (line["error"], line["sqlstate"], line.get("reason")) == ("InvalidTextRepresentation", "22P02", None)


@contextlib.contextmanager
def door(monkeypatch: pytest.MonkeyPatch, *, silent: bool, query: str = "") -> Iterator[list[float]]:
    """Let CONNECTION_URL lead to where nobody answers, or everybody is sent away; yields when they came."""
    came: list[float] = []

    def send_away() -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = listener.accept()
                came.append(time.monotonic())
                guest.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("CONNECTION_URL", f"postgresql://u:p@127.0.0.1:{listener.getsockname()[1]}/x{query}")
        if silent:
            yield came
            return
        thread = threading.Thread(target=send_away)
        thread.start()
        yield came
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_each_pause_is_twice_as_long_up_to_the_longest_and_none_goes_beyond_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = handler.Database()
    with door(monkeypatch, silent=False) as came:
        end = time.monotonic() + 1.15
        with pytest.raises(psycopg.OperationalError, match="closed the connection"):
            database.within(person(), end)
        assert time.monotonic() - came[-1] < 0.25, "no pause before nothing"
    assert came[-1] + 0.45 > end, "and not given up early"
    database.jobs.put(None)
    assert database.attempts == len(came)
    assert 4 <= len(came) <= 5, "that many fit in only where each is no longer than it should be"
    pauses = [later - sooner for sooner, later in pairwise(came)]
    for pause, expected in zip(pauses, (0.1, 0.2, 0.4, 0.4), strict=False):
        assert pause > expected - 0.01


def test_a_connection_that_died_since_the_last_event_costs_no_pause(
    function: Users, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handler, "PAUSE", 3.0)
    for number in (1, 2):
        handler.handler(event(number), Context(5))
        assert handler.database.connection is not None
        function.database.query(f"select pg_terminate_backend({handler.database.connection.info.backend_pid}, 5000)")
        line = told(capsys)
        assert (line["outcome"], line["attempts"]) == ("inserted", number)
        assert line["ms"] < 3000


@pytest.mark.parametrize(("left", "least"), [(0.2, 0.7), (-9, 0)])
def test_who_does_not_answer_is_given_up_within_the_margin(
    monkeypatch: pytest.MonkeyPatch, left: float, least: float
) -> None:
    monkeypatch.setattr(handler, "MARGIN", 1.0)
    database = handler.Database()
    begun = time.monotonic()
    with door(monkeypatch, silent=True), pytest.raises(TimeoutError, match="did not answer in time") as caught:
        database.within(person(), begun + left)
    assert least <= time.monotonic() - begun + 0.01 < max(0, left) + 1
    assert handler.told(caught.value) == {"error": "TimeoutError", "reason": "the database did not answer in time"}
    database.jobs.put(None)


def test_there_is_a_moment_for_whoever_got_through_at_the_end(function: Users) -> None:
    function.database.do(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.03); return new; end $$;"
        "create trigger slow before insert on public.users for each row execute function slow()"
    )
    assert handler.database.store(person(), time.monotonic() - 1).inserted


OTHERWISE = "?connect_timeout=60&tcp_user_timeout=1&client_encoding=latin1"


@pytest.mark.parametrize("query", ["", OTHERWISE])
def test_a_connection_is_made_as_the_handler_needs_it_whatever_the_url_says(
    function: Users, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function.database.do(f"alter database {function.database.name} set client_encoding = 'LATIN1'")
    monkeypatch.setenv("CONNECTION_URL", function.url + query)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "cruddur-post-confirmation")
    for seconds, timeout in ((-1, "2"), (0.4, "2"), (3.9, "3")):
        with handler.opened(seconds) as conn:
            params = conn.info.get_parameters()
            assert params["connect_timeout"] == timeout
            assert params["tcp_user_timeout"] == "1500"
            assert conn.info.encoding == "utf-8"
            assert conn.execute("show application_name").fetchone() == ("cruddur-post-confirmation",)


def test_a_pooler_that_hands_out_sessions_by_transaction_will_do(make_users: Make) -> None:
    """What such a pooler breaks is state that outlives the transaction: prepared statements and settings."""
    with handling(make_users(NARROW)), handler.opened(5) as conn:
        kept = b"select name, setting from pg_settings where name ~ 'timeout' order by name"
        before = conn.execute(kept).fetchall()
        notices: list[str | None] = []
        conn.add_notice_handler(lambda diag: notices.append(diag.message_primary))
        for number in range(10):
            assert store(conn, person(number, display_name="too long for the table")).changed
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert notices == []
        assert conn.execute(kept).fetchall() == before
        assert conn.execute("select * from pg_prepared_statements").fetchall() == []
        assert conn.execute("select * from pg_locks where locktype = 'advisory'").fetchall() == []


URLS = {
    "host=h s3cret=1": "invalid connection option",
    "postgresql://u:p@h/x?s3cret=1": "invalid URI query parameter",
    "postgresql://u:p%s3cret@h/x": "invalid percent-encoded token",
    "postgresql://u:p@127.0.0.1/x?sslmode=s3cret": "invalid sslmode value",
    "s3cret me@example.com": 'missing "="',
    "postgresql://u:s3cret@nowhere.invalid/x": "failed to resolve host",
    "postgresql://u:s3cret@255.255.255.255/x": "Network is unreachable",
    "postgresql://u:s3cret@127.0.0.1:1/x": "Connection refused",
    "postgresql://u:s3c/s3cret@h/x": "failed to resolve host",
    "postgresql://u:x@s3cret@h/x": "failed to resolve host",
    "": "CONNECTION_URL is not set",
}


@pytest.mark.parametrize("url", URLS)
def test_what_is_wrong_with_a_url_is_told_without_its_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTION_URL", url)
    with pytest.raises((psycopg.Error, LookupError)) as caught:
        handler.opened(2)
    line = handler.told(caught.value)
    assert line.get("reason") == URLS[url]
    assert "s3cret" not in str(line)


@pytest.mark.parametrize(
    ("silent", "seconds", "reason"),
    [(True, 2.05, "timeout expired"), (False, 0.05, "server closed the connection unexpectedly")],
)
def test_a_server_that_does_not_let_in_is_told_from_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, silent: bool, seconds: float, reason: str
) -> None:
    monkeypatch.setattr(handler, "MARGIN", 3.0)
    database = handler.Database()
    with door(monkeypatch, silent=silent), pytest.raises(psycopg.OperationalError) as caught:
        database.within(person(), time.monotonic() + seconds)
    database.jobs.put(None)
    assert handler.told(caught.value)["reason"] == reason


def test_an_empty_error_is_told_all_the_same() -> None:
    answers: dict[str, Any] = handler.told(psycopg.OperationalError("me@example.com"))
    assert answers == {"error": "OperationalError", "sqlstate": None}


def test_a_name_that_is_too_wide_for_latin_letters_is_stored(
    make_users: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with handling(make_users(PLAIN, "encoding 'LATIN1' locale 'C' template template0")) as users:
        handler.handler(event(1, name="王"), Context(5))
        assert told(capsys)["changed"] == ["display_name"]
        assert users.rows()[0]["display_name"] == "?"
