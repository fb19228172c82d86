"""The way into the suite from the tasks.py of a repository that has adopted it.

`inv adopt` puts this file into the suite's folder there, and three lines that call it behind the repository's own tasks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from invoke.collection import Collection
from invoke.exceptions import Exit

FOLDER = Path(__file__).resolve().parent
DEVELOPMENT = ("adopt", "bench", "lint", "test")
"""Tasks for the suite's own clone."""
ASIDE = "suite"
"""The namespace of what cannot have its own name, since that is taken."""


def joined(module: ModuleType) -> Collection:
    """Return a repository's own tasks with the suite's beside them; what is theirs keeps its name.

    Ends `inv` with one line where another module has the name of a package of the suite's: a process holds one of a name.
    """
    packages = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    for name in sorted(packages | {path.stem for path in FOLDER.glob("*.py")}):
        there = sys.modules.get(name)
        places = [*getattr(there, "__path__", ()), getattr(there, "__file__", None) or ""]
        if there and not any(Path(place).is_relative_to(FOLDER) for place in places if place):
            raise Exit(
                f"{module.__file__} imports a module {name} ({next(filter(None, places), 'built in')}), "
                f"and the suite in {FOLDER.name}/ has one of that name: rename yours",
                code=2,
            )
    from wiring import DEFAULTS  # type: ignore[import-not-found] # the suite's tasks.py, under the name that it has there
    from wiring import ns as ours

    theirs = Collection.from_module(module)
    theirs.configure(DEFAULTS)
    aside = Collection(ASIDE)
    for name, task in ours.tasks.items():
        if name not in DEVELOPMENT:
            free = name not in theirs.tasks and name not in theirs.collections
            (theirs if free else aside).add_task(task, name)
    for name, collection in ours.collections.items():
        if name not in theirs.tasks and name not in theirs.collections:
            theirs.add_collection(collection, name)
        elif left := beside(theirs.collections.get(name), collection):
            aside.add_collection(left, name)
    if aside and ASIDE not in theirs.tasks and ASIDE not in theirs.collections:
        aside.__doc__ = "The suite's tasks whose names are taken."
        theirs.add_collection(aside)
    return theirs


def beside(theirs: Collection | None, ours: Collection) -> Collection | None:
    """Add to a namespace of theirs the tasks of ours that it has not; return the others, in a namespace of their own."""
    left = Collection(ours.name)
    left.__doc__ = ours.__doc__
    for name, task in ours.tasks.items():
        free = theirs is not None and name not in theirs.tasks and name not in theirs.collections
        (theirs if theirs is not None and free else left).add_task(task, name)
    return left if left.tasks else None
