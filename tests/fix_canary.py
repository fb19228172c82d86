"""Canaries: secrets of a test's own, and all places in which one must not turn up, processes that come and go included."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tests import forked

LOGS_IN = {"psql", "pgcli", "pg_dump", "pg_restore", "gunicorn", "awslambdaric"}
"""Programs that are started to log in to the target, with its password in their environment."""
BY = ("PGPASSWORD=", "CONNECTION_URL=")
TUNNEL, BY_AWS = "session-manager-plugin", "AWS_"
"""Logs in to AWS; it is named in the command line of its keeper, too."""
PROC = Path("/proc")
PERIOD = 0.01
"""Seconds between two looks at which processes there are: a program lives longer than its start takes."""
FRESH, SELDOM = 0.5, 10
"""Seconds in which a process is likely to become another program, and is read at each look; after that at each so many."""


def canary(what: str) -> str:
    return f"canary{what}{secrets.token_hex(6)}"


class Seen(NamedTuple):
    """What a process showed to whoever looked."""

    arguments: str
    """Joined by blanks."""
    environment: str
    """NAME=VALUE, one on each line; empty for a process of somebody else."""

    @property
    def programs(self) -> set[str]:
        """The program, and the one that it runs, as an interpreter does, which may have it as a module."""
        words = self.arguments.split()
        module = words[words.index("-m") + 1 :][:1] if "-m" in words[:4] else []
        return {word.rpartition("/")[2] for word in [*words[:2], *module]}


@dataclass
class Sampler:
    """Looks at all processes of this machine that begin while it runs."""

    seen: set[Seen] = field(default_factory=set)
    looks: int = 0

    def __post_init__(self) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        known = set(os.listdir(PROC))  # noqa: PTH208 (names alone, and often)
        young: dict[str, float] = {}
        while not self.over.is_set():
            there, now = set(os.listdir(PROC)), time.monotonic()  # noqa: PTH208
            for pid in there - known:
                if pid.isdigit():
                    young[pid] = now + FRESH
            known = there
            for pid in young.keys() - there:
                del young[pid]
            for pid, until in young.items():
                if now < until or self.looks % SELDOM == 0:
                    self.look(pid)
            self.looks += 1
            self.over.wait(PERIOD)

    def look(self, pid: str) -> None:
        with contextlib.suppress(OSError):
            arguments = (PROC / pid / "cmdline").read_bytes()
            environment = b""
            with contextlib.suppress(PermissionError):
                environment = (PROC / pid / "environ").read_bytes()
            if not arguments:  # it is just becoming another program, and is seen as that at the next look
                return
            self.seen.add(Seen(text(arguments, " "), text(environment, "\n")))


def text(found: bytes, between: str) -> str:
    return found.decode(errors="replace").rstrip("\0").replace("\0", between)


@contextlib.contextmanager
def sampling() -> Iterator[Sampler]:
    """Look at the processes that begin in the block."""
    sampler = Sampler()
    sampler.thread.start()
    try:
        yield sampler
    finally:
        sampler.over.set()
        sampler.thread.join()


@dataclass
class Files:
    """What lies below folders; a file that has not changed since the last look is not read again."""

    folders: list[Path]
    but: tuple[str, ...] = ()
    """Parts of paths that are left out."""
    known: dict[str, tuple[int, int]] = field(default_factory=dict)

    def having(self, words: Iterable[str]) -> list[str]:
        """Return the files in which one of some words is, each with that."""
        wanted, found = [word.encode() for word in words], []
        for path in (path for folder in self.folders for path in below(str(folder))):
            if any(part in path for part in self.but):
                continue
            with contextlib.suppress(OSError):  # it has gone meanwhile
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or self.known.get(path) == (status.st_mtime_ns, status.st_size):
                    continue
                content = Path(path).read_bytes()
                told = [f"{path}: {word.decode()}" for word in wanted if word in content]
                found += told
                if not told:
                    self.known[path] = (status.st_mtime_ns, status.st_size)
        return found


def below(folder: str) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        yield from (f"{path}/{name}" for name in names)


def files_with(folders: Iterable[Path], words: Iterable[str], *, but: Iterable[str] = ()) -> list[str]:
    """Return the files below folders in which one of some words is, without those whose path has one of `but` in it."""
    return Files(list(folders), tuple(but)).having(words)


def written(words: Iterable[str]) -> set[str]:
    """Return secrets with the forms in which they are written into a URL."""
    every = {*words}
    return every | {quote(each, safe="") for each in every}


def betrayed(process: Seen, words: Iterable[str]) -> list[str]:
    """Return the canaries that a process shows, but for the login of one that is started to log in."""
    if "fork_server.py" in process.arguments or f"{forked.INV} " in process.arguments:
        return []  # the command itself, which was given them
    lines = process.environment.splitlines()
    if process.programs & LOGS_IN:
        lines = [line for line in lines if not line.startswith(BY)]
    if TUNNEL in process.arguments:
        lines = [line for line in lines if not line.startswith(BY_AWS)]
    shown = "\n".join([process.arguments, *lines])
    return [word for word in words if word in shown]


@dataclass
class Hunt:
    """Looks for secrets in what tasks say, in files, and in all programs that begin meanwhile."""

    secrets: Callable[[], Iterable[str]]
    """What there is by now: some are made on the way."""
    sampler: Sampler
    files: Files
    searched: set[Seen] = field(default_factory=set)

    def search(self, said: str) -> None:
        """Fail where a canary is."""
        words = written(self.secrets())
        assert [word for word in words if word in said] == [], said
        assert "Traceback" not in said
        seen = set(self.sampler.seen) - self.searched
        self.searched |= seen
        shown = [(each.arguments, found) for each in seen if (found := betrayed(each, words))]
        assert shown == [], shown
        found = self.files.having(words)
        assert found == [], found
