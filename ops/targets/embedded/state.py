"""What .local/postgres says of the embedded server: where its data lies, its port and password."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

from config import paths
from config.declared import Kind
from config.paths import own_folder, write_private
from config.targets import Target
from ops import own_files
from ops.console import hide
from ops.errors import Problem
from ops.targets.embedded import binaries

MARKER = "repository"
"""The file in a folder under /var/lib that says which clone it belongs to."""

SHAPE = {
    "home": (str, NoneType),
    "port": own_files.port,
    "user": str,
    "passwords": [str],
    "identity?": str,
    "socket?": bool,
}
"""server.json."""


@dataclass(frozen=True)
class Server:
    """What .local/postgres/server.json says of the embedded server."""

    root: Path
    home: Path
    """Where data and log lie: .local/postgres, or under /var/lib for root."""
    port: int
    user: str
    passwords: tuple[str, ...] = field(repr=False)
    """The password, and the one before while it is being changed."""
    identity: str = ""
    """The system identifier of its data; empty for a server of before it was noted."""
    socket: bool = False
    """Whether it also lets in by a socket, without a password: that lies in its data, which are closed to all others."""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    def target(self, database: str, password: str | None = None) -> Target:
        params = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": self.user,
            "password": password or self.passwords[0],
            "dbname": database,
        }
        hide(params["password"])
        return Target("local", "the embedded server", params, embedded=True, kind=Kind.EMBEDDED)

    def save(self) -> None:
        """Write the state file by a rename, readable by its owner alone."""
        content = {
            "home": str(self.home) if self.home != folder(self.root) else None,
            "port": self.port,
            "user": self.user,
            "passwords": self.passwords,
            "identity": self.identity,
            **({"socket": True} if self.socket else {}),
        }
        path = folder(self.root)
        try:
            write_private(path / "server.json", json.dumps(content, indent=2))
        except OSError as error:
            raise Problem(f"the embedded server cannot write to {path}: {error.strerror}") from None


def folder(root: Path) -> Path:
    """Return the folder that names the embedded server of this repository."""
    return root / ".local" / "postgres"


def load(root: Path) -> Server | None:
    """Return the embedded server of this repository, running or not."""
    path = own_folder(own_folder(root / ".local") / "postgres") / "server.json"
    advice = "put it right, or inv db.down --wipe starts anew without the data"
    if (content := own_files.read(path, SHAPE, advice)) is None:
        return None
    home = Path(content["home"]) if content["home"] else folder(root)
    ours = home == folder(root) or (home.parent == binaries.SHARED_HOME and home.name.startswith("data-"))
    if not ours or not content["passwords"]:
        raise Problem(f"{path} is damaged: {advice}")
    passwords, identity = tuple(content["passwords"]), content.get("identity", "")
    server = Server(root, home, content["port"], content["user"], passwords, identity, content.get("socket", False))
    return server if home.is_dir() and not elsewhere(server) else None


def elsewhere(server: Server) -> bool:
    """Whether the data under /var/lib is that of the clone of which this one is a copy."""
    try:
        other = Path((server.home / MARKER).read_text(encoding="utf-8"))
        if other == server.root or folder(other).samefile(folder(server.root)):
            return False
        state = own_files.read(folder(other) / "server.json", SHAPE, "")
    except (OSError, ValueError, Problem):  # no home of that kind, or its clone is gone: moved to here
        return False
    return bool(state and state["home"] == str(server.home))


def homes(root: Path) -> list[Path]:
    """Return the folders under /var/lib that were made for a clone at this path."""
    markers = binaries.SHARED_HOME.glob(f"data-*/{MARKER}")
    return [m.parent for m in markers if os.access(m, os.R_OK) and m.read_bytes() == os.fsencode(root)]


def identity(data: Path) -> str:
    """Return the system identifier of a cluster's data, by which it is told from every other; empty if it is none.

    The first eight bytes of pg_control, in every version (src/include/catalog/pg_control.h).
    """
    try:
        with open(paths.opened(data / "global" / "pg_control", os.O_RDONLY), "rb") as file:
            return str(int.from_bytes(file.read(8), sys.byteorder))
    except (OSError, Problem):
        return ""
