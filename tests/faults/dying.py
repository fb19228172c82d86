"""A run that tells its own steps, and dies at one of them: it is put into a copy of the suite, beside tasks.py (tests/faults/stepping.py).

A step is what changes something outside of the process: a file or folder made, renamed, removed or given rights, a program
started, a process ended, as Python itself tells of them (https://docs.python.org/3/library/audit_events.html), and each exchange with a
database. It is known by the lines of the suite that led to it and by how often those did, not by its number in the run: polls differ.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

AT = "DIES_AT"
"""The variable: a step, and by which signal; a file that steps are to be written to where it holds a path."""
CHANGES = (
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.kill",
    "os.killpg", "os.posix_spawn", "subprocess.Popen",
)  # fmt: skip
DYING = "it dies here\n"
"""Said before it does: a step that depends on how fast the machine is may not come."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EXCHANGE, SENT = "asks the server", "has asked the server"
NOTHING = ("/dev/null", "/proc/")
"""Where nothing stays that is written."""


class Steps:
    """Counts the steps of this process; ends it, in the way of a signal, at the one that was asked for."""

    def __init__(self, root: Path, at: str) -> None:
        self.root, self.inside = f"{root}{os.sep}", False
        self.ours = (f"{self.root}ops{os.sep}", f"{self.root}config{os.sep}")
        self.seen: Counter[str] = Counter()
        self.file = at if at.startswith(os.sep) else ""
        self.sign, _, self.wanted = ("", "", "") if self.file else at.partition(" ")

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """Take what Python is about to do."""
        if self.inside or not (event in CHANGES or event == "open"):
            return
        if event == "open" and not ((args[2] or 0) & WRITING and isinstance(args[0], str | bytes)):
            return
        if event == "os.kill" and not args[1]:  # whether there is such a process
            return
        first = os.fsdecode(args[0]) if args and isinstance(args[0], str | bytes | os.PathLike) else ""
        if first.startswith(NOTHING) or "__pycache__" in first:
            return
        self.step(event)

    def step(self, what: str, *, later: bool = False) -> None:
        """Note a step, and die at it if it is the one."""
        self.inside = True
        try:
            way = self.way()
            if not way:  # Python itself, or a library that nobody of ours has called
                return
            label = f"{what}: {way}"
            self.seen[label] += 1
            if self.file:
                with open(self.file, "a", encoding="utf-8") as file:
                    file.write(f"{self.seen[label]} {label}\n")
            found = f"{self.seen[label]} {label}" == self.wanted
        finally:
            self.inside = False
        if found:
            self.die(later=later)

    def way(self) -> str:
        """Return the lines of the suite that lead here, the last one first."""
        found, frame = [], sys._getframe(2)
        while frame:
            name = frame.f_code.co_filename
            if name.startswith(self.ours):
                found.append(f"{name.removeprefix(self.root)}:{frame.f_lineno}")
            frame = frame.f_back  # type: ignore[assignment]
        return " < ".join(found)

    def die(self, *, later: bool = False) -> None:
        """End as by `kill`, or as by Ctrl-C, which a terminal sends to all programs of a command; that from another thread, while this one waits."""
        os.write(2, DYING.encode())
        if self.sign != "INT":
            os.kill(os.getpid(), signal.Signals[f"SIG{self.sign}"])
        assert os.getsid(0) == os.getpid(), "only what was started here"
        if later:
            threading.Thread(target=os.killpg, args=(0, signal.SIGINT)).start()
        else:
            os.killpg(0, signal.SIGINT)

    def exchanging(self) -> None:
        """Have each exchange with a database be two steps: before it is asked, and while its answer is on the way."""
        import psycopg

        usual, steps = psycopg.Connection.wait, self

        def wait(conn: Any, gen: Any, *args: Any, **more: Any) -> Any:
            steps.step(EXCHANGE)
            return usual(conn, steps.sent(gen), *args, **more)

        psycopg.Connection.wait = wait  # type: ignore[assignment,method-assign]

    def sent(self, gen: Any) -> Any:
        """Yield what a generator of psycopg's does: where it first waits for the server, that has the statement."""
        ready, first = None, True
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as end:
                return end.value
            if first:
                self.step(SENT, later=True)
                first = False
            ready = yield wanted


def begin() -> None:
    """Take the steps of this process from now on, where a variable asks for it."""
    if at := os.environ.pop(AT, ""):
        steps = Steps(Path(__file__).parent, at)
        steps.exchanging()
        sys.addaudithook(steps.hook)
