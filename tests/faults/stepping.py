"""A task that dies at its steps, as it tells them itself (tests/faults/dying.py): KILL, INT and TERM by turns."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config import paths
from tests import forked
from tests.faults import dying
from tests.fix_cli import SUITE, Cli, without_coverage
from tests.test_migrate import forked as fork

SIGNALS = ("KILL", "INT", "TERM")
CANCELLED = 130
PATIENCE = 20.0
"""Seconds in which what a run that died had started comes to its end."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, or its signal below zero, and what it said."""

    code: int
    said: str


@dataclass
class Mortal(Cli):
    """`inv` in a clone, with a folder of its own for temporary files, in which it dies where that is asked for."""

    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copyfile(dying.__file__, self.root / "dying.py")
        wiring = self.root / "tasks.py"
        wiring.write_text(f"import dying\n\ndying.begin()\n{wiring.read_text('utf-8')}", encoding="utf-8")
        self.temporary = self.root.parent / "temporary"
        self.temporary.mkdir()

    def inv(self, *words: str) -> str:
        """Run another task, which must succeed."""
        return self.ok(*words, env=self.env)

    def run(self, words: Sequence[str], at: str) -> Ended:
        """Run a task; it tells its steps into a file, dies at one, or goes through."""
        env = {**without_coverage(), **self.env, "TMPDIR": str(self.temporary), dying.AT: at}
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with forked.start(words, cwd=self.root, env=env, start_new_session=True, **streams) as process:
            _, said = process.communicate(timeout=240)
        return Ended(process.returncode, said)


@dataclass
class Within:
    """Work of a task's in a fork of this process."""

    work: Callable[[], object]
    root: Path
    """Of the repository that it works in; its folder is for temporary files."""

    def run(self, at: str) -> Ended:
        """Do it as `Mortal.run` does; what is raised is a failure of the test's."""
        told = self.root.parent / "said"

        def whole() -> None:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (1, 2):
                os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            steps = dying.Steps(SUITE, at)
            sys.addaudithook(steps.hook)
            try:
                self.work()
            except KeyboardInterrupt:
                os.write(2, b"cancelled\n")
                os._exit(CANCELLED)

        _, status = os.waitpid(fork(whole), 0)
        return Ended(os.waitstatus_to_exitcode(status), told.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Act:
    """A task, what is there before it, and what is to be seen after it died."""

    run: Callable[[str], Ended]
    root: Path
    before: Callable[[], object]
    after: Callable[[], object]
    """What must be the same after the next run as after one that nobody has disturbed."""
    check: Callable[[], object] = lambda: None
    """Raises where what the death has left is neither the old nor the new."""


def every_step(act: Act) -> list[str]:
    """Return the steps of a run that goes well: of those by the same lines the first and the middle one."""
    told = act.root.parent / "steps"
    told.unlink(missing_ok=True)
    done = act.run(str(told))
    assert done.code == 0, done.said
    lines = told.read_text(encoding="utf-8").splitlines()
    times = Counter(line.partition(" ")[2] for line in lines)
    return [line for line in lines if int(line.partition(" ")[0]) in (1, times[line.partition(" ")[2]] // 2)]


def spread(steps: Sequence[str], number: int) -> list[str]:
    """Return so many of them, as far apart as that goes, the first and the last among them."""
    if len(steps) <= number:
        return list(steps)
    return [steps[round(at * (len(steps) - 1) / (number - 1))] for at in range(number)]


def died(name: str, act: Act, number: int) -> str:
    """Have a task die at so many of its steps, by another signal each time, and run it again; return what was done, in words."""
    act.before()
    every = every_step(act)
    whole = act.after()
    deaths: Counter[str] = Counter()
    chosen = spread(every, number)
    for turn, step in enumerate(chosen):
        sign = SIGNALS[turn % len(SIGNALS)]
        act.before()
        done = act.run(f"{sign} {step}")
        where = f"{sign} at {step}, which said:\n{done.said}"
        if dying.DYING not in done.said:
            assert done.code == 0, where
            continue
        try:
            check_end(sign, done)
            act.check()
            if sign != "INT":  # which clears up behind itself
                age(act.root)
            again = act.run("")
            where += f"and the next run:\n{again.said}"
            assert again.code == 0
            deadline = time.monotonic() + PATIENCE
            while (found := act.after()) != whole and time.monotonic() < deadline:
                time.sleep(0.05)
            assert found == whole, f"{found}, and not as undisturbed {whole}"
        except BaseException:
            print(where)
            raise
        deaths[sign] += 1
    assert deaths.total() > 0.8 * len(chosen), "its steps come again"
    return f"{name}: died at {deaths.total()} of {len(every)} steps ({', '.join(f'{n} by {s}' for s, n in deaths.items())})"


def check_end(sign: str, done: Ended) -> None:
    """See that a run has ended as by its signal, a Ctrl-C in one word."""
    if sign == "INT":
        assert (done.code, done.said.splitlines()[-1]) == (CANCELLED, "cancelled")
        assert "Traceback" not in done.said
    else:
        assert done.code == -signal.Signals[f"SIG{sign}"]


def age(root: Path) -> None:
    """Have what a killed run has left be as old as it is when nobody can be writing it any more."""
    for path in (*root.rglob(f"*{paths.UNFINISHED}"), *(root.parent / "temporary").glob("*")):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (0, 0), follow_symlinks=False)


def left(root: Path, running: Callable[[], Sequence[Any]]) -> object:
    """Return the files of ours and the temporary ones, which of them are empty, and what runs; a server's own data is its own."""
    found = []
    for place in (root / ".local", root.parent / "temporary"):
        for folder, folders, files in os.walk(place):
            for name in (*folders, *files):
                path = Path(folder, name)
                found.append((str(path.relative_to(root.parent)), path.is_file() and not path.stat().st_size))
            folders[:] = [name for name in folders if name not in ("data", "__pycache__")]
    here = running()
    numbers = {process.pid for process in here}
    return sorted(found), sorted(process.name() for process in here if process.ppid() not in numbers)
