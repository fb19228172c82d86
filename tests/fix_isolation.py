"""Nothing of the developer's own machine reaches a test: no PG*, AWS, .env or HOME."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from ops import aws_errors, aws_proxies, console, row_values

FOREIGN = (
    "PG",
    "AWS_",
    "INVOKE_",
    "POSTGRES_",
    "PROD_",
    "CONNECTION_",
    "GITPOD_",
    "DB_",
    "ENV_FILE",
    "FRONTEND_URL",
    "TRUSTED_HOSTS",
    "CODESPACE_NAME",
    "GITHUB_CODESPACES_",
    "HIDE_EXPIRED",
    "HOST",
    "PORT",
    "WEB_CONCURRENCY",
    "GUNICORN_",
    "APP_PORT",
    "TEST_PASSED_",
)
KEPT = ("POSTGRES_IMAGE",)
WHEELS = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
"""What uv has fetched once need not be fetched by each test."""


def pytest_configure() -> None:
    """Let children have a terminal's signals where the shell told us to ignore them (`inv test &`, nohup).

    What is ignored stays so in a new program; a handler of ours does not, and it ignores them as well for pytest.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True)
def isolated(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # a mark of pytest-cov's for what runs the same lines again and again: its children need not count them either,
    # which would cost each start as much again
    uncounted = ("COVERAGE_",) if request.node.get_closest_marker("no_cover") else ()
    for name in list(os.environ):
        if name.startswith((*FOREIGN, *uncounted)) and name not in KEPT:
            monkeypatch.delenv(name)
    # a name of its own needs no look at all the others, which mktemp takes for each of thousands of tests
    home = tmp_path_factory.getbasetemp() / "homes" / uuid.uuid4().hex[:12]
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("UV_CACHE_DIR", WHEELS)
    monkeypatch.setattr(console, "_secrets", set())  # one test's password is another one's word
    monkeypatch.setattr(row_values, "_hides", row_values.hides())
    monkeypatch.setattr(aws_errors, "elsewhere", {})
    monkeypatch.setattr(aws_proxies, "_named", [])
    monkeypatch.setattr(aws_proxies, "_asked", {})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands for a repository, with the suite's own SQL in it."""
    return suite_sql(tmp_path / "repo")


def suite_sql(here: Path) -> Path:
    """Put the suite's own SQL into a folder, which is made."""
    (here / "sql").mkdir(parents=True)
    source = Path(__file__).parent.parent / "sql"
    for name in ("schema.sql", "seed.sql"):
        (here / "sql" / name).write_bytes((source / name).read_bytes())
    return here
