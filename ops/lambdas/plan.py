"""What a run does to each part: told in one line each, and on a dry run told only; lambda.status collects them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ops import console

R = TypeVar("R")


@dataclass
class Plan:
    """Carries out writes and tells them; without `write` it only tells what it would do."""

    write: bool = True
    changed: list[str] = field(default_factory=list)
    """The parts that were, or would be, created or updated."""
    quiet: bool = False
    """Print nothing."""
    lines: list[str] = field(default_factory=list)
    """What was, or would be, done to the parts in `changed`."""

    def create(self, part: str, what: str, act: Callable[[], R], instead: R) -> R:
        """Make a part and return what `act` does; on a dry run, `instead`."""
        return self._do("created", part, what, act, instead)

    def update(self, part: str, what: str, act: Callable[[], R], instead: R) -> R:
        """Change a part, likewise; `what` says what of it differs."""
        return self._do("updated", part, what, act, instead)

    def remove(self, part: str, what: str, act: Callable[[], object]) -> None:
        """Take a part away, likewise."""
        self._do("removed", part, what, act, None)

    def same(self, part: str, what: str = "") -> None:
        """Tell that a part is as it should be."""
        self._tell("unchanged", part, what)

    def _do(self, done: str, part: str, what: str, act: Callable[[], R], instead: R) -> R:
        self.changed.append(part)
        if not self.write:
            self._tell(f"would be {done}", part, what)
            self.lines.append(f"{part} would be {done}: {what}")
            return instead
        made = act()
        self._tell(done, part, what)
        self.lines.append(f"{part} {done}: {what}")
        return made

    def _tell(self, done: str, part: str, what: str) -> None:
        if self.quiet:
            return
        console.result(console.redact(f"{done:<{9 if self.write else 16}} {part}{': ' if what else ''}{what}"))
