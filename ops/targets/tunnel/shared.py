"""Tunnels that stay open between the tasks of a shell, kept in .local/tunnels.json until somebody ends them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config import paths
from config.paths import local_dir, write_private
from ops import file_lock, own_files, silence
from ops.errors import Problem
from ops.targets.tunnel import program

NAME, LOCK = "tunnels.json", "tunnels.lock"
SHAPE = {"port": own_files.port, "pid": own_files.pid, "mark": str, "target": str}
LOG = "{}.log"
MARK = "inv-tunnel-[0-9a-f]{16}"
SECONDS = 3.0
"""That a tunnel has to end in order."""


@dataclass(frozen=True)
class Open:
    """A tunnel that somebody has opened to stay."""

    port: int
    """Of its near end on the loopback address."""
    pid: int
    """Of its keeper."""
    mark: str
    """What stands in that one's command line, and in no other's: the number may be another process's by now."""
    target: str
    """For which it was opened, by its name."""

    def is_open(self) -> bool:
        return program.has_mark(self.pid, self.mark)

    def log(self, root: Path) -> Path:
        """Return the file with what its program says."""
        return root / ".local" / LOG.format(self.mark)


class Standing:
    """An open tunnel of this clone as a task uses it, which is none of its own to close."""

    def __init__(self, root: Path, entry: Open) -> None:
        self.entry, self.path = entry, entry.log(root)

    def is_alive(self) -> bool:
        return self.entry.is_open()

    def said(self, since: int = 0) -> str:
        """Return what its program has said, from so many bytes on."""
        try:
            return own_files.content(self.path)[since:].decode(errors="replace")
        except (OSError, Problem):
            return ""

    def length(self) -> int:
        """Return how much it has said, in bytes."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def close(self, *, politely: int = 0) -> None:
        """Leave it to others."""


def mark() -> str:
    """Return a mark for a keeper's command line."""
    return f"inv-tunnel-{secrets.token_hex(8)}"


def read(root: Path) -> dict[str, Open]:
    """Return the tunnels of this clone by what tells them apart, those that have ended among them; what cannot be read is none."""
    try:
        content: Any = own_files.read(root / ".local" / NAME, dict, "")
    except Problem:
        return {}
    return {
        key: Open(**entry)
        for key, entry in (content or {}).items()
        if own_files.is_shaped(entry, SHAPE) and entry.keys() == SHAPE.keys() and re.fullmatch(MARK, entry["mark"])
    }


def find(root: Path, key: str) -> Open | None:
    """Return the open tunnel of this clone that leads there."""
    found = read(root).get(key)
    return found if found and found.is_open() else None


def note(root: Path, key: str, entry: Open) -> None:
    """Keep a tunnel, and forget those that have ended."""
    write(root, {**{k: old for k, old in read(root).items() if old.is_open()}, key: entry})


def write(root: Path, entries: dict[str, Open]) -> None:
    """Keep these tunnels; what others have said goes, also those of a run that was killed before it kept its own."""
    local = local_dir(root)
    write_private(local / NAME, json.dumps({k: asdict(v) for k, v in entries.items()}, indent=2))
    kept = {entry.log(root) for entry in entries.values()}
    for log in local.glob(LOG.format("inv-tunnel-*")):
        if re.fullmatch(MARK, log.stem) and log not in kept:
            with contextlib.suppress(OSError):
                log.unlink()


@contextlib.contextmanager
def turns(root: Path) -> Iterator[None]:
    """Let one run at a time open or end tunnels of this clone."""
    lock = paths.opened(local_dir(root) / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        file_lock.take(lock, "another run that opens or ends a tunnel")
        yield
    finally:
        os.close(lock)


def stop(root: Path, keys: set[str] | None = None) -> list[str]:
    """End tunnels of this clone, all without `keys`; return for which targets they were."""
    ended = []
    with turns(root):
        entries = read(root)
        for key, entry in list(entries.items()):
            if keys is not None and key not in keys:
                continue
            if entry.is_open():
                end(entry, politely=signal.SIGINT if key.startswith("ssm:") else signal.SIGTERM)
                ended.append(entry.target)
            del entries[key]
        write(root, entries)
    return ended


def end(entry: Open, *, politely: int) -> None:
    """End a tunnel, by a signal at which its program ends in order, and wait until it has ended."""
    with silence.waiting(f"the tunnel to {entry.target} (pid {entry.pid}) to end"):
        for sig in (politely, signal.SIGTERM, signal.SIGKILL):
            program.end_group(entry.pid, sig)
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                if not entry.is_open():
                    return
                time.sleep(0.01)
