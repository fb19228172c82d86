"""db.migrate and what is beside it where the server is not spoken to directly, or only reads: a real PgBouncer, a real standby."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import Settings
from ops.db import build, lifecycle, query
from ops.db.migrations import apply, listing
from ops.db.rehearsal import rehearse
from ops.errors import Differs, Misconfigured, Problem
from ops.targets.embedded import binaries
from tests import servers
from tests.fix_suppliers import Database

ONE, TWO = "20260101000000", "20260102000000"
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {home}/users
pool_mode = {mode}
max_client_conn = 50
default_pool_size = 5
{more}
"""


@pytest.fixture(scope="module", params=["session", "transaction", "transaction, options ignored"])
def pooler(request: pytest.FixtureRequest, postgres: servers.Server) -> Iterator[dict[str, str]]:
    """What a URL has by which a PgBouncer leads to the server."""
    if PGBOUNCER is None:
        if os.environ.get("REQUIRE_PGBOUNCER"):
            pytest.fail("PgBouncer is required here")
        pytest.skip("PgBouncer is not installed here: Debian's package pgbouncer")
    home = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
    home.chmod(0o755)
    who = binaries.runner(home / "none")
    port = servers.free_port()
    mode, _, ignores = request.param.partition(", ")
    more = "ignore_startup_parameters = options, extra_float_digits" if ignores else ""
    (home / "users").write_text(f'"postgres" "{postgres.params["password"]}"\n', encoding="utf-8")
    (home / "ini").write_text(
        CONFIG.format(server=postgres.port, port=port, home=home, mode=mode, more=more), encoding="utf-8"
    )
    options: dict[str, Any] = who.options()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, home / "ini"], cwd=home, stdout=log, stderr=log, **options)
    deadline = time.monotonic() + 20
    while b"process up" not in (home / "log").read_bytes():
        assert process.poll() is None, (home / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield {"port": str(port)}
    process.terminate()
    process.wait(20)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def standby(postgres: servers.Server) -> Iterator[servers.Server]:
    """A replica of the server that follows it."""
    made = servers.standby(postgres)
    yield made
    made.stop()


@pytest.fixture
def filled(one: Database) -> Database:
    """A database with one migration applied and one pending."""
    one.do(f'create database "{one.name}"', "postgres")
    folder = one.root / "sql" / "migrations"
    folder.mkdir(parents=True)
    for version, name in ((ONE, "a"), (TWO, "b")):
        text = f"-- migrate:up\ncreate table {name} (i int);\n-- migrate:down\ndrop table {name};\n"
        (folder / f"{version}_{name}.sql").write_text(text)
    queries = one.root / "sql" / "queries"
    queries.mkdir()
    (queries / "many.sql").write_text("select count(*) as many from a limit %(limit)s")
    apply.migrate(one.settings(), "local", ONE, "")
    return one


def by(database: Database, **params: str) -> Settings:
    return replace(database.settings(CONNECTION_URL=database.target(**params).url(show_password=True)))


def shape(database: Database) -> list[dict[str, Any]]:
    tables = "select relname as name from pg_class where relnamespace in ('public'::regnamespace, 'inv'::regnamespace)"
    return [
        *database.query(f"{tables} order by 1"),
        *database.query("select version, state from inv.migrations order by id"),
    ]


WRITES: dict[str, Callable[[Settings], object]] = {
    "db.migrate": lambda settings: apply.migrate(settings, "local", "", ""),
    "db.migrate --dry-run": lambda settings: apply.migrate(settings, "local", "", "", dry_run=True),
    "db.rollback": lambda settings: apply.rollback(settings, "local", "", ""),
    "db.schema-load": lambda settings: build.schema_load(settings, "local", "", {}, ""),
}


def refusals(settings: Settings, kind: type[Problem]) -> dict[str, str]:
    """Return what each task that writes says as it is refused; the class has the exit code."""
    said = {}
    for name, write in WRITES.items():
        with pytest.raises(kind) as caught:
            write(settings)
        assert type(caught.value) is kind, name
        said[name] = str(caught.value)
    return said


def test_what_writes_wants_no_pooler_in_between(filled: Database, pooler: dict[str, str]) -> None:
    (filled.root / "sql" / "schema.sql").write_text("create table c (i int);")
    before = shape(filled)
    for name, said in refusals(by(filled, **pooler), Misconfigured).items():
        assert said == (
            "CONNECTION_URL: a pooler stands before this server, and its sessions are not ours to lock: give the server's own address"
        ), name
    assert Misconfigured.code == 2
    assert shape(filled) == before


def test_what_reads_takes_a_pooler(
    filled: Database, pooler: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = by(filled, **pooler)
    for _ in range(2):  # a session that was used before
        listing.show(settings, "local", check=False, json=False)
        assert "pending" in capsys.readouterr().out
        with pytest.raises(Differs):
            listing.show(settings, "local", check=True, json=False)
        capsys.readouterr()
        query.show(settings, "many", "local", "5", {}, json=True)
        assert '"many": 0' in capsys.readouterr().out


LEFT = """
select current_user = session_user and current_setting('default_transaction_read_only') = 'off'
  and current_setting('statement_timeout') = '7s' and not exists (select from pg_prepared_statements) as untouched
"""


def test_a_session_of_a_pooler_is_left_as_it_was(filled: Database, pooler: dict[str, str]) -> None:
    """Others have it in a moment: nothing that reads may change their role, their timeouts, or what they may write."""
    filled.do(f"alter database {filled.name} set statement_timeout = '7s'")
    settings = by(filled, **pooler)
    (filled.root / "sql" / "schema.sql").write_text("create table c (i int);")
    for _ in range(3):
        listing.show(settings, "local", check=False, json=True)
        query.show(settings, "many", "local", "5", {}, json=True)
        lifecycle.show(settings, "local", json=True)
        with pytest.raises(Misconfigured, match="a pooler stands before this server"):
            rehearse.show(settings, "local", "0%", "1", json=False, markdown=False)
    params: dict[str, Any] = {**filled.server.params, **pooler, "dbname": filled.name}
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(psycopg.connect(**params, autocommit=True)) for _ in range(5)]
        for conn in conns:
            conn.execute("begin")
        for conn in conns:  # all sessions that the pooler has
            assert conn.execute(LEFT.encode()).fetchone() == (True,)
            conn.execute("rollback")


def caught_up(primary: servers.Server, standby: servers.Server) -> None:
    """Wait until a replica has all that its primary has."""
    with psycopg.connect(**{**primary.params, "dbname": "postgres"}) as conn:  # type: ignore[arg-type]
        [lsn] = conn.execute("select pg_current_wal_lsn()").fetchone() or [None]
    with psycopg.connect(**{**standby.params, "dbname": "postgres"}, autocommit=True) as conn:  # type: ignore[arg-type]
        deadline = time.monotonic() + 30
        while conn.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone() != (True,):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_replica_is_read_and_takes_no_writes(
    filled: Database, standby: servers.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (filled.root / "sql" / "schema.sql").write_text("create table c (i int);")
    before = shape(filled)
    caught_up(filled.server, standby)
    settings = by(filled, port=standby.params["port"])
    assert apply.migrate(settings, "local", "", "", dry_run=True)
    for name in ("db.migrate", "db.rollback", "db.schema-load"):
        with pytest.raises(Problem) as caught:
            WRITES[name](settings)
        assert caught.value.code == 1
        said = str(caught.value)
        assert "the server takes no writes: it is a replica" in said, name
        assert said.endswith("name a server and login that may write"), name
    assert shape(filled) == before
    capsys.readouterr()
    with pytest.raises(Differs):
        listing.show(settings, "local", check=True, json=False)
    query.show(settings, "many", "local", "5", {}, json=True)
    assert '"many": 0' in capsys.readouterr().out
    apply.migrate(filled.settings(), "local", "", "")
    caught_up(filled.server, standby)
    assert apply.migrate(settings, "local", "", "") == []
    listing.show(settings, "local", check=True, json=False)
