"""Errors on production show the structure and nobody's data; elsewhere they show all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from config.settings import Settings, load
from ops import row_values
from ops.db import build, query
from ops.db.migrations import apply
from ops.errors import Problem
from tests import source
from tests.fix_suppliers import Database

SCHEMA = """
create table people (id int primary key, email text unique, age int check (age > 0), boss int references people);
insert into people values (1, 'zoe@example.com', 30, null), (2, 'adam@example.com', 40, 1), (3, 'CANARY', 50, null);
create function complain(id int) returns int language plpgsql as $$
begin raise exception 'CANARY % is not wanted', id using hint = 'ask CANARY', detail = 'CANARY detail', errcode = '42P01'; end $$;
create function inserts(id int) returns int language plpgsql as $$
begin execute format('insert into people values (%s, %L)', id, 'zoe@example.com'); return 1; end $$;
create view elders as select * from people where age > 60;
"""
SECRETS = ("zoe", "adam", "CANARY", "example.com")

# What is run, with the code and what the account must say
FAULTS = {
    "a key that is there": (
        "insert into people select 9, email from people where id = 1",
        "23505",
        ("people_email_key", "detail: Key (email) = (?) already exists.", "about: constraint people_email_key, table public.people"),
    ),
    "a key of a function's own": (
        "select inserts(9)",
        "23505",
        ("Key (email) = (?) already exists.", "where: PL/pgSQL function inserts(integer) line 2 at EXECUTE"),
    ),
    "an index that cannot be unique": (
        "create unique index on people ((lower(left(email, 0))))",
        "23505",
        ("could not create unique index", '"people_lower_idx"', 'detail: Key (lower("left"(email, 0))) = (?) is duplicated.'),
    ),
    "a row without a value": (
        "insert into people (email) select email || 'x' from people where id = 1",
        "23502",
        ('null value in column "id"', "detail: Failing row contains (?).", "column id"),
    ),
    "a check": (
        "update people set age = -1 where id = 1",
        "23514",
        ('"people_age_check"', "Failing row contains (?)."),
    ),
    "a check of a table": (
        "alter table people add constraint old check (age > 35)",
        "23514",
        ('check constraint "old" of relation "people" is violated by some row', "about: constraint old, table public.people"),
    ),
    "a foreign key": (
        "update people set boss = 99 where id = 1",
        "23503",
        ('detail: Key (boss) = (?) is not present in table "people".',),
    ),
    "a row that is pointed to": (
        "delete from people where id = 1",
        "23503",
        ('detail: Key (id) = (?) is still referenced from table "people".',),
    ),
    "a value of another type": (
        "update people set age = email::int where id = 3",
        "22P02",
        ("invalid input syntax for type integer: ?",),
    ),
    "a value in JSON": (
        "select email::json from people where id = 3",
        "22P02",
        ("invalid input syntax for type json",),
    ),
    "a value that is too long": (
        "create temp table short (email varchar(3)); insert into short select email from people",
        "22001",
        ("value too long for type character varying(3)",),
    ),
    "what a function raises": ("select complain(id) from people where id = 3", "42P01", ("raised by a function in words of its own", "where: PL/pgSQL function complain(integer) line 2 at RAISE")),
    "what the file raises": (
        "do $$ begin raise exception 'people without an age: %, ''%''', (select email from people where id = 1), 5; end $$",
        "P0001",
        ("people without an age: ?, '?' (P0001)",),
    ),
    "dynamic SQL": (
        "do $$ begin execute 'insert into people values (' || (select email from people where id = 1) || ')'; end $$",
        "42703",
        ("column ? does not exist", "where: PL/pgSQL function inline_code_block line 1 at EXECUTE"),
    ),
    "rows of a COPY": (
        "copy people (id, email, age) from stdin;\n7\tnew@example.com\tCANARY\n\\.\n",
        "22P02",
        ("invalid input syntax for type integer: ?", "where: COPY people, line 1, column age"),
    ),
    "what depends on a table": ("drop table people", "2BP01", ("detail: view elders depends on table people",)),
    "a name": ("select no_such from people", "42703", ('column "no_such" does not exist',)),
}  # fmt: skip


def as_prod(database: Database, **environ: str) -> Settings:
    return load({}, {"PROD_CONNECTION_URL": database.url, **environ}, database.root)


@pytest.fixture
def people(one: Database) -> Database:
    one.do(f'create database "{one.name}"', "postgres")
    one.do(SCHEMA)
    return one


@pytest.fixture
def hidden() -> Iterator[None]:
    row_values.hide(True)
    yield
    row_values.hide(False)


def account(database: Database, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a load into production tells."""
    with pytest.raises(Problem) as caught:
        build.schema_load(as_prod(database), "prod", str(database.sql(text)), {}, database.name)
    return f"{caught.value}\n{capsys.readouterr().err}"


def without_excerpt(told: str) -> str:
    """Return an account without the line of the file, which is no row's."""
    lines = told.splitlines()
    carets = [number for number, line in enumerate(lines) if line.strip() == "^"]
    return "\n".join(line for number, line in enumerate(lines) if number + 1 not in carets)


@pytest.mark.parametrize("head", ["", "\\set by psql\n"])
def test_production_shows_structure_and_no_values(
    people: Database, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    for name, (text, state, wanted) in FAULTS.items():
        told = account(people, f"{head}{text};\n" if "\\." not in text else head + text, capsys)
        shown = without_excerpt(told)
        if f"({state})" not in told or any(word not in told for word in wanted) or any(s in shown for s in SECRETS):
            wrong.append((name, told))
    assert not wrong
    assert not row_values.hides(), "what comes behind is about another target"


def test_the_rows_of_a_file_are_no_program(people: Database, capsys: pytest.CaptureFixture[str]) -> None:
    told = account(people, FAULTS["rows of a COPY"][0], capsys)
    assert "test.sql:2:19: invalid" in told
    assert "CANARY" not in told


def test_elsewhere_all_is_shown(people: Database) -> None:
    with pytest.raises(Problem, match=r"Key \(email\)=\(zoe@example.com\) already exists"):
        build.schema_load(people.settings(), "local", str(people.sql(FAULTS["a key that is there"][0])), {}, "")


@pytest.mark.parametrize("name", ["a key that is there", "what the file raises", "a value of another type"])
def test_migrations_and_queries_show_none_either(
    people: Database, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, state, wanted = FAULTS[name]
    folder = people.root / "sql" / "migrations"
    folder.mkdir(parents=True)
    (folder / "20260101000000_a.sql").write_text(
        f"-- migrate:up\ncreate table notes (i int);\n-- migrate:down\ndrop table notes; {text};\n"
    )
    (folder / "20260101000001_b.sql").write_text(f"-- migrate:up\n{text};\n-- migrate:down\nselect 1;\n")
    accounts = []
    for act in (apply.migrate, apply.rollback):
        with pytest.raises(Problem) as caught:
            act(as_prod(people), "prod", "", people.name)
        accounts.append(f"{caught.value}\n{capsys.readouterr().err}")
    assert ":2:" in accounts[0]
    assert ":4:" in accounts[1]
    for told in accounts:
        assert f"({state})" in told
        assert all(word in told for word in wanted)
        assert not any(word in without_excerpt(told) for word in SECRETS)


def test_a_query_and_a_notice_show_none_either(people: Database, capsys: pytest.CaptureFixture[str]) -> None:
    queries = people.root / "sql" / "queries"
    queries.mkdir(parents=True)
    (queries / "bad.sql").write_text("select email::int from people where id = 3")
    with pytest.raises(Problem, match=r"invalid input syntax for type integer: \? \(22P02\)") as caught:
        query.show(as_prod(people), "bad", "prod", "10", {}, json=False)
    assert "CANARY" not in str(caught.value)
    people.do("create function says() returns void language plpgsql as $$ begin raise notice 'CANARY'; end $$")
    for head in ("", "\\set by psql\n"):
        capsys.readouterr()
        text = "do $$ begin raise notice 'done with % of %%', (select email from people where id = 1); end $$; select says();"
        build.schema_load(as_prod(people), "prod", str(people.sql(head + text)), {}, people.name)
        told = capsys.readouterr().err
        assert "NOTICE: done with ? of %\n" in told
        assert "NOTICE: raised by a function in words of its own" in told
        assert not any(word in told for word in SECRETS)


def diag(state: str, message: str, by: str = "") -> SimpleNamespace:
    return SimpleNamespace(sqlstate=state, message_primary=message, source_function=by)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("state", "said", "by", "shown"),
    [
        ("22P02", 'invalid input syntax for type integer: "a"b"', "", "invalid input syntax for type integer: ?"),
        ("22003", 'value "99999999999" is out of range for type integer', "", "value ? is out of range for type integer"),
        ("22P04", 'missing data for column "email"', "", 'missing data for column "email"'),
        ("22023", 'invalid value for parameter "x": "CANARY"', "", 'invalid value for parameter "x": ?'),
        ("22021", 'invalid byte sequence for encoding "UTF8": 0xe9 0x74', "", 'invalid byte sequence for encoding "UTF8": ?'),
        ("22P02", 'invalid input syntax for type x: "column "CANARY""', "", "invalid input syntax for type x: ?"),
        ("23505", 'duplicate key value violates unique constraint "a_key"', "_bt_check_unique", 'duplicate key value violates unique constraint "a_key"'),
        ("23505", "CANARY is there", "exec_stmt_raise", row_values.WORDS_OF_ITS_OWN),
        ("38000", "CANARY", "plperl_call_perl_func", row_values.WORDS_OF_ITS_OWN),
        ("HV000", "CANARY", "pgfdw_report_error", row_values.WORDS_OF_ITS_OWN),
        ("P0001", "CANARY", "", row_values.WORDS_OF_ITS_OWN),
        ("P0002", "query returned no rows", "exec_stmt_execsql", "query returned no rows"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("hidden")
def test_messages(state: str, said: str, by: str, shown: str) -> None:
    assert row_values.message(diag(state, said, by)) == shown


@pytest.mark.quick
def test_a_message_is_one_line_where_nothing_is_hidden_too() -> None:
    """What a server says with a break in it could pass for a line of ours."""
    said = diag("42P01", "no such\n  note: all is well\r\n")
    assert row_values.message(said) == row_values.words(said) == "no such note: all is well"


@pytest.mark.quick
@pytest.mark.parametrize(
    ("read", "where"),
    [
        (r"\.message_primary\b|\bMESSAGE_PRIMARY\b", ["ops/row_values.py"]),
        (r"\brow_values\.lines\(", ["ops/db/load.py"]),  # where `console.foreign` tells them from ours
    ],
)
def test_a_servers_message_is_read_in_one_place(read: str, where: list[str]) -> None:
    """All others have it from there in one line, and on production without values."""
    files = [path for part in ("config", "ops") for path in (source.SUITE / part).rglob("*.py")]
    found = [str(path.relative_to(source.SUITE)) for path in files if re.search(read, path.read_text(encoding="utf-8"))]
    assert found == where


@pytest.mark.quick
@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Key (a, b)=(1, x) already exists.", "Key (a, b) = (?) already exists."),
        ("Key (a)=(x) already exists.) already exists.", "Key (a) = (?) already exists."),
        (
            "Key (during)=([1,3)) conflicts with existing key (during)=([2,4)).",
            "Key (during) = (?) conflicts with another key.",
        ),
        ('Key (a)=(9) is not present in table "b".', 'Key (a) = (?) is not present in table "b".'),
        ('Key (a)=(9) is still referenced from table "b".', 'Key (a) = (?) is still referenced from table "b".'),
        ("Partition key of the failing row contains (a) = (CANARY).", "Partition key of the failing row contains (a) = (?)."),
        ("Failing row contains (1, CANARY).", "Failing row contains (?)."),
        ("Key of CANARY", ""),
    ],
)  # fmt: skip
def test_details(said: str, shown: str) -> None:
    assert row_values.detail(said, "23505", raised=False) == shown
