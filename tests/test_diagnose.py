"""db.diagnose: faults made on purpose are found, each with its object and its mend; the mend is run, and they are gone.

Nothing is found where nothing is wrong, nothing is locked, and what cannot be seen is not called green.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.diagnose import diagnose
from config.settings import Settings, load
from ops import silence
from ops.db.diagnose import keys, report, sessions, wal
from ops.db.diagnose import server as server_settings
from ops.db.diagnose.check import Facts, Line
from ops.errors import Differs, Misconfigured, Problem
from ops.targets import opening
from ops.targets.embedded import binaries
from tests import fix_schemas, servers
from tests.cutting import ANSWER, ASKING, HUSHED, SILENT, Cut, Proxy
from tests.fix_cli import SUITE
from tests.fix_faults import BIG, FAULTS, QUERIES, Fault, statements
from tests.fix_suppliers import Database, supply

STRICT = {"unused_days": "0", "pace_days": "0", "long": "200ms", "blocked": "100ms"}
QUIET = ("fsync=on", "autovacuum_naptime=1h", "max_prepared_transactions=4", "wal_level=replica", "max_connections=40")


def settings(database: Database, limits: dict[str, str] | None = None, **params: str) -> Settings:
    return load(
        {"diagnose": limits or {}}, {"CONNECTION_URL": database.target(**params).url(show_password=True)}, database.root
    )


def look(database: Database, limits: dict[str, str] | None = None, **params: str) -> report.Diagnosis:
    with opening.open_target(settings(database, limits, **params), "local", "db.diagnose") as at:
        return report.diagnosis(at)


@pytest.fixture(scope="module", params=["embedded", "debian"])
def server(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """A server of 18 and one of 15, whose settings are in order, and whose autovacuum does not come while we look."""
    try:
        yield from supply(request.param, QUIET)
    except LookupError as reason:
        pytest.skip(str(reason))


def made(server: servers.Server, root: Path) -> Database:
    database = Database(server, f"t{uuid.uuid4().hex[:10]}", root)
    database.do(f"create database {database.name}", "postgres")
    return database


# --- what is wrong is found, and mended ---------------------------------------------------


@dataclass
class Seen:
    """What was found of the faults, before and after the mends were run."""

    database: Database
    before: list[Line]
    after: list[Line]


def schema(name: str) -> str:
    return "f_" + re.sub(r"\W+", "_", name)


def words(text: str, name: str, database: Database) -> str:
    known = {"s": schema(name), "db": database.name, "user": database.server.params["user"]}
    if "{collation}" in text:
        versioned = (
            "select quote_ident(collname) from pg_collation where collversion is not null and collencoding in (-1, 6)"
        )
        known["collation"] = database.scalar(versioned + " order by collname limit 1")
    for key, value in known.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def make(database: Database, name: str, fault: Fault) -> None:
    with database.connect() as conn:
        for text in (f"create schema {schema(name)}", *statements(words(fault.sql, name, database))):
            with contextlib.suppress(psycopg.Error) if text.startswith("?") else contextlib.nullcontext():
                conn.execute(text.removeprefix("?").encode())


def mend(database: Database, line: Line) -> None:
    for statement in line.mend:
        if not statement.startswith("inv "):
            database.do(statement)


def has(lines: list[Line], check: str, about: str) -> list[Line]:
    return [line for line in lines if line.check == check and line.object == about and line.status in ("red", "yellow")]


@pytest.fixture(scope="module")
def seen(server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """All faults at once in one database, before and after."""
    root = tmp_path_factory.mktemp("faults")
    database = made(server, root)
    for name, fault in FAULTS.items():
        make(database, name, fault)
    for statement in statements(BIG):
        database.do(statement)
    folder = root / "sql" / "queries"
    folder.mkdir(parents=True)
    for name, text in QUERIES.items():
        (folder / f"{name}.sql").write_text(text + "\n", encoding="utf-8")
    database.do("select pg_reload_conf()")
    time.sleep(0.3)
    before = look(database, STRICT).lines
    wanted = {(fault.check, words(fault.object, name, database)) for name, fault in FAULTS.items()}
    for line in before:  # not of what comes with a fault: an index may be bloated, and read by nobody
        if (line.check, line.object) in wanted or line.check == "query_reads_whole":
            mend(database, line)
    time.sleep(0.3)
    yield Seen(database, before, look(database, STRICT).lines)
    database.do(f"drop database {database.name} with (force)", "postgres")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_its_mend_mends_it(seen: Seen, name: str) -> None:
    fault = FAULTS[name]
    about = words(fault.object, name, seen.database)
    [line] = has(seen.before, fault.check, about)
    assert line.mend[0].startswith(words(fault.mend, name, seen.database)), line
    assert line.cost
    assert not has(seen.after, fault.check, about)


EMAIL, NEWEST, MADE = (
    "create index concurrently on big.t (email)",
    "create index concurrently on big.t (made desc, id)",
    "",
)
READS = {
    "queries/by_email.sql": ["create index concurrently on big.t (email)"],
    "queries/newest.sql": ["create index concurrently on big.t (made desc, id)"],
}


@pytest.mark.parametrize("file", READS)
def test_a_query_that_reads_a_table_whole_is_found(seen: Seen, file: str) -> None:
    [line] = has(seen.before, "query_reads_whole", file)
    assert line.mend == READS[file]
    assert "reads all of big.t (20,000 rows)" in line.what
    assert not has(seen.after, "query_reads_whole", file)


def test_a_query_that_fails_is_found(seen: Seen) -> None:
    [line] = has(seen.before, "query_broken", "queries/gone.sql")
    assert 'column "nothing" does not exist' in line.what
    assert line.mend == ["inv db.drift --sql -t local"]


def test_what_is_named_is_text(seen: Seen) -> None:
    """All that was made on purpose, and nothing beside it but what follows of that."""
    wanted = {(fault.check, words(fault.object, name, seen.database)) for name, fault in FAULTS.items()}
    assert len(wanted) >= 40
    for line in seen.before:
        assert line.status in ("red", "yellow", "green", "unseen")
        assert (line.status in ("red", "yellow")) == bool(line.cost) == bool(line.object), line


# --- sessions -----------------------------------------------------------------------------

SECRET = "zoe@example.com"


@contextlib.contextmanager
def session(database: Database, *texts: str, name: str = "theirs") -> Iterator[psycopg.Connection[Any]]:
    """Hold a session in which these were run."""
    params: dict[str, Any] = {**database.server.params, "dbname": database.name, "application_name": name}
    with psycopg.connect(**params, autocommit=True) as conn:
        for text in texts:
            conn.execute(text.encode())
        yield conn
        conn.close()


def until(database: Database, check: str, *, there: bool = True) -> list[Line]:
    """Return what a check says, once it says so."""
    deadline = time.monotonic() + 30
    while True:
        found = [line for line in look(database, STRICT).lines if line.check == check and line.status != "green"]
        if bool(found) is there or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


on_one = pytest.mark.parametrize("server", ["embedded"], indirect=True)
"""Where the version does not matter."""


@pytest.fixture
def quiet(server: servers.Server, root: Path) -> Iterator[Database]:
    database = made(server, root)
    yield database
    database.do(f"drop database {database.name} with (force)", "postgres")


def in_background(conn: psycopg.Connection[Any], text: str) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(psycopg.Error):
            conn.execute(text.encode())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@on_one
def test_a_transaction_that_is_long_at_work(quiet: Database) -> None:
    with session(quiet) as conn:
        thread = in_background(conn, f"select pg_sleep(60), '{SECRET}'")
        [line] = until(quiet, "long_transaction")
        assert line.object == f"pid {conn.info.backend_pid} (theirs, postgres)"
        assert "select pg_sleep(?), ?" in line.what
        mend(quiet, line)
        assert not until(quiet, "long_transaction", there=False)
        thread.join(10)


@on_one
@pytest.mark.parametrize("text", ["select 1", "select 1/0"])
def test_one_that_is_idle_in_a_transaction(quiet: Database, text: str) -> None:
    with session(quiet, "begin") as conn:
        with contextlib.suppress(psycopg.Error):
            conn.execute(f"{text}, '{SECRET}'".encode())
        [line] = until(quiet, "idle_in_transaction")
        assert f"pid {conn.info.backend_pid} " in str(line.object)
        assert SECRET not in line.what
        mend(quiet, line)
        assert not until(quiet, "idle_in_transaction", there=False)


@on_one
def test_a_prepared_transaction_that_nobody_ends(quiet: Database) -> None:
    gid = f"it's {quiet.name}"
    with session(quiet, "begin", "create table t ()", f"prepare transaction $${gid}$$"):
        [line] = until(quiet, "prepared_transaction")
        assert line.mend == [f"rollback prepared 'it''s {quiet.name}'"]
        mend(quiet, line)
        assert not until(quiet, "prepared_transaction", there=False)


@on_one
def test_who_keeps_others_waiting(quiet: Database) -> None:
    quiet.do("create table t (a int primary key)")
    with session(quiet, "begin", "lock t", name="first") as first, session(quiet) as second, session(quiet) as third:
        threads = [in_background(conn, "select from t") for conn in (second, third)]
        deadline = time.monotonic() + 30
        while (
            not re.match("2 sessions wait", (found := until(quiet, "blocking"))[0].what) and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        [line] = found
        assert line.object == f"pid {first.info.backend_pid} (first, postgres)"
        mend(quiet, line)
        assert not until(quiet, "blocking", there=False)
        for thread in threads:
            thread.join(10)


@on_one
def test_connections_that_are_nearly_all_taken(quiet: Database) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(session(quiet))
        [line] = until(quiet, "connections")
        assert re.fullmatch(r"\d+ of 37 connections are taken", line.what)
        time.sleep(0.3)
        mend(quiet, line)
        assert not until(quiet, "connections", there=False)


# --- nothing is wrong ---------------------------------------------------------------------

SHOP = (SUITE / "tests" / "data" / "shop.sql").read_text(encoding="utf-8")
DRIFT = (SUITE / "tests" / "data" / "drift.sql").read_text(encoding="utf-8")
OWN = (SUITE / "sql" / "schema.sql").read_text(encoding="utf-8")
OWN_ROWS = (
    OWN
    + """
insert into users (display_name, handle, cognito_user_id) select 'P' || n, 'p' || n, n::text from generate_series(1, 12000) n;
insert into activities (user_uuid, message, expires_at) select uuid, handle, now() from users, generate_series(1, 2)
"""
)
MANY = "".join(
    f"create table t{n} (id bigint generated always as identity primary key, name text not null, parent bigint references t{n} (id));"
    f"create index on t{n} (name); create index on t{n} (parent); insert into t{n} (name) values ('x');"
    for n in range(100)
)
READ = """
set enable_seqscan = off;
select count(*) from shop.goods where tags @> '{a}';
select count(*) from shop.goods where price < 5;
select count(*) from shop.orders where person_id = 5;
select count(*) from shop.orders where state = 'open' and at > now();
select count(*) from shop.items where good_id = 5
"""
HEALTHY = {
    "the suite's own": OWN,
    "the suite's own, with rows": OWN_ROWS,
    "one of each kind": re.sub("create unlogged table.*\n", "", DRIFT),
    "a shop": SHOP,
    "a shop after a month": SHOP,
    "100 tables": MANY,
    **{f"generated {number}": fix_schemas.shapes(number)[number % 2] for number in range(6)},
}


@on_one
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_where_nothing_is_wrong(quiet: Database, name: str) -> None:
    quiet.do(HEALTHY[name])
    if "own" in name:
        (quiet.root / "sql" / "queries").symlink_to(SUITE / "sql" / "queries")
    quiet.do("analyze")
    if "month" in name:
        quiet.do(READ)
    limits = {"unused_days": "0", "pace_days": "0"} if "month" in name else {}
    assert len(HEALTHY) >= 12
    found = [line for line in look(quiet, limits).lines if line.status in ("red", "yellow")]
    assert not found, found


# --- how it looks -------------------------------------------------------------------------


@on_one
def test_nobody_waits_for_it_and_it_for_nobody(quiet: Database) -> None:
    """Each table, sequence and index is locked by somebody, and all but what must be locked is seen."""
    for name in (
        "an int key",
        "an index twice",
        "bloated table",
        "a partial expression twice",
        "partitions without a whole",
    ):
        make(quiet, name, FAULTS[name])
    (quiet.root / "sql" / "queries").mkdir(parents=True)
    (quiet.root / "sql" / "queries" / "q.sql").write_text(f"select * from {schema('an int key')}.t where id = %(id)s")
    tables = [
        row["t"]
        for row in quiet.query(
            "select oid::regclass::text as t from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text like 'f\\_%'"
        )
    ]
    with session(
        quiet, "begin", f"lock {', '.join(tables)}", f"alter sequence {schema('an int key')}.t_id_seq increment 2"
    ):
        begun = time.monotonic()
        found = look(quiet).lines
        assert time.monotonic() - begun < 20, "it waited for them"
    told = {line.check: line for line in found if line.status in ("red", "yellow")}
    assert {"duplicate_index", "table_bloat", "partitions_not_analyzed"} <= set(told)
    assert "key_end" not in told
    [line] = [line for line in found if line.check == "query_broken"]
    assert (line.status, line.what) == ("unseen", "it is locked just now")


@on_one
def test_it_takes_few_round_trips_and_writes_nothing(quiet: Database) -> None:
    quiet.do(MANY)
    with opening.open_target(settings(quiet), "local", "db.diagnose") as at, at.connect() as conn:
        sent = []
        execute = conn.execute

        def counted(query: Any, *args: Any, **more: Any) -> Any:
            sent.append(query)
            return execute(query, *args, **more)

        at.__dict__["connect"] = lambda: contextlib.nullcontext(conn)
        conn.execute = counted  # type: ignore[method-assign] # counts what is sent
        report.diagnosis(at)
        assert len(sent) == 1, "without queries of an application, all at once"
        conn.read_only = True
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), conn.transaction():
            conn.execute("create table nothing ()")


@pytest.fixture
def plain(quiet: Database) -> Iterator[dict[str, str]]:
    """A login that may do nothing but connect."""
    name = f"r{uuid.uuid4().hex[:8]}"
    quiet.do(f"create role {name} login password 'x-y-z'")
    yield {"user": name, "password": "x-y-z"}
    quiet.do(f"drop role {name}")


def test_a_plain_login_is_told_what_it_cannot_see(quiet: Database, plain: dict[str, str]) -> None:
    for name in ("bloated table", "an int key", "an index twice", "a check not validated"):
        make(quiet, name, FAULTS[name])
    with session(quiet, "begin", "select 1"):
        time.sleep(0.3)
        lines = look(quiet, STRICT, **plain).lines
    found = {line.check: line for line in lines}
    assert {"duplicate_index", "constraint_not_validated"} <= {line.check for line in lines if line.status == "yellow"}
    user = plain["user"]
    for check, right in {
        "idle_in_transaction": "pg_read_all_stats", "long_transaction": "pg_read_all_stats", "table_bloat": "pg_read_all_data", "key_end": "pg_read_all_data",
    }.items():  # fmt: skip
        assert (found[check].status, found[check].mend) == ("unseen", [f'grant {right} to "{user}"']), check
        quiet.do(f'grant {right} to "{user}"')
    with session(quiet, "begin", "select 1"):
        time.sleep(0.3)
        after = look(quiet, STRICT, **plain).lines
    for check in ("idle_in_transaction", "table_bloat", "key_end"):
        assert [line.status for line in after if line.check == check and line.status != "unseen"], check
    assert not [
        line
        for line in after
        if line.check in ("idle_in_transaction", "table_bloat", "key_end") and line.status == "unseen"
    ]


@on_one
def test_it_ends_as_it_is_asked_to(quiet: Database, capsys: pytest.CaptureFixture[str]) -> None:
    def show(fail_on: str) -> None:
        report.show(settings(quiet), "local", fail_on=fail_on, json=False)

    with pytest.raises(Misconfigured, match="--fail-on blue: give red or yellow"):
        show("blue")
    show("yellow")
    make(quiet, "an index twice", FAULTS["an index twice"])
    show("red")
    with pytest.raises(Differs, match=r"1 yellow.*--fail-on yellow"):
        show("yellow")
    make(quiet, "an int key", FAULTS["an int key"])
    with pytest.raises(Differs, match=r"1 red, 1 yellow") as caught:
        show("red")
    assert caught.value.code == 4
    out = capsys.readouterr().out
    assert "mend: alter table f_an_int_key.t alter column id type bigint" in out
    assert out.splitlines()[-1].startswith("green")


@pytest.mark.parametrize(("way", "how"), [(ASKING, SILENT), (ANSWER, HUSHED)])
@on_one
def test_a_server_that_falls_silent_is_left(
    quiet: Database, monkeypatch: pytest.MonkeyPatch, way: str, how: str
) -> None:
    with Proxy(int(quiet.server.params["port"]), Cut(b"pg_blocking_pids", way, how)) as proxy:
        monkeypatch.setattr(silence, "limit", 2.0)
        url = quiet.target(host="127.0.0.1", port=str(proxy.port)).url(show_password=True)
        at = load({}, {"CONNECTION_URL": url}, quiet.root)
        with pytest.raises(Problem, match="has fallen silent, no answer for 2 s"):
            report.show(at, "local", fail_on="", json=True)
        assert proxy.hit


# --- what only a server of its own can have -----------------------------------------------


@pytest.fixture(scope="module", params=["embedded", "debian"])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database whose oldest row is of 1.2 thousand million transactions ago, with a setting that waits for a restart.

    pg_resetwal leaves out those numbers (https://www.postgresql.org/docs/current/app-pgresetwal.html), in a multiple of the
    rows of a file of pg_xact, which must be there.
    """
    now = 1_200_000_000 // (1 << 20) * (1 << 20)
    more = ["fsync=on", "autovacuum=off", "autovacuum_freeze_max_age=2000000000"]
    supplier = supply(request.param, more)
    try:
        server = next(supplier)
    except LookupError as reason:
        pytest.skip(str(reason))
    assert server.process
    assert server.home
    assert server.bin
    server.process.send_signal(signal.SIGINT)
    server.process.wait(30)
    who: dict[str, Any] = binaries.runner(server.home / "none").options()
    data = server.home / "data"
    subprocess.run(
        [server.bin / "pg_resetwal", "-x", str(now + 3), "-D", data],
        check=True,
        capture_output=True,
        cwd=server.home,
        **who,
    )
    log = data / "pg_xact" / f"{now // (1 << 20):04X}"
    log.write_bytes(bytes(1 << 18))
    binaries.runner(server.home / "none").own(log)
    servers.launch(server, more)
    root = tmp_path_factory.mktemp("old")
    database = Database(server, "elderly", root)
    database.do("create database elderly", "postgres")
    yield database
    assert next(supplier, None) is None  # which stops it


def test_transaction_numbers_that_run_out(old: Database) -> None:
    old.do("create table t (id int primary key); insert into t values (1)")
    old.do(
        "update pg_class set relfrozenxid = (select min(datfrozenxid::text::int)::text::xid from pg_database) where relname = 't'"
    )
    lines = look(old).lines
    [table] = has(lines, "wraparound_table", "public.t")
    [whole] = has(lines, "wraparound_database", "elderly")
    assert (table.status, whole.status) == ("red", "red")
    assert "1,200 million transactions old" in whole.what
    assert [line.mend for line in has(lines, "wraparound_database", "postgres")] == [
        ["vacuumdb --freeze --dbname=postgres"]
    ]
    mend(old, table)
    assert not has(look(old).lines, "wraparound_table", "public.t")
    mend(old, whole)
    assert not has(look(old).lines, "wraparound_database", "elderly")


def test_a_setting_that_waits_for_a_restart(old: Database) -> None:
    old.do("alter system set shared_buffers = '32MB'")
    old.do("select pg_reload_conf()")
    time.sleep(0.3)
    [line] = has(look(old).lines, "pending_restart", "shared_buffers")
    assert line.mend == ["restart the server"]
    assert old.server.process
    old.server.process.send_signal(signal.SIGINT)
    old.server.process.wait(30)
    servers.launch(old.server, ["fsync=on"])
    assert not has(look(old).lines, "pending_restart", "shared_buffers")


# --- judgement ----------------------------------------------------------------------------

FACTS = Facts(
    limits=diagnose({}), user="u", database="d", version=180000, rds=False, replicas=0, standby=False, since=None, days=40.0, memory=8 << 30, cpus=2
)  # fmt: skip
MEMORY = {
    "buffers": 1 << 27,
    "work": 1 << 22,
    "cache": 4 << 30,
    "maintenance": 1 << 26,
    "shared_limit": True,
    "connections": 100,
    "workers": 3,
    "pages": 1000,
}
SEQUENCE = {
    "sequence": "s", "table": "t", "column": "id", "identity": True, "type": "integer", "column_type": "integer", "step": 1.0,
    "sequence_end": 2147483647.0, "column_end": 2147483647.0, "lowered": False,
}  # fmt: skip
SLOT = {
    "name": "'s'",
    "slot_name": "s",
    "slot_type": "physical",
    "active": True,
    "wal_status": "reserved",
    "holds": True,
    "held": 0.0,
}


@pytest.mark.parametrize(
    ("judge", "row", "facts", "status"),
    [
        (sessions.load, {"running": 4}, FACTS, None),
        (sessions.load, {"running": 5}, FACTS, "yellow"),
        (sessions.load, {"running": 9}, FACTS, "red"),
        (sessions.connections, {"used": 74, "most": 100}, FACTS, None),
        (sessions.connections, {"used": 90, "most": 100}, FACTS, "red"),
        (server_settings.caches, MEMORY, FACTS, None),
        (server_settings.caches, MEMORY | {"pages": 1 << 20}, FACTS, "yellow"),
        (server_settings.caches, MEMORY | {"buffers": 5 << 30}, FACTS, "yellow"),
        (server_settings.work, MEMORY | {"work": 1 << 27}, FACTS, "yellow"),
        (server_settings.hits, {"hit": 96.0, "read": 4.0, "buffers": 1 << 27}, FACTS, None),
        (server_settings.hits, {"hit": 92.0, "read": 8.0, "buffers": 1 << 27}, FACTS, "yellow"),
        (server_settings.hits, {"hit": 50.0, "read": 50.0, "buffers": 1 << 27}, FACTS, "red"),
        (keys.key_end, SEQUENCE | {"last": 3e8, "inserted": 1e5}, FACTS, None),
        (keys.key_end, SEQUENCE | {"last": 3e8, "inserted": 3e8}, FACTS, "yellow"),
        (keys.key_end, SEQUENCE | {"last": 3e8, "inserted": 1e9}, FACTS, "red"),
        (keys.key_end, SEQUENCE | {"last": 3e8, "inserted": 1e9}, replace(FACTS, days=0.5), None),
        (keys.key_end, SEQUENCE | {"last": 1.6e9, "inserted": 0.0}, replace(FACTS, days=0.5), "yellow"),
        (wal.slot, SLOT, FACTS, None),
        (wal.slot, SLOT | {"held": 2.0**31}, FACTS, "yellow"),
        (wal.slot, SLOT | {"active": False, "held": 2.0**31}, FACTS, "red"),
        (wal.slot, SLOT | {"wal_status": "lost"}, FACTS, "red"),
    ],
)  # fmt: skip
def test_how_bad_it_is(judge: Any, row: dict[str, Any], facts: Facts, status: str | None) -> None:
    """What a test can make only with much time or memory."""
    found = judge(row, facts)
    assert (found.status if found else None) == status


def test_a_server_of_rds_is_set_by_its_parameter_group() -> None:
    mend = server_settings.setting(replace(FACTS, rds=True), "work_mem", "8MB")
    assert mend == (
        'aws rds modify-db-parameter-group --db-parameter-group-name GROUP --parameters "ParameterName=work_mem,ParameterValue=8MB,ApplyMethod=immediate"',
    )
    assert (
        server_settings.no_memory(replace(FACTS, memory=None))
        == "how much memory the server's machine has is not known from here"
    )
