"""`inv` by a fork: what all starts have in common is imported once, and each call goes on in a process of its own.

A call reads tasks.py, config/ and ops/ of its folder itself, as a start does, and ends as an interpreter does. Its
directory, environment, umask and streams are those that it was given. tests/forked.py asks for calls, and makes a
start of what would see a difference.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRELOADED = (
    "invoke.main",
    "psycopg",
    "psycopg.conninfo",
    "psycopg.rows",
    "psycopg.sql",
    "psycopg.types.json",
    "boto3",
    "botocore.config",
    "botocore.exceptions",
    "encodings.idna",
    "psutil",
    "rich.console",
    "rich.progress",
    "rich.table",
    "rich.text",
    "yaml",
)
LONGEST = 1 << 20
"""Bytes of a call; the environment is most of it."""


@contextlib.contextmanager
def noting() -> Iterator[set[str]]:
    """Note which variables are asked for, as what is imported may keep what they say."""
    kind: Any = type(os.environ)
    usual, names = kind.__getitem__, set[str]()

    def noted(environ: Any, name: str) -> Any:
        names.add(name)
        return usual(environ, name)

    kind.__getitem__ = noted
    try:
        yield names
    finally:
        kind.__getitem__ = usual


def made_of_home(home: str) -> list[tuple[Any, str, str]]:
    """Return the attributes of modules and classes in which HOME was put when they were imported: each call has its own."""
    modules = list(sys.modules.values())
    classes = [thing for module in modules for thing in list(vars(module).values()) if isinstance(thing, type)]
    return [
        (owner, name, value)
        for owner in (*modules, *classes)
        for name, value in list(vars(owner).items())
        if isinstance(value, str) and home in value
    ]


def keep_preloaded() -> None:
    """Have nobody free what is here by now, or a call would copy each page of it only to let go of it at its end."""
    gc.freeze()
    _preloaded.update(sys.modules)
    for name in ("builtins", "sys", "__main__"):
        del _preloaded[name]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_preloaded))


def leave_preloaded() -> None:
    """Take what the server had imported from what Python frees at the end; what the call has imported is freed."""
    for name in _preloaded.keys() & sys.modules.keys():
        del sys.modules[name]


_preloaded: dict[str, Any] = {}


class Server:
    """Takes calls, one after the other; the processes that carry them out run beside each other."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.home = os.environ["HOME"]
        self.of_home = made_of_home(self.home)
        self.running: dict[int, tuple[int, socket.socket]] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(channel, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Return a call in the process that is to carry it out; None in the server's own, when nobody will ask any more."""
        while True:
            for key, _ in self.selector.select():
                if key.fd in self.running:
                    self.tell_end(key.fd)
                    continue
                text, fds, _, _ = socket.recv_fds(self.channel, LONGEST, 4)
                if not text:
                    return None
                call: dict[str, Any] = json.loads(text)
                pid = os.fork()
                if not pid:
                    self.become(call, fds)
                    return call
                self.tell_begin(pid, fds)

    def tell_begin(self, pid: int, fds: list[int]) -> None:
        *streams, told = fds
        for fd in streams:
            os.close(fd)
        answers = socket.socket(fileno=told)
        answers.send(str(pid).encode())
        end = os.pidfd_open(pid)
        self.running[end] = pid, answers
        self.selector.register(end, selectors.EVENT_READ)

    def tell_end(self, end: int) -> None:
        pid, answers = self.running.pop(end)
        self.selector.unregister(end)
        os.close(end)
        _, status = os.waitpid(pid, 0)
        with answers, contextlib.suppress(OSError):  # whoever asked may have gone
            answers.send(str(status).encode())

    def become(self, call: dict[str, Any], fds: list[int]) -> None:
        """Make this process what a start has before its first line."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        self.selector.close()
        for mine in (self.channel, *(answers for _, answers in self.running.values())):
            mine.close()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        if call["session"]:
            os.setsid()
        os.umask(call["umask"])
        os.chdir(call["cwd"])
        os.environ.clear()
        os.environ.update(call["env"])
        home = str(Path("~").expanduser())
        for owner, name, value in self.of_home:
            setattr(owner, name, value.replace(self.home, home))
        sys.argv[:] = call["argv"]
        atexit.register(leave_preloaded)  # the first of all, and so the last that runs


def serve(fd: int) -> dict[str, Any] | None:
    """Import, tell which variables had a say in that, and take calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the tests and for what they have started
    with noting() as names:
        for name in PRELOADED:
            importlib.import_module(name)
    channel = socket.socket(fileno=fd)
    server = Server(channel)
    keep_preloaded()
    channel.send(json.dumps(sorted(names)).encode())
    return server.serve()


if __name__ == "__main__":
    sys.path[0] = str(Path(sys.argv[1]).parent)
    if serve(int(sys.argv[2])) is not None:
        from invoke.main import program

        program.run()
