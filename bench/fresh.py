"""A fresh database for each test, as the test sees it, beside pytest-postgresql and a bare `create database … template`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench import peers
from bench.measure import Call, Comparison, Taken, Unavailable, unwatched
from bench.place import Bench
from config.paths import local_dir
from ops import postgres
from ops.console import say
from ops.db import scratch_server
from ops.errors import Problem
from ops.process import clean_environ
from ops.targets.embedded import state
from ops.testing import server

PEER, BARE, CONNECTED = (
    "pytest-postgresql",
    "floor: create database … template, when asked for",
    "ours, with a connection to it",
)
WORK = 0.1
"""Seconds that a test is at work with its database."""
TESTS = """
import os, pathlib, time
import psycopg, pytest

times, begun = [], time.perf_counter()

@pytest.fixture
def timed(request, {session}):
    begun = time.perf_counter()
    found = request.getfixturevalue("{fixture}")
    conn = psycopg.connect(found) if {connects} and isinstance(found, str) else found
    times.append(time.perf_counter() - begun)
    return conn

@pytest.mark.parametrize("number", range({count}))
def test_it(timed, number):
    end = time.perf_counter() + {work}
    if {work}:
        conn = psycopg.connect(timed) if isinstance(timed, str) else timed
        while time.perf_counter() < end:
            conn.execute("select count(*) from public.users")
        conn.close()

@pytest.fixture(scope="module", autouse=True)
def told({session}):
    begun = time.perf_counter()
    yield
    took = time.perf_counter() - begun
    pathlib.Path(os.environ.get("PYTEST_XDIST_WORKER", "main") + ".times").write_text(" ".join(map(str, [took, *times])))
"""
OURS = 'pytest_plugins = ["ops.testing"]\n'
THEIRS = """
from pathlib import Path
from pytest_postgresql import factories
server = factories.postgresql_noproc(host="127.0.0.1", port={port}, user="{user}", password="{password}", dbname="theirs", load=[Path(name) for name in {load}])
fresh = factories.postgresql("server")
"""


@dataclass(frozen=True)
class Side(Call):
    """A run of pytest; its figures are what each test waited, or what one took of all."""

    body: Callable[[], object] = lambda: None
    argv: Sequence[str] = ()
    cwd: Path = Path()
    whole: bool = False
    """Whether the time of all tests counts, by their number."""
    told: list[str] = field(default_factory=list)

    def __call__(self) -> list[Taken]:
        for old in self.cwd.glob("*.times"):
            old.unlink()
        env = unwatched(clean_environ({}))
        done = subprocess.run(self.argv, cwd=self.cwd, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Problem(f"pytest exits with {done.returncode}: {done.stdout[-1000:]}")
        found = [[float(each) for each in path.read_text().split()] for path in self.cwd.glob("*.times")]
        waits = [each for took in found for each in took[1:]]
        self.told[:] = [f"at most {max(waits) * 1000:.0f} ms"]
        seconds = [max(took[0] for took in found) / len(waits)] if self.whole else waits
        return [Taken(each, 0.0, 0) for each in seconds]


@dataclass(frozen=True)
class Bare(Call):
    """What a fixture without anything made ahead would do, one after the other; not timed: their removal."""

    body: Callable[[], object] = lambda: None
    made: state.Server | None = None
    template: str = ""
    count: int = 0
    whole: bool = False

    def __call__(self) -> list[Taken]:
        assert self.made is not None
        taken = []
        with contextlib.closing(postgres.connect(self.made.target("postgres"), task="bench")) as conn:
            for number in range(self.count):
                begun = time.perf_counter()
                conn.execute(f"create database bare{number} template {self.template} strategy file_copy".encode())
                taken.append(time.perf_counter() - begun)
            for number in range(self.count):
                conn.execute(f"drop database bare{number}".encode())
        seconds = [sum(taken) / len(taken)] if self.whole else taken
        return [Taken(each, 0.0, 0) for each in seconds]


def working(at: Bench) -> Comparison:
    """Tests that work 100 ms each, in two processes."""
    return comparison(at, "fresh", WORK, at.size(200, 8), ["-n", "2"], whole=False)


def empty(at: Bench) -> Comparison:
    """Tests that do nothing, so that no clone can be made while they do."""
    return comparison(at, "fresh-empty", 0.0, at.size(200, 8), [], whole=True)


def comparison(at: Bench, name: str, work: float, count: int, words: list[str], *, whole: bool) -> Comparison:
    made = at.stack.enter_context(own_server(at))
    folder = at.sub(name)
    given = {"work": work, "count": count}
    ours = ran(folder / "ours", OURS, given, "inv_testing_databases", "database_url", words, whole=whole, at=at)
    ours()  # builds the template, of which the bare clones are made
    with contextlib.closing(postgres.connect(made.target("postgres"), task="bench")) as conn:
        template = postgres.row(conn, "select datname as name from pg_database where datname ~ '^inv_tests_'")["name"]
        running = postgres.row(conn, "show server_version")["server_version"]
    beside: dict[str, Call] = {}
    versions = {"PostgreSQL": running, "pytest": version("pytest")}
    if not whole:
        with_one = ran(
            folder / "with",
            OURS,
            given,
            "inv_testing_databases",
            "database_url",
            words,
            whole=whole,
            at=at,
            connects=True,
        )
        beside[CONNECTED] = with_one
    beside[BARE] = Bare(made=made, template=template, count=min(count, 100), whole=whole)
    try:
        programs = peers.installed(at.settings, PEER)
        versions[PEER] = peers.version(programs, PEER)
        password = made.passwords[0]
        load = [str(at.folder / "sql" / file) for file in ("schema.sql", "seed.sql")]
        conftest = THEIRS.format(port=made.port, user=made.user, password=password, load=load)
        beside[PEER] = ran(
            folder / "theirs",
            conftest,
            given,
            "server",
            "fresh",
            words,
            whole=whole,
            at=at,
            python=str(programs / "python"),
        )
    except Unavailable as reason:
        say(f"left out beside {name}: {reason}")

    @contextlib.contextmanager
    def probe() -> Iterator[list[str]]:
        facts: list[str] = []
        for side in (ours, *beside.values()):
            if isinstance(side, Side):
                side.told.clear()
        yield facts
        for side in (ours, *beside.values()):
            if isinstance(side, Side):
                facts += side.told

    what = f"{count} empty tests, by test" if whole else f"a database for a test of {work * 1000:.0f} ms, pytest -n 2"
    return Comparison(
        what,
        ours,
        beside,
        {BARE: 1.1} if whole else {BARE: 0.25},
        note="On a server of the tests' own, without fsync. What pytest-postgresql gives is a connection.",
        probe=probe,
        versions=versions,
    )


@contextlib.contextmanager
def own_server(at: Bench) -> Iterator[state.Server]:
    """Hold the server of the tests' own in the copy, so that it runs on between them."""
    folder = local_dir(at.folder) / scratch_server.TESTING
    with server.hold_folder(folder):
        yield server.start(folder)


def ran(
    folder: Path,
    conftest: str,
    given: dict[str, float],
    session: str,
    fixture: str,
    words: list[str],
    *,
    whole: bool,
    at: Bench,
    python: str = sys.executable,
    connects: bool = False,
) -> Side:
    """Return a run of the tests with a plugin."""
    folder.mkdir()
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {at.folder}\n", encoding="utf-8")
    text = TESTS.format(session=session, fixture=fixture, connects=connects, **given)
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", *words]
    return Side(argv=argv, cwd=folder, whole=whole)
