"""db.status: what runs where, as a table and as JSON."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from config.settings import load
from ops.db import build, lifecycle, status, table_rows
from tests.fix_suppliers import Database

pytestmark = pytest.mark.every_server


def setup(database: Database) -> None:
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)


def run(database: Database, sql: str) -> None:
    with database.connect() as conn:
        conn.execute(sql.encode())


def shown(database: Database, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    lifecycle.show(database.settings(), "local", json=False)
    return capsys.readouterr().out


def reported(database: Database, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    lifecycle.show(database.settings(), "local", json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_database_that_is_missing_is_a_fact(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    found = reported(database, capsys)
    assert (found["exists"], found["tables"], found["size_bytes"], found["previous_database"]) == (
        False,
        [],
        None,
        None,
    )
    assert found["running"] is True
    assert "the database is not there yet: inv db.setup -t local" in shown(database, capsys)


def test_a_database_that_is_set_up_shows_its_tables(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    setup(database)
    found = reported(database, capsys)
    assert {table["name"]: table["rows"] for table in found["tables"]} == {"public.activities": 9, "public.users": 5}
    assert all(table["rows_exact"] and table["size_bytes"] > 0 for table in found["tables"])
    assert (found["target"], found["variable"], found["address"]) == (
        "local",
        "CONNECTION_URL",
        database.target().address,
    )
    assert found["tls"] is (database.server.label == "celerp")
    assert (found["production"], found["production_reason"]) == (False, None)
    assert found["size_bytes"] > 5_000_000
    assert len(found["seeds"]) == 1
    lines = shown(database, capsys).splitlines()
    assert lines[0] == f"local: {database.target().address} from CONNECTION_URL"
    assert lines[1] == f"PostgreSQL {found['version']}, TLS {'on' if found['tls'] else 'off'}"
    assert ["public.activities", "9"] in [line.split()[:2] for line in lines]


def test_names_the_previous_database(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    setup(database)
    setup(database)
    assert reported(database, capsys)["previous_database"] == f"{database.name}__prev"
    assert f"previous one kept as {database.name}__prev" in shown(database, capsys)


def test_counts_odd_tables_and_hides_the_suites_own(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    setup(one)
    run(
        one,
        """create schema "a b"; create table "a b"."T%s" (x int); insert into "a b"."T%s" values (1), (2);
        create table parted (x int) partition by list (x); create table part1 partition of parted for values in (1);
        insert into parted values (1); create view v as select 1;""",
    )
    rows = {table["name"]: table["rows"] for table in reported(one, capsys)["tables"]}
    assert rows == {
        '"a b"."T%s"': 2,
        "public.activities": 9,
        "public.part1": 1,
        "public.parted": 1,
        "public.users": 5,
    }


def test_a_large_table_is_estimated(
    one: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup(one)
    run(one, "analyze users")
    monkeypatch.setattr(table_rows, "EXACT_BELOW", 3)
    found = {table["name"]: table for table in reported(one, capsys)["tables"]}
    assert (found["public.users"]["rows_exact"], found["public.users"]["rows"]) == (False, 5)
    assert "~5" in shown(one, capsys)


def test_a_table_that_may_not_be_read_is_shown_without_its_rows(
    one: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    setup(one)
    role = f"{one.name}_reader"
    run(one, f"create role {role} login password 'x'; grant select on users to {role}")
    admin = dict(one.server.params)
    try:
        one.server.params.update(user=role, password="x")
        found = reported(one, capsys)
        text = shown(one, capsys)
    finally:
        one.server.params.update(admin)
        run(one, f"drop owned by {role}; drop role {role}")
    assert {table["name"]: table["rows"] for table in found["tables"]} == {
        "public.activities": None,
        "public.users": 5,
    }
    assert "None" not in text


def test_it_does_not_wait_for_who_holds_a_table_locked(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """By the table or by an index of it: the others are counted, and it is said who holds it."""
    setup(one)
    run(
        one, "create table others (id int); insert into others values (1); create index by_name on users (display_name)"
    )
    for act, locked in (("lock activities", "public.activities"), ("reindex index by_name", "public.users")):
        with one.connect() as conn:
            conn.autocommit = False
            conn.execute(act.encode())
            pid = conn.info.backend_pid
            found = reported(one, capsys)
            lifecycle.show(one.settings(), "local", json=False)
            told = capsys.readouterr().err
        rows = {table["name"]: table["rows"] for table in found["tables"]}
        assert (rows["public.others"], rows.pop(locked)) == (1, None)
        assert None not in rows.values()
        assert found["note"].startswith(f"{locked} locked by pid {pid}: rows not counted")
        assert found["note"] in told
    assert reported(one, capsys)["note"] is None


def test_it_does_not_wait_behind_who_waits_for_a_table(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    setup(one)
    with one.connect() as idle, one.connect() as changing:
        idle.autocommit = changing.autocommit = False
        idle.execute("select from activities")
        pid = changing.info.backend_pid
        waiting = threading.Thread(target=changing.execute, args=["alter table activities add column more int"])
        waiting.start()
        while not one.query(f"select from pg_locks where not granted and pid = {pid}"):
            time.sleep(0.01)
        found = reported(one, capsys)
        idle.rollback()
        waiting.join()
    assert {table["name"]: table["rows"] for table in found["tables"]} == {"public.activities": None, "public.users": 5}
    assert found["note"].startswith(f"public.activities locked by pid {pid}: rows not counted")


def test_an_embedded_server_that_does_not_run_is_not_started(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load({}, {}, root)
    lifecycle.show(settings, "", json=False)
    assert capsys.readouterr().out == "local: the embedded server does not run: inv db.up, or inv db.setup\n"
    lifecycle.show(settings, "local", json=True)
    told = json.loads(capsys.readouterr().out)
    assert {key: value for key, value in told.items() if value is not None} == {
        "target": "local",
        "kind": "embedded",
        "running": False,
    }
    assert not (root / ".local").exists()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 kB"),
        (8192, "8.0 kB"),
        (1024**2, "1.0 MB"),
        (1024**3 * 3 // 2, "1.5 GB"),
        (1024**4 * 2, "2048.0 GB"),
    ],
)
def test_sizes_are_for_people(size: int | None, text: str) -> None:
    assert status.human(size) == text
