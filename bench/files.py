"""Long files beside `psql -1 -f` of the same file: a wide schema, a seed of statements, a block of rows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.db import postgres_version
from bench.measure import Comparison
from bench.place import Bench
from ops.targets.embedded import postmaster

PSQL = "psql -1 -f"
EVENTS = "create table public.events (id bigint, handle text, message text, at timestamptz);\n"
TABLE = """
create table public.table_{n} (
  id bigint generated always as identity primary key,
  name text not null, -- it's; what users see
  note text default '',
  at timestamptz not null default now()
);
create index on public.table_{n} (name);
"""
INSERT = (
    "insert into public.events (id, handle, message, at) values "
    "({n}, 'handle{n}', 'It''s message; number {n}', '2024-01-01 00:00:00+00');\n"
)
ROW = "{n}\thandle{n}\tsome message number {n}\t2024-01-01 00:00:00+00\n"
MEGABYTE = 1 << 20


def write(path: Path, head: str, line: str, count: int, tail: str = "") -> Path:
    """Write a file of many lines that differ by their number."""
    with path.open("w", encoding="utf-8") as file:
        file.write(head)
        file.writelines(line.format(n=number) for number in range(count))
        file.write(tail)
    return path


def schema(at: Bench) -> Comparison:
    """A schema of a thousand tables, each with two indexes."""
    count = at.size(1000, 10)
    file = write(at.folder / "wide.sql", "", TABLE, count)
    return beside(at, f"inv db.schema-load, {count:,} tables", "db.schema-load", file, "")


def seed(at: Bench) -> Comparison:
    """A seed of a hundred megabytes, a row in each statement."""
    count = at.size(100_000_000, 100_000) // len(INSERT.format(n=100_000))
    file = write(at.folder / "rows.sql", "", INSERT, count)
    what = f"inv db.seed, {count:,} statements, {megabytes(file.stat().st_size)}"
    return beside(at, what, "db.seed", file, EVENTS, memory=3 * file.stat().st_size)


def data(at: Bench) -> Comparison:
    """A COPY block of five million rows."""
    count = at.size(5_000_000, 5_000)
    head = "copy public.events (id, handle, message, at) from stdin;\n"
    file = write(at.folder / "copy.sql", head, ROW, count, "\\.\n")
    what = f"inv db.seed, COPY of {count:,} rows, {megabytes(file.stat().st_size)}"
    more = (
        " Nine tenths of both are the server's, which writes table and log: it takes as long for rows sent in blocks "
        "of 8 KB as of 256 KB. What the task adds is its start, once."
    )
    return beside(at, what, "db.seed", file, EVENTS, memory=64 * MEGABYTE, more=more)


def beside(at: Bench, what: str, task: str, file: Path, tables: str, memory: int = 0, more: str = "") -> Comparison:
    """Return the comparison of a task with psql, each with an empty database of its own."""

    def empty(name: str) -> Callable[[], None]:
        def make() -> None:
            calls = (f"drop database if exists {name} with (force)", f"create database {name}", "checkpoint")
            at.psql("postgres", *(part for sql in calls for part in ("-c", sql)))()
            if tables:
                at.psql(name, "-c", tables)()

        return make

    ours = at.inv(task, "--file", str(file), before=empty("cruddur"))
    theirs = at.psql("other", "-1", "-f", str(file), before=empty("other"))
    at.stack.callback(file.unlink, missing_ok=True)
    return Comparison(
        what,
        ours,
        {PSQL: theirs},
        {PSQL: 1.1},
        memory,
        probe=lambda: server_memory(at),
        note=(
            "Loading alone, into an empty database. Beside the load, the task reads the file, finds in it what "
            "cannot be undone, and remembers the seed by its hash; the memory of the server is that of its session."
            + more
        ),
        versions={"PostgreSQL": postgres_version(at)},
    )


def megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.0f} MB"


@contextlib.contextmanager
def server_memory(at: Bench) -> Iterator[list[str]]:
    """Watch for the most memory that a session of the server has of its own."""
    import psutil

    server = psutil.Process(postmaster.running_pid(at.server))
    peak, over, facts = 0, threading.Event(), list[str]()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.05):
            for child in server.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    memory = child.memory_info()
                    peak = max(peak, memory.rss - getattr(memory, "shared", 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield facts
    finally:
        over.set()
        watcher.join()
    facts.append(f"server {megabytes(peak)}")
