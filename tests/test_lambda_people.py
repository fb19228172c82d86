"""One person, one row: whatever the table lacks, however often and however many at once."""

from __future__ import annotations

import hashlib
import random
import string
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from functions.post_confirmation.people import Fit, Outcome, Person, Unusable, key, store
from tests.fix_people import NARROW, OURS, PLAIN, STRICT, Make, Users, made, person
from tests.fix_suppliers import Database

SUB = "5f0c6a1e-8d0b-4b7e-9a53-0d8a4e7b1c01"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"name": "Andrew Brown", "preferred_username": "andrew", "email": "a@x"}, ("Andrew Brown", "andrew", "a@x")),
        ({"name": " An drew ", "preferred_username": "Ąndrew"}, (" An drew ", "Ąndrew", None)),
        ({"phone_number": "+14165550123"}, ("user-1", "user-1", None)),
        ({"given_name": "Ada", "family_name": "Lovelace", "email": ""}, ("Ada Lovelace", "user-1", None)),
        ({"given_name": "Ada", "family_name": "\t"}, ("Ada", "user-1", None)),
        ({"name": "", "preferred_username": " ", "email": "  "}, ("user-1", "user-1", None)),
        ({"name": None, "preferred_username": 7, "email": ["a@x"]}, ("user-1", "user-1", None)),
        ({"name": "a\0b", "preferred_username": "\0", "email": "\ud800@x"}, ("ab", "user-1", "?@x")),
        ({"name": "x'); drop table users; --", "preferred_username": "%s"}, ("x'); drop table users; --", "%s", None)),
    ],
)
def test_a_person_is_read_from_what_cognito_has(attributes: dict[str, Any], expected: tuple[str, ...]) -> None:
    made = Person.of({"sub": SUB, **attributes}, "user-1")
    assert (made.display_name, made.handle, made.email, made.cognito_user_id) == (*expected, SUB)


@pytest.mark.parametrize("sub", [None, "", "  ", 12, "a\0b", "\udfff", ["x"]])
def test_without_a_sub_that_can_be_stored_there_is_nobody(sub: object) -> None:
    with pytest.raises(Unusable):
        Person.of({"sub": sub}, "user-1")


def test_without_any_name_the_sub_stands_in() -> None:
    made = Person.of({"sub": SUB}, "")
    assert (made.display_name, made.handle) == (SUB, SUB)


ADA = Person("Ada L.", "ada", "ada@example.com", SUB)
DIGEST = "-" + hashlib.sha256(SUB.encode()).hexdigest()


@pytest.mark.parametrize(
    ("fit", "handle", "display_name"),
    [
        (Fit(ADA), "ada", "Ada L."),
        (Fit(ADA).next("handle"), f"ada{DIGEST[:5]}", "Ada L."),
        (Fit(ADA).next("handle").next("handle").next("display_name"), f"ada{DIGEST[:9]}", f"Ada L.{DIGEST[:5]}"),
        (Fit(ADA).next("cognito_user_id"), "ada", "Ada L."),
        (Fit(ADA, widths={"handle": 2}), "ad", "Ada L."),
        (Fit(ADA, widths={"handle": 6}).next("handle"), f"a{DIGEST[:5]}", "Ada L."),
        (Fit(ADA, widths={"handle": 4}).next("handle"), DIGEST[:4], "Ada L."),
        (Fit(ADA, widths={"handle": 8}).next("handle"), f"ada{DIGEST[:5]}", "Ada L."),
        (Fit(ADA).cut({"display_name": 3}), "ada", "Ada"),
        (Fit(ADA).cut({"display_name": 3}).cut({"display_name": 5, "handle": 1}), "a", "Ada"),
        (Fit(ADA).cut({"display_name": 3}).cut({"display_name": 2}), "ada", "Ad"),
        (Fit(replace(ADA, display_name="Ąda", handle="ädä")).ascii(), "?d?", "?da"),
    ],
)
def test_the_names_to_try_next(fit: Fit, handle: str, display_name: str) -> None:
    assert fit.values == replace(ADA, handle=handle, display_name=display_name)
    assert fit.values == fit.values


@pytest.mark.parametrize(
    ("fit", "email"),
    [
        (Fit(ADA).cut({"email": 15}), "ada@example.com"),
        (Fit(ADA).cut({"email": 14}), None),
        (Fit(ADA).cut({"handle": 2}), "ada@example.com"),
        (Fit(ADA).with_email(Fit(ADA).nowhere), f"{SUB}@invalid"),
        (Fit(ADA).with_email(Fit(ADA).nowhere).cut({"email": 10}), "01@invalid"),
        (Fit(ADA).with_email(None).cut({"email": 0}), None),
        (Fit(ADA).with_email("").ascii(), ""),
        (Fit(ADA).ascii(), "ada@example.com"),
        (Fit(replace(ADA, email="ädä@example.com")).ascii(), None),
        (Fit(ADA).with_email(None).ascii(), None),
    ],
)
def test_an_address_is_somebodys_or_none(fit: Fit, email: str | None) -> None:
    assert fit.values.email == email


def test_without_an_address_there_is_none_that_is_too_long() -> None:
    fit = Fit(ADA).with_email(None).cut({"email": 2, "handle": 2})
    assert (fit.values.handle, fit.values.email) == ("ad", None)


def test_a_person_and_a_name_have_each_their_lock_in_64_bits() -> None:
    assert key("sub", SUB) == int.from_bytes(hashlib.sha256(f"post_confirmation sub {SUB}".encode()).digest()[:8], "big", signed=True)  # fmt: skip
    assert len({key("sub", "a"), key("handle", "a"), key("sub", "b")}) == 3
    assert all(-(2**63) <= key("sub", str(number)) < 2**63 for number in range(100))
    assert [Outcome(inserted).word for inserted in (True, False)] == ["inserted", "present"]


@pytest.mark.parametrize("schema", [OURS, PLAIN, NARROW, STRICT])
def test_a_person_is_inserted_once_and_present_after(make_users: Make, schema: str) -> None:
    users = make_users(schema)
    with users.connect() as conn:
        assert store(conn, person()) == Outcome(inserted=True)
        assert store(conn, person(handle="another", display_name="other")) == Outcome(inserted=False)
    [row] = users.rows()
    assert (row["display_name"], row["handle"], row["email"]) == ("Name 1", "handle1", "e1@example.com")


def at_once(users: Users, people: list[Person]) -> list[Outcome]:
    """Store people at the same moment, each over a connection of its own."""
    outcomes: list[Outcome] = []
    gate = threading.Barrier(len(people))

    def one(who: Person) -> None:
        with users.connect() as conn:
            gate.wait()
            outcomes.append(store(conn, who))

    threads = [threading.Thread(target=one, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_the_same_sub_eight_times_at_once_is_one_row(make_users: Make, isolation: str) -> None:
    users = make_users(PLAIN)
    users.database.do(f"alter database {users.database.name} set default_transaction_isolation = '{isolation}'")
    for number in range(10):
        outcomes = at_once(users, [person(number)] * 8)
        assert [outcome.word for outcome in outcomes].count("inserted") == 1
    assert len(users.rows()) == 10


def test_the_same_sub_under_eight_handles_at_once_is_one_row(make_users: Make) -> None:
    users = make_users(PLAIN)
    for number in range(10):
        outcomes = at_once(users, [person(number, handle=f"{number}-{i}", email=f"{i}@x") for i in range(8)])
        assert [outcome.word for outcome in outcomes].count("inserted") == 1
    assert len(users.rows()) == 10


@pytest.mark.parametrize("schema", [PLAIN, OURS, STRICT])
def test_one_handle_wanted_by_eight_at_once_is_held_by_one(make_users: Make, schema: str) -> None:
    users = make_users(schema)
    outcomes = at_once(users, [person(number, handle="same") for number in range(8)])
    assert sorted(outcome.changed for outcome in outcomes) == [(), *[("handle",)] * 7]
    handles = [row["handle"] for row in users.rows()]
    assert len(set(handles)) == 8
    assert all(handle == "same" or len(handle) == len("same-1234") for handle in handles)


@pytest.mark.parametrize("schema", [PLAIN, OURS])
def test_a_handle_that_differs_by_its_capitals_only_is_another_ones(make_users: Make, schema: str) -> None:
    users = make_users(schema)
    with users.connect() as conn:
        store(conn, person(1, handle="Bayko"))
        assert store(conn, person(2, handle="bayko")).changed == ("handle",)
        assert store(conn, person(2, handle="bayko")).word == "present"
        assert store(conn, person(3, handle="other")).changed == ()
        assert store(conn, person(4, handle="OTHER")).changed == ("handle",)
    assert len(users.rows()) == 4


def test_a_suffix_comes_from_the_sub_and_grows_where_it_is_taken(users: Users) -> None:
    with users.connect() as conn:
        for number in range(1, 4):
            store(conn, person(number, handle="same"))
        first = {row["cognito_user_id"]: row["handle"] for row in users.rows()}
        users.database.do("delete from public.users where handle <> 'same'")
        taken = first[person(2).cognito_user_id]
        store(conn, person(9, handle=taken))
        store(conn, person(2, handle="same"))
    again = {row["cognito_user_id"]: row["handle"] for row in users.rows()}
    assert again[person(2).cognito_user_id].startswith(taken)
    assert len(again[person(2).cognito_user_id]) == len(taken) + 4


def test_an_address_that_the_table_demands_is_stored_empty(make_users: Make) -> None:
    users = make_users(PLAIN)
    with users.connect() as conn:
        assert store(conn, person(1, email=None)) == Outcome(inserted=True, changed=("email",))
        assert store(conn, person(2, email=None)).word == "inserted"
    assert [row["email"] for row in users.rows()] == ["", ""]


def test_an_address_that_another_holds_is_left_out_where_it_must_be_unique(make_users: Make) -> None:
    users = make_users(STRICT)
    with users.connect() as conn:
        store(conn, person(1, email="shared@example.com"))
        assert store(conn, person(2, email="shared@example.com")) == Outcome(inserted=True, changed=("email",))
    assert [(row["handle"], row["email"]) for row in users.rows()] == [
        ("handle1", "shared@example.com"),
        ("handle2", None),
    ]


DEMANDING = """
create table public.users (
  display_name text not null unique, handle text not null unique, email {email} not null,
  cognito_user_id text not null unique
);
create unique index on public.users (lower(email));
"""
"""An address of one's own, and a name, are demanded of everybody."""


@pytest.mark.parametrize("email", ["text", "varchar(30)", "text check (email like '%@%')", "varchar(200) unique"])
def test_nobody_is_lost_where_an_address_of_ones_own_is_demanded(make_users: Make, email: str) -> None:
    users = make_users(DEMANDING.format(email=email))
    with users.connect() as conn:
        for number in range(1, 5):
            assert store(conn, person(number, email=None)) == Outcome(inserted=True, changed=("email",))
        assert store(conn, person(5, email="shared@example.com")).changed == ()
        for number in range(6, 9):
            assert store(conn, person(number, email="Shared@example.com")).changed == ("email",)
        assert store(conn, person(8, email="Shared@example.com")).word == "present"
    addresses = {row["email"] for row in users.rows()}
    assert len(addresses) == 8
    nowhere = f"{person(8).cognito_user_id}@invalid"
    assert (nowhere[-30:] if "30" in email else nowhere) in addresses
    assert all(address.endswith("@invalid") for address in addresses - {"", "shared@example.com"})


def test_one_address_wanted_by_eight_at_once_is_held_by_one(make_users: Make) -> None:
    users = make_users(DEMANDING.format(email="text"))
    outcomes = at_once(users, [person(number, email="shared@example.com") for number in range(8)])
    assert sorted(outcome.changed for outcome in outcomes) == [(), *[("email",)] * 7]
    assert len(users.rows()) == 8


def test_nobody_is_lost_where_even_no_address_is_one_that_must_be_unique(make_users: Make) -> None:
    users = make_users(PLAIN)
    users.database.do("alter table public.users alter email drop not null")
    if users.database.scalar("select current_setting('server_version_num')::int") < 150_000:
        pytest.skip("Postgres before 15 has no `nulls not distinct`")
    users.database.do("alter table public.users add unique nulls not distinct (email)")
    with users.connect() as conn:
        assert store(conn, person(1, email=None)).changed == ()
        assert store(conn, person(2, email=None)).changed == ("email",)
        assert store(conn, person(3, email=None)).changed == ("email",)


@pytest.mark.parametrize("name", ["email", "my email=cognito_user_id", "(email)=(x)"])
def test_a_name_is_not_taken_for_the_column_that_refuses_it(make_users: Make, name: str) -> None:
    """The server's detail has both: Key (display_name)=(email) already exists."""
    users = make_users(DEMANDING.format(email="text"))
    with users.connect() as conn:
        assert store(conn, person(1, display_name=name)).changed == ()
        assert store(conn, person(2, display_name=name)).changed == ("display_name",)
    assert [row["email"] for row in users.rows()] == ["e1@example.com", "e2@example.com"]


def test_a_display_name_that_another_holds_gets_a_suffix_where_it_must_be_unique(make_users: Make) -> None:
    users = make_users(DEMANDING.format(email="text"))
    users.database.do("alter table public.users alter display_name type varchar(8)")
    with users.connect() as conn:
        assert store(conn, person(1, display_name="Ada Lovelace")).changed == ("display_name",)
        assert store(conn, person(2, display_name="Ada Lovelace")).changed == ("display_name",)
        assert store(conn, person(3, display_name="Ada Lovelace", handle="handle1")).changed == (
            "display_name",
            "handle",
        )
    assert [row["handle"][:8] for row in users.rows()] == ["handle1", "handle1-", "handle2"]
    names = sorted(row["display_name"] for row in users.rows())
    assert [(name[:4], len(name)) for name in names] == [("Ada ", 8), ("Ada-", 8), ("Ada-", 8)]


def test_columns_are_known_by_the_constraints_name_where_row_security_hides_them(make_users: Make) -> None:
    users = make_users(STRICT)
    users.database.do(
        "alter table public.users enable row level security;"
        f"create policy all_in on public.users for insert to {users.role} with check (true);"
        f"create policy none_out on public.users for select to {users.role} using (false)"
    )
    with users.connect() as conn:
        store(conn, person(1, email="shared@example.com"))
        assert store(conn, person(2, email="shared@example.com")).changed == ("email",)
        assert store(conn, person(3, handle="handle1")).changed == ("handle",)


def test_a_row_that_another_writer_adds_meanwhile_is_found(make_users: Make) -> None:
    """One that takes no lock, as the function that was there before."""
    users = make_users(STRICT)
    users.database.do("alter table public.users alter handle type varchar(5)")
    with users.database.connect() as other, other.transaction():
        sub = person().cognito_user_id
        other.execute("insert into public.users values ('x', 'x', 'x', %s)", [sub])
        outcomes: list[Outcome] = []

        def late() -> None:
            with users.connect() as conn:
                outcomes.append(store(conn, person()))

        thread = threading.Thread(target=late)
        thread.start()
        time.sleep(0.5)
        assert outcomes == []  # waits for the other to commit
    thread.join()
    assert outcomes == [Outcome(inserted=False)]
    assert len(users.rows()) == 1


@pytest.mark.parametrize(
    ("constraint", "error"),
    [
        ("constraint no_shouting check (handle <> 'handle2')", psycopg.errors.CheckViolation),
        ("constraint no_accents check (display_name <> 'Zoë')", psycopg.errors.CheckViolation),
        ("constraint no_strangers check (email <> 'e2@example.com')", psycopg.errors.CheckViolation),
        ("constraint one_team unique (team)", psycopg.errors.UniqueViolation),
    ],
)
def test_what_is_given_up_names_the_constraint_that_refused(
    make_users: Make, constraint: str, error: type[psycopg.Error]
) -> None:
    users = make_users(PLAIN)
    users.database.do("alter table public.users add column team text default 'cruddur'")
    users.database.do(f"alter table public.users add {constraint}")
    with users.connect() as conn:
        store(conn, person(1))
        with pytest.raises(error) as caught:
            store(conn, person(2, display_name="Zoë"))
    assert caught.value.diag.constraint_name == constraint.split()[1]
    assert caught.value.diag.constraint_name in str(caught.value)


@pytest.mark.parametrize("email", [None, "e1@example.com"])
def test_who_finds_every_address_taken_is_given_up(make_users: Make, email: str | None) -> None:
    users = make_users(DEMANDING.format(email="text"))
    for number, taken in enumerate(("", "e1@example.com", f"{person(1).cognito_user_id}@invalid")):
        users.database.do(f"insert into public.users values ('{number}', '{number}', '{taken}', '{number}')")
    with users.connect() as conn, pytest.raises(psycopg.errors.UniqueViolation):
        store(conn, person(1, email=email))


def test_a_handle_that_is_always_refused_is_given_up(users: Users) -> None:
    users.database.do(
        "create function no() returns trigger language plpgsql as"
        " $$ begin raise 'no' using errcode = 'unique_violation', constraint = 'users_handle_key'; end $$;"
        "create trigger no before insert on public.users for each row execute function no()"
    )
    with users.connect() as conn, pytest.raises(psycopg.errors.UniqueViolation, match=r"^no\n"):
        store(conn, person())


def test_no_room_for_another_handle_is_said(make_users: Make) -> None:
    users = make_users(PLAIN)
    users.database.do("alter table public.users alter handle type varchar(1)")
    with users.connect() as conn:
        store(conn, person(1, handle="somebody" * 9))
        store(conn, person(2, handle="somebody" * 9))
        with pytest.raises(psycopg.errors.UniqueViolation, match="no handle was found that is free"):
            store(conn, person(3, handle="somebody" * 9))


def test_what_is_too_long_is_cut_but_an_address_is_left_out(make_users: Make) -> None:
    users = make_users(NARROW)
    long = {"display_name": "é" * 99, "handle": "h" * 99, "email": "e" * 90 + "@example.com"}
    with users.connect() as conn:
        assert store(conn, person(1, **long)).changed == ("display_name", "handle", "email")
        assert store(conn, person(2, **long)).changed == ("display_name", "handle", "email")
        with pytest.raises(psycopg.errors.StringDataRightTruncation):
            store(conn, person(3, cognito_user_id="s" * 41))
    assert [row["display_name"] for row in users.rows()] == ["é" * 12] * 2
    assert {len(row["handle"]) for row in users.rows()} == {10}
    assert {row["email"] for row in users.rows()} == {None}


def test_what_is_cut_has_no_other_address_for_it(make_users: Make) -> None:
    users = make_users(NARROW)
    users.database.do(
        "alter table public.users alter email set not null;"
        "create schema others; create table others.users (handle varchar(3)); create table teams (handle varchar(3));"
        f"grant usage on schema others to {users.role}; grant select on others.users, teams to {users.role}"
    )
    with users.connect() as conn:
        assert store(conn, person(1, handle="h" * 99, email=None)).changed == ("handle", "email")
    assert [(row["handle"], row["email"]) for row in users.rows()] == [("h" * 10, "")]


def noise(length: int) -> str:
    """Return a text that cannot be compressed."""
    return "".join(random.Random(4).choices(string.printable, k=length))


WIDE = """
create sequence public.tries;
create table public.users (
  try bigint default nextval('public.tries'), display_name varchar(12), handle varchar(5000) unique,
  email varchar(5000) unique, cognito_user_id varchar(5000) unique
);
grant usage on sequence public.tries to public;
"""
"""Its columns hold more than an index does, whose refusals it counts."""


def test_what_is_cut_for_one_reason_stays_so_for_another(make_users: Make) -> None:
    users = make_users(WIDE)
    with users.connect() as conn:
        long = person(1, display_name="n" * 13, handle=noise(4000), email=noise(4000))
        assert store(conn, long).changed == ("display_name", "handle", "email")
    [row] = users.rows()
    assert (len(row["display_name"]), len(row["handle"]), row["email"]) == (12, 255, None)
    assert users.database.scalar("select last_value from tries") == 3
    users.database.do("truncate public.users; alter table public.users alter email set not null")
    with users.connect() as conn:
        assert store(conn, person(2, handle=noise(4000), email=None)).changed == ("handle", "email")
    assert [row["email"] for row in users.rows()] == [""]
    users.database.do(
        "alter table public.users alter display_name type varchar(5000), alter handle type varchar(10) using 'x';"
        "create index on public.users (display_name)"
    )
    with users.connect() as conn:
        assert store(conn, person(3, display_name=noise(4000))).changed == ("display_name",)
        assert store(conn, person(4, display_name=noise(4000), handle="h" * 11)).changed == ("display_name", "handle")
    assert {len(row["display_name"]) for row in users.rows()} == {6, 255}


def test_what_no_change_helps_is_not_tried_over_and_over(make_users: Make) -> None:
    users = make_users(WIDE)
    with users.connect() as conn, pytest.raises(psycopg.errors.ProgramLimitExceeded):
        store(conn, person(1, cognito_user_id=noise(4000)))
    assert users.database.scalar("select last_value from tries") == 3


@pytest.mark.parametrize("schema", [OURS, STRICT])
def test_a_text_that_no_index_holds_is_cut(make_users: Make, schema: str) -> None:
    long = noise(1_000_000)
    users = make_users(schema)
    with users.connect() as conn:
        for number in (1, 2):
            outcome = store(conn, person(number, handle=long, display_name=long, email=None))
            assert outcome.inserted
            assert "handle" in outcome.changed
        with pytest.raises(psycopg.Error):
            store(conn, person(3, cognito_user_id=long))
    assert {len(row["handle"]) for row in users.rows()} == {255}
    assert {len(row["display_name"]) for row in users.rows()} == ({1_000_000} if schema == OURS else {255})


def test_a_megabyte_is_stored_whole_where_the_column_holds_it(make_users: Make) -> None:
    users = make_users(PLAIN)
    with users.connect() as conn:
        assert store(conn, person(1, display_name="é" * 1_000_000, handle="h" * 1_000_000)) == Outcome(inserted=True)
    [row] = users.rows()
    assert (len(row["display_name"]), len(row["handle"])) == (1_000_000, 1_000_000)


def test_characters_that_the_database_cannot_hold_are_question_marks(make_users: Make) -> None:
    users = make_users(PLAIN, "encoding 'LATIN1' locale 'C' template template0")
    with users.connect() as conn:
        conn.execute("set client_encoding to 'UTF8'")
        assert store(conn, person(1, display_name="Zoë")).changed == ()
        assert store(conn, person(2, display_name="王 Zoë", handle="王")).changed == ("display_name", "handle")
        assert store(conn, person(3, display_name="Z", email="王@example.com")).changed == ("email",)
        assert store(conn, person(4, display_name="王", email=None)).changed == ("display_name", "email")
    names = users.database.query("select convert_from(display_name::bytea, 'LATIN1') as n from public.users order by 1")
    assert [row["n"] for row in names] == ["?", "? Zo?", "Z", "Zoë"]
    assert users.database.scalar("select email from public.users where display_name = 'Z'") == ""  # as it is demanded


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("revoke insert on public.users from {role}", psycopg.errors.InsufficientPrivilege),
        ("alter table public.users drop column email", psycopg.errors.UndefinedColumn),
        ("drop table public.users cascade", psycopg.errors.UndefinedTable),
        ("alter table public.users add check (handle ~ '^[A-Z]+$')", psycopg.errors.CheckViolation),
        ("alter table public.users add column age int not null", psycopg.errors.NotNullViolation),
        (
            "alter table public.users alter cognito_user_id type uuid using null",
            psycopg.errors.InvalidTextRepresentation,
        ),
    ],
)
def test_what_cannot_be_changed_is_raised_and_leaves_nothing_behind(
    users: Users, change: str, error: type[psycopg.Error]
) -> None:
    users.database.do(change.format(role=users.role))
    with users.connect() as conn:
        with pytest.raises(error):
            store(conn, person(1, cognito_user_id="no-uuid"))
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_table_that_refuses_everybody_is_given_up(users: Users) -> None:
    users.database.do(
        "create function no() returns trigger language plpgsql as"
        " $$ begin raise 'no' using errcode = 'unique_violation'; end $$;"
        "create trigger no before insert on public.users for each row execute function no()"
    )
    with users.connect() as conn, pytest.raises(psycopg.errors.UniqueViolation, match=r"^no\n"):
        store(conn, person())
    assert users.rows() == []


def test_the_role_may_do_no_more_than_it_needs(users: Users) -> None:
    with users.connect() as conn:
        for statement in ("update public.users set handle = 'x'", "delete from public.users", "select from activities"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())


@pytest.mark.parametrize(
    "hold",
    [
        "lock table public.users in access exclusive mode",
        f"select pg_advisory_xact_lock({key('sub', person().cognito_user_id)})",
        f"select pg_advisory_xact_lock({key('handle', 'handle1')})",
    ],
)
def test_whoever_holds_a_lock_is_not_waited_for_longer_than_told(users: Users, hold: str) -> None:
    with users.connect() as conn, users.database.connect() as other, other.transaction():
        other.execute(hold.encode())
        begun = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            store(conn, person(handle="Handle1"), timeout=0.5)
        assert 0.4 < time.monotonic() - begun < 2


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_no_time_left_is_not_taken_for_no_limit(users: Users, timeout: float) -> None:
    users.database.do(f"alter database {users.database.name} set lock_timeout = '3s'")
    with users.connect() as conn, users.database.connect() as other, other.transaction():
        other.execute("lock table public.users in access exclusive mode")
        with pytest.raises(psycopg.errors.QueryCanceled):
            store(conn, person(), timeout=timeout)


def test_a_row_is_written_by_settings_of_the_functions_own(users: Users) -> None:
    users.database.do(
        f"alter database {users.database.name} set default_transaction_isolation = 'serializable';"
        "create function tell() returns trigger language plpgsql as $$ begin new.display_name = concat_ws("
        "' ', current_setting('transaction_isolation'), current_setting('statement_timeout'),"
        " current_setting('idle_in_transaction_session_timeout')); return new; end $$;"
        "create trigger tell before insert on public.users for each row execute function tell()"
    )
    with users.connect() as conn:
        store(conn, person(), timeout=7.5)
    assert users.rows()[0]["display_name"] == "read committed 7500ms 7500ms"


def test_a_session_that_is_ended_is_told_by_the_servers_word(users: Users) -> None:
    users.database.do(
        "create function die() returns trigger language plpgsql security definer as"
        " $$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$;"
        "create trigger die before insert on public.users for each row execute function die()"
    )
    with users.connect() as conn, pytest.raises(psycopg.errors.AdminShutdown):
        store(conn, person())


@pytest.mark.parametrize("setting", ["standard_conforming_strings = off", "client_encoding = 'LATIN1'"])
def test_no_text_becomes_sql_whatever_the_database_is_set_to(users: Users, setting: str) -> None:
    users.database.do(f"alter database {users.database.name} set {setting}")
    evil = "\\'; drop table public.users; -- $$ %s é"
    with users.connect() as conn:
        assert store(conn, person(1, display_name=evil, handle=evil, email=evil)) == Outcome(inserted=True)
    [row] = users.rows()
    assert (row["display_name"], row["handle"], row["email"]) == (evil, evil, evil)


def test_each_version_of_postgres_will_do(database: Database) -> None:
    with made(database, PLAIN) as users, users.connect() as conn, database.connect() as other:
        assert store(conn, person(1)).word == "inserted"
        assert store(conn, person(1)).word == "present"
        assert store(conn, person(2, handle="handle1", email=None)).changed == ("handle", "email")
        with other.transaction():
            other.execute("lock table public.users in access exclusive mode")
            begun = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                store(conn, person(3), timeout=0.5)
            assert 0.4 < time.monotonic() - begun < 2
        assert store(conn, person(3)).inserted


def test_the_timeouts_end_with_the_transaction(users: Users) -> None:
    with users.connect() as conn:
        store(conn, person(), timeout=0.5)
        conn.execute("select pg_sleep(0.7)")


def test_rows_of_any_shape_will_do(users: Users) -> None:
    factories: list[Callable[..., Any]] = [psycopg.rows.tuple_row, psycopg.rows.dict_row, psycopg.rows.scalar_row]
    for number, factory in enumerate(factories):
        with users.connect() as conn:
            conn.row_factory = factory
            assert store(conn, person(number)).inserted
            assert not store(conn, person(number)).inserted
