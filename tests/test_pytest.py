"""The suite of tests itself: it ends, and it passes in the background too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fix_cli import SUITE, copy_suite

CHILD = """
import os, signal, subprocess, sys, time

def test_a_child_can_be_interrupted():
    # in short pieces: a signal just before a sleep begins is only seen when it ends
    forever = "import itertools, time; print(1, flush=True); any(time.sleep(0.1) for _ in itertools.count())"
    child = subprocess.Popen([sys.executable, "-c", forever], stdout=-1)
    child.stdout.read(1)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == -signal.SIGINT
    child.stdout.close()

def test_the_shell_said_to_ignore_it():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
"""


def environ() -> dict[str, str]:
    """Return the variables of a run that has nothing to do with this one."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}


def run(path: Path, text: str, *options: str, prefix: str = "") -> str:
    path.write_text(text)
    words = [sys.executable, "-m", "pytest", "-c", str(SUITE / "pyproject.toml"), "--rootdir", str(SUITE), *options]
    done = subprocess.run(
        ["sh", "-c", f'{prefix} exec "$@"', "sh", *words, "-p", "tests.fix_isolation", str(path)],
        cwd=SUITE,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_what_is_ignored_in_the_background_reaches_no_child(tmp_path: Path) -> None:
    assert "2 passed" in run(tmp_path / "test_child.py", CHILD, prefix='trap "" INT HUP QUIT;')


def test_a_test_that_hangs_is_ended(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert float(request.config.getini("timeout")) > 0
    text = "import time\ndef test_hangs():\n    time.sleep(50)\n"
    assert "Timeout (>0.5s)" in run(tmp_path / "test_hangs.py", text, "-o", "timeout=0.5")


@pytest.mark.parametrize("name", ["clone", "ünïcødé 🐘 ops/config"])
def test_what_runs_in_a_copy_counts_for_the_checkout(tmp_path: Path, name: str) -> None:
    """Coverage's floor is of the checkout: neither are the lines that run in a copy lost, nor counted as another file's."""
    copy = copy_suite(tmp_path / name)
    inner = "import subprocess, sys; subprocess.run(['inv', 'db.url'], cwd=sys.argv[1], check=True)"
    (tmp_path / "start.py").write_text(inner)
    env = {**environ(), "COVERAGE_FILE": str(tmp_path / "data"), "CONNECTION_URL": "postgresql://u@h/db"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    config = f"--rcfile={SUITE / 'pyproject.toml'}"
    shown = ""
    for words in (
        ["run", config, str(tmp_path / "start.py"), str(copy)],
        ["combine", config],
        ["report", config, "--fail-under=0"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *words], cwd=SUITE, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shown = done.stdout
    rows = [line.split()[0] for line in shown.splitlines() if ".py " in line]
    assert {"config/urls.py", "ops/cli.py", "ops/db/commands.py"} <= set(rows)
    assert ("tasks.py" in rows) == (name == "clone")
    assert not [row for row in rows if not (SUITE / row).is_file() or Path(row).is_absolute()]
