"""What is imported makes and takes back the same objects as the originals do, by their own tools where they can be had."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.db.migrations import apply, files
from ops.db.migrations.importing import convert
from ops.targets.embedded import binaries
from tests import fix_migrations as given
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database
from tests.test_docs import blocks, shell

KEEPING = ("schema_migrations", "alembic_version", "django_migrations", "flyway_schema_history")
Step = Callable[[Database], None]


def dump(database: Database) -> str:
    """Return all objects and rows of a database, as pg_dump writes them, without what migrations are kept in."""
    params = database.target().params
    env = {**os.environ, "PGPASSWORD": params["password"], "PGUSER": params["user"], "PGHOST": params["host"]}
    programs = binaries.wheel_bin()
    assert programs is not None
    argv = [str(programs / "pg_dump"), "-p", params["port"], "--inserts", "--no-owner", "-N", "inv", database.name]
    done = subprocess.run(
        [*argv[:-1], *(f"--exclude-table={name}*" for name in KEEPING), argv[-1]],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"^(--.*|\\(un)?restrict .*|)\n", "", done.stdout, flags=re.MULTILINE)


@pytest.fixture
def two(one: Database) -> Iterator[tuple[Database, Database]]:
    """An empty database for the originals, and one for what is made of them."""
    other = Database(one.server, f"{one.name}o", one.root)
    for each in (one, other):
        one.do(f'create database "{each.name}"', "postgres")
    yield one, other
    one.do(f'drop database "{other.name}" with (force)', "postgres")


def imported(folder: Path, database: Database) -> list[files.Migration]:
    """Import a folder into the one of a database's settings, and return what that holds then."""
    to = database.settings().migrations
    convert.write(convert.plan(str(folder), to))
    return files.read_folder(to)


def up(database: Database, to: str = "") -> None:
    apply.migrate(database.settings(), "local", to, "", dry_run=False, out_of_order=False)


def down(database: Database, to: str = "") -> None:
    apply.rollback(database.settings(), "local", to, "", dry_run=False)


def check(two: tuple[Database, Database], made: list[files.Migration], ups: list[Step], downs: list[Step]) -> None:
    """Go forward and back on both sides; after each step they must be equal."""
    original, ours = two
    assert len(made) == len(ups)
    empty = dump(ours)
    for migration, step in zip(made, ups, strict=True):
        step(original)
        up(ours, migration.version)
        assert dump(ours) == dump(original), migration.path.name
    assert len(dump(ours)) > len(empty) + 100
    for migration, step in zip(reversed(made), downs, strict=False):
        step(original)
        down(ours)
        assert dump(ours) == dump(original), migration.path.name
    if len(downs) == len(made):
        assert dump(ours) == empty


def sent(sql: str) -> Step:
    return lambda database: database.do(sql)


def test_python_modules(two: tuple[Database, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The originals are run as their runner does: imported, with its `lib.db`."""
    folder = given.written(tmp_path / "old", given.MODULES)
    order = ["1681539453_", "16815394531234_", "1681539453123456_", "16815394531234568_", "20230415061735_"]
    lib = types.ModuleType("lib")
    lib_db = types.ModuleType("lib.db")
    target: list[Database] = []

    class Db:
        def query_commit(self, sql: str, params: Mapping[str, Any]) -> None:
            with target[0].connect() as conn:
                conn.execute(sql.encode(), params)

    lib_db.db = Db()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lib", lib)
    monkeypatch.setitem(sys.modules, "lib.db", lib_db)

    def step(prefix: str, name: str) -> Step:
        [path] = folder.glob(f"{prefix}*")
        found: dict[str, Any] = {}
        exec(compile(path.read_text(encoding="utf-8"), path.name, "exec"), found)  # noqa: S102
        classes = [v for v in found.values() if isinstance(v, type)]
        holder: Any = classes[0] if classes else types.SimpleNamespace(**found)
        act = {"migrate_sql": "migrate", "rollback_sql": "rollback"}[name]

        def go(database: Database) -> None:
            target[:] = [database]
            if hasattr(holder, act):
                getattr(holder, act)()
                return
            what = getattr(holder, name)
            what = what() if callable(what) else what
            for sql in what if isinstance(what, list) else [what]:
                database.do(sql)

        return go

    made = imported(folder, two[1])
    ups = [step(prefix, "migrate_sql") for prefix in order]
    downs = [step(prefix, "rollback_sql") for prefix in reversed(order)]
    check(two, made, ups, downs)


@pytest.mark.parametrize("kind", ["golang", "golang_stamps", "flyway", "flyway_repeated", "goose", "sqlx"])
def test_pairs_of_files(two: tuple[Database, Database], tmp_path: Path, kind: str) -> None:
    folder = given.written(
        tmp_path / "old",
        {
            "golang": given.pairs(),
            "golang_stamps": given.pairs(digits=10, begin=1681539453),
            "sqlx": given.pairs(digits=14, begin=20230415061733),
            "flyway": {name: text for name, text in given.flyway().items() if name[0] != "R"},
            "flyway_repeated": given.flyway(),
            "goose": given.goose(),
        }[kind],
    )
    made = imported(folder, two[1])
    ups, downs = [sent(up) for _, up, _ in given.STEPS], [sent(down) for _, _, down in reversed(given.STEPS)]
    if kind == "flyway_repeated":
        ups.append(sent(given.flyway()["R__view.sql"]))
        downs = []
    check(two, made, ups, downs)


def as_documented(root: Path, kind: str) -> None:
    """Run the lines by which the documents have a tool print its SQL."""
    [text] = blocks(f"sh {kind}", [SUITE / "docs" / "import-migrations.md"])
    done = shell(root, text)
    assert done.returncode == 0, done.stderr


ALEMBIC = {
    "env.py": """
from alembic import context
from sqlalchemy import create_engine, pool
url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url, poolclass=pool.NullPool).connect() as conn:
        context.configure(connection=conn)
        with context.begin_transaction():
            context.run_migrations()
""",
    "versions/one.py": """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "a1", None
def upgrade():
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("bio", sa.Text, comment="it's; -- one"))
    op.execute("insert into users (bio) values ('100%; begin')")
def downgrade():
    op.drop_table("users")
""",
    "versions/two.py": """
from alembic import op
revision, down_revision = "b2", "a1"
def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("by_bio", "users", ["bio"], postgresql_concurrently=True)
def downgrade():
    with op.get_context().autocommit_block():
        op.drop_index("by_bio", postgresql_concurrently=True)
""",
    "versions/three.py": """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "c3", "a1"
def upgrade():
    op.create_table("posts", sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id")), sa.Column("kind", sa.Enum("x", "y", name="kind")))
def downgrade():
    op.drop_table("posts")
    op.execute("drop type kind")
""",
    "versions/merge.py": """
revision, down_revision = "d4", ("b2", "c3")
def upgrade(): pass
def downgrade(): pass
""",
    "versions/last.py": """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "e5", "d4"
def upgrade():
    op.add_column("posts", sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()")))
def downgrade():
    op.drop_column("posts", "at")
""",
    "versions/mixed.py": """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "f6", "e5"
def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("one", "posts", ["at"], postgresql_concurrently=True)
    op.create_table("notes", sa.Column("text", sa.Text))
    with op.get_context().autocommit_block():
        op.create_index("two", "notes", ["text"], postgresql_concurrently=True)
def downgrade():
    with op.get_context().autocommit_block():
        op.drop_index("two", postgresql_concurrently=True)
    op.drop_table("notes")
    with op.get_context().autocommit_block():
        op.drop_index("one", postgresql_concurrently=True)
""",
}


def alembic(root: Path, database: Database, *args: str) -> str:
    url = database.url.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
    (root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = %(here)s/old\nsqlalchemy.url = {url}\n", encoding="utf-8"
    )
    argv = [sys.executable, "-m", "alembic", *args]
    return subprocess.run(argv, cwd=root, capture_output=True, text=True, check=True).stdout


def test_alembic(two: tuple[Database, Database], tmp_path: Path) -> None:
    original, ours = two
    given.written(tmp_path / "old", ALEMBIC)
    alembic(tmp_path, original, "history")
    as_documented(tmp_path, "alembic")
    made = imported(tmp_path / "printed", ours)
    assert [each.name for each in made] == [
        "a1",
        *sorted(("b2", "c3"), reverse=made[1].name == "c3"),
        "e5",
        "f6",
        "f6_2",
        "f6_3",
    ]
    alembic(tmp_path, original, "upgrade", "head")
    up(ours)
    assert dump(ours) == dump(original)
    alembic(tmp_path, original, "downgrade", "base")
    down(ours, "0")
    assert dump(ours) == dump(original)


DJANGO = {
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
""",
    "shop/__init__.py": "",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=9, unique=True))]),
        migrations.CreateModel("Part", [("id", models.BigAutoField(primary_key=True)), ("of", models.ForeignKey("Thing", models.CASCADE))]),
    ]
""",
    "shop/migrations/0002_more.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.AddField("Part", "note", models.TextField(default="100%; x", db_index=True)),
        migrations.RunSQL("insert into shop_thing (id, name) values (7, 'it''s')", "delete from shop_thing where id = 7"),
    ]
""",
}


def django(root: Path, database: Database, *args: str) -> str:
    params = database.target().params
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.name,
        "USER": params["user"],
        "PASSWORD": params["password"],
        "HOST": params["host"],
        "PORT": params["port"],
    }
    text = f"SECRET_KEY = 'x'\nINSTALLED_APPS = ['shop']\nDATABASES = {{'default': {settings!r}}}\nUSE_TZ = True\n"
    (root / "site_settings.py").write_text(text, encoding="utf-8")
    argv = [sys.executable, "-m", "django", *args, "--settings", "site_settings", "--pythonpath", "."]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_django(two: tuple[Database, Database], tmp_path: Path) -> None:
    original, ours = two
    given.written(tmp_path, DJANGO)
    django(tmp_path, original, "migrate", "shop")
    as_documented(tmp_path, "django")
    made = imported(tmp_path / "printed", ours)
    assert [each.name for each in made] == ["shop_0001_initial", "shop_0002_more"]
    up(ours)
    assert dump(ours) == dump(original)
    assert "shop_part" in dump(ours)
    django(tmp_path, original, "migrate", "shop", "zero")
    down(ours, "0")
    assert dump(ours) == dump(original)


STRUCTURE = r"""\restrict abc
SET statement_timeout = 0;
SET lock_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: EXTENSION plpgsql; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL procedural language';

CREATE FUNCTION public.before_its_table() RETURNS bigint LANGUAGE sql AS $$ select count(*) from public.users $$;

SET default_tablespace = '';
SET default_table_access_method = heap;

CREATE TABLE public.ar_internal_metadata (key character varying NOT NULL, value character varying);

CREATE TABLE public.schema_migrations (
    version character varying NOT NULL
);

CREATE TABLE public.users (
    id bigint NOT NULL,
    note text DEFAULT 'SET x = 1; INSERT INTO "schema_migrations" (version)'::text
);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);

--
-- PostgreSQL database dump complete
--

\unrestrict abc

SET search_path TO "$user", public;

INSERT INTO "schema_migrations" (version) VALUES
('20240301120000'),
('20230415061733'),
('2');

"""


def test_a_structure_of_rails(two: tuple[Database, Database], tmp_path: Path) -> None:
    original, ours = two
    folder = given.written(tmp_path / "db", {"structure.sql": STRUCTURE, "migrate/20230415061733_x.rb": "class X"})
    programs = binaries.wheel_bin()
    assert programs is not None
    argv = [str(programs / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-f", str(folder / "structure.sql"), original.url]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    [made] = imported(folder, ours)
    assert made.path.name == "20240301120000_structure.sql"
    up(ours)
    assert dump(ours) == dump(original)
    assert "before_its_table" in dump(ours)
    assert ours.query("select version from schema_migrations") == [{"version": "20240301120000"}]
    [again] = imported(folder / "structure.sql", ours)
    assert again == made
