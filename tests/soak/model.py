"""What a database may hold after several tasks at once: the tasks in any order, those that have failed left out or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Numbers = tuple[int, ...]
"""The content of a database, in order."""
Kind = Literal["setup", "seed", "restore", "pull", "undo", "other"]


@dataclass(frozen=True)
class State:
    """The live database, and the one that db.undo would bring back."""

    live: Numbers
    prev: Numbers | None


@dataclass(frozen=True)
class Change:
    """What a task does to it."""

    kind: Kind
    numbers: Numbers = ()
    """What is loaded: alone, or beside what is there by a seed."""
    done: bool = False
    """Whether the task has said that it did it."""


def after(state: State, change: Change) -> State:
    """Return what one change makes of a state."""
    match change.kind:
        case "setup" | "restore" | "pull":
            return State(change.numbers, state.live)
        case "seed":
            # once for each content, and no more
            return State(tuple(sorted({*state.live, *change.numbers})), state.prev)
        case "undo":
            return state if state.prev is None else State(state.prev, state.live)
        case _:
            return state


def reachable(state: State, changes: Iterable[Change]) -> set[State]:
    """Return each state that some order of the changes leads to; one that is not said to be done may be left out."""
    every = [change for change in changes if change.kind != "other"]
    found = set()
    for size in range(len(every) + 1):
        for order in itertools.permutations(range(len(every)), size):
            if all(number in order for number, change in enumerate(every) if change.done):
                now = state
                for number in order:
                    now = after(now, every[number])
                found.add(now)
    return found
