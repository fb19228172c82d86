"""A live database changed while others work with it: nobody waits long, and who is in the way is named."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import load
from ops.db import build
from ops.db.migrations import apply, indexes, patience, watch
from ops.db.migrations.patience import Limits, run_alone, run_patiently, stalls_nobody
from ops.errors import InProgress, Misconfigured, Problem
from ops.targets import opening
from ops.targets.identity import STAMP
from ops.targets.open_target import OpenTarget
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

WHAT = "1_add.sql"
ADD = b"alter table people add column age int"
SOON = Limits(patience=30.0, ends_stall=False)


def filled(one: Database) -> Database:
    one.do(f'create database "{one.name}"', "postgres")
    one.do(
        "create table people (id int primary key, email text); insert into people select n, n || '@x.org' from generate_series(1, 100) n"
    )
    return one


@pytest.fixture
def people(one: Database) -> Database:
    """A database with a table of people."""
    return filled(one)


@pytest.fixture
def everywhere(database: Database) -> Database:
    """The same on each supplier's server."""
    return filled(database)


@contextlib.contextmanager
def opened(database: Database) -> Iterator[OpenTarget]:
    with opening.open_target(database.settings(), "local", "db.migrate", writes=True) as at:
        yield at


@contextlib.contextmanager
def in_the_way(
    database: Database, sql: str = "update people set email = 'zoe@example.com' where id = 1"
) -> Iterator[Any]:
    """Keep a transaction open, in which a statement was run."""
    params: dict[str, Any] = {**database.server.params, "dbname": database.name, "application_name": "feed"}
    conn = psycopg.connect(**params)
    try:
        conn.execute(sql.encode())
        yield conn
    finally:
        with contextlib.suppress(psycopg.Error):
            conn.rollback()
        conn.close()


def later(seconds: float, what: Any) -> threading.Timer:
    timer = threading.Timer(seconds, what)
    timer.start()
    return timer


class Reader(threading.Thread):
    """Reads the table again and again, as an application does."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self.database, self.longest, self.over = database, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        with self.database.connect() as conn:
            while not self.over.is_set():
                begun = time.monotonic()
                conn.execute("select count(*) from people")
                self.longest = max(self.longest, time.monotonic() - begun)

    def stop(self) -> float:
        """Return the seconds that its longest read has taken."""
        self.over.set()
        self.join()
        return self.longest


def add(conn: Any) -> str:
    conn.execute(ADD)
    return "added"


def columns(database: Database) -> int:
    return int(database.scalar("select count(*) from pg_attribute where attrelid = 'people'::regclass and attnum > 0"))


def test_it_lands_behind_a_long_transaction_and_nobody_waits(
    everywhere: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_the_way(everywhere) as other:
        pid = other.info.backend_pid
        longest = Reader(everywhere)
        later(2.5, other.rollback)
        with opened(everywhere) as at:
            assert run_patiently(at, add, what=WHAT, limits=SOON) == "added"
        assert longest.stop() < 1.0, "the limit of 0.2 s, on a busy machine; 2.5 s without it"
    assert columns(everywhere) == 3
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(WHAT)]
    assert len(told) == 1
    assert f"in the way is pid {pid} " in told[0]
    assert "(postgres, feed), idle in transaction for 00:00:0" in told[0]
    assert ": update people set email = ? where id = ?;" in told[0]
    assert "zoe" not in told[0]


def test_the_end_of_patience_leaves_nothing(people: Database) -> None:
    with in_the_way(people), opened(people) as at:
        begun = time.monotonic()
        with pytest.raises(
            InProgress,
            match=r"pid \d+ .* was in the way for 0:01 \(migrate.patience, attempts: 2\): nothing of it was kept",
        ):
            run_patiently(at, add, what=WHAT, limits=replace(SOON, patience=1.0))
        assert time.monotonic() - begun < 8
    assert columns(people) == 2


def test_idle_transactions_are_ended_where_that_is_asked_for_and_no_others(
    people: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_the_way(people, "select 1") as idle_elsewhere, in_the_way(people), opened(people) as at:
        run_patiently(at, add, what=WHAT, limits=replace(SOON, end_idle=True))
        assert columns(people) == 3
        assert "ended pid" in capsys.readouterr().err
        assert idle_elsewhere.execute("select 1").fetchone() == (1,), "it was not in the way"
    busy = threading.Thread(
        target=lambda: people.do("begin; lock table people in access share mode; select pg_sleep(3); commit")
    )
    busy.start()
    time.sleep(0.3)
    with opened(people) as at, pytest.raises(InProgress):
        run_patiently(
            at,
            lambda conn: conn.execute("drop table people"),
            what=WHAT,
            limits=replace(SOON, end_idle=True, patience=1.0),
        )
    busy.join()  # it was let go on


@pytest.mark.parametrize("ends", [True, False])
def test_what_closes_a_table_for_long_is_undone_or_told(
    people: Database, capsys: pytest.CaptureFixture[str], ends: bool
) -> None:
    def slow(conn: Any) -> None:
        conn.execute("create table fresh (id int)")
        conn.execute(ADD)
        conn.execute("select pg_sleep(1.5)")

    limits = replace(SOON, stall=0.5, ends_stall=ends)
    with opened(people) as at:
        if ends:
            with pytest.raises(
                Problem, match=r"1_add.sql: people would have been closed to all others for more than 0.5 s"
            ):
                run_patiently(at, slow, what=WHAT, limits=limits)
            assert columns(people) == 2
            assert people.scalar("select to_regclass('fresh')") is None
        else:
            run_patiently(at, slow, what=WHAT, limits=limits)
            assert "note: 1_add.sql kept people closed to all others for 1." in capsys.readouterr().err
            assert columns(people) == 3


def test_a_stall_between_two_statements_is_seen_too(people: Database) -> None:
    def slow(conn: Any) -> None:
        conn.execute(ADD)
        time.sleep(1.5)

    with opened(people) as at, pytest.raises(Problem, match="closed to all others"):
        run_patiently(at, slow, what=WHAT, limits=replace(SOON, stall=0.5, ends_stall=True))
    assert columns(people) == 2


def test_what_a_transaction_makes_itself_stalls_nobody(people: Database) -> None:
    def slow(conn: Any) -> None:
        conn.execute("create table fresh (id int)")
        conn.execute("alter table fresh add column more int")
        conn.execute("select pg_sleep(1)")

    with opened(people) as at:
        run_patiently(at, slow, what=WHAT, limits=replace(SOON, stall=0.3, ends_stall=True))
    assert people.scalar("select count(*) from fresh") == 0


def test_who_is_in_the_way_is_told_as_far_as_it_is_seen(people: Database, capsys: pytest.CaptureFixture[str]) -> None:
    role = f"{people.name}_owner"
    people.do(
        f"create role {role} login password 'x'; alter table people owner to {role}; grant create on schema public to {role}"
    )
    try:
        settings = people.settings(CONNECTION_URL=people.target(user=role, password="x").url(show_password=True))
        with in_the_way(people), opening.open_target(settings, "local", "db.migrate", writes=True) as at:
            with pytest.raises(
                InProgress, match=r"pid \d+ \(postgres, feed\), whose work is hidden from this user was in the way"
            ):
                run_patiently(at, add, what=WHAT, limits=replace(SOON, patience=1.0, end_idle=True))
        people.do("begin; update people set email = 'x'; prepare transaction 'bill'")
        with opened(people) as at, pytest.raises(InProgress, match="the prepared transaction bill was in the way"):
            run_patiently(at, add, what=WHAT, limits=replace(SOON, patience=1.0))
        people.do("rollback prepared 'bill'")
    finally:
        people.do(f"reassign owned by {role} to postgres; drop owned by {role}; drop role {role}")


def test_who_waits_himself_is_not_the_one_to_ask(people: Database) -> None:
    with in_the_way(people) as first:
        pid = first.info.backend_pid
        second = threading.Thread(target=lambda: people.do("update people set email = 'other' where id = 1"))
        second.start()
        with (
            opened(people) as at,
            pytest.raises(InProgress, match=rf"add.sql: pid {pid} \(.*\?(?! and 1 more) was in the way"),
        ):
            run_patiently(at, add, what=WHAT, limits=replace(SOON, patience=1.0))
        first.rollback()
        second.join()


def test_those_who_may_be_in_the_way_are_listed(people: Database) -> None:
    with in_the_way(people) as other, in_the_way(people, "select 1"), opened(people) as at:
        time.sleep(1.2)
        [line] = watch.in_the_way(at)
        assert line.startswith(f"pid {other.info.backend_pid} (postgres, feed), idle in transaction for 00:00:0")


def test_killed_while_it_waits_it_holds_nothing_and_runs_again(people: Database, inv: Cli) -> None:
    file, env = str(people.sql(LOADS["as it is"])), {**os.environ, "CONNECTION_URL": people.url}
    argv = [str(Path(sys.executable).parent / "inv"), "db.schema-load", "--file", file]
    with in_the_way(people):
        child = subprocess.Popen(argv, cwd=inv.root, env=env, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        for line in child.stderr:
            if "in the way is pid" in line:
                break
        child.kill()
        child.wait(10)
        child.stderr.close()
        longest = Reader(people)
        time.sleep(1)
        assert longest.stop() < 0.8
        assert columns(people) == 2
    inv.ok("db.schema-load", "--file", file, env=env)
    assert columns(people) == 3


INDEX = "create index concurrently people_email on people (email)"


def alone(at: OpenTarget, statement: str, limits: Limits = SOON) -> None:
    run_alone(at, lambda conn: conn.execute(statement.encode()), statement=statement, what=WHAT, limits=limits)


def valid(database: Database) -> dict[str, bool]:
    rows = database.query(
        "select indexrelid::regclass::text as name, indisvalid as valid from pg_index where indrelid = 'people'::regclass"
    )
    return {row["name"]: row["valid"] for row in rows if row["name"] != "people_pkey"}


def test_an_index_waits_for_old_transactions_and_says_for_whom(
    people: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_the_way(people) as other:
        later(2.5, other.rollback)
        with opened(people) as at:
            alone(at, INDEX)
    assert valid(people) == {"people_email": True}
    told = capsys.readouterr().err
    assert "1_add.sql waits for pid" in told
    assert "update people set email = ? where id = ?" in told


@pytest.mark.parametrize(
    ("statement", "result"),
    [
        (INDEX, "people_email"),
        ("create index concurrently if not exists people_email on public.people (email)", "people_email"),
        ("create index concurrently on people (email)", "people_email_idx1"),
        ('create unique index concurrently "people_email" on only people using btree (email)', "people_email"),
    ],
)
def test_an_invalid_index_of_a_run_that_failed_is_built_again(people: Database, statement: str, result: str) -> None:
    with in_the_way(people), opened(people) as at:
        with pytest.raises(InProgress, match="was in the way"):
            alone(at, statement, replace(SOON, patience=0.5))
        assert list(valid(people).values()) == [False]
    with opened(people) as at:
        alone(at, statement)
    assert valid(people) == {result: True}


def test_an_index_that_somebody_builds_just_now_is_left_to_him(
    people: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_the_way(people) as other:
        builder = threading.Thread(target=lambda: people.do(INDEX))
        builder.start()
        while not valid(people):
            time.sleep(0.02)
        later(1.5, other.rollback)
        with opened(people) as at:
            alone(at, INDEX.replace("people_email on", "if not exists people_email on"))
        builder.join()
    assert valid(people) == {"people_email": True}
    assert "which works on indexes of people" in capsys.readouterr().err


def test_what_a_reindex_has_left_is_dropped(everywhere: Database) -> None:
    everywhere.do(INDEX)
    with in_the_way(everywhere), opened(everywhere) as at:
        with pytest.raises(InProgress):
            alone(at, "reindex index concurrently people_email", replace(SOON, patience=0.5))
        assert valid(everywhere) == {"people_email": True, "people_email_ccnew": False}
    with opened(everywhere) as at:
        alone(at, "reindex table concurrently people")
    assert valid(everywhere) == {"people_email": True}


def test_a_constraint_is_validated_however_long_that_has_to_wait(
    people: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    people.do("alter table people add constraint named check (email <> '') not valid")
    with in_the_way(people, "lock table people in share update exclusive mode") as other:
        later(4.0, other.rollback)
        build.schema_load(
            people.settings(), "local", str(people.sql("alter table people validate constraint named;")), {}, ""
        )
    assert people.scalar("select convalidated from pg_constraint where conname = 'named'")
    told = capsys.readouterr().err
    assert "test.sql waits for pid" in told
    assert "LOCK" in told
    assert "in the way is" not in told, "it is not tried again and again"


def test_a_migration_waits_to_validate_and_names_who_may_be_in_the_way_of_production(
    people: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    people.do("alter table people add constraint named check (email <> '') not valid")
    people.do(f"comment on database {people.name} is '{STAMP}'", "postgres")
    folder = people.root / "sql" / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    text = "-- migrate:up\nalter table people validate constraint named;\n-- migrate:down\n"
    (folder / "20240101000000_named.sql").write_text(text, encoding="utf-8")
    with in_the_way(people, "lock table people in share update exclusive mode") as other:
        time.sleep(1.1)
        later(2.5, other.rollback)
        apply.migrate(people.settings(), "local", "", people.name)
    assert people.scalar("select convalidated from pg_constraint where conname = 'named'")
    told = capsys.readouterr().err
    assert "may be in the way: pid" in told
    assert "20240101000000_named.sql waits for pid" in told


def test_a_long_build_says_how_far_it_is(
    people: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SOON", 0.3)
    people.do("create function slow(text) returns text language sql immutable as $$ select $1 from pg_sleep(0.02) $$")
    with opened(people) as at:
        alone(at, "create index concurrently people_slow on people (slow(email))")
    assert re.search(r"1_add.sql is at work for 0:0\d: building index.*, \d+ %", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("statement", "first", "expected"),
    [
        (INDEX, True, True),
        ("create unique index concurrently x on t (a)", False, True),
        ("create index x on t (a)", True, False),
        ('create index "concurrently" on t (a)', True, False),
        ("drop index concurrently if exists x", True, True),
        ("drop index x", True, False),
        ("reindex (verbose) table concurrently t", True, True),
        ("reindex index x", True, False),
        ("alter table p detach partition p1 concurrently", True, True),
        ("alter table p detach partition p1", True, False),
        ('alter table p detach partition "concurrently"', True, False),
        ("alter table only a.b validate constraint c", True, True),
        ('alter table if exists "a b"."c" validate constraint "d e";', True, True),
        ("alter table a validate constraint c, validate constraint d", True, True),
        ("alter table a validate constraint c", False, False),
        ("alter table a validate constraint c, add column d int", True, False),
        ("alter table a add constraint c check (b > 0) not valid", True, False),
        ("select 1", True, False),
    ],
)
def test_which_statements_stall_nobody_while_they_wait(statement: str, first: bool, expected: bool) -> None:
    assert stalls_nobody(indexes.words(statement), first=first) is expected


LOADS = {
    "as it is": "alter table people add column age int;",
    "as pg_dump writes it": "SET statement_timeout = 0;\nSET lock_timeout = 0;\nalter table people add column age int;",
    "that resets": "reset all; alter table people add column age int;",
    "by psql": "\\echo :name\nalter table people add column age int;",
}


@pytest.mark.spread
@pytest.mark.parametrize("text", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize("task", ["schema-load", "seed"])
def test_a_load_stalls_nobody_either(
    people: Database, capsys: pytest.CaptureFixture[str], task: str, text: str
) -> None:
    file, variables = str(people.sql(text)), {"name": "x"}

    def load() -> None:
        settings = people.settings()
        if task == "seed":
            build.seed_load(settings, "local", file, variables, "", again=False)
        else:
            build.schema_load(settings, "local", file, variables, "")

    with in_the_way(people) as other:
        later(2.5, other.rollback)
        longest = Reader(people)
        load()
        assert longest.stop() < 1.0
    assert columns(people) == 3
    assert "test.sql: in the way is pid" in capsys.readouterr().err
    if task == "seed":
        assert people.scalar("select count(*) from inv.seeds") == 1


@pytest.mark.parametrize("text", [LOADS["as it is"], LOADS["by psql"]])
def test_a_load_that_closes_production_for_long_is_undone_unless_allowed(
    people: Database, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    people.do(f"comment on database {people.name} is '{STAMP}'", "postgres")
    file = str(people.sql(f"{text}\nselect pg_sleep(1.5);"))
    settings = replace(people.settings(), config={"migrate": {"stall": "0.5s"}})

    def load(care: build.Care) -> None:
        build.schema_load(settings, "local", file, {"name": "x"}, people.name, care)

    with pytest.raises(
        Problem, match=r"test.sql: people would have been closed .* let all others wait: --allow-stall$"
    ):
        load(build.CAREFUL)
    assert columns(people) == 2
    load(build.Care(allow_stall=True))
    assert columns(people) == 3
    assert "note: test.sql kept people closed to all others for 1." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("0s", "is not a length of time"),
        ("200", "is not a length of time"),
        ("2m", "give it from 1ms to 60s"),
        ("0.1ms", "give it"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(root: Path, value: str, fault: str) -> None:
    with pytest.raises(Misconfigured, match=rf"migrate.lock_timeout \(INVOKE_MIGRATE_LOCK_TIMEOUT\): .*{fault}"):
        load({"migrate": {"lock_timeout": value}}, {}, root).migrate  # noqa: B018


def test_the_setting_is_read(people: Database) -> None:
    with opened(people) as at:
        assert patience.limits(at) == Limits(0.2, 600.0, 2.0, ends_stall=False)
