"""Every task answers --help and -h, whatever stands beside, and runs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import tasks
from tests.fix_cli import Cli, copy_suite, without_coverage

Told = Mapping[tuple[str, ...], tuple[int, str]]

# `inv` itself, in a fork for each line: what all have in common is imported once
INV = """
import gc, importlib, json, os, pathlib, sys, tempfile
from invoke.main import program
sys.path.insert(0, os.getcwd())
for path in sorted(pathlib.Path("ops").glob("**/commands.py")):
    importlib.import_module(".".join(path.with_suffix("").parts))
gc.freeze()
told = []
for argv in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as file:
        if not (child := os.fork()):
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
            code = 1
            try:
                program.run(["inv", *argv])
            except SystemExit as end:
                code = end.code or 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        file.seek(0)
        told.append((argv, code, file.read()))
print(json.dumps(told))
"""


def beside(name: str, word: str) -> dict[str, tuple[str, ...]]:
    """Return command lines that ask for a task's help, with what it takes before and behind the word."""
    given: list[str] = []
    hungry: list[str] = []
    for argument in tasks.ns[name].get_arguments():
        flag = f"--{argument.name.replace('_', '-')}"
        given += [flag, "x"] if argument.takes_value else [flag]
        hungry = [flag] if argument.takes_value else hungry
    if word == "-h":  # it is read where --help is
        return {"alone": (name, word), "behind all": ("doctor", name, *given, word)}
    return {
        "alone": (name, word),
        "behind all": ("doctor", name, *given, word),
        "before all": (name, word, *given),
        "for a value, before what nobody knows": (name, *hungry, word, "--no-such-option", "no-such-task"),
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    root = copy_suite(tmp_path_factory.mktemp("help") / "clone")
    (root / "invoke.yaml").unlink()  # to read it is half of what an answer takes, and no help depends on a setting
    lines = [line for name in tasks.ns.task_names for word in ("--help", "-h") for line in beside(name, word).values()]
    lines += [("--help", name) for name in tasks.ns.task_names]
    done = subprocess.run(
        [sys.executable, "-c", INV],
        input=json.dumps(lines),
        cwd=root,
        env=without_coverage(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not (root / ".local").exists()
    return {tuple(argv): (code, text) for argv, code, text in json.loads(done.stdout)}


@pytest.mark.xdist_group("help")
@pytest.mark.parametrize("word", ["--help", "-h"])
@pytest.mark.parametrize("name", tasks.ns.task_names)
def test_every_task_answers_with_its_help(told: Told, name: str, word: str) -> None:
    code, text = told["--help", name]
    assert (code, text.partition(" [")[0]) == (0, "Usage: inv[oke]")
    assert f"] {name} [" in text
    assert {case: told[line] for case, line in beside(name, word).items() if told[line] != (0, text)} == {}


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("db.query --help", 0, "Print the rows of a query"),
        ("env.set -h", 0, "Save a variable"),
        ("db.query --no-such-option -h", 0, "Print the rows of a query"),
        ("--help db.query --limit", 0, "Print the rows of a query"),
        ("db.setup --help db.drop", 0, "Build the database beside"),
        ("db.setup --confirm db.drop -h", 0, "Build the database beside"),
        ("-h", 0, "Core options:"),
        ("db.nothing --help", 1, "No idea what 'db.nothing' is!"),
        ("--help db.nothing db.query", 1, "No idea what 'db.nothing' is!"),
        ("db.query --name=-h", 2, "there is no query -h in"),  # a value that is spelled like it
        ("db.query --name=--help", 2, "there is no query --help in"),
        ("db.query nothing -- --help", 2, "there is no query nothing in"),
    ],
)
def test_what_is_help_and_what_a_value(inv: Cli, line: str, code: int, told: str) -> None:
    done = inv(*line.split())
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
    assert not (inv.root / ".local").exists()


def test_no_task_has_an_option_h() -> None:
    """Its users would get the help instead."""
    assert [name for name in tasks.ns.task_names for a in tasks.ns[name].get_arguments() if "h" in a.names] == []


def test_the_words_of_the_completion_are_left_alone(clone: Path) -> None:
    done = Cli(clone)("--complete", "--", "inv db.query --")
    assert {"--name", "--limit"} <= set(done.stdout.split())
