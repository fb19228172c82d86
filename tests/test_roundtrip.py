"""Any user, password and database name that Postgres can hold gets there unchanged, by each way that leads there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psycopg
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from config import dotenv
from config.settings import load
from config.targets import Target, parse, resolve
from config.urls import MAINTENANCE
from ops import postgres as our
from ops.env import variables
from ops.errors import Misconfigured
from tests import servers

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
NASTY = st.text("@%/:?#&='\"\\ $\u007b\u007d[]<>,;+~`!|^*é€\u200b\t", min_size=1, max_size=20)
NAME = (TEXT | NASTY).filter(lambda name: len(name.encode()) <= 63)
USER = NAME.filter(lambda name: not name.startswith("pg_") and name not in {"public", "none", "postgres"})
DATABASE = NAME.filter(lambda name: name not in MAINTENANCE)


@contextlib.contextmanager
def existing(server: servers.Server, user: str, password: str, database: str) -> Iterator[None]:
    """Make a role and a database for the time of an example."""
    role, name = sql.Identifier(user), sql.Identifier(database)
    params = {**server.params, "dbname": "postgres"}
    with psycopg.connect(autocommit=True, **params) as admin:  # type: ignore[arg-type]
        try:
            admin.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(password)))
        except psycopg.errors.DatabaseError:
            reject()  # a name that Postgres keeps for itself
        try:
            admin.execute(sql.SQL("create database {} owner {} strategy file_copy").format(name, role))
            yield
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            admin.execute(sql.SQL("drop role {}").format(role))


def logs_in(target: Target | None, user: str, database: str) -> None:
    """Assert that a target leads to the database as the user."""
    assert target
    with our.connect(target, task="test") as conn:
        assert our.row(conn, "select current_user::text as u, current_database()::text as d") == {
            "u": user,
            "d": database,
        }


@given(user=USER, password=TEXT | NASTY, database=DATABASE)
@example("me", "k@n%a:r/y'\"$\\", "a/b?c#d e%41@f:g")
@example("a@b", "${HOME}$(id)`id`", "${x}")
@example("ü", " leading and trailing ", " b ")
@example("u", "line\nbreak\r", "d")
@example("'", "'", '"')
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_configured_is_what_logs_in(
    postgres: servers.Server, root: Path, user: str, password: str, database: str
) -> None:
    params = {**postgres.params, "user": user, "password": password, "dbname": database}
    url = Target("local", "CONNECTION_URL", params).url(show_password=True)
    assert {k: v for k, v in conninfo_to_dict(url).items() if v is not None} == params
    assert dict(parse(url, "CONNECTION_URL", "local").params) == params

    with existing(postgres, user, password, database):
        # by a URL in the environment, and as other programs read what db.url prints
        target = resolve(load({}, {"CONNECTION_URL": url}, root), "local")
        logs_in(target, user, database)
        assert target
        with psycopg.connect(target.url(show_password=True)) as conn:
            assert (conn.info.user, conn.info.dbname) == (user, database)

        # by a URL that env.set has written into the env file
        save(root, "CONNECTION_URL", url)
        logs_in(resolve(load({}, {}, root), "local"), user, database)

        # by its parts, as far as a setting and a line of a file can hold them
        parts = {
            "PROD_DB_ENDPOINT": postgres.params["host"],
            "POSTGRES_PORT": postgres.params["port"],
            "POSTGRES_MASTER_USERNAME": user,
            "POSTGRES_MASTER_PASSWORD": password,
        }
        if database.strip() == database:
            config = {"db": {"name": database}}
            logs_in(resolve(load(config, parts, root), "prod"), user, database)
            if not set("\r\n") & set(user + password) and user.strip() and password.strip():
                for name, value in parts.items():
                    save(root, name, value)
                logs_in(resolve(load(config, {}, root), "prod"), user, database)


def save(root: Path, name: str, value: str) -> None:
    """Save a variable as env.set does that reads it from a pipe."""
    with mock.patch.object(variables, "ask_secret", return_value=value), contextlib.redirect_stderr(io.StringIO()):
        variables.save(load({}, {}, root), name, share=False)
    assert dotenv.read(root / ".env")[name] == value


@given(url=st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | NASTY)
@example("postgresql://")
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_target_that_is_printed_as_it_was_read_or_refused(url: str) -> None:
    for text in (url, f"postgresql://{url}", f"postgresql://u:{url}@h/db", f"postgresql://h/{url}"):
        try:
            target = parse(text, "CONNECTION_URL", "local")
        except Misconfigured:
            continue
        assert 0 < target.port < 65536
        assert target.dbname
        again = parse(target.url(show_password=True), "CONNECTION_URL", "local")
        assert {k: v for k, v in again.params.items() if v} == {k: v for k, v in target.params.items() if v}
