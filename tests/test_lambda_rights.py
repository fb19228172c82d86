"""db.setup carries the rights of the function's login over to the database that it builds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.db import build
from tests.fix_suppliers import Database
from tests.test_setup import drop, setup, undo

GRANTS = """
select table_schema || '.' || table_name as on, privilege_type as may
from information_schema.table_privileges where grantee = 'lambda_signup' order by 1, 2
"""


@pytest.fixture
def signed(database: Database) -> Iterator[Database]:
    """A database in which lambda.deploy has made its role, whose name the server shares with other tests."""
    setup(database)
    database.do("drop role if exists lambda_signup")
    database.do("create role lambda_signup; grant select, insert on users to lambda_signup")
    yield database
    for suffix in database.names():
        database.do("drop owned by lambda_signup", database.name + suffix)
    database.do("drop role lambda_signup", "postgres")


def may(database: Database) -> list[tuple[str, str]]:
    return [(row["on"], row["may"]) for row in database.query(GRANTS)]


def test_the_rights_are_there_again_after_a_setup(signed: Database) -> None:
    before = may(signed)
    assert before == [("public.users", "INSERT"), ("public.users", "SELECT")]
    setup(signed)
    assert may(signed) == before
    undo(signed)
    assert may(signed) == before


def test_the_rights_are_there_again_after_a_drop_and_a_setup(signed: Database) -> None:
    before = may(signed)
    drop(signed)
    setup(signed)
    assert may(signed) == before


def test_the_database_from_before_the_first_deployment_gets_the_rights_by_undo(signed: Database) -> None:
    before = may(signed)
    setup(signed)
    signed.do("drop owned by lambda_signup", signed.name + "__prev")
    undo(signed)
    assert may(signed) == before


def test_a_schema_that_makes_its_tables_anew_leaves_the_rights(signed: Database) -> None:
    before = may(signed)
    anew = signed.sql("drop table activities; drop table users; " + signed.settings().schema.read_text(), "anew.sql")
    build.schema_load(signed.settings(), "local", str(anew), {}, "")
    assert may(signed) == before


def test_rights_in_schemas_and_sequences_too(signed: Database) -> None:
    more = 'create schema "My Schema"; create sequence "My Schema"."It\'s"; '
    schema = signed.sql(signed.settings().schema.read_text() + ";" + more, "more.sql")
    setup(signed, schema=str(schema))
    signed.do(
        'grant usage on schema "My Schema" to lambda_signup; grant usage on sequence "My Schema"."It\'s" to lambda_signup'
    )
    setup(signed, schema=str(schema))
    assert signed.scalar("select has_schema_privilege('lambda_signup', 'My Schema', 'usage')")
    assert signed.scalar("select has_sequence_privilege('lambda_signup', '\"My Schema\".\"It''s\"', 'usage')")


def test_what_the_new_schema_has_no_more_is_said(signed: Database, capsys: pytest.CaptureFixture[str]) -> None:
    empty = signed.sql("create table public.other (x int)")
    build.setup(signed.settings(), "local", str(empty), "", {}, "", force=False)
    assert may(signed) == []
    assert "the database has no public.users now, on which lambda_signup may INSERT" in capsys.readouterr().err


def test_rights_of_other_roles_are_the_schemas_to_give(signed: Database) -> None:
    signed.do("create role reader; grant select on users to reader")
    try:
        setup(signed)
        assert not signed.scalar("select has_table_privilege('reader', 'users', 'select')")
    finally:
        for suffix in signed.names():
            signed.do("drop owned by reader", signed.name + suffix)
        signed.do("drop role reader")


NUMBERED = """
create table public.users (
  id serial primary key, "No" int default nextval('public."Other%{} Numbers"'), uuid int generated always as identity,
  display_name text, handle text, email text, cognito_user_id text
);
"""


def test_a_schema_that_numbers_its_rows_leaves_the_function_able_to_add_some(
    signed: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """An INSERT wants USAGE on the sequences behind its columns, also on those that the database before had not."""
    text = 'create sequence "Other%{} Numbers"; create sequence alone;' + NUMBERED
    numbered = signed.sql(text, "numbered.sql")
    for schema in (
        numbered,
        signed.sql(text.replace("Other", "Third"), "other.sql"),
        signed.settings().schema,
        numbered,
    ):
        setup(signed, schema=str(schema), seed="")
        with signed.connect() as conn:
            conn.execute("set role lambda_signup")
            conn.execute("insert into users (display_name, handle, cognito_user_id) values ('a', 'a', 'a')")
    may = """select relname from pg_class where case when relkind = 'S'
             then has_sequence_privilege('lambda_signup', oid, 'usage') end"""
    assert {row["relname"] for row in signed.query(may)} == {"users_id_seq", "Other%{} Numbers"}
    assert "note: " not in capsys.readouterr().err
