"""The command line as users meet it: a copy of the suite, run by `inv` in a process of its own."""

from __future__ import annotations

import atexit
import compileall
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.db import scratch_server
from ops.targets.embedded import server
from tests import forked

SUITE = Path(__file__).parent.parent
PARTS = (
    "tasks.py",
    "invoke.yaml",
    "config",
    "ops",
    "functions",
    "sql",
    "backend",
    "requirements.txt",
    "constraints.txt",
    "docker-compose.yml",
    ".dockerignore",
)


def copy_suite(to: Path) -> Path:
    """Copy what a user drops into a repository, and what Python has made of it: compiling all costs more than most tasks do."""
    to.mkdir(parents=True, exist_ok=True)
    # cp takes a third of what shutil takes for a thousand small files, and keeps their times, which bytecode is known by; by
    # subprocess, which does not copy the tables of this process's memory first, as a fork does
    subprocess.run(["cp", "-a", f"{pristine()}/.", to], check=True)
    return to


@functools.cache
def pristine() -> Path:
    """Return a copy from which others are made."""
    compile_suite()
    made = Path(tempfile.mkdtemp(prefix="pristine-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    made.chmod(0o755)
    for part in PARTS:
        if (SUITE / part).is_dir():
            shutil.copytree(SUITE / part, made / part, ignore=foreign_bytecode)
        else:
            shutil.copy2(SUITE / part, made / part)
    return made


@functools.cache
def compile_suite() -> None:
    """Compile what is copied where that is not done; a checkout that may not be written is copied as it is."""
    for part in PARTS:
        if (SUITE / part).is_dir():
            compileall.compile_dir(SUITE / part, quiet=2)


def foreign_bytecode(folder: str, names: list[str]) -> set[str]:
    """Return what another Python has compiled, or this one in another way, as shutil.copytree asks what to leave out."""
    if Path(folder).name != "__pycache__":
        return set()
    usual = re.compile(rf"[^.]+\.{re.escape(str(sys.implementation.cache_tag))}\.pyc")
    return {name for name in names if not usual.fullmatch(name)}


def without_coverage() -> dict[str, str]:
    """Return the environment for what coverage gets no data of: what is killed, and what leaves by os._exit."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@dataclass
class Cli:
    """Runs `inv` in a clone."""

    root: Path

    def __call__(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        stdin: str = "",
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return forked.run(args, cwd=cwd or self.root, env={**os.environ, **(env or {})}, input=stdin, timeout=timeout)

    def ok(self, *args: str, env: dict[str, str] | None = None, stdin: str = "") -> str:
        """Run a task that must succeed, and return its stdout."""
        done = self(*args, env=env, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


def lines_of(stderr: str) -> list[str]:
    """Return the lines of what a command has said, without those that it owes to a slow machine.

    After a second each wait is told (ops/silence.py, ops/credentials.py): tests/test_silence.py and
    others that make one wait hold them to that, all others must not count on how fast the machine is.
    """
    return [line for line in stderr.splitlines() if not re.match(r"waiting for |the server is at work for ", line)]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A copy of the suite in a folder of its own; a server that was started there is wiped after."""
    root = copy_suite(tmp_path / "clone")
    yield root
    server.remove_data(root)
    scratch_server.remove_all(root)


@pytest.fixture
def inv(clone: Path) -> Cli:
    """`inv` in a clone without an embedded server."""
    return Cli(clone)
