"""Many small migrations in a round trip: each is whole or not at all, and what does not go at once is done by itself."""

from __future__ import annotations

import os
import re
import threading
from typing import Any

import pytest

from ops.db import load
from ops.db.migrations import apply, files, together
from ops.db.migrations.patience import Limits
from ops.db.migrations.steps import Act
from ops.errors import Problem
from tests.cutting import ANSWER, ASKING, CLOSE, Cut, Killer, Proxy
from tests.fix_spread import steps
from tests.fix_suppliers import Database
from tests.test_migrate import Repo, forked, refused

ALL = 12
FIRST = 20260101000000


@pytest.fixture
def many(one: Database, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Return a folder of a dozen, of which four go at a time, however slow the machine."""
    monkeypatch.setattr(together, "COUNT", 4)
    monkeypatch.setattr(together, "AT_ONCE", 60.0)
    one.do(f'create database "{one.name}"', "postgres")
    repo = Repo(one)
    for number in range(ALL):
        write(repo, number, f"create table t{number} (i int primary key, at timestamptz default now());")
    return repo


def write(repo: Repo, number: int, up: str) -> None:
    text = f"-- migrate:up\n{up}\n-- migrate:down\ndrop table t{number};\n"
    repo.write(**{f"v{FIRST + number}_t{number}": text})


def tables(repo: Repo) -> list[int]:
    rows = repo.database.query("select relname from pg_class where relkind = 'r' and relname ~ '^t[0-9]+$'")
    return sorted(int(row["relname"][1:]) for row in rows)


def is_whole(repo: Repo) -> bool:
    """Whether each table that is there is recorded, in both tables and once, and no other."""
    kept = repo.database.query("select version from inv.migrations where state = 'applied' order by 1")
    recorded = [int(version) - FIRST for version in repo.applied()]
    return tables(repo) == recorded == [int(row["version"]) - FIRST for row in kept]


def together_with(repo: Repo) -> list[int]:
    """Return how many went at one time: the server's, by which they begin."""
    rows = repo.database.query("select count(*) as count from inv.migrations group by begun_at order by min(version)")
    return [row["count"] for row in rows]


def test_each_is_a_transaction_with_its_record_and_told_in_order(
    many: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    write(many, 6, "create table t6 (i int); insert into t6 values (1);")
    many.migrate()
    assert is_whole(many)
    assert len(tables(many)) == ALL
    assert together_with(many) == [1, 4, 1, 1, 4, 1]  # one that writes rows is alone, as are the first and the last
    told = re.findall(r"applied .*_(t[0-9]+)\.sql in [0-9.]+ s", capsys.readouterr().err)
    assert told == [f"t{number}" for number in range(ALL)]
    seconds = many.database.query("select min(seconds) as least, max(seconds) as most from inv.migrations")[0]
    assert 0 < seconds["least"] <= seconds["most"] < 60
    xids = many.database.query("select count(distinct xmin::text) as count from inv.migrations")
    assert xids == [{"count": ALL}]
    many.rollback("0")
    assert tables(many) == []


@pytest.mark.parametrize(
    ("up", "said"),
    [
        ("create table t6 (i int);\ncreate table t6 (j int);", "t6.sql:3:1: relation"),
        ("create table t6 (i int);\ncreate tabel more ();", "t6.sql:3:8: syntax error"),
        ("create table t6 (i int);\ncreate view v as select nobody from t6;", "t6.sql:3:25: column"),
    ],
    ids=["relation", "syntax", "column"],
)
def test_one_that_fails_is_told_at_its_place_and_those_before_it_have_stayed(many: Repo, up: str, said: str) -> None:
    write(many, 6, up)
    with pytest.raises(Problem) as caught:
        many.migrate()
    assert said in str(caught.value)
    assert any("^" in line for line in caught.value.detail)
    assert f"6 of {ALL} were done before it, and have stayed" in caught.value.detail[-1]
    assert tables(many) == list(range(6))
    assert is_whole(many)
    write(many, 6, "create table t6 (i int);")
    many.migrate()
    assert len(tables(many)) == ALL
    assert is_whole(many)


def test_one_that_has_to_wait_is_asked_for_again_by_itself(many: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    write(many, 6, "create table t6 (i int);\nalter table t0 add column more int;")
    for number in range(1, ALL):
        path = many.folder / f"{FIRST + number}_t{number}.sql"
        path.rename(path.with_suffix(".later"))
    many.migrate()
    for path in many.folder.glob("*.later"):
        path.rename(path.with_suffix(".sql"))
    holder = many.database.connect()
    holder.execute("begin; select from t0")
    threading.Timer(2.0, holder.close).start()
    many.migrate()
    assert is_whole(many)
    assert len(tables(many)) == ALL
    assert "t6.sql: in the way is pid" in capsys.readouterr().err


def test_what_the_server_has_to_say_is_passed_on_once(many: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    for number, more in ((2, ""), (6, "create table t0 (i int);")):
        speaks = f"create table other (i int); create view v{number} as select from other; drop table other cascade;"
        write(many, number, f"{speaks} create table t{number} (i int); {more}")
    refused(Problem, many.migrate)
    said = capsys.readouterr().err
    assert [said.count(f"NOTICE: drop cascades to view v{number}") for number in (2, 6)] == [1, 1], said


@pytest.mark.parametrize("way", [ASKING, ANSWER])
def test_killed_at_every_message_the_next_run_goes_on(many: Repo, way: str) -> None:
    many.migrate(to=str(FIRST))
    for nth in steps():
        many.rollback(str(FIRST))
        with Killer(many.database.server.port, Cut(b"", way, CLOSE, nth), begins=b"pg_try_advisory_lock") as proxy:
            there = many.by(port=str(proxy.port), sslmode="disable", gssencmode="disable")
            proxy.victim = forked(there.migrate)
            _, status = os.waitpid(proxy.victim, 0)
            hit = proxy.hit
        if not hit:
            assert status == 0
            break
        many.quiet()
        assert is_whole(many)
        many.migrate()
        assert is_whole(many)
        assert len(tables(many)) == ALL
    assert nth > 6


def test_a_lost_answer_says_what_has_stayed(many: Repo) -> None:
    many.migrate(to=str(FIRST))
    with Proxy(many.database.server.port, Cut(b"create table t7", ANSWER, CLOSE)) as proxy:
        there = many.by(port=str(proxy.port), sslmode="disable", gssencmode="disable")
        with pytest.raises(Problem) as caught:
            apply.migrate(there.settings, "local", "", "")
    assert "t6.sql: " in str(caught.value)
    assert "what was done before that has stayed: run this again" in str(caught.value)
    many.quiet()
    assert is_whole(many)
    many.migrate()
    assert len(tables(many)) == ALL


def test_broken_off_while_what_is_done_is_told_the_server_does_not_go_on(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(many, 2, "drop table if exists nobody; create table t2 (i int);")  # with its notice comes what is done
    write(many, 3, "create table t3 as select pg_sleep(60);")

    def interrupted(text: str) -> None:
        if "t1.sql in" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(apply, "say", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apply.migrate(many.settings, "local", "", "")
    many.quiet()
    assert tables(many) == [0, 1, 2]
    assert is_whole(many)


TABLE = "create table t (i int);"


@pytest.mark.parametrize(
    ("up", "options", "fits"),
    [
        (TABLE, "", True),
        ("create table t (\n  i int -- it's one\n) -- and no more", "", True),
        ("create function f() returns int language sql as $$ select 1; $$; comment on function f() is ';';", "", True),
        (TABLE + "insert into t values (1);", "", False),
        (TABLE + "do 'begin end';", "", False),
        (TABLE + "set search_path = other;", "", False),
        (TABLE + "grant select on t to lambda_signup;", "", False),
        ("comment on table t is 'it\\'s';", "", False),
        ("comment on table t is 'unfinished;", "", False),
        ("create table t (i int); /* unfinished", "", False),
        ("create function f() returns int language sql as $$ select 1;", "", False),
        ("create table lambda_signup (i int);", "", False),
        ("create role LAMBDA_SIGNUP;", "", False),
        (TABLE * 9, "", False),
        (TABLE + "-- " + "long" * 2000, "", False),
        (TABLE, "allow:stall", False),
        ("alter table t validate constraint positive;", "", False),
    ],
)
def test_what_may_go_with_others_ends_where_it_seems_to(many: Repo, up: str, options: str, fits: bool) -> None:
    path = many.folder / f"{FIRST}_t0.sql"
    path.write_text(f"-- migrate:up {options}\n{up}\n-- migrate:down\ndrop table t;\n", encoding="utf-8")
    read = files.read(path)
    script = files.script(read.up, read.shown)
    act = Act("up", read.version, read.shown, read.up, script, read, load.plan(script, {}))
    nobody: Any = None
    assert together.Together(nobody, nobody, nobody, [act], Limits(), nobody).fits(act) is fits
