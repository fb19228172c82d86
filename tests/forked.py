"""Calls of `inv` by a fork of what has imported the libraries (tests/fork_server.py): their import costs more than most tasks."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INV = Path(sys.executable).parent / "inv"
SERVER = Path(__file__).with_name("fork_server.py")
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "OPENSSL_", "MALLOC_", "GLIBC_")
"""What an interpreter and libraries in C read as they start: for each way to set these there is a server of its own."""
HOME = "/home-of-the-fork-server"
"""HOME of a server: what is imported keeps it, and is given that of each call."""


@dataclass
class Server:
    """One that has imported in some environment."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    environ: Mapping[str, str]
    asked: Sequence[str]
    """Which variables the imports have asked for."""

    def takes(self, env: Mapping[str, str]) -> bool:
        """Whether the imports would have come out the same in an environment."""
        return all(env.get(name) == self.environ.get(name) for name in self.asked if name != "HOME")

    def stop(self) -> None:
        self.channel.close()
        self.process.communicate()


_servers: dict[frozenset[tuple[str, str]], Server] = {}


def server_for(env: Mapping[str, str]) -> Server | None:
    """Return a server for calls in an environment; None where only a start will do.

    All is a start where TEST_INV=exec says so, and where coverage counts lines, which begins with a process.
    """
    if sys.platform != "linux" or os.environ.get("TEST_INV") == "exec" or any(n.startswith("COVERAGE_") for n in env):
        return None
    key = frozenset((name, value) for name, value in env.items() if name.startswith(AT_START))
    if key not in _servers:
        _servers[key] = begin({**env, "HOME": HOME})
    return _servers[key] if _servers[key].takes(env) else None


def interpreter() -> str:
    """Return by which name `inv` starts Python, which is what sys.executable is there."""
    first = INV.read_bytes().partition(b"\n")[0].decode()
    return first[2:] if first.startswith(f"#!{sys.prefix}/") else sys.executable


def begin(env: Mapping[str, str]) -> Server:
    """Start a server, and hear from it once it has imported."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [interpreter(), SERVER, INV, str(theirs.fileno())],
            cwd="/",
            env=env,
            stdin=subprocess.PIPE,  # of the kind that a call's are: Python looks at its streams when it starts
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
    asked = ours.recv(1 << 16)
    if not asked:
        raise RuntimeError(process.communicate()[1].decode())
    made = Server(process, ours, env, json.loads(asked))
    atexit.register(made.stop)
    return made


class Call(subprocess.Popen[str]):
    """A Popen of `inv`, for which a server forks; it is the server that waits for the end, and tells it."""

    def __init__(self, server: Server, argv: Sequence[object], *, umask: int = -1, **how: Any) -> None:
        self.server, self.mask = server, umask if umask >= 0 else own_umask()
        super().__init__(argv, text=True, **how)  # type: ignore[arg-type] # paths, too

    def _execute_child(self, args: Sequence[object], *how: Any) -> None:
        """Do what Popen's does, with the streams as pipes or files; the places are those of its parameters since Python 3.10."""
        cwd, env, ends, session = how[4], how[5], how[9:15], how[20]
        call = {"argv": [*map(str, args)], "cwd": str(cwd), "env": {**env}, "umask": self.mask, "session": session}
        self.answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            streams = [ends[0], ends[3], ends[5]]
            socket.send_fds(self.server.channel, [json.dumps(call).encode()], [*streams, theirs.fileno()])
        self.pid = int(self.answers.recv(32))
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined] # as Popen's own does

    def _try_wait(self, flags: int) -> tuple[int, int]:
        try:
            status = int(self.answers.recv(32, socket.MSG_DONTWAIT if flags else 0))
        except BlockingIOError:
            return 0, 0
        self.answers.close()
        return self.pid, status

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined] # as Popen's own does
        return self.returncode


def own_umask() -> int:
    """Return that of this process, which can only be asked for by setting it."""
    found = os.umask(0o077)
    os.umask(found)
    return found


def start(args: Sequence[object], *, cwd: Path, env: Mapping[str, str], **how: Any) -> subprocess.Popen[str]:
    """Begin `inv` with these arguments, as subprocess.Popen begins a program; all three of its streams must be said."""
    server = server_for(env)
    if server is None:
        return subprocess.Popen([INV, *args], cwd=cwd, env=env, text=True, **how)  # type: ignore[list-item]
    return Call(server, [INV, *args], cwd=cwd, env=env, **how)


def run(
    args: Sequence[object], *, cwd: Path, env: Mapping[str, str], input: str = "", timeout: float
) -> subprocess.CompletedProcess[str]:
    """Do what subprocess.run does for `inv` with these arguments, all output captured."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(args, cwd=cwd, env=env, **streams) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
