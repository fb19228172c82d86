"""What has passed before is left out, and nothing else (tests/fix_passed.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import os
import pytest

@pytest.mark.parametrize("text", ["a b", "[::1]"])
def test_passes(text):
    pass

def test_differs():
    assert "FAILS" not in os.environ

def test_ends_badly(request):
    request.addfinalizer(lambda: 1 / int("FAILS" not in os.environ))

@pytest.mark.counted
def test_counts():
    pass

@pytest.mark.skipif("FAILS" in os.environ, reason="here")
def test_is_skipped():
    pass
"""
OUR_OWN = Path(__file__).parent.parent


def run(folder: Path, *args: str, **more: str) -> str:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.fix_passed", "-v", *args]
    env = {**os.environ, "PYTHONPATH": str(OUR_OWN), **more}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False).stdout


def test_what_passed_in_each_run_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = counted\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    one, other = tmp_path / "one", tmp_path / "other"
    assert "1 failed, 4 passed, 1 skipped, 1 error" in run(tmp_path, "-n0", TEST_PASSED_TO=str(one), FAILS="1")
    assert "6 passed" in run(tmp_path, "-n2", TEST_PASSED_TO=str(other))
    left = f"{one}{os.pathsep}{other}"
    for how in ("-n0", "-n2"):
        said = run(tmp_path, how, TEST_PASSED_BEFORE=left)
        assert "4 passed" in said, said
        assert "test_passes" not in said
        assert "left out: 3 tests that have passed before" in said
    assert "1 passed, 5 deselected" in run(tmp_path, "-n0", TEST_PASSED_BEFORE=str(other))
    assert "6 passed" in run(tmp_path, "-n0")


def test_one_that_was_cut_off_has_not_passed(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("def test_before(): pass\ndef test_cut(): raise KeyboardInterrupt\n")
    assert "KeyboardInterrupt" in run(tmp_path, "-n0", TEST_PASSED_TO=str(tmp_path / "passed"))
    assert (tmp_path / "passed").read_text() == "test_some.py::test_before\n"
