"""A fresh database for each test: pytest is run in repositories that have the plugin, on a server of its own and on others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from ops.adopt import plan
from ops.db import scratch_server
from ops.errors import Misconfigured, Problem
from ops.targets.embedded import state
from ops.testing import names, pool, serve
from ops.testing.server import read
from tests import servers
from tests.fix_cli import SUITE, copy_suite
from tests.fix_layouts import LAYOUTS
from tests.test_docker import missing
from tests.test_docs import blocks
from tests.test_pytest import environ

pytestmark = pytest.mark.xdist_group("testing")
PAGE = [SUITE / "docs" / "testing.md"]
OURS = r"select datname from pg_database where datname ~ '^inv_test'"
SCHEMA = """\
create table notes (id int generated always as identity primary key, body text not null);
do $$ begin execute format('alter database %I set application.tone = %L', current_database(), 'kind'); end $$;
"""
SEED = "insert into notes (body) values ('one'), ('two');"


class Repository:
    """A clone of the suite with tests of an application in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("conftest.py", 'pytest_plugins = ["ops.testing"]')
        self.write("pytest.ini", "[pytest]\n")
        self.write("sql/schema.sql", SCHEMA)
        self.write("sql/seed.sql", SEED)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(self.root), *words]

    def run(self, text: str, *words: str, fails: bool = False, **variables: str) -> str:
        """Run a file of tests, and return what pytest said."""
        self.write("test_it.py", text)
        done = subprocess.run(
            self.command("test_it.py", *words),
            cwd=self.root,
            env={**environ(), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == int(fails), done.stdout + done.stderr
        return done.stdout

    def start(self, text: str, *words: str) -> subprocess.Popen[bytes]:
        """Begin to run a file of tests."""
        self.write("test_it.py", text)
        return subprocess.Popen(
            self.command("test_it.py", *words), cwd=self.root, env=environ(), stdout=subprocess.DEVNULL
        )

    def own_server(self) -> state.Server | None:
        return state.load(self.root / ".local" / scratch_server.TESTING)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One clone for all tests of this file, so that its server is made once."""
    root = copy_suite(tmp_path_factory.mktemp("testing") / "clone é")
    yield Repository(root)
    scratch_server.remove_all(root)


@pytest.fixture
def there(postgres: servers.Server) -> Iterator[str]:
    """The URL of a server that is somebody else's, on which nothing is left at the end."""
    with connected(postgres) as conn:
        before = conn.execute("select datname from pg_database order by 1").fetchall()
        yield read_url(postgres)
        assert conn.execute("select datname from pg_database order by 1").fetchall() == before
        kept = "select count(*) from pg_file_settings where sourcefile ~ 'auto.conf' and applied"
        assert conn.execute(kept).fetchone() == (0,)


def read_url(server: servers.Server) -> str:
    from config.targets import Target

    return Target("x", "x", {**server.params, "dbname": "postgres"}).url(show_password=True)


@contextlib.contextmanager
def connected(server: servers.Server, name: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    params: dict[str, Any] = {**server.params, "dbname": name}
    with psycopg.connect(autocommit=True, **params) as conn:
        yield conn


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what needs no server ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "run", "template"),
    [
        (names.clone("p12_t1764450000_h0a1b2c", 7), "p12_t1764450000_h0a1b2c", False),
        (names.template("0123456789abcdef" * 4), "", True),
        (names.template("0123456789abcdef" * 4) + "__next", "", True),
        (names.clone("p12_t1764450000_h0a1b2c", 7)[:-1] + "_", "", False),
        ("inv_test_p12_t1764450000_h0a1b2c_7_00000000", "", False),
        ("inv_tests_0123456789abcdef_00000000", "", False),
        ("inv_test_mine", "", False),
        ("cruddur", "", False),
    ],
)
def test_what_is_ours_is_told_by_its_name(name: str, run: str, template: bool) -> None:
    assert (names.run_of(name), names.is_template(name)) == (run, template)
    assert len(name.encode()) <= 63 - len("__next")


def test_a_run_is_told_from_every_other() -> None:
    assert names.run_of(names.clone(names.run_name(), 100_000)) == names.run_name()


@pytest.mark.parametrize(
    ("ahead", "disk", "workers", "size", "expected"),
    [
        (4, 1024, 1, 8_000_000, (4, 128)),
        (4, 1024, 2, 8_000_000, (4, 64)),
        (8, 40, 2, 8_000_000, (2, 2)),
        (4, 10, 4, 400_000_000, (1, 1)),
    ],
)
def test_the_disk_bounds_how_many_there_are(
    ahead: int, disk: int, workers: int, size: int, expected: tuple[int, int]
) -> None:
    found = pool.limits(ahead, disk, workers, size)
    assert (found.ready, found.living) == expected


@pytest.mark.parametrize(
    ("url", "host", "dbname"),
    [
        ("postgresql://a:b@db:5433/test", "db", "test"),
        ("postgresql+psycopg2://a:b@db:5433/test", "db", "test"),
        ("postgresql+psycopg://a:b@db/postgres?sslmode=disable", "db", "postgres"),
        ("postgres://a:b@db", "db", "postgres"),
    ],
)
def test_the_url_of_a_server(url: str, host: str, dbname: str) -> None:
    target = read(url)
    assert (target.host, target.dbname) == (host, dbname)


@pytest.mark.parametrize(
    "url", ["mysql://a:b@db/x", "postgresql://a:b@c@db/x", "postgresql://a:b@db:99999/x", "nonsense"]
)
def test_a_url_that_is_none_is_named_without_its_password(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"^inv_testing_url: ") as error:
        read(url)
    assert "b@" not in str(error.value)


@pytest.mark.parametrize("text", ["0", "-1", "many", ""])
def test_a_setting_that_is_no_number(text: str) -> None:
    with pytest.raises(Problem, match="inv_testing_pool"):
        serve.number({"inv_testing_pool": text}, "inv_testing_pool")


def test_variables() -> None:
    assert serve.pairs(["a=b=c", "d = e"]) == {"a": "b=c", "d": "e"}
    with pytest.raises(Problem, match="NAME=VALUE"):
        serve.pairs(["secret"])


# --- on the tests' own server ---------------------------------------------------------------

USES = """
    import psycopg, pytest, sqlalchemy

    @pytest.mark.parametrize("number", range(8))
    def test_it_is_mine(database_url, number):
        with psycopg.connect(database_url) as conn:
            assert conn.execute("select array_agg(body order by id) from notes").fetchone() == (["one", "two"],)
            conn.execute("delete from notes")
            assert conn.execute("show application.tone").fetchone() == ("kind",)
            assert conn.execute("show fsync").fetchone() == ("off",)
            conn.execute("create table left_behind ()")

    def test_by_sqlalchemy(database_url):
        with sqlalchemy.create_engine(database_url).connect() as conn:
            assert conn.execute(sqlalchemy.text("select count(*) from notes")).scalar() == 2

    @pytest.fixture
    def held(database_url):
        return psycopg.connect(database_url)  # a session that nobody closes

    def test_a_session_is_left_open(held):
        held.execute("begin")

    def test_it_asks_late(request):
        assert request.getfixturevalue("database_url").startswith("postgresql://")

    def test_it_asks_for_none():
        pass
"""


def test_each_test_has_a_database_of_its_own(repository: Repository) -> None:
    pytest.importorskip("sqlalchemy")
    assert "12 passed" in repository.run(USES, "-n", "2", "-W", "ignore")
    server = repository.own_server()
    assert server
    assert not (server.data / "postmaster.pid").exists()  # the last one has stopped it
    text = repository.run(SEES)
    assert "1 passed" in text
    assert "building" not in text  # it was kept


SEES = """
    import psycopg

    def test_there_is_one_template_and_nothing_of_a_run_before(database_url):
        with psycopg.connect(database_url) as conn:
            names = [name for name, in conn.execute("select datname from pg_database where datname ~ '^inv_test'")]
        mine = database_url.rpartition("/")[2].partition("_t")[0]
        assert len([name for name in names if name.startswith("inv_tests_")]) == 1, names
        assert all(name.startswith(("inv_tests_", mine)) for name in names), names
"""


def test_a_schema_that_changes(repository: Repository) -> None:
    """What it makes on the whole server is in the way of the next, and removed there: the server is the tests' own."""
    asks = """
        import psycopg
        def test_it(database_url):
            with psycopg.connect(database_url) as conn:
                assert conn.execute("select {}").fetchone() == ({!r},)
    """
    try:
        for number in (1, 2):
            repository.write(
                "sql/schema.sql",
                f"create role reader; create table notes (body text); create view v{number} as select 1;",
            )
            text = repository.run(textwrap.dedent(asks).format(f"to_regclass('v{number}') is not null", True))
            assert "building a database from sql/schema.sql and sql/seed.sql" in text
        text = repository.run(textwrap.dedent(asks).format("count(*) from notes", 0), "--inv-testing-seed", "no")
        assert "building a database from sql/schema.sql\n" in text
        repository.write("sql/schema.sql", "create table notes (body txt);")
        text = repository.run(textwrap.dedent(asks).format("1", 1), fails=True)
        assert "database_url: sql/schema.sql:1:26:" in text
        assert "Traceback" not in text
    finally:
        repository.write("sql/schema.sql", SCHEMA)


def test_the_disk_is_bounded(repository: Repository) -> None:
    text = """
        import psycopg, pytest
        @pytest.mark.parametrize("number", range(6))
        def test_it(database_url, number):
            with psycopg.connect(database_url) as conn:
                mine = database_url.rpartition("/")[2].rsplit("_", 2)[0]
                assert conn.execute("select count(*) <= 2 from pg_database where starts_with(datname, %s)", [mine]).fetchone() == (True,)
    """
    assert "6 passed" in repository.run(text, "--inv-testing-disk-mb", "20")
    assert "inv_testing_disk_mb: 'much' is no number" in repository.run(
        text, "--inv-testing-disk-mb", "much", fails=True
    )


# --- on another server ----------------------------------------------------------------------

KEEPS = """
    import psycopg, pytest, time

    @pytest.mark.parametrize("number", range(20))
    def test_it(database_url, number):
        with psycopg.connect(database_url) as conn:
            assert conn.execute("select count(*) from notes").fetchone() == (2,)
        time.sleep({})
"""


def test_nothing_is_left_on_a_server_of_somebodys(repository: Repository, there: str) -> None:
    url = there.replace("postgresql://", "postgresql+psycopg2://")
    assert "20 passed" in repository.run(KEEPS.format(0), "-n", "2", "--inv-testing-url", url)


@pytest.mark.parametrize("whom", ["pytest", "all"])
def test_what_a_killed_run_has_left_is_removed(
    repository: Repository, postgres: servers.Server, there: str, whom: str
) -> None:
    """Of pytest alone by the process beside it, which sees its end; of all by the next run."""
    foreign = "inv_test_p12_t1764450000_h0a1b2c_7_00000000"
    unfinished = names.template("ab" * 32) + "__next"  # of a run that was killed while it built one
    with connected(postgres) as conn:
        conn.execute(f"create database {foreign}")
        conn.execute(f"create database {unfinished}")
        try:
            running = repository.start(KEEPS.format(0.3), "-n", "2", "--inv-testing-url", there)
            until(lambda: len(conn.execute(OURS).fetchall()) > 6)
            children = psutil.Process(running.pid).children(recursive=True)
            killed = [
                running.pid,
                *(
                    each.pid
                    for each in children
                    if whom == "all" or "inv_testing" in str(each.cmdline()) or "execnet" in str(each.cmdline())
                ),
            ]
            beside = [each for each in children if "ops.testing" in str(each.cmdline())]
            assert len(beside) == 2
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            running.wait()
            if whom == "pytest":
                psutil.wait_procs(beside, 60)
            else:
                assert len(conn.execute(OURS).fetchall()) > 2
                assert "20 passed" in repository.run(KEEPS.format(0), "--inv-testing-url", there)
            assert conn.execute(OURS).fetchall() == [(foreign,)]
        finally:
            conn.execute(f"drop database {foreign}")


def test_a_run_that_is_interrupted_removes_what_it_has_made(
    repository: Repository, postgres: servers.Server, there: str
) -> None:
    running = repository.start(KEEPS.format(0.3), "--inv-testing-url", there)
    with connected(postgres) as conn:
        until(lambda: len(conn.execute(OURS).fetchall()) > 3)
        running.send_signal(signal.SIGINT)
        try:
            assert running.wait(30) == 2
        finally:
            running.kill()
            running.wait()
        until(lambda: not conn.execute(OURS).fetchall())


def test_a_run_that_is_interrupted_while_it_connects_ends_at_once(
    repository: Repository, postgres: servers.Server, there: str
) -> None:
    """The session that was just being made logs in no more, and nothing is removed as long as pytest keeps it."""
    text = """
        import os, signal, socket, psycopg, pytest, time

        kept = []

        def test_it(database_url):
            pass

        def test_another(database_url):
            at = psycopg.conninfo.conninfo_to_dict(database_url)
            kept.append(socket.create_connection((at["host"], int(at["port"]))))
            body = b"\\0\\3\\0\\0user\\0postgres\\0database\\0postgres\\0\\0"
            kept[0].sendall((len(body) + 4).to_bytes(4, "big") + body)
            assert kept[0].recv(1) == b"R", "it is asked for a password"
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
    """
    running = repository.start(text, "--inv-testing-url", there)
    begun = time.monotonic()
    try:
        assert running.wait(60) == 2
    finally:
        running.kill()
        running.wait()
    assert time.monotonic() - begun < 40
    with connected(postgres) as conn:
        until(lambda: not conn.execute(OURS).fetchall())


def test_a_server_of_production_is_refused(repository: Repository, there: str) -> None:
    text = repository.run(
        KEEPS.format(0),
        "--inv-testing-url",
        there,
        PROD_CONNECTION_URL=there.replace("/postgres", "/cruddur"),
        fails=True,
    )
    assert "is production (PROD_CONNECTION_URL names the same server)" in text
    assert "%40" not in text


def test_a_fixture_may_give_the_server(repository: Repository, there: str) -> None:
    """As that of a container does; the process's death is told as one line."""
    text = f"""
        import os, pytest, signal

        @pytest.fixture(scope="session")
        def inv_testing_url():
            yield {there!r}

        def test_it(database_url, inv_testing_databases):
            assert {there.rpartition("/")[0]!r} in database_url
            inv_testing_databases.child.terminate()
            inv_testing_databases.child.wait()

        def test_it_is_gone(inv_testing_databases):
            with pytest.raises(pytest.fail.Exception, match="was ended: run the tests again"):
                while True:
                    inv_testing_databases.hear("database")
    """
    assert "2 passed" in repository.run(text)
    assert "20 passed" in repository.run(KEEPS.format(0), "--inv-testing-url", there)


@pytest.mark.slow
def test_a_container_by_the_lines_of_the_page(repository: Repository) -> None:
    if reason := missing():
        pytest.skip(reason)
    text = blocks("python", PAGE)[2].replace("postgres:18", os.environ.get("TEST_POSTGRES_IMAGE", "postgres:18"))
    own = repository.own_server()
    assert "20 passed" in repository.run(text + textwrap.dedent(KEEPS.format(0)), "-W", "ignore")
    assert repository.own_server() == own  # nobody has asked for it


# --- in a repository that has adopted the suite ----------------------------------------------


def test_the_page_in_a_repository_that_has_modules_of_our_names(tmp_path: Path) -> None:
    root = LAYOUTS[0].build(tmp_path / "theirs")
    plan.adopt(str(root), "", "", yaml.safe_load, overwrite=False, dry_run=False)
    for name in ("config.py", "server.py", "ops.py"):
        (root / name).write_text("MINE = True\n", encoding="utf-8")
    [toml] = blocks("toml", PAGE)
    conftest, example, container = blocks("python", PAGE)
    (root / "pyproject.toml").write_text(toml, encoding="utf-8")
    (root / "conftest.py").write_text(conftest, encoding="utf-8")
    (root / "test_users.py").write_text(example, encoding="utf-8")
    (root / "test_ours.py").write_text(
        "import config, ops, server\n\ndef test_mine(database_url):\n    assert config.MINE and ops.MINE and server.MINE\n",
        encoding="utf-8",
    )
    compile(container, "testing.md", "exec")
    try:
        done = pytest_in(root, "-n", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 passed" in done.stdout
        assert (root / ".local" / "testing").is_dir()
    finally:
        scratch_server.remove_all(root)


def pytest_in(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv: Sequence[str] = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(argv, cwd=root, env=environ(), capture_output=True, text=True, check=False, timeout=120)
