"""Small wrong changes, kept as patches, each with the tests that must fail by it: a test that no fault makes fail proves nothing.

Each is applied to a copy of its own of what the tests run, so that nothing of the checkout changes, and several run at once.
Each run of pytest is a fork of what has imported the libraries, and imports what is ours from its copy (tests/forked.py).
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ops import process
from ops.console import result, say
from ops.errors import Misconfigured, Problem

FOLDER = Path("tests") / "mutants"
PARTS = (
    "tasks.py", "invoke.yaml", "pyproject.toml", "config", "ops", "functions", "backend", "sql", "tests", "bench", "docs", "README.md",
    "requirements.txt", "requirements-dev.txt", "constraints.txt", "docker-compose.yml", ".dockerignore", ".env.example",
)  # fmt: skip
FAILED = "failed:"
QUICK, QUICK_LIMIT = ("--quick", "-x"), 900
"""All quick tests until the first that fails, and the seconds they may take where others run beside them."""
LIMIT = 120
"""Seconds for a test that a wrong change may have made hang; without one each may take what it may take elsewhere (pyproject.toml)."""


@dataclass(frozen=True)
class Mutant:
    """A wrong change to one file."""

    path: Path
    says: str
    """What is wrong with it."""
    tests: tuple[str, ...]
    """Those that must catch it, as pytest takes them."""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def changes(self) -> list[str]:
        """The files that it changes, from the root on."""
        return re.findall(r"^\+\+\+ b/(\S+)$", self.path.read_text(encoding="utf-8"), re.MULTILINE)


def read(path: Path) -> Mutant:
    """Read a patch; before its first file stand `Wrong: …` and a line `Test: …` for each test. Raises `Misconfigured`."""
    head = path.read_text(encoding="utf-8").partition("\n--- ")[0]
    says = re.findall(r"^Wrong: (.+)$", head, re.MULTILINE)
    tests = re.findall(r"^Test: (\S.*)$", head, re.MULTILINE)
    if len(says) != 1 or not tests:
        raise Misconfigured(f"{path}: begin it with a line Wrong: …, and a line Test: … for each test that must fail")
    return Mutant(path, says[0], tuple(tests))


def find(root: Path, only: str = "") -> list[Mutant]:
    """Return the mutants whose name has a text in it, in order; raises `Misconfigured` where there is none."""
    found = [read(path) for path in sorted((root / FOLDER).glob("*.patch")) if only in path.stem]
    if not found:
        raise Misconfigured(f"no {FOLDER}/*.patch" + (f" with {only} in its name" if only else "") + " is here")
    return found


def run(root: Path, only: str = "", *, quick: bool = False) -> None:
    """Run the tests of each mutant; raises `Problem` where one survives, or no longer applies.

    `quick` runs all quick tests on each as well, and tells how many those catch: by night, as it takes a minute or more for each.
    """
    mutants, begun, quickly = find(root, only), time.monotonic(), list[str]()
    workers = (os.cpu_count() or 1) + 1  # most of them wait for a server to be made and to go
    with tempfile.TemporaryDirectory(prefix="inv-mutants-") as folder, ThreadPoolExecutor(workers) as pool:
        whole = copied(root, Path(folder) / "whole")
        files: dict[str, list[str]] = {}
        for test in sorted({test for mutant in mutants for test in mutant.tests}):
            files.setdefault(test.partition("::")[0], []).append(test)
        tested(whole, ["--version"], LIMIT)  # one server for all of them, begun before several ask for it
        unchanged = pool.map(lambda tests: tested(whole, tests, 300), files.values())
        if failed := "; ".join(filter(None, unchanged)):
            raise Problem(
                f"without any wrong change the tests of the mutants do not pass ({failed}): see to that first"
            )

        def judged(mutant: Mutant) -> str:
            where = Path(folder) / mutant.name
            wrong = judge(mutant, copied(whole, where))
            if quick and not wrong and tested(where, QUICK, LIMIT, whole=QUICK_LIMIT).startswith(FAILED):
                quickly.append(mutant.name)
            shutil.rmtree(where, ignore_errors=True)
            say(f"{mutant.name}: {wrong or 'caught'}")
            return wrong

        wrongs = list(pool.map(judged, mutants))
    caught = wrongs.count("")
    besides = f", {len(quickly)} of them by the quick tests as well" if quick else ""
    result(f"mutants: {caught} of {len(mutants)} caught{besides}, in {time.monotonic() - begun:.0f} s")
    if caught < len(mutants):
        lines = [
            f"  {mutant.path}: {wrong}: {mutant.says}" for mutant, wrong in zip(mutants, wrongs, strict=True) if wrong
        ]
        raise Problem(f"mutants that were not caught: {len(mutants) - caught}", *lines)


def copied(root: Path, to: Path) -> Path:
    """Copy what tests need of a checkout; with what Python has compiled of it, whose times are taken over."""
    to.mkdir()
    parts = [str(root / part) for part in PARTS if (root / part).exists()]
    done = process.run(
        ["cp", "-a", *parts, str(to)], {}, timeout=60
    )  # a tenth of what shutil takes for thousands of files
    if done.returncode:
        raise Problem(f"{root} cannot be copied: {' '.join(done.stderr.split())}")
    return to


def apply(mutant: Mutant, where: Path) -> str:
    """Apply a mutant to a copy; return why it does not apply, or nothing."""
    # in a repository around it, git would take the paths for those of that one
    environ = {"GIT_CEILING_DIRECTORIES": str(where.parent)}
    done = process.run(["git", "-C", str(where), "apply", "--whitespace=nowarn", str(mutant.path)], environ, timeout=60)
    if done.returncode:
        return f"no longer applies ({' '.join(done.stderr.split())}): make it anew, or remove it"
    for name in mutant.changes:  # a change of the same length within the second would go unseen
        for old in (where / name).parent.glob(f"__pycache__/{Path(name).stem}.*.pyc"):
            old.unlink()
    return ""


def judge(mutant: Mutant, where: Path) -> str:
    """Return what is wrong with a mutant in its copy; nothing where each of its tests fails by it."""
    if not mutant.changes:
        return "changes nothing"
    if why := apply(mutant, where):
        return why
    for test in mutant.tests:
        match tested(where, [test], LIMIT):
            case "":
                return f"survived {test}"
            case text if text.startswith(FAILED):
                continue
            case other:
                return f"{other}: {test}"
    return ""


def tested(where: Path, tests: Sequence[str], limit: int, *, whole: int = 0) -> str:
    """Run tests in a copy, each for at most so many seconds, and `whole` in all; return how they failed, or nothing.

    By pytest's exit codes (https://docs.pytest.org/en/stable/reference/exit-codes.html): 1 is a test that failed, 4 and 5 one that is not there.
    """
    forked = importlib.import_module("tests.forked")  # tests/ are not everywhere where this is
    # what is imported already is not made to say more of its assertions, which nobody reads here
    argv = ["-q", "-n", "0", "--timeout", str(limit), "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests]
    whole = whole or limit * (len(tests) + 1)  # for what hangs where pytest's own limit does not reach
    try:
        done = forked.run(argv, cwd=where, env=process.child_environ({}), timeout=whole, program=forked.PYTEST)
    except subprocess.TimeoutExpired:
        return f"{FAILED} no end within {whole} s"  # it hangs, which is as good
    match done.returncode:
        case 0:
            # one that is skipped here would catch nothing
            return "" if re.search(r"\d+ passed", done.stdout) else "the test was skipped"
        case 1:
            return " ".join([FAILED, *re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)])
        case 4 | 5 if "ERROR collecting" not in done.stdout:
            return "there is no such test"
        case code:
            return f"pytest ended with {code} ({' '.join(done.stdout.split())[-200:]})"
