"""Bare `inv`: the dozen tasks of a day, and the next step, from files alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import tasks
from config.settings import Settings, load
from config.targets import Target
from ops.targets import last_look
from ops.workspace import day
from tests.fix_cli import SUITE, Cli, lines_of
from tests.fix_suppliers import Database
from tests.test_imports import HEAVY

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
TASKS = {command for commands in day.DAY.values() for command in commands}


def step(text: str) -> tuple[str, str]:
    """Return where the clone stands and what is next, from what bare `inv` prints."""
    found, _, command = text.rpartition("\n\n")[2].rstrip("\n").partition("\nNext: ")
    return found, command


def test_the_dozen_are_tasks_and_fit_a_terminal() -> None:
    assert sum(len(commands) for commands in day.DAY.values()) == 12
    assert set(tasks.ns.task_names) >= TASKS
    lines = day.page(lambda name: tasks.ns[name].__doc__, len(tasks.ns.task_names)).splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_a_task_that_a_repository_has_not_is_left_out() -> None:
    assert "lambda" not in day.page(lambda name: None if name.startswith("lambda.") else "Do it.", 3)
    assert day.page(lambda _: None, 0).startswith("All 0 tasks")


def test_from_nothing_to_the_step_towards_production(inv: Cli) -> None:
    def stands() -> tuple[str, str]:
        return step(inv.ok())

    text = inv.ok()
    assert text.startswith("First day\n  inv doctor ")
    assert step(text) == ("local: there is no database yet", "inv db.setup")
    assert not (inv.root / ".local").exists()
    inv.ok("db.setup")
    found, command = stands()
    assert [line.split()[0] for line in found.splitlines()] == ["local:", "prod:"]
    assert "/cruddur was there just now\nprod: not set up" in found
    assert command == "inv rds.create --dry-run, or inv env.set PROD_CONNECTION_URL where you have one"
    later = datetime.now(timezone.utc).timestamp() + 60
    os.utime(inv.root / "sql" / "seed.sql", (later, later))
    inv.ok("db.status")  # a look does not make it new
    found, command = stands()
    assert found == "local: sql/seed.sql changed after the database was built (just now)"
    assert command == "inv db.setup"
    inv.ok("db.drop")
    assert stands()[1] == "inv db.undo"
    inv.ok("db.undo")
    assert "was there just now" in stands()[0]
    inv.ok("db.down", "--wipe", "--confirm", "cruddur")
    assert stands() == ("local: there is no database yet", "inv db.setup")
    inv.ok("db.up")
    assert stands()[1] == "inv db.status"
    inv("db.status")
    assert stands()[1] == "inv db.setup"
    inv.ok("db.create")
    assert "was there just now" in stands()[0]


@pytest.mark.parametrize(
    ("config", "environ", "look", "found", "command"),
    [
        ({}, {"CONNECTION_URL": "x"}, {}, "local: nobody has looked there from this clone", "inv db.status"),
        ({"target": "docker"}, {}, {}, "docker: nobody has looked there from this clone", "inv db.up"),
        ({"target": "prod"}, {}, {}, "prod: nobody has looked there from this clone", "inv db.status"),
        ({"target": "prod"}, {}, {"prod": True}, "prod: u@h:5432/d was there 2 hours ago", ""),
        ({"target": "docker"}, {}, {"docker": False}, "docker: u@h:5432/d was not there 2 hours ago", "inv db.setup"),
        (
            {},
            {"CONNECTION_URL": "x", "PROD_DB_ENDPOINT": "h"},
            {"local": True},
            "prod: nobody has looked there from this clone",
            "inv rds.allow-my-ip, then inv db.status -t prod",
        ),
        (
            {},
            {"CONNECTION_URL": "x"},
            {"local": True, "prod": False},
            "prod: u@h:5432/d was not there 2 hours ago",
            "inv db.setup -t prod",
        ),
        (
            {},
            {"CONNECTION_URL": "x"},
            {"local": True, "prod": True},
            "local: u@h:5432/d was there 2 hours ago\nprod: u@h:5432/d was there 2 hours ago",
            "",
        ),
        (
            {"targets": {"staging": {}}, "target": "staging"},
            {},
            {"staging": True},
            "prod: not set up",
            "inv rds.create --dry-run, or inv env.set PROD_CONNECTION_URL where you have one",
        ),
        ({}, {}, {"local": True}, "local: there is no database yet", "inv db.setup"),  # it was another server's then
    ],
)
def test_each_place_has_its_next_step(
    root: Path, config: dict[str, object], environ: dict[str, str], look: dict[str, bool], found: str, command: str
) -> None:
    settings = load(config, environ, root)
    params = {"host": "h", "user": "u", "password": "hush", "dbname": "d"}
    for name, there in look.items():
        last_look.remember(settings, Target(name, "x", params), there=there, kept=False)
    assert "hush" not in "".join(path.read_text() for path in root.glob(".local/*.json"))
    stands = day.standing(settings, datetime.now(timezone.utc) + timedelta(hours=2, minutes=1))
    assert found in stands.found
    assert stands.command == command


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (86400 * 3.5, "3 days ago")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert day.age(NOW - timedelta(seconds=seconds), NOW) == told


def test_it_asks_no_server(inv: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        url = f"postgresql://u:hush@127.0.0.1:{listening.getsockname()[1]}/cruddur"
        env = {"CONNECTION_URL": url, "PROD_CONNECTION_URL": url, "HTTPS_PROXY": url.replace("postgresql", "http")}
        text = inv.ok(env=env)
        with pytest.raises(TimeoutError):
            listening.accept()
    assert step(text)[1] == "inv db.status"
    assert "hush" not in text


def test_it_loads_no_heavy_library(inv: Cli) -> None:
    (inv.root / ".env").write_text("CONNECTION_URL=x\n", encoding="utf-8")
    code = (
        "import sys; from invoke.main import program\n"
        "try: program.run(['inv'])\n"
        "finally: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=inv.root, capture_output=True, text=True, check=True)
    assert (HEAVY - {"dotenv"}) & set(done.stderr.split()) == set()  # .env is read by dotenv, as everywhere
    assert "Next: inv db.status" in done.stdout


def test_settings_come_as_a_task_gets_them(inv: Cli, tmp_path: Path) -> None:
    assert step(inv.ok(env={"INVOKE_TARGET": "docker"}))[1] == "inv db.up"
    (inv.root / "sub").mkdir()
    assert step(inv(cwd=inv.root / "sub").stdout)[1] == "inv db.setup"
    (tmp_path / "own.yaml").write_text('target: "docker"\n', encoding="utf-8")
    assert step(inv.ok("-f", str(tmp_path / "own.yaml")))[1] == "inv db.up"


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"INVOKE_TARGET": "nowhere"}, "there is no target 'nowhere'"),
        ({"ENV_FILE": "no.env"}, "ENV_FILE names"),
        ({}, "-f no.yaml: no such file"),
    ],
)
def test_what_is_wrong_is_said_below_the_page(inv: Cli, env: dict[str, str], told: str) -> None:
    done = inv(*(["-f", "no.yaml"] if not env else []), env=env)
    assert done.returncode == 2
    assert done.stdout.startswith("First day\n")
    assert told in done.stderr
    assert len(lines_of(done.stderr)) == 1


def test_the_list_and_the_help_of_inv_stay_as_they_are(inv: Cli) -> None:
    assert "Default" not in inv.ok("--list")
    assert inv.ok("--help").startswith("Usage: inv[oke] [--core-opts] task1")
    listed = {task["name"] for task in json.loads(inv.ok("--list", "--list-format", "json"))["tasks"]}
    assert listed == {name for name in tasks.ns.task_names if "." not in name}


def test_a_repository_keeps_a_default_task_of_its_own(inv: Cli) -> None:
    with (inv.root / "tasks.py").open("a", encoding="utf-8") as file:
        file.write(
            "\n\nfrom invoke.tasks import task\n\n\n@task(default=True)\ndef hello(c):\n    print('hello')\n\n\nns.add_task(hello)\n"
        )
    assert inv.ok() == "hello\n"


def test_a_folder_that_cannot_be_written_stops_no_task(one: Database) -> None:
    (one.root / ".local").symlink_to(SUITE)
    last_look.remember(one.settings(), one.target(), there=True, kept=False)
    assert last_look.recalled(one.settings()) == {}


def test_the_sandbox_has_a_memory_of_its_own(root: Path) -> None:
    def at(env_file: str) -> Settings:
        (root / env_file).touch()
        return load({}, {"ENV_FILE": env_file}, root)

    target = Target("local", "x", {"dbname": "d"})
    for name in ("one.env", "two.env"):
        last_look.remember(at(name), target, there=name == "one.env", kept=False)
    assert [last_look.recalled(at(name))["local"].there for name in ("one.env", "two.env")] == [True, False]
    last_look.forget(root, root / "one.env")
    assert last_look.recalled(at("one.env")) == {}
    last_look.forget(root, root / "two.env", "local")
    assert last_look.recalled(at("two.env")) == {}
    assert last_look.recalled(load({}, {}, root)) == {}


def test_pending_migrations_are_known_from_the_folder_and_the_last_look(inv: Cli) -> None:
    def stands() -> tuple[str, str]:
        return step(inv.ok())

    inv.ok("db.setup")
    for name in ("add_bio", "add_city"):
        made = inv.root / inv.ok("db.migration-new", name).strip()
        column = name.removeprefix("add_")
        up, down = f"alter table users add column {column} text", f"alter table users drop column {column}"
        made.write_text(f"-- migrate:up\n{up};\n-- migrate:down\n{down};\n")
    assert "pending" not in stands()[0]  # nobody has looked yet which of them it has
    inv.ok("db.migrations")
    assert stands() == ("local: 2 migrations are pending, by the last look (just now)", "inv db.migrate")
    inv.ok("db.migrate")
    assert "pending" not in stands()[0]
    inv.ok("db.rollback")
    assert stands() == ("local: 1 migration is pending, by the last look (just now)", "inv db.migrate")
    inv.ok("db.migrate", "--write-schema")
    assert "was there just now" in stands()[0]
    inv.ok("db.setup")
    assert "was there just now" in stands()[0]
