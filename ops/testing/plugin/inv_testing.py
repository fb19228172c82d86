"""The plugin itself: the fixture `database_url`, a clone of the set-up database for each test.

It runs among an application's own modules, of which one may be called `config` or `ops` as ours are: so it imports nothing of the
suite, and this folder, which goes on Python's path there, holds nothing else. The work is done by a process beside (ops/testing/serve.py),
which makes clones ahead while the test before runs, and writes the URL of each into a pipe: to take one is to read a line.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

SUITE = Path(__file__).resolve().parents[3]
ROOT = SUITE.parent if (SUITE / "adopted.json").is_file() else SUITE
START = "import sys; sys.path.insert(0, sys.argv[1]); from ops.testing.__main__ import main; main()"
PATIENCE, LEAVING = 2, 300
"""Seconds until it is said that the last databases are being removed, and until the next run has to."""
OPTIONS = {
    "inv_testing_url": ("server to make the databases on, as a URL (default: one of the tests' own)", ""),
    "inv_testing_seed": ("rows in them: yes as inv db.setup, no, or an SQL file (default: yes)", "yes"),
    "inv_testing_pool": ("databases that are made ahead of the tests, for each worker (default: 8)", "8"),
    "inv_testing_disk_mb": ("megabytes that all of them may take at a time, of all workers (default: 1024)", "1024"),
}
VARIABLES = "inv_testing_vars"


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:  # noqa: ARG001 - pytest gives it by name
    """Note that what is under way is not to be waited for."""
    Databases.waits = False


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("inv", "a fresh database for each test (fixture database_url)")
    for name, (about, default) in OPTIONS.items():
        parser.addini(name, about, default=default)
        group.addoption(f"--{name.replace('_', '-')}", dest=name, default=None, help=about)
    parser.addini(VARIABLES, "psql variables for schema and seed, NAME=VALUE on a line each", "linelist", [])


def setting(config: pytest.Config, name: str) -> str:
    """Return an option, else the setting of that name in pytest's file."""
    given = config.getoption(name)
    return str(config.getini(name) if given is None else given).strip()


class Databases:
    """The process beside, and the pipe with the databases that it has made."""

    waits = True
    """Whether its end is waited for. After a Ctrl-C it is not: a connection that was just being made is this process's until it ends,
    and DROP DATABASE waits for its session to log in, for as long as a minute (authentication_timeout)."""

    def __init__(self, config: pytest.Config, url: str) -> None:
        self.config = config
        self.words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.failed = ""
        self.child = subprocess.Popen(
            [sys.executable, "-c", START, str(SUITE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            cwd=ROOT,
            start_new_session=True,  # a Ctrl-C is for pytest, which tells it to end
        )
        workers = getattr(config, "workerinput", {}).get("workercount", 1)  # pytest-xdist's, in each of its workers
        wanted = {name: setting(config, name) for name in OPTIONS} | {"inv_testing_url": url}
        self.tell(json.dumps({**wanted, "workers": int(workers), VARIABLES: config.getini(VARIABLES)}))

    @property
    def input(self) -> IO[bytes]:
        assert self.child.stdin is not None
        return self.child.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self.child.stdout is not None
        return self.child.stdout

    def tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it has ended, and what it had to say is in the other pipe
            self.input.write(line.encode() + b"\n")
            self.input.flush()

    def hear(self, word: str) -> Any:
        """Return the next thing of a kind that the process says, as {word: …}; fail the test if it cannot go on."""
        while not self.failed:
            line = self.output.readline()
            found = json.loads(line) if line.endswith(b"\n") else {"error": self.last_words()}
            if word in found:
                return found[word]
            if "said" in found:
                self.say(found["said"])
            self.failed = found.get("error", "")
        pytest.fail(f"database_url: {self.failed}", pytrace=False)

    def say(self, text: str) -> None:
        """Say what is waited for, past the capture of output; a worker of pytest-xdist's has no terminal."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        capture = self.config.pluginmanager.getplugin("capturemanager")
        if reporter and capture:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(f"database_url: {text}")

    def last_words(self) -> str:
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the process that makes the databases was ended: run the tests again"

    def close(self) -> None:
        """Let the process remove what it has made, and wait for its end."""
        with contextlib.suppress(OSError):
            self.input.close()
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            if not self.waits:
                self.say("the last databases are removed in a moment, by a process of their own")
                self.child.returncode = 0  # it runs on: keep Python from warning about it
                return
            self.say("waiting until the last databases are removed")
            try:
                self.child.wait(LEAVING)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.output.close()
        self.words.close()


@pytest.fixture(scope="session")
def inv_testing_url(pytestconfig: pytest.Config) -> str:
    """The server that the databases are made on, as a URL; empty: one of the tests' own. To be overridden, as by a container's."""
    return setting(pytestconfig, "inv_testing_url")


@pytest.fixture(scope="session")
def inv_testing_databases(pytestconfig: pytest.Config, inv_testing_url: str) -> Iterator[Databases]:
    """The databases that are made ahead; the first ones are there once this is."""
    databases = Databases(pytestconfig, inv_testing_url)
    try:
        databases.hear("ready")
        yield databases
    finally:
        databases.close()


@pytest.fixture
def database_url(inv_testing_databases: Databases) -> Iterator[str]:
    """The URL of a database of this test's own: schema, migrations and seed, as `inv db.setup` builds it."""
    name, url = inv_testing_databases.hear("database")
    inv_testing_databases.tell("taken")
    yield url
    inv_testing_databases.tell(f"done {name}")
