"""inv adopt: into each repository of the table, twice; nothing of theirs altered, and all that is in the way named."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tasks
from config.settings import Settings, load
from config.variables import VARIABLES
from config.version import VERSION
from ops.adopt import discover, files, inv_suite, merge, plan
from ops.db import build
from ops.errors import Misconfigured, Problem, Refused
from ops.targets.embedded import binaries, server
from tests.fix_cli import SUITE, Cli
from tests.fix_layouts import DB, GITIGNORE, HELLO, LAYOUTS, SCHEMA, SEED, Layout
from tests.test_server import needs_root, small_disk

MERGED = (
    "tasks.py",
    "tasks/__init__.py",
    "invoke.yaml",
    "invoke.yml",
    "requirements.txt",
    ".gitignore",
    ".env.example",
)
MANIFEST = "inv-suite/adopted.json"


def parse(data: bytes) -> Any:
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(error) from None


def adopt(root: Path, schema: str = "", seed: str = "", *, overwrite: bool = False, dry_run: bool = False) -> None:
    plan.adopt(str(root), schema, seed, parse, overwrite=overwrite, dry_run=dry_run)


def hashes(root: Path) -> dict[str, str]:
    """Return what is in a folder, by its content, and its mode."""
    return {
        path.relative_to(root).as_posix(): f"{path.lstat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in root.rglob("*")
        if path.is_file() and ".local" not in path.parts and "__pycache__" not in path.parts
    }


def settings(root: Path, **environ: str) -> Settings:
    """Return what the tasks there read."""
    file = next(root / name for name in plan.CONFIGURATIONS if (root / name).exists())
    return load(parse(file.read_bytes()), environ, root)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return LAYOUTS[0].build(tmp_path / "theirs")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database on an embedded server, which has the extension that they want."""
    root = tmp_path_factory.mktemp("server")
    yield server.start_server(root).target("cruddur").url(show_password=True)
    server.remove_data(root)


def by_psql(url: str, root: Path, names: tuple[str, str]) -> bool:
    """Whether psql loads schema and seed into a new database, stopping at the first error."""
    base = url.rpartition("/")[0]
    files = [word for name in names for word in ("-f", name)]
    found = binaries.psql()
    assert found
    run = [found[0], "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    subprocess.run([*run, f"{base}/postgres", "-c", "create database judged"], check=True, capture_output=True)
    try:
        return (
            subprocess.run([*run, f"{base}/judged", *files], cwd=root, capture_output=True, check=False).returncode == 0
        )
    finally:
        subprocess.run([*run, f"{base}/postgres", "-c", "drop database judged with (force)"], check=True)


# --- the repositories of the table --------------------------------------------------------


@pytest.mark.spread
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_suite_goes_in_nothing_of_theirs_changes_and_it_judges_as_psql(
    layout: Layout, tmp_path: Path, url: str
) -> None:
    root = layout.build(tmp_path / "their repository é")
    before, texts = hashes(root), {name: (root / name).read_bytes() for name in MERGED if (root / name).exists()}
    adopt(root, dry_run=True)
    assert hashes(root) == before
    adopt(root)
    after = hashes(root)
    assert {name: after.get(name) for name in before if name not in MERGED} == {
        name: found for name, found in before.items() if name not in MERGED
    }
    assert {name for name in after if name not in before and not name.startswith("inv-suite/")} <= set(MERGED)
    for name, text in texts.items():
        now = (root / name).read_bytes()
        assert now.startswith(text), "their lines, in their order"
        added = now[len(text) :]
        assert added.count(b"\n") == added.count(b"\r\n") or b"\r\n" not in now, "their kind of line end"
    found = settings(root)
    assert [path.relative_to(root).as_posix() for path in (found.schema, found.seed)] == list(layout.paths)
    assert (found.queries / "home.sql").is_file()
    adopt(root)
    assert hashes(root) == after
    assert json.loads((root / MANIFEST).read_text())["version"] == VERSION

    assert by_psql(url, root, layout.paths) is layout.loads
    given = settings(root, CONNECTION_URL=url)
    with contextlib.nullcontext() if layout.loads else pytest.raises(Problem, match=r"(schema|seed)\.sql:\d+"):
        build.setup(given, "local", build.DEFAULT, build.DEFAULT, {}, "", force=True)


OWN_FOLDERS = "config, functions and backend of their own"
BY_COMMAND = (
    "queries",
    OWN_FOLDERS,
    "tasks of their own",
    "a package of tasks",
    "spaces",
)


@pytest.mark.parametrize(
    "layout", [each for each in LAYOUTS if each.name in BY_COMMAND], ids=lambda layout: layout.name
)
def test_the_first_commands_in_there(layout: Layout, tmp_path: Path, url: str) -> None:
    root = layout.build(tmp_path / "theirs")
    done = Cli(SUITE)("adopt", str(root))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"{root} has version {VERSION} of the suite" in done.stderr
    there, env = Cli(root), {"CONNECTION_URL": url}
    done = there("db.setup", env=env, cwd=root / "backend-flask")
    assert done.returncode == 0, done.stderr
    assert "public.activities 1 rows, public.users 2 rows" in done.stderr
    assert "andrewbrown" in there.ok("db.query", "home", env=env)
    assert f"suite: version {VERSION}, in inv-suite/" in there("doctor", env=env).stdout
    if HELLO in "".join(map(str, layout.more.values())):
        assert there.ok("hello") == "hello\n"


def test_the_function_is_packaged_from_there(theirs: Path) -> None:
    """What the tasks of AWS read of the suite's own lies in its folder."""
    adopt(theirs)
    code = (
        "import sys; sys.path.insert(0, 'inv-suite')\nfrom config import paths\nfrom ops.lambdas import role\nfrom ops.lambdas.package import function_code\n"
        "from ops.app import serve\nfrom config.settings import load\n"
        "print(paths.ROOT, function_code.SOURCE.is_dir(), serve.backend(load({}, {})), paths.DEVELOPMENT)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=theirs, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(theirs), "True", f"{theirs}/inv-suite/backend", "inv-suite/requirements-dev.txt"]


@pytest.mark.slow
@pytest.mark.xdist_group("sandbox")
def test_rds_and_the_function_from_there(tmp_path: Path) -> None:
    """Beside folders config/, functions/, backend/ and ops/ of theirs."""
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    root = next(each for each in LAYOUTS if each.name == OWN_FOLDERS).build(tmp_path / "theirs")
    adopt(root)
    before = hashes(root)
    lines = "inv rds.create && inv rds.allow-my-ip --ip 8.8.4.4 && inv db.setup -t prod --confirm cruddur && inv lambda.deploy"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = ["bash", "-euo", "pipefail", "-c", f"eval \"$(inv sandbox.up)\"\ntrap 'inv sandbox.down' EXIT\n{lines}"]
    done = subprocess.run(run, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "function: cruddur-post-confirmation" in done.stdout
    assert hashes(root) == before


def test_what_git_ignores_hides_none_of_it(theirs: Path) -> None:
    """Python's usual .gitignore names env/ and lib/, and some name *.sql."""
    (theirs / ".gitignore").write_text(GITIGNORE)
    adopt(theirs)
    subprocess.run(["git", "init", "-q"], cwd=theirs, check=True)
    (theirs / "inv-suite" / "ops" / "__pycache__").mkdir()
    (theirs / "inv-suite" / "ops" / "__pycache__" / "x.pyc").touch()
    run = ["git", "ls-files", "-o", "--exclude-standard", "inv-suite"]
    seen = subprocess.run(run, cwd=theirs, capture_output=True, text=True, check=True).stdout.split()
    assert set(seen) == {f"inv-suite/{name}" for name in files.files(SUITE)} | {MANIFEST}


# --- their tasks and ours -----------------------------------------------------------------


def test_a_task_of_theirs_keeps_its_name(tmp_path: Path) -> None:
    root = next(each for each in LAYOUTS if "names of ours" in each.name).build(tmp_path / "theirs")
    adopt(root)
    there = Cli(root)
    assert there.ok("doctor", "db.migrate", "db.seed") == "mine\nmigrated\ntheirs\n"
    listed = set(there.ok("--list", "-F", "json").split('"'))
    assert {"setup", "suite", "rds"} <= listed
    assert not {"adopt", "bench", "lint", "test"} & listed
    assert "Load seed rows" in there.ok("suite.db.seed", "--help")
    assert "Check this machine" in there.ok("--help", "suite.doctor")
    assert "Build the database beside" in there.ok("db.setup", "--help")


def test_what_stays_in_the_suites_own_clone_is_there() -> None:
    assert set(inv_suite.DEVELOPMENT) <= set(tasks.ns.tasks)


def test_a_module_by_the_name_of_ours_that_cannot_be_seen_before_is_one_line(theirs: Path) -> None:
    (theirs / "tasks.py").write_text("import importlib\n\nimportlib.import_module('con' + 'fig')\n")
    (theirs / "config.py").touch()
    adopt(theirs)
    done = Cli(theirs)("--list")
    assert done.returncode == 2
    assert done.stderr == (
        f"{theirs}/tasks.py imports a module config ({theirs}/config.py), and the suite in inv-suite/ has one of that name: rename yours\n"
    )


# --- what is in the way -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"tasks.py": "import config.base"}, "tasks.py:1 imports config, and the suite has a package of that name"),
        ({"tasks.py": "def f():\n    from functions import a"}, "tasks.py:2 imports functions"),
        (
            {"tasks.py": "from lib.db import x", "lib/db.py": "import os\nfrom backend import y"},
            "lib/db.py:2 imports backend",
        ),
        ({"tasks.py": "import lib", "lib/__init__.py": "import ops"}, "lib/__init__.py:1 imports ops"),
        ({"tasks.py": "def f(:\n"}, "tasks.py:1: Python cannot read it (invalid syntax)"),
        ({"tasks.py": "from ops import cli", "ops/cli.py": "", "config/defaults.py": ""}, "copied by hand"),
        ({"tasks.py/x": ""}, "tasks.py is no file: rename it"),
        ({"invoke.json": "{}"}, "invoke.json: move its settings to invoke.yaml"),
        ({"invoke.yaml": "db: {host: x}"}, "db.host in invoke.yaml: no such setting"),
        ({"invoke.yaml": "a: ["}, "invoke.yaml: cannot be read (while parsing"),
        ({"invoke.yaml": "- a"}, "is no mapping of settings"),
        ({"invoke.yaml": "{a: 1}"}, "cannot be added to at its end: add paths: {schema: "),
        ({"requirements.txt": "boto3\nFlask==2.3.2"}, "requirements.txt: line 2 wants Flask==2.3.2, the suite flask>=3.1: widen yours"),
        ({"requirements.txt": "psycopg[pool]~=2.9"}, "line 1 wants psycopg[pool]~=2.9"),
        ({"requirements.txt": "boto3".encode("utf-16")}, "requirements.txt is UTF-16: save it as UTF-8"),
        ({"tasks.py": "import os".encode("utf-16")}, "tasks.py is UTF-16: save it as UTF-8"),
        ({".gitignore": ".env".encode("utf-16")}, ".gitignore is UTF-16"),
        ({"inv-suite": "mine"}, "inv-suite is a file"),
        ({"inv-suite/README.md": "mine"}, "inv-suite/README.md is yours: rename it"),
        ({"inv-suite/config/x.py/y": "", "inv-suite/config/paths.py/y": ""}, "inv-suite/config/paths.py is a folder"),
        ({f"{DB}/schema.sql": "", f"{DB}/seed.sql": "", "link": "tasks.py"}, "tasks.py is a link"),
        ({"link": "inv-suite"}, "inv-suite is a link"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_a_line_and_nothing_is_written(
    theirs: Path, more: dict[str, str | bytes], line: str
) -> None:
    link = str(more.pop("link", ""))
    for name, content in more.items():
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if link:
        (theirs / link).symlink_to(theirs / "bin")
    before = hashes(theirs)
    with pytest.raises(Refused) as caught:
        adopt(theirs)
    assert caught.value.code == 2
    assert [each for each in caught.value.detail if line in each] == list(caught.value.detail)
    assert hashes(theirs) == before


def test_all_that_is_in_the_way_is_said_at_once(theirs: Path) -> None:
    (theirs / "tasks.py").write_text("import config")
    (theirs / "requirements.txt").write_text("flask<3")
    shutil.rmtree(theirs / DB)
    done = Cli(SUITE)("adopt", str(theirs), "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    head, *lines = done.stderr.splitlines()
    assert head == f"3 things are in the way in {theirs}: nothing was written"
    assert [line[:12] for line in lines] == ["- tasks.py:1", "- no .sql fi", "- requiremen"]
    assert not (theirs / "inv-suite").exists()


@pytest.mark.parametrize(
    ("given", "line"),
    [("nowhere", "is not a folder"), ("ops", "is the suite's own"), (".", "is the suite's own"), ("~nobody-of-this-name/x", "nobody-of-this-name")],
)  # fmt: skip
def test_a_folder_that_is_no_repository_of_theirs(given: str, line: str) -> None:
    done = Cli(SUITE)("adopt", given)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_two_runs_at_once(theirs: Path) -> None:
    lock = os.open(theirs, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(Problem, match=r"^another inv adopt( \(pid .*\))? is at work"):
            adopt(theirs)
    finally:
        os.close(lock)


# --- which files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "schema", "seed"),
    [
        ({"db/schema.sql": SCHEMA, "db/seeds.sql": SEED}, "db/schema.sql", "db/seeds.sql"),
        ({"db/init.sql": SCHEMA, "db/seed-data.sql": SEED}, "db/init.sql", "db/seed-data.sql"),
        ({"a/one.sql": SCHEMA, "a/two.sql": SEED}, "a/one.sql", "a/two.sql"),
        ({"z/schema.sql": SCHEMA, "z/rows.sql": SEED, "a/rows.sql": SEED}, "z/schema.sql", "z/rows.sql"),
        ({"s/schema.sql": "", "m/migrations/1.sql": SCHEMA, "s/seed.sql": ""}, "s/schema.sql", "s/seed.sql"),
        ({"s/Schema.SQL": SCHEMA, "s/x.sql": "copy users from stdin;\n\\.\n"}, "s/Schema.SQL", "s/x.sql"),
    ],
)
def test_schema_and_seed_are_found(tmp_path: Path, there: dict[str, str], schema: str, seed: str) -> None:
    for name, content in there.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    found = discover.discover(tmp_path)
    assert (found.schemas[0].as_posix(), found.seeds[0].as_posix()) == (schema, seed)


def test_others_of_the_same_name_and_migrations_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = LAYOUTS[-1].build(tmp_path / "theirs")
    (root / DB / "migrations").mkdir()
    (root / DB / "migrations" / "1.py").touch()
    adopt(root, dry_run=True)
    told = capsys.readouterr().err
    assert f"schema: {DB}/schema.sql, and not journal/schema.sql: change paths: if that is wrong" in told
    assert f"seed: {DB}/seed.sql, and not _docs/db/seed.sql" in told
    assert (
        f"migrations in {DB}/migrations stay as they are: inv db.migration-import {DB}/migrations makes files of ours"
        in told
    )
    assert "migrations:" not in told
    assert '      schema: "backend-flask/db/schema.sql"' in told
    assert "write   inv-suite/ops/env/commands.py" in told


def test_migrations_in_our_format_are_taken(theirs: Path) -> None:
    folder = theirs / DB / "migrations"
    folder.mkdir(exist_ok=True)
    (folder / "20230415061733_a.sql").write_text("-- migrate:up\nselect 1;\n-- migrate:down\n")
    adopt(theirs)
    assert settings(theirs).migrations == folder


def test_files_that_are_named_are_taken(theirs: Path) -> None:
    (theirs / "other.sql").touch()
    adopt(theirs, "other.sql", f"./{DB}/../db/seed.sql")
    assert settings(theirs).schema == theirs / "other.sql"
    assert settings(theirs).seed == theirs / DB / "seed.sql"


@pytest.mark.parametrize("given", ["none.sql", "../theirs.sql", "/etc/passwd"])
def test_a_file_that_is_not_there_is_refused(theirs: Path, given: str) -> None:
    with pytest.raises(Refused, match="there is no such file"):
        adopt(theirs, given)


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        ("flask", "flask>=3.1", True),
        ("flask==3.1.2", "flask>=3.1", True),
        ("flask==3.0", "flask>=3.1", False),
        ("flask==3.*", "flask>=3.1", True),
        ("flask<3.1", "flask>=3.1", False),
        ("flask>=4,<5", "flask>=3.1", True),
        ("flask~=3.0", "flask>=3.1", True),
        ("flask~=2.0", "flask>=3.1", False),
    ],
)
def test_which_requirements_fit_together(one: str, other: str, *, fits: bool) -> None:
    assert merge.fit_together(one, other) is fits


# --- again --------------------------------------------------------------------------------

GONE = "functions/post_confirmation/events/sign-up.json"


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A later version of the suite: one file is another, one is new, some are gone."""
    made = tmp_path / "newer"
    for name in files.TAKEN:
        if (SUITE / name).is_dir():
            shutil.copytree(SUITE / name, made / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (SUITE / name).exists() and not (made / name).exists():
            shutil.copy(SUITE / name, made / name)
    with (made / "ops" / "meter.py").open("a") as file:
        file.write("# newer\n")
    (made / "ops" / "room").mkdir()
    (made / "ops" / "room" / "new.py").write_text("")
    shutil.rmtree((made / GONE).parent)
    version = made / "config" / "version.py"
    version.write_text(version.read_text().replace(VERSION, "9.0.0"))
    return made


def update(newer: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return Cli(newer)("adopt", str(root), *more)


def test_a_newer_version_takes_the_place_of_the_older(theirs: Path, newer: Path) -> None:
    adopt(theirs)
    (theirs / "inv-suite" / "mine.txt").touch()
    before = hashes(theirs)
    done = update(newer, theirs)
    assert done.returncode == 0, done.stderr
    assert f"inv-suite/: files of the suite, version {VERSION} to 9.0.0: 1 new, 2 replaced, 6 removed" in done.stderr
    after = hashes(theirs)
    changed = {"inv-suite/ops/meter.py", "inv-suite/config/version.py", MANIFEST}
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == changed
    assert after.keys() - before.keys() == {"inv-suite/ops/room/new.py"}
    assert {str(Path(name).parent) for name in before.keys() - after.keys()} == {f"inv-suite/{Path(GONE).parent}"}
    assert not (theirs / "inv-suite" / GONE).parent.exists()
    assert "version 9.0.0" in Cli(theirs)("doctor").stdout
    assert "has version 9.0.0 already: nothing to do" in update(newer, theirs).stderr


def test_their_settings_stay_and_what_they_took_out_again_stays_out(theirs: Path, newer: Path) -> None:
    adopt(theirs)
    (theirs / "invoke.yaml").write_text('target: "docker"\n')
    (theirs / ".gitignore").write_text("mine\n")
    (theirs / ".env.example").unlink()
    (theirs / "requirements.txt").write_text("boto3\n")
    before = hashes(theirs)
    assert update(newer, theirs).returncode == 0
    after = hashes(theirs)
    assert {name: after[name] for name in before if name in MERGED} == {n: h for n, h in before.items() if n in MERGED}


def test_their_tasks_get_the_lines_again(theirs: Path) -> None:
    adopt(theirs)
    (theirs / "tasks.py").write_text(HELLO)
    adopt(theirs)
    assert merge.has_block((theirs / "tasks.py").read_bytes())


def test_what_they_have_changed_of_ours_is_kept_and_named(theirs: Path, newer: Path) -> None:
    adopt(theirs)
    for name, text in (("ops/own_files.py", "# mine\n"), (GONE, "{}")):
        (theirs / "inv-suite" / name).write_text(text)
    done = update(newer, theirs)
    assert done.returncode == 0, done.stderr
    assert "inv-suite/ops/own_files.py: changed by you, kept" in done.stderr
    assert f"inv-suite/{GONE}: changed by you, and no longer of the suite" in done.stderr
    assert (theirs / "inv-suite" / "ops" / "own_files.py").read_text() == "# mine\n"
    again = update(newer, theirs)
    assert "inv-suite/ops/own_files.py: changed by you, kept" in again.stderr
    assert "nothing to do" in again.stderr
    assert "own_files.py: changed by you, overwritten" in update(newer, theirs, "--overwrite").stderr
    assert (theirs / "inv-suite" / "ops" / "own_files.py").read_bytes() == (SUITE / "ops" / "own_files.py").read_bytes()


def test_what_both_have_changed_is_in_the_way(theirs: Path, newer: Path) -> None:
    adopt(theirs)
    (theirs / "inv-suite" / "ops" / "meter.py").write_text("# mine\n")
    before = hashes(theirs)
    done = update(newer, theirs)
    assert done.returncode == 2
    assert "inv-suite/ops/meter.py: changed by you, and by version 9.0.0" in done.stderr
    assert hashes(theirs) == before
    assert update(newer, theirs, "--overwrite").returncode == 0
    assert (theirs / "inv-suite" / "ops" / "meter.py").read_text().endswith("# newer\n")


def test_line_ends_by_git_are_no_change(theirs: Path, newer: Path) -> None:
    adopt(theirs)
    meter = theirs / "inv-suite" / "ops" / "meter.py"
    meter.write_bytes(meter.read_bytes().replace(b"\n", b"\r\n"))
    done = update(newer, theirs)
    assert done.returncode == 0, done.stderr
    assert "changed by you" not in done.stderr


def test_what_a_power_cut_has_left_empty_is_written_again(theirs: Path) -> None:
    adopt(theirs)
    before = hashes(theirs)
    (theirs / "inv-suite" / "ops" / "meter.py").write_bytes(b"")
    adopt(theirs)
    assert hashes(theirs) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_as_root_all_belongs_to_whom_the_repository_belongs(theirs: Path) -> None:
    os.chown(theirs, 4242, 4242)
    adopt(theirs)
    made = [theirs / name for name in MERGED if (theirs / name).exists()] + list((theirs / "inv-suite").rglob("*"))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(4242, 4242)}


@pytest.mark.parametrize(
    "text",
    ["{", '{"version": "1", "complete": true, "files": {"../tasks.py": ["x"]}, "added": {}}', '{"version": "1"}'],
)
def test_a_damaged_manifest_is_one_line(theirs: Path, text: str) -> None:
    adopt(theirs)
    (theirs / MANIFEST).write_text(text)
    with pytest.raises(Problem, match=r"adopted.json is damaged: take it back from git"):
        adopt(theirs)


def test_an_adopted_suite_puts_itself_nowhere(theirs: Path) -> None:
    adopt(theirs)
    assert Cli(theirs)("adopt", "..").returncode == 1, "there is no such task"
    with pytest.raises(Misconfigured, match="name the folder above it"):
        adopt(theirs / "inv-suite")


# --- cut off ------------------------------------------------------------------------------

DIES = """
import os, sys
from ops.adopt import plan
from tests.test_adopt import adopt
from pathlib import Path
left, half = int(sys.argv[2]), sys.argv[3] == "half"
replace = os.replace
def dies(*names):
    global left
    left -= 1
    if left < 0 and half:
        os._exit(9)
    replace(*names)
    if left < 0:
        os._exit(9)
os.replace = dies
adopt(Path(sys.argv[1]))
"""


def died(suite: Path, root: Path, after: int, how: str) -> int:
    """Adopt in a process that ends without a word at one of its renames."""
    env = {**os.environ, "PYTHONPATH": f"{suite}:{SUITE}"}
    return subprocess.run(
        [sys.executable, "-c", DIES, root, str(after), how], cwd=suite, env=env, check=False, capture_output=True
    ).returncode


@pytest.mark.spread
@pytest.mark.parametrize("how", ["half", "whole"])
@pytest.mark.parametrize("after", [0, 1, 2, 100, -6, -5, -4, -3, -2, -1])
def test_cut_off_at_any_file_the_next_run_goes_on(tmp_path: Path, after: int, how: str) -> None:
    layout = next(each for each in LAYOUTS if each.name == "files to add to")
    whole, cut = layout.build(tmp_path / "whole"), layout.build(tmp_path / "cut")
    adopt(whole)
    renames = len(files.files(SUITE)) + 2 + 5
    assert died(SUITE, cut, after % renames, how) == 9
    adopt(cut)
    assert hashes(cut) == hashes(whole)


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_cut_off_in_an_update_a_third_version_goes_on(tmp_path: Path, theirs: Path, newer: Path, after: int) -> None:
    """The old and the new content of a file are both known as ours, and settings are still theirs."""
    whole = LAYOUTS[0].build(tmp_path / "whole")
    for root in (theirs, whole):
        adopt(root)
        (root / "invoke.yaml").write_text('target: "docker"\n')
    assert died(newer, theirs, after, "whole") == 9
    adopt(theirs)
    assert hashes(theirs) == hashes(whole)


@pytest.mark.parametrize("seconds", [0.4, 0.7, 1.0])
def test_killed(theirs: Path, tmp_path: Path, seconds: float) -> None:
    inv = Path(sys.executable).parent / "inv"
    with subprocess.Popen([inv, "adopt", theirs], cwd=SUITE, stderr=subprocess.DEVNULL) as running:
        time.sleep(seconds)
        running.send_signal(signal.SIGKILL)
    adopt(theirs)
    whole = LAYOUTS[0].build(tmp_path / "whole")
    adopt(whole)
    assert hashes(theirs) == hashes(whole)


@needs_root
@pytest.mark.parametrize("size", ["64k", "1m", "2m"])
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path, size: str) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, size) as remount:
        root = LAYOUTS[0].build(disk / "theirs")
        with pytest.raises(OSError, match="No space left on device"):
            adopt(root)
        assert list(files.leftovers(root)) == []
        remount("size=100m")
        adopt(root)
        whole = LAYOUTS[0].build(tmp_path / "whole")
        adopt(whole)
        assert hashes(root) == hashes(whole)


def test_every_variable_is_in_the_example(theirs: Path) -> None:
    adopt(theirs)
    assert (theirs / ".env.example").read_text().count("\n#") == 2 * len(VARIABLES) - 1
