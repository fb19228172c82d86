"""env.show and env.set: masked, atomic, and no secret on a command line."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import dotenv
from config.settings import load
from config.variables import VARIABLES, holds_secret
from ops.env import variables
from tests.fix_cli import Cli

SECRET = "Hx7!q@Zw9"


def shown(root: Path, **environ: str) -> dict[str, tuple[str | None, str]]:
    settings = load({}, environ, root)
    rows = [variables.as_row(settings, one) for one in variables.shown(settings)]
    return {str(row["variable"]): (row["value"], str(row["from"])) for row in rows}


def test_shows_every_variable_with_its_value_and_origin(root: Path) -> None:
    (root / ".env").write_text("POSTGRES_PORT=5433\nPROD_DB_ENDPOINT=saved\n", encoding="utf-8")
    found = shown(root, PROD_DB_ENDPOINT="mine", POSTGRES_MASTER_USERNAME="root")
    assert set(found) == {variable.name for variable in VARIABLES}
    assert found["POSTGRES_PORT"] == ("5433", ".env")
    assert found["POSTGRES_MASTER_USERNAME"] == ("root", "environment")
    assert found["PROD_DB_ENDPOINT"] == ("mine", "environment (hides another value in .env)")
    assert found["CONNECTION_URL"] == (None, "not set")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CONNECTION_URL", "postgres://u:Hx7%21q@h/db", "postgresql://u:****@h/db"),
        ("CONNECTION_URL", "postgresql://u@h/db", "postgresql://u@h/db"),
        ("PROD_CONNECTION_URL", "postgresql://h/db?user=u&password=Hx7!qZw9", "postgresql://u:****@h/db"),
        ("POSTGRES_MASTER_PASSWORD", "Hx7!q", "****"),
    ],
)
def test_shows_no_password(root: Path, name: str, value: str, expected: str) -> None:
    assert shown(root, **{name: value})[name][0] == expected


@pytest.mark.parametrize(
    "value",
    [
        f"postgresql://u:{SECRET}@h/db",
        f"postgresql://u:{SECRET}@{SECRET}@h/db",
        f"'postgresql://u:{SECRET}@h/db'",
        f"jdbc:postgresql://h/db?user=u&password={SECRET}",
        f"host=h user=u password={SECRET}",
        f"postgresql://u:a/{SECRET}",
        f"postgresql://{SECRET}",
        f"u:{SECRET}@h",
        SECRET,
        f"postgresql://u:x\n{SECRET}@h/db",
    ],
)
def test_shows_nothing_of_a_url_that_is_none_but_why(root: Path, value: str) -> None:
    for name in variables.urls(load({}, {}, root)):
        text = shown(root, **{name: value})[name][0]
        assert text
        assert text.startswith(f"**** ({name}: ")
        assert not [SECRET[i : i + 4] for i in range(len(SECRET) - 3) if SECRET[i : i + 4] in text]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("POSTGRES_MASTER_PASSWORD", "x", True),
        ("AWS_SECRET_ACCESS_KEY", "x", True),
        ("AWS_SESSION_TOKEN", "x", True),
        ("STRIPE_API_KEY", "x", True),
        ("AWS_ACCESS_KEY_ID", "x", False),
        ("POSTGRES_MASTER_USERNAME", "x", False),
        ("PROD_DB_ENDPOINT", "h", False),
        ("PROD_CONNECTION_URL", "postgresql://u:p@far/db", True),
        ("PROD_CONNECTION_URL", "postgresql://far/db?password=p", True),
        ("PROD_CONNECTION_URL", "postgresql://u@far/db", True),
        ("PROD_CONNECTION_URL", "postgresql://far/db", False),
        ("CONNECTION_URL", "postgresql://postgres:password@localhost:5432/cruddur", False),
        ("CONNECTION_URL", "postgresql://postgres:password@127.0.0.1/cruddur", False),
        ("CONNECTION_URL", "postgresql://postgres:password@db:5432/cruddur", False),
        ("CONNECTION_LOCAL_DOCKER_URL", "postgresql://postgres:password@db:5432/cruddur", False),
        ("PROD_CONNECTION_URL", "postgresql://u:p@localhost:5432/db", True),  # a tunnel's end
        ("STAGING_CONNECTION_URL", "postgresql://u:p@127.0.0.1/db", True),
        ("CONNECTION_URL", "postgresql://u:x@localhost:y@far/db", True),
        ("CONNECTION_URL", "postgresql://u:p@far/db?x=@localhost/", True),
        ("CONNECTION_URL", "postgresql://u:p@db.example.com/db", True),
        ("DATABASE_URL", "postgresql://u:p@far/db", True),
        ("OTHER", "https://u:p@far/", True),
    ],
)
def test_knows_what_belongs_in_no_history(name: str, value: str, secret: bool) -> None:
    assert holds_secret(name, value) is secret


# --- by the command line ------------------------------------------------------------------


def test_show_prints_a_table_and_json(inv: Cli) -> None:
    env = {"CONNECTION_URL": "postgresql://u:hushhush@h/db"}
    table = inv.ok("env.show", env=env)
    assert [line.split()[0] for line in table.splitlines()] == ["variable", *(v.name for v in VARIABLES)]
    rows = json.loads(inv.ok("env.show", "--json", env=env))
    assert rows[0] == {
        "variable": "CONNECTION_URL",
        "value": "postgresql://u:****@h/db",
        "source": "environment",
        "hides_saved": False,
        "fault": None,
        "meaning": VARIABLES[0].meaning,
    }
    assert "hushhush" not in table


def test_set_writes_the_file_which_is_then_read(inv: Cli) -> None:
    (inv.root / ".env").write_text("# mine\nPOSTGRES_PORT=1\nX=y\n", encoding="utf-8")
    done = inv("env.set", "POSTGRES_PORT=5433")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "saved POSTGRES_PORT in .env\n")
    assert (inv.root / ".env").read_text(encoding="utf-8") == "# mine\nPOSTGRES_PORT='5433'\nX=y\n"
    assert stat.S_IMODE((inv.root / ".env").stat().st_mode) == 0o600
    assert "5433" in inv.ok("env.show")


def test_a_secret_comes_by_standard_input(inv: Cli) -> None:
    done = inv("env.set", "POSTGRES_MASTER_PASSWORD", stdin=SECRET + "\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "saved POSTGRES_MASTER_PASSWORD in .env\n")
    assert dotenv.read(inv.root / ".env") == {"POSTGRES_MASTER_PASSWORD": SECRET}


@pytest.mark.parametrize(
    ("argument", "stdin", "message"),
    [
        ("POSTGRES_MASTER_PASSWORD", "a\nb\n", "a value is one line of text"),
        ("X", "a\rb\n", "a value is one line of text"),
        ("X", "a\0b\n", "a value is one line of text"),
        ("X", "  \n", "the value is empty"),
        ("X=a\nb", "", "a value is one line of text"),
        ("CONNECTION_URL", f"postgresql://u:{SECRET}@@h/db\n", "CONNECTION_URL: a raw @"),
        ("É=x", "", "give NAME=VALUE"),
    ],
)
def test_what_cannot_be_saved_is_not(inv: Cli, argument: str, stdin: str, message: str) -> None:
    done = inv("env.set", argument, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert not (inv.root / ".env").exists()


def test_a_name_that_is_nearly_one_of_ours_is_doubted(inv: Cli) -> None:
    said = inv("env.set", "PROD_DB_ENPOINT=x").stderr
    assert "note: nothing here reads PROD_DB_ENPOINT: do you mean PROD_DB_ENDPOINT?" in said
    assert "note" not in inv("env.set", "MY_OWN=x").stderr


def test_a_secret_that_git_would_take_is_said(inv: Cli) -> None:
    subprocess.run(["git", "init", "-q", str(inv.root)], check=True)
    warning = "note: git does not ignore .env: add it to .gitignore before you commit"
    (inv.root / ".gitignore").write_text("", encoding="utf-8")
    assert warning in inv("env.set", "POSTGRES_MASTER_PASSWORD", stdin=SECRET).stderr
    (inv.root / ".gitignore").write_text(".env\n", encoding="utf-8")
    assert warning not in inv("env.set", "POSTGRES_MASTER_PASSWORD", stdin=SECRET).stderr


def test_says_that_the_environment_hides_what_was_saved(inv: Cli) -> None:
    done = inv("env.set", "POSTGRES_PORT=5433", env={"POSTGRES_PORT": "1"})
    assert "note: POSTGRES_PORT of the environment hides it in this shell: unset POSTGRES_PORT" in done.stderr


def test_a_new_env_file_is_made_where_env_file_says(inv: Cli) -> None:
    inv.ok("env.set", "X=y", env={"ENV_FILE": "env/staging"})
    assert dotenv.read(inv.root / "env/staging") == {"X": "y"}


@pytest.mark.parametrize("given", ["env/staging", "./env/staging", "{root}/env/staging", "{elsewhere}/staging"])
def test_an_env_file_that_is_not_the_usual_one_is_named_with_its_folder(inv: Cli, tmp_path: Path, given: str) -> None:
    """Only a name would leave open which file was written."""
    named = given.format(root=inv.root, elsewhere=tmp_path / "elsewhere")
    env = {"ENV_FILE": named}
    done = inv("env.set", "X=y", env=env)
    told = named if "elsewhere" in given else "env/staging"
    assert (done.returncode, done.stderr) == (0, f"saved X in {told}\n")
    assert f"remove the line from {told}" in inv("env.set", "X=", env=env).stderr


def test_a_read_only_folder_is_one_line(inv: Cli) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    inv.root.chmod(0o500)
    try:
        done = inv("env.set", "X=y")
    finally:
        inv.root.chmod(0o700)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.fixture
def gp(tmp_path: Path) -> dict[str, str]:
    """A `gp` that records what it was given; GP_CODE is its exit code."""
    folder = tmp_path / "gp bin"
    folder.mkdir()
    script = folder / "gp"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{tmp_path}/gp.log"\n'
        'if [ -n "$GP_CODE" ]; then echo "cannot set $3 $2" >&2; exit "$GP_CODE"; fi\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def given(tmp_path: Path) -> list[str]:
    log = tmp_path / "gp.log"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def test_gp_is_given_what_is_no_secret(inv: Cli, gp: dict[str, str], tmp_path: Path) -> None:
    done = inv("env.set", "POSTGRES_PORT=54 33", env=gp)
    assert done.returncode == 0
    assert "saved POSTGRES_PORT by gp env for the next workspace" in done.stderr
    assert given(tmp_path) == ["env", "POSTGRES_PORT=54 33"]


def test_gp_is_not_given_what_belongs_to_another_env_file(inv: Cli, gp: dict[str, str], tmp_path: Path) -> None:
    """A sandbox's endpoint in the next workspace would take the place of production's."""
    inv.ok("env.set", "PROD_DB_ENDPOINT=sandbox.example.com", env={**gp, "ENV_FILE": "other.env"})
    assert "sandbox.example.com" in (inv.root / "other.env").read_text()
    assert given(tmp_path) == []


def test_gp_is_given_a_secret_only_when_told_to(inv: Cli, gp: dict[str, str], tmp_path: Path) -> None:
    done = inv("env.set", "POSTGRES_MASTER_PASSWORD", env=gp, stdin=SECRET)
    assert (done.returncode, given(tmp_path)) == (0, [])
    assert "--share does it all the same" in done.stderr
    assert inv("env.set", "POSTGRES_MASTER_PASSWORD", "--share", env=gp, stdin=SECRET).returncode == 0
    assert given(tmp_path) == ["env", f"POSTGRES_MASTER_PASSWORD={SECRET}"]


def test_a_gp_that_fails_is_said_without_the_secret(inv: Cli, gp: dict[str, str]) -> None:
    done = inv("env.set", "POSTGRES_MASTER_PASSWORD", "--share", env={**gp, "GP_CODE": "3"}, stdin=SECRET)
    assert (done.returncode, done.stdout) == (1, "")
    assert "saved, but gp env POSTGRES_MASTER_PASSWORD failed: cannot set" in done.stderr
    assert SECRET not in done.stderr
    assert dotenv.read(inv.root / ".env") == {"POSTGRES_MASTER_PASSWORD": SECRET}


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_person_is_asked_and_the_answer_is_not_echoed(inv: Cli, interrupt: bool) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [Path(sys.executable).parent / "inv", "env.set", "POSTGRES_MASTER_PASSWORD"],
        cwd=inv.root,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),  # noqa: PLW1509
    ) as process:
        os.close(slave)
        seen = read_until(master, b"POSTGRES_MASTER_PASSWORD: ")
        time.sleep(0.1)
        os.write(master, b"\x03" if interrupt else SECRET.encode() + b"\n")
        seen += read_until(master, b"\n\n" if not interrupt else b"cancelled")
        code = process.wait(10)
    os.close(master)
    assert SECRET.encode() not in seen
    if interrupt:
        assert code == 130
        assert not (inv.root / ".env").exists()
    else:
        assert code == 0, seen
        assert dotenv.read(inv.root / ".env") == {"POSTGRES_MASTER_PASSWORD": SECRET}


def read_until(master: int, mark: bytes, seconds: float = 10) -> bytes:
    """Read a terminal until `mark`, or until the program has gone."""
    seen, deadline = b"", time.monotonic() + seconds
    while mark not in seen and time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:  # what Linux says of a terminal that the program has closed
                break
    return seen
