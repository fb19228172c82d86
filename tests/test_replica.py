"""Reading at a target's replica: where it is near enough; told where it is not; refused where it is another server's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import Settings, load
from config.targets import Target
from ops.db import query
from ops.db.copies import dump
from ops.db.pull import pull
from ops.errors import Misconfigured
from ops.targets import replica
from ops.yaml_file import compose
from tests import servers
from tests.fix_suppliers import Database, made, supply

QUERY = "select pg_is_in_recovery() as replica, count(*) as rows from people"
READ, KEPT = "read at its replica", "note: staging is read itself, not its replica: "


@dataclass
class Pair:
    """A primary and its replica."""

    primary: Database
    standby: servers.Server

    def url(self, **params: str) -> str:
        return Target("", "", {**self.standby.params, "dbname": self.primary.name, **params}).url(show_password=True)

    def settings(self, root: Path, read: str, **config: Any) -> Settings:
        env = {"STAGING_CONNECTION_URL": self.primary.url, "STAGING_READ_CONNECTION_URL": read}
        return load({"targets": {"staging": {}}, **config}, env, root)

    def on_standby(self, statement: str) -> Any:
        params: dict[str, Any] = {**self.standby.params, "dbname": self.primary.name}
        with psycopg.connect(autocommit=True, **params) as conn:
            return (conn.execute(statement.encode()).fetchone() or [None])[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    for server in supply("embedded", ("autovacuum=off",)):
        for database in made(server, tmp_path_factory.mktemp("primary")):
            database.do(f'create database "{database.name}"', "postgres")
            database.do("create table people (id int); insert into people select generate_series(1, 3)")
            standby = servers.standby(server)
            try:
                yield Pair(database, standby)
            finally:
                standby.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sql" / "queries").mkdir(parents=True)
    (tmp_path / "sql" / "queries" / "where.sql").write_text(QUERY)
    return tmp_path


def rows(settings: Settings) -> Any:
    return query.fetched(settings, "staging", query.template(settings.queries, "where"), {})[1]


def test_reads_at_the_replica(pair: Pair, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = pair.settings(root, pair.url())
    assert rows(settings) == [{"replica": True, "rows": 3}]
    file = root / "all.sql"
    dump.show(settings, "staging", str(file), schema_only=False, data_only=False, tables=(), jobs="1", overwrite=False, json=False)  # fmt: skip
    assert "COPY public.people" in file.read_text()
    (root / "sql" / "masks.yaml").write_text("tables: {people: {columns: {id: keep}}}")
    there = pair.settings(root, pair.url())
    env = {**there.vars.environ, "CONNECTION_URL": pair.primary.target(dbname="copy").url(show_password=True)}
    there = load({"targets": {"staging": {}}}, env, root)
    pulled = pull.pull(there, compose, "staging", "local", pull.How(dry_run=True))
    assert [each.table for each in pulled.tables] == ["public.people"]
    said = capsys.readouterr().err
    assert said.count(READ) == 3
    assert KEPT not in said


def test_takes_the_login_of_its_primary(pair: Pair, root: Path) -> None:
    assert rows(pair.settings(root, pair.url(user="", password=""))) == [{"replica": True, "rows": 3}]


def test_a_replica_that_stands_still_is_read_until_it_lags(
    pair: Pair, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = pair.settings(root, pair.url(), db={"read_lag": "10m"})
    strict = pair.settings(root, pair.url(), db={"read_lag": "1ms"})
    pair.primary.do("update people set id = id")
    assert rows(strict)[0]["replica"]  # an idle primary has nothing that it lacks, however long ago the last was
    pair.on_standby("select pg_wal_replay_pause()")
    try:
        pair.primary.do("insert into people values (4)")
        assert rows(allowed) == [{"replica": True, "rows": 3}]
        assert rows(strict) == [{"replica": False, "rows": 4}]
    finally:
        pair.on_standby("select pg_wal_replay_resume()")
        pair.primary.do("delete from people where id = 4")
    assert f"{KEPT}postgres@127.0.0.1:{pair.standby.port}/{pair.primary.name} lags by" in capsys.readouterr().err


def test_what_cannot_be_read_there_is_told(pair: Pair, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for read, why in (
        (pair.url(port=str(servers.free_port())), "nothing answers"),
        (pair.url(password="not this one"), "wrong user or password"),
    ):
        assert not rows(pair.settings(root, read))[0]["replica"]
        said = capsys.readouterr().err
        assert KEPT in said
        assert why in said
    pair.primary.do("create unlogged table passing (id int)")
    try:
        assert not rows(pair.settings(root, pair.url()))[0]["replica"]
    finally:
        pair.primary.do("drop table passing")
    assert "unlogged" in capsys.readouterr().err


def test_what_is_no_replica_is_refused(pair: Pair, root: Path, postgres: servers.Server) -> None:
    params = {**postgres.params, "dbname": pair.primary.name}  # which that one need not have to say who it is
    other = Target("", "", params).url(show_password=True)
    for read, why in (
        (other, "is no replica of"),
        (pair.primary.url, "is no replica, or was promoted"),
        (pair.url(dbname="elsewhere"), "names the database elsewhere"),
        ("mysql://x", "must begin with"),
    ):
        with (
            pytest.raises(Misconfigured, match=f"^STAGING_READ_CONNECTION_URL: .*{why}") as raised,
            replica.open_for_reading(pair.settings(root, read), "staging", "db.query"),
        ):
            pass
        assert raised.value.code == 2
        assert pair.primary.server.params["password"] not in str(raised.value)
