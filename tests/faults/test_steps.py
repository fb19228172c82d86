"""Each task that makes files, processes and databases of this machine dies at its steps, by KILL, INT and TERM, and the next run ends it.

By day at some of them, as far apart as that goes; by --nightly at each. The steps are those that the run tells itself.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config import paths
from config.settings import load
from ops.db import scratch_server
from ops.db.branches import branches
from ops.lambdas.package import layer
from ops.rds import ca
from ops.sandbox import lifecycle
from ops.targets import git_branch
from ops.targets.embedded import server, state
from ops.targets.tunnel import shared
from tests.faults import page
from tests.faults.stepping import Act, Mortal, Within, died, left
from tests.faults.test_killed import quiet
from tests.fix_bastion import Bastion
from tests.fix_cli import copy_suite
from tests.fix_git import git, repository
from tests.fix_suppliers import Database
from tests.test_durable import ROOTS
from tests.test_server import servers_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # of a night


@pytest.fixture
def inv(tmp_path: Path) -> Iterator[Mortal]:
    root = copy_suite(tmp_path / "clone")
    mortal = Mortal(root)
    yield mortal
    if lifecycle.folder(root).exists():
        mortal.inv("sandbox.down")
    server.remove_data(root)
    scratch_server.remove_all(root)


Case = Callable[[pytest.FixtureRequest], Act]


def act(
    inv: Mortal,
    words: str,
    before: Callable[[], object],
    after: Callable[[], object] = lambda: None,
    check: Callable[[], object] = lambda: None,
) -> Act:
    """Return a task in a clone, after which the files and processes of that are looked at as well."""

    def whole() -> object:
        return left(inv.root, lambda: servers_in(inv.root)), after()

    return Act(lambda at: inv.run(words.split(), at), inv.root, before, whole, check)


def mortal(request: pytest.FixtureRequest) -> Mortal:
    found: Mortal = request.getfixturevalue("inv")
    return found


def targeted(request: pytest.FixtureRequest) -> tuple[Mortal, Database]:
    """Return `inv` whose target is a database on another server."""
    inv, one = mortal(request), request.getfixturevalue("one")
    inv.env |= {"CONNECTION_URL": one.url}
    return inv, one


def emptied(inv: Mortal) -> None:
    """Take away all that was made in a clone, its servers first."""
    scratch_server.remove_all(inv.root)
    server.remove_data(inv.root)
    shutil.rmtree(inv.root / ".local")


# --- servers -------------------------------------------------------------------------------


def session(root: Path) -> psycopg.Connection[Any]:
    made = state.load(root)
    assert made
    params: dict[str, Any] = dict(made.target("postgres").params)
    return psycopg.connect(**params)


def up(request: pytest.FixtureRequest) -> Act:
    inv = mortal(request)
    return act(inv, "db.up", lambda: emptied(inv))


def down(request: pytest.FixtureRequest) -> Act:
    """What is in its databases stays."""
    inv = mortal(request)

    def kept() -> None:
        inv.inv("db.up")
        with session(inv.root) as conn:
            conn.execute("create table if not exists kept as select 1 as n")

    def rows() -> object:
        server.start_server(inv.root)
        with session(inv.root) as conn:
            found = conn.execute("select n from kept").fetchall()
        server.stop_server(inv.root)
        return found

    return act(inv, "db.down", kept, rows)


def wipe(request: pytest.FixtureRequest) -> Act:
    inv = mortal(request)
    return act(inv, "db.down --wipe --confirm cruddur", lambda: inv.inv("db.up"))


def drift(request: pytest.FixtureRequest) -> Act:
    """What the repository says is built once, whole, on a server that is stopped; the target is only asked."""
    inv, one = targeted(request)
    inv.inv("db.setup")
    return act(inv, "db.drift", lambda: emptied(inv), one.names)


def rehearse(request: pytest.FixtureRequest) -> Act:
    inv, one = targeted(request)
    inv.inv("db.setup")
    folder = inv.root / "sql" / "migrations"
    folder.mkdir(exist_ok=True)
    nick = "-- migrate:up\nalter table users add nick text;\n-- migrate:down\nalter table users drop nick;\n"
    (folder / "20990101000000_nick.sql").write_text(nick, encoding="utf-8")
    return act(inv, "db.rehearse", lambda: emptied(inv), one.names)


def sandbox_up(request: pytest.FixtureRequest) -> Act:
    inv = sandboxed(request)

    def gone() -> None:
        inv.inv("sandbox.down")
        shutil.rmtree(inv.root / ".local", ignore_errors=True)

    return act(inv, "sandbox.up", gone)


def sandbox_down(request: pytest.FixtureRequest) -> Act:
    inv = sandboxed(request)
    return act(inv, "sandbox.down", lambda: inv.inv("sandbox.up"))


def sandboxed(request: pytest.FixtureRequest) -> Mortal:
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    return mortal(request)


def tunnel(request: pytest.FixtureRequest) -> Act:
    """There is one tunnel after, which the next run knows."""
    inv, one = mortal(request), request.getfixturevalue("one")
    bastion: Bastion = request.getfixturevalue("bastion")
    one.do(f'create database "{one.name}"', "postgres")
    inv.env |= {"STAGING_CONNECTION_URL": one.url}
    path = inv.root / "invoke.yaml"
    path.write_text(path.read_text().replace("targets: {}", f'targets: {{staging: {{via: "{bastion.via}"}}}}'))

    def without() -> None:
        shared.stop(inv.root)

    request.addfinalizer(without)

    def open_ones() -> object:
        files = re.sub("[0-9a-f]{16}", "", json.dumps(left(inv.root, list)))
        return files, [entry.is_open() for entry in shared.read(inv.root).values()], len(bastion.left())

    return Act(lambda at: inv.run(("db.tunnel", "-t", "staging"), at), inv.root, without, open_ones)


# --- databases -----------------------------------------------------------------------------


def of_branches(words: str, made: str, in_git: str) -> Case:
    """Return a task of the databases of git branches: which of them have one before it, and which branches git has."""

    def case(request: pytest.FixtureRequest) -> Act:
        inv, one = targeted(request)
        repository(inv.root)
        here = Database(one.server, one.name, inv.root)
        inv.inv("db.setup")
        names = {git_branch.database_of(one.name, name) for name in "ab"}

        def before() -> None:
            for suffix in one.names() - {""}:
                one.do(f'drop database "{one.name}{suffix}" with (force)', "postgres")
            for name in "ab":
                git(inv.root, "branch", "-f", name)
            for name in made:
                branches.branch(here.settings(), "local", name, force=False)
            for name in set("ab") - set(in_git):
                git(inv.root, "branch", "-q", "-D", name)

        def whole() -> None:
            """See that the main one is there, and that each that has the name of one is whole."""
            quiet(one)
            there = {one.name + suffix for suffix in one.names()}
            assert one.name in there
            for name in there & {one.name, *names}:
                assert one.scalar("select count(*) from users", name) == 5

        return act(inv, words, before, one.names, whole)

    return case


def kill_sessions(request: pytest.FixtureRequest) -> Act:
    """Some are ended or all; the next run ends the others."""
    inv, one = targeted(request)
    inv.inv("db.create")
    opened: list[psycopg.Connection[Any]] = []

    def close() -> None:
        while opened:
            opened.pop().close()

    def before() -> None:
        close()
        opened.extend(one.connect() for _ in range(3))

    def others() -> object:
        count = "select count(*) from pg_stat_activity where datname = '{}' and backend_type = 'client backend'"
        return one.scalar(count.format(one.name), "postgres")

    request.addfinalizer(close)
    return act(inv, "db.kill-sessions", before, others)


# --- files that are fetched or built ----------------------------------------------------------


def within(make: Callable[[Path], object]) -> Case:
    """Return work that makes files in .local, in a fork; what it would ask the network for stands ready."""

    def case(request: pytest.FixtureRequest) -> Act:
        folder = request.getfixturevalue("tmp_path")
        root, temporary = folder / "clone", folder / "temporary"
        for each in (root, temporary):
            each.mkdir()
        ready = request.getfixturevalue("monkeypatch")
        ready.setattr("tempfile.tempdir", str(temporary))
        ready.setattr(ca, "download", lambda *_: ROOTS)
        ready.setattr(layer, "wheels", wheels)

        def contents() -> object:
            made = sorted((path.name, path.read_bytes()) for path in (root / ".local").rglob("*") if path.is_file())
            return left(root, list), made

        def before() -> None:
            shutil.rmtree(root / ".local", ignore_errors=True)

        return Act(Within(lambda: make(root), root).run, root, before, contents)

    return case


def wheels(_: object, site: Path) -> None:
    """Stand for what uv unpacks: a package that is pinned."""
    (site / "psycopg").mkdir()
    (site / "psycopg" / "__init__.py").write_text("version = 3\n")
    (site / "psycopg-3.3.9.dist-info").mkdir()
    (site / "psycopg-3.3.9.dist-info" / "METADATA").write_text("Name: psycopg\nVersion: 3.3.9\nLicense: x\n")


CASES: dict[str, tuple[int, Case]] = {
    "db.up": (5, up),
    "db.down": (3, down),
    "db.down --wipe": (5, wipe),
    "db.branch": (6, of_branches("db.branch a", "", "ab")),
    "db.branch --delete": (4, of_branches("db.branch a --delete", "ab", "ab")),
    "db.branch --prune": (5, of_branches("db.branch --prune", "ab", "")),
    "db.kill-sessions": (3, kill_sessions),
    "db.drift": (4, drift),
    "db.rehearse": (3, rehearse),
    "db.tunnel": (4, tunnel),
    "sandbox.up": (4, sandbox_up),
    "sandbox.down": (3, sandbox_down),
    "rds.ca": (8, within(lambda root: ca.fetch(load({}, {}, root)))),
    "lambda.layer": (9, within(lambda root: layer.build("3.12", "x86_64", paths.local_dir(root) / "lambda"))),
}
"""Each with how many of its steps it dies at by day."""


@pytest.mark.parametrize("name", CASES)
def test_dies_at_its_steps(request: pytest.FixtureRequest, name: str, tell: Callable[[str], None]) -> None:
    by_day, case = CASES[name]
    assert name in page.STEPS, "its steps are counted there"
    tell(died(name, case(request), 10_000 if request.config.getoption("--nightly") else by_day))
