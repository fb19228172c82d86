"""db.restore: from each format, object by object and row by row."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.db.copies import dump as dump_task
from ops.db.copies import programs, restore
from ops.db.copies import roles as roles_of_dumps
from ops.db.drift import catalog, compare
from ops.errors import Misconfigured, Problem
from ops.targets import opening
from tests import servers
from tests.fix_suppliers import Database, made, supply

SCHEMAS = (Path(__file__).parent / "data" / "restore-schemas.sql").read_text(encoding="utf-8").split("-- schema ")[1:]
ROLES = ("rr_one", "rr_two")
OF_RIGHTS, OF_EACH_RIGHT = 2, 11
FORMATS: dict[str, tuple[str, ...]] = {
    "plain": ("-Fp", "dump.sql"),
    "inserts": ("-Fp", "dump.sql", "--inserts"),
    "created": ("-Fp", "dump.sql", "--create"),
    "custom": ("-Fc", "dump.dump"),
    "tar": ("-Ft", "dump.tar"),
    "directory": ("-Fd", "dump.d"),
    "open directory": ("-Fd", "dump.d", "-Z0"),
    "open custom": ("-Fc", "dump.dump", "-Z0"),
}
ROWS = """
select format('%I.%I', nspname, relname) as name from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind in ('r', 'p', 'm') and relispopulated and nspname not like 'pg\\_%' and nspname <> 'information_schema' order by 1
"""


def dump(database: Database, form: str, program: str = "") -> Path:
    """Dump a database with the newest pg_dump here."""
    newest = program or programs.all_programs()[0].pg_dump
    how, name, *more = FORMATS[form]
    path = database.root / name
    shutil.rmtree(path, ignore_errors=True)
    params = database.server.params
    env = {**os.environ, "PGHOST": params["host"], "PGPORT": params["port"], "PGUSER": params["user"]}
    env["PGPASSWORD"] = params["password"]
    subprocess.run([newest, how, "-f", path, *more, database.name], env=env, check=True)
    return path


def restored(database: Database, file: Path, table: str = "", **more: Any) -> None:
    restore.restore(database.settings(), "local", str(file), table, "2", "", **more)


def state(database: Database) -> tuple[catalog.Catalog, dict[str, Any]]:
    """Return all objects, and all rows, large objects and numbers of sequences."""
    with database.connect() as conn:
        rows: dict[str, Any] = {}
        for row in conn.execute(ROWS.encode()).fetchall():
            query = f"select coalesce(string_agg(t::text, E'\\n' order by t::text), '') as all from {row['name']} t"
            rows[row["name"]] = next(iter(conn.execute(query.encode()).fetchall()))["all"]
        rows["large"] = conn.execute(
            "select m.oid::text, lomacl::text, pg_get_userbyid(lomowner) as owner, encode(lo_get(m.oid), 'hex') as it"
            " from pg_largeobject_metadata m order by 1"
        ).fetchall()
        rows["numbers"] = conn.execute(
            "select schemaname, sequencename, last_value from pg_sequences order by 1, 2"
        ).fetchall()
        return catalog.read(conn), rows


def assert_same(before: tuple[catalog.Catalog, dict[str, Any]], database: Database) -> None:
    after = state(database)
    assert compare.differences(before[0], after[0]) == []
    assert after[1] == before[1]


@pytest.fixture
def roles(one: Database) -> None:
    for role in ROLES:
        one.do(f"do $$ begin create role {role}; exception when duplicate_object then null; end $$", "postgres")


def build(database: Database, number: int) -> None:
    database.do(f'create database "{database.name}"', "postgres")
    lines = SCHEMAS[number].splitlines()[1:]
    if not database.scalar("select count(*) from pg_available_extensions where name = 'hstore'"):
        lines = [line for line in lines if "hstore" not in line and "app.h" not in line]
    database.do("\n".join(lines))


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("form", [form for form in FORMATS if "open" not in form])
def test_all_comes_back_from_each_format(one: Database, roles: None, form: str) -> None:
    for number in range(len(SCHEMAS)):
        if one.names():
            one.do(f'drop database "{one.name}" with (force)', "postgres")
        build(one, number)
        before, file = state(one), dump(one, form)
        one.do("create table public.made_since (n int)")
        restored(one, file)
        assert_same(before, one)
        assert one.scalar("select to_regclass('public.made_since') is not null", f"{one.name}__prev")


@pytest.fixture(scope="module")
def older() -> Iterator[servers.Server]:
    """A server of PostgreSQL 15."""
    try:
        yield from supply("debian")
    except LookupError as reason:
        pytest.skip(f"no PostgreSQL 15: {reason}")


@pytest.fixture
def old(older: servers.Server, tmp_path: Path) -> Iterator[Database]:
    yield from made(older, tmp_path)


@pytest.mark.spread
@pytest.mark.parametrize("form", ["custom", "plain", "directory"])
def test_a_dump_of_18_goes_into_15_where_no_role_of_it_is(
    one: Database, old: Database, roles: None, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(len(SCHEMAS)):
        for each in (one, old):
            for suffix in each.names():
                each.do(f'drop database "{each.name}{suffix}" with (force)', "postgres")
        build(one, number)
        before = state(one)
        restored(old, dump(one, form))
        after = state(old)
        found = compare.differences(before[0], after[0])
        named = [each for each in found if any(role in f"{each}" for role in ROLES)]
        if number == OF_RIGHTS:
            assert len(named) == 9
            assert next(each.left for each in named if each.kind == "policy") == "rr_one, rr_two"
            assert next(each.right for each in named if each.kind == "policy") == "postgres"
        elif number != OF_EACH_RIGHT:
            assert not named
        # what 15 has not, or writes otherwise; and who the mapping is for instead
        known = {
            ("table column", "identity"),
            ("view", "definition"),
            ("materialized view", "definition"),
            ("user mapping", "existence"),
        }
        known |= {("default acl", "existence")} if number == OF_EACH_RIGHT else set()  # what they give is the roles'
        assert {(each.kind, each.what) for each in found if each not in named} <= known
        for name in before[1].keys() - {"large"}:
            assert after[1][name] == before[1][name], name
        assert [each["it"] for each in after[1]["large"]] == [each["it"] for each in before[1]["large"]]
    assert "the server has no role rr_one, rr_two: what it owned is given to postgres" in capsys.readouterr().err


@pytest.fixture(scope="module", params=["debian", "pgserver", "celerp"])
def version(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """A server of PostgreSQL 15, 16 and 17."""
    try:
        yield from supply(request.param)
    except LookupError as reason:
        pytest.skip(f"no {request.param}: {reason}")


@pytest.mark.spread(most=2)
def test_each_version_takes_back_what_it_gave(version: servers.Server, tmp_path: Path) -> None:
    forms: tuple[dump_task.Form, ...] = ("plain", "gzip", "custom", "directory")
    for database in made(version, tmp_path):
        for role in ROLES:
            database.do(f"create role {role}", "postgres")
        for number in range(len(SCHEMAS)):
            for suffix in database.names():
                database.do(f'drop database "{database.name}{suffix}" with (force)', "postgres")
            build(database, number)
            before, place = state(database), tmp_path / f"dump.{number}"
            with opening.open_target(database.settings(), "local", "db.dump") as at:
                dump_task.dump(at, place, dump_task.How(forms[number % len(forms)]))
            restored(database, place)
            assert_same(before, database)


STATEMENTS: dict[str, tuple[str, ...] | None] = {
    "ALTER TABLE public.t OWNER TO bob;": ("bob",),
    'ALTER FUNCTION public.f(a integer) OWNER TO "Bob ""B";': ('Bob "B',),
    "ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT 'x OWNER TO bob'::text;": None,
    "COMMENT ON TABLE public.t IS 'GRANT a TO bob';": None,
    "GRANT SELECT(id) ON TABLE public.t TO al WITH GRANT OPTION;": ("al",),
    "REVOKE ALL ON SCHEMA public FROM PUBLIC;": (),
    "ALTER DEFAULT PRIVILEGES FOR ROLE bob IN SCHEMA app GRANT SELECT ON TABLES TO al;": ("al", "bob"),
    'CREATE POLICY "p TO x" ON app."T" AS RESTRICTIVE FOR SELECT TO bob, "Al" USING ((id > 0));': ("bob", "Al"),
    "CREATE POLICY p ON app.t USING ((a = ' TO bob'));": None,
    "CREATE USER MAPPING FOR bob SERVER sv OPTIONS (\n    password 'y'\n);": ("bob",),
    "SET SESSION AUTHORIZATION al;": ("al",),
}


WITHOUT_MAINTAIN = {
    "GRANT SELECT,MAINTAIN,UPDATE ON TABLE a.t TO bob WITH GRANT OPTION": "GRANT SELECT,UPDATE ON TABLE a.t TO bob WITH GRANT OPTION",
    "REVOKE MAINTAIN ON TABLE a.t FROM bob": "",
    "ALTER DEFAULT PRIVILEGES FOR ROLE al IN SCHEMA a GRANT MAINTAIN,SELECT ON TABLES TO bob": "ALTER DEFAULT PRIVILEGES FOR ROLE al IN SCHEMA a GRANT SELECT ON TABLES TO bob",
}


@pytest.mark.parametrize("text", WITHOUT_MAINTAIN)
def test_a_server_that_has_no_maintain_gets_a_right_without_it(text: str) -> None:
    found = roles_of_dumps.statement(f"{text};")
    assert found
    old, new = (roles_of_dumps.Roles("me", False, knows_maintain=knows) for knows in (False, True))
    assert new.is_fit(found)
    assert not old.is_fit(found)
    assert old.instead(found) == WITHOUT_MAINTAIN[text]


@pytest.mark.parametrize("text", STATEMENTS)
def test_the_roles_of_a_statement_are_found(text: str) -> None:
    found = roles_of_dumps.statement(text)
    assert (found and found.roles) == STATEMENTS[text]


def filled(database: Database, rows: int = 3) -> None:
    """Make a database with a few rows."""
    database.do(f'create database "{database.name}"', "postgres")
    database.do(
        "create table users (id int primary key, name text, j json, twice int generated always as (id * 2) stored);"
        f"insert into users (id, name, j) select n, 'n' || n, '{{}}' from generate_series(1, {rows}) n;"
        "create table orders (id int primary key, user_id int references users)"
    )


def told(database: Database, file: Path | str, kind: type[Problem] = Problem, **more: Any) -> str:
    """Return the error of a restore that changes nothing."""
    before = database.names()
    with pytest.raises(kind) as caught:
        restored(database, Path(file), **more)
    assert database.names() == before
    return str(caught.value)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty: no dump"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0", "is no dump: neither SQL nor an archive"),
    "prose": (b"Dear all,\nhere is the dump.", "is no dump: neither SQL nor an archive"),
    "mysql": (b"-- MySQL dump 10.13\nCREATE TABLE t (a int);", "is a dump of MySQL, and no dump of PostgreSQL"),
    "cluster": (b"--\n-- PostgreSQL database cluster dump\n--\nSET a = 1;", "is of a whole server (pg_dumpall)"),
    "head": (b"PGDMP\x01", "is cut off in its head"),
    "odd head": (b"PGDMP\x01\x10\x00\x63\x08\x01" + b"\0" * 100, "whose head is damaged"),
    "gzip": (gzip.compress(b"SELECT 1;\n" * 100000, mtime=0)[:-90], "is damaged or cut off: gzip cannot unpack it"),
    "bzip2": (b"BZh91AY", "is compressed by bzip2, which is not read here"),
    "zip": (b"PK\x03\x04", "is a zip file, and no dump"),
    "cut": (b"--\n-- PostgreSQL database dump\n--\n\nSET a = 1;\n", "is cut off: pg_dump's last line"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_dump_or_no_whole_one_is_one_line(one: Database, name: str) -> None:
    content, message = BROKEN[name]
    said = told(one, one.sql(content, "a.dump"), Misconfigured)
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize("form", ["plain", "custom", "open custom", "tar", "directory", "open directory"])
def test_a_dump_that_is_cut_off_anywhere_is_found_before_the_swap(one: Database, form: str) -> None:
    filled(one, 20000)
    file = dump(one, form)
    one.do("delete from orders; delete from users; insert into users (id) values (7)")
    data = max(file.iterdir(), key=lambda each: each.stat().st_size) if file.is_dir() else file
    whole = data.read_bytes()
    for size in (1, len(whole) // 3, len(whole) // 2, len(whole) - (200 if form == "plain" else 5)):
        data.write_bytes(whole[:size])
        said = told(one, file)
        assert "Traceback" not in said
        assert one.scalar("select count(*) from users") == 1
    data.write_bytes(whole)
    restored(one, file)
    assert one.scalar("select count(*) from users") == 20000


@pytest.mark.parametrize("program", ["gzip", "zstd"])
def test_a_compressed_file_is_read_and_one_that_is_damaged_is_found(one: Database, program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    filled(one, 20000)
    file = dump(one, "plain")
    data = subprocess.run([program, "-c", file], check=True, capture_output=True).stdout
    file.write_bytes(data)
    restored(one, file)
    assert one.scalar("select count(*) from users") == 20000
    for broken in (data[: len(data) // 2], data[: len(data) // 2] + b"oops" + data[len(data) // 2 + 4 :]):
        file.write_bytes(broken)
        assert f"is damaged or cut off: {program} cannot unpack it" in told(one, file, Misconfigured)
    assert one.names() == {"", "__prev"}
