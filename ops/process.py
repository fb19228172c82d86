"""Other programs: arguments as a list, secrets in the environment only."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from config import proxies

# libpq's own variables would redirect or re-configure a child behind our back
INHERITED = ("PGPASSFILE", "PGSSLCERT", "PGSSLKEY")

# What a program needs that outlives us or serves others: where things are, and how it speaks. Its owner's
# logins are none of its business, and others can read them there (copy … from program 'env', /proc).
_LASTING = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_LASTING_KINDS = ("LC_", "PYTHON", "COVERAGE_")

_OWN_LOGINS = ("UV_", "PIP_", "DOCKER_", "BUILDX_", "GIT_")

PATIENCE = 5.0
"""Seconds that an interrupted program has to put its things in order."""


def clean_environ(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without libpq's variables, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG") or k in INHERITED}
    return {**kept, **extra}


def child_environ(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the same without what holds a secret, for a program that is told those that it needs by `extra`.

    Its own logins it keeps: to a proxy, and to where it gets packages and images.
    """

    def is_its_business(name: str, value: str) -> bool:
        return name.upper().endswith("_PROXY") or name.startswith(_OWN_LOGINS) or not holds_login(name, value)

    kept = {name: value for name, value in clean_environ({}).items() if is_its_business(name, value)}
    return {**kept, **extra}


def holds_login(name: str, value: str) -> bool:
    """Whether a variable holds a secret or any URL with a password, that of a server on this machine or behind a tunnel too."""
    from config.variables import holds_secret

    return holds_secret(name, value) or re.search(r"://[^/@]*:[^/]*@", value) is not None


def lasting_environ(extra: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the environment of a program that lives on: what it needs, the variables of these names, and `extra`."""
    wanted = {*_LASTING, *names}
    kept = {k: v for k, v in os.environ.items() if k in wanted or k.startswith(_LASTING_KINDS)}
    return {**kept, **extra}


def environ() -> Mapping[str, str]:
    """Return the variables of this process."""
    return os.environ


def spare_this_machine() -> None:
    """Have this process and what it starts ask this machine past any proxy."""
    os.environ.update(proxies.spared(os.environ))


def forget_libpq() -> None:
    """Drop libpq's variables here too: a PGSSLMODE or PGSERVICE meant for psql is none of ours."""
    for name in set(os.environ) - set(clean_environ({})):
        del os.environ[name]


def forget_empty(prefix: str) -> None:
    """Drop variables that are set to nothing: here that means unset, to some libraries a profile or region without a name."""
    for name in [n for n, value in os.environ.items() if n.startswith(prefix) and not value.strip()]:
        del os.environ[name]


def export(name: str, value: str) -> None:
    """Set a variable of this process, for a library that looks there."""
    os.environ[name] = value


def replace(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Become another program with just this environment: it owns the terminal, signals and exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(argv[0], list(argv), dict(env))


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    feed: Iterable[bytes] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    watch: Callable[[subprocess.Popen[str]], contextlib.AbstractContextManager[None]] | None = None,
    stdout: int = subprocess.PIPE,
    umask: int = -1,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run another program to its end and return what it printed.

    `feed` is its standard input; an error in making it kills the program before it sees the end.
    `watch` looks after it while it runs, and may end it with an error of its own. `stdout` is a descriptor for its standard
    output, which is closed here once it runs; `umask` holds for what it writes, `pass_fds` it holds open.
    """
    feeder = Feeder(feed) if feed is not None else None
    with subprocess.Popen(
        list(argv),
        env=child_environ(env),
        stdin=feeder.out if feeder else subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        text=True,
        encoding="utf-8",
        errors="replace",
        umask=umask,
        pass_fds=pass_fds,
    ) as child:
        if stdout >= 0:
            os.close(stdout)
        try:
            if feeder:
                feeder.start_for(child)
            with watch(child) if watch else contextlib.nullcontext():
                out, err = child.communicate(timeout=timeout)
        except BaseException as stopped:
            if isinstance(stopped, KeyboardInterrupt):
                # A signal to us alone has not reached it; psql ends its query on the server by this one
                child.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=PATIENCE)
            child.kill()
            raise
    if feeder:
        feeder.finish()
    return subprocess.CompletedProcess(list(argv), child.returncode, out, err)


class Family(subprocess.Popen[str]):
    """A program and all that it has started, in a group of their own: a signal reaches each of them."""

    def send_signal(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, sig)


def follow(
    argv: Sequence[str],
    env: Mapping[str, str],
    line: Callable[[str], None],
    *,
    feed: Iterable[bytes] | None = None,
    watch: Callable[[subprocess.Popen[str]], contextlib.AbstractContextManager[None]] | None = None,
) -> int:
    """Run another program to its end, tell each line of its standard error as it comes, and return its exit code.

    `feed` and `watch` are as for `run`, and a signal to the child reaches what it has started. Its standard output goes nowhere.
    """
    feeder = Feeder(feed) if feed is not None else None
    with Family(
        list(argv),
        env=child_environ(env),
        stdin=feeder.out if feeder else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as child:
        assert child.stderr is not None
        try:
            if feeder:
                feeder.start_for(child)
            with watch(child) if watch else contextlib.nullcontext():
                for each in child.stderr:
                    line(each)
                child.wait()
        except BaseException as stopped:
            if isinstance(stopped, KeyboardInterrupt):  # it ends its queries on the server by this one
                child.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(PATIENCE)
            child.kill()
            raise
    if feeder:
        feeder.finish()
    return child.returncode


def run_drawing(
    argv: Sequence[str], env: Mapping[str, str], *, timeout: float | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that draws a bar of its own on the terminal which stderr is; return what it said, without the drawing."""
    import fcntl
    import pty
    import termios
    import tty

    inner, outer = pty.openpty()
    tty.setraw(outer)  # the terminal itself adds what a line's end needs
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(outer, termios.TIOCSWINSZ, size)
    said = bytearray()

    def pass_on() -> None:
        with contextlib.suppress(OSError):  # how Linux says that the program has ended
            while block := os.read(inner, 1 << 16):
                said.extend(block)
                os.write(sys.stderr.fileno(), block)

    reader = threading.Thread(target=pass_on, daemon=True)
    try:
        with subprocess.Popen(
            list(argv), env=child_environ(env), stdin=subprocess.DEVNULL, stdout=outer, stderr=outer, cwd=cwd
        ) as child:
            os.close(outer)
            reader.start()
            try:
                child.wait(timeout)
            except BaseException:
                child.kill()
                raise
        reader.join()
    finally:
        os.close(inner)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode(errors="replace")).replace("\r", "\n")
    return subprocess.CompletedProcess(list(argv), child.returncode, "", text)


class Feeder(threading.Thread):
    """Writes into a pipe what a program reads, piece by piece."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__(daemon=True)
        self.pieces = pieces
        self.out, self.end = os.pipe()
        self.error: Exception | None = None
        self.child: subprocess.Popen[str] | None = None

    def start_for(self, child: subprocess.Popen[str]) -> None:
        os.close(self.out)  # ours; when the program's is closed too, writing ends with an error
        self.child = child
        self.start()

    def run(self) -> None:
        assert self.child is not None
        with open(self.end, "wb", buffering=0) as pipe:
            try:
                for piece in self.pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[pipe.write(view) :]
            except BrokenPipeError:
                pass  # it has stopped reading, and will say why
            except Exception as error:  # raised again by finish()
                self.error = error
                self.child.kill()
                self.child.wait()

    def finish(self) -> None:
        """Raise the error that the making of the pieces ended in."""
        self.join()
        if self.error:
            raise self.error
