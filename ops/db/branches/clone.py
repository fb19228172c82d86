"""A copy of a whole database by CREATE DATABASE … TEMPLATE, in the way that is fastest, with what a template loses.

https://www.postgresql.org/docs/18/sql-createdatabase.html: a template must have no sessions, and its grants, settings, owner and
comment do not come along. https://www.postgresql.org/docs/18/runtime-config-resource.html#GUC-FILE-COPY-METHOD: `clone` has a file
system share the blocks of both files; one that cannot is made to copy them, and nobody is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config.paths import local_dir, write_private
from config.settings import Settings
from ops import own_files, postgres, row_values
from ops.console import say
from ops.db import create_database, rename_database, sessions
from ops.errors import Problem, Refused
from ops.targets import bound
from ops.targets.identity import KEPT, PLANS
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

Strategy = Literal["clone", "wal_log", "file_copy"]
"""Blocks shared by the file system; each block through the WAL; files copied between two checkpoints."""

WORTH_FILES = 128 * 1024 * 1024
"""Bytes from which on copying files is faster: PostgreSQL 18 on ext4, two processors: 8 MB 0.05 s by WAL and 0.3 s by files, 79 MB 0.4 s and
0.5 s, 485 MB 2.8 s and 1.1 s, 1.4 GB 8.5 s and 2.0 s."""
FICLONE = 0x40049409
"""The ioctl of Linux by which a file takes the blocks of another one: https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html."""
TRIED = "file-clones.json"
NEWCOMERS = 6.0
"""Seconds for which those who come to the source are ended: the server waits five for it to be left, and lets nobody in meanwhile."""


def clone_database(conn: Connection[DictRow], source: str, name: str, strategy: Strategy, *, owner: str = "") -> None:
    """Make a database of another one's content, over a session on neither; raises psycopg's errors.

    Settings, grants and comment are the caller's to carry over (ops/db/create_database.py).
    """
    import psycopg
    from psycopg import sql

    parts = [sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(source))]
    if conn.info.server_version >= 150000:
        parts.append(sql.SQL("strategy {}").format(sql.SQL("wal_log" if strategy == "wal_log" else "file_copy")))
    if owner:
        parts.append(sql.SQL("owner {}").format(sql.Identifier(owner)))
    if strategy == "clone":
        with contextlib.suppress(psycopg.errors.InvalidParameterValue):  # a server that was built without it copies
            conn.execute("set file_copy_method = clone")
    conn.execute(sql.SQL(" ").join(parts))
    if strategy == "clone":
        conn.execute("reset file_copy_method")


def fastest(settings: Settings, facts: dict[str, Any], size: int) -> Strategy:
    """Return the fastest way to copy a database of so many bytes; `facts` are those of its server."""
    if (
        facts["version_num"] >= 180000
        and facts["data_directory"]
        and is_sharing(settings.root, Path(facts["data_directory"]))
    ):
        return "clone"
    return "file_copy" if size >= WORTH_FILES else "wal_log"


def is_sharing(root: Path, data: Path) -> bool:
    """Whether the file system of a data folder on this machine shares blocks between files; found out once, by trying."""
    try:
        device = f"{data}:{data.stat().st_dev}"
    except OSError:  # another machine's, or another user's
        return False
    path = root / ".local" / TRIED
    tried = own_files.read(path, dict, "remove it, then run this again") or {}
    if device not in tried:
        tried[device] = shares(data)
        with contextlib.suppress(OSError, Problem):  # a folder that cannot be written is no reason to stop
            write_private(local_dir(root) / TRIED, json.dumps(tried, indent=2), lasting=False)
    return bool(tried[device])


def shares(folder: Path) -> bool:
    """Have the file system share a block between two files in a folder; they have no names, so that nothing can be left of them."""
    unnamed = getattr(os, "O_TMPFILE", None)
    if unnamed is None:
        return False
    try:
        with (
            open(os.open(folder, os.O_RDWR | unnamed, 0o600), "wb") as one,
            open(os.open(folder, os.O_RDWR | unnamed, 0o600), "wb") as two,
        ):
            one.write(bytes(8192))
            one.flush()
            fcntl.ioctl(two.fileno(), FICLONE, one.fileno())
    except OSError:
        return False
    return True


def copy_whole(origin: OpenTarget, name: str, comment: str, *, force: bool) -> Strategy:
    """Make a database of the content of the origin's, with its owner, settings, grants and limit of connections, and a comment; return how.

    Idle sessions on the source are ended, those at work with `force`, else `Refused` is raised before anything is done.
    What this user may not give is said and left out.
    """
    source = origin.database()
    assert source is not None
    check_copied(source)
    sessions.check_sessions(origin, [origin.name], force=force)
    size = postgres.row(origin.conn, "select pg_database_size(%s) as bytes", origin.name)["bytes"]
    strategy = fastest(origin.settings, origin.facts, size)
    copy_past_sessions(origin, name, strategy, source["owner"], force=force)
    plain = comment.replace(KEPT, "").strip()
    create_database.carry_over(origin, {**source, "comment": plain}, name, force=True, act="branch")
    for statement in create_database.limits({**source, "datistemplate": False}, name):
        origin.conn.execute(statement)
    for row in bound.found(origin):
        if row["kind"] == "label" and row["dbname"] == origin.name:
            say(f"note: the security label by {row['name']} does not go along: {row['more']} is that of {origin.name}")
    return strategy


def check_copied(source: dict[str, Any]) -> None:
    """Refuse a database that cannot be copied as it is."""
    if PLANS in (source["comment"] or ""):
        raise Refused(
            f"{source['datname']} has no rows, and shows another database's plans: a copy would be of its whole size on the disk, and of no use; "
            "give a branch one with rows (inv db.setup)"
        )
    if source["datconnlimit"] == bound.INVALID:
        raise Problem(
            f"the removal of {source['datname']} was broken off, and nothing in it can be read: inv db.setup builds it anew"
        )


def copy_past_sessions(origin: OpenTarget, name: str, strategy: Strategy, owner: str, *, force: bool) -> None:
    """Copy the origin's database past the sessions that are on it; raises `Refused` where one is at work, and `Problem`."""
    import psycopg

    conn = origin.conn
    there = end_idle(origin, conn, force=force)
    sessions.settle(conn, [origin.name])
    for again in (True, False):
        try:
            with hold_off(origin, force=force) if there else contextlib.nullcontext():
                clone_database(conn, origin.name, name, strategy, owner=owner)
        except psycopg.errors.ObjectInUse:
            sessions.check_sessions(origin, [origin.name], force=force)
            there = sessions.in_the_way(conn, [origin.name])
            if not again:
                who = f": {sessions.describe(there[0])}" if there else ""
                raise Problem(
                    f"sessions keep coming to {origin.name}{who}: stop what opens them, then run this again"
                ) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise Problem(
                f"{origin.target.params.get('user', 'this user')} may not copy {origin.name} ({row_values.message(error.diag)}): "
                f"its owner may, with CREATEDB: grant {owner} to this user"
            ) from None
        else:
            return


def end_idle(origin: OpenTarget, conn: Connection[DictRow], *, force: bool) -> list[DictRow]:
    """End the sessions on the origin's database that may be ended; return and name them."""
    ended = [
        each
        for each in sessions.in_the_way(conn, [origin.name])
        if rename_database.ours_to_end(origin, each, force) and each["pid"] != origin.conn.info.backend_pid
    ]
    mine = postgres.application(origin.task)
    sessions.end_sessions(conn, ended)
    for each in ended:
        if each["application"] != mine:
            say(f"ended {sessions.describe(each)}")
    return ended


@contextlib.contextmanager
def hold_off(origin: OpenTarget, *, force: bool) -> Iterator[None]:
    """End those who come to the origin's database between our look and the moment from which the server lets nobody in."""
    import psycopg

    done = threading.Event()

    def watch() -> None:
        until = time.monotonic() + NEWCOMERS
        with contextlib.suppress(psycopg.Error, Problem):
            home = origin.conn.info.dbname
            beside = (
                "template1" if home == origin.name else home
            )  # our own session does not stand in its way, a second one would
            with postgres.connect(origin.target, task=origin.task, dbname=beside) as other:
                while not done.wait(0.02) and time.monotonic() < until:
                    end_idle(origin, other, force=force)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join(1)
