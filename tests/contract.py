"""What `--json` of each task prints, as its types say: the page of documentation, and whether an answer is so.

Run as a program it writes docs/json.md.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import itertools
import re
import types
import typing
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tasks

PAGE = Path(__file__).parent.parent / "docs" / "json.md"
UNITS = {
    "bytes": "bytes",
    "gib": "GiB (2³⁰ bytes)",
    "mb": "MB, as AWS counts them",
    "seconds": "seconds",
    "days": "days",
    "ratio": "ratio",
    "acu": "capacity units of Aurora",
}
"""The last word of a key, and the unit that it says."""
HEAD = """\
# JSON for scripts

Every task that prints a result has `--json`. Standard output then holds that and nothing else, whatever is told goes to standard
error, and the exit code is the same. This page is made from the types in the code (`inv lint --fix` writes it).

- Keys are in snake_case, always there, and null where something is not known or there is none of it.
- A number has its unit in its key: `size_bytes`, `timeout_seconds`. One without a unit is a count, or a number like a port.
- A time (`…_at`) is ISO 8601 with its offset, `2026-11-22T21:00:00+00:00`; a day (`…_on`) is `2029-06-30`.
- Where it says so, a value is one of a fixed set of words; those of AWS and Postgres are theirs. What is "in words" is for people, and changes.
- Passwords are masked or left out; `db.url` and `db.grant-access` with `--show-password` and `sandbox.up` print those that they are asked for.
- A task that fails prints nothing but its line on standard error, unless its answer is the failure: `doctor` and `lambda.sync-users`
  print it and exit with 1, `db.drift`, `db.compare`, `db.rehearse`, `rds.upgrade --dry-run` and `db.diagnose --fail-on` with 4.
- Keys may be added. A key that is taken away or changes its meaning is in the changelog.

```sh
inv db.status --json | python -c "import json, sys; print(json.load(sys.stdin)['size_bytes'])"
```
"""


class Answer(NamedTuple):
    """What a task prints with --json."""

    form: Literal["", "list", "lines"]
    """One of it, an array of them, or one on each line."""
    type: Any
    """A dataclass; of db.query, whose keys are the user's own, an alias."""
    module: types.ModuleType
    name: str


def answers() -> dict[str, Answer]:
    """Return the answer of each task in the collection that has `--json`, by the task's name."""
    found = {}
    for name in sorted(tasks.ns.task_names):
        told = vars(tasks.ns[name].body).get("answer")
        has = "json" in inspect.signature(tasks.ns[name].body).parameters
        assert has == bool(told), f"{name}: --json and the type of its answer go together"
        if told:
            found[name] = read(told)
    return found


def read(told: str) -> Answer:
    """Return what the `answer` of a task names: module.Type, list[module.Type] or lines[module.Type]."""
    match = re.fullmatch(r"(?:(list|lines)\[)?([\w.]+)\.(\w+)\]?", told)
    assert match, told
    module = importlib.import_module(match[2])
    return Answer(typing.cast(Any, match[1] or ""), getattr(module, match[3]), module, match[3])


ANSWERS = answers()


# --- the types ----------------------------------------------------------------------------


class Field(NamedTuple):
    """A key of an object."""

    name: str
    type: Any
    meaning: str


def fields(kind: Any) -> list[Field]:
    """Return the keys of a dataclass, with what stands below each in its source."""
    said = meanings(sys_module(kind), kind.__name__)
    hints = typing.get_type_hints(kind)
    return [Field(field.name, hints[field.name], said.get(field.name, "")) for field in dataclasses.fields(kind)]


def sys_module(kind: Any) -> types.ModuleType:
    return importlib.import_module(kind.__module__)


@functools.cache
def parsed(module: types.ModuleType) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(module)).body


def meanings(module: types.ModuleType, owner: str = "") -> dict[str, str]:
    """Return the strings that stand below names: those of a module, or of a class in it."""
    body: list[ast.stmt] = parsed(module)
    if owner:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    found = {}
    for one, below in itertools.pairwise(body):
        target = (
            one.targets[0] if isinstance(one, ast.Assign) else one.target if isinstance(one, ast.AnnAssign) else None
        )
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[target.id] = " ".join(str(below.value.value).split())
    return found


def parts(hint: Any) -> list[Any]:
    """Return the types that a hint allows."""
    return list(typing.get_args(hint)) if typing.get_origin(hint) in (typing.Union, types.UnionType) else [hint]


def inner(hint: Any) -> Iterator[Any]:
    """Yield the dataclasses in a hint, also in a list."""
    for part in parts(hint):
        if dataclasses.is_dataclass(part):
            yield part
        elif typing.get_origin(part) is list:
            yield from inner(typing.get_args(part)[0])


def every(kind: Any) -> Iterator[Any]:
    """Yield a dataclass and those within it."""
    if dataclasses.is_dataclass(kind):
        yield kind
        for field in fields(kind):
            for part in inner(field.type):
                yield from every(part)


def unit(name: str) -> str:
    """Return the unit that a key says, or nothing."""
    return UNITS.get(name.rpartition("_")[2], "")


# --- the page -----------------------------------------------------------------------------

WORDS = {str: "text", bool: "true or false", int: "whole number", float: "number", type(None): "null", Any: "any JSON"}
WORDS |= {datetime: "time", date: "day"}


def word(hint: Any) -> str:
    """Return a type as the page calls it."""
    told = []
    for part in parts(hint):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if origin is Literal:
            told.append(", ".join(f"`{one}`" for one in arguments))
        elif origin is list:
            told.append(
                "array of " + ("objects" if dataclasses.is_dataclass(arguments[0]) else word(arguments[0]) + "s")
            )
        elif origin is dict or dataclasses.is_dataclass(part):
            told.append("object")
        else:
            told.append(WORDS[part])
    return " or ".join(told)


def page() -> str:
    """Return docs/json.md as it has to be."""
    groups: dict[str, list[str]] = {}
    for name, answer in ANSWERS.items():
        groups.setdefault(f"{answer.form}[{answer.module.__name__}.{answer.name}]", []).append(name)
    text = [HEAD]
    for names in groups.values():
        answer = ANSWERS[names[0]]
        text.append(f"## {', '.join(f'`{name}`' for name in names)}\n")
        form = {"": "", "list": "An array of objects. ", "lines": "An object on each line. "}[answer.form]
        if not dataclasses.is_dataclass(answer.type):
            text.append(f"{form}{meanings(answer.module)[answer.name]}\n")
            continue
        text += [f"{form}{one_line(answer.type.__doc__)}\n", *table(answer.type)]
    return "\n".join(text)


def table(kind: Any, path: str = "") -> list[str]:
    """Return the table of a type's keys, and those of what is in it."""
    rows, below = [], []
    for field in fields(kind):
        cells = (f"`{field.name}`", word(field.type), unit(field.name), field.meaning)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        for one in inner(field.type):
            place = f"{path}{field.name}"
            many = "Each of " if "array" in word(field.type) else ""
            below += [f"{many}`{place}`: {one_line(one.__doc__)}\n", *table(one, f"{place}.")]
    return ["| key | value | unit | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n", *below]


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())


# --- an answer beside its type ------------------------------------------------------------


def faults(value: Any, hint: Any, path: str = "") -> list[str]:
    """Return where a value out of JSON is not what its type says; nothing where it is."""
    options = [fault_of(value, part, path) for part in parts(hint)]
    return [] if [] in options else min(options, key=len)


def fault_of(value: Any, kind: Any, path: str) -> list[str]:
    if kind is Any:
        return []
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    wrong = [f"{path or 'it'} is {value!r}, which is not {kind}"]
    if dataclasses.is_dataclass(kind):
        wanted = fields(kind)
        if not isinstance(value, dict) or list(value) != [field.name for field in wanted]:
            return wrong
        return [told for f in wanted for told in faults(value[f.name], f.type, f"{path}.{f.name}")]
    if origin is list:
        if not isinstance(value, list):
            return wrong
        return [told for number, one in enumerate(value) for told in faults(one, arguments[0], f"{path}[{number}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return wrong
        return [told for key, one in value.items() for told in faults(one, arguments[1], f"{path}.{key}")]
    return [] if is_plainly(value, kind, origin, arguments) else wrong


def is_plainly(value: Any, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a value without parts is of a kind."""
    if origin is Literal:
        return value in arguments
    if kind is datetime:
        return isinstance(value, str) and re.fullmatch(TIME, value) is not None
    if kind is date:
        return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)"
