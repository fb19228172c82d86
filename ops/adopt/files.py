"""The suite's files in somebody's repository: which there are, whose they are now, and how one is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from config.paths import MANIFEST, hand_over
from ops import own_files

FOLDER = "inv-suite"
"""Where the suite goes: a folder of its own, whose name nothing can import."""
TAKEN = {
    "config": "config",
    "ops": "ops",
    "functions": "functions",
    "backend": "backend",
    "sql/queries": "sql/queries",
    "docs": "docs",
    "requirements.txt": "requirements.txt",
    "requirements-dev.txt": "requirements-dev.txt",
    "constraints.txt": "constraints.txt",
    "LICENSE": "LICENSE",
    # Under other names, since invoke takes the nearest tasks.py for the root of everything
    "tasks.py": "wiring.py",
    "invoke.yaml": "settings.yaml",
    "ops/adopt/inv_suite.py": "inv_suite.py",
}
"""What is taken along, and what it is called there."""
LEFT = ("ops/adopt/", "docs/architecture.md", "docs/performance.md", "docs/feed.png")
"""What is the suite's own clone's alone."""
TEMPORARY = "adopting"
"""How the name of a file ends that is being written."""
MADE = {
    ".gitignore": "# Yours may ignore an env/, a lib/ or *.sql: nothing of this folder, but what Python compiles\n"
    f"!*\n__pycache__/\n*.pyc\n.*.{TEMPORARY}\n",
    "README.md": "# The tasks of `inv`\n\nPut here by `inv adopt`, which also brings them up to date and names what was changed here. `inv --list` "
    "lists them,\n`inv TASK --help` explains one, `settings.yaml` holds every setting with its default (yours are in `../invoke.yaml`).\n",
}
"""Files that are not copies."""


def is_listing(content: Any) -> bool:
    """Whether this is lists of texts by names, none of which leads out of the folder that it is in."""
    return own_files.is_shaped(content, dict) and all(
        own_files.is_shaped(texts, [str]) and not ({"..", "/", ""} & {*PurePosixPath(name).parts, name})
        for name, texts in content.items()
    )


SHAPE = {"version": str, "complete": bool, "files": is_listing, "added": is_listing}


@dataclass
class Manifest:
    """What `inv adopt` has written into a repository; committed there, so that each clone of it knows."""

    version: str = ""
    """Of the last run that came to its end; empty where none has."""
    complete: bool = False
    """Whether the last run came to its end."""
    files: dict[str, list[str]] = field(default_factory=dict)
    """The hash of each file of ours; of one that is being replaced, the old one's as well."""
    added: dict[str, list[str]] = field(default_factory=dict)
    """What was added to files of theirs: what they have taken out again stays out."""

    def as_json(self) -> dict[str, Any]:
        return {"version": self.version, "complete": self.complete, "files": self.files, "added": self.added}


def manifest(folder: Path) -> Manifest:
    """Read the manifest of a repository, an empty one where there is none; raise `Problem` for a damaged one."""
    found = own_files.read(folder / MANIFEST, SHAPE, "take it back from git, then run again", shared=True)
    return Manifest(**found) if found else Manifest()


def digest(data: bytes) -> str:
    """Return the hash of a text, the same whatever line ends git gives it."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


EMPTY = digest(b"")
"""What a power cut may leave of a file."""


def files(suite: Path) -> dict[str, bytes]:
    """Return the files that go into the folder, by their path in it."""
    found = {name: text.encode() for name, text in MADE.items()}
    for source, name in TAKEN.items():
        start = suite / source
        if start.is_file():
            found[name] = start.read_bytes()
        for path in sorted(start.rglob("*")):
            shown = path.relative_to(suite).as_posix()
            if path.is_file() and fits(path, suite) and not shown.startswith(LEFT):
                found[f"{name}/{path.relative_to(start).as_posix()}"] = path.read_bytes()
    return found


def fits(path: Path, suite: Path) -> bool:
    """Whether this is a file of the suite's: no hidden one, nothing compiled, no copy of an editor's."""
    return not any(
        part.startswith(".") or part.endswith("~") or part == "__pycache__" for part in path.relative_to(suite).parts
    )


def links(root: Path, path: Path) -> Iterator[Path]:
    """Yield what on the way from a repository to a path in it is a link: behind it nothing is ours to write."""
    for each in [path, *path.parents]:
        if each == root:
            return
        if each.is_symlink():
            yield each


def temporary(path: Path) -> Path:
    """Return under which name a file is written, before it gets its own."""
    return path.with_name(f".{path.name}.{TEMPORARY}")


def write(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write a file under another name beside its place, and rename it: it is the old one or the new one.

    Lasting is what a power cut must not leave empty; a copy of ours that it does is seen to be, and written again.
    """
    half = temporary(path)
    half.unlink(missing_ok=True)
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with open(fd, "wb") as file:
            if path.exists():
                os.fchmod(fd, path.stat().st_mode & 0o777)
            file.write(data)
            file.flush()
            if lasting:
                os.fsync(fd)
            hand_over(fd, path.parent)
        os.replace(half, path)
    except BaseException:  # a full disk, a Ctrl-C; of a kill the next run clears up
        half.unlink(missing_ok=True)
        raise


def make_folders(root: Path, path: Path) -> None:
    """Make the folders that a file needs, for the user whose repository it is."""
    if path == root or path.is_dir():
        return
    make_folders(root, path.parent)
    path.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        owner = root.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def remove(root: Path, path: Path) -> None:
    """Remove a file of ours, and the folders that are empty then."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or any(folder.iterdir()):
            return
        folder.rmdir()


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield what a run that was cut off has left half written."""
    yield from folder.rglob(f".*.{TEMPORARY}")
