"""What a run does to AWS, told in a line each, or on a dry run told only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ops.console import say


@dataclass
class Work:
    """Carries out writes; without `write` it says what it would do."""

    write: bool
    done: list[str] = field(default_factory=list)
    """What was, or would be, done."""

    def do(self, what: str, act: Callable[[], object]) -> None:
        """Do one thing to AWS; `what` is an imperative."""
        self.done.append(what)
        if self.write:
            act()
            say(f"done: {what}")
        else:
            say(f"would {what}")
