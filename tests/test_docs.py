"""Every command in the documentation is run here, as it stands there."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

import tasks
from config.targets import Target
from ops.db import scratch_server
from ops.targets.embedded import server
from tests import fix_migrations, forked, servers
from tests.fix_app import get, wait
from tests.fix_bastion import Bastion
from tests.fix_cli import SUITE, Cli, copy_suite
from tests.fix_layouts import LAYOUTS
from tests.fix_suppliers import Database
from tests.test_docker import PYTHON, missing

README = SUITE / "README.md"
DOCS = [
    README,
    *sorted((SUITE / "docs").glob("*.md")),
    *(SUITE / f"{n}.md" for n in ("CONTRIBUTING", "SECURITY", "CHANGELOG")),
]


def blocks(kind: str, paths: Sequence[Path] = DOCS) -> list[str]:
    """Return the code blocks of the documents that are marked so."""
    found = []
    for path in paths:
        found += re.findall(
            rf"^```{re.escape(kind)}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
    return found


QUICK_START = [b for b in blocks("sh") if "requirements" in b]
RECIPES = [b for b in blocks("sh") if "requirements" not in b]


def shell(root: Path, text: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a code block as a reader would paste it, with the environment activated."""
    env = {**os.environ, **environ}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=root,
        env={**env, "PATH": forked.path_of(text, env)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_all_blocks_are_of_a_kind_that_is_tested() -> None:
    kinds = set()
    for path in DOCS:
        fences = re.findall(r"^```(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) % 2 == 0, path
        kinds |= set(fences[::2])
    assert kinds == {
        "sh",
        "sh app",
        "sh docker",
        "sh docker app",
        "sh prod",
        "sh sandbox",
        "sh tunnel",
        "sh adopt",
        "sh branch",
        "sh adopted",
        "sh import",
        "sh alembic",
        "sh django",
        "yaml",
        "toml",
        "python",
        "json",
    }
    assert len(QUICK_START) == 2
    assert len(RECIPES) >= 5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One clone in which the recipes follow each other, as a reader goes through them."""
    root = copy_suite(tmp_path_factory.mktemp("docs") / "clone")
    yield root
    server.remove_data(root)
    scratch_server.remove_all(root)


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_recipe(home: Path, number: int) -> None:
    text = RECIPES[number]
    if "psql " in text and not shutil.which("psql"):
        pytest.skip("this recipe shows psql, which is not installed")
    shell(home, "rm -rf .env sql/migrations; inv db.setup")
    if "5433" in text:
        text = text.replace("5433", str(servers.free_port()))
    done = shell(home, text)
    assert done.returncode == 0, done.stderr
    if "more.sql" in text:
        assert "nothing to do" in done.stderr


def test_the_recipe_for_production(inv: Cli, postgres: servers.Server) -> None:
    [text] = blocks("sh prod")
    server = {**postgres.params, "dbname": "cruddur"}
    url = Target("prod", "PROD_CONNECTION_URL", server).url(show_password=True)
    done = shell(inv.root, text, stdin=url + "\n")
    assert done.returncode == 0, done.stderr
    assert "not confirmed" in done.stdout
    assert "public.activities  9" in done.stdout
    assert "carries the stamp" in shell(inv.root, "inv db.drop || true", CONNECTION_URL=url).stderr
    shell(inv.root, "inv db.drop -t prod --confirm cruddur")


def test_the_import_of_migrations(inv: Cli, postgres: servers.Server) -> None:
    """The blocks for alembic and Django are run by tests/test_migration_import_same.py."""
    files, record = blocks("sh import")
    fix_migrations.written(inv.root / "backend-flask" / "db" / "migrations", fix_migrations.MODULES)
    done = shell(inv.root, files)
    assert done.returncode == 0, done.stderr
    assert "5 files written to sql/migrations" in done.stderr
    server = {**postgres.params, "dbname": "cruddur"}
    url = Target("prod", "PROD_CONNECTION_URL", server).url(show_password=True)
    assert shell(inv.root, "inv db.create -t prod", PROD_CONNECTION_URL=url).returncode == 0
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("create table schema_information (id int, last_successful_run text)")
            conn.execute("insert into schema_information values (1, '1681539453')")
        done = shell(inv.root, record, PROD_CONNECTION_URL=url)
        assert done.returncode == 0, done.stderr
        assert "recorded 1 migration in cruddur" in done.stderr
        assert "20230415061733_users  applied" in done.stdout
    finally:
        shell(inv.root, "inv db.drop -t prod --confirm cruddur", PROD_CONNECTION_URL=url)


def test_the_second_command_shows_the_feed(inv: Cli) -> None:
    [text] = blocks("sh app")
    (inv.root / ".venv").symlink_to(sys.prefix)
    inv.ok("db.setup")
    port = servers.free_port()
    with subprocess.Popen(
        ["bash", "-euc", text],
        cwd=inv.root,
        env={**os.environ, "INVOKE_APP_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        try:
            wait(f"http://127.0.0.1:{port}")
            assert len(get(f"http://127.0.0.1:{port}/api/activities/home").json) == 9
        finally:
            os.killpg(running.pid, signal.SIGINT)
    assert running.returncode in (0, 130)


def test_the_lines_for_an_application(feed: Database) -> None:
    [text] = blocks("python", [SUITE / "docs" / "app.md"])
    found: dict[str, Any] = {}
    exec(text, found)  # noqa: S102
    assert len(found["activities"]) == 2
    assert len(found["people"]) == 5
    assert found["person"] == {"handle": "zoe"}
    assert len(found["row"][0]) == 5


def test_the_tunnel_of_a_shell(inv: Cli, one: Database, bastion: Bastion) -> None:
    [text] = blocks("sh tunnel")
    one.do(f'create database "{one.name}"', "postgres")
    path = inv.root / "invoke.yaml"
    path.write_text(path.read_text().replace("targets: {}", f'targets: {{staging: {{via: "{bastion.via}"}}}}'))
    done = shell(inv.root, text, STAGING_CONNECTION_URL=one.url)
    assert done.returncode == 0, done.stderr
    assert (bastion.home / "log").read_text().count("Accepted publickey") == 1
    assert "ended the tunnel to staging" in done.stderr


IN_THE_SANDBOX = [path for path in DOCS if "```sh sandbox\n" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", IN_THE_SANDBOX, ids=lambda path: path.name)
def test_the_recipes_of_a_document_in_the_sandbox(inv: Cli, path: Path) -> None:
    """One after the other, as a reader goes through them: the later ones build on the earlier."""
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    text = "\n".join(blocks("sh sandbox", [path]))
    try:
        done = shell(inv.root, 'eval "$(inv sandbox.up)"\n' + text)
        assert done.returncode == 0, done.stderr
        assert ("inv rds.replica\n" in text or "inv rds.replica --confirm" in text) == (
            "read at its replica" in done.stderr
        )
    finally:
        shell(inv.root, "inv sandbox.down")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sh docker", "sh docker app"])
def test_the_recipe_for_docker(inv: Cli, kind: str) -> None:
    if reason := missing(*([PYTHON] if "app" in kind else [])):
        if os.environ.get("REQUIRE_DOCKER"):
            pytest.fail(f"Docker is required here: {reason}")
        pytest.skip(reason)
    [text] = blocks(kind)
    name = f"docs{os.getpid()}"
    project = {"COMPOSE_PROJECT_NAME": name, "DB_PORT": str(servers.free_port()), "APP_PORT": str(servers.free_port())}
    done = shell(inv.root, text, **project)
    shell(inv.root, "inv db.down -t docker --wipe --confirm cruddur", **project)
    shell(inv.root, f"docker rmi {name}_backend || docker rmi {name}-backend || true; docker network rm {name}_default")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_quick_start_on_an_empty_home_as_an_ordinary_user() -> None:
    """The first command of the README, in a fresh clone, with nothing else in the environment."""
    folder = Path(tempfile.mkdtemp(prefix="fresh clone é ", dir="/tmp"))
    who = {}
    user = pwd.getpwuid(os.getuid())
    if os.getuid() == 0:
        user = pwd.getpwnam("nobody")
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        files = subprocess.run(
            ["git", "ls-files", "-z"], cwd=SUITE, capture_output=True, text=True, check=False
        ).stdout.split("\0")
        names = [name for name in files if name] or pytest.skip("not a git checkout: no list of files to clone")
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SUITE / name, folder / name)
        (folder / "home").mkdir()
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", folder], check=True)
        python = shutil.which("python3", path="/usr/bin:/bin") or pytest.skip("no python3 of the system to start from")
        env = {"PATH": f"{Path(python).parent}:/usr/bin:/bin", "HOME": str(folder / "home")}
        run = {"cwd": folder, "env": env, "capture_output": True, "text": True, "timeout": 300, **who}
        probe = subprocess.run(
            [python, "-m", "pip", "download", "-q", "--no-deps", "-d", folder / "home", "invoke"], check=False, **run
        )  # type: ignore[call-overload]
        if probe.returncode:
            pytest.skip("no package index to install from")
        for _ in range(2):
            done = subprocess.run(["bash", "-euc", QUICK_START[0]], check=False, **run)  # type: ignore[call-overload]
            assert done.returncode == 0, done.stderr
        assert "public.activities 9 rows, public.users 5 rows" in done.stderr
        assert (folder / ".local" / "postgres" / "data").stat().st_uid == user.pw_uid
        done = subprocess.run([folder / ".venv/bin/inv", "doctor"], check=False, **run)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout
        port = servers.free_port()
        [serving] = blocks("sh app")
        server = subprocess.Popen(
            ["bash", "-euc", "exec " + serving],
            cwd=folder,
            env={**env, "INVOKE_APP_PORT": str(port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **who,
        )  # type: ignore[call-overload]
        try:
            wait(f"http://127.0.0.1:{port}")
            assert len(get(f"http://127.0.0.1:{port}/api/activities/home").json) == 9
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(20) in (0, 130)
    finally:
        subprocess.run(
            [folder / ".venv/bin/inv", "db.down"], cwd=folder, env={"PATH": "/usr/bin:/bin"}, check=False, **who
        )  # type: ignore[call-overload]
        shutil.rmtree(folder)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, part = link.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), link
        headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE) if part else []
        assert not part or part in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, link


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_task_that_is_named_is_there(path: Path) -> None:
    """In text, too: what stands in a block is run."""
    named = set(re.findall(r"`inv ([a-z]+(?:\.[a-z-]+)?)", path.read_text(encoding="utf-8")))
    assert named <= {*tasks.ns.task_names, *tasks.ns.collections}, path


def test_what_the_readme_says_was_measured_is_in_the_table() -> None:
    """Each time and size in the column of what was measured, as it is printed there."""
    section = README.read_text(encoding="utf-8").split("\n## When it grows\n")[1].split("\n## ")[0]
    measured = " ".join(line.split("|")[2] for line in section.splitlines() if line.startswith("| "))
    figures = set(re.findall(r"[\d.,]+ (?:ms|s|min|MB)\b", measured))
    assert len(figures) >= 10
    table = (SUITE / "docs" / "performance.md").read_text(encoding="utf-8")
    assert {one for one in figures if not re.search(rf"(?<![\d.,]){re.escape(one)}\b", table)} == set()


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    assert "README.md" in (SUITE / ".ci" / "run").read_text(encoding="utf-8")
    first, second = (block.strip() for block in QUICK_START)
    assert first == "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/inv db.setup"
    assert second == ".venv/bin/pip install -r requirements-dev.txt && .venv/bin/inv test"


@pytest.mark.parametrize("path", [SUITE / "README.md", SUITE / "docs" / "adopt.md"], ids=lambda path: path.name)
def test_the_suite_put_into_an_existing_repository(inv: Cli, path: Path) -> None:
    root = LAYOUTS[0].build(inv.root.parent / "cruddur")
    try:
        [adopt] = blocks("sh adopt", [path])
        done = shell(inv.root, adopt)
        assert done.returncode == 0, done.stderr
        for text in blocks("sh adopted", [path]):
            done = shell(root, text)
            assert done.returncode == 0, done.stderr
            assert "andrewbrown" in done.stdout
        [paths] = blocks("yaml", [SUITE / "docs" / "adopt.md"])
        assert (root / "invoke.yaml").read_text(encoding="utf-8").endswith(paths)
        installed = shell(root, f"{sys.executable} -m pip install -q --dry-run --no-index -r requirements.txt")
        assert installed.returncode == 0, installed.stderr
    finally:
        server.remove_data(root)
        scratch_server.remove_all(root)


def test_the_hook_before_a_commit_runs_our_own_lint() -> None:
    config = yaml.safe_load((SUITE / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    [hook] = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert (hook["language"], hook["pass_filenames"]) == ("system", False)
    done = shell(SUITE, f"{hook['entry']} --help")
    assert done.returncode == 0, done.stderr
    assert "inv[oke] [--core-opts] lint" in done.stdout


def test_blame_looks_past_commits_that_are_there() -> None:
    done = shell(SUITE, "test -d .git -o -f .git && git rev-parse --is-shallow-repository")
    if done.stdout != "false\n":
        pytest.skip("no git checkout with its whole history")
    text = (SUITE / ".git-blame-ignore-revs").read_text(encoding="utf-8")
    for commit in re.findall(r"^[^#\n].*", text, re.MULTILINE):
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert shell(SUITE, f"git merge-base --is-ancestor {commit} HEAD").returncode == 0, commit
    assert shell(SUITE, "git blame --ignore-revs-file .git-blame-ignore-revs ops/db/commands.py").returncode == 0
