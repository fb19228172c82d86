"""The data behind snapshots and restored instances of the sandbox: copies of a server's files, taken while it runs.

As Postgres documents it ("Making a Base Backup Using the Low Level API", "Recovering Using a Continuous Archive Backup"). A server
keeps its write-ahead log from its birth on, of which a copy was taken then: with both, any moment since can be had again.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from config.paths import private_folder
from ops import own_files, postgres
from ops.targets.embedded import binaries, server
from ops.targets.embedded import state as kept

FOLDER = "copies"
LEFT_OUT = ("postmaster.pid", "postmaster.opts", "pgsql_tmp*", "pg_internal.init", ".s.PGSQL.*")
KEEP = "2GB"
"""Of write-ahead log, for as long as the sandbox stands."""
RECOVERY = """
# a copy that is brought to a moment
restore_command = 'false'
{other} = ''
{target} = '{value}'
recovery_target_action = 'promote'
hot_standby = off
"""
"""Postgres takes one target, and looks at them one after the other: what the copied server was brought to is taken out first."""
TARGETS = ("recovery_target_time", "recovery_target_name")
FOLLOW = """
# a copy that follows the server it is of
primary_conninfo = 'host=127.0.0.1 port={port} user={user} password={password}'
restore_command = ''
recovery_target_time = ''
recovery_target_name = ''
hot_standby = on
"""


def take(of: kept.Server, home: Path) -> Path:
    """Copy the data of a running server into a new folder below the sandbox's, and return that."""
    folder = private_folder(home / FOLDER)
    copy = folder / secrets.token_hex(8)
    with postgres.connect(of.target("postgres"), task="sandbox") as conn:
        conn.execute("select pg_backup_start('inv', fast => true)")
        with forgiving():
            shutil.copytree(of.data, copy, ignore=left_out(of.data), copy_function=copied)
        label = postgres.row(conn, "select labelfile from pg_backup_stop(wait_for_archive => false)")["labelfile"]
    add_log(of, copy)
    (copy / "backup_label").write_text(label, encoding="utf-8")
    return copy


def left_out(data: Path) -> Any:
    """Return what tells copytree which names to leave out: what is of the running process, its slots, and the log, which comes last."""
    usual = shutil.ignore_patterns(*LEFT_OUT)

    def ignore(folder: str, names: list[str]) -> set[str]:
        ours = set(usual(folder, names))
        if Path(folder) == data / "pg_wal":
            ours |= {name for name in names if (data / "pg_wal" / name).is_file()}
        if Path(folder) == data / "pg_replslot":
            ours |= set(names)
        return ours

    return ignore


def copied(source: str, to: str) -> str:
    """Copy a file, unless it has gone meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, to)
    return to


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Pass over files that have gone between a look into their folder and the copy."""
    try:
        yield
    except shutil.Error as error:
        if any("No such file" not in str(one[2]) for one in error.args[0]):
            raise


def add_log(of: kept.Server, copy: Path) -> None:
    """Copy all of a server's write-ahead log into a copy of its data."""
    for path in (of.data / "pg_wal").iterdir():
        if path.is_file():
            copied(str(path), str(copy / "pg_wal" / path.name))


def keep_log(of: kept.Server) -> None:
    """Have a server keep its log, so that a copy can be brought to any later moment."""
    with postgres.connect(of.target("postgres"), task="sandbox") as conn:
        conn.execute(f"alter system set wal_keep_size = '{KEEP}'")
        conn.execute("select pg_reload_conf()")


def bring_to(copy: Path, of: kept.Server, at: datetime) -> None:
    """Make a copy that will go through the server's log up to a moment when it starts."""
    with postgres.connect(of.target("postgres"), task="sandbox") as conn:
        conn.execute("select pg_logical_emit_message(true, 'inv', '')")  # a transaction past the moment, to stop at
        conn.execute("select pg_switch_wal()")
    recover(copy, of, *TARGETS, at.isoformat())


def bring_to_now(copy: Path, of: kept.Server) -> str:
    """Make a copy that will go through the server's log up to a point of now when it starts; return where in the log that is."""
    name = f"inv-{secrets.token_hex(8)}"
    with postgres.connect(of.target("postgres"), task="sandbox") as conn:
        point = postgres.row(conn, "select pg_create_restore_point(%s)::text as lsn", name)["lsn"]
        conn.execute("select pg_switch_wal()")
    recover(copy, of, *TARGETS[::-1], name)
    return str(point)


def recover(copy: Path, of: kept.Server, target: str, other: str, value: str) -> None:
    """Have a copy go through the server's log as it is now when it starts, up to a target."""
    add_log(of, copy)
    with (copy / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.write(RECOVERY.format(target=target, other=other, value=value))
    (copy / "recovery.signal").touch()


def follow(copy: Path, of: kept.Server) -> None:
    """Make a copy that will follow the server when it starts ("Setting Up a Standby Server"), until it is promoted."""
    with (copy / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.write(FOLLOW.format(port=of.port, user=of.user, password=of.passwords[0]))
    (copy / "standby.signal").touch()


def promote(made: kept.Server) -> None:
    """Have a server that follows another one take writes."""
    with postgres.connect(made.target("postgres"), task="sandbox") as conn:
        if postgres.row(conn, "select pg_is_in_recovery() as follows")["follows"]:
            conn.execute("select pg_promote()")


def start(copy: Path, root: Path, port: int, of: kept.Server) -> kept.Server:
    """Start a server of its own on a copy, below `root`; it has the passwords of the one that was copied."""
    with server.hold_lock(root):
        made = server.new(root, server.Login(port, of.user, of.passwords[0]), of.user, socket=True)
        made = replace(made, passwords=of.passwords, identity=of.identity)
        made.save()
        who = binaries.runner(made.data)
        unfinished = made.home / f"data.new.{secrets.token_hex(4)}"
        shutil.copytree(copy, unfinished)
        for path in [unfinished, *unfinished.rglob("*")]:
            who.own(path)
        unfinished.chmod(0o700)
        unfinished.rename(made.data)
    return server.start_server(root)


def remove(copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)


def remove_all(home: Path) -> None:
    """Remove the copies of a process that was killed."""
    folder = home / FOLDER
    if folder.is_dir() and not folder.is_symlink():
        own_files.remove(home, (FOLDER,))
