"""How a folder of migrations and a database stand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ops.db.migrations.files import File, digest
from ops.db.migrations.history import Applied, History
from ops.errors import Misconfigured

Word = Literal["applied", "pending", "out_of_order", "edited", "missing", "interrupted"]


@dataclass(frozen=True)
class State:
    """A migration, in the folder or in the database."""

    version: str
    """The digits that order and identify it."""
    name: str | None
    """What its file is called behind them; null for one that another tool has applied and that is not in the folder."""
    state: Word
    """Pending ones below an applied one are out of order; a missing one is applied and not in the folder; an interrupted one was
    begun, is no transaction, and has not come to its end."""
    file: str | None
    """Its path from the working directory; null where it is missing."""
    applied_at: datetime | None
    """When that was; null where it is not, and where another tool has done it."""
    applied_by: str | None
    """user@host of the workspace that has applied it."""
    login: str | None
    """The database's user by whom."""
    duration_seconds: float | None
    """How long it took; null for what came with the schema."""
    sha256_applied: str | None
    """Of its file as it was applied; null where another tool has done it."""
    sha256: str | None
    """Of its file as it is; null for one that is not applied, and a missing one."""
    kept_down: bool
    """Whether the database holds what takes it back."""
    on_main: bool | None = None
    """Whether the main git branch has the file, too; null while that is checked out, for a missing one, and where git does not tell."""


@dataclass(frozen=True)
class Standing:
    """What is pending, and what is odd."""

    states: list[State]
    """All of them, in their order."""
    pending: list[File]
    """Those to be applied, in their order."""
    late: dict[str, list[str]]
    """By the version of a pending one that is out of order: the names of those behind it that are applied."""
    files: dict[str, File]
    """By version."""

    def of(self, *words: Word) -> list[State]:
        return [each for each in self.states if each.state in words]

    def upto(self, last: str) -> set[str]:
        """Return the versions up to one, with it; none for one that another tool has applied before the folder begins."""
        order = [each.version for each in self.states]
        return set(order[: order.index(last) + 1]) if last in order else set()


def stand(files: Sequence[File], history: History) -> Standing:
    """Compare a folder with a database.

    What another tool has applied before the first file of the folder is past: a folder may begin with a schema that was made by it.
    """
    known = {file.version: file for file in files}
    begin = min((file.path.name for file in files), default="")
    applied = {
        each.version: each
        for each in history.applied
        if each.digest or each.version in known or key(each.version, None, each) >= begin
    }
    order = sorted({*known, *applied}, key=lambda version: key(version, known.get(version), applied.get(version)))
    last = max((order.index(version) for version in applied), default=-1) if applied else -1
    states, late = [], {}
    for place, version in enumerate(order):
        file = known.get(version)
        if done := applied.get(version):
            states.append(of_applied(file, done))
            continue
        assert file is not None
        word: Word = "interrupted" if version in history.begun else "out_of_order" if place < last else "pending"
        if place < last:
            late[version] = [label(v, known.get(v), applied[v]) for v in order[place + 1 :] if v in applied]
        states.append(State(version, file.name, word, file.shown, None, None, None, None, None, None, kept_down=False))
    pending = [file for file in files if file.version not in applied]
    return Standing(states, pending, late, known)


def key(version: str, file: File | None, done: Applied | None) -> str:
    """Return what a migration is sorted by, as dbmate does: the name of its file."""
    return file.path.name if file else f"{version}_{(done and done.name) or ''}.sql"


def label(version: str, file: File | None, done: Applied | None) -> str:
    """Return a migration as it is named to the user."""
    name = file.name if file else (done and done.name) or ""
    return f"{version}_{name}" if name else version


def of_applied(file: File | None, done: Applied) -> State:
    """Return the state of one that the database has."""
    now = digest(file.path.read_bytes()) if file and done.digest else None
    word: Word = "missing" if file is None else "edited" if now != done.digest else "applied"
    if done.undoing:
        word = "interrupted"
    return State(
        done.version,
        file.name if file else done.name,
        word,
        file.shown if file else None,
        done.applied_at,
        done.applied_by,
        done.login,
        done.seconds,
        done.digest,
        now,
        kept_down=done.down is not None,
    )


def chosen(given: str, files: Sequence[File], history: History, option: str = "--to") -> str:
    """Return the version that an option names: by the version itself, or the name of its file; raises `Misconfigured`."""
    wanted = given.removesuffix(".sql").rpartition("/")[2]
    versions = {each.version for each in history.applied} | {file.version for file in files}
    if wanted in versions:
        return wanted
    named = [file.version for file in files if wanted in (file.name, file.path.stem)]
    if len(named) == 1:
        return named[0]
    raise Misconfigured(f"{option} {given}: there is no such migration: inv db.migrations lists them by their versions")
