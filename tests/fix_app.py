"""The reading side on a database of the test's own: in this process, and as gunicorn serves it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

import pytest

from backend.db import pool
from ops.db import build
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database
from tests.servers import free_port


@dataclass
class Answer:
    """What an HTTP request got."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(url: str, **headers: str) -> Answer:
    """Ask for a URL; an error's answer is one, too."""
    request = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return Answer(found.status, found.headers, found.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


@contextlib.contextmanager
def serve(url: str, port: int = 0, **environ: str) -> Iterator[str]:
    """Serve the feed of a database with gunicorn; yield where, and see it end cleanly."""
    port = port or free_port()
    host = "[::1]" if environ.get("HOST") == "::1" else "127.0.0.1"
    argv = [sys.executable, "-m", "gunicorn", "-c", str(SUITE / "backend" / "gunicorn.conf.py")]
    env = {**os.environ, "CONNECTION_URL": url, "PORT": str(port), **environ}
    with tempfile.TemporaryFile("w+") as log:  # not a pipe, which fills up
        server = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        try:
            wait(f"http://{host}:{port}/static/icon.svg")
            yield f"http://{host}:{port}"
        finally:
            server.terminate()
            code = server.wait(30)
            log.seek(0)
            output = log.read()
            assert code == 0, output
            assert "Traceback" not in output, output


def wait(url: str, seconds: float = 20) -> None:
    """Wait until something answers there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            get(url)
        except OSError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.05)
        else:
            return


def filled(database: Database) -> Database:
    """Set a database up with the suite's own schema and seed."""
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    return database


def leading(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Fill a database with the sample feed, and let the application's own pool lead to it."""
    monkeypatch.setenv("CONNECTION_URL", filled(database).url)
    pool.close()
    yield database
    pool.close()


@pytest.fixture
def feed(one: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    yield from leading(one, monkeypatch)


@pytest.fixture
def feeds(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The same on each supplier's server."""
    yield from leading(database, monkeypatch)
