"""db.restore, db.previous and db.purge as tasks: what is asked, told, kept and left when they are broken off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import load
from ops import silence
from ops.db.copies import kept, restore
from ops.errors import Misconfigured, Problem, Refused
from ops.targets.embedded import binaries
from tests import servers
from tests.cutting import ANSWER, ASKING, REFUSED, Cut, Proxy
from tests.fix_cli import Cli, without_coverage
from tests.fix_suppliers import Database, made, supply
from tests.test_restore import dump, filled, restored, told


def test_what_would_be_done_is_told_and_nothing_done(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    filled(one)
    restored(one, dump(one, "custom"), dry_run=True)
    said = capsys.readouterr().err
    assert f"would build {one.name}__next from" in said
    assert "a custom archive (gzip) of PostgreSQL 18, and swap it in; nothing was done" in said
    assert one.names() == {""}


def test_production_wants_its_name_and_is_dumped_first(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    filled(one)
    file = dump(one, "custom")
    one.do("insert into users (id) values (99)")
    settings = load({}, {"PROD_CONNECTION_URL": one.url}, one.root)

    def run(confirm: str) -> None:
        restore.restore(settings, "prod", str(file), "", "", confirm)

    with pytest.raises(Refused, match="restore on production"):
        run("")
    assert one.names() == {""}
    run(one.name)
    [first] = (one.root / ".local" / "dumps").iterdir()
    assert f"what is there was dumped into {first}" in capsys.readouterr().err
    assert one.scalar("select count(*) from users") == 3
    assert "[inv: prod]" in one.scalar(
        f"select shobj_description(oid, 'pg_database') from pg_database where datname = '{one.name}'", "postgres"
    )
    with pytest.raises(Refused, match="purge on production"):
        kept.purge(settings, "prod", "", force=False, dry_run=False)
    restore.restore(settings, "prod", str(first), "", "", one.name)
    assert one.scalar("select count(*) from users") == 4


def test_tables_that_the_dump_lacks_are_named(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    filled(one)
    file = dump(one, "plain")
    one.do("create table made_since (n int)")
    restored(one, file)
    assert f"not in the dump, and in {one.name}__prev only: public.made_since" in capsys.readouterr().err


def test_an_extension_that_the_server_lacks_is_named_first(one: Database) -> None:
    text = 'SET a.b = 1;\n\nCREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;\n'
    assert "the server has no extension uuid-ossp: use gen_random_uuid()" in told(one, one.sql(text))


def test_a_fault_in_it_is_named_with_its_place(one: Database) -> None:
    filled(one)
    file = dump(one, "plain")
    file.write_text(file.read_text().replace("2\tn2\t{}", "two\tn2\t{}"))
    said = told(one, file)
    assert "dump.sql:" in said
    assert 'invalid input syntax for type integer: "two"' in said
    assert "object: TABLE DATA users in schema public" in said
    assert f"{one.name} is as it was" in said


@pytest.fixture(scope="module")
def older() -> Iterator[servers.Server]:
    """A server of PostgreSQL 15."""
    try:
        yield from supply("debian")
    except LookupError as reason:
        pytest.skip(f"no PostgreSQL 15: {reason}")


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_what_an_older_server_lacks_is_named(one: Database, older: servers.Server, tmp_path: Path, form: str) -> None:
    filled(one)
    one.do("create table public.lean (a int, b int generated always as (a + 1) virtual)")
    file = dump(one, form)
    for old in made(older, tmp_path):
        filled(old)
        said = told(old, file)
        assert "syntax error" in said
        assert ("TABLE lean: " if form == "custom" else "object: TABLE lean in schema public") in said
        assert "the dump is of PostgreSQL 18, this server is 15" in said


def test_a_login_that_is_no_superuser_restores_what_is_its_own(one: Database) -> None:
    filled(one)
    one.do("create extension hstore; comment on table users is 'x'")
    file = dump(one, "custom")
    plain = dump(one, "plain")
    one.do(f"create role {one.name} login createdb password 'pw'", "postgres")
    params = {**one.server.params, "user": one.name, "password": "pw"}
    theirs = Database(servers.Server("theirs", params), f"{one.name}x", one.root)
    try:
        for source in (file, plain):
            restored(theirs, source)
            assert theirs.scalar("select count(*) from users") == 3
            assert theirs.scalar("select relowner::regrole::text from pg_class where relname = 'users'") == one.name
    finally:
        for suffix in one.names() - {""}:
            one.do(f'drop database if exists "{one.name}{suffix}" with (force)', "postgres")
        one.do(f"drop role {one.name}", "postgres")


@pytest.mark.parametrize("word", [b"CREATE TABLE public.users", b"COPY public.users", b"ADD CONSTRAINT users_pkey"])
@pytest.mark.parametrize("way", [ASKING, ANSWER])
def test_a_server_that_goes_away_leaves_what_was(
    one: Database, word: bytes, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(one)
    file = dump(one, "custom")
    # the rows' first answer is no whole one, so it is withheld: nothing comes any more, and the rest of the server answers
    monkeypatch.setattr(silence, "limit", 2.0)
    with Proxy(one.server.port, Cut(word, way, REFUSED)) as proxy:
        server = servers.Server("cut", {**one.server.params, "port": str(proxy.port)})
        with pytest.raises(Problem) as caught:
            restored(Database(server, one.name, one.root), file)
        assert proxy.hit
        assert f"{one.name} is as it was" in str(caught.value)
    assert one.names() <= {"", "__next"}
    assert one.scalar("select count(*) from users") == 3
    restored(one, file)
    assert one.names() == {"", "__prev"}


def test_a_server_that_wants_tls_gets_it(postgres: servers.Server, one: Database, tmp_path: Path) -> None:
    filled(one)
    file = dump(one, "custom")
    try:
        for server in supply("celerp"):
            for there in made(server, tmp_path):
                restored(there, file)
                assert there.scalar("select count(*) from users") == 3
    except LookupError as reason:
        pytest.skip(f"no server with TLS: {reason}")


@pytest.fixture
def small_space(one: Database) -> Iterator[str]:
    """A tablespace on a disk of 11 MB: one database has room, two and their rows have not."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place = Path(tempfile.mkdtemp(prefix="pgsmall-", dir="/tmp"))
    argv = ["mount", "-t", "tmpfs", "-o", "size=11m,mode=755", "tmpfs", str(place)]
    mounted = subprocess.run(argv, capture_output=True, check=False)
    if mounted.returncode:
        place.rmdir()
        pytest.skip(f"no mount here: {mounted.stderr.decode().strip()}")
    binaries.runner(place).own(place)
    one.do(f"create tablespace {one.name} location '{place}'", "postgres")
    try:
        yield one.name
    finally:
        for suffix in one.names():
            one.do(f'drop database "{one.name}{suffix}" with (force)', "postgres")
        one.do(f"drop tablespace {one.name}", "postgres")
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_full_disk_leaves_what_was(one: Database, small_space: str, form: str) -> None:
    filled(one, 60000)
    file = dump(one, form)
    one.do(f'drop database "{one.name}"', "postgres")
    one.do(f'create database "{one.name}" tablespace {small_space}', "postgres")
    one.do("create table users (id int); checkpoint")
    assert "the server's disk is full" in told(one, file)
    assert one.scalar("select count(*) from users") == 0


# --- one table --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "inserts", "custom", "tar", "directory"])
def test_one_table_comes_back_beside_the_live_one(one: Database, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled(one)
    file = dump(one, form)
    one.do(
        "delete from users where id = 2; update users set name = 'other' where id = 3; insert into users (id) values (9)"
    )
    for _ in range(2):  # what is there is of an earlier run
        restored(one, file, table="users")
    told = capsys.readouterr()
    assert "3 rows of public.users are back as public.users__restored; the live table is as it was" in told.err
    assert one.names() == {""}
    assert one.query("select id, name, twice from users__restored order by id")[1] == {
        "id": 2,
        "name": "n2",
        "twice": 4,
    }
    assert one.scalar("select count(*) from users where name = 'other'") == 1
    one.do(told.out[told.out.rindex("-- rows that are gone") :])
    assert [row["name"] for row in one.query("select name from users order by id")] == ["n1", "n2", "n3", None]
    assert one.scalar("select to_regclass('users__restored')") is None


def test_a_partitioned_table_comes_back_whole_and_an_odd_name_too(one: Database) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    one.do(
        'create schema "S p"; create type "S p".mood as enum (\'ok\');'
        'create table "S p"."T ""x" (a int, m "S p".mood, at date) partition by range (a);'
        'create table "S p".p1 partition of "S p"."T ""x" for values from (0) to (10) partition by list (a);'
        'create table "S p".p1a partition of "S p".p1 default;'
        'create table "S p".p2 partition of "S p"."T ""x" for values from (10) to (20);'
        'insert into "S p"."T ""x" select n, \'ok\', null from generate_series(0, 19) n'
    )
    for form in ("plain", "custom"):
        file = dump(one, form)
        restored(one, file, table='S p.T "x' if form == "plain" else 'T "x')
        assert one.scalar('select count(*) from "S p"."T ""x__restored"') == 20
        one.do('drop table "S p"."T ""x__restored"')


def test_what_cannot_be_brought_back_is_one_line(one: Database) -> None:
    filled(one)
    file = dump(one, "custom")
    said = told(one, file, Misconfigured, table="user")
    assert "--table user: " in said
    assert "has no such table; it has public.orders, public.users" in said
    one.do("create table users__restored (mine int)")
    assert "users__restored was not put there by inv" in told(one, file, Refused, table="users")
    assert one.scalar("select count(*) from users__restored") == 0


# --- what is kept -----------------------------------------------------------------------


def test_what_is_kept_is_listed_and_taken_away(one: Database, inv: Cli) -> None:
    filled(one)
    env = {"CONNECTION_URL": one.url}
    file = dump(one, "custom")
    assert "nothing is kept beside" in inv("db.previous", env=env).stderr
    inv.ok("db.restore", str(file), env=env)
    [found] = json.loads(inv.ok("db.previous", "--json", env=env))
    assert (found["database"], found["what"], found["ours"]) == (f"{one.name}__prev", "previous", True)
    assert found["size_bytes"] > 1_000_000
    assert 0 <= found["age_seconds"] < 600
    assert f"{one.name}__prev  previous  yes" in inv.ok("db.previous", env=env)
    assert "nothing was done" in inv("db.purge", "--dry-run", env=env).stderr
    with one.connect(f"{one.name}__prev") as busy:
        busy.execute("begin")
        done = inv("db.purge", env=env)
        assert done.returncode == 2
        assert f"pid {busy.info.backend_pid}" in done.stderr
    assert one.names() == {"", "__prev"}
    assert f"removed {one.name}__prev, " in inv("db.purge", env=env).stderr
    assert "nothing to do" in inv("db.purge", env=env).stderr
    assert one.names() == {""}


def test_what_is_somebody_elses_stays(one: Database) -> None:
    filled(one)
    one.do(f'create database "{one.name}__prev"', "postgres")
    with pytest.raises(Refused, match="was not put there by inv"):
        kept.purge(one.settings(), "local", "", force=True, dry_run=False)
    assert one.names() == {"", "__prev"}


# --- broken off -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_killed_at_any_phase_the_old_or_the_new_is_there(one: Database, inv: Cli, form: str) -> None:
    filled(one, 60000)
    file = dump(one, form)
    one.do("delete from orders; delete from users where id > 1")
    seen = set()
    argv = [str(Path(sys.executable).parent / "inv"), "db.restore", str(file), "--jobs", "2"]
    phases = ["begun", "made", "rows", "swapped"]
    for phase in phases:
        with subprocess.Popen(
            argv, cwd=inv.root, env={**without_coverage(), "CONNECTION_URL": one.url}, stderr=subprocess.PIPE, text=True
        ) as run:
            reach(one, run, phase)
            run.kill()  # and not what it has started; it may have ended meanwhile
            run.wait()
        rows = one.scalar("select count(*) from users")
        assert rows in (1, 60000)
        seen.add(rows)
        if rows == 60000:
            one.do("delete from orders; delete from users where id > 1")
    assert 1 in seen
    done = subprocess.run(
        argv, check=False, cwd=inv.root, env={**os.environ, "CONNECTION_URL": one.url}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    time.sleep(0.3)  # what a killed run has left may still be at work
    assert one.scalar("select count(*) from users") == 60000
    assert one.names() == {"", "__prev"}


def reach(one: Database, run: subprocess.Popen[str], phase: str) -> None:
    """Wait until a restore is so far."""
    assert run.stderr
    run.stderr.readline()
    base = f"select oid from pg_database where datname = '{one.name}__next'"
    deadline = time.monotonic() + 30
    before = one.scalar(f"select oid from pg_database where datname = '{one.name}'", "postgres")
    while phase != "begun" and run.poll() is None and time.monotonic() < deadline:
        if phase == "swapped":
            if one.scalar(f"select oid from pg_database where datname = '{one.name}'", "postgres") != before:
                return
        elif one.query(base, "postgres"):
            if phase == "made":
                return
            query = f"select 1 from pg_stat_progress_copy where datname = '{one.name}__next'"
            if one.query(query, "postgres"):
                return
        time.sleep(0.002)
