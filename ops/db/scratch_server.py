"""Servers of our own beside the one of db.up: for what must not reach that, or anything else that somebody works with.

A migration may drop other databases and make roles, which are of the whole server: here nobody else has any.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from config import paths
from config.paths import local_dir, make
from ops import file_lock, own_files
from ops.targets.embedded import binaries, postmaster, server
from ops.targets.embedded.state import Server

REHEARSAL, DRIFT, TESTING, UPGRADE = "rehearsal", "drift", "testing", "upgrade"
"""Folders in .local, for db.rehearse, db.drift, the tests of an application (ops/testing/) and rds.upgrade."""
USERS = {
    REHEARSAL: "another run of db.rehearse",
    DRIFT: "another run of db.drift",
    TESTING: "the tests that run",
    UPGRADE: "another run of rds.upgrade",
}


@contextlib.contextmanager
def alone(root: Path, name: str) -> Iterator[Path]:
    """Hold a folder in .local that servers lie in, and yield it; another run that has it is waited for, with `file_lock`'s end."""
    folder = local_dir(root) / name
    make(folder, 0o777)
    with open(paths.opened(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o644), "w", encoding="utf-8") as file:
        file_lock.take(file.fileno(), f"{USERS[name]} in this folder")
        yield folder


def start_anew(folder: Path, major: int | None = None) -> Server:
    """Make a server in a folder and start it; one that is there is removed first.

    `major` is the version that is wished for: another is made where there are no programs of it.
    """
    make(folder, 0o777)
    server.remove_data(folder)
    login = server.Login(postmaster.free_port(), server.OWNER, secrets.token_urlsafe(18))
    return server.start_server(folder, login, programs=binaries.of_major(major) if major else None)


def remove(folder: Path) -> None:
    """Stop the server of a folder and remove both."""
    if folder.is_dir():
        server.remove_data(folder)
    own_files.remove(folder.parent, [folder.name])


def remove_all(root: Path) -> None:
    """Stop and remove all servers of a repository that were made here."""
    for name in USERS:
        if not (root / ".local" / name).is_dir():
            continue
        with alone(root, name) as folder:
            for place in (folder, *folder.iterdir()):
                if (place / ".local").is_dir():
                    server.remove_data(place)
            own_files.remove(folder, ["[!l]*"])  # all but the lock
