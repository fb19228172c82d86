"""db.pull from a replica, from one that goes away, and killed: the source is only read, the target stays whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from config.settings import load
from ops.db.drift import catalog, compare, spelling
from ops.db.pull import pull
from ops.db.pull.pull import How
from ops.errors import Problem
from ops.targets.embedded import binaries
from ops.yaml_file import compose
from tests import servers
from tests.cutting import ANSWER, RESET, Cut, Proxy
from tests.fix_cli import Cli, without_coverage
from tests.fix_suppliers import Database, made, supply
from tests.servers import Server

SCHEMA = """
create unlogged table passing (id int generated always as identity primary key);
create table people (id bigint generated always as identity primary key, email text not null unique, note text);
insert into people (email, note) select 'p' || n || '@people.test', repeat('n', 200) from generate_series(1, 20000) n;
analyze
"""
MASKS = "tables: {people: {columns: {email: {fake: email}, note: {fake: text}}}}"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    for server in supply("embedded", ("autovacuum=off",)):
        for database in made(server, tmp_path_factory.mktemp("source")):
            database.do(f'create database "{database.name}"', "postgres")
            database.do(SCHEMA)
            yield database


@pytest.fixture
def replica(primary: Database) -> Iterator[Server]:
    """A standby of it, which takes no writes."""
    home = servers.new_home()
    folder = binaries.wheel_bin()
    assert folder
    who = binaries.runner(home / "none")
    (home / "data").mkdir(mode=0o700)
    who.own(home / "data")
    params: dict[str, Any] = dict(primary.server.params)
    env = {**os.environ, "PGPASSWORD": params["password"]}
    login: list[str] = ["-h", params["host"], "-p", params["port"], "-U", params["user"]]
    subprocess.run([folder / "pg_basebackup", *login, "-D", home / "data", "-R", "-c", "fast"], env=env, check=True)
    for path in (home / "data").rglob("*"):
        who.own(path)
    assert primary.server.home  # where the programs are that this user reaches
    programs = next(primary.server.home.glob("*/pginstall/bin"), folder)
    port = servers.free_port()
    options: dict[str, Any] = who.options()
    argv: list[str | Path] = [
        programs / "postgres",
        "-D",
        home / "data",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"port={port}",
    ]
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            [*argv, "-c", "unix_socket_directories=", "-c", "max_prepared_transactions=2", "-c", "fsync=off"],
            cwd=home,
            stdout=log,
            stderr=log,
            **options,
        )
    login_there: dict[str, Any] = {**params, "port": str(port)}
    found = Server("replica", {**params, "port": str(port)}, process, home)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(dbname="postgres", **login_there).close()
                break
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.1)
        yield found
    finally:
        found.stop()
        shutil.rmtree(home, ignore_errors=True)


def run(one: Database, url: str, **how: Any) -> pull.Pulled:
    (one.root / "sql").mkdir(exist_ok=True)
    (one.root / "sql" / "masks.yaml").write_text(MASKS, encoding="utf-8")
    settings = load({}, {"CONNECTION_URL": one.url, "PROD_CONNECTION_URL": url}, one.root)
    return pull.pull(settings, compose, "prod", "local", How(**how))


def url_of(server: Server, name: str, port: str = "") -> str:
    password = quote(server.params["password"], safe="")
    return f"postgresql://postgres:{password}@127.0.0.1:{port or server.params['port']}/{name}"


def test_a_replica_is_as_good(primary: Database, replica: Server, one: Database) -> None:
    params: dict[str, Any] = {**replica.params, "dbname": primary.name}
    with psycopg.connect(autocommit=True, **params) as conn:
        deadline = time.monotonic() + 30
        while (conn.execute("select to_regclass('people')").fetchone() or [None])[0] is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert conn.execute("select pg_is_in_recovery()").fetchone() == (True,)
    found = {each.table: each for each in run(one, url_of(replica, primary.name), rows="50%", jobs="2").tables}
    assert 9000 < found["public.people"].rows < 11000
    assert found["public.passing"].what == "skipped"
    assert one.scalar("select count(*) from people where email like '%@people.test'") == 0


def test_nothing_is_written_at_the_source(primary: Database, one: Database) -> None:
    state = """select tup_inserted, tup_updated, tup_deleted, (select count(*) from pg_class) as objects,
      (select count(*) from pg_database) as databases, shobj_description(d.oid, 'pg_database') as comment
      from pg_stat_database join pg_database d using (datname) where datname = current_database()"""
    before = primary.query(state)
    assert run(one, primary.url).done
    assert primary.query(state) == before


@pytest.mark.parametrize("word", [b"copy (select", b"pg_export_snapshot", b"lock_timeout"])
def test_a_source_that_goes_away_leaves_the_target_as_it_was(primary: Database, one: Database, word: bytes) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    one.do("create table before (x int)")
    with Proxy(primary.server.port, Cut(word, ANSWER, RESET)) as proxy:
        with pytest.raises(Problem) as error:
            run(one, url_of(primary.server, primary.name, str(proxy.port)))
    assert proxy.hit
    assert "\n" not in str(error.value.args[0])
    assert one.scalar("select count(*) from before") == 0
    assert one.names() <= {""}


def test_killed_while_rows_come_the_target_is_as_it_was_and_the_next_run_converges(
    primary: Database, one: Database, inv: Cli
) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    one.do("create table before (x int)")
    primary.do("alter table people add slow text")
    slow = MASKS.replace("note: {", 'slow: {sql: "case when pg_sleep(0.01) is null then null end"}, note: {')
    (inv.root / "sql" / "masks.yaml").write_text(slow, encoding="utf-8")
    env = {"CONNECTION_URL": one.url, "PROD_CONNECTION_URL": primary.url}
    try:
        command = [str(Path(sys.executable).parent / "inv"), "db.pull"]
        with subprocess.Popen(
            command, cwd=inv.root, env={**without_coverage(), **env}, stderr=subprocess.DEVNULL
        ) as child:
            running = f"select from pg_stat_activity where datname = '{one.name}__next' and query like 'copy %'"
            deadline = time.monotonic() + 60
            while not one.query(running, "postgres"):
                assert time.monotonic() < deadline
                assert child.poll() is None
                time.sleep(0.02)
            child.send_signal(signal.SIGKILL)
    finally:
        primary.do("alter table people drop slow")
    assert one.scalar("select count(*) from before") == 0
    (inv.root / "sql" / "masks.yaml").write_text(MASKS, encoding="utf-8")
    inv.ok("db.pull", env=env)
    assert one.scalar("select count(*) from people") == 20000
    assert one.names() == {"", "__prev"}


EVERY = """
create type mood as enum ('fine', 'bad');
create table users (id bigint generated always as identity primary key, email text not null unique, mood mood, born date,
  twice text generated always as (email || email) stored);
create table posts (id uuid primary key default gen_random_uuid(), user_id bigint not null references users, body text, at date not null);
create table logs (id int not null, at date not null, line varchar(30), primary key (id, at)) partition by range (at);
create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
create materialized view posters as select email, count(*) as posts from users join posts on user_id = users.id group by 1;
create view fine as select id from users where mood = 'fine';
insert into users (email, mood, born) select 'p' || n || '@people.test', 'fine', '1980-01-01' from generate_series(1, 30) n;
insert into posts (user_id, body, at) select n, 'said ' || n, now() from generate_series(1, 30) n;
insert into logs (id, at, line) select n, '2020-05-05', 'line ' || n from generate_series(1, 30) n;
refresh materialized view posters; create index on posts (at); analyze
"""
OF_EVERY = """
safe_types: [date]
tables:
  users: {columns: {email: {fake: email}, mood: keep, born: {fake: date}}}
  posts: {columns: {body: {fake: text}}}
  logs: {columns: {id: keep, line: {fake: text}}}
"""


def check_whole(source: Database, target: Database) -> None:
    source.do(f'create database "{source.name}"', "postgres")
    source.do(EVERY)
    (target.root / "sql").mkdir(exist_ok=True)
    (target.root / "sql" / "masks.yaml").write_text(OF_EVERY, encoding="utf-8")
    settings = load({}, {"CONNECTION_URL": target.url, "PROD_CONNECTION_URL": source.url}, target.root)
    try:
        pulled = pull.pull(settings, compose, "prod", "local", How())
    except Problem as error:
        if "there is no pg_dump here" in str(error):
            pytest.skip(str(error))
        raise
    assert {each.table.removeprefix("public."): each.rows for each in pulled.tables} == {
        "logs": 30,
        "posts": 30,
        "users": 30,
    }
    with source.connect() as a, target.connect() as b:
        left, right = catalog.read(a), catalog.read(b)
        assert compare.differences(left, right, spelling.Speller(b, left, right)) == []
    assert (
        target.scalar("select count(*) from posters p join users u using (email) where u.twice = email || email") == 30
    )
    assert target.scalar("select count(*) from users where email like '%people%'") == 0
    assert target.scalar("insert into users (email) values ('x') returning id") == 31


def test_from_each_version(database: Database, one: Database) -> None:
    check_whole(database, one)


def test_into_an_older_server(one: Database, tmp_path: Path) -> None:
    for server in supply("debian"):
        for older in made(server, tmp_path):
            check_whole(one, older)
