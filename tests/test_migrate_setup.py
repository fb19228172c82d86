"""One history with db.setup: what the schema file holds is recorded, the rest is applied behind it, before the rows."""

from __future__ import annotations

import pytest

from ops.db import build
from ops.db.migrations import listing
from ops.errors import Misconfigured, Problem
from tests.fix_suppliers import Database
from tests.test_migrate import INDEX, ONE, THREE, TWO, A, B, C, Repo, refused

FOUR = "20260104000000"
HELD = "create table a (i int primary key);\nalter table a add b text;\n"
RECORDED = (
    f"{HELD}create table public.schema_migrations (version varchar not null primary key);\n"
    "select pg_catalog.set_config('search_path', '', false);\n"
    f"INSERT INTO public.schema_migrations (version) VALUES\n    ('{ONE}'),\n    ('{TWO}');\n"
)
SCHEMAS = {
    "none": ("", ""),
    "with rows, as dbmate writes it": (RECORDED, ""),
    "with a line at its top": (f"-- the feed\n-- migrations up to {TWO}\n{HELD}", ""),
    "before all of them": ("-- migrations up to 0\ncreate table other ();\n", "other"),
    "with rows, by psql": (f"\\set x 1\n{RECORDED}", ""),
}


ROWS = "insert into a values (1, 'x');\ninsert into c values (1);\n"


def setup(repo: Repo, schema: str, rows: str = ROWS) -> None:
    path = repo.database.root / "sql" / "schema.sql"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if schema:
        path.write_text(schema, encoding="utf-8")
    seed = repo.database.sql(rows, "seed.sql")
    build.setup(repo.settings, "local", "", str(seed), {}, "", force=True)


@pytest.fixture
def fresh(one: Database) -> Repo:
    repo = Repo(one)
    repo.usual()
    repo.write(**{f"v{FOUR}_index": INDEX})
    return repo


@pytest.mark.parametrize("kind", SCHEMAS)
def test_built_database_is_up_to_date(fresh: Repo, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    setup(fresh, SCHEMAS[kind][0])
    assert "4 migrations" in capsys.readouterr().err
    assert fresh.states() == dict.fromkeys((ONE, TWO, THREE, FOUR), "applied")
    assert fresh.database.scalar("select count(*) from inv.migrations where digest is not null") == 4
    assert fresh.database.query("select i, b, n from a, c") == [{"i": 1, "b": "x", "n": 1}]
    assert fresh.shape()["indexes"][0].endswith("true")
    fresh.migrate()
    assert "4 migrations are applied: nothing to do" in capsys.readouterr().err
    listing.show(fresh.settings, "local", check=True, json=False)
    fresh.rollback(ONE)
    setup(fresh, SCHEMAS[kind][0])
    assert fresh.states() == dict.fromkeys((ONE, TWO, THREE, FOUR), "applied")


def test_schema_that_does_not_say_what_it_holds_leaves_them_pending(
    fresh: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    setup(fresh, "create table a (i int, b text); create table c (n int);")
    said = capsys.readouterr().err
    assert (
        "does not say which of the 4 migrations it holds, so all are pending: inv db.migrate; if it holds them" in said
    )
    assert f"write at its top: -- migrations up to {FOUR}" in said
    assert set(fresh.states().values()) == {"pending"}


@pytest.mark.parametrize("version", ["2026", "20991231000000"])
def test_schema_that_says_a_version_that_is_not_there_is_refused(fresh: Repo, version: str) -> None:
    schema = f"-- the feed\n-- migrations up to {version}\n{HELD}"
    said = refused(Misconfigured, lambda: setup(fresh, schema))
    assert f"schema.sql:2:1: migrations up to {version}: " in said
    assert f"has no such version: write the last one that the file holds (0: none of them), as {FOUR}" in said
    assert fresh.database.names() == set()


def test_migration_that_fails_leaves_the_database_as_it_was(fresh: Repo) -> None:
    setup(fresh, "")
    fresh.database.do("create table mine ()")
    fresh.write(**{f"v{THREE}_c": C.replace("create", "select nope;\ncreate")})
    said = refused(Problem, lambda: setup(fresh, ""))
    assert f'{THREE}_c.sql:2:8: column "nope" does not exist' in said
    assert f"  {fresh.database.name} is as it was" in said
    assert fresh.database.scalar("select to_regclass('mine') is not null")
    assert fresh.database.names() == {""}


def test_migration_that_names_the_database_is_refused_before(fresh: Repo) -> None:
    fresh.write(**{f"v{TWO}_b": B.replace("alter", f"alter database {fresh.database.name} set x.y = '1';\nalter", 1)})
    assert f"{TWO}_b.sql:2:1: names the database {fresh.database.name} itself" in refused(
        Misconfigured, lambda: setup(fresh, "")
    )
    assert fresh.database.names() == set()


def test_named_schema_is_nothing_of_the_folders(fresh: Repo) -> None:
    file = fresh.database.sql("create table x ();", "x.sql")
    build.setup(fresh.settings, "local", str(file), "", {}, "", force=True)
    assert fresh.applied() == []
    assert A
