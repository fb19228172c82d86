"""One run at a time at a file or folder of ours, and a face for the one that holds it.

The lock is flock(2)'s, which goes with the process that has it, however that ends. Which one that is, Linux tells in
/proc/locks (https://man7.org/linux/man-pages/man5/proc_locks.5.html); macOS does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from ops import silence
from ops.console import say
from ops.errors import Problem

SETTING = "db.lock_timeout"
limit = 60.0
"""Seconds, as the setting says."""
PAUSE = 0.02
"""Seconds between two tries: one that waits in the kernel has no end."""
LOCKS = Path("/proc/locks")


def take(file: int, who: str, *, shared: bool = False) -> None:
    """Take the lock of an open file or folder, which goes with its descriptor; the run that has it, `who` in words, is waited for.

    After a second it is said for whom. Raises `Problem` after as many as the setting `db.lock_timeout` says.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    begun, told = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - begun
        if waited >= limit:
            raise Problem(
                f"{holder(file, who)} is still at it after {limit:.0f} s ({SETTING}): wait for its end, or end it, then run this again"
            )
        if waited >= silence.PATIENCE and not told:
            told = True
            say(f"waiting for {holder(file, who)}")
        time.sleep(PAUSE)


def holder(file: int, who: str) -> str:
    """Return who holds the lock of an open file or folder: `who` in words, its process and command where they can be had."""
    found = [f"pid {pid}{command(pid)}" for pid in holders(file)]
    return f"{who} ({'; '.join(found)})" if found else who


def holders(file: int) -> list[int]:
    """Return the processes that hold the lock of an open file or folder, as the kernel tells; none where it does not."""
    at = os.fstat(file)
    place = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    try:  # 1: FLOCK  ADVISORY  WRITE 19113 fe:00:1441943 0 EOF; one that waits has an arrow before FLOCK
        rows = [line.split() for line in LOCKS.read_text(encoding="ascii").splitlines()]
    except OSError:
        return []
    found = [int(row[4]) for row in rows if row[1:2] == ["FLOCK"] and row[5:6] == [place]]
    return sorted(pid for pid in found if pid > 0)  # of another container's there is no number


def command(pid: int) -> str:
    """Return the first words of a process's command, to stand behind its number: empty where it is nobody's to see."""
    import psutil

    words: list[str] = []
    with contextlib.suppress(psutil.Error):
        words = psutil.Process(pid).cmdline()
    if len(words) > 1 and "python" in words[0] and not words[1].startswith("-"):
        words = words[1:]
    return f", {' '.join([Path(words[0]).name, *words[1:3]])}" if words else ""
