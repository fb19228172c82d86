"""db.drift as users meet it, and the database that it is compared with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import load
from ops.db.drift import catalog, compare, scratch, spelling
from ops.db.drift.catalog import Key
from ops.db.sql_file.script import read
from ops.targets.embedded import server, state
from ops.targets.open_target import OpenTarget
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

BY_HAND = "alter table users add column bio text; drop index activities_newest; comment on table users is 'x'"


def found(stdout: str) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["name"], each["what"]) for each in json.loads(stdout)["differences"]]


def databases(root: Path) -> set[str]:
    """Return the databases of ours on the embedded server of a clone."""
    made = state.load(root)
    assert made
    params: dict[str, Any] = dict(made.target("postgres").params)
    with psycopg.connect(**params) as conn:
        return {name for (name,) in conn.execute("select datname from pg_database") if scratch.OURS.match(name)}


def test_a_database_is_compared_with_what_the_repository_says(one: Database, inv: Cli) -> None:
    """Another server than the embedded one: that is started for it, and keeps what it has built."""
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    first = inv("db.drift", env=env)
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert "built what sql/schema.sql says in" in first.stderr
    assert f"{one.name} is what sql/schema.sql says: " in first.stderr
    [kept] = databases(inv.root)
    one.do(BY_HAND)
    before = (one.query("select oid, xmin::text from pg_class order by 1"), one.query("select * from pg_shdescription"))
    done = inv("db.drift", env=env)
    assert done.returncode == 4
    assert "built" not in done.stderr
    assert done.stdout.splitlines() == [
        "index public.activities_newest: only in sql/schema.sql",
        "table public.users: comment: People who have signed up. in sql/schema.sql, x in the database",
        "table column public.users.bio: only in the database",
    ]
    assert "is not what the repository says: 3 objects differ (inv db.drift --sql proposes statements)" in done.stderr
    assert "Traceback" not in done.stderr
    told = inv("db.drift", "--json", env=env)
    assert told.returncode == 4
    assert found(told.stdout) == [
        ("index", "public.activities_newest", "existence"),
        ("table", "public.users", "comment"),
        ("table column", "public.users.bio", "existence"),
    ]
    assert (
        one.query("select oid, xmin::text from pg_class order by 1"),
        one.query("select * from pg_shdescription"),
    ) == before
    proposed = inv("db.drift", "--sql", env=env).stdout
    assert "-- loses data:\n-- alter table public.users drop column bio;\n" in proposed
    assert "\n-- alter table public.users add column bio text;\n" in proposed
    one.do(proposed.replace("-- alter table public.users drop", "alter table public.users drop"))
    assert inv("db.drift", env=env).returncode == 0
    assert databases(inv.root) == {kept}


def test_another_file_is_another_database_and_what_a_killed_run_left_goes(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    inv.ok("db.drift", env=env)
    made = state.load(inv.root)
    assert made
    params: dict[str, Any] = dict(made.target("postgres").params)
    left, theirs = f"{scratch.PASSING}{'0' * 16}", f"{scratch.PASSING}mine"
    with psycopg.connect(**params, autocommit=True) as conn:
        conn.execute(f"create database {left}".encode())
        conn.execute(f"create database {theirs}".encode())
    schema = inv.root / "sql" / "schema.sql"
    schema.write_text(schema.read_text() + "create table more (id integer);\n")
    done = inv("db.drift", env=env)
    assert (done.returncode, done.stdout) == (4, "table public.more: only in sql/schema.sql\n")
    assert len(databases(inv.root)) == 2
    with psycopg.connect(**params) as conn:
        rows = conn.execute("select datname from pg_database where datname like 'inv_scratch%'").fetchall()
    assert rows == [(theirs,)]
    for number in range(4):
        schema.write_text(f"create table t{number} (id integer);\n")
        assert inv("db.drift", env=env).returncode == 4
    assert len(databases(inv.root)) == scratch.LAST


def test_two_runs_at_once_build_one(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    inv.ok("db.up", env={"CONNECTION_URL": ""})
    with ThreadPoolExecutor() as runs:
        done = list(runs.map(lambda _: inv("db.drift", env=env), range(2)))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert len(databases(inv.root)) == 1


def test_a_run_that_is_killed_leaves_nothing_that_the_next_does_not_take_away(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    inv.ok("db.up", env={"CONNECTION_URL": ""})
    schema = inv.root / "sql" / "schema.sql"
    whole = schema.read_text()
    schema.write_text(f"{whole}\nselect pg_sleep(60);\n")
    child = subprocess.Popen(
        [Path(sys.executable).parent / "inv", "db.drift"],
        cwd=inv.root,
        env={**os.environ, **env},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not databases(inv.root) and time.monotonic() < deadline:
        time.sleep(0.1)
    child.kill()
    child.wait()
    assert [name for name in databases(inv.root) if name.startswith(scratch.PASSING)]
    schema.write_text(whole)
    assert inv("db.drift", env=env).returncode == 0
    assert all(name.startswith(scratch.KEPT) for name in databases(inv.root))


def test_a_schema_that_does_not_load_is_named_at_its_line(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    (inv.root / "sql" / "schema.sql").write_text("select 1;\ncreate table t (id intt);\n")
    done = inv("db.drift", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'sql/schema.sql:2:20: type "intt" does not exist' in done.stderr
    assert databases(inv.root) == set()


def test_who_may_only_connect_sees_all_the_same(one: Database, inv: Cli) -> None:
    inv.ok("db.setup", env={"CONNECTION_URL": one.url})
    one.do(BY_HAND)
    role = f"r{one.name}"
    one.do(f"create role {role} login password 'pw'; alter role {role} set default_transaction_read_only = on")
    try:
        url = one.target(user=role, password="pw").url(show_password=True)
        told = inv("db.drift", "--json", env={"CONNECTION_URL": url})
        assert told.returncode == 4, told.stderr
        kinds = {each[2] for each in found(told.stdout)}
        assert kinds == {"existence", "comment"}
    finally:
        one.do(f"drop role {role}")


def test_who_changes_a_table_just_now_is_not_waited_for(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    one.do("create view names as select display_name from users")
    with one.connect() as other, other.transaction():
        other.execute("alter table users add column bio text")
        done = inv("db.drift", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "another session holds what this one needs (55P03): inv db.sessions shows whose it is" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_password_of_what_is_foreign_is_not_told(one: Database, inv: Cli) -> None:
    inv.ok("db.setup", env={"CONNECTION_URL": one.url})
    one.do(
        "create foreign data wrapper w; create server s foreign data wrapper w options (password 'canary1');"
        " create user mapping for current_user server s options (password 'canary2')"
    )
    for options in ((), ("--sql",), ("--json",)):
        done = inv("db.drift", *options, env={"CONNECTION_URL": one.url})
        assert done.returncode == 4
        assert "canary" not in done.stdout + done.stderr


@pytest.fixture
def many(one: Database) -> psycopg.Connection[dict[str, Any]]:
    one.do(f"create database {one.name}", "postgres")
    one.do(
        "do $$ begin for i in 1..1000 loop execute format('create table t%1$s (id bigint generated always as identity primary key,"
        " a text not null, b integer default 3 check (b > 0), c timestamptz default now(), d jsonb, e varchar(20) check (e in (''x'', ''y'')));"
        " create index on t%1$s (a); create index on t%1$s (c desc); comment on table t%1$s is ''x''', i); end loop; end $$"
    )
    return one.connect()


def test_a_thousand_tables_are_compared_in_five_seconds(many: psycopg.Connection[dict[str, Any]]) -> None:
    """One after the other here, and the best of three: the task reads both at once."""
    took = []
    with many as conn:
        for _ in range(3):
            begun = time.monotonic()
            left, right = catalog.read(conn), catalog.read(conn)
            assert compare.differences(left, right, spelling.Speller(conn, left, right)) == []
            took.append(time.monotonic() - begun)
    assert len(left.things) > 10000
    assert min(took) < 5, took


def test_a_scratch_database_is_dropped_after(root: Path) -> None:
    here = load({}, {}, root)
    try:
        with scratch.open_scratch(here) as at:
            with at.connect() as conn:
                conn.execute("create table t (id integer)")
            assert databases(root) == {at.name}
        assert databases(root) == set()
        content = scratch.Content(read(root / "sql" / "schema.sql"), {})
        with scratch.open_built(here, content) as (built, seconds):
            assert seconds > 0
            with built.connect() as conn:
                assert any(key.name == "public.users" for key in catalog.read(conn).things)
        with scratch.open_built(here, content) as (_, seconds):
            assert seconds == 0

        def more(_: OpenTarget, conn: psycopg.Connection[dict[str, Any]]) -> None:
            conn.execute("create table behind (id integer)")

        with scratch.open_built(here, replace(content, behind=more, of_behind="1")) as (built, seconds):
            assert seconds > 0
            with built.connect() as conn:
                assert Key("table", "public.behind") in catalog.read(conn).things
    finally:
        server.remove_data(root)
