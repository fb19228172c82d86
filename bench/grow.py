"""What a server and a pool do in a second, by how many ask at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.feed import filled
from bench.measure import Call, Command, Comparison, Unavailable
from bench.place import Bench, output
from ops.targets.embedded import binaries

NAME = "grow"
SCALE = 32
"""Of pgbench, 100,000 accounts each: no fewer than clients, since each transaction locks one of as many rows of branches."""
ROWS = 20_000
"""Of the feed: its page takes as long with a million."""
FIRST, OTHERS = 8, (1, 32)
"""How many ask at once: as many as a process of the application keeps, fewer and more."""


def transactions(at: Bench) -> Comparison:
    """pgbench's own transactions (TPC-B), the same number by more and more clients."""
    program = binaries.server_bin() / "pgbench"
    if not program.exists():
        raise Unavailable("the programs of the server have no pgbench")
    at.inv("db.setup", "--no-seed", env={"INVOKE_DB_NAME": NAME})()
    count, scale = at.size(4000, 320), at.size(SCALE, 1)
    env = {**at.libpq, "PGOPTIONS": "-c synchronous_commit=off"}
    output(Command([str(program), "-i", "-q", "-s", str(scale), NAME], at.folder, env))

    def by(clients: int) -> Command:
        argv = [str(program), "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2))]
        return Command([*argv, "-t", str(count // clients), NAME], at.folder, env)

    return Comparison(
        f"{count:,} transactions of pgbench, {FIRST} clients",
        by(FIRST),
        {f"{clients} client{'s' * (clients > 1)}": by(clients) for clients in OTHERS},
        note=f"pgbench -s {scale} -M prepared, each transaction five statements and a commit; pgbench runs on the same machine. The disk is "
        "not waited for (synchronous_commit off): what is measured is the processors, and a commit takes what a volume takes.",
    )


def pool(at: Bench) -> Comparison:
    """Pages of the feed by the application's own pool, without HTTP: threads of one process, and connections."""
    from backend.db import Pool
    from backend.home_activities import home

    url, count = filled(at, at.size(ROWS, 100)), at.size(2000, 64)

    def by(threads: int, connections: int) -> Call:
        source = Pool(url, size=connections, timeout=60)
        asking = at.stack.enter_context(ThreadPoolExecutor(threads))
        at.stack.callback(source.close)
        page: Callable[[int], object] = lambda _: home(source=source)  # noqa: E731
        return Call(lambda: list(asking.map(page, range(count))))

    return Comparison(
        f"{count:,} pages of the feed, {FIRST} threads, {FIRST} connections",
        by(FIRST, FIRST),
        {
            "1 thread, 1 connection": by(1, 1),
            f"32 threads, {FIRST} connections": by(32, FIRST),
            "32 threads, 32 connections": by(32, 32),
        },
        note="One process, which computes on one processor at a time, beside its server.",
    )
