"""Seeds run once: the ledger, on every supplier."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import load
from ops import postgres
from ops.db import build, seed
from ops.db.sql_file.script import Script
from ops.errors import Misconfigured, Problem
from ops.targets.embedded import binaries
from tests.fix_suppliers import Database

SCHEMA = "create table t (a int, b text);"
PLAIN = "insert into t values (1, 'x');"
BY_PSQL = "\\set by psql\n" + PLAIN


def make(database: Database, text: str = SCHEMA) -> None:
    """Make the database with a table, and no seed."""
    file = database.sql(text, "schema.sql")
    build.setup(database.settings(), "local", str(file), "", {}, "", force=True)


def apply(database: Database, text: str, name: str = "seed.sql", *, again: bool = False, **variables: str) -> None:
    file = database.sql(text, name)
    build.seed_load(database.settings(), "local", str(file), variables, "", again=again)


def rows(database: Database) -> int:
    return int(database.scalar("select count(*) from t"))


def ledger(database: Database) -> int:
    if not database.scalar("select to_regclass('inv.seeds') is not null"):
        return 0
    return int(database.scalar("select count(*) from inv.seeds"))


@pytest.mark.quick
@pytest.mark.parametrize("text", [PLAIN, BY_PSQL], ids=["plain", "by psql"])
def test_twice_is_once_and_changed_is_said(database: Database, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    make(database)
    apply(database, text)
    apply(database, text)
    assert rows(database) == 1
    assert "has not changed: nothing to do (--again insists)" in capsys.readouterr().err
    apply(database, text, again=True)
    assert rows(database) == 2
    apply(database, text + "\ninsert into t values (2, 'y');")
    assert rows(database) == 4
    assert "seed.sql has changed since it was applied: applying it as it is now" in capsys.readouterr().err
    assert ledger(database) == 3


@pytest.mark.parametrize("text", [PLAIN, BY_PSQL], ids=["plain", "by psql"])
def test_a_seed_that_fails_is_not_remembered(database: Database, text: str) -> None:
    make(database)
    for fault in ("select nope;", "do $$ begin raise exception 'no'; end $$"):
        with pytest.raises(Problem):
            apply(database, f"{text}\n{fault}")
    assert rows(database) == 0
    assert ledger(database) == 0


def test_rows_that_cannot_be_remembered_are_not_kept(one: Database) -> None:
    """Rows and ledger are one transaction: here the ledger is in the way."""
    make(one, SCHEMA + "create schema inv; create view inv.seeds as select 1 as x;")
    for text in (PLAIN, BY_PSQL):
        with pytest.raises(Exception, match=r"inv\.seeds|column"):
            apply(one, text)
    assert rows(one) == 0


def test_other_variables_are_another_seed(one: Database) -> None:
    make(one)
    text = "insert into t values (1, :'who');"
    for who in ("a", "b", "a", "b"):
        apply(one, text, who=who)
    assert rows(one) == 2


def test_two_files_do_not_stand_in_each_others_way(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    make(one)
    for _ in range(2):
        apply(one, PLAIN, "a.sql")
        apply(one, PLAIN.replace("1", "2"), "b.sql")
    assert rows(one) == 2
    assert "has changed" not in capsys.readouterr().err


def test_the_same_content_under_another_name_is_the_same(one: Database) -> None:
    make(one)
    apply(one, PLAIN, "a.sql")
    apply(one, PLAIN, "b.sql")
    assert rows(one) == 1


def test_a_schema_loaded_again_is_seeded_again(database: Database) -> None:
    make(database)
    for expected in (1, 1):
        apply(database, PLAIN)
        assert rows(database) == expected
        file = database.sql("drop table t;" + SCHEMA, "again.sql")
        build.schema_load(database.settings(), "local", str(file), {}, "")
        assert rows(database) == 0


def test_after_setup_its_seed_counts_as_applied(database: Database) -> None:
    for text in (PLAIN, BY_PSQL):
        schema, file = database.sql(SCHEMA, "schema.sql"), database.sql(text, "seed.sql")
        build.setup(database.settings(), "local", str(schema), str(file), {}, "", force=True)
        apply(database, text)
        assert rows(database) == 1


def test_a_temporary_table_is_no_reason_to_seed_again(one: Database) -> None:
    make(one)
    for _ in range(2):
        apply(one, "create temp table x (a int); insert into x values (5); insert into t select a, 'z' from x;")
    assert rows(one) == 1


def test_a_seed_without_rows_of_its_own_is_remembered(one: Database) -> None:
    make(one)
    for _ in range(2):
        apply(one, "alter table t add column c int;")
    assert ledger(one) == 1


def test_what_the_seed_includes_is_part_of_it(one: Database) -> None:
    make(one)
    for text in (PLAIN, PLAIN, PLAIN.replace("1", "2")):
        one.sql(text, "rows.sql")
        apply(one, "\\ir rows.sql\n")
    assert rows(one) == 2


@pytest.mark.parametrize("text", [PLAIN, BY_PSQL], ids=["plain", "by psql"])
def test_what_a_seed_sets_does_not_reach_the_ledger(one: Database, text: str) -> None:
    role = f"{one.name}_role"
    make(one, f"create role {role}; {SCHEMA} grant all on t to {role};")
    try:
        for become in ("role", "session authorization"):
            for _ in range(2):
                apply(one, f"{text} set search_path = ''; set {become} {role};")
        assert rows(one) == 2
    finally:
        with one.connect() as conn:
            conn.execute(f"drop owned by {role}; drop role {role}".encode())


def test_an_owner_without_superuser_rights_seeds(database: Database) -> None:
    role = f"{database.name}_owner"
    with database.connect("postgres") as conn:
        conn.execute(f"create role {role} login createdb password 'x'".encode())
    admin = dict(database.server.params)
    try:
        database.server.params.update(user=role, password="x")
        make(database)
        for text in (PLAIN, BY_PSQL, PLAIN, BY_PSQL):
            apply(database, text)
        assert rows(database) == 2
    finally:
        database.server.params.update(admin)
        with database.connect("postgres") as conn:
            for suffix in database.names():
                conn.execute(f'drop database "{database.name}{suffix}"'.encode())
            conn.execute(f"drop role {role}".encode())


def test_a_seed_from_standard_input(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    make(one)
    for text in (PLAIN, PLAIN, BY_PSQL, "copy t from stdin;\n1\tx\n\\.\n"):
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        build.seed_load(one.settings(), "local", "-", {}, "", again=False)
    assert rows(one) == 3


def test_standard_input_can_be_read_once(one: Database) -> None:
    with pytest.raises(Misconfigured, match="standard input can be read once"):
        build.setup(one.settings(), "local", "-", "-", {}, "", force=False)


def test_a_database_that_is_not_there_is_said(one: Database) -> None:
    with pytest.raises(Problem, match=r"not there yet: inv db\.setup"):
        apply(one, PLAIN)


def test_the_digest_does_not_mix_up_variables(tmp_path: Path) -> None:
    script = Script("x.sql", b"select 1")
    given: list[dict[str, str]] = [{}, {"a": "b"}, {"a": "b", "c": "d"}, {"a": "b', 'c"}, {"ab": ""}, {"a": ""}]
    assert len({seed.digest(script, variables) for variables in given}) == len(given)
    assert seed.digest(script, {"a": "1", "b": "2"}) == seed.digest(script, {"b": "2", "a": "1"})


def test_a_copy_by_dump_and_restore_remembers_its_seeds(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables have other identities in the copy; that they hold rows tells that the seed is in them."""
    build.setup(one.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    bin = binaries.wheel_bin()
    assert bin
    env = postgres.environment(one.target(), task="test")
    dump = subprocess.run([bin / "pg_dump"], env={**os.environ, **env}, capture_output=True, check=True).stdout
    copy = one.name + "_copy"
    one.do(f"create database {copy}", "postgres")
    one.do("create table other (x int); drop table other", copy)  # makes the numbers differ
    subprocess.run(
        [bin / "psql", "-q"], env={**os.environ, **env, "PGDATABASE": copy}, input=dump, capture_output=True, check=True
    )
    there = load({}, {"CONNECTION_URL": one.target(dbname=copy).url(show_password=True)}, one.root)
    build.seed_load(there, "local", "", {}, "", again=False)
    assert "nothing to do" in capsys.readouterr().err
    one.do("truncate users cascade", copy)
    build.seed_load(there, "local", "", {}, "", again=False)
    assert one.scalar("select count(*) from users", copy) == 5


def test_a_user_who_may_only_insert_can_seed(one: Database) -> None:
    build.setup(one.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    role = f"{one.name}_writer"
    one.do(f"create role {role} login password 'x'")
    one.do(f"grant select, insert on users to {role}; grant usage on schema inv to {role}")
    one.do(f"grant select, insert on inv.seeds to {role}")
    admin = dict(one.server.params)
    try:
        one.server.params.update(user=role, password="x")
        more = one.sql("insert into users (display_name, handle, cognito_user_id) values ('a', 'b', 'c')", "more.sql")
        build.seed_load(one.settings(), "local", str(more), {}, "", again=False)
        build.seed_load(one.settings(), "local", str(more), {}, "", again=False)
        assert one.scalar("select count(*) from users") == 6
    finally:
        one.server.params.clear()
        one.server.params.update(admin)
        one.do(f"drop owned by {role}; drop role {role}")
