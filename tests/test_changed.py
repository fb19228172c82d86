"""A part of the tests: which start nothing, and which look at what has changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops.errors import Misconfigured
from ops.workspace import changed
from tests import fix_cli, fix_people, fix_quick, fix_suppliers, test_help, test_imports, test_targets

FILES = {
    "ops/a.py": "",
    "ops/b.py": "import ops.a",
    "ops/c/__init__.py": "",
    "sql/seed.sql": "",
    "tests/fix_a.py": "import pytest\nfrom ops import a\n@pytest.fixture\ndef made(): ...",
    "tests/helper.py": "def f():\n    import ops.c",
    "tests/test_direct.py": "from ops.a import word",
    "tests/test_by_fixture.py": "def test_x(made): ...",
    "tests/test_by_helper.py": "from tests import helper",
    "tests/test_by_name.py": "FILE = 'sql/seed.sql'",
    "tests/test_by_test.py": "from tests.test_by_helper import x",
    "tests/test_none.py": "import os",
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["ops/a.py"], ["by_fixture", "direct"]),
        (["ops/b.py"], []),
        (["ops/c/__init__.py"], ["by_helper"]),
        (["sql/seed.sql"], ["by_name"]),
        (["tests/fix_a.py"], ["by_fixture"]),
        (["tests/test_none.py"], ["none"]),
        (["tests/test_by_helper.py"], ["by_helper", "by_test"]),
        (["README.md"], []),
    ],
)
def test_what_imports_or_names_what_changed(repo: Path, names: list[str], found: list[str]) -> None:
    assert changed.tests(repo, names) == [f"tests/test_{name}.py" for name in found]


def git(repo: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=repo, check=True, capture_output=True)


def test_what_differs_is_committed_since_main_or_not_yet_or_new(repo: Path) -> None:
    with pytest.raises(Misconfigured, match="no checkout with a commit"):
        changed.files(repo)
    git(repo, "init", "-b", "main")
    git(repo, "add", ".")
    git(repo, "commit", "-m", "first")
    assert changed.files(repo) == []
    git(repo, "switch", "-c", "mine")
    (repo / "ops" / "a.py").write_text("word = 1")
    git(repo, "commit", "-am", "mine")
    (repo / "ops" / "b.py").unlink()
    (repo / "é x.py").touch()
    assert changed.files(repo) == ["ops/a.py", "ops/b.py", "é x.py"]
    git(repo, "branch", "-m", "main", "trunk")
    assert changed.files(repo) == ["ops/b.py", "é x.py"]


@pytest.mark.parametrize(
    ("thing", "starts"),
    [
        (fix_cli.Cli, True),
        (fix_suppliers.supply, True),
        (fix_people.made, False),
        (test_help.told.__wrapped__, True),  # type: ignore[attr-defined]
        (test_imports.test_listing_the_tasks_loads_no_heavy_library, True),
        (test_imports.test_one_place_prints, False),
        (test_targets, False),
    ],
)
def test_what_starts_something_is_known_by_its_names(thing: object, starts: bool) -> None:
    assert fix_quick.is_starting(thing, set()) is starts


@pytest.mark.parametrize("part", ["setup", "load", "guard", "rds_door_tasks", "lambda_handler", "app"])
def test_the_behaviours_that_matter_are_quick(part: str) -> None:
    text = (fix_cli.SUITE / "tests" / f"test_{part}.py").read_text(encoding="utf-8")
    assert "@pytest.mark.quick\n" in text


def test_coverage_is_of_the_whole(inv: fix_cli.Cli) -> None:
    done = inv("test", "--quick", "--coverage")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
