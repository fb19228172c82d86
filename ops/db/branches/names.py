"""Which git branches there are, and from which one another was begun; the names of their databases are in ops/targets/git_branch.py."""

from __future__ import annotations

import re
from pathlib import Path

from config.settings import Settings
from ops import process
from ops.errors import Misconfigured, Problem
from ops.targets import git_branch
from ops.targets.git_branch import HEADS, Repository

CREATED = re.compile(r"\tbranch: Created from (?:refs/heads/)?(\S+)$")


def repository_of(settings: Settings) -> Repository:
    """Return the git repository that the tasks are in; raises `Misconfigured` where they are in none."""
    found = git_branch.find(settings.root)
    if found is None:
        raise Misconfigured(
            f"{settings.root} is in no git repository: git init makes one, and then each branch can have a database"
        )
    return found


def chosen(repository: Repository, given: str) -> str:
    """Return the branch that is meant: the one of this name, else the one that is checked out; raises `Misconfigured`."""
    if given:
        if given not in branches(repository):
            raise Misconfigured(
                f"there is no git branch {given}: git branch {given} makes it, inv db.branches lists those with a database"
            )
        return given
    found = repository.branch()
    if not found:
        raise Misconfigured("no git branch is checked out: give the name of one, inv db.branch NAME")
    return found


def branches(repository: Repository) -> set[str]:
    """Return all branches, with those that are checked out and have no commit yet; raises `Problem` where git does not tell."""
    lines = told(repository, "for-each-ref", "--format=%(refname)", HEADS)
    trees = told(repository, "worktree", "list", "--porcelain")
    found = {
        line.removeprefix("branch ") for line in [*lines, *trees] if line.removeprefix("branch ").startswith(HEADS)
    }
    return {name.removeprefix(HEADS) for name in found} | {git_branch.shown(repository.branch())} - {""}


def told(repository: Repository, *words: str) -> list[str]:
    """Return the lines of what git says; raises `Problem` where it fails, since a branch that is not told would count as gone."""
    try:
        done = process.run(["git", "-C", str(repository.root), *words], {})
    except FileNotFoundError:
        raise Problem(
            "git is not installed here, and which branches there are is not known: install it, then run this again"
        ) from None
    if done.returncode != 0:
        raise Problem(f"git {words[0]} fails: {' '.join(done.stderr.split())}: see to that, then run this again")
    return done.stdout.split("\n")


def on_main(repository: Repository, folder: Path) -> set[str] | None:
    """Return the names of the files that the main branch has in a folder; None while it is checked out itself, and where git does not tell."""
    here, main = repository.branch(), repository.main()
    if not here or repository.is_main(here) or not folder.resolve().is_relative_to(repository.root.resolve()):
        return None
    within = str(folder.resolve().relative_to(repository.root.resolve()))
    for name in (
        [f"{HEADS}{main}", f"refs/remotes/origin/{main}"] if main else [f"{HEADS}{each}" for each in git_branch.MAIN]
    ):
        try:
            lines = told(repository, "ls-tree", "--name-only", "-z", f"{name}:{within}")
        except Problem:  # there is no such branch, or no such folder in it
            continue
        return {each for line in lines for each in line.split("\0") if each}
    return None


def begun_from(repository: Repository, branch: str) -> str:
    """Return the branch from which another one was begun, as git's reflogs tell; empty: they do not, or it was none."""
    first = git_branch.read(repository.common / "logs" / "refs" / "heads" / branch).partition("\n")[0]
    found = CREATED.search(first)
    if found and found[1] != "HEAD":
        return found[1]
    return next(
        (move.old for move in repository.moves() if move.new == branch and not git_branch.is_commit(move.old)), ""
    )
