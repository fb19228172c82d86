"""Git repositories as developers have them."""

from __future__ import annotations

import subprocess
from pathlib import Path

ME = ("-c", "user.name=Zoe", "-c", "user.email=zoe@example.com", "-c", "commit.gpgsign=false")
# What an editor would be asked, and what somebody's own configuration would change
QUIET = (
    "-c",
    "core.editor=true",
    "-c",
    "sequence.editor=true",
    "-c",
    "advice.detachedHead=false",
    "-c",
    "core.hooksPath=",
)


def git(root: Path, *words: str, fails: bool = False) -> str:
    """Run git in a folder, and return what it prints."""
    done = subprocess.run(["git", *ME, *QUIET, *words], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is fails, done.stderr
    return done.stdout.strip()


def repository(root: Path, main: str = "main") -> Path:
    """Make a repository of a folder, with one commit on its main branch."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q", "-b", main)
    (root / ".gitignore").write_text(".local\n", encoding="utf-8")
    commit(root, "file", "first")
    return root


def commit(root: Path, name: str, text: str) -> str:
    """Commit a file, and return the commit's hash."""
    (root / name).write_text(text, encoding="utf-8")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", text)
    return git(root, "rev-parse", "HEAD")
