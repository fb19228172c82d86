"""What a run does to each part: told in one line each, and on a dry run told only; lambda.status collects them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from ops import console

R = TypeVar("R")


Tell = Callable[[str], None]
Name = Literal[
    "function",
    "configuration",
    "code",
    "version",
    "alias",
    "layer",
    "role",
    "role_policy_for_logs",
    "role_policy_for_vpc",
    "role_policy_for_database",
    "security_group",
    "rule",
    "logs",
    "database_login",
    "database_rights",
    "trigger",
    "permission",
]
Done = Literal["created", "updated", "removed", "unchanged"]


@dataclass(frozen=True)
class Part:
    """One part of the function, and what became of it."""

    part: Name
    """Which it is."""
    change: Done
    """What was done to it."""
    detail: str
    """Which one it is, or what of it differs."""


@dataclass(frozen=True)
class Changes:
    """What became of each part, in the order of the work; a part may come twice."""

    written: bool
    """False on a dry run: then it is what would become of them."""
    parts: list[Part]
    """None is left out that was looked at."""


@dataclass
class Plan:
    """Carries out writes and tells them; without `write` it only tells what it would do."""

    write: bool = True
    changed: list[str] = field(default_factory=list)
    """The parts that were, or would be, created or updated."""
    tell: Tell = console.result
    """Takes a line for each part."""
    parts: list[Part] = field(default_factory=list)
    """All of them, for JSON."""
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

    @property
    def changes(self) -> Changes:
        return Changes(self.write, self.parts)

    def _do(self, done: Done, part: str, what: str, act: Callable[[], R], instead: R) -> R:
        self.changed.append(part)
        if not self.write:
            self._tell(done, part, what)
            self.lines.append(f"{part} would be {done}: {what}")
            return instead
        made = act()
        self._tell(done, part, what)
        self.lines.append(f"{part} {done}: {what}")
        return made

    def _tell(self, done: Done, part: str, what: str) -> None:
        self.parts.append(Part(slug(part), done, console.redact(what)))
        word = done if self.write or done == "unchanged" else f"would be {done}"
        self.tell(console.redact(f"{word:<{9 if self.write else 16}} {part}{': ' if what else ''}{what}"))


def slug(part: str) -> Name:
    """Return a part's name for JSON: role's policy for the VPC is role_policy_for_vpc."""
    return cast(Name, part.lower().replace("'s ", " ").replace(" the ", " ").replace(" ", "_"))


def lines(*, json: bool) -> Tell:
    """Return what takes the lines of a plan: they are the result, and with `json` talk."""
    return console.say if json else console.result


def nothing(_: str) -> None:
    """Tell nobody."""
