"""The wrong changes of tests/mutants/ fit the code as it is, and the tests that must catch them are there; `inv test --mutants` runs them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.errors import Misconfigured, Problem
from ops.workspace import mutants

SUITE = Path(__file__).parent.parent
FOUND = mutants.find(SUITE)


def test_there_are_forty() -> None:
    assert len(FOUND) >= 40


@pytest.mark.parametrize("mutant", FOUND, ids=lambda mutant: mutant.name)
def test_it_applies_and_its_tests_are_there(mutant: mutants.Mutant) -> None:
    done = subprocess.run(
        ["git", "-C", SUITE, "apply", "--check", mutant.path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{mutant.path} no longer applies: make it anew\n{done.stderr}"
    assert len(mutant.changes) == 1
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((SUITE / path).read_text(encoding="utf-8"))
        assert re.sub(r"\[.*", "", name) in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


FILE = "def is_even(n):\n    return n % 2 == 0\n"
TESTS = """
import even

def test_even():
    assert even.is_even(2)

def test_odd():
    assert not even.is_even(3)
"""
PATCH = """{head}--- a/ops/even.py
+++ b/ops/even.py
@@ -1,2 +1,2 @@
 def is_even(n):
-    return {old}
+    return {new}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    root = tmp_path / "suite"
    for part in ("ops", "tests/mutants"):
        (root / part).mkdir(parents=True)
    (root / "ops" / "even.py").write_text(FILE)
    (root / "tests" / "test_even.py").write_text(TESTS)
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["ops"]\n')
    return root


def wrong(root: Path, name: str, test: str, old: str = "n % 2 == 0", new: str = "True") -> None:
    head = f"Wrong: {name}\nTest: tests/test_even.py::{test}\n\n"
    (root / "tests" / "mutants" / f"{name}.patch").write_text(PATCH.format(head=head, old=old, new=new))


@pytest.mark.slow
def test_what_survives_or_fits_no_more_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong(place, "caught", "test_odd")
    mutants.run(place)
    assert re.fullmatch(r"mutants: 1 of 1 caught, in \d+ s\n", capsys.readouterr().out)
    wrong(place, "survives", "test_even")
    wrong(place, "is-none", "test_odd", new="n % (")
    wrong(place, "stale", "test_odd", old="n % 2 == 1")
    with pytest.raises(Problem) as caught:
        mutants.run(place)
    assert capsys.readouterr().out.startswith("mutants: 1 of 4 caught, in ")
    first, *lines = str(caught.value).splitlines()
    assert first == "mutants that were not caught: 3"
    assert re.search(r"is-none\.patch: pytest ended with 4 .*: is-none$", lines[0])
    assert re.search(r"stale\.patch: no longer applies .*: stale$", lines[1])
    assert lines[2].endswith("survives.patch: survived tests/test_even.py::test_even: survives")
    assert (place / "ops" / "even.py").read_text() == FILE, "the checkout is not touched"


@pytest.mark.slow
def test_by_night_it_is_told_how_many_the_quick_tests_catch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "tests" / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--quick', action='store_true')\n"
        "def pytest_collection_modifyitems(config, items):\n"
        "    if config.getoption('--quick'): items[:] = [item for item in items if item.name == 'test_even']\n"
    )
    wrong(place, "caught-by-all", "test_even", new="False")
    wrong(place, "caught-by-its-own", "test_odd")
    mutants.run(place, quick=True)
    assert capsys.readouterr().out.startswith("mutants: 2 of 2 caught, 1 of them by the quick tests as well, in ")


@pytest.mark.slow
def test_tests_that_fail_without_it_or_are_not_there_catch_nothing(place: Path) -> None:
    wrong(place, "gone", "test_gone")
    with pytest.raises(Problem, match=r"without any wrong change .*there is no such test"):
        mutants.run(place)
    wrong(place, "gone", "test_odd")
    (place / "ops" / "even.py").write_text(FILE.replace("== 0", "== 1"))
    with pytest.raises(Problem, match=r"do not pass \(failed: tests/test_even\.py::test_odd\)"):
        mutants.run(place)


def test_a_patch_without_its_lines_is_refused(place: Path) -> None:
    wrong(place, "caught", "test_odd")
    path = place / "tests" / "mutants" / "caught.patch"
    path.write_text(path.read_text().partition("\n\n")[2])
    with pytest.raises(Misconfigured, match="begin it with a line Wrong"):
        mutants.run(place)
    shutil.rmtree(path.parent)
    with pytest.raises(Misconfigured, match="is here"):
        mutants.run(place)
