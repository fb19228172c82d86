"""Every task is explained where users look: --list, --help, the README, the reference in docs/ and .env.example."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tasks
from config.defaults import DEFAULTS
from config.variables import VARIABLES
from ops import errors
from tests.fix_cli import copy_suite

SUITE = Path(__file__).parent.parent
README = (SUITE / "README.md").read_text(encoding="utf-8")
REFERENCE = (SUITE / "docs" / "tasks.md").read_text(encoding="utf-8")
TASKS: dict[str, Any] = {name: tasks.ns[name] for name in tasks.ns.task_names}
# Taken now, since invoke takes each text out of its task when a command line is read
HELP: dict[str, dict[str, str]] = {name: dict(task.help) for name, task in TASKS.items()}
LIST_WIDTH = 58
"""What `inv --list` has room for beside the longest name, in a terminal of 80 columns."""


@pytest.mark.parametrize("name", TASKS)
def test_says_what_it_does_in_one_line(name: str) -> None:
    first = (TASKS[name].__doc__ or "").splitlines()[0]
    assert re.fullmatch(r"[A-Z][a-z]+ .*\.", first), "an imperative sentence with a full stop"
    assert not first.split()[0].endswith("s"), "imperative: Show, not Shows"
    assert len(first) <= LIST_WIDTH, "inv --list would wrap it"


@pytest.mark.parametrize("name", TASKS)
def test_explains_each_argument_with_its_default(name: str) -> None:
    task = TASKS[name]
    parameters = list(inspect.signature(task.body).parameters.values())[1:]
    texts = {key.replace("-", "_").strip("_"): text for key, text in HELP[name].items()}
    assert set(texts) == {parameter.name.strip("_") for parameter in parameters}  # --with is with_ in Python
    for parameter in parameters:
        if parameter.default is not inspect.Parameter.empty:
            assert "default: " in texts[parameter.name.strip("_")], parameter.name


@pytest.mark.parametrize("name", TASKS)
def test_the_reference_has_the_task_with_its_options(name: str) -> None:
    [entry] = re.findall(rf"^### {re.escape(name)}\n(.*?)(?=^##|\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert (TASKS[name].__doc__ or "").splitlines()[0] in entry
    for option, text in HELP[name].items():
        [line] = [each for each in entry.splitlines() if each.endswith(f"| {text.replace('|', '&#124;')} |")]
        assert f"`--{option.strip('_').replace('_', '-')}" in line or f"`{option.upper()}`" in line
    assert f"`inv {name}" in entry


@pytest.mark.parametrize("variable", [v.name for v in VARIABLES])
def test_the_documentation_has_the_variable(variable: str) -> None:
    assert f"\n| `{variable}` | " in (SUITE / "docs" / "variables.md").read_text(encoding="utf-8")


def generate(root: Path, *args: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", *args], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_generated_pages_are_fresh() -> None:
    assert generate(SUITE) == (0, ""), "inv lint --fix writes them anew"


def test_a_stale_page_is_named_and_written_anew(tmp_path: Path) -> None:
    root = copy_suite(tmp_path / "clone")
    for part in ("docs", "bench", "tests"):
        shutil.copytree(SUITE / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SUITE / "README.md", root)
    commands = root / "ops" / "env" / "commands.py"
    commands.write_text(commands.read_text("utf-8").replace("Save a variable in", "Keep a variable in"), "utf-8")
    (root / "docs" / "variables.md").unlink()
    assert generate(root) == (1, "docs/tasks.md is stale\ndocs/variables.md is stale\n")
    assert generate(root, "--write")[0] == 0
    assert generate(root) == (0, "")
    assert "Keep a variable in the env file." in (root / "docs" / "tasks.md").read_text("utf-8")
    assert (root / "docs" / "variables.md").read_text("utf-8") == (SUITE / "docs" / "variables.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("rds.create", True),
        ("db.setup", True),  # the embedded server may be recovering
        ("app.up", True),
        ("lambda.deploy", True),
        ("rds.ca", False),
        ("env.set", False),
        ("lint", False),
    ],
)
def test_the_reference_says_which_tasks_may_be_still_in_progress(name: str, waits: bool) -> None:
    [codes] = re.findall(rf"^`inv {re.escape(name)}\b.*?`: exit codes ([\d, ]+)", REFERENCE, re.MULTILINE)
    assert codes == ("0, 1, 2, 3, 130" if waits else "0, 1, 2, 130")


def test_each_code_of_an_error_is_explained_in_readme_and_reference() -> None:
    kinds: list[Any] = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    for code in {0, *(kind.code for kind in kinds)}:
        rows = [set(re.findall(rf"^\| {code} \| .* \|$", page, re.MULTILINE)) for page in (README, REFERENCE)]
        assert len(rows[0]) == 1, code
        assert rows[0] == rows[1]


def test_the_readme_is_short_and_begins_with_the_first_command() -> None:
    lines = README.splitlines()
    assert len(lines) <= 250
    assert lines[2] == "```sh"
    assert lines[3].endswith("inv db.setup")


WITHOUT_A_DATABASE = {"db.migration-new"}
"""Tasks of db.* that are about files alone."""


def test_every_target_task_takes_the_same_flag() -> None:
    for name, task in TASKS.items():
        if name.startswith("db.") and name not in WITHOUT_A_DATABASE:
            assert inspect.signature(task.body).parameters["target"].default == "", name
            assert next(iter(HELP[name])) == "target", name


def test_every_namespace_is_described() -> None:
    for name, collection in tasks.ns.collections.items():
        assert (collection.__doc__ or "").strip(), name


def test_the_example_of_an_env_file_is_the_table_of_variables() -> None:
    head, *rest = (SUITE / ".env.example").read_text(encoding="utf-8").split("\n\n")
    assert all(line.startswith("# ") for line in head.splitlines())
    expected = [text for v in VARIABLES for text in (f"# {v.meaning}", f"#{v.name}={v.example}")]
    assert "\n\n".join(rest).splitlines() == expected


def test_every_setting_is_in_invoke_yaml_with_a_comment() -> None:
    lines = (SUITE / "invoke.yaml").read_text(encoding="utf-8").splitlines()
    keys = [key for name, value in DEFAULTS.items() for key in (value if isinstance(value, dict) else [name])]
    for key in keys:
        assert any(re.fullmatch(rf' *{key}: "[^"]*"', line) for line in lines), key


@pytest.mark.parametrize(
    ("kind", "code"),
    [("Problem", 1), ("Misconfigured", 2), ("Refused", 2), ("InProgress", 3), ("Cancelled", 130), ("NoDatabase", 1)],
)
def test_exit_codes_are_those_that_are_documented(kind: str, code: int) -> None:
    assert getattr(errors, kind)("x").code == code


def test_every_error_is_a_problem() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, errors.Problem) and kind.__doc__ for kind in kinds)
    assert str(errors.Problem("first", "  second")) == "first\n  second"
