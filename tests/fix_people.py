"""Tables of users as teams have them, and the role that the function writes with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row

from functions.post_confirmation import handler
from functions.post_confirmation.people import Person
from tests.fix_suppliers import Database

OURS = (Path(__file__).parent.parent / "sql" / "schema.sql").read_text(encoding="utf-8")
PLAIN = """
create table public.users (
  uuid uuid primary key default gen_random_uuid(), display_name text not null, handle text not null,
  email text not null, cognito_user_id text not null, created_at timestamp not null default current_timestamp
);
"""
"""As most teams have it: not one constraint that would keep a second row out, and an e-mail demanded."""

NARROW = """
create table public.users (
  display_name varchar(12), handle varchar(10), email varchar(30), cognito_user_id varchar(40)
);
"""

STRICT = """
create table public.users (
  display_name text not null, handle text not null unique, email text unique, cognito_user_id uuid primary key
);
create index on public.users (display_name);
"""


@dataclass
class Users:
    """The table in a database of this test's own, and the URL of a role that may SELECT and INSERT there."""

    database: Database
    role: str

    @property
    def url(self) -> str:
        params = self.database.server.params
        tls = f"?sslmode={params['sslmode']}" if "sslmode" in params else ""
        login = f"{self.role}:{quote('s3cret word', safe='')}"
        return f"postgresql://{login}@{params['host']}:{params['port']}/{self.database.name}{tls}"

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.Connection[Any].connect(self.url, autocommit=True, row_factory=dict_row)

    def rows(self) -> list[dict[str, Any]]:
        return self.database.query("select display_name, handle, email, cognito_user_id from public.users order by 2")


def person(number: int = 1, **other: Any) -> Person:
    """Return a person with values that fit everywhere."""
    values = {"display_name": f"Name {number}", "handle": f"handle{number}", "email": f"e{number}@example.com"}
    return Person(**{**values, "cognito_user_id": f"00000000-0000-4000-8000-{number:012}", **other})


def event(number: int = 1, source: str = handler.SIGN_UP, **attributes: Any) -> dict[str, Any]:
    """Return an event of the same person."""
    one = person(number)
    given = {"sub": one.cognito_user_id, "name": one.display_name, "preferred_username": one.handle, "email": one.email}
    return {
        "version": "1",
        "triggerSource": source,
        "userName": one.cognito_user_id,
        "request": {"userAttributes": {k: v for k, v in {**given, **attributes}.items() if v is not None}},
        "response": {},
    }


Make = Callable[..., Users]


@contextlib.contextmanager
def made(database: Database, schema: str = OURS, options: str = "") -> Iterator[Users]:
    """Make the table by some SQL, in a database made with some options, and the role; drop both after."""
    users = Users(database, f"{database.name}_signup")
    database.do(f"create database {database.name} {options}", "postgres")
    database.do(f"create role {users.role} login password 's3cret word'", "postgres")
    database.do(schema)
    database.do(f"grant select, insert on public.users to {users.role}")
    yield users
    database.do(f"drop database {database.name} with (force)", "postgres")
    database.do(f"drop role {users.role}", "postgres")


@pytest.fixture
def make_users(one: Database) -> Iterator[Make]:
    """Make the table in this test's database, by the suite's schema or another one."""
    with contextlib.ExitStack() as stack:
        yield lambda *how: stack.enter_context(made(one, *how))


@pytest.fixture
def users(make_users: Make) -> Users:
    return make_users()


@contextlib.contextmanager
def handling(users: Users) -> Iterator[Users]:
    """Let the handler be as in a new sandbox, with CONNECTION_URL; its connection is closed after."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNECTION_URL", users.url)
        patch.setattr(handler, "database", handler.Database())
        patch.setattr(handler, "starting", float("-inf"))
        yield users
        handler.database.jobs.put(None)
        handler.database.close()


@pytest.fixture
def function(users: Users) -> Iterator[Users]:
    with handling(users) as found:
        yield found


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Put a line into the run's summary, which captures no output of tests that pass."""
    return lambda line: record_property("told", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "told":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
