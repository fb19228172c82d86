"""The schema file: one text for one schema, whatever it comes from, and nothing of the user's is written over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.settings import load
from ops.db import scratch_server
from ops.db.drift import compare, schema_file, scratch
from ops.db.sql_file.script import read
from ops.targets import opening
from ops.targets.embedded import server
from ops.targets.open_target import OpenTarget
from tests import servers
from tests.fix_isolation import suite_sql
from tests.fix_schemas import FIRST, PARTS
from tests.fix_suppliers import Database
from tests.test_drift import PROGRAMS, loaded

pytestmark = pytest.mark.every_server

ALL = "\n".join(part[0] for part in sorted(PARTS, key=lambda part: not part[0].startswith(FIRST)))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with an embedded server, for all tests here."""
    root = suite_sql(tmp_path_factory.mktemp("here") / "repo")
    yield root
    server.remove_data(root)
    scratch_server.remove_all(root)


@contextmanager
def opened(of: servers.Server, root: Path, dbname: str) -> Iterator[OpenTarget]:
    settings = load({}, {"CONNECTION_URL": Database(of, dbname, root).url}, root)
    with opening.open_target(settings, "local", "db.migrate") as at:
        yield at


def test_one_schema_is_one_text(supplier: servers.Server, postgres: servers.Server, here: Path) -> None:
    """Of any server, with its own settings, also by TLS; and once more of what is made from that text."""
    if supplier.label not in PROGRAMS:
        pytest.skip("has no programs of its own here")
    with loaded(postgres, ALL) as expected, opened(postgres, here, expected.info.dbname) as at:
        wanted = schema_file.dump(at)
    with loaded(supplier, ALL) as conn:
        conn.execute(f"alter database {conn.info.dbname} set datestyle = 'German'".encode())
        conn.execute(f"alter database {conn.info.dbname} set search_path = h1, public".encode())
        with opened(supplier, here, conn.info.dbname) as at:
            assert schema_file.dump(at) == wanted
    with loaded(postgres, wanted) as again, opened(postgres, here, again.info.dbname) as at:
        assert schema_file.dump(at) == wanted
    assert wanted.startswith(schema_file.MADE)
    assert "pg_dump" not in wanted
    assert not [line for line in wanted.splitlines() if line.startswith("\\")]


def test_only_a_file_that_we_made_is_written_anew(one: Database, here: Path, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.sql", tmp_path / "deep" / "ours.sql"
    theirs.write_text("-- mine, with a comment\ncreate table t (id integer);\n")
    one.do(f"create database {one.name}", "postgres")
    one.do("create table t (id integer); create table public.schema_migrations (version varchar primary key)")
    one.do(
        "insert into schema_migrations values ('20260102030405'), ('20250102030405'); create schema inv; create table inv.seeds (a int)"
    )
    before = theirs.read_bytes()
    with opened(one.server, here, one.name) as at:
        assert not schema_file.write(at, theirs)
        assert theirs.read_bytes() == before
        assert schema_file.write(at, ours)
        text, stamp = ours.read_text(), ours.stat()
        assert schema_file.is_generated(ours)
        assert "inv." not in text.partition("\nCREATE")[2]
        assert text.endswith("VALUES\n    ('20250102030405'),\n    ('20260102030405');\n")
        assert schema_file.write(at, ours)
        assert (ours.stat().st_ino, ours.stat().st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
        ours.chmod(0o600)
        one.do("create table more (id integer)")
        link = tmp_path / "link.sql"
        link.symlink_to(ours)
        assert schema_file.write(at, link)
        assert link.is_symlink()
        assert "public.more" in ours.read_text()
        assert ours.stat().st_mode & 0o777 == 0o600
        assert schema_file.write(at, theirs, force=True)
        assert schema_file.is_generated(theirs)
        assert {path.name for path in tmp_path.iterdir()} - {"repo"} == {"deep", "link.sql", "theirs.sql"}


@pytest.mark.slow
def test_a_file_is_held_against_what_migrations_make(here: Path) -> None:
    settings = load({}, {}, here)
    schema = here / "sql" / "held.sql"
    schema.write_text("create table t (id integer, kind varchar(3) check (kind in ('a', 'b')));\n")

    def apply(at: OpenTarget) -> None:
        with at.connect() as conn:
            conn.execute("create table t (id integer)")
            conn.execute("alter table t add kind varchar(3) check (kind in ('a', 'b'))")
            if wrong:
                conn.execute("alter table t alter id set not null")

    wrong = False
    assert schema_file.against_migrations(settings, scratch.Content(read(schema), {}), apply) == schema_file.Held(
        [], []
    )
    wrong = True
    assert schema_file.against_migrations(settings, scratch.Content(read(schema), {}), apply).differing == [
        compare.Difference("table column", "public.t.id", "not null", None, "yes")
    ]


def test_what_the_embedded_server_lacks_is_written_as_it_comes(
    one: Database, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schema that does not load there, as one with an extension that it has not."""
    one.do(f"create database {one.name}", "postgres")
    one.do("create table t (id integer)")
    one.do(f"create role r{one.name}; grant select on t to r{one.name}")
    try:
        with opened(one.server, here, one.name) as at:
            text = schema_file.dump(at)
        assert f"GRANT SELECT ON TABLE public.t TO r{one.name};" in text
        assert "note: the schema file is as the pg_dump for this server writes it" in capsys.readouterr().err
    finally:
        one.do(f"drop owned by r{one.name}; drop role r{one.name}")


def test_no_password_comes_into_the_file(one: Database, here: Path) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do(
        "create foreign data wrapper far; create server s foreign data wrapper far options (host 'h', \"api key\" 'it''s 1')"
    )
    one.do(
        "create user mapping for public server s options (\"user\" 'u', password E'can\\\\a''ry', password_required 'false')"
    )
    one.do(
        "create foreign table t (i int options (secret 'canary')) server s options (schema_name 'x', token 'canary')"
    )
    with opened(one.server, here, one.name) as at:
        text = schema_file.dump(at)
    assert "canary" not in text
    assert "ry'" not in text
    assert "it''s" not in text
    assert text.count(f"{schema_file.NO_SECRETS}\nCREATE ") == 3
    assert "host 'h'" in text
    assert "schema_name 'x'" in text
    assert "    password 'left out'" in text
    assert "password_required 'false'" in text
