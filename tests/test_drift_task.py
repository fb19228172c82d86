"""db.drift as users meet it, and the database that it is compared with."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import load
from ops import postgres
from ops.db import scratch_server
from ops.db.drift import catalog, compare, schema_file, scratch, spelling, targets
from ops.db.drift.catalog import Key
from ops.db.sql_file.script import read
from ops.errors import Problem
from ops.targets.embedded import postmaster, server, state
from ops.targets.open_target import OpenTarget
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

BY_HAND = "alter table users add column bio text; drop index activities_newest; comment on table users is 'x'"


def found(stdout: str) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["name"], each["what"]) for each in json.loads(stdout)["differences"]]


def databases(root: Path) -> set[str]:
    """Return the databases of the embedded server of a clone that are ours for a look."""
    made = state.load(root)
    assert made
    params: dict[str, Any] = dict(made.target("postgres").params)
    with psycopg.connect(**params) as conn:
        return {name for (name,) in conn.execute("select datname from pg_database") if scratch.OURS.match(name)}


def built(root: Path) -> set[str]:
    """Return the digests of what is kept, of which no server runs."""
    found = {path for path in (root / ".local" / "drift").iterdir() if path.is_dir()}
    for path in found:
        made = state.load(path)
        assert made
        assert not postmaster.running_pid(made)
        assert (path / scratch.WHOLE).exists()
    return {path.name for path in found}


def test_a_database_is_compared_with_what_the_repository_says(one: Database, inv: Cli) -> None:
    """What is built is kept, on a server of its own that does not run after."""
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    first = inv("db.drift", env=env)
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert "built what sql/schema.sql says in" in first.stderr
    assert f"{one.name} is what sql/schema.sql says: " in first.stderr
    [kept] = built(inv.root)
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
    assert built(inv.root) == {kept}


@pytest.mark.parametrize(
    ("what", "here", "there", "in_words", "told"),
    [
        (compare.EXISTS, None, "…", False, "only in b"),
        (compare.EXISTS, "…", None, False, "only in a"),
        ("comment", None, "x\x1b[2J\u202e", False, "comment: none in a, x\ufffd[2J\ufffd in b"),
        ("definition", "1", "(1)", True, "definition: 1 in a, (1) in b (may be the same in other words)"),
    ],
)
def test_where_two_targets_differ_is_a_line(
    what: str, here: str | None, there: str | None, in_words: bool, told: str
) -> None:
    found = targets.Different("table", "public.t", what, here, there, in_words)
    assert targets.line(found, ("a", "b")) == told


def test_another_file_is_another_server_and_the_last_are_kept(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    inv.ok("db.drift", env=env)
    schema = inv.root / "sql" / "schema.sql"
    schema.write_text(schema.read_text() + "create table more (id integer);\n")
    done = inv("db.drift", env=env)
    assert (done.returncode, done.stdout) == (4, "table public.more: only in sql/schema.sql\n")
    assert len(built(inv.root)) == 2
    for number in range(2):
        schema.write_text(f"create table t{number} (id integer);\n")
        assert inv("db.drift", env=env).returncode == 4
    assert len(built(inv.root)) == scratch.LAST


def test_two_runs_at_once_build_one(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    with ThreadPoolExecutor() as runs:
        done = list(runs.map(lambda _: inv("db.drift", env=env), range(2)))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert sum("built what" in each.stderr for each in done) == 1
    assert len(built(inv.root)) == 1


PENDING = {
    "20990101000000_database.sql": "-- migrate:up transaction:false\ndrop database if exists otherdb;\n\n-- migrate:down\n",
    "20990101000001_roles.sql": "-- migrate:up\ndrop role if exists old_app;\ncreate role fresh_app;\ngrant select on users to by_hand, fresh_app;\n\n-- migrate:down\n",
}


def test_what_migrations_do_to_a_whole_server_does_not_reach_that_of_db_up(inv: Cli) -> None:
    """Databases and roles of a developer's stay; one that a migration makes may be there, and one that it wants is given to it."""
    inv.ok("db.setup")
    made = state.load(inv.root)
    assert made
    params: dict[str, Any] = dict(made.target("postgres").params)
    with psycopg.connect(**params, autocommit=True) as conn:
        for statement in (
            "create database otherdb",
            "create role old_app",
            "create role fresh_app",
            "create role by_hand",
        ):
            conn.execute(statement.encode())
        folder = inv.root / "sql" / "migrations"
        folder.mkdir(exist_ok=True)
        for name, text in PENDING.items():
            (folder / name).write_text(text)
        schema = inv.root / "sql" / "schema.sql"
        schema.write_text(f"-- migrations up to 0\n{schema.read_text()}")
        done = inv("db.drift")
        assert done.returncode == 4, done.stderr
        assert "table public.users: granted to by_hand: SELECT in sql/schema.sql" in done.stdout
        done = inv("db.drift")
        assert "built" not in done.stderr
        roles = conn.execute("select rolname from pg_roles where rolname ~ '_(app|hand)$' order by 1").fetchall()
        assert [name for (name,) in roles] == ["by_hand", "fresh_app", "old_app"]
        assert conn.execute("select from pg_database where datname = 'otherdb'").fetchone() is not None
    inv.ok("db.down", "--wipe", "--confirm", "cruddur")
    assert [path.name for path in (inv.root / ".local" / "drift").iterdir()] == ["lock"]


@pytest.mark.slow
def test_what_is_built_reaches_no_other_server(root: Path) -> None:
    """Neither by a foreign table nor by a subscription; what was made is as the file says."""
    here = load({}, {}, root)
    schema = root / "sql" / "foreign.sql"
    made = (
        "create extension postgres_fdw;\n"
        "create foreign data wrapper own handler postgres_fdw_handler;\n"
        "create server away foreign data wrapper own options (host '127.0.0.1', port '1');\n"
        "create user mapping for public server away;\n"
        "create foreign table far (id int) server away;\n"
    )
    schema.write_text(made)
    with scratch.open_built(here, scratch.Content(read(schema), {})) as (at, _), at.connect() as conn:
        things = catalog.read(conn).things
        assert "postgres_fdw_handler" in str(things[Key("foreign-data wrapper", "own")].facets)
        assert not [key for key in things if "inv_sealed" in key.name]
    schema.write_text(f"{made}update far set id = 1;\n")
    with (
        pytest.raises(Problem, match="statements on foreign tables are not run here"),
        scratch.open_built(here, scratch.Content(read(schema), {})),
    ):
        pass

    def subscribe(at: OpenTarget) -> None:
        with at.connect() as conn:
            conn.execute("create subscription s connection 'host=127.0.0.1 port=1' publication p")

    with pytest.raises(psycopg.Error, match="none is made here"), scratch.open_passing(here, subscribe):
        pass
    scratch_server.remove_all(root)


def test_a_schema_that_does_not_load_is_named_at_its_line(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    (inv.root / "sql" / "schema.sql").write_text("select 1;\ncreate table t (id intt);\n")
    done = inv("db.drift", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'sql/schema.sql:2:20: type "intt" does not exist' in done.stderr
    assert built(inv.root) == set()


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


FOREIGN = """
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s foreign data wrapper w OPTIONS (host 'there', passcode 'canary1', uri 'postgres://me:canary2@there/db');
CREATE USER MAPPING for current_user server s OPTIONS (password 'canary3');
CREATE FOREIGN TABLE far (id int OPTIONS (token 'canary4', column_name 'x')) server s
  OPTIONS (path 'x', secret_id 'canary5', how 'host=there password = canary6');
"""


def test_a_password_of_what_is_foreign_is_not_told(one: Database, inv: Cli) -> None:
    inv.ok("db.setup", env={"CONNECTION_URL": one.url})
    one.do(FOREIGN)
    for options in ((), ("--sql",), ("--json",)):
        done = inv("db.drift", *options, env={"CONNECTION_URL": one.url})
        assert done.returncode == 4
        assert "canary" not in done.stdout + done.stderr
        assert "postgres://me" not in done.stdout
    assert "path" in done.stdout, "what is no password is told"


def test_what_may_be_a_password_is_the_same_whatever_it_is(one: Database, inv: Cli) -> None:
    """The schema file has other words for it; whether there is one is compared."""
    schema = inv.root / "sql" / "schema.sql"
    with schema.open("a") as file:
        file.write(";".join(schema_file.without_secrets(each.strip()) for each in FOREIGN.split(";")))
    inv.ok("db.setup", env={"CONNECTION_URL": one.url})
    one.do(
        "alter server s options (set passcode 'canary', set uri 'postgres://me:canary@there/db');"
        "alter foreign table far options (set secret_id 'canary', set how 'password=canary');"
        "alter foreign table far alter column id options (set token 'canary')"
    )
    inv.ok("db.drift", env={"CONNECTION_URL": one.url})
    one.do("alter server s options (drop passcode); alter foreign table far options (set path 'y')")
    done = inv("db.drift", "--sql", env={"CONNECTION_URL": one.url})
    assert done.returncode == 4
    assert "add passcode 'left out'" in done.stdout
    assert "set path" in done.stdout
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


@pytest.mark.slow
def test_a_scratch_database_is_dropped_after(root: Path) -> None:
    here = load({}, {}, root)
    try:
        with scratch.open_scratch(here) as at:
            with at.connect() as conn:
                conn.execute("create table t (id integer)")
            assert databases(root) == {at.name}
            left, theirs = f"{scratch.PASSING}{'0' * 16}", f"{scratch.PASSING}mine"
            at.conn.execute(f"create database {left}".encode())
            at.conn.execute(f"create database {theirs}".encode())
        with scratch.open_scratch(here) as at:
            assert databases(root) == {at.name}
            assert postgres.fetch(at.conn, "select from pg_database where datname = %s", theirs)
        assert databases(root) == set()
        content = scratch.Content(read(root / "sql" / "schema.sql"), {})
        with scratch.open_built(here, content) as (at, seconds):
            assert seconds > 0
            with at.connect() as conn:
                assert any(key.name == "public.users" for key in catalog.read(conn).things)
        with scratch.open_built(here, content) as (_, seconds):
            assert seconds == 0

        def more(_: OpenTarget, conn: psycopg.Connection[dict[str, Any]]) -> None:
            conn.execute("create table behind (id integer)")

        with scratch.open_built(here, replace(content, behind=more, of_behind="1")) as (at, seconds):
            assert seconds > 0
            with at.connect() as conn:
                assert Key("table", "public.behind") in catalog.read(conn).things
    finally:
        server.remove_data(root)
        scratch_server.remove_all(root)
