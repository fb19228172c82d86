"""A server for one rehearsal, made and thrown away: of the target's major version where its programs are at hand.

A server of its own, and not the one of db.up: what is measured there is this rehearsal's alone, roles can be made, and
nothing that a developer works with waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from config.paths import local_dir
from config.targets import Target
from ops import own_files, postgres, silence
from ops.console import say
from ops.targets.embedded import binaries, postmaster, server

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

FOLDER = "rehearsal"
NAME = "rehearsal"
"""Of the database."""
SETTINGS = {
    "autovacuum": "off",  # it would come in between by chance
}


@dataclass(frozen=True)
class Scratch:
    """A database of its own on a server of its own."""

    target: Target
    major: int

    def connect(self) -> Connection[DictRow]:
        """Open a session of whose waits nothing is said: to wait for each other is what they are for."""
        conn: Any = postgres.connect(self.target, task="db.rehearse")
        conn.quiet = silence.ALL
        return cast("Connection[DictRow]", conn)


@contextlib.contextmanager
def opened(root: Path, major: int, settings: Mapping[str, str]) -> Iterator[Scratch]:
    """Yield an empty database, on a server that is stopped and removed after; one that a killed run has left is removed first.

    `major` is the version that is wished for, `settings` are those of the server. Another run in this folder is waited for.
    """
    with alone(root) as folder:
        server.remove_data(folder)
        bin = binaries.of_major(major)
        try:
            login = server.Login(postmaster.free_port(), server.OWNER, secrets.token_urlsafe(18))
            made = server.start_server(folder, login, programs=bin)
            with contextlib.closing(postgres.connect(made.target("postgres"), task="db.rehearse")) as conn:
                for name, value in {**settings, **SETTINGS}.items():
                    conn.execute(f"alter system set {name} = '{value}'".encode())
                conn.execute("select pg_reload_conf()")
                conn.execute(f"create database {NAME}".encode())
                found = conn.info.server_version // 10000
            yield Scratch(made.target(NAME), found)
        finally:
            server.remove_data(folder)


@contextlib.contextmanager
def alone(root: Path) -> Iterator[Path]:
    """Hold the folder of rehearsals, and yield it."""
    folder = local_dir(root) / FOLDER
    folder.mkdir(exist_ok=True)
    with open(own_files.opened(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o644), "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another rehearsal in this folder")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield folder
