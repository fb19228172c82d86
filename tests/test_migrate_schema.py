"""The schema file beside the migrations: written anew where it is ours, checked where somebody wrote it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.db import scratch_server
from ops.db.drift import report, schema_file
from ops.db.migrations import apply, listing
from ops.errors import Differs, Refused
from ops.targets import identity
from tests.fix_suppliers import Database
from tests.test_migrate import ONE, THREE, TWO, Repo, refused
from tests.test_migrate_setup import setup

FOUR = "20260104000000"
HAND = "-- What somebody wrote: comments, and an order of their own.\n"


@pytest.fixture
def repo(one: Database) -> Iterator[Repo]:
    one.do(f'create database "{one.name}"', "postgres")
    repo = Repo(one)
    repo.usual()
    repo.settings.schema.unlink(missing_ok=True)
    yield repo
    scratch_server.remove_all(repo.settings.root)


def migrate(repo: Repo, *, write_schema: bool = False) -> None:
    apply.migrate(repo.settings, "local", "", "", write_schema=write_schema)


def check(repo: Repo) -> None:
    listing.show(repo.settings, "local", check=True, json=False)


def test_file_of_ours_follows_the_migrations_and_builds_what_they_make(
    repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    path = repo.settings.schema
    migrate(repo, write_schema=True)
    assert "is what the migrations make" in capsys.readouterr().err
    first = path.read_bytes()
    assert schema_file.is_generated(path)
    repo.write(**{f"v{FOUR}_d": "-- migrate:up\ncreate table d (n int);\n-- migrate:down\ndrop table d;\n"})
    migrate(repo)
    assert b"CREATE TABLE public.d" in path.read_bytes()
    check(repo)
    repo.rollback(THREE)
    assert path.read_bytes() == first
    migrate(repo)
    shape = repo.shape()
    setup(repo, path.read_text(encoding="utf-8"))
    assert repo.states() == dict.fromkeys((ONE, TWO, THREE, FOUR), "applied")
    assert repo.shape() == shape


def test_file_that_somebody_wrote_stays_and_is_checked(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{HAND}-- migrations up to {THREE}\ncreate table a (i int);\ncreate table c (n int);\n"
    path = repo.settings.schema
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    migrate(repo)
    assert path.read_text(encoding="utf-8") == text
    said = refused(Differs, lambda: check(repo))
    assert "is not what the migrations make: inv db.migrate --write-schema writes it anew" in said
    assert "table column public.a.b" in said
    migrate(repo, write_schema=True)
    check(repo)
    path.write_text(f"{HAND}-- migrations up to 0\ncreate table e ();\n", encoding="utf-8")
    check(repo)  # they begin with it
    path.write_text(f"{HAND}create table a (i int, b text); create table c (n int);\n", encoding="utf-8")
    capsys.readouterr()
    check(repo)  # it does not say what it holds: so they begin with it
    said = capsys.readouterr().err
    assert (
        "does not say which of the 3 migrations it holds, so all are taken to come behind it; if it holds them" in said
    )
    assert "pending" not in said  # they are applied


def test_drift_is_from_the_file_and_the_migrations(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(repo)
    report.show(repo.settings, "local", {}, sql=False, json=False)
    repo.write(**{f"v{FOUR}_d": "-- migrate:up\ncreate table d (n int);\n-- migrate:down\ndrop table d;\n"})
    refused(Differs, lambda: report.show(repo.settings, "local", {}, sql=False, json=False))
    assert "table public.d: only in" in capsys.readouterr().out


def test_history_outside_of_public_is_in_the_file(repo: Repo) -> None:
    repo.database.do("create schema app")
    repo = repo.by(options="-csearch_path=app,public")
    repo.write(**{f"v{ONE}_a": "-- migrate:up\ncreate table app.a (i int);\n-- migrate:down\ndrop table app.a;\n"})
    for version in (TWO, THREE):
        next(repo.folder.glob(f"{version}*")).unlink()
    migrate(repo, write_schema=True)
    text = repo.settings.schema.read_text(encoding="utf-8")
    assert text.endswith(f"INSERT INTO app.schema_migrations (version) VALUES\n    ('{ONE}');\n")
    setup(repo, text, rows="")
    migrate(repo)
    assert repo.database.query("select version from app.schema_migrations") == [{"version": ONE}]
    check(repo)


BASE = "create table users (id int primary key, bio text);\ncomment on schema public is 'ours';\n"
NOTES = "-- migrate:up\ncreate table notes (i int);\n-- migrate:down\ndrop table notes;\n"


@pytest.fixture
def based(repo: Repo) -> Repo:
    """Migrations that begin with a file that somebody wrote, and add to it only."""
    for path in repo.folder.iterdir():
        path.unlink()
    repo.database.do(BASE)
    repo.settings.schema.parent.mkdir(exist_ok=True)
    repo.settings.schema.write_text(f"{HAND}{BASE}", encoding="utf-8")
    repo.write(**{f"v{ONE}_notes": NOTES})
    return repo


def test_base_that_no_migration_makes_is_no_difference(based: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    path, note = based.settings.schema, "schema.sql, as what the migrations begin with: "
    migrate(based, write_schema=True)
    written = path.read_text(encoding="utf-8")
    check(based)
    assert f"{note}schema public, table public.users" in capsys.readouterr().err
    by_hand = f"{HAND}-- migrations up to {ONE}\n{BASE}create table notes (i int);\n"
    path.write_text(by_hand, encoding="utf-8")
    check(based)
    path.write_text(by_hand.replace("(i int)", "(i int, j int)"), encoding="utf-8")
    assert "table column public.notes.j: existence" in refused(Differs, lambda: check(based))
    drops = "-- migrate:up\ndrop table if exists users;\n-- migrate:down\ncreate table users ();\n"
    based.write(**{f"v{TWO}_drops": drops})
    migrate(based)
    path.write_text(by_hand.replace(ONE, TWO), encoding="utf-8")
    assert "table public.users: existence" in refused(Differs, lambda: check(based))
    (based.folder / f"{TWO}_drops.sql").unlink()
    setup(based, written, rows="")
    assert based.states() == {ONE: "applied"}


def test_migrations_that_build_nothing_alone_are_not_compared(based: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    alters = "-- migrate:up\nalter table users add pinned boolean;\n-- migrate:down\nalter table users drop pinned;\n"
    based.write(**{f"v{TWO}_pinned": alters})
    migrate(based, write_schema=True)
    capsys.readouterr()
    check(based)
    said = capsys.readouterr().err
    assert said.count("note: ") == 1
    assert "is not compared, since the migrations alone build no database: " in said
    setup(based, based.settings.schema.read_text(encoding="utf-8"), rows="")
    assert based.states() == {ONE: "applied", TWO: "applied"}
    check(based)


def test_what_was_written_over_is_kept(based: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    path = based.settings.schema
    before, again = path.with_name(f"{path.name}.before"), path.with_name(f"{path.name}.before2")
    migrate(based, write_schema=True)
    assert before.read_text(encoding="utf-8") == f"{HAND}{BASE}"
    assert f"written over: as it was, it is {before}" in capsys.readouterr().err
    migrate(based, write_schema=True)
    path.write_text("-- another\n", encoding="utf-8")
    migrate(based, write_schema=True)
    assert before.read_text(encoding="utf-8") == f"{HAND}{BASE}"
    assert again.read_text(encoding="utf-8") == "-- another\n"


def test_schema_is_not_written_over_from_production(based: Repo) -> None:
    based.database.do(f"comment on database {based.database.name} is '{identity.STAMP}'")
    said = refused(Refused, lambda: migrate(based, write_schema=True))
    assert "schema.sql is not made by a task, and local is production: write it from another target" in said
    assert based.settings.schema.read_text(encoding="utf-8") == f"{HAND}{BASE}"
    assert based.applied() == []


def test_rows_that_migrations_write_are_told(based: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    down = "-- migrate:down\nselect 1;\n"
    function = "create function f() returns void language sql as $$ insert into notes values (1) $$;\n"
    based.write(
        **{
            f"v{TWO}_rows": f"-- migrate:up\n-- first\nselect 'insert';\n/* some */ insert into notes values (1);\n{down}",
            f"v{THREE}_function": f"-- migrate:up\n{function}{down}",
            f"v{FOUR}_moved": f"-- migrate:up\nwith a as (delete from notes returning i) insert into notes select i from a;\n{down}",
        }
    )
    migrate(based, write_schema=True)
    assert f"built of it: {TWO}_rows.sql, {FOUR}_moved.sql: write such rows into" in capsys.readouterr().err
