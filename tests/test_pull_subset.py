"""db.pull of a part of the rows, and the first file that is proposed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.settings import load
from ops.db.pull import pull
from ops.db.pull.pull import How
from ops.errors import Misconfigured
from ops.yaml_file import compose
from tests.fix_suppliers import Database, made
from tests.servers import Server

SCHEMA = """
create table teams (id int generated always as identity primary key, boss_id int);
create table people (id int generated always as identity primary key, team_id int not null references teams, boss_id int references people);
alter table teams add foreign key (boss_id) references people;
create table groups (id int generated always as identity primary key);
create table members (person_id int references people, group_id int references groups, primary key (person_id, group_id));
create table posts (id int not null, person_id int references people, reply_to int, at date not null, primary key (id, at)) partition by range (at);
create table posts_1 partition of posts for values from ('2020-01-01') to ('2021-01-01');
create table posts_2 partition of posts for values from ('2021-01-01') to ('2022-01-01');
create table likes (post_id int not null, post_at date not null, foreign key (post_id, post_at) references posts);
create table lonely (word text);
insert into teams select from generate_series(1, 50);
insert into people (team_id, boss_id) select 1 + n % 50, case when n > 4 then n / 4 end from generate_series(1, 2000) n;
update teams set boss_id = id * 3;
insert into groups select from generate_series(1, 100);
insert into members select 1 + n % 2000, 1 + n % 100 from generate_series(1, 4000) n on conflict do nothing;
insert into posts select n, case when n % 10 > 0 then 1 + n % 2000 end, null, date '2020-01-01' + n % 700 from generate_series(1, 4000) n;
insert into likes select id, at from posts, generate_series(1, 2);
insert into lonely select 'w' || n from generate_series(1, 1000) n;
analyze
"""
MASKS = """\
safe_types: [date]
tables:
  posts: {columns: {id: keep, reply_to: keep}}
  likes: {columns: {post_id: keep}}
  lonely: {columns: {word: {fake: text}}}
"""
COUNTS = "select (select count(*) from teams) as teams, (select count(*) from people) as people, (select count(*) from groups) as groups, (select count(*) from members) as members, (select count(*) from posts) as posts, (select count(*) from likes) as likes, (select count(*) from lonely) as lonely"


@pytest.fixture(scope="module")
def source(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    for database in made(postgres, tmp_path_factory.mktemp("source")):
        database.do(f'create database "{database.name}"', "postgres")
        database.do(SCHEMA)
        yield database


def run(
    source: Database, one: Database, masks: str = MASKS, rows: str = "", where: tuple[str, ...] = ()
) -> pull.Pulled:
    (one.root / "sql").mkdir(exist_ok=True)
    (one.root / "sql" / "masks.yaml").write_text(masks, encoding="utf-8")
    settings = load({}, {"CONNECTION_URL": one.url, "PROD_CONNECTION_URL": source.url}, one.root)
    return pull.pull(settings, compose, "prod", "local", How(rows, where))


SUBSETS = [
    # rows, --where, in the file; what holds for the counts: each foreign key holds, or its constraint would not be made
    ("5%", (), MASKS, lambda n: 20 < n["lonely"] < 100 and 0 < n["people"] < 2000),
    ("", ("groups=id <= 10",), MASKS, lambda n: n["groups"] == 10 and n["members"] == 200 and n["people"] == 2000 and n["posts"] == 4000),
    ("", ("public.posts=id % 100 = 1 and reply_to is null",), MASKS, lambda n: n["posts"] == 40 and n["likes"] == 80 and n["people"] == 2000),
    ("10%", ("members=group_id = 7",), MASKS, lambda n: n["members"] == 20 and n["groups"] > 1 and n["lonely"] < 200),
    ("", (), MASKS.replace("posts: {", "posts: {where: person_id is null, "), lambda n: n["posts"] == 400 and n["likes"] == 800 and n["people"] == 2000),
    ("", ("people=id = 2000", "teams=false"), MASKS, lambda n: 1 < n["people"] < 200 and n["members"] == 1 and n["groups"] == 100),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "where", "masks", "holds"), SUBSETS)
def test_a_part_has_all_that_its_foreign_keys_need(
    source: Database, one: Database, rows: str, where: tuple[str, ...], masks: str, holds: object
) -> None:
    pulled = run(source, one, masks, rows, where)
    counts = one.query(COUNTS)[0]
    assert callable(holds)
    assert holds(counts), counts
    assert {each.table.removeprefix("public."): each.rows for each in pulled.tables} == counts
    assert one.scalar("select count(*) from pg_constraint where contype = 'f' and convalidated") == source.scalar("select count(*) from pg_constraint where contype = 'f' and convalidated")  # fmt: skip


def test_two_parts_of_one_share_have_the_same_rows(source: Database, one: Database) -> None:
    found = []
    for _ in range(2):
        run(source, one, rows="5%")
        found.append(one.query("select array_agg(id order by id) from people"))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("rows", "where", "told"),
    [
        ("5", (), "--rows 5: give a share of the rows, like 5%"),
        ("0%", (), "--rows 0%: give a share"),
        ("", ("people",), "--where people: write it as TABLE=CONDITION"),
        ("", ("persons=true",), "--where persons: the source has no such table"),
        ("", ("people=true", "people=false"), "--where people: stands here twice"),
        ("", ("people=nothing > 1",), '--where people: column "nothing" does not exist'),
    ],
)
def test_a_part_that_is_none_is_told(
    source: Database, one: Database, rows: str, where: tuple[str, ...], told: str
) -> None:
    with pytest.raises(Misconfigured, match=told.replace("(", r"\(")):
        run(source, one, rows=rows, where=where)
    assert one.names() == set()
