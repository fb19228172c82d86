"""A program that holds a tunnel: it ends when this process does, however that ends.

Its keeper is a shell that reads from a pipe whose other end is ours alone: when we are gone, killed or not, the system closes
that, and the keeper ends the program. What replaces this process (psql, gunicorn) takes the pipe over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from config import paths
from ops import process

# The program's output goes to a file: one that is written to a pipe nobody reads any more would end some of them.
# A keeper that is told to let go has only to wait; it is the one by whose command line a shared tunnel is known
KEEPER = """
exec 3<&0 </dev/null
trap '' INT
"$@" 3<&- &
program=$!
{ read -r word <&3; [ "$word" = stay ] || kill "$program"; } >/dev/null 2>&1 &
line=$!
exec 3<&-
wait "$program"
code=$?
kill "$line" 2>/dev/null
exit "$code"
"""
STAY = b"stay\n"
PERIOD = 0.005
"""Seconds between two looks at what a program has said."""
GRACE = 3.0
"""Seconds that it has to end in order."""
SIZE = 1 << 16
"""Bytes of what it said that are read: it says little."""


class Program:
    """A running program with its keeper, in a session of their own: a Ctrl-C is ours to act on."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], output: int, mark: str) -> None:
        """Start it. What it says is written to the file `output`, which is ours to close; `mark` stands in the keeper's command line."""
        self.output = output
        self.begun = os.fstat(output).st_size
        inner, self.line = os.pipe()
        try:
            self.keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, mark, *argv],
                env=dict(env),
                stdin=inner,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except BaseException:
            os.close(self.line)
            raise
        finally:
            os.close(inner)
        os.set_inheritable(self.line, True)  # by what replaces us; no child of ours inherits anything unasked

    def is_alive(self) -> bool:
        return self.keeper.poll() is None

    def said(self, since: int = 0) -> str:
        """Return what it has said, from so many bytes on."""
        return os.pread(self.output, SIZE, self.begun + since).decode(errors="replace")

    def length(self) -> int:
        """Return how much it has said, in bytes."""
        return os.fstat(self.output).st_size - self.begun

    def wait_for(self, is_up: Callable[[str, int], bool], port: int, seconds: float) -> bool:
        """Wait until it says that it is up at its port; False where it has ended, or has not said so in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            alive = self.is_alive()
            if is_up(self.said(), port):
                return True
            if not alive:
                return False
            time.sleep(PERIOD)
        return False

    def let_go(self) -> None:
        """Leave it running when this process ends."""
        os.write(self.line, STAY)
        os.close(self.line)
        self.keeper.returncode = 0  # it is nobody's to wait for

    def close(self, *, politely: int = 0) -> None:
        """End it, first by the signal `politely` where it has one for that, and wait until it has ended."""
        if politely and self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.keeper.pid, politely)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.keeper.wait(GRACE)
        with contextlib.suppress(OSError):
            os.close(self.line)
        try:
            self.keeper.wait(GRACE)
        except subprocess.TimeoutExpired:
            end_group(self.keeper.pid, signal.SIGKILL)
            self.keeper.wait()


def end_group(pid: int, sig: int) -> None:
    """Send a signal to a keeper and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, sig)


def has_mark(pid: int, mark: str) -> bool:
    """Whether a process is the keeper that was started with a mark, and not another one with its number."""
    import psutil

    try:
        return mark in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a tunnel's program: ours without the secrets that are none of its business.

    Those of AWS stay: a ProxyCommand of the user's may need them.
    """
    kept = process.clean_environ({})
    plain = {k: v for k, v in kept.items() if k.startswith("AWS_") or not process.holds_login(k, v)}
    return {**plain, **(extra or {})}


def open_log(path: Path) -> int:
    """Make a log for a program that outlives us, which only its owner may read; return its descriptor."""
    return paths.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
