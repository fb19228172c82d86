"""The server that the tests' databases are made on: one of their own, or any by its URL."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from config import paths, urls
from config.declared import Kind
from config.paths import local_dir, make
from config.settings import Settings
from config.targets import Target, resolve
from ops import file_lock, postgres
from ops.console import hide
from ops.db import scratch_server
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import opening
from ops.targets.embedded import binaries, postmaster, server, state
from ops.targets.identity import Reason, facts, seen, why_prod
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

TASK = "testing"
SOURCE = "inv_testing_url"
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # a worker in the template holds up each clone, and no clone lives long enough for one
    "log_checkpoints": "off",  # there are two for each clone
    "max_connections": "400",  # of which each worker's application has a pool
}
"""Settings of a server of the tests' own, whose data nobody wants after a power cut."""


@contextlib.contextmanager
def open_own(settings: Settings, name: str) -> Iterator[OpenTarget]:
    """Yield a database on the server of the tests' own, whether it is there or not; the last run to leave stops the server.

    Its data stays in .local/testing, with the templates, so that the next run finds them made.
    """
    folder = local_dir(settings.root) / scratch_server.TESTING
    with hold_folder(folder):
        with opened(folder, "lock.start") as file:
            # of two workers, one makes it, and starts it anew with its settings
            file_lock.take(file.fileno(), "other tests, which start the server")
            target = start(folder).target(name)
        with contextlib.closing(opening.maintenance(settings, target, TASK)) as conn:
            yield OpenTarget(settings, target, TASK, conn, facts(conn, name), Reason())


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold the folder of the server with other runs; the last of them stops it."""
    make(folder, 0o777)
    with opened(folder, "lock") as file:
        file_lock.take(file.fileno(), "a run that stops or wipes the tests' server", shared=True)  # done in a moment
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # let go first: of two that leave at once, one gets it
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                server.stop_server(folder)


def opened(folder: Path, name: str) -> IO[str]:
    """Open a file to be locked."""
    return open(paths.opened(folder / name, os.O_RDWR | os.O_CREAT, 0o644), "w", encoding="utf-8")


def start(folder: Path) -> state.Server:
    """Start the server, made anew where its data is of no use any more."""
    made = state.load(folder)
    if made and is_stale(made):
        server.remove_data(folder)
        made = None
    if made:
        try:
            return tuned(server.start_server(folder), folder)
        except Problem:  # whatever is wrong with it, nothing in there is needed
            server.remove_data(folder)
    login = server.Login(postmaster.free_port(), server.OWNER, secrets.token_urlsafe(18))
    return tuned(server.start_server(folder, login), folder)


def is_stale(made: state.Server) -> bool:
    """Whether the data is of another version than the programs, or was in use when the machine went down: nothing was flushed."""
    import psutil

    version, pid = made.data / "PG_VERSION", made.data / "postmaster.pid"
    if not version.exists() or postmaster.running_pid(made):
        return False
    cut = pid.exists() and pid.stat().st_mtime < psutil.boot_time()
    return cut or version.read_text(encoding="ascii").strip() != str(binaries.major(binaries.server_bin()))


def tuned(made: state.Server, folder: Path) -> state.Server:
    """Give a new server its settings, and start it again with them."""
    with contextlib.closing(postgres.connect(made.target("postgres"), task=TASK)) as conn:
        if postgres.row(conn, "select current_setting('fsync') as fsync")["fsync"] == FAST["fsync"]:
            return made
        wanted = dict(FAST)
        if conn.info.server_version >= 180000:  # taken on every system, and of use where files can share their blocks
            wanted["file_copy_method"] = "clone"
        for name, value in wanted.items():
            with contextlib.suppress(*unavailable()):
                conn.execute(f"alter system set {name} = '{value}'".encode())
    server.stop_server(folder)
    return server.start_server(folder)


def unavailable() -> tuple[type[Exception], ...]:
    """Return what a setting ends in that this build of Postgres does not have."""
    import psycopg

    return psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject


@contextlib.contextmanager
def open_url(settings: Settings, url: str, name: str) -> Iterator[OpenTarget]:
    """Yield a database on the server of a URL, as SQLAlchemy and testcontainers write them, too; its own settings are left alone.

    Raises `Refused` where that server is production's.
    """
    target = read(url)
    with contextlib.closing(reach(settings, target)) as conn:
        check_not_prod(settings, target, conn)
        yield OpenTarget(settings, target.on(dbname=name), TASK, conn, facts(conn, name), Reason())


def read(url: str) -> Target:
    """Return what a URL names; the database may be any, since none of ours is made of it. Raises `Misconfigured`."""
    from psycopg.conninfo import conninfo_to_dict

    scheme, found, rest = url.partition("://")
    if found and "+" in scheme:
        url = f"{scheme.partition('+')[0]}://{rest}"
    if why := urls.misread(url):
        raise Misconfigured(f"{SOURCE}: {why}")
    try:
        params = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except Exception:
        raise Misconfigured(
            f"{SOURCE}: libpq cannot read it: it must look like postgresql://user:password@host:5432/database"
        ) from None
    if why := urls.unusable({**params, "dbname": "any"}):
        raise Misconfigured(f"{SOURCE}: {why}")
    hide(params.get("password", ""))
    return Target(TASK, SOURCE, {"dbname": "postgres", **params}, kind=Kind.SERVER)


def reach(settings: Settings, target: Target) -> Connection[DictRow]:
    conn = opening.maintenance(settings, target, TASK)
    if postgres.row(conn, "select pg_backend_pid() as pid")["pid"] != conn.info.backend_pid:
        conn.close()
        raise Misconfigured(f"{SOURCE}: a pooler stands before this server: give the server's own address")
    return conn


def check_not_prod(settings: Settings, target: Target, conn: Connection[DictRow]) -> None:
    """Raise `Refused` for a server that is known as production's, by whatever name it is reached."""
    known = facts(conn, target.dbname)
    why = str(why_prod(settings, target, known, None))
    if not why and known["system_id"] in {entry["system_id"] for entry in seen(settings.root)}:
        why = "its server was seen as prod before (.local/prod.json)"
    why = why or same_server(settings, target)
    if why:
        raise Refused(
            f"{SOURCE}: {target.address} is production ({why}), and tests make and drop databases: name another server"
        )


def same_server(settings: Settings, target: Target) -> str:
    """Return which variable of a protected target names the same server, or nothing."""
    for each in settings.targets.values():
        with contextlib.suppress(Misconfigured):  # not configured, or not readable: nothing to compare with
            other = resolve(settings, each.name) if each.protected else None
            if other and (other.host, other.port) == (target.host, target.port):
                return f"{other.source} names the same server"
    return ""
