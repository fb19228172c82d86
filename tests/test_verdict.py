"""The verdict on the release that runs, beside what a real session of its own sees, for each kind of change."""

from __future__ import annotations

import psycopg
import pytest

from ops.db.rehearsal.verdict import Query, Release
from tests.fix_suppliers import Database

SCHEMA = """
create type mood as enum ('calm', 'glad');
create domain short as text;
create table people (id int primary key, name text not null, age int, mail varchar(60), mood mood default 'calm', note short);
create table posts (id int primary key, person_id int not null references people (id), body text not null, price numeric(8, 2), tags text[], seen boolean);
create unique index people_mail on people (mail);
create view grown as select id, name from people where mood = 'glad';
create materialized view counted as select count(*) as posts from posts;
create function shout(t text) returns text language sql immutable as 'select upper(t)';
create function born(a int) returns int language plpgsql stable as 'begin return 2000 - a; end';
create sequence numbers;
create schema other;
create table other.things (id int, label text);
create table measured (at date not null, value int) partition by range (at);
create table measured_1 partition of measured for values from ('2001-01-01') to ('2002-01-01');
insert into people select n, 'p' || n, n + 17, n || '@example.org', 'glad', 'x' from generate_series(1, 20) n;
insert into posts select n, n, 'b', n, '{a}', true from generate_series(1, 20) n;
insert into measured select '2001-02-01', 1;
"""
NAMES = "select id, name from people where id = $1"
ALL = "select * from people where id = $1"
ADDS = "insert into people (id, name, mail) values ($1, $2, $3)"
POSTS = "insert into posts (id, person_id, body) values ($1, $2, $3)"
KEEPS = f"{ADDS} on conflict (mail) do nothing"
# What is changed, the query of the release, and the SQLSTATE in an open session and in a new one
KINDS = [
    ("add a column, names named", "alter table people add extra int", NAMES, "", ""),
    ("add a column, select *", "alter table people add extra int", ALL, "0A000", ""),
    ("add a column, not null with a default", "alter table people add extra int not null default 1", ADDS, "", ""),
    ("add a column, not null without one", "alter table people add extra int not null default 1; alter table people alter extra drop default", ADDS, "23502", "23502"),
    ("drop a column that is read", "alter table people drop name cascade", NAMES, "42703", "42703"),
    ("drop a column that is written", "alter table people drop mail", ADDS, "42703", "42703"),
    ("drop a column, select *", "alter table people drop note", ALL, "0A000", ""),
    ("drop a column that is not asked for", "alter table people drop note", NAMES, "", ""),
    ("rename a column", "alter table people rename name to called", NAMES, "42703", "42703"),
    ("rename a column, select *", "alter table people rename note to remark", ALL, "0A000", ""),
    ("retype a column that is read", "alter table people alter age type bigint", "select age from people where id = $1", "0A000", ""),
    ("retype a column that is compared only", "alter table people alter age type bigint", "select name from people where age = $1::int", "", ""),
    ("retype so that an operator is missing", "alter table people alter age type text", "select name from people where age > $1::int", "42883", "42883"),
    ("widen a varchar", "alter table people alter mail type varchar(90)", "select mail from people where id = $1", "0A000", ""),
    ("narrow a varchar", "alter table people alter mail type varchar(30) using left(mail, 30)", "insert into people (id, name, mail) values ($1, 'a', repeat('x', 50))", "22001", "22001"),
    ("a view loses a column", "drop view grown; create view grown as select name from people", "select id from grown", "42703", "42703"),
    ("a view gains a column, select *", "create or replace view grown as select id, name, age from people", "select * from grown", "0A000", ""),
    ("drop a view", "drop view grown", "select id from grown", "42P01", "42P01"),
    ("a view made anew, the same", "drop view grown; create view grown as select id, name from people", "select id from grown", "", ""),
    ("set not null", "alter table people alter age set not null", ADDS, "23502", "23502"),
    ("drop a default that was relied on", "alter table people alter mood set not null, alter mood drop default", ADDS, "23502", "23502"),
    ("add a value to an enum", "alter type mood add value 'sad'", "select id from people where mood = $1", "", ""),
    ("rename a value of an enum", "alter type mood rename value 'glad' to 'merry'", "select id from people where mood = 'glad'", "", "22P02"),
    ("a function with another signature", "drop function shout(text); create function shout(t text, n int) returns text language sql as 'select upper(t)'", "select shout(name) from people where id = $1", "42883", "42883"),
    ("a function returns another type", "drop function born(int); create function born(a int) returns bigint language sql stable as 'select 1::bigint'", "select born(age) from people", "0A000", ""),
    ("a function whose body needs what is gone", "create or replace function born(a int) returns int language plpgsql as 'begin return (select nothing from people); end'", "select born(age) from people", "42703", "42703"),
    ("rename a table", "alter table people rename to persons", NAMES, "42P01", "42P01"),
    ("rename a table, a view in its place", "alter table people rename to persons; create view people as select * from persons", NAMES, "", ""),
    ("rename a table, a view in its place, written to", "alter table people rename to persons; create view people as select id, name, mail from persons", ADDS, "", ""),
    ("drop a table", "drop table posts cascade", POSTS, "42P01", "42P01"),
    ("move a table to another schema", "alter table posts set schema other", POSTS, "42P01", "42P01"),
    ("drop a schema", "drop schema other cascade", "select label from other.things", "42P01", "42P01"),
    ("add a check that writes break", "alter table people add constraint adult check (age is not null) not valid", ADDS, "23514", "23514"),
    ("drop the unique index of an upsert", "drop index people_mail", KEEPS, "42P10", "42P10"),
    ("another unique index in its place", "create unique index again on people (mail); drop index people_mail", KEEPS, "", ""),
    ("add a foreign key that holds", "alter table posts add foreign key (id) references people (id)", "select body from posts where id = $1", "", ""),
    ("detach the partition that is written to", "alter table measured detach partition measured_1", "insert into measured (at, value) values ('2001-03-01', $1)", "23514", "23514"),
    ("add a partition", "create table measured_2 partition of measured for values from ('2002-01-01') to ('2003-01-01')", "insert into measured (at, value) values ('2001-03-01', $1)", "", ""),
    ("drop a sequence", "drop sequence numbers", "select nextval('numbers')", "42P01", "42P01"),
    ("make a column generated", "alter table posts drop seen; alter table posts add seen boolean generated always as (price > 1) stored", "insert into posts (id, person_id, body, seen) values ($1, $2, $3, $4)", "428C9", "428C9"),
    ("make a column an identity", "alter table posts alter id add generated always as identity", POSTS, "428C9", "428C9"),
    ("an ambiguous name", "alter table posts add name text", "select name from people join posts on people.id = person_id", "42702", "42702"),
    ("a trigger that refuses", "create function no() returns trigger language plpgsql as 'begin raise exception using errcode = ''P0001''; end'; create trigger no before insert on posts for each row execute function no()", POSTS, "P0001", "P0001"),
    ("row security on the owner, too", "alter table posts enable row level security, force row level security", "select body from posts where id = $1", "", ""),
    ("a materialized view without rows", "refresh materialized view counted with no data", "select posts from counted", "55000", "55000"),
    ("an array becomes another", "alter table posts alter tags type int[] using null", "select tags from posts", "0A000", ""),
    ("a column moves to another table", "alter table people add body text; alter table posts drop body", POSTS, "42703", "42703"),
    ("a domain with a check", "alter domain short add constraint few check (length(value) < 3) not valid", "update people set note = 'abcdef' where id = 1", "23514", "23514"),
    ("an index", "create index on people (age)", NAMES, "", ""),
    ("a comment", "comment on table people is 'them'", ALL, "", ""),
]  # fmt: skip
assert len({kind for kind, *_ in KINDS}) >= 30


def seen(conn: psycopg.Connection[tuple[object, ...]], query: str, values: list[str | None]) -> str:
    """Return what a client's own session gets, empty where its query runs."""
    try:
        conn.execute(query.encode(), values or None, prepare=True)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return ""


@pytest.mark.parametrize(("kind", "change", "query", "in_open", "in_new"), KINDS, ids=[kind for kind, *_ in KINDS])
def test_a_verdict_is_what_a_real_open_session_sees(
    one: Database, kind: str, change: str, query: str, in_open: str, in_new: str
) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do(SCHEMA)
    release = Release(one.connect)
    release.prepare([Query(kind, query)])
    [prepared] = release.prepared
    client = psycopg.connect(one.url, autocommit=True, cursor_factory=psycopg.RawCursor)
    assert prepared.before.sqlstate == ""
    assert seen(client, query, prepared.values) == ""
    one.do("delete from people where id > 6999; delete from posts where id > 6999")  # what that has added
    one.do(change)
    [verdict] = release.judge()
    assert (verdict.open_session_sqlstate or "", verdict.new_session_sqlstate or "") == (in_open, in_new)
    assert seen(client, query, prepared.values) == in_open
    client.close()
    word = {("", ""): {"survives", "answers_otherwise"}, ("0A000", ""): {"fails_once"}}
    assert verdict.verdict in word.get((in_open, in_new), {"breaks"})
    if verdict.verdict == "fails_once":  # and the client prepares anew
        assert release.judge()[0].verdict != "fails_once"
    release.close()


def test_a_query_that_takes_long_is_parsed_only(one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do("create table t (id int, a text); insert into t values (1, 'a')")
    release = Release(one.connect)
    release.prepare(
        [Query("slow", "select *, pg_sleep(60) from t"), Query("slow, too", "select a, pg_sleep(60) from t")]
    )
    one.do("alter table t drop a")
    words = [(verdict.verdict, verdict.open_session_sqlstate) for verdict in release.judge()]
    assert words == [("fails_once", "0A000"), ("breaks", "42703")]
    release.close()


@pytest.mark.parametrize(
    ("schema", "query"),
    [
        ("create table o (id int primary key); insert into o values (5); create table t (o int references o)", "insert into t values ($1)"),
        ("create table t (id int primary key); insert into t select generate_series(1, 9000)", "insert into t values ($1)"),
        ("create table t (code char(2), name varchar(3))", "insert into t values ($1, $2)"),
        ("create type m as enum ('a'); create table t (m m, at timestamptz, u uuid, j jsonb, n numeric, a int[])", "insert into t values ($1, $2, $3, $4, $5, $6)"),
    ],
)  # fmt: skip
def test_values_are_found_with_which_a_query_runs(one: Database, schema: str, query: str) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do(schema)
    release = Release(one.connect)
    release.prepare([Query("adds", query)])
    assert release.prepared[0].before.sqlstate == ""
    assert one.query("select 1 from t where false") == []
    release.close()
