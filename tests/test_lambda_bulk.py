"""Many people at once: the same rows as one by one, and nobody waits for anybody."""

from __future__ import annotations

import pytest

from functions.post_confirmation.people import Person, key
from ops.lambdas.user_pool import bulk
from tests.fix_lambda import Stage


def person(number: int, handle: str = "") -> Person:
    return Person(f"Person {number}", handle or f"p{number}", None, f"sub-{number}")


def test_all_go_in_at_once_and_once_only(stage: Stage) -> None:
    people = [person(number) for number in range(60)]
    with stage.database.connect() as conn:
        assert bulk.insert(conn, people) == {p.cognito_user_id for p in people}
        assert bulk.insert(conn, people) == set()
    assert stage.database.scalar("select count(*) from users") == 60


def test_one_handle_is_given_once_and_the_other_is_left(stage: Stage) -> None:
    with stage.database.connect() as conn:
        assert bulk.insert(conn, [person(1, "same"), person(2, "SAME"), person(3)]) == {"sub-1", "sub-3"}
        assert bulk.insert(conn, [person(4, "Same")]) == set()


def test_whom_the_function_is_busy_with_is_left(stage: Stage) -> None:
    with stage.database.connect() as conn, stage.database.connect() as function, function.transaction():
        function.execute("select pg_advisory_xact_lock(%s)", [key("handle", "p1")])
        assert bulk.insert(conn, [person(1), person(2)]) == {"sub-2"}


def test_one_whom_the_table_refuses_leaves_all_to_be_stored_one_by_one(stage: Stage) -> None:
    stage.database.do("alter table users add check (handle <> 'p1')")
    with stage.database.connect() as conn:
        assert bulk.insert(conn, [person(1), person(2)]) == set()
        assert bulk.insert(conn, [person(2)]) == {"sub-2"}


def test_a_handle_is_the_same_where_the_server_says_so(stage: Stage) -> None:
    """Without a unique index nothing else would keep the second one out."""
    stage.database.do("drop index users_handle_key")
    with stage.database.connect() as conn:
        assert bulk.insert(conn, [person(1, "Ünal"), person(2, "ünal"), person(3)]) == {"sub-1", "sub-3"}


def test_a_row_that_another_transaction_holds_is_not_waited_for_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SECONDS", 1)
    with stage.database.connect() as conn, stage.database.connect() as other, other.transaction():
        other.execute("insert into users (display_name, handle, cognito_user_id) values ('x', 'x', 'sub-1')")
        assert bulk.insert(conn, [person(1), person(2)]) == set()
    assert stage.database.scalar("select count(*) from users") == 1
