"""The git branch that is checked out, and the name of its database.

Read from git's own files, since each task asks (https://git-scm.com/docs/gitrepository-layout): no program is started, but
where branches are kept in another format than files (reftable).
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from config.declared import Kind
from config.settings import Settings
from config.targets import Target
from ops.targets.identity import SUFFIXES

if TYPE_CHECKING:
    from ops.targets.open_target import OpenTarget

MAIN = ("main", "master")
"""What a main branch is called where `origin` does not say which it is."""
HEADS = "refs/heads/"
ELSEWHERE = ".invalid"
"""The branch that HEAD names where branches are not kept in files: https://git-scm.com/docs/reftable#_backward_compatibility."""
LONGEST = 63 - max(len(suffix) for suffix in SUFFIXES)
"""Bytes of a name that leave room for those of the databases beside it."""
LONGEST_TRUNK, DIGITS = 24, 10
"""Bytes of the main database's name that a branch's begins with, and letters of the hash that it ends with."""

first_use: Callable[[OpenTarget], None] | None = None
"""Makes the database of a branch when a task needs it; None: nobody does."""


class Repository(NamedTuple):
    """A working tree of git."""

    root: Path
    """Its top."""
    folder: Path
    """Where its HEAD is."""

    @property
    def common(self) -> Path:
        """The folder of the branches, which all its worktrees share."""
        named = read(self.folder / "commondir")
        return self.folder / named if named else self.folder

    @property
    def clone(self) -> str:
        """What tells this clone, with its worktrees, from all others: a hash."""
        return digest(f"{socket.gethostname()}\0{self.common.resolve()}")[:8]

    def branch(self) -> str:
        """Return the branch that is checked out; while none is (a rebase, a bisect, a commit by its hash), the last one; empty: not known."""
        head = read(self.folder / "HEAD")
        if head == f"ref: {HEADS}{ELSEWHERE}":
            head = self.ask("HEAD")
        if head.startswith(f"ref: {HEADS}"):
            return head.removeprefix(f"ref: {HEADS}")
        return self.rebased() or self.left()

    def rebased(self) -> str:
        """Return the branch that a rebase is at work on."""
        for kind in ("rebase-merge", "rebase-apply"):
            if (name := read(self.folder / kind / "head-name")).startswith(HEADS):
                return name.removeprefix(HEADS)
        return ""

    def left(self) -> str:
        """Return the branch that was checked out last."""
        return next((move.old for move in reversed(list(self.moves())) if not is_commit(move.old)), "")

    def moves(self) -> Iterator[Move]:
        """Yield what git has noted of each checkout in this worktree, the oldest first."""
        for line in read(self.folder / "logs" / "HEAD").split("\n"):
            if found := re.search(r"\tcheckout: moving from (\S+) to (\S+)$", line):
                yield Move(*found.groups())

    def main(self) -> str:
        """Return the main branch as `origin` has it; empty: it does not say."""
        path = self.common / "refs" / "remotes" / "origin" / "HEAD"
        head = read(path) or (self.ask("refs/remotes/origin/HEAD") if (self.common / "reftable").is_dir() else "")
        found = re.fullmatch(r"ref: refs/remotes/origin/(\S+)", head)
        return found[1] if found else ""

    def is_main(self, branch: str) -> bool:
        main = self.main()
        return branch == main if main else branch in MAIN

    def ask(self, ref: str) -> str:
        """Ask git itself what a reference leads to; as its file would say."""
        from ops import process

        try:
            done = process.run(["git", "-C", str(self.root), "symbolic-ref", "-q", ref], {})
        except FileNotFoundError:
            return ""
        return f"ref: {done.stdout.strip()}" if done.returncode == 0 else ""


class Move(NamedTuple):
    """A checkout."""

    old: str
    """The branch that was left, or the commit where there was none."""
    new: str
    """What was asked for."""


def find(root: Path) -> Repository | None:
    """Return the working tree that a folder is in; None where there is none."""
    for top in (root, *root.parents):
        path = top / ".git"
        folder = path
        if path.is_file():  # a worktree's, or a submodule's
            folder = top / read(path).removeprefix("gitdir: ")
        if (folder / "HEAD").is_file():
            return Repository(top, folder)
    return None


def read(path: Path) -> str:
    """Return what a file of git's says; empty where it is not there. Names of branches are bytes: those that are no UTF-8 are kept."""
    try:
        return path.read_bytes().decode(errors="surrogateescape").strip("\n")
    except OSError:
        return ""


def is_commit(name: str) -> bool:
    """Whether a name is that of a commit by its full hash, which no branch can have."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) is not None


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def database_of(trunk: str, branch: str) -> str:
    """Return the name of a branch's database: that of the main one, letters of the branch, and a hash that tells two apart.

    At most `LONGEST` bytes, and all of ASCII but what the main one's name has.
    """
    begin = trunk.encode()[:LONGEST_TRUNK].decode(errors="ignore")
    end = digest(f"{trunk}\0{branch}")[:DIGITS]
    letters = re.sub(r"[^a-z0-9]+", "_", branch.lower())
    letters = letters[: LONGEST - len(begin.encode()) - len(end) - 2].strip("_")
    return "_".join(part for part in (begin, letters, end) if part)


def followed(settings: Settings, target: Target) -> Target:
    """Return the target that stands for the database of the branch that is checked out, where the settings say so; else the same.

    On another machine that of the variables is meant: others work there, too.
    """
    from ops.targets.production_guard import is_elsewhere

    own = Kind.EMBEDDED in target.declared.kinds  # the one target that is a developer's own
    if not settings.per_branch or not own or is_elsewhere(target):
        return target
    repository = find(settings.root)
    branch = settings.branch or (repository.branch() if repository else "")
    if not repository or not branch or repository.is_main(branch):
        return target
    return of_branch(target, branch)


def of_branch(target: Target, branch: str) -> Target:
    """Return the target of a branch; `target` is that of the main one."""
    return replace(target.on(dbname=database_of(target.dbname, branch)), branch=branch, trunk=target.dbname)


def main_of(target: Target) -> Target:
    """Return the target of the main branch beside that of another one."""
    return replace(target.on(dbname=target.trunk), branch="", trunk="") if target.branch else target


def said(target: Target) -> str:
    """Return what is said of a branch's database behind its address."""
    return f", branch {shown(target.branch)}" if target.branch else ""


def shown(branch: str) -> str:
    """Return the name of a branch as text that any encoding takes."""
    return branch.encode(errors="surrogateescape").decode(errors="replace")


class Stamp(NamedTuple):
    """What the comment of a branch's database says."""

    branch: str
    clone: str
    """Which clone it was made from: its `Repository.clone`."""


STAMP = re.compile(r"\s*\[inv: branch (\S+) of ([0-9a-f]{8})\]")


def stamp_of(comment: str | None) -> Stamp | None:
    """Return what the comment of a database says of its branch; None: it is none's."""
    found = STAMP.search(comment or "")
    return Stamp(*found.groups()) if found else None


def stamped(comment: str | None, branch: str, clone: str) -> str:
    """Return a comment with the stamp of a branch, and none of another one."""
    return f"{STAMP.sub('', comment or '')} [inv: branch {shown(branch)} of {clone}]".strip()


def is_ours(trunk: str, row: dict[str, Any]) -> bool:
    """Whether a database is a branch's of ours: the stamp and the hash in its name must agree. `row` has `datname` and `comment`."""
    found = stamp_of(row["comment"])
    name = row["datname"]
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return found is not None and name == database_of(trunk, found.branch)


def stamp(place: OpenTarget, suffix: str = "") -> None:
    """Note in the comment of a new database which branch it is for."""
    from ops.targets.production_guard import comment_on

    repository = find(place.settings.root)
    if place.target.branch and repository:
        comment = (place.database(suffix) or place.database() or {}).get("comment")
        comment_on(place, place.name + suffix, stamped(comment, place.target.branch, repository.clone))
