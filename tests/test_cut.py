"""Cut anywhere, a task that writes says what became of the data, and is right: the tests look in the database afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from invoke.config import Config
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from ops import silence
from ops.db import build, load
from ops.db.sql_file.script import read
from ops.errors import Problem
from ops.targets import opening, outcome
from ops.targets.embedded import binaries
from ops.targets.identity import KEPT
from tests import servers
from tests.cutting import ANSWER, ASKING, CLOSE, GONE, HUSHED, REFUSED, RESET, SILENT, Cut, Proxy
from tests.fix_cli import Cli, copy_suite
from tests.fix_suppliers import Database

LIMIT = 1
"""Seconds for which a task tries to reach the server again."""

NOTHING = re.compile(r"nothing was changed|nothing of it was kept|\w+ is as it was|there is no \w+, as before")
ALL = re.compile(r"[:;] (all of it was kept|\w+ was (made|dropped)|the (new|previous) one has the name \w+)")
UNKNOWN = re.compile(r"whether .* is not known: (.*) tells")
RAW = re.compile(
    r"unexpectedly|terminating connection|terminated abnormally|FATAL|ERROR:|SYSCALL|consuming input|sending query|could not (send|receive)"
    r"|socket|EOF|Errno|Traceback|connection (is|has been) (lost|closed)|server was lost"
)

LOGIN = (b"database\0postgres\0", b"SCRAM-SHA-256", b"pg_control_system", b"pg_try_advisory_lock")
OURS, NEW = b"database\0NAME\0", b"database\0NAME__next\0"
LAST = b"pg_advisory_unlock"


@dataclass(frozen=True)
class Act:
    """A task that writes, and the phases of its run by what is in the message that begins each."""

    title: str
    name: str
    options: dict[str, Any]
    phases: tuple[bytes, ...]
    decides: bytes
    """The phase in which the change becomes one that lasts."""
    made: tuple[str, ...] = ("",)
    """The databases that are there before, by suffix; in each is its suffix as a row."""
    nth: int = 1
    """Which of the messages of a phase is meant: psql follows a session of ours to the same place."""
    files: dict[str, str] = field(default_factory=dict)


LOAD = {"x.sql": "create table got (n int);\ninsert into got values (1);\n"}
SEED = {"x.sql": "insert into marker values ('1');\n"}
WHOLE = {"s.sql": "create table marker (n text);\n", "x.sql": "insert into marker values ('new');\n"}
KEPT_AS = {"r.sql": "create table marker (n text);\ninsert into marker values ('new');\n"}
COMMIT = b"COMMIT\0"


def for_psql(files: dict[str, str]) -> dict[str, str]:
    """Return files that only psql understands."""
    return {name: f"\\set by psql\n{text}" for name, text in files.items()}


ACTS = (
    Act("create", "db.create", {}, (*LOGIN, b"create database", LAST), b"create database", ()),
    Act("drop", "db.drop", {}, (*LOGIN, b"pg_prepared_xacts", b" rename to ", LAST), b" rename to "),
    Act("drop, one kept", "db.drop", {}, (b"drop database",), b"", ("", "__prev")),
    Act("undo", "db.undo", {}, (*LOGIN, b" rename to ", OURS), b" rename to ", ("", "__prev")),
    Act("undo a drop", "db.undo", {}, (b" rename to ", OURS), b" rename to ", ("__prev",)),
    Act("setup", "db.setup", {"schema": "s.sql", "seed": "x.sql"},
        (*LOGIN, b"create database", NEW, b"create table", b"inv.seeds", COMMIT, b" rename to ", b"drop database"), b" rename to ", ("", "__prev"), files=WHOLE),
    Act("setup, the first", "db.setup", {"schema": "s.sql", "seed": "x.sql"}, (b"create database", b" rename to "), b" rename to ", (), files=WHOLE),
    Act("setup by psql", "db.setup", {"schema": "s.sql", "seed": "x.sql"}, (b"create table", b"insert into marker", COMMIT), b"", files=for_psql(WHOLE)),
    Act("restore", "db.restore", {"file": "r.sql"},
        (b"create database", NEW, b"create table", b" rename to ", b"drop database"), b" rename to ", ("", "__prev"), files=KEPT_AS),
    Act("purge", "db.purge", {}, (b"drop database", LAST), b"", ("", "__prev")),
    Act("schema-load", "db.schema-load", {"file": "x.sql"}, (*LOGIN, OURS, b"savepoint", b"create table", COMMIT, LAST), COMMIT, files=LOAD),
    Act("schema-load by psql", "db.schema-load", {"file": "x.sql"}, (b"savepoint", b"create table", b"release savepoint", COMMIT), COMMIT, files=for_psql(LOAD)),
    Act("schema-load by psql's own", "db.schema-load", {"file": "x.sql"}, (OURS,), b"", nth=2, files=for_psql(LOAD)),
    Act("seed", "db.seed", {"file": "x.sql"}, (*LOGIN, OURS, b"inv.seeds", b"savepoint", b"insert into marker", b"create table inv.seeds", COMMIT, LAST), COMMIT, files=SEED),
    Act("seed by psql", "db.seed", {"file": "x.sql"}, (b"savepoint", b"insert into marker", b"create table inv.seeds", COMMIT), COMMIT, files=for_psql(SEED)),
)  # fmt: skip


CUT_AT_EACH_STATEMENT = {"db.roles"}
"""In a test of its own (tests/test_roles.py): what it writes lies in no database alone."""
FALLS_SILENT = ("create", "setup", "seed", "seed by psql")


def cells() -> Iterator[Any]:
    """Yield each phase of each task, cut in both directions; where the change becomes one that lasts, in every way."""
    for act in ACTS:
        for number, word in enumerate(act.phases):
            ways = [(ASKING, (CLOSE, RESET, REFUSED)[number % 3]), (ANSWER, (RESET, REFUSED, CLOSE)[number % 3])]
            if word == act.decides:
                ways = [(way, how) for way in (ASKING, ANSWER) for how in (CLOSE, RESET, REFUSED, GONE)]
                ways += [(ASKING, SILENT)] if act.title in FALLS_SILENT else []
                # psql's own session is left only where the server answers no other one
                ways += [(ANSWER, HUSHED)] if act.title in FALLS_SILENT else []
            for way, how in ways:
                shown = word.decode().replace("\0", " ").strip()
                yield pytest.param(act, Cut(word, way, how, act.nth), id=f"{act.title}: {shown}, {way}, {how}")


@dataclass
class Stand:
    """The database of one cell, as it was made and as it is after the cut."""

    database: Database
    act: Act

    def make(self) -> None:
        with self.database.connect("postgres") as conn:
            for suffix in self.act.made:
                conn.execute(f'create database "{self.database.name}{suffix}"'.encode())
            if "__prev" in self.act.made:
                conn.execute(f"comment on database \"{self.database.name}__prev\" is '{KEPT}'".encode())
        for suffix in self.act.made:
            self.database.do(
                f"create table marker (n text); insert into marker values ('it{suffix}')", self.database.name + suffix
            )

    def changed(self) -> bool:
        """Look in the database whether the change has been made."""
        names = {r["datname"] for r in self.database.query("select datname from pg_database", "postgres")}
        here = self.database.name
        if self.act.name in ("db.create", "db.drop"):
            return (here in names) == (self.act.name == "db.create")
        if self.act.name == "db.purge":
            return f"{here}__prev" not in names
        if here not in names:
            assert "" not in self.act.made
            return False
        if self.act.name == "db.schema-load":
            return bool(self.database.scalar("select to_regclass('got') is not null"))
        rows = {row["n"] for row in self.database.query("select n from marker")}
        assert len(rows) == (2 if "1" in rows else 1)
        return rows != {"it"}

    def drop(self) -> None:
        with self.database.connect("postgres") as conn:
            for suffix in self.database.names():
                conn.execute(f'drop database if exists "{self.database.name}{suffix}" with (force)'.encode())

    def left(self) -> list[str]:
        """Return the sessions that are still there a moment later, and would stand in the way of the next run."""
        query = (
            "select application_name as it from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and objsubid = 1"
            f" and (classid::bigint << 32 | objid::bigint) = hashtextextended('inv:{self.database.name}', 0)"
        )
        for _ in range(100):
            if not (found := self.database.query(query, "postgres")):
                break
            time.sleep(0.02)
        return [row["it"] for row in found]


@pytest.fixture(scope="module")
def stands(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stand]]:
    """The databases that the last cell of each act has left as they were: to make some takes longer than most runs."""
    kept: dict[str, Stand] = {}
    yield kept
    for each in kept.values():
        each.drop()


@pytest.fixture
def stand(
    request: pytest.FixtureRequest, postgres: servers.Server, stands: dict[str, Stand], tmp_path: Path
) -> Iterator[Stand]:
    act = request.node.callspec.params["act"]
    made = stands.pop(act.title, None)
    if made is None:
        made = Stand(Database(postgres, f"t{uuid.uuid4().hex[:10]}", tmp_path), act)
        made.make()
    made.database.root = tmp_path
    for name, text in act.files.items():
        made.database.sql(text, name)
    yield made
    if made.database.names() == set(act.made) and not made.changed():
        stands[act.title] = made
    else:
        made.drop()


def url(stand: Stand, port: int) -> str:
    params = stand.database.server.params
    return f"postgresql://{params['user']}:{quote(params['password'], safe='')}@127.0.0.1:{port}/{stand.database.name}"


def run(act: Act, *, silent: bool) -> tuple[int, str]:
    """Run a task, and return its exit code and its last line."""
    timeouts = {"connect_timeout": str(LIMIT), "silence_timeout": str(LIMIT if silent else 30)}
    config = Config(overrides={"db": timeouts})
    try:
        tasks.ns[act.name].body(Context(config), **act.options)
    except Exit as end:
        return end.code, end.message or ""
    return 0, ""


def said(told: str) -> bool | None:
    """Return what a line says of the data: changed or not, None where that is not known."""
    if found := UNKNOWN.search(told):
        assert found[1]
        return None
    nothing, everything = NOTHING.search(told), ALL.search(told)
    assert bool(nothing) != bool(everything), f"it says neither or both: {told}"
    return bool(everything)


@pytest.mark.spread
@pytest.mark.parametrize(("act", "cut"), list(cells()))
def test_a_cut_task_says_what_became_of_the_data(
    stand: Stand, act: Act, cut: Cut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").touch()
    word = cut.word.replace(b"NAME", stand.database.name.encode())
    with Proxy(stand.database.server.port, Cut(word, cut.way, cut.how, cut.nth)) as proxy:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ENV_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("CONNECTION_URL", url(stand, proxy.port))
        monkeypatch.setattr(silence, "limit", silence.limit)  # the task sets it, for this process
        code, told = run(act, silent=cut.how in (SILENT, HUSHED))
        patience = time.monotonic() + 5  # what is left to the server may still be on its way through the proxy
        while not proxy.hit and time.monotonic() < patience:
            time.sleep(0.01)
        assert proxy.hit, "the phase was there"
    changed = stand.changed()
    print(code, told)
    if code == 0:
        assert changed
        return
    assert code == 1
    assert "\n" not in told
    assert not RAW.search(told + capfd.readouterr().err)
    if (answer := said(told)) is None:
        assert cut.how in (GONE, SILENT)
    else:
        assert answer == changed, told
        assert cut.how in (GONE, SILENT) or not stand.left()


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line in a copy of the suite."""
    return Cli(copy_suite(tmp_path_factory.mktemp("cut") / "clone"))


@pytest.mark.spread
@pytest.mark.parametrize("act", [act for act in ACTS if act.decides and " by " not in act.title], ids=lambda a: a.title)
@pytest.mark.parametrize("way", [ASKING, ANSWER])
def test_what_is_not_known_is_found_out_by_the_command_that_is_named(
    stand: Stand, act: Act, way: str, cli: Cli
) -> None:
    """By the command line itself, in a process of its own."""
    options = [part for name, value in act.options.items() for part in (f"--{name}", str(stand.database.root / value))]
    with Proxy(stand.database.server.port, Cut(act.decides, way, GONE)) as proxy:
        env = {"CONNECTION_URL": url(stand, proxy.port), "INVOKE_DB_CONNECT_TIMEOUT": str(LIMIT)}
        done = cli(act.name, *options, env=env)
        told = done.stderr.splitlines()[-1]
        assert done.returncode == 1
        assert said(told) is None
        proxy.heal()
        found = UNKNOWN.search(told)
        assert found
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        asked = subprocess.run(
            ["sh", "-c", found[1]], cwd=cli.root, env={**os.environ, **env, "PATH": path}, capture_output=True, text=True, check=False
        )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    changed = stand.changed()
    if "pg_xact_status" in found[1]:
        assert ("committed" in asked.stdout) == changed
    elif before := re.search(r"\((\d+): it is as it was\)", told):
        assert (re.search(rf"\b{before[1]}\b", asked.stdout) is None) == changed
    else:
        there = "not there yet" not in asked.stdout and "was dropped" not in asked.stdout
        assert there == (act.name != "db.drop" if changed else act.made == ("",))


def test_every_task_that_writes_is_cut(postgres: servers.Server, cli: Cli, tmp_path: Path) -> None:
    """The server tells which do: they fail where nothing may be written, in one line."""
    writing = set()
    for name in tasks.ns.task_names:
        if not name.startswith("db."):
            continue
        act = next(
            (act for act in ACTS if act.name == name),
            Act("", name, {"name": "home"} if name == "db.query" else {}, (), b""),
        )
        stand = Stand(Database(postgres, f"t{uuid.uuid4().hex[:10]}", tmp_path), act)
        stand.make()
        for file, text in act.files.items():
            stand.database.sql(text, file)
        options = [
            part
            for key, value in act.options.items()
            for part in (f"--{key}", str(tmp_path / value) if act.files else value)
        ]
        env = {"CONNECTION_URL": url(stand, postgres.port) + "?options=-c%20default_transaction_read_only%3Don"}
        done = cli(name, *options, env=env)
        if "takes no writes" in done.stderr:
            writing.add(name)
            told = next(line for line in done.stderr.splitlines() if "takes no writes" in line)
            assert done.returncode == 1
            assert said(told) is False
            assert not stand.changed()
        stand.drop()
    assert writing == {act.name for act in ACTS} | CUT_AT_EACH_STATEMENT


def test_a_name_that_another_run_has_given_is_not_taken_for_ours(one: Database) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    with opening.open_target(one.settings(), "local", "db.setup", writes=True) as at:
        at.begin()
        at.work.built = 1
        assert outcome.ask(at) is outcome.Data.NOTHING
        with one.connect("postgres") as conn:
            conn.execute(f'alter database "{one.name}" rename to "{one.name}__prev"'.encode())
            conn.execute(f'create database "{one.name}"'.encode())
        assert outcome.ask(at) is outcome.Data.OTHERS
        assert (
            outcome.words(outcome.Data.OTHERS, at)[0]
            == f"another run has given the name {one.name} to a database of its own"
        )


@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_a_server_that_crashes_under_a_load_is_asked_when_it_is_back(head: str, root: Path) -> None:
    """Its own: the crash takes every session of it along."""
    bin = binaries.wheel_bin()
    assert bin
    server = servers.start("own", bin)
    try:
        database = Database(server, "crashing", root)
        database.do("create database crashing", "postgres")
        file = database.sql(f"{head}create table got (n int);\nselect pg_sleep(60);\n")

        def crash() -> None:
            query = "select pid from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()"
            with database.connect("postgres") as conn:
                while not (found := conn.execute(query).fetchone()):
                    time.sleep(0.02)
                os.kill(found["pid"], signal.SIGKILL)

        killer = threading.Thread(target=crash, daemon=True)
        killer.start()
        with pytest.raises(Problem) as caught:
            build.schema_load(database.settings(), "local", str(file), {}, "")
        killer.join()
        told = str(caught.value)
        assert said(told) is False
        assert not RAW.search(told)
    finally:
        while True:  # one that is told to stop in the midst of its recovery may never end
            try:
                database.do("select 1", "postgres")
                break
            except psycopg.OperationalError:
                time.sleep(0.05)
        server.stop()


STAYED = "something in it ended the transaction, and what it did before that has stayed in"


@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_a_part_that_stayed_behind_a_commit_is_named_also_where_the_session_breaks(one: Database, head: str) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    script = read(
        one.sql(f"{head}create table got (n int); commit; begin; select pg_terminate_backend(pg_backend_pid());")
    )
    plan = load.Plan(script, {}, script.commands[0] if head else None, [], [], [], [])  # as if nothing had been seen
    with pytest.raises(Problem) as caught:
        with opening.open_target(one.settings(), "local", "db.schema-load", writes=True) as at, at.connect() as conn:
            load.load_file(at, conn, plan, lasting=True)
    assert f"{STAYED} {one.name}: look there" in str(caught.value)
    assert one.scalar("select to_regclass('got') is not null")


WARNS = "do $$ begin raise warning 'careful' using errcode = '{}'; end $$;\n"
AFTER_A_WARNING = {
    "select nope;": r'^test\.sql:3:8: column "nope" does not exist \(42703\)',
    "\\copy t from '/nowhere'": r"^test\.sql:3: /nowhere: No such file",
    "select pg_terminate_backend(pg_backend_pid());": r"^test\.sql: the server was stopped, or somebody ended this session \(57P01\): nothing of it was kept",
    "create table p (a int primary key, b int references p deferrable initially deferred); insert into p values (1, 3);": r"^test\.sql: insert or update on table .* violates foreign key constraint .*\(23503\)\n  detail: Key",
    "create table inv.seeds (n int);": r'^test\.sql:3:14: schema "inv" does not exist',
}


@pytest.mark.parametrize("state", ["01000", "22012", "57P01"])
@pytest.mark.parametrize("text", AFTER_A_WARNING)
def test_psql_is_told_by_its_error_and_not_by_a_warning_before_it(
    one: Database, text: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(one.root)
    one.do(f'create database "{one.name}"', "postgres")
    one.sql("\\set by psql\n" + WARNS.format(state) + text + "\n")
    with pytest.raises(Problem, match=AFTER_A_WARNING[text]) as caught:
        build.schema_load(one.settings(), "local", "test.sql", {}, "")
    assert "careful" not in str(caught.value)


@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_each_state_comes_with_what_happened_and_the_next_step(one: Database, head: str) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    for state, row in outcome.STATES.items():
        whole = f"{state:0<5}" if len(state) == 5 else f"{state}0ZZ"
        file = one.sql(f"{head}do $$ begin raise 'of its own' using errcode = '{whole}'; end $$;")
        with pytest.raises(Problem) as caught:
            build.schema_load(one.settings(), "local", str(file), {}, "")
        told = str(caught.value).splitlines()[0]
        assert re.fullmatch(
            rf"test\.sql(:\d+:\d+)?: {re.escape(row.what.format(said='of its own'))} \({whole}\): nothing of it was kept: {re.escape(row.step)}",
            told.removeprefix(f"{one.root}/"),
        ), told


@pytest.mark.parametrize("text", [
    "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally", "could not receive data from server: Connection reset by peer",
    "could not send data to server: Broken pipe", "SSL SYSCALL error: EOF detected", "SSL error: bad length", "could not receive data from server: Connection timed out",
    "consuming input failed: invalid socket", "the connection is lost",
])  # fmt: skip
def test_the_words_of_libpq_are_put_into_ours(text: str) -> None:
    what, step = outcome.worded(None, text)
    assert not RAW.search(what)
    assert step == outcome.AGAIN


def test_what_only_reads_says_what_happened_too(one: Database, cli: Cli) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    for task, word in (("db.status", b"pg_total_relation_size"), ("db.sessions", b"pg_stat_activity")):
        with Proxy(one.server.port, Cut(word, ANSWER, CLOSE)) as proxy:
            port = f":{proxy.port}/"
            done = cli(task, env={"CONNECTION_URL": one.url.replace(f":{one.server.port}/", port)})
        assert done.returncode == 1
        assert re.fullmatch(
            r"postgres@\S+: the server, or something on the way, closed the connection: run this again\n",
            done.stderr.partition("18.6)\n")[2] or done.stderr,
        )
