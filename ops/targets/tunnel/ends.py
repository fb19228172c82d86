"""Where a tunnel leads, by what, and what a program that holds one has to be asked and told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from config.settings import Settings
from config.via import Via
from ops.errors import Problem


@dataclass(frozen=True)
class Ends:
    """The bastion, and the server as that one sees it."""

    via: Via
    host: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def key(self) -> str:
        """What tells one tunnel of this machine from another."""
        return f"{self.via} {self}"


class Start(NamedTuple):
    """How a tunnel's program is started."""

    argv: Sequence[str]
    env: Mapping[str, str]
    """Beside the variables that it gets anyway: secrets are here, and in no argument."""


class Means(Protocol):
    """A program that holds tunnels: ssh, or the plugin of Session Manager."""

    def start(self, settings: Settings, ends: Ends, port: int) -> Start:
        """Return how a tunnel from a loopback port is started; raises `Problem` where that cannot be."""

    def is_up(self, said: str, port: int) -> bool:
        """Whether it has said that the tunnel is up."""

    def is_taken(self, said: str, port: int) -> bool:
        """Whether another program took the loopback port between our choice and its start."""

    def not_up(self, ends: Ends, said: str, source: str) -> Problem:
        """Return why a tunnel does not come up, as the next step; `source` is what names the bastion."""

    def behind(self, ends: Ends, said: str, target: str) -> Problem | None:
        """Return why a connection through a tunnel that is up has failed, where it said so; `target` is what names the server."""

    def hint(self, ends: Ends) -> str:
        """Return how to see what a tunnel waits for that does not come up, in words."""

    @property
    def politely(self) -> int:
        """The signal by which it ends in order, where it wants one of its own."""


class Row(NamedTuple):
    """What a text of a tunnel's program means."""

    pattern: str
    error: type[Problem]
    advice: str
    """The next step, with words in braces that each program fills in."""


def first(rows: Sequence[Row], said: str) -> tuple[Row, re.Match[str]] | None:
    """Return the first row that fits, and what of the text it has found."""
    return next(((row, found) for row in rows if (found := re.search(row.pattern, said))), None)


def last(said: str, *signs: str) -> str:
    """Return what a program said last, in one line, but for its signs that all is well."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not any(sign in line for sign in signs)]
    return lines[-1][:200] if lines else "it said nothing"
