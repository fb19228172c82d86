"""Postgres's client programs that fit a server: of one version, and never older than it.

pg_dump refuses a server newer than itself (https://www.postgresql.org/docs/current/app-pgdump.html, Notes). Those of the
embedded server are here wherever the suite is, and speak no TLS: relay.py does that for them.
"""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops import process
from ops.errors import Problem
from ops.targets.embedded import binaries

SYSTEM = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian's packages postgresql-client-N
    ("/usr", "pgsql-*/bin"),  # those of postgresql.org for Red Hat's
    ("/opt/homebrew/opt", "postgresql*/bin"),
    ("/opt/homebrew/opt", "libpq/bin"),
    ("/usr/local/opt", "postgresql*/bin"),
    ("/usr/local/opt", "libpq/bin"),
)
"""Where packages put them."""


@dataclass(frozen=True)
class Programs:
    """pg_dump, pg_restore and psql of one version."""

    folder: Path
    major: int
    tls: bool
    """Whether they speak TLS; those of the wheel do not."""

    @property
    def pg_dump(self) -> str:
        return str(self.folder / "pg_dump")

    @property
    def pg_restore(self) -> str:
        return str(self.folder / "pg_restore")

    @property
    def psql(self) -> str:
        return str(self.folder / "psql")


def find_programs(server_major: int) -> Programs:
    """Return the newest programs here, which must not be older than a server of this major version; raises `Problem`.

    One rule for all that is read or written by them, so that a team whose machines have the same wheel gets the same text.
    """
    found = all_programs()
    if not found or found[0].major < server_major:
        newest = f", only for {found[0].major}" if found else ""
        raise Problem(
            f"there is no pg_dump here for PostgreSQL {server_major}{newest}: install the package postgresql-client-{server_major}"
        )
    return found[0]


@functools.cache
def all_programs() -> tuple[Programs, ...]:
    """Return the client programs of this machine, the newest first; of one version those that speak TLS."""
    found = [Programs(folder, major(folder), folder != binaries.wheel_bin()) for folder in folders()]
    return tuple(sorted(found, key=lambda each: (each.major, each.tls), reverse=True))


def folders() -> Iterator[Path]:
    """Yield the folders that hold a pg_dump, each once."""
    globbed = [folder for base, pattern in SYSTEM for folder in sorted(Path(base).glob(pattern))]
    on_path = shutil.which("pg_dump")
    # Debian's /usr/bin/pg_dump is a script that starts one of those above
    beside = [Path(on_path).resolve().parent] if on_path and Path(on_path).resolve().name == "pg_dump" else []
    seen = set()
    for folder in (*globbed, *beside, binaries.wheel_bin()):
        if folder and folder not in seen and (folder / "pg_dump").exists():
            seen.add(folder)
            yield folder


@functools.cache
def major(folder: Path) -> int:
    """Return the major version of the programs in a folder, 0 where they do not say."""
    found = re.search(r"\) (\d+)", process.run([str(folder / "pg_dump"), "--version"], {}).stdout)
    return int(found[1]) if found else 0
