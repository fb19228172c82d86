"""Every task is explained where users look: --list, --help, the README and .env.example."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import tasks
from config.defaults import DEFAULTS
from config.variables import VARIABLES
from ops import errors

SUITE = Path(__file__).parent.parent
README = (SUITE / "README.md").read_text(encoding="utf-8")
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
    texts = {key.replace("-", "_"): text for key, text in HELP[name].items()}
    assert set(texts) == {parameter.name for parameter in parameters}
    for parameter in parameters:
        if parameter.default is not inspect.Parameter.empty:
            assert "default: " in texts[parameter.name], parameter.name


@pytest.mark.parametrize("name", TASKS)
def test_the_readme_names_the_task(name: str) -> None:
    assert re.search(rf"\binv {re.escape(name)}\b|`{re.escape(name)}\b", README)


@pytest.mark.parametrize("variable", [v.name for v in VARIABLES])
def test_the_readme_names_the_variable(variable: str) -> None:
    assert re.search(rf"\b{variable}\b", README)


def test_every_target_task_takes_the_same_flag() -> None:
    for name, task in TASKS.items():
        if name.startswith("db."):
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
    assert re.search(rf"\b{code}\b", README)


def test_every_error_is_a_problem() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, errors.Problem) and kind.__doc__ for kind in kinds)
    assert str(errors.Problem("first", "  second")) == "first\n  second"
