"""The table of faults is whole: every task is in it, and each test that it names is there and about the task."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import tasks
from tests import source
from tests.faults import page, table
from tests.faults.table import READS, WRITES, Ref

SUITE = Path(__file__).parent.parent.parent
REFS = sorted({(name, ref) for name, row in WRITES.items() for ref in (*row.cut, *row.killed)}, key=str)


def test_every_task_has_one_row() -> None:
    assert set(READS) | set(WRITES) == set(tasks.ns.task_names), "what a new task writes, and what cuts and kills it"
    assert not set(READS) & set(WRITES)


@pytest.mark.parametrize("name", WRITES)
def test_each_that_writes_is_cut_and_killed_or_says_why_not(name: str) -> None:
    row = WRITES[name]
    assert row.writes
    assert bool(row.why_not) is not bool(row.cut and row.killed)


@cache
def collected() -> list[str]:
    """Return the tests of the files that the table names, as pytest names them."""
    files = sorted({ref.test.partition("::")[0] for _, ref in REFS})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider", *files],
        cwd=SUITE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_each_test_is_there_with_the_task_among_its_parameters() -> None:
    missing = [ref.test for _, ref in REFS if not any(is_of(each, ref) for each in collected())]
    assert missing == []


def is_of(test: str, ref: Ref) -> bool:
    """Whether a collected test is what the table names: all of it, or the cells of one with parameters."""
    return test.startswith(ref.test) if "[" in ref.test else test.partition("[")[0] == ref.test


@cache
def functions(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Return of each name at the top of a file its text and the names in it."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = {}
    for node in source.tree(path).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else [node]
        )
        within = list(ast.walk(node))
        names = {each.id for each in within if isinstance(each, ast.Name)}
        names |= {each.arg for each in within if isinstance(each, ast.arg)}
        for target in targets:
            name = getattr(target, "id", getattr(target, "name", ""))
            found[name] = ("\n".join(lines[node.lineno - 1 : node.end_lineno]), names)
    return found


@pytest.mark.parametrize(("name", "ref"), REFS, ids=str)
def test_each_test_is_about_the_task(name: str, ref: Ref) -> None:
    """By its parameters, or by what stands in it, or in what of its file it uses."""
    path, _, test = ref.test.partition("::")
    if "[" in test:
        assert ref.words in test
        assert ref.words.removeprefix("db.").partition(" ")[0] in name
        return
    there = functions(SUITE / path)
    seen, todo, texts = set(), [test], []
    while todo:
        if (each := todo.pop()) in there and each not in seen:
            seen.add(each)
            texts.append(there[each][0])
            todo += there[each][1]
    assert ref.words in "\n".join(texts)


def test_the_page_is_fresh() -> None:
    path = SUITE / "docs" / "reliability.md"
    assert path.read_text(encoding="utf-8") == page.text(), "inv lint --fix writes it anew"


def test_the_figures_are_printed(tell: Callable[[str], None]) -> None:
    figures = page.figures()
    tell(str(figures))
    assert figures.tasks == len(tasks.ns.task_names)
    assert figures.writing == len(WRITES) > 50
    assert table.READS
    tell(str(page.cells()))


@pytest.mark.parametrize("kind", table.SURROUNDINGS)
def test_what_may_be_wrong_around_names_tasks_that_there_are(kind: str) -> None:
    found = table.SURROUNDINGS[kind]
    assert set(found.sample) <= set(page.around(kind))
    assert set(found.left_out) <= set(tasks.ns.task_names)
    assert len(page.around(kind)) > 60
