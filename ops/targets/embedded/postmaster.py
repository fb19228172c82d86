"""The process of the embedded server: whether it runs, is ready, and ours; and its port."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config import paths
from ops import own_files, silence
from ops.errors import InProgress, Problem
from ops.targets.embedded.state import Server

TIMEOUT = 60.0
"""Seconds to wait for a start or stop; crash recovery of a large database takes longer. No setting: the server goes on by
itself, and whoever runs the task again goes on waiting."""
PORTS = 16384, 32768
"""The first port that is taken for a server where the usual one is not free, and the first that is not."""


def status(server: Server) -> dict[str, Any]:
    """Return what postmaster.pid says, as far as it is written: pid, data, port and status."""
    try:
        text = own_files.content(server.data / "postmaster.pid").decode(errors="surrogateescape")
        lines = [*text.split("\n"), *[""] * 8]
        return {"pid": int(lines[0]), "data": lines[1], "port": lines[3], "status": lines[7].strip()}
    except PermissionError:
        raise Problem(f"{server.data} belongs to another user: run inv as that user") from None
    except (OSError, ValueError, paths.Foreign):
        return {}


def running_pid(server: Server) -> int | None:
    """Return the pid of the server that runs on this data.

    A server works in its data folder: that tells it from another program which
    has got its number since (usual where a workspace restarts), and from the
    server of the clone that this one is a copy of.
    """
    import psutil

    pid = status(server).get("pid")
    if not pid:
        return None
    try:
        process = psutil.Process(pid)
        ours = process.name() in ("postgres", "postmaster") and Path(process.cwd()).samefile(server.data)
    except (psutil.Error, OSError, ValueError):
        return None
    return int(pid) if ours else None


def is_as_remembered(server: Server, port: int | None = None) -> bool:
    """Whether its pid file says that the server runs where we expect it.

    Not so when it was stopped, when the folder was renamed or copied while it
    ran, or when another port is wanted.
    """
    found = status(server)
    if not found or not is_alive(found["pid"]):
        return False
    if not found["port"]:  # it has only just begun to start
        return True
    where = (found["data"], found["port"])
    return where == (str(server.data), str(port or server.port)) and found["status"] != "stopping"


def disown(server: Server) -> None:
    """Make Postgres see that a pid file is stale.

    Postgres believes any number that is in use, unless it is that of its
    parent, which we are. The other lines stay: by them it knows whether
    processes of a killed server still use the data.
    """
    path = server.data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError), open(paths.opened(path, os.O_RDWR), "r+b") as file:
        _, _, rest = file.read().partition(b"\n")
        if rest:
            file.seek(0)
            file.write(b"%d\n%s" % (os.getpid(), rest))
            file.truncate()
        else:  # cut short by a full disk
            path.unlink()
    if server.socket:  # its lock lies in the data, too, which that file guards
        (server.data / f".s.PGSQL.{server.port}.lock").unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_ready(server: Server, pid: int, gone: Callable[[], bool]) -> bool:
    """Wait until the server of this pid lets people in; False if it is gone instead."""
    deadline = time.monotonic() + TIMEOUT
    while not gone():
        found = status(server)
        if found.get("pid") == pid and found["status"] == "ready":
            return True
        if time.monotonic() > deadline:
            raise InProgress(
                f"the embedded server is still starting after {TIMEOUT:.0f} s, which no setting changes: see {server.log}, and run this again to go on waiting"
            )
        time.sleep(0.005)
    return False


def end(server: Server, pid: int) -> None:
    """Ask the server to stop now, and wait until it has."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)  # "fast": ends sessions, then a clean shutdown
    deadline = time.monotonic() + TIMEOUT
    with silence.waiting(f"the embedded server (pid {pid}) to stop"):
        while (server.data / "postmaster.pid").exists() and is_alive(pid):
            if time.monotonic() > deadline:
                raise InProgress(
                    f"the embedded server (pid {pid}) is still stopping after {TIMEOUT:.0f} s, which no setting changes: run this again to go on waiting"
                )
            time.sleep(0.01)


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EACCES  # Postgres will say that this port is root's
    return True


def free_port() -> int:
    """Return a port that is free at this moment, and stays so if the server is away for a while.

    None of those that the system gives to whoever connects somewhere: Linux's are from 32768 on, and macOS's from 49152.
    https://docs.kernel.org/networking/ip-sysctl.html (ip_local_port_range)
    """
    first, beyond = PORTS
    while True:
        port = first + secrets.randbelow(beyond - first)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
