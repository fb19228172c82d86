"""No message names an option that the task which prints it lacks.

Read from the code: which functions, classes and constants a task may come to by name, and which texts stand in them. What is
reached by a method of an object alone is not seen, and what stands behind a condition is; so a text that several tasks share
asks `console.option`, or names the task with the option: both are seen here.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tasks

SUITE = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(SUITE).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("config", "ops")
    for path in (SUITE / folder).rglob("*.py")
}
OPTIONS = {
    name: {each.strip("_").replace("_", "-") for each in [*inspect.signature(tasks.ns[name].body).parameters][1:]}
    for name in tasks.ns.task_names
}
ANY = set().union(*OPTIONS.values())
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*[a-z])")
TASK = re.compile(rf"(?<![\w.-])(?:{'|'.join(sorted(map(re.escape, OPTIONS), key=len, reverse=True))})(?![\w-]|\.\w)")
OTHERS = re.compile(r"(?<![\w.-])(alembic|aws|dbmate|docker|git|pip|systemctl|useradd|uv|vacuumdb) (?:\w:\w|[^:;,()])*")
"""Programs with options of their own."""
CARE_OF_ITSELF = {
    ("ops.db.branches.branches", "make_at_first_use"): "puts the task's name before --force",
}
"""What makes other words of the messages that come through it."""


class Thing(NamedTuple):
    """A function, class or constant of a module."""

    names: set[tuple[str, str]]
    """What it names: others, by module and name."""
    texts: list[str]
    """Those in it that name options."""


@functools.cache
def constants(module: str) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in parsed(module).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Return what the names of a module stand for: others by module and name, modules with an empty name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                found[each.asname or each.name] = (whole, "") if whole in MODULES else (node.module, each.name)
    return found


def defined(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (
                (each.id, node) for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
            )


def read(module: str) -> dict[tuple[str, str], Thing]:
    """Return what a module defines."""
    tree = parsed(module)
    known, own = imported(tree), {name for name, _ in defined(tree)}

    def meant(node: ast.AST) -> tuple[str, str] | None:
        if isinstance(node, ast.Name):
            return (module, node.id) if node.id in own else known.get(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            where, name = known.get(node.value.id, ("", "x"))
            return (where, node.attr) if not name else None
        return None

    def value(node: ast.AST) -> str:
        """Return a part of a text as it is, or as its constant has it."""
        if isinstance(node, ast.Constant):
            return str(node.value)
        where, name = meant(node.value if isinstance(node, ast.FormattedValue) else node) or ("", "")
        return constants(where).get(name, "{}") if where in MODULES else "{}"

    found = {}
    for name, top in defined(tree):
        local = {each.arg for each in ast.walk(top) if isinstance(each, ast.arg)}
        local |= {each.id for each in ast.walk(top) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        passed = set()  # what is no name of ours, and no text of its own
        for node in ast.walk(top):
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
                passed |= {id(each) for each in ast.walk(node.annotation)}
            elif isinstance(node, ast.FunctionDef) and node.returns:
                passed |= {id(each) for each in ast.walk(node.returns)}
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                passed.add(id(node.value))
            elif isinstance(node, ast.Name) and node.id in local:
                passed.add(id(node))
            elif isinstance(node, ast.Call) and meant(node.func) == ("ops.console", "option"):
                assert isinstance(node.args[0], ast.Constant), ast.unparse(node)
                assert node.args[0].value in ANY, ast.unparse(node)
                passed |= {id(each) for each in ast.walk(node.args[1])}
        names, texts = set(), list[str]()
        for node in ast.walk(top):
            if id(node) in passed:
                continue
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(map(value, node.values)))
                passed |= {id(each) for each in node.values if isinstance(each, ast.Constant)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif (other := meant(node)) and other != (module, name):
                names.add(other)
        found[module, name] = Thing(names, [text for text in texts if OPTION.search(text)])
    return found


@pytest.fixture(scope="module")
def things() -> dict[tuple[str, str], Thing]:
    return {key: thing for module in MODULES for key, thing in read(module).items()}


def reached(things: dict[tuple[str, str], Thing], task: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield each text that a task may come to, and where it stands."""
    body = tasks.ns[task].body
    todo, seen = [(body.__module__, body.__name__)], set[tuple[str, str]]()
    while todo:
        where = todo.pop()
        if where in seen or where not in things or where in CARE_OF_ITSELF:
            continue
        seen.add(where)
        todo += things[where].names
        yield from ((where, text) for text in things[where].texts)


def phrases(text: str) -> Iterator[tuple[str, str]]:
    """Yield a text in parts, each behind the task that it names; nothing: it names none."""
    at, task = 0, ""
    for found in re.finditer(rf"{TASK.pattern}|[:;,()\n]", text):
        yield task, text[at : found.start()]
        at, task = found.end(), found[0] if TASK.fullmatch(found[0]) else ""
    yield task, text[at:]


def wrong(text: str, own: set[str]) -> Iterator[str]:
    """Yield the options in a text that the task which it names, or else the one that prints it, has not.

    One at its very beginning is what was given: who has given it has it.
    """
    for task, part in phrases(OTHERS.sub("", text)):
        for option in OPTION.finditer(part):
            given = not task and text.lstrip().startswith(f"--{option[1]}")
            if option[1] not in (OPTIONS[task] if task else own) and not given and (task or option[1] in ANY):
                yield option[1]


@pytest.mark.parametrize("task", OPTIONS)
def test_a_task_has_the_options_that_its_messages_name(things: dict[tuple[str, str], Thing], task: str) -> None:
    found = {
        f"{'.'.join(where)}: --{option}: {text}"
        for where, text in reached(things, task)
        for option in wrong(text, OPTIONS[task])
    }
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x is there already: add --overwrite", ["overwrite"]),
        ("x is there already: inv db.dump --overwrite writes over it", []),
        ("inv db.dump --overwritten, then inv db.restore --overwrite", ["overwritten", "overwrite"]),
        ("--overwrite: not here", []),
        ("inv db.dump (--overwrite)", ["overwrite"]),
        ("pip install --force x; aws rds x --no-snapshot", []),
        ("add --confirm x", []),
    ],
)
def test_what_is_wrong_is_seen(text: str, expected: list[str]) -> None:
    assert list(wrong(text, {"confirm"})) == expected
