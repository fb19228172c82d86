"""A database for a git branch beside the bare copy by a template, and what following a branch costs a task."""

from __future__ import annotations

from pathlib import Path

from bench.db import postgres_version
from bench.measure import Command, Comparison
from bench.place import Bench, copy

ROWS = 3_200_000
NAME = "branched"
FILL = """
create table filled as select n as id, md5(n::text) || md5((n + 1)::text) as text, now() as at from generate_series(1, {rows}) n;
create index on filled (id);
"""
GIT = """
set -e
git init -q -b main
git -c user.name=bench -c user.email=bench@example.com commit -q --allow-empty -m first
git switch -q -c {branch}
"""
BARE, PLAIN = "psql: create database … template", "the same task without db.per_branch"


def repository(at: Bench, name: str) -> Path:
    """Make a copy of the suite that is a git repository, on a branch."""
    folder = at.sub(name)
    copy(at.settings, folder)
    Command(["bash", "-c", GIT.format(branch="feature/x")], folder)()
    return folder


def filled(at: Bench, name: str, rows: int) -> None:
    at.psql("postgres", "-c", f"drop database if exists {name} with (force)", "-c", f"create database {name}")()
    at.psql(name, "-c", FILL.format(rows=rows), "-c", "vacuum analyze", "-c", "checkpoint")()


def made(at: Bench) -> Comparison:
    """`inv db.branch` for a large database."""
    folder = repository(at, "branch")
    filled(at, NAME, at.size(ROWS, 100))
    env = {"CONNECTION_URL": at.url(NAME)}
    gone = at.inv("db.branch", "--delete", cwd=folder, env=env)
    rest = at.psql("postgres", "-c", "drop database if exists bare with (force)", "-c", "checkpoint")

    def ready() -> None:
        """Remove both copies, and have written what the one before has left to be: it is nobody else's to wait for."""
        gone()
        rest()

    return Comparison(
        "inv db.branch, of a database of 400 MB",
        at.inv("db.branch", cwd=folder, env=env, before=ready),
        {BARE: at.psql("postgres", "-c", f"create database bare template {NAME}", before=ready)},
        {BARE: 1.1},
        note=(
            "The bare copy sends each block through the WAL, as the server does by default; from 128 MB on ours has it copy files, which is faster on "
            "a file system that cannot share blocks, and carries over what a template loses."
        ),
        versions={"PostgreSQL": postgres_version(at)},
    )


def followed(at: Bench) -> Comparison:
    """A task on a branch whose database is there."""
    folder = repository(at, "follow")
    env = {"CONNECTION_URL": at.url("followed")}
    follow = {**env, "INVOKE_DB_PER_BRANCH": "yes"}
    at.inv("db.setup", cwd=folder, env=env)()
    at.inv("db.branch", cwd=folder, env=follow)()
    return Comparison(
        "inv db.query users, on a branch with a database of its own",
        at.inv("db.query", "users", cwd=folder, env=follow),
        {PLAIN: at.inv("db.query", "users", cwd=folder, env=env)},
        {PLAIN: 1.06},
        note="What git has checked out is read from its own files, and the server is asked nothing more.",
        versions={"PostgreSQL": postgres_version(at)},
    )
