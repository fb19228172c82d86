"""A database whose roles db.roles has made, and people with logins of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import Settings
from ops.db.roles import write
from tests import servers
from tests.fix_roles import MASTER, PASSWORD, Place, placed
from tests.fix_suppliers import Database

WORDS = {"reader": "the reader's word", "migrator": "the migrator's word"}
"""The passwords of roles, which a user knows by variables; that of `app` is not known."""


@dataclass
class Team(Place):
    """A database with roles; its settings are those of the master who has made them, and who has RDS's rights."""

    def login(self, name: str = "anna") -> str:
        return f"{self.name}_{name}"

    def enter(self, user: str, password: str, **more: str) -> psycopg.Connection[Any]:
        params: dict[str, Any] = {**self.server.params, "dbname": self.name, "user": user, "password": password, **more}
        return psycopg.connect(autocommit=True, **params)

    def role(self, login: str) -> dict[str, Any] | None:
        """Return what the server has of a role: may it log in, its comment, whose member it is, how many sessions it has."""
        rows = self.query(
            "select rolcanlogin as opens, shobj_description(r.oid, 'pg_authid') as comment, rolvaliduntil as until,"
            " array(select pg_get_userbyid(roleid)::text from pg_auth_members where member = r.oid) as roles,"
            " (select count(*) from pg_stat_activity where usesysid = r.oid) as sessions"
            f" from pg_roles r where rolname = '{login}'",
            "postgres",
        )
        return rows[0] if rows else None

    def is_shut(self, login: str) -> bool:
        """Whether it is there, and may nothing, and has no session."""
        found = self.role(login)
        return found is not None and (found["opens"], found["roles"], found["sessions"]) == (False, [], 0)

    def expire(self, *logins: str) -> None:
        """Have the time of accesses be over, as if it had passed; the password is let be good for longer."""
        with self.connect("postgres") as conn:
            for login in logins:
                found = self.role(login)
                assert found
                mark = found["comment"].partition(" until ")[0] + " until 2026-01-02T03:04:05Z]"
                conn.execute(f"comment on role \"{login}\" is '{mark}'".encode())
                conn.execute(f"alter role \"{login}\" valid until '2999-01-01'".encode())

    @property
    def newer(self) -> bool:
        """Whether a membership has options, and whoever has given it."""
        return int(self.scalar("select current_setting('server_version_num')::int", "postgres")) >= 160000

    def superusers(self) -> Settings:
        """Return the settings of a superuser."""
        return Database(self.server, self.name, self.root).settings()

    def knowing(self) -> Settings:
        """Return the settings of a master who knows the passwords of the roles."""
        known = {f"LOCAL_{role.upper()}_PASSWORD": word for role, word in WORDS.items()}
        settings = self.settings()
        return replace(settings, vars=replace(settings.vars, environ={**settings.vars.environ, **known}))


def teamed(server: servers.Server, root: Path) -> Iterator[Team]:
    """Make a database with roles."""
    for place in placed(server, root):
        team = Team(place.server, place.name, place.root)
        team.do("insert into t (x) values (1)")
        write.run(team.knowing(), "", team.name, dry_run=False, check=False, strict=False, json=False)
        yield team


@pytest.fixture
def team(supplier: servers.Server, tmp_path: Path) -> Iterator[Team]:
    """A database with roles, on each supplier's server."""
    yield from teamed(supplier, tmp_path)


@pytest.fixture(scope="module")
def lasting(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The same on one server, for all tests of a file."""
    root = tmp_path_factory.mktemp("band") / "repo"
    root.mkdir()
    yield from teamed(postgres, root)


@pytest.fixture
def band(lasting: Team) -> Iterator[Team]:
    """The same, without the people of the test before."""
    roles = set(lasting.named())
    yield lasting
    with lasting.connect() as conn:
        for role in set(lasting.named()) - roles:
            conn.execute(f'drop owned by "{role}"; drop role "{role}"'.encode())


__all__ = ["MASTER", "PASSWORD", "Team", "teamed"]
