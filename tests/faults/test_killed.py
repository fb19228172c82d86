"""Ended at each of its messages to the server, by KILL, TERM and INT, a task leaves the old or the new, and the next run ends it.

Of the tasks that write SQL, those that no other test kills (tests/faults/table.py). A process that dies closes its connection: so does
it for the server when the message on its way has not come yet, or when its answer finds nobody.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from config.settings import Settings
from ops.db.access.grant import grant, revoke
from ops.db.migrations.importing import record
from ops.targets import identity
from tests import fix_migrations as given
from tests import servers
from tests.cutting import ANSWER, ASKING, CLOSE, Cut, Killer
from tests.fix_access import Team, teamed
from tests.fix_roles import Place, placed
from tests.fix_suppliers import Database, made
from tests.test_migrate import forked
from tests.test_migration_import_record import GOLANG

FACTS = b"pg_control_system"
"""In the first message of a run behind its login: what dies before that has asked for nothing."""
STRAIGHT = {"sslmode": "disable", "gssencmode": "disable"}
"""Parameters without which a connection begins by questions that are none of the task's."""
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
CANCELLED = 130
MOST = 600
"""Messages after which a run must be over."""


@dataclass
class Case:
    """What is done to a database: as it is before, the work, and what there is of it."""

    database: Database
    before: Callable[[], object]
    work: Callable[[Settings], object]
    look: Callable[[], Any]
    """What is to be the old or the new."""
    left: Callable[[], Any] = lambda: None
    """What must be the same after the next run, and may differ before it."""


def files(database: Database) -> set[str]:
    """Return the files that lie in the repository, but for what is remembered for bare inv."""
    every = (path.relative_to(database.root) for path in database.root.rglob("*") if path.is_file())
    return {str(path) for path in every if path.parts[0] != ".local"}


def by_task(name: str, **options: Any) -> Callable[[Settings], object]:
    """Return the work of a task, as invoke calls it."""

    def work(settings: Settings) -> object:
        os.environ.update(CONNECTION_URL=settings.vars.environ["CONNECTION_URL"], ENV_FILE=os.devnull)
        return tasks.ns[name].body(Context(Config()), **options)

    return work


def made_of(database: Database) -> Callable[[], object]:
    def before() -> None:
        with database.connect("postgres") as conn:
            for suffix in database.names():
                conn.execute(f'drop database "{database.name}{suffix}" with (force)'.encode())
            conn.execute(f'create database "{database.name}"'.encode())
            conn.execute(f'create database "{database.name}__prev"'.encode())
            conn.execute(f"comment on database \"{database.name}__prev\" is '{identity.KEPT}'".encode())

    return before


def steps(*acts: Callable[[], object]) -> Callable[[], object]:
    """Return what does one after the other."""
    return lambda: [act() for act in acts]


def no_files(folder: Path) -> None:
    for path in folder.glob("sql/migrations/*"):
        path.unlink()


def comment(database: Database) -> Any:
    return database.scalar(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    )


def cases(database: Database) -> dict[str, Case]:
    make = made_of(database)
    table = database.sql("create table if not exists a (n int);\ncreate table if not exists b (n int);\n", "two.sql")
    return {
        "db.create": Case(
            database,
            steps(make, lambda: database.do(f'drop database "{database.name}"', "postgres")),
            by_task("db.create"),
            lambda: "" in database.names(),
            database.names,
        ),
        "db.purge": Case(database, make, by_task("db.purge"), lambda: "__prev" in database.names(), database.names),
        "db.schema-load": Case(
            database,
            make,
            by_task("db.schema-load", file=str(table)),
            lambda: database.query("select tablename from pg_tables where schemaname = 'public' order by 1"),
            database.names,
        ),
        "db.mark": Case(
            database,
            steps(make, lambda: database.do(f"comment on database \"{database.name}\" is 'our shop'", "postgres")),
            by_task("db.mark", production=True),
            lambda: comment(database),
            database.names,
        ),
        "db.migration-import": Case(
            database,
            steps(make, lambda: database.do(GOLANG + "insert into schema_migrations values (2, false)"), lambda: no_files(database.root)),
            lambda settings: record.run(
                settings, str(given.written(database.root / "old", given.pairs())), "local", "", record.Said((), ()), dry_run=False
            ),
            lambda: (
                database.query("select tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1"),
                database.query("select * from schema_migrations order by 1"),
            ),
            lambda: files(database),
        ),
    }  # fmt: skip


@pytest.fixture
def plain(postgres: servers.Server, tmp_path: Path) -> Iterator[Database]:
    yield from made(postgres, tmp_path)


def killed(case: Case, prepared: Callable[[], object], settings: Callable[[int], Settings], stride: int = 1) -> int:
    """End the work at each of its messages, or at each n-th, by one signal after the other; return how often that was."""
    prepared()
    old = case.look()
    case.work(settings(case.database.server.port))
    new, whole = case.look(), case.left()
    assert new != old, "it does something"
    for kills, nth in enumerate(range(1, MOST, stride)):
        prepared()
        # each message one way or the other: what is lost behind one is lost before the next
        sign, cut = SIGNALS[kills % 3], Cut(b"", ASKING if kills % 2 else ANSWER, CLOSE, nth)
        with Killer(case.database.server.port, cut, begins=FACTS, sign=sign) as proxy:
            there = settings(proxy.port)

            def work(there: Settings = there) -> None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                os.dup2(2, 1)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                try:
                    case.work(there)
                except KeyboardInterrupt:
                    os._exit(CANCELLED)
                except Exit as end:
                    os._exit(end.code)

            proxy.victim = forked(work)
            _, status = os.waitpid(proxy.victim, 0)
        if not proxy.hit:
            assert status == 0
            return kills
        # what has come too late changes nothing any more
        assert os.waitstatus_to_exitcode(status) in (0, CANCELLED if sign == signal.SIGINT else -sign), nth
        quiet(case.database)
        found = case.look()
        assert found in (old, new), f"after message {nth}"
        case.work(settings(case.database.server.port))
        assert case.look() == new, f"after message {nth}, and another run"
        assert case.left() == whole, f"after message {nth}, and another run"
    raise AssertionError(f"not over after {MOST} messages")


def quiet(database: Database) -> None:
    """Wait until what a killed run has sent to the server is through."""
    deadline = time.monotonic() + 20
    while database.query("select from pg_stat_activity where application_name like 'inv db.%'", "postgres"):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("name", ["db.create", "db.purge", "db.schema-load", "db.mark", "db.migration-import"])
def test_killed_at_each_message_it_is_the_old_or_the_new(
    plain: Database, name: str, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    monkeypatch.chdir(plain.root)
    monkeypatch.setenv("CONNECTION_URL", "")
    monkeypatch.setenv("ENV_FILE", os.devnull)
    case = cases(plain)[name]

    def settings(port: int) -> Settings:
        return plain.settings(CONNECTION_URL=plain.target(port=str(port), **STRAIGHT).url(show_password=True))

    kills = killed(case, case.before, settings, stride=2 if name == "db.migration-import" else 1)
    tell(f"{name}: killed {kills} times")
    assert kills > 3


# --- roles and people --------------------------------------------------------------------


def test_killed_at_each_message_roles_are_none_or_all(postgres: servers.Server, tmp_path: Path) -> None:
    for place in placed(postgres, tmp_path):

        def roles(settings: Settings, place: Place = place) -> None:
            place.roles(dict(settings.vars.environ))

        case = Case(place, place.forget, roles, lambda place=place: len(place.named()))  # type: ignore[misc]
        # it is cut at each statement elsewhere (tests/test_roles.py)
        kills = killed(case, place.forget, by_port(place), stride=9)
        assert kills > 10


def by_port(place: Place) -> Callable[[int], Settings]:
    return lambda port: place.settings(CONNECTION_URL=place.target(port=str(port), **STRAIGHT).url(show_password=True))


@pytest.fixture(scope="module")
def lasting_team(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    root = tmp_path_factory.mktemp("killed") / "repo"
    root.mkdir()
    yield from teamed(postgres, root)


@pytest.mark.parametrize("way", ["grant", "revoke"])
def test_killed_at_each_message_a_login_is_as_it_was_or_as_it_is_to_be(
    lasting_team: Team, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    team, by = lasting_team, by_port(lasting_team)

    def give(settings: Settings) -> None:
        grant(settings, "local", "anna", "reader", "8h", "")

    def take(settings: Settings) -> None:
        revoke(settings, "local", "anna")

    def opens() -> Any:
        """What the login may; one that is on its way out may not log in, and that is enough for the old to be gone."""
        found = team.role(team.login())
        return (found["opens"], found["roles"]) if found and found["opens"] else None

    at_rest = by(team.server.port)
    case = (
        Case(team, lambda: take(at_rest), give, opens)
        if way == "grant"
        else Case(team, lambda: give(at_rest), take, opens, lambda: team.role(team.login()))
    )
    assert killed(case, case.before, by) > 5
