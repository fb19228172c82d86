"""Queries as they are shown: what they do, without anybody's data."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import hypothesis
import psycopg.sql
import pytest
from hypothesis import strategies as st

from ops.db import psql
from ops.db.shown import UNREADABLE, without_values
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

SHOWN = [
    ("select * from users where email = 'zoe@example.com' and id in (1, 2)", "select * from users where email = ? and id in (?)"),
    ("insert into t values (1,'a'),(2, 'b')", "insert into t values (?),(?)"),
    ("update t set a=0x1F, b=1_000.5e3, c=u&'\\0061' where n=N'x' and m > -.5", "update t set a=?, b=?, c=? where n=? and m > -?"),
    ("select $1::text, $$CANARY$$, $a$ $$CANARY$$ $a$ from t1 -- CANARY\n/* CANARY /* */ CANARY */ where a2", "select $1::text, ? from t1 where a2"),
    ("select E'it\\'s CANARY', 'it''s CANARY', x", "select ?, x"),
    # whether the backslash is a letter is a setting of that session: all behind it may be data
    ("select 'it\\'s CANARY', 'x' from t", "select ?"),
    ("select 'CANARY cut off", "select ?"),
    ("select $$CANARY cut off", "select ?"),
    ('select "User", "zoe@CANARY" from t', 'select "User", ? from t'),
    ("WITH é as (select 1) (table é)", "WITH é as (select ?) (table é)"),
    ("(select 1) union (select 2)", "(select ?) union (select ?)"),
    # no rows are read or written by these, and their arguments may be anything
    ("create role carol password 'CANARY'", "CREATE ROLE"),
    ("copy (select 'CANARY') to stdout", "COPY"),
    ("prepare CANARY as select 1", "PREPARE"),
    ("create or replace function CANARY() returns int", "CREATE OR REPLACE FUNCTION"),
    ("comment on column t.CANARY is 'x'", "COMMENT ON COLUMN"),
    ("explain select 'CANARY'", "EXPLAIN"),
    ("begin; select 1; alter role x password $$CANARY$$;", "BEGIN; select ?; ALTER ROLE"),
    ("CANARY", UNREADABLE),
    ("", ""),
    (" ; -- CANARY", ""),
]  # fmt: skip


@pytest.mark.parametrize(("query", "expected"), SHOWN)
def test_values_are_left_out(query: str, expected: str) -> None:
    assert without_values(query) == expected
    assert "CANARY" not in without_values(query)


def test_a_long_one_is_cut() -> None:
    assert without_values("select " + "a, " * 200, 20) == "select a, a, a, a,…"


def test_a_bar_names_what_runs_up_to_the_first_value() -> None:
    assert psql.words("select * from users where\n phone = 5551234") == "select * from users where phone ="


@hypothesis.given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.integers(0, 60))
def test_a_value_is_never_shown_wherever_the_text_is_cut(value: str, cut: int) -> None:
    literal = psycopg.sql.Literal(f"CANARY{value}CANARY").as_string(None)
    query = f"select {literal}, a from t where b = {literal} /* {value.replace('*', '').replace('/', '')}CANARY */"
    assert "CANARY" not in without_values(query[: len(query) - cut], 10_000)


def test_sessions_are_listed_without_values(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.create", env=env)
    with one.connect() as conn:
        conn.execute("select 'CANARY' as it")
        pid = conn.info.backend_pid
        assert [row["query"] for row in json.loads(inv.ok("db.sessions", "--json", env=env)) if row["pid"] == pid] == [
            "select ? as it"
        ]
        assert "CANARY" not in inv.ok("db.sessions", env=env)
        for more in ([], ["--json"]):
            refused = inv("db.sessions", "--values", *more, env=env)
            assert (refused.returncode, refused.stdout) == (2, "")
            assert "--values shows what is in people's rows: at a terminal only" in refused.stderr
        assert "'CANARY'" in at_a_terminal(inv, "db.sessions", "--values", env=env)


def at_a_terminal(inv: Cli, *args: str, env: dict[str, str]) -> str:
    """Return what a task prints where its output is a terminal."""
    ours, theirs = pty.openpty()
    argv = [str(Path(sys.executable).parent / "inv"), *args]
    child = subprocess.Popen(
        argv,
        cwd=inv.root,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # its end, on Linux
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    child.wait(60)
    return said.decode()
