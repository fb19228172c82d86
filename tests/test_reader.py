"""What only reads cannot do anything else, where the server has a role for it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ops.db import query, reader
from ops.errors import Problem
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

SWITCHED_OFF = "set default_transaction_read_only = off; reset role; "
ACTS = {
    "write": "delete from t",
    "make": "create table u (a int)",
    "end a session": "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bystander'",
    "run a program": "copy (select 1) to program 'true'",
    "write a file": "copy (select 1) to '/tmp/nothing-of-ours'",
    "count on": "select nextval('s')",
}


@pytest.fixture
def live(database: Database) -> Iterator[Database]:
    """A database with a table, a row, and somebody else's session."""
    database.do(f"create database {database.name}", "postgres")
    database.do("create table t (a int); insert into t values (1); create sequence s")
    params: dict[str, Any] = {**database.server.params, "dbname": database.name, "application_name": "bystander"}
    with psycopg.connect(**params, autocommit=True) as bystander:
        yield database
        assert bystander.execute("select a from t").fetchall() == [(1,)]


@pytest.mark.parametrize("act", ACTS)
def test_a_client_on_production_can_only_read(inv: Cli, live: Database, act: str) -> None:
    env = {"PROD_CONNECTION_URL": live.url}
    done = inv("db.connect", "-t", "prod", env=env, stdin="table t;\n")
    assert (done.returncode, "1 row" in done.stdout) == (0, True), done.stderr
    assert "switch off" not in done.stderr
    done = inv("db.connect", "-t", "prod", env=env, stdin=f"{SWITCHED_OFF}\n{ACTS[act]};\n")
    assert done.returncode == 3, done.stdout
    assert re.search("permission denied|must be (a )?(superuser|member)", done.stderr)


@pytest.mark.parametrize("act", ACTS)
def test_a_query_can_only_read(live: Database, act: str) -> None:
    settings = live.settings()
    settings.queries.mkdir(parents=True, exist_ok=True)
    (settings.queries / "act.sql").write_text(ACTS[act], encoding="utf-8")
    (settings.queries / "read.sql").write_text("select a from t", encoding="utf-8")
    query.show(settings, "read", "local", "20", {}, json=True)
    with pytest.raises(Problem, match=r"permission denied|must be (a )?(superuser|member)|read-only transaction"):
        query.show(settings, "act", "local", "20", {}, json=True)


@pytest.fixture
def login(live: Database) -> Iterator[str]:
    """A login that owns its table and is no superuser."""
    name = f"r{secrets.token_hex(4)}"
    live.do(f"create role {name} login password 'x-y-z'; grant all on t to {name}")
    yield name
    live.do(f"drop owned by {name}; drop role {name}")


def test_a_login_that_cannot_become_it_is_told(inv: Cli, live: Database, login: str) -> None:
    env = {"PROD_CONNECTION_URL": live.target(user=login, password="x-y-z").url(show_password=True)}
    done = inv("db.connect", "-t", "prod", env=env, stdin="table t; delete from t;\n")
    assert f'switch off: grant {reader.ROLE} to "{login}" would make it so' in done.stderr
    assert "read-only transaction" in done.stderr
    live.do(f"grant {reader.ROLE} to {login}")
    done = inv("db.connect", "-t", "prod", env=env, stdin=f"{SWITCHED_OFF} delete from t;\n")
    assert "switch off" not in done.stderr
    assert "permission denied" in done.stderr


def test_rows_under_row_security_are_not_hidden_from_who_sees_them(
    inv: Cli, live: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    live.do("alter table t enable row level security")
    done = inv("db.connect", "-t", "prod", env={"PROD_CONNECTION_URL": live.url}, stdin="table t;\n")
    assert "row security would hide rows" in done.stderr
    assert "1 row" in done.stdout
    settings = live.settings()
    settings.queries.mkdir(parents=True, exist_ok=True)
    (settings.queries / "read.sql").write_text("select a from t", encoding="utf-8")
    query.show(settings, "read", "local", "20", {}, json=False)
    assert capsys.readouterr().out.split() == ["a", "1"]
