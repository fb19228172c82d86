"""Rows that are made up: as many, as wide, as often null as the target's, and none that the schema refuses."""

from __future__ import annotations

import pytest

from ops.db.rehearsal import rows, shape
from ops.db.rehearsal.shape import Column, Table
from tests.fix_suppliers import Database

SCHEMA = """
create type mood as enum ('calm', 'glad', 'sad');
create domain mail as text check (value like '%@%');
create domain count as int check (value >= 0);
create table people (
  id bigint generated always as identity primary key, handle text not null, mail mail not null, mood mood, state text check (state in ('new', 'old')),
  age int check (age between 18 and 99), born date, seen timestamptz, code char(4), short varchar(3), price numeric(6, 2), tags text[], moods mood[],
  about jsonb, raw bytea, place inet, span tstzrange, spans int4multirange, ok boolean, key uuid not null unique, n count,
  low int, high int, doubled bigint generated always as (age * 2) stored, check (low < high)
);
create unique index on people (lower(handle));
create table posts (id serial primary key, person_id bigint not null references people, reply_to int references posts, body text not null);
create table pinned (person_id bigint primary key references people, note text);
create table likes (person_id bigint references people, post_id int references posts, primary key (person_id, post_id));
create table events (id bigint not null, at timestamptz not null, kind text, primary key (id, at)) partition by range (at);
create table events_1 partition of events for values from ('2001-01-01') to ('2001-02-01');
create table events_2 partition of events for values from ('2001-02-01') to ('2001-03-01');
create table kinds (id int, kind text) partition by list (kind);
create table kinds_a partition of kinds for values in ('a', 'b');
create table empty (id int);
create table "Odd ""one" ("a b" int, "I" text);
create materialized view counted as select count(*) as n from posts;
"""
SHAPES = {
    "public.people": Table(4000, 800_000, 1_000_000, {"seen": Column(0.25, -1, 8), "handle": Column(0, -1, 60), "state": Column(0.1, 2, 4)}),
    "public.posts": Table(10_000, 2_000_000, 3_000_000, {"reply_to": Column(0.5, -0.2, 4), "body": Column(0, -1, 900), "person_id": Column(0, 100, 8)}),
    "public.pinned": Table(1000, 100_000, 100_000, {}),
    "public.likes": Table(3000, 100_000, 100_000, {}),
    "public.events_1": Table(500, 10_000, 10_000, {}),
    "public.events_2": Table(700, 10_000, 10_000, {}),
    "public.kinds_a": Table(50, 10_000, 10_000, {}),
    "public.empty": Table(0, 0, 0, {}),
    'public."Odd ""one"': Table(70, 10_000, 10_000, {}),
}  # fmt: skip


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_rows_are_made_for_each_table(one: Database, share: float) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do(SCHEMA)
    with one.connect() as conn:
        notes = rows.fill(conn, SHAPES, share)
        again = shape.read(conn)
    assert notes == ["public.people: its rows do not keep the check people_check"]
    for name, table in SHAPES.items():
        few = 0.9 if name == "public.likes" else 1  # a pair of two others may come twice
        assert table.rows * share * few <= again[name].rows <= table.rows * share, name
    assert again["public.people"].columns["seen"].null_share == pytest.approx(0.25, abs=0.08)
    assert again["public.people"].columns["handle"].width == pytest.approx(60, rel=0.1)
    assert again["public.posts"].columns["body"].width == pytest.approx(900, rel=0.1)
    assert one.scalar("select count(distinct person_id) from posts") == pytest.approx(100, abs=5)
    assert one.scalar("select n from counted") == 10_000 * share
    one.do("alter table posts drop constraint posts_person_id_fkey, add foreign key (person_id) references people")
    one.do("alter table posts drop constraint posts_reply_to_fkey, add foreign key (reply_to) references posts")
    one.do("alter table likes drop constraint likes_post_id_fkey, add foreign key (post_id) references posts")
    one.do("insert into posts (person_id, body) values (1, 'the next number is free')")
    assert one.scalar("select count(*) from pg_constraint where not convalidated") == 0


def test_no_value_of_a_row_is_asked_for(one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do("create table t (mail text); insert into t select 'alice@example.org' from generate_series(1, 50); analyze")
    with one.connect() as conn:
        found = shape.read(conn)
    assert found["public.t"].rows == 50
    assert "alice" not in repr(found)


def test_as_many_rows_as_fit() -> None:
    shapes = {"a": Table(1000, 1, 4_000_000_000)}
    assert [shape.share(shapes, *each) for each in ((1.0, 1e9), (0.05, 1e9), (1.0, 9e9))] == [0.25, 0.05, 1.0]
    assert shape.share({}, 0.5, 1e9) == 0.5
