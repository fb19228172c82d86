"""Write docs/tasks.md, docs/variables.md, docs/json.md, docs/reliability.md and the table in README.md from the tasks, variables, types and tests.

`inv lint` says where one is stale, `inv lint --fix` writes them anew.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tasks
from config.declared import BUILT_IN, Declared, Kind, names_of
from config.variables import Variable, variables
from ops import errors
from ops.console import result
from ops.workspace import day
from tests import contract
from tests.faults import page

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- day -->\n", "<!-- end of day -->"
MADE = "<!-- Made by docs/generate.py (inv lint --fix): change the tasks and variables, not this page. -->"
MEANING = {
    0: "done",
    1: "the operation failed (also invoke's own complaint about an unknown option)",
    2: "configuration or input is wrong, or a dangerous act was not confirmed",
    3: "still in progress: run it again to go on waiting",
    4: "looked, and found a difference; nothing failed",
    130: "cancelled",
}
TASKS = """# All tasks

{made}

`inv TASK --help` tells the same of one task, `inv --list` lists them. An option that takes a value is written `--option VALUE` or `--option=VALUE`;
which target, file or setting is meant by default stands behind each. Results go to stdout and talk to stderr; with `--json` nothing but JSON is on stdout.

| exit code | meaning |
| --- | --- |
{codes}

`db.connect` and `app.run` become another program, and end with its code. With `--json`, whose keys are in [json.md](json.md): {json}.
"""
VARIABLES = """# All variables

{made}

A variable comes from the environment, else from `.env`; [docs/targets.md](targets.md) tells in which order what holds, and how a URL is written.
`inv env.show` shows each with its value, masked, and where it came from. `inv env.set` saves one.

{table}

A target of your own has these, with its name in front. For `targets: {{staging: {{}}}}` in `invoke.yaml`:

{own}
"""


def pages() -> dict[Path, str]:
    """Return each page that is made here, by path, with the text that it should have."""
    readme = ROOT / "README.md"
    return {
        ROOT / "docs" / "tasks.md": reference(),
        ROOT / "docs" / "variables.md": table_of_variables(),
        ROOT / "docs" / "json.md": contract.page(),
        ROOT / "docs" / "reliability.md": page.text(),
        readme: with_day(readme.read_text(encoding="utf-8")),
    }


def stale() -> dict[Path, str]:
    """Return the pages that are not as they should be, with the text that they should have."""
    return {
        path: text for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def main(*, write: bool) -> int:
    """Write what is stale, or name it; return the exit code."""
    found = stale()
    for path, text in found.items():
        if write:
            path.write_text(text, encoding="utf-8")
        result(f"{path.relative_to(ROOT)} {'is written anew' if write else 'is stale'}")
    return int(bool(found) and not write)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---"] * len(list(head)), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def with_day(text: str) -> str:
    """Return the README with the tasks of a day as `inv` alone prints them."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    last = ""
    rows = []
    for stage, command, what in day.rows(line):
        rows.append(("" if stage == last else stage, f"`{command}`", what.rstrip(".")))
        last = stage
    return f"{head}{BEGIN}{table(('', 'task', 'what it does'), rows)}\n{END}{tail}"


def line(name: str) -> str | None:
    """Return the first line of a task's docstring, None where there is no such task."""
    return (tasks.ns[name].__doc__ or "").partition("\n")[0] if name in tasks.ns.task_names else None


def reference() -> str:
    """Return docs/tasks.md: every task by namespace."""
    names = sorted(tasks.ns.task_names, key=lambda name: ("." in name, name))
    spaces: dict[str, list[str]] = {}
    for name in names:
        spaces.setdefault(name.rpartition(".")[0], []).append(name)
    answering = [f"`{name}`" for name in names if any(each.name == "json" for each in arguments(name))]
    parts = [
        TASKS.format(
            made=MADE,
            codes="\n".join(f"| {code} | {meaning} |" for code, meaning in MEANING.items()),
            json=", ".join(answering),
        )
    ]
    for space, members in spaces.items():
        about = (tasks.ns.collections[space] if space else tasks.ns).__doc__ or ""
        parts.append(f"## {f'{space}.*' if space else 'The workspace'}\n\n{about.strip()}\n")
        parts += [entry(name) for name in members]
    return "\n".join(parts)


@functools.cache
def arguments(name: str) -> list[Any]:
    """Return the options of a task as invoke has them; once, since it takes each text out of its task then."""
    return list(tasks.ns[name].get_arguments())


def entry(name: str) -> str:
    """Return what docs/tasks.md says of one task."""
    usage = " ".join([f"inv {name}", *(each.name.upper() for each in arguments(name) if each.positional)])
    lines = [f"### {name}", "", inspect.cleandoc(tasks.ns[name].__doc__ or ""), ""]
    codes = f"exit codes {', '.join(str(code) for code in sorted(exits(name)))}"
    given = [(flags(each), each.help or "") for each in arguments(name)]
    lines += [f"`{usage}`: {codes}{'' if given else '; no options'}.", ""]
    if given:
        lines += [table(("option", "what it does"), given), ""]
    return "\n".join(lines)


def flags(argument: Any) -> str:
    """Return an option as it is typed."""
    if argument.positional:
        return f"`{argument.name.upper()}`"
    names = sorted(argument.names, key=len, reverse=True)
    value = " VALUE" if argument.takes_value else ""
    return ", ".join(f"`{'--' if len(name) > 1 else '-'}{name.replace('_', '-')}{value}`" for name in names)


def table_of_variables() -> str:
    """Return docs/variables.md."""
    staging = Declared("staging", names_of("staging"), (Kind.RDS, Kind.SERVER))
    builtin = variables(BUILT_IN.values())
    own = variables([staging])[len(builtin) :]

    def shown(found: Iterable[Variable]) -> str:
        return table(("variable", "meaning"), [(f"`{each.name}`", each.meaning) for each in found])

    return VARIABLES.format(made=MADE, table=shown(builtin), own=shown(own))


def exits(name: str) -> set[int]:
    """Return the codes that a task may end with: those of the errors that the code it calls names.

    By reading: from the task's body on, whatever function, class or constant of ours is named is followed. More than can
    happen may be found so, and nothing is left out but what is reached by the method of an object alone.
    """
    body = tasks.ns[name].body
    inside = inspect.unwrap(body)
    found = {0, 1, 2, 130}
    todo, seen = [(inside.__module__, inside.__name__)], set()
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        module, named = at
        if module == errors.__name__:
            found.add(getattr(getattr(errors, named, None), "code", 1))
        else:
            todo += followed(module, named)
    return found


@functools.cache
def source(module: str) -> ast.Module | None:
    """Return the syntax tree of a module of ours, None for any other."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8")) if path.exists() else None


@functools.cache
def defined(module: str) -> dict[str, ast.stmt]:
    """Return what a module defines, by name."""
    found: dict[str, ast.stmt] = {}
    for node in getattr(source(module), "body", []):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def imported(nodes: Iterable[ast.AST]) -> dict[str, tuple[str, str]]:
    """Return what import statements bring in of ours: by its name here, the module and the name there; empty for a module."""
    found: dict[str, tuple[str, str]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = (whole, "") if source(whole) else (node.module, alias.name)
    return found


@functools.cache
def followed(module: str, named: str) -> frozenset[tuple[str, str]]:
    """Return what a definition names: module and name."""
    here = defined(module)
    if named not in here:
        return frozenset()
    node = here[named]
    outside = brought_in(module) | imported(ast.walk(node))
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in outside:
            other, inner = outside[each.value.id]
            if not inner:
                found.add((other, each.attr))
        elif isinstance(each, ast.Name) and each.id in outside and outside[each.id][1]:
            found.add(outside[each.id])
        elif isinstance(each, ast.Name) and each.id in here and each.id != named:
            found.add((module, each.id))
    return frozenset(found)


@functools.cache
def brought_in(module: str) -> dict[str, tuple[str, str]]:
    """Return what the import statements of a module bring in of ours."""
    return imported(getattr(source(module), "body", []))


if __name__ == "__main__":
    raise SystemExit(main(write="--write" in sys.argv))
