"""What invoke, our modules and each TAB cost before any task begins."""

from __future__ import annotations

import inspect
import shutil
from importlib.metadata import version
from pathlib import Path

from bench.measure import Command, Comparison
from bench.place import INV, Bench

TRIVIAL = '''
from invoke.tasks import task

@task
def hello(c):
    """Say hello."""
'''
EMPTY = "as many empty tasks and the same invoke.yaml"
NOTE = (
    "The third is a tasks.py without one line of ours: as many empty tasks with the same options, and the same "
    "invoke.yaml. What it takes beyond the trivial one is invoke's own: it makes the options of each task, copies "
    "them deeply, and reads YAML. Ours makes up for that: it does not search what it has imported for garbage."
)


def folders(at: Bench) -> tuple[Path, Path]:
    """Return folders with a trivial tasks.py, and with one that has our tasks without their content."""
    trivial, empty = at.folder / "trivial", at.folder / "empty"
    if not trivial.exists():
        for folder, text in ((trivial, TRIVIAL), (empty, hollow())):
            folder.mkdir()
            (folder / "tasks.py").write_text(text, encoding="utf-8")
        shutil.copy(at.folder / "invoke.yaml", empty)
    return trivial, empty


def hollow() -> str:
    """Return a tasks.py that lists as ours does."""
    import tasks

    lines = ["from invoke.collection import Collection", "from invoke.tasks import task", "", "ns = Collection()"]
    spaces: dict[str, str] = {"": "ns"}
    for number, name in enumerate(sorted(tasks.ns.task_names)):
        task = tasks.ns[name]
        space, _, own = name.rpartition(".")
        parameters = [f"{p}={bare(v.default)!r}" for p, v in list(inspect.signature(task.body).parameters.items())[1:]]
        lines += [
            f"@task(help={dict(task.help)!r}, iterable={list(task.iterable)!r})",
            f"def t{number}({', '.join(['c', *parameters])}):",
            f"    {(task.__doc__ or '')!r}",
        ]
        if space not in spaces:
            spaces[space] = f"ns{len(spaces)}"
            lines.append(f"{spaces[space]} = Collection({space!r})")
        lines.append(f"{spaces[space]}.add_task(t{number}, name={own!r})")
    lines += [f"ns.add_collection({variable})" for space, variable in spaces.items() if space]
    return "\n".join(lines) + "\n"


def bare(default: object) -> object:
    """Return a parameter's default as invoke sees it."""
    return "" if default is inspect.Parameter.empty else default


def beside(at: Bench, what: str, *args: str) -> Comparison:
    trivial, empty = folders(at)
    return Comparison(
        what,
        at.inv(*args),
        {
            "trivial tasks.py": Command([INV, *args], trivial),
            EMPTY: Command([INV, *args], empty),
        },
        {"trivial tasks.py": 1.10},
        note=NOTE,
        versions={"invoke": version("invoke")},
    )


def listing(at: Bench) -> Comparison:
    """`inv --list` beside that of a tasks.py with one empty task."""
    return beside(at, "inv --list", "--list")


def alone(at: Bench) -> Comparison:
    """`inv` without a task, which looks where the clone stands, beside that of a tasks.py with one empty task."""
    return beside(at, "inv")


def completion(at: Bench) -> Comparison:
    """One press of TAB beside that at a tasks.py with one empty task."""
    return beside(at, "one TAB behind `inv db.`", "--complete", "--", "inv db.")
