"""A bar at a terminal for what takes long, and nothing elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fix_cli import Cli, lines_of
from tests.fix_suppliers import Database

INV = Path(sys.executable).parent / "inv"
SLOW = "create table t (a text);\nselect pg_sleep(3) where 'hidden' <> '';\n"
ROWS = "copy t from stdin;\n" + "".join(f"{number:0199}\n" for number in range(20_000)) + "\\.\n"
WITH_PSQL = "\\set a 1\n"


@pytest.fixture
def live(one: Database) -> Database:
    """A database that is there, with nothing in it."""
    one.do(f"create database {one.name}", "postgres")
    return one


def at_terminal(argv: list[str], root: Path, env: dict[str, str]) -> tuple[str, str, int]:
    """Run a task with stderr at a terminal; return stdout, what the terminal showed, and the exit code."""
    master, slave = pty.openpty()
    shown = b""
    with subprocess.Popen(
        [INV, *argv],
        cwd=root,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150", **env},
        stdout=subprocess.PIPE,
        stderr=slave,
        stdin=subprocess.DEVNULL,
    ) as child:
        os.close(slave)
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not block:
                break
            shown += block
        assert child.stdout is not None
        out = child.stdout.read().decode()
    os.close(master)
    return out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()), child.returncode


@pytest.mark.parametrize("how", ["", WITH_PSQL], ids=["as it is", "by psql"])
@pytest.mark.parametrize("task", ["db.schema-load", "db.setup"])
def test_a_long_load_shows_how_far_it_is_and_what_runs(live: Database, inv: Cli, task: str, how: str) -> None:
    file = live.sql(how + SLOW + ROWS)
    options = [task, "--file", str(file)] if task == "db.schema-load" else [task, "--schema", str(file), "--no-seed"]
    out, shown, code = at_terminal(options, inv.root, {"CONNECTION_URL": live.url})
    assert code == 0, shown
    assert out == ""
    assert re.search(r"[\d.]+/[\d.]+ MiB", shown), shown  # done of all
    assert "select pg_sleep" in shown
    assert "hidden" not in shown
    assert how or f"{file.name}:2:1 select pg_sleep" in shown


def test_reading_a_long_file_shows_how_far_it_is(live: Database, inv: Cli, tmp_path: Path) -> None:
    file = tmp_path / "long.sql"
    with file.open("w", encoding="utf-8") as to:
        for number in range(600_000):
            to.write(f"insert into nowhere values ({number}, 'a row that is long enough to take a while');\n")
    _, shown, code = at_terminal(["db.schema-load", "--file", str(file)], inv.root, {"CONNECTION_URL": live.url})
    assert code == 1, shown
    assert re.search(r"checking \S*long.sql .*/[\d.]+ MiB", shown), shown[:2000]


def test_a_pipe_sees_nothing_of_it(live: Database, inv: Cli) -> None:
    file = live.sql(SLOW)
    done = inv("db.schema-load", "--file", str(file), env={"CONNECTION_URL": live.url})
    assert (done.returncode, done.stdout) == (0, "")
    assert "pg_sleep" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "MiB" not in done.stderr


def test_the_layers_wheels_are_fetched_with_uvs_own_bar(inv: Cli, tmp_path: Path) -> None:
    empty = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    out, shown, code = at_terminal(["lambda.layer"], inv.root, empty)
    assert code == 0, shown
    assert out.strip().endswith(".zip")
    assert re.search(r"psycopg-binary +-+ [\d.]+ ?[KM]?i?B/[\d.]+ MiB", shown)
    assert "Installed 2 packages" in shown
    done = inv("lambda.layer", env=empty)
    assert len(lines_of(done.stderr)) == 1  # in a pipe: what was made


def test_a_layer_that_cannot_be_built_says_the_same_at_a_terminal(inv: Cli) -> None:
    wanted = inv.root / "functions/post_confirmation/requirements.txt"
    wanted.write_text("psycopg==99.1\npsycopg-binary==99.1\n")
    _, shown, code = at_terminal(["lambda.layer"], inv.root, {})
    last = shown.splitlines()[-1]
    assert (code, last) == (1, lines_of(inv("lambda.layer").stderr)[0])
