"""Which test files look at what differs from the main branch: those that import it, or name it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ops import process
from ops.errors import Misconfigured

MAIN = ("origin/main", "main", "HEAD")
"""What one's work is compared with: where it left the first of these that is there."""


def files(root: Path) -> list[str]:
    """Return the paths below root that differ from where this branch left the main one: committed, not yet, or new.

    Raise Misconfigured where root is no checkout of git's.
    """
    base = next((found[0] for name in MAIN if (found := git(root, "merge-base", name, "HEAD"))), "")
    if not base:
        raise Misconfigured("--changed asks git what differs, and here is no checkout with a commit: inv test runs all")
    differs = git(root, "diff", "--name-only", "--relative", base)
    return sorted({*differs, *git(root, "ls-files", "--others", "--exclude-standard")})


def git(root: Path, *arguments: str) -> list[str]:
    """Return the lines that git answers; none where it refuses, or is not here."""
    argv = ["git", "-c", "core.quotePath=off", "-C", str(root), *arguments]
    try:
        done = process.run(argv, {}, timeout=60)
    except FileNotFoundError:
        return []
    return [] if done.returncode else done.stdout.splitlines()


def tests(root: Path, changed: list[str]) -> list[str]:
    """Return the test files that changed, import a module that did, or name a changed file of another kind.

    They do so themselves or by the tests' own helpers: modules that they import, and fixtures, taken by name. What a
    test reaches only through modules in between, or by running `inv`, is not seen.
    """
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((root / "tests").rglob("*.py"))}
    homes = {name: path for path, tree in trees.items() for name in fixtures(tree)}
    needs = {
        path: {*imported(tree), *(dotted(str(homes[name].relative_to(root))) for name in taken(tree) & homes.keys())}
        for path, tree in trees.items()
    }
    touched = {dotted(name) for name in changed if name.endswith(".py")}
    others = {Path(name).name for name in changed if not name.endswith(".py")}
    found: set[Path] = set()
    while True:
        more = {
            path
            for path, tree in trees.items()
            if touched & {dotted(str(path.relative_to(root))), *needs[path]} or others & words(tree)
        }
        if more == found:
            return sorted(str(path.relative_to(root)) for path in found if path.name.startswith("test_"))
        found = more
        touched |= {dotted(str(path.relative_to(root))) for path in found if not path.name.startswith("test_")}


def dotted(name: str) -> str:
    """Return the name of the module in a file."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a file imports, anywhere in it, and the names from them, which may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def fixtures(tree: ast.Module) -> set[str]:
    """Return the fixtures that a file offers to others: those of a conftest.py and of what it names as plugins."""
    made = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name for node in made if any("fixture" in ast.unparse(each) for each in node.decorator_list)}


def taken(tree: ast.Module) -> set[str]:
    """Return the names of what functions take."""
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def words(tree: ast.Module) -> set[str]:
    """Return the texts in a file, and the last part of those that are paths."""
    nodes = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {text.rpartition("/")[2] for text in nodes if isinstance(text, str)}
