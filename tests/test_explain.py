"""The faults that people meet most, each said in words, by plain query and by psql."""

from __future__ import annotations

import uuid

import pytest

from ops.db import build
from ops.errors import Misconfigured, Problem
from tests.fix_suppliers import Database

pytestmark = pytest.mark.every_server

USERS = """create table users (uuid uuid primary key default gen_random_uuid(), handle text, email text not null);
create table activities (user_uuid uuid not null references users, message text);
create unique index on users (handle);
insert into users (handle, email) values ('andrew', 'a@b');
"""

FAULTS = [
    ("insert into users (handle) values ('bayko');", "23502", "email of users is NOT NULL and this statement gives it nothing: name it"),
    ("insert into activities (user_uuid, message) values ((SELECT uuid from public.users WHERE users.handle = 'nobody' LIMIT 1), 'x');", "23502", "no user 'nobody' is there to look up: seed that user first, or correct the handle"),
    ("insert into activities (message) values ('x');", "23502", "user_uuid of activities is NOT NULL"),
    ("insert into activities values (gen_random_uuid(), 'x');", "23503", "the row it points to is not there"),
    ("insert into users (handle, email) values ('andrew', 'x');", "23505", "ON CONFLICT DO NOTHING"),
    ("insert into users (handle, bio) values ('x', 'y');", "42703", "the schema has no such column: add it to the schema"),
    ("insert into users (handle, email) values ('x', 'y', 'z');", "42601", "the row has more values than the column list has names"),
    ("insert into users (handle, email) values ('x');", "42601", "the column list has more names than the row has values"),
    ("insert into nope values (1);", "42P01", "the table is not there: load the schema first (inv db.schema-load)"),
    ("grant rds_iam to postgres;", "42704", "this role exists on RDS only"),
    ("grant select on users to nobody_known;", "42704", "roles belong to the server, not the database"),
    ("create table users (a int);", "42P07", "it is there already: inv db.setup rebuilds from nothing, or write IF NOT EXISTS"),
    ("create schema public;", "42P06", "it is there already"),
    ("drop table users;", "2BP01", "write CASCADE"),
    ("create table x (id uuid default uuid_generate_v4());", "42883", 'CREATE EXTENSION "uuid-ossp" above, or use gen_random_uuid()'),
    ("create table x (mail citext);", "42704", 'CREATE EXTENSION "citext" above'),
    ("set no_such_setting = 1;", "42704", "this server does not know the setting"),
    ("do $$ begin commit; end $$;", "2D000", "take COMMIT and ROLLBACK out"),
    ("create table p (a int primary key, b int references p deferrable initially deferred); insert into p values (1, 1); alter table p add c int;", "55006", "SET CONSTRAINTS ALL IMMEDIATE"),
    ("create type nope.m as enum ('a');", "3F000", "the schema (namespace) is not there: write CREATE SCHEMA above"),
    ("insert into users values (gen_random_uuid(), :handle, 'x');", "42601", "a psql variable stands here: give it with --var NAME=VALUE"),
]  # fmt: skip


def told(database: Database, text: str) -> str:
    with pytest.raises(Problem) as caught:
        build.schema_load(database.settings(), "local", str(database.sql(text)), {}, "")
    assert caught.value.code == 1
    return str(caught.value)


@pytest.mark.quick
def test_each_fault_is_explained(database: Database) -> None:
    """The words of the servers differ; what psql makes of them does not."""
    with database.connect("postgres") as conn:
        conn.execute(f"create database {database.name}".encode())
    wrong = []
    for head in ("", "\\set by psql\n") if database.server.label == "embedded" else ("",):
        for text, state, advice in FAULTS:
            account = told(database, head + USERS + text)
            if f"({state})" not in account or advice not in account or "advice: " not in account:
                wrong.append((head, text, account))
    assert not wrong
    assert database.scalar("select count(*) from pg_class where oid >= 16384 and relkind = 'r'") == 0


def test_a_value_added_to_an_enum_can_be_used_after_the_load(one: Database) -> None:
    with one.connect("postgres") as conn:
        conn.execute(f"create database {one.name}".encode())
    with one.connect() as conn:
        conn.execute("create type m as enum ('a')")
    assert "after the load only" in told(one, "alter type m add value 'b'; select 'b'::m;")


def test_an_extension_that_the_server_lacks_is_named_before_anything_changes(database: Database) -> None:
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    for line in ('CREATE EXTENSION "no-such;one"', "create extension if not exists /* x */ No_Such", "\\ir part.sql"):
        database.sql("create extension no_such;", "part.sql")
        schema = database.sql(f"create table t (a int);\n{line};\n" if line[0] != "\\" else line)
        with pytest.raises(
            Problem, match=r"(test\.sql:2:1|part\.sql:1:1): the server has no extension no.such"
        ) as caught:
            build.setup(database.settings(), "local", str(schema), "", {}, "", force=False)
        assert "install it on the server" in str(caught.value)
        assert database.names() == {""}


def test_uuid_ossp_where_it_lacks_is_named_with_what_does_the_same(database: Database) -> None:
    with database.connect("postgres") as conn:
        has = conn.execute("select 1 from pg_available_extensions where name = 'uuid-ossp'").fetchone()
        conn.execute(f"create database {database.name}".encode())
    text = 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp";\ncreate table t (id uuid default uuid_generate_v4());'
    if has:
        build.schema_load(database.settings(), "local", str(database.sql(text)), {}, "")
        return
    assert "test.sql:1:1: the server has no extension uuid-ossp: use gen_random_uuid()" in told(database, text)


def test_the_comment_on_an_extension_of_the_server_is_to_be_taken_out(one: Database) -> None:
    """As pg_dump writes it, and every login but a superuser is refused it."""
    role = f"r{uuid.uuid4().hex[:8]}"
    for made in (f"create role {role} login password 'x-y-z'", f"create database {one.name} owner {role}"):
        one.do(made, "postgres")
    file = one.sql("comment on extension plpgsql is 'PL/pgSQL procedural language';")
    settings = one.settings(CONNECTION_URL=one.target(user=role, password="x-y-z").url(show_password=True))
    with pytest.raises(Problem, match=r"must be owner of extension plpgsql.*(.|\n)*take this line out"):
        build.schema_load(settings, "local", str(file), {}, "")
    for gone in (f'drop database "{one.name}"', f"drop role {role}"):
        one.do(gone, "postgres")


BEGINNING = """\
-- the tutorial
DROP DATABASE IF EXISTS cruddur;
CREATE DATABASE cruddur;
\\c cruddur
create table t (a int);
"""


def test_the_lines_of_a_tutorial_that_make_the_database_are_named(one: Database) -> None:
    file = one.sql(BEGINNING)
    with pytest.raises(Misconfigured, match=r"test\.sql:2:1: DROP DATABASE is what .* take out lines 2, 3 and 4$"):
        build.setup(one.settings(), "local", str(file), "", {}, "", force=False)
    with pytest.raises(Misconfigured, match=r"test\.sql:1:1: CREATE DATABASE is what .* take out the line$"):
        build.schema_load(one.settings(), "local", str(one.sql("create database cruddur")), {}, "")
