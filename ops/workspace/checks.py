"""test, lint and bench: other programs, run from the repository's root."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

from config.settings import Settings
from ops import process
from ops.console import result, say
from ops.errors import Misconfigured, Problem

SOAKS, SOAK_MINUTES = 3, "10"
"""How many times four users work by night, and how long."""
CODE = ("tasks.py", "config", "ops", "functions", "backend", "bench", "docs", "tests")


def test(
    settings: Settings, only: str, *, quick: bool, changed: bool, coverage: bool, nightly: bool, mutants: bool
) -> None:
    """Run pytest, which names each skipped test and why; raise Problem where a test fails."""
    if mutants:
        if quick or changed or coverage or nightly:
            raise Misconfigured("--mutants runs the tests that each wrong change names: leave out the other options")
        wrong_changes(settings, only)
        return
    if coverage and (quick or changed):
        raise Misconfigured("--coverage holds the whole suite to its floor: leave out --quick and --changed")
    if nightly and quick:
        raise Misconfigured("--nightly runs more than the whole suite, --quick less: leave out one of them")
    # a third of the whole is waiting: two processes more than processors have something to do meanwhile
    workers = min(6, (os.cpu_count() or 1) + (0 if quick else 2))
    arguments = ["-m", "pytest", "-n", str(workers), "--dist", "loadgroup"]
    if changed:
        from ops.workspace import changed as looked

        differing = looked.files(settings.root)
        chosen = looked.tests(settings.root, differing)
        say(
            f"files that differ from the main branch: {len(differing)}; test files that import or name them: {len(chosen)}"
        )
        if not chosen:
            return
        arguments += chosen
    if quick:
        arguments += ["--quick", "-q"]
    else:
        arguments += ["--durations=100", "--durations-min=3"]
    if nightly:
        arguments.append("--nightly")
    if only:
        arguments += ["-k", only]
    if coverage:
        arguments += ["--cov", "--cov-report=term:skip-covered"]
    if nightly and not (only or changed):
        by_night(settings, arguments)
        return
    python(settings, arguments, "pytest", "tests failed")


def by_night(settings: Settings, arguments: Sequence[str]) -> None:
    """Run all that takes hours, one after the other, and tell at the end what of it has failed: the tests with what repeats others,
    each wrong change by the quick tests as well, soaks, and whether each comparison of bench/ runs."""
    parts: list[tuple[str, Callable[[], None]]] = [
        ("the tests", partial(python, settings, arguments, "pytest", "tests failed")),
        ("the wrong changes", partial(wrong_changes, settings, "", quick=True)),
        *[
            (f"soak {number} of {SOAKS}", partial(soak, settings, SOAK_MINUTES, "", ""))
            for number in range(1, SOAKS + 1)
        ],
        ("the comparisons, each once", partial(bench, settings, [], "1", tiny=True, write=False, json=False)),
    ]
    failed: list[str] = []
    for what, run in parts:
        say(f"nightly: {what}")
        try:
            run()
        except Problem as error:
            failed += [f"{what}: {line}" for line in str(error).splitlines()]
    if failed:
        raise Problem("the night has found something", *failed)
    result(f"nightly: {len(parts)} of {len(parts)} parts passed")


def wrong_changes(settings: Settings, only: str, *, quick: bool = False) -> None:
    """Make each wrong change of tests/mutants, and run the tests that must fail by it; `quick` also tells how many the quick ones catch."""
    from ops.workspace import mutants

    if not (settings.root / mutants.FOLDER).is_dir():
        raise Misconfigured(f"{mutants.FOLDER}/ is not here: it comes with the suite's own repository")
    mutants.run(settings.root, only, quick=quick)


def lint(settings: Settings, *, fix: bool) -> None:
    """Run ruff and mypy, and see that generated pages are fresh; all are run even if the first has something to say."""
    failed = []
    code = [part for part in CODE if (settings.root / part).exists()]
    checks = [
        ("ruff check", ["-m", "ruff", "check", *(["--fix"] if fix else []), *code]),
        ("ruff format", ["-m", "ruff", "format", *([] if fix else ["--check"]), *code]),
        ("mypy", ["-m", "mypy"]),
    ]
    if (settings.root / "docs" / "generate.py").exists():  # it comes with the suite's own repository
        checks.append(("generated pages", ["-m", "docs.generate", *(["--write"] if fix else [])]))
    for name, arguments in checks:
        try:
            python(settings, arguments, arguments[1], name)
        except Problem as error:
            failed.append(str(error))
    if failed:
        raise Problem(f"lint found something: {', '.join(failed)} (inv lint --fix repairs style and pages)")
    say("lint: nothing to say")


def bench(settings: Settings, only: Sequence[str], runs: str, *, tiny: bool, write: bool, json: bool) -> None:
    """Run the comparisons of bench/."""
    if not (runs.isascii() and runs.isdigit() and 1 <= int(runs) <= 1000):
        raise Misconfigured(f"--runs {runs}: give a number from 1 to 1000")
    if not (settings.root / "bench").is_dir():
        raise Misconfigured("bench/ is not here: the comparisons come with the suite's own repository")
    compare = importlib.import_module("bench.compare")
    compare.main(settings, list(only), int(runs), tiny=tiny, write=write, json=json)


def soak(settings: Settings, minutes: str, seed: str, rounds: str) -> None:
    """Have four users work on a server of its own under random faults; raise Problem where something is lost."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", minutes):
        raise Misconfigured(f"--minutes {minutes}: give a number of minutes, like 2 or 0.5")
    for option, text in (("seed", seed), ("rounds", rounds)):
        if not re.fullmatch(r"[0-9]{0,9}", text):
            raise Misconfigured(f"--{option} {text}: give a whole number")
    if not (settings.root / "tests" / "soak").is_dir():
        raise Misconfigured("tests/ is not here: the soak comes with the suite's own repository")
    run = importlib.import_module("tests.soak.run")
    run.main(float(minutes), int(seed or secrets.randbelow(10**6)), int(rounds or 0))


def python(settings: Settings, arguments: Sequence[str], package: str, failure: str) -> None:
    """Run a module of a development package; it owns the terminal meanwhile."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(name=package)
    sys.stdout.flush()
    env = process.child_environ({})
    if subprocess.run([sys.executable, *arguments], cwd=settings.root, env=env, check=False).returncode != 0:
        raise Problem(failure)
