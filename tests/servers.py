"""Postgres servers for the tests: of several versions, started from their programs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import importlib.util
import itertools
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ops.targets.embedded import binaries, postmaster

INITDB = ("-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8")
PASSWORD = "p@ss w:rd/%41é"
ROOM = 4e9
"""Bytes of memory that there have to be for servers in it: one of a worker takes some 100 MB, and there are up to ten."""


_ports = itertools.count(os.getpid() * 1009)
"""From another place in each worker, and no port twice in one: what a process knows of a server, it knows by its port."""


def free_port() -> int:
    """Return a port that nobody takes until it is used, as the suite's own does (ops/targets/embedded/postmaster.py)."""
    first, end = postmaster.PORTS
    while True:
        port = first + next(_ports) % (end - first)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def quick_disk() -> str:
    """Return where a new server costs little: the memory, if there is enough of it and programs may be run there.

    On a disk initdb and each commit of a server of the suite's own wait for it, and of the files of databases that come and
    go the file system remembers which were removed a moment ago: ext4 looks at each of them for each new one.
    """
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK) or os.statvfs(memory).f_flag & getattr(os, "ST_NOEXEC", 0):
        return "/tmp"
    room = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available, allowed())
    return memory if room > ROOM else "/tmp"


def allowed(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return the bytes that the limits of a container, or of another cgroup around this process, leave; without one, all there are.

    What lies in /dev/shm counts against them, and the kernel ends a process where they are passed; pages of files that nobody
    uses are given back before that. https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current, memory.stat)
    """
    left = math.inf
    for line in own.read_text().splitlines() if own.exists() else ():
        _, kinds, path = line.split(":", 2)
        if not kinds:
            mounted, limit, used = groups, "memory.max", "memory.current"
        elif "memory" in kinds.split(","):
            mounted, limit, used = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        below = mounted / path.lstrip("/")
        for folder in (below, *below.parents):
            if (folder / limit).exists() and (most := (folder / limit).read_text().strip()) != "max":
                unused = re.findall(
                    r"^(?:total_)?inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE
                )
                left = min(left, int(most) - int((folder / used).read_text()) + int(unused[-1]))
    return left


folder: Path | None = None
"""Where servers are made in this process, if another place than `quick_disk` is to have them (tests/fix_memory.py)."""


def new_home() -> Path:
    """Make the folder of a server, which others may pass."""
    home = Path(tempfile.mkdtemp(prefix="pgtest-", dir=folder or quick_disk()))
    home.chmod(0o755)
    return home


def wheel(package: str) -> Path | None:
    """Return the bin folder of a wheel that brings Postgres."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


def secret(password: str) -> str:
    """Return a password as Postgres keeps it, with 1,000 rounds of SCRAM instead of 4,096.

    A client works for milliseconds at each login else, and the tests log in tens of thousands of times; Go's lib/pq, dbmate's, takes no
    fewer. Its form:
    https://www.postgresql.org/docs/18/catalog-pg-authid.html; the keys: RFC 5802, section 3.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1000)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    kept = [base64.b64encode(each).decode() for each in (salt, hashlib.sha256(client).digest(), server)]
    return "SCRAM-SHA-256$1000:{}${}:{}".format(*kept)


@dataclass
class Server:
    """A running server; `params` are libpq's, without a database."""

    label: str
    params: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    home: Path | None = None
    bin: Path | None = None
    """Where its programs are."""

    @property
    def port(self) -> int:
        return int(self.params["port"])

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        if self.home:
            shutil.rmtree(self.home, ignore_errors=True)


def start(label: str, bin: Path, *, tls: bool = False, password: str = PASSWORD, more: Sequence[str] = ()) -> Server:
    """Make and start a throw-away server as the user that may run one."""
    home = new_home()
    data = home / "data"
    data.mkdir(mode=0o700)
    who = binaries.runner(home / "none")
    who.own(data)
    options: dict[str, Any] = who.options()
    if not who.can_use(bin):  # a checkout under /root: the system user cannot reach the wheel
        package = bin.parent.parent
        shutil.copytree(package, home / package.name, symlinks=True)
        if (package.parent / f"{package.name}.libs").exists():
            shutil.copytree(package.parent / f"{package.name}.libs", home / f"{package.name}.libs")
        bin = home / package.name / "pginstall" / "bin"
    pwfile = home / "pw"
    pwfile.write_text(secret(password) + "\n", encoding="utf-8")
    who.own(pwfile)
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [bin / "initdb", "-D", data, "-U", "postgres", f"--pwfile={pwfile}", "-N", *INITDB],
        cwd=home,
        check=True,
        capture_output=True,
        env=env,
        **options,
    )
    settings = list(more)
    if tls:
        key, cert = home / "server.key", home / "server.crt"
        subprocess.run(
            ["openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=localhost", "-out", cert, "-keyout", key],
            check=True,
            capture_output=True,
        )
        key.chmod(0o600)
        who.own(key)
        settings += ["ssl=on", f"ssl_cert_file={cert}", f"ssl_key_file={key}"]
        hba = data / "pg_hba.conf"
        hba.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n", encoding="ascii")
    params = {"host": "127.0.0.1", "user": "postgres", "password": password}
    if tls:
        params["sslmode"] = "require"
    return launch(Server(label, params, None, home, bin), settings)


def standby(primary: Server) -> Server:
    """Make a streaming replica of a server of ours, and start it."""
    assert primary.bin
    home = new_home()
    who = binaries.runner(home / "none")
    who.own(home)
    argv = [str(primary.bin / "pg_basebackup"), "-D", str(home / "data"), "-R", "-X", "stream", "-c", "fast"]
    argv += ["-h", "127.0.0.1", "-p", primary.params["port"], "-U", "postgres"]
    env = {**os.environ, "PGPASSWORD": primary.params["password"]}
    options: dict[str, Any] = who.options()
    subprocess.run(argv, cwd=home, check=True, capture_output=True, env=env, **options)
    made = Server("standby", {k: v for k, v in primary.params.items() if k != "port"}, None, home, primary.bin)
    return launch(made, ["hot_standby=on"])


def launch(server: Server, settings: Sequence[str]) -> Server:
    """Start the program of a server, whose data are made, and wait until it lets in."""
    home, bin = server.home, server.bin
    assert home
    assert bin
    data, port = home / "data", free_port()
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "LC_ALL": "C.UTF-8"}
    options: dict[str, Any] = binaries.runner(home / "none").options()
    argv = [str(bin / "postgres"), "-D", str(data)]
    usual = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off"]
    usual += ["max_wal_size=128MB", "min_wal_size=32MB"]  # 1 GB of what many databases have left would stay in memory
    for setting in [*usual, "max_prepared_transactions=2", *settings]:
        argv += ["-c", setting]
    log = (home / "log").open("wb")
    process = subprocess.Popen(argv, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, **options)
    log.close()
    deadline = time.monotonic() + 30
    while "ready" not in (pid.read_text() if (pid := data / "postmaster.pid").exists() else ""):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((home / "log").read_text())
        time.sleep(0.01)
    server.params["port"], server.process = str(port), process
    return server
