"""Python modules with `migrate_sql` and `rollback_sql`: read as a tree, never imported or run.

The text is found as long as it is written down: a string, strings put together, names given to them, f-strings of them. What
is known only when the module runs is named at its line.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ops.db.migrations.importing.originals import Way, decoded
from ops.db.sql_file.script import display
from ops.errors import Misconfigured

UP, DOWN = "migrate_sql", "rollback_sql"
_RUNS = {UP: "migrate", DOWN: "rollback"}
_HARMLESS = {
    "print",
    "commit",
    "rollback",
    "close",
    "connection",
    "connect",
    "cursor",
    "transaction",
    "info",
    "debug",
    "super",
}
_PARAMETER = re.compile(r"(?<!%)(?:%%)*(%(?:\(\w+\))?[sbt])")
DEPTH = 20
"""How many names may lead to one another before they are taken for a circle."""

Holder: TypeAlias = ast.Module | ast.ClassDef
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Text:
    """A string and the line that it begins on."""

    value: str
    line: int


class Unknown(Exception):
    """Something whose value the text of the module does not tell."""

    def __init__(self, node: ast.AST, why: str) -> None:
        super().__init__(why)
        self.line = getattr(node, "lineno", 1)


def read(path: Path) -> tuple[Way, Way | None] | None:
    """Return what a module does and undoes; None if it is no migration. Raises `Misconfigured` with the line."""
    shown = display(path)
    try:
        tree = ast.parse(decoded(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise Misconfigured(f"{shown}:{line}: Python cannot read this module: mend it") from None
    try:
        holder = holder_of(tree)
        if holder is None:
            return None
        up = way(path, tree, holder, UP)
        down = way(path, tree, holder, DOWN)
        assert up is not None
        return up, down
    except Unknown as error:
        raise Misconfigured(f"{shown}:{error.line}: {error}") from None


def holder_of(tree: ast.Module) -> Holder | None:
    """Return the class that has `migrate_sql`, or the module itself."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and UP in members(node)]
    if UP in members(tree):
        return tree
    if len(classes) < 2:
        return classes[0] if classes else None
    chosen = members(tree).get("migration")
    named = chosen.func if isinstance(chosen, ast.Call) else chosen
    for each in classes:
        if isinstance(named, ast.Name) and named.id == each.name:
            return each
    raise Unknown(
        classes[1], "a second class with migrate_sql: say which one it is by migration = CLASS, or split the module"
    )


def members(holder: Holder) -> dict[str, ast.expr | Function]:
    """Return what a class or a module gives a name to."""
    found: dict[str, ast.expr | Function] = {}
    for node in holder.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def way(path: Path, tree: ast.Module, holder: Holder, name: str) -> Way | None:
    """Return one way of a module's migration; None where it has none."""
    own = members(holder)
    if name not in own:
        return None
    text = value(own[name], Scope(tree, holder, {}))
    runs = own.get(_RUNS[name])
    if isinstance(runs, ast.FunctionDef | ast.AsyncFunctionDef):
        check_run(runs, name)
        text = Text(without_parameters(text, name), text.line)
    return Way(text.value, path, text.line)


def check_run(function: Function, name: str) -> None:
    """Raise `Unknown` where what runs the SQL does more than that."""
    meant = {name}  # and what it is called in the function
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and mentions(node.value, meant):
            meant |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in calls(function.body):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == name:
            continue
        if any(mentions(argument, meant) for argument in node.args):
            for given in [*node.args[1:], *(keyword.value for keyword in node.keywords if keyword.arg != "verbose")]:
                if isinstance(given, ast.Dict | ast.List | ast.Tuple) and ast.unparse(given) not in ("{}", "[]", "()"):
                    raise Unknown(given, f"{function.name} gives parameters to the SQL: write their values into {name}")
        elif called not in _HARMLESS:
            raise Unknown(
                node, f"{function.name} does more than run {name}: write what this does as SQL there, and remove it"
            )


def calls(body: Sequence[ast.stmt]) -> Iterator[ast.Call]:
    """Yield the calls of a function's body, save those within the arguments of another."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Call):
            yield node
        else:
            pending.extend(ast.iter_child_nodes(node))


def mentions(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression names one of these."""
    return any(bool(names & {getattr(each, "attr", ""), getattr(each, "id", "")}) for each in ast.walk(node))


def without_parameters(text: Text, name: str) -> str:
    """Return SQL as psycopg sends it when it is run with parameters, if none are given: %% is a percent sign."""
    if found := _PARAMETER.search(text.value):
        line = text.line + text.value.count("\n", 0, found.start(1))
        raise unknown_at(
            line, f"{found[1]} in {name} is a parameter, which gets its value when it runs: write that here"
        )
    return text.value.replace("%%", "%")


def unknown_at(line: int, why: str) -> Unknown:
    """Make an `Unknown` for a line."""
    found = Unknown(ast.Pass(), why)
    found.line = line
    return found


@dataclass(frozen=True)
class Scope:
    """Where a name is looked up: in the function, the class, the module."""

    tree: ast.Module
    holder: Holder
    local: Mapping[str, Text | Unknown]
    depth: int = 0

    def look_up(self, node: ast.expr, name: str, *, of_class: bool = False) -> Text:
        """Return what a name stands for; raises `Unknown`."""
        if self.depth > DEPTH:
            raise Unknown(node, f"{name} leads to itself: write its SQL out as one string")
        found: Text | Unknown | ast.expr | Function | None = None if of_class else self.local.get(name)
        found = found or members(self.holder).get(name) or members(self.tree).get(name)
        if isinstance(found, Text):
            return found
        if isinstance(found, Unknown):
            raise found
        if found is None:
            raise Unknown(node, f"what {name} is, is known only when it runs: write its SQL out as one string")
        return value(found, Scope(self.tree, self.holder, {}, self.depth + 1))


def value(node: ast.expr | Function, scope: Scope) -> Text:
    """Return the string that an expression or a function without arguments gives; raises `Unknown`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return returned(node, scope)
    line = node.lineno
    match node:
        case ast.Constant(value=str(text)):
            return Text(text, line)
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return Text(str(node.value), line)
        case ast.Name():
            return scope.look_up(node, node.id)
        case ast.Attribute(value=ast.Name(id=owner)) if owner in ("self", "cls", getattr(scope.holder, "name", "")):
            return scope.look_up(node, node.attr, of_class=True)
        case ast.BinOp(op=ast.Add()):
            return Text(value(node.left, scope).value + value(node.right, scope).value, line)
        case ast.JoinedStr():
            return Text("".join(piece(each, scope) for each in node.values), line)
        case ast.List() | ast.Tuple():
            statements = [value(each, scope).value.strip().removesuffix(";") for each in node.elts]
            return Text("".join(f"{statement};\n" for statement in statements), line)
        case ast.Call():
            return called(node, scope)
    raise Unknown(node, f"{short(node)} is known only when it runs: write its SQL out as one string")


def piece(node: ast.expr, scope: Scope) -> str:
    """Return what one part of an f-string becomes."""
    if isinstance(node, ast.FormattedValue):
        if node.conversion != -1 or node.format_spec:
            raise Unknown(node, f"{short(node.value)} is written into the SQL when it runs: write that out")
        return value(node.value, scope).value
    return value(node, scope).value


def called(node: ast.Call, scope: Scope) -> Text:
    """Return what a call gives, where it only trims or joins strings, or calls another function of the module."""
    if isinstance(node.func, ast.Attribute):
        name, owner = node.func.attr, node.func.value
    else:
        name, owner = getattr(node.func, "id", ""), None
    if name in ("dedent", "cleandoc", "text", "SQL") and len(node.args) == 1:
        inner = value(node.args[0], scope)
        change = {"dedent": textwrap.dedent, "cleandoc": inspect.cleandoc}.get(name, str)
        return moved(inner, change(inner.value))
    if owner is not None and name in ("strip", "lstrip", "rstrip") and not node.args:
        inner = value(owner, scope)
        return moved(inner, getattr(inner.value, name)())
    if owner is not None and name == "join" and len(node.args) == 1 and isinstance(node.args[0], ast.List | ast.Tuple):
        return Text(value(owner, scope).value.join(value(each, scope).value for each in node.args[0].elts), node.lineno)
    if not node.args and not node.keywords and isinstance(node.func, ast.Name | ast.Attribute):
        reference = (
            value(node.func, scope)
            if isinstance(members(scope.holder).get(name) or members(scope.tree).get(name), ast.FunctionDef)
            else None
        )
        if reference:
            return reference
    raise Unknown(node, f"{short(node)} is known only when it runs: write its SQL out as one string")


def moved(text: Text, changed: str) -> Text:
    """Return a changed string, whose line is that of its first words."""
    before = text.value[: len(text.value) - len(text.value.lstrip())].count("\n")
    after = changed[: len(changed) - len(changed.lstrip())].count("\n")
    return Text(changed, text.line + before - after)


def returned(function: Function, scope: Scope) -> Text:
    """Return the string that a function returns, as long as it does nothing but put that together."""
    if scope.depth > DEPTH:
        raise Unknown(function, f"{function.name} calls itself: write its SQL out as one string")
    local: dict[str, Text | Unknown] = {}
    for node in function.body:
        inner = Scope(scope.tree, scope.holder, local, scope.depth + 1)
        match node:
            case ast.Return(value=ast.expr() as what):
                return value(what, inner)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                assert node.value is not None
                local[name] = tried(node.value, inner)
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add()):
                before, more = local.get(name), value(node.value, inner)
                if not isinstance(before, Text):
                    raise Unknown(node, f"what {name} is, is known only when it runs: write its SQL out as one string")
                local[name] = Text(before.value + more.value, before.line)
            case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
                pass
            case _:
                raise Unknown(node, f"{function.name} decides here what its SQL is: write it out as one string")
    raise Unknown(function, f"{function.name} returns no SQL: write it as one string")


def tried(node: ast.expr, scope: Scope) -> Text | Unknown:
    """Return a value, or why it is not known: that matters where it is used."""
    try:
        return value(node, scope)
    except Unknown as error:
        return error


def short(node: ast.AST) -> str:
    """Return an expression as it is written, cut."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
