"""The embedded server in .local/postgres: started, healed, let into, stopped and wiped.

Its state is in state.py, its process in postmaster.py; launch.py makes and starts it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from config import paths
from config.paths import local_dir, own_folder
from config.targets import Target
from ops import file_lock, own_files
from ops.console import hide, say
from ops.errors import LoginFailed, Misconfigured, Problem
from ops.targets.embedded import binaries, launch, postmaster, state
from ops.targets.embedded.state import MARKER, Server, folder, homes

DEFAULT_PORT = 5432
OWNER = "postgres"
OURS = ("server.*", "log", "log.old", "data.new*", "password.*", "extensions", MARKER)
"""What is made beside the data, whole or by a run that was killed."""


@dataclass(frozen=True)
class Login:
    """What CONNECTION_URL asks of a server that `db.up` starts."""

    port: int
    user: str
    password: str = field(repr=False)


@contextlib.contextmanager
def hold_lock(root: Path) -> Iterator[None]:
    """Let one run at a time start, stop or make the server."""
    path = folder(root)
    fresh = [each for each in (path.parent, path) if not each.exists()]
    try:
        own_folder(local_dir(root) / path.name).mkdir(exist_ok=True)
        for each in fresh if os.geteuid() == 0 else ():
            each.chmod(0o755)  # made by us just now, under whatever umask; another user may run the server
        fd = paths.opened(path / "lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except PermissionError:
        raise Problem(f"{path} belongs to another user: run inv as that user") from None
    except OSError as error:
        raise Problem(f"the embedded server cannot write to {path}: {error.strerror}") from None
    with open(fd, "w", encoding="utf-8") as file:
        for made in (path.parent, path.parent / ".gitignore", path, path / "lock"):
            binaries.hand_over(made)
        file_lock.take(file.fileno(), "another run that starts or stops the embedded server")
        yield


def start_server(
    root: Path, login: Login | None = None, owner: str = OWNER, *, programs: Path | None = None, socket: bool = False
) -> Server:
    """Make sure that the embedded server runs, and return it.

    With `login` it listens on that port and lets that user in with that
    password. `owner` is the superuser of one that is yet to be made, `programs`
    the bin folder of a version that is wished for, `socket` whether that one
    lets in by a socket in its data, too. Raises `Problem` with the
    server's own last words when it does not start, `InProgress` when it is
    still recovering.
    """
    with hold_lock(root):
        server = state.load(root) or new(root, login, owner, socket=socket)
        pid = postmaster.running_pid(server)
        if pid and not postmaster.is_as_remembered(server, login.port if login else None):
            postmaster.end(server, pid)
            pid = None
        if not server.data.exists():
            server = launch.make(server, programs)
        # a run that was killed may have left it on its way up
        if not pid or not postmaster.is_ready(server, pid, lambda: not postmaster.is_alive(pid)):
            server = launch.launch(server, login.port if login else None, programs)
        if server.home != folder(root):
            mark(server.home, root)  # the clone may have been renamed
        if login is None and len(server.passwords) > 1:  # a run was killed while it changed the password
            login = Login(server.port, server.user, server.passwords[0])
        if login:
            server = admit(server, login)
        return server


def new(root: Path, login: Login | None, owner: str, *, socket: bool = False) -> Server:
    """Describe a server that is yet to be made, and write that down first.

    A run killed during initdb then leaves a password that fits what comes after.
    """
    home = folder(root)
    if (home / "data").exists():
        raise Problem(
            f"{home / 'data'} has lost the server.json beside it, which holds its password: "
            "put that back, or inv db.down --wipe starts anew without the data"
        )
    if os.geteuid() == 0 and not is_reachable(home):
        for left in homes(root):  # a clone that was removed: its server may still hold the port
            retire(left)
            say(f"note: {left} holds the data of an earlier clone at this path: remove it if nobody wants it")
        home = Path(tempfile.mkdtemp(dir=binaries.shared_home(), prefix="data-"))
        home.chmod(0o755)
        mark(home, root)
        say(f"{root} is closed to the user that runs Postgres: its data goes to {home}")
    # another user is made by `admit`: initdb does not take every name
    password = login.password if login and login.user == owner else secrets.token_urlsafe(18)
    server = Server(root, home, login.port if login else DEFAULT_PORT, owner, (password,), socket=socket)
    server.save()
    return server


def is_reachable(home: Path) -> bool:
    """Whether the user that runs the server gets through to this repository."""
    return binaries.runner(home / "data").can_use(home)


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
        its_own = login.user == server.user
        if its_own:
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
        if its_own:
            server = replace(server, passwords=(login.password,))
            server.save()
    return server


def stop_server(root: Path) -> bool:
    """Stop the embedded server; False if it was not running."""
    with hold_lock(root):
        server = state.load(root)
        pid = postmaster.running_pid(server) if server else None
        if server and pid:
            postmaster.end(server, pid)
        return bool(pid)


def mark(home: Path, root: Path) -> None:
    """Note in a folder under /var/lib which clone it belongs to."""
    with open(paths.opened(home / MARKER, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w", encoding="utf-8") as file:
        file.write(str(root))


def remove_data(root: Path) -> list[Path]:
    """Stop the embedded server and remove its data, whatever state that is in; return what lies there and is not its."""
    with hold_lock(root):
        try:
            server = state.load(root)
            places = [server.home] if server else []
        except Problem:  # damaged: look where it may be
            server, places = None, homes(root)
        left = []
        for place in {folder(root), *places}:
            if is_made_here(place / "data", server):
                retire(place)
                # in one step: what a run that is killed meanwhile leaves of it could not be told for ours any more
                (place / "data").rename(place / f"data.new.{secrets.token_hex(4)}")
            left += [place / name for name in own_files.remove(place, OURS) if name != "lock"]
            if place != folder(root) and not any(place.iterdir()):
                place.rmdir()
        return left


def is_made_here(data: Path, server: Server | None) -> bool:
    """Whether a data folder is that of the server; of one that is not known, whether it is Postgres' at all."""
    if data.is_symlink() or not data.is_dir():
        return False
    known = server.identity if server and server.data == data else ""
    return state.identity(data) == known if known else (data / "PG_VERSION").is_file()


def retire(home: Path) -> None:
    """Stop the server whose data lies in a folder, if it runs."""
    server = Server(home, home, 0, "", ("",))
    if pid := postmaster.running_pid(server):
        postmaster.end(server, pid)


def login_of(target: Target) -> Login:
    """Return what CONNECTION_URL asks of a server on this machine."""
    if not target.loopback:
        raise Misconfigured(f"{target.source} names {target.host}, which is not this machine: nothing to start here")
    if not target.params.get("user") or not target.password:
        raise Misconfigured(f"{target.source}: give user and password, the embedded server wants both")
    if "\n" in target.password or "\r" in target.password:
        raise Misconfigured(f"{target.source}: the embedded server takes no line break in a password")
    return Login(target.port, target.params["user"], target.password)


def is_answering(root: Path, port: int) -> bool:
    """Whether what listens on a port is the embedded server of this repository."""
    server = state.load(root)
    return bool(server and server.port == port and postmaster.running_pid(server))
