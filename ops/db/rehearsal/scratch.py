"""A server for one rehearsal, made and thrown away: of the target's major version where its programs are at hand.

A server of its own, and not the one of db.up: what is measured there is this rehearsal's alone, roles can be made, and
nothing that a developer works with waits for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from config.targets import Target
from ops import postgres, silence
from ops.db import scratch_server
from ops.targets.embedded import server

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

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
    with scratch_server.alone(root, scratch_server.REHEARSAL) as folder:
        try:
            made = scratch_server.start_anew(folder, major)
            with contextlib.closing(postgres.connect(made.target("postgres"), task="db.rehearse")) as conn:
                for name, value in {**settings, **SETTINGS}.items():
                    conn.execute(f"alter system set {name} = '{value}'".encode())
                conn.execute("select pg_reload_conf()")
                conn.execute(f"create database {NAME}".encode())
                found = conn.info.server_version // 10000
            yield Scratch(made.target(NAME), found)
        finally:
            server.remove_data(folder)
