"""What there is in an SQL text, by byte offsets: its statements, and what in it is psql's own."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace

COPY_IN = "COPY … FROM stdin"


@dataclass(frozen=True)
class Found:
    """Something in a script, by its byte offsets."""

    start: int
    end: int
    text: str

    def moved(self, by: int) -> Found:
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True)
class CopyIn(Found):
    """A COPY … FROM stdin statement and the rows that follow it."""

    rows: int
    over: int
    """Where the rows begin and end."""
    resumes: int
    """Where the script goes on, behind the line of \\."""
    alone: bool
    """Whether its line has nothing else on it; psql runs that behind the rows."""
    closed: bool
    """Whether what else is on its line ends there too."""

    def moved(self, by: int) -> Found:
        moved = replace(self, rows=self.rows + by, over=self.over + by, resumes=self.resumes + by)
        return Found.moved(moved, by)


@dataclass
class Contents:
    """What a scan found."""

    statements: array[int] = field(default_factory=lambda: array("Q"))
    """Byte offset of the start of each statement that is not empty."""
    remarkable: list[Found] = field(default_factory=list)
    """Statements that are not plain data or definitions, by their first words."""
    commands: list[Found] = field(default_factory=list)
    """Backslash commands."""
    variables: list[Found] = field(default_factory=list)
    """Uses of psql variables, by name."""
    copies: list[Found] = field(default_factory=list)
    """COPY statements from and to the client."""

    def add(self, other: Contents, base: int) -> None:
        """Take over what was found in a part that begins at `base`."""
        self.statements.extend(array("Q", (base + start for start in other.statements)))
        for mine, others in zip(self.found(), other.found(), strict=True):
            mine.extend(each.moved(base) for each in others)

    def cut(self, start: int) -> None:
        """Forget what begins at `start` or behind it."""
        while self.statements and self.statements[-1] >= start:
            self.statements.pop()
        for found in self.found():
            while found and found[-1].start >= start:
                found.pop()

    def found(self) -> tuple[list[Found], ...]:
        return self.remarkable, self.commands, self.variables, self.copies
