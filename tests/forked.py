"""Calls of `inv` by a fork of what has imported the libraries (tests/fork_server.py): their import costs more than most tasks."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fork_server import AT_START

INV = Path(sys.executable).parent / "inv"
AWS = INV.with_name("aws")
PYTEST = INV.with_name("pytest")
SERVER = Path(__file__).with_name("fork_server.py")
CLIENT = Path(__file__).with_name("fork_client.py")
HOME = "/home-of-the-fork-server"
"""HOME of a server: what is imported keeps it, and is given that of each call."""

OWN = dict(os.environ)
"""The environment in which the tests have begun."""


@dataclass
class Server:
    """One that has imported in some environment."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    environ: Mapping[str, str]
    asked: Sequence[str]
    """Which variables the imports have asked for."""
    folder: Path
    """Where its socket is, and a program for the PATH of a shell that knocks there."""

    def takes(self, env: Mapping[str, str]) -> bool:
        """Whether the imports would have come out the same in an environment."""
        return all(env.get(name) == self.environ.get(name) for name in self.asked if name != "HOME")

    def stop(self) -> None:
        self.channel.close()
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


_servers: dict[tuple[Path, frozenset[tuple[str, str]]], Server] = {}


def server_for(env: Mapping[str, str], program: Path = INV) -> Server | None:
    """Return a server for calls of a program in an environment; None where only a start will do.

    All is a start where TEST_INV=exec says so, and where coverage counts lines, which begins with a process.
    """
    if sys.platform != "linux" or os.environ.get("TEST_INV") == "exec" or any(n.startswith("COVERAGE_") for n in env):
        return None
    key = program, frozenset((name, value) for name, value in env.items() if name.startswith(AT_START))
    if key not in _servers:  # in the environment of the tests, and not in that of whichever call comes first
        usual = {name: value for name, value in OWN.items() if not name.startswith(AT_START)}
        _servers[key] = begin({**usual, **dict(key[1]), "HOME": HOME}, program)
    return _servers[key] if _servers[key].takes(env) else None


def path_of(text: str, env: Mapping[str, str]) -> str:
    """Return the PATH of a shell that runs some lines in an environment: its `inv` and `aws` are of ours, by a fork where that will do."""
    called = [program for program in (INV, AWS) if program.exists() and re.search(rf"\b{program.name}\b", text)]
    serving = [server for program in called if (server := server_for(env, program))]
    return os.pathsep.join([*(str(server.folder) for server in serving), str(INV.parent), env["PATH"]])


def interpreter(program: Path) -> str:
    """Return by which name a program starts Python, which is what sys.executable is there."""
    first = program.read_bytes().partition(b"\n")[0].decode()
    return first[2:] if first.startswith(f"#!{sys.prefix}/") else sys.executable


def write_client(program: Path, socket_of: Path) -> None:
    """Write the program that stands for another one, beside the socket of the server that forks."""
    code = CLIENT.read_text(encoding="utf-8")
    path = socket_of.with_name(program.name)
    path.write_text(f"#!{sys.executable} -IS\n{code}\n\nmain({str(socket_of)!r}, {str(program)!r})\n", encoding="utf-8")
    path.chmod(0o755)


def begin(env: Mapping[str, str], program: Path) -> Server:
    """Start a server, and hear from it once it has imported."""
    folder = Path(tempfile.mkdtemp(prefix="forked-", dir="/tmp"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, door:
        door.bind(str(folder / "door"))
        door.listen()
        process = subprocess.Popen(
            [interpreter(program), SERVER, program, str(theirs.fileno()), str(door.fileno())],
            cwd="/",
            env=env,
            stdin=subprocess.PIPE,  # of the kind that a call's are: Python looks at its streams when it starts
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno(), door.fileno()],
        )
    asked = ours.recv(1 << 16)
    if not asked:
        raise RuntimeError(process.communicate()[1].decode())
    made = Server(process, ours, env, json.loads(asked), folder)
    write_client(program, folder / "door")
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


def start(
    args: Sequence[object], *, cwd: Path, env: Mapping[str, str], program: Path = INV, **how: Any
) -> subprocess.Popen[str]:
    """Begin `inv` or another program with these arguments, as subprocess.Popen begins it; all three of its streams must be said."""
    server = server_for(env, program)
    if server is None:
        return subprocess.Popen([program, *args], cwd=cwd, env=env, text=True, **how)  # type: ignore[list-item]
    return Call(server, [program, *args], cwd=cwd, env=env, **how)


def run(
    args: Sequence[object],
    *,
    cwd: Path,
    env: Mapping[str, str],
    input: str = "",
    timeout: float,
    program: Path = INV,
) -> subprocess.CompletedProcess[str]:
    """Do what subprocess.run does for `inv` or another program with these arguments, all output captured."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(args, cwd=cwd, env=env, program=program, **streams) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
