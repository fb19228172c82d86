"""A database with declared roles, on a server whose master user has what RDS's has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from config.settings import Settings
from config.targets import Target
from ops.db.roles import write
from tests import servers
from tests.fix_suppliers import Database, made

MASTER, PASSWORD = "rds_master", "master-p1"
SUITE = Path(__file__).parent.parent
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.rds_superuser.html
RDS = f"""
do $$ begin
  if to_regrole('{MASTER}') is null then
    create role rds_superuser;
    grant pg_monitor, pg_signal_backend to rds_superuser with admin option;
    create role {MASTER} login createdb createrole password '{PASSWORD}';
    grant rds_superuser to {MASTER};
  end if;
end $$
"""
SCHEMA = """
create table public.users (uuid uuid primary key default gen_random_uuid(), display_name text not null, handle text not null,
  email text, cognito_user_id text not null unique);
create table public.t (id serial primary key, x int);
create view public.v as select * from t;
create materialized view public.mv as select * from t;
create sequence public.s;
create function public.f() returns int language sql as 'select 1';
create function public.locked() returns int language sql as 'select 1';
revoke execute on function public.locked() from public;
create procedure public.p() language sql as 'select 1';
create type public.mood as enum ('fine');
create schema other;
create table other.secret (x int);
create schema inv;
create table inv.notes (x int);
"""


@dataclass
class Place(Database):
    """A database whose `local` is reached as the master user; `connect` and others are a superuser's."""

    function: str = ""
    """What the function's role is called, which databases of a server may share."""

    def target(self, **params: str) -> Target:
        return super().target(**{"user": MASTER, "password": PASSWORD, **params})

    def roles(self, environ: Mapping[str, str] | None = None, *, strict: bool = False, check: bool = False) -> None:
        """Do what inv db.roles does."""
        settings = self.settings(**(environ or {}))
        write.run(settings, "", self.name, dry_run=False, check=check, strict=strict, json=False)

    def let_in(self, role: str, password: str) -> None:
        """Log in as a role."""
        psycopg.connect(self.target(user=self.name_of(role), password=password).url(show_password=True)).close()

    def name_of(self, role: str) -> str:
        return self.function if role == "lambda_signup" else f"{self.name}_{role}"

    def declare(self, function: str = "") -> None:
        """Write the file as it comes, the function's role by another name."""
        self.function = function or f"lambda_signup_{self.name}"
        text = (SUITE / "sql" / "roles.yaml").read_text(encoding="utf-8")
        (self.root / "sql").mkdir(exist_ok=True)
        path = self.root / "sql" / "roles.yaml"
        path.write_text(text.replace("name: lambda_signup", f"name: {self.function}"), encoding="utf-8")

    def filled(self, text: str) -> str:
        """Return SQL with {app}, {name} and others as they are called."""
        keys = ("owner", "migrator", "app", "reader", "lambda_signup")
        return text.format(name=self.name, master=MASTER, **{key: self.name_of(key) for key in keys})

    def named(self) -> list[str]:
        """Return the roles of this test that are there."""
        query = "select rolname from pg_roles where rolname like %s or rolname = %s order by 1"
        with self.connect("postgres") as conn:
            return [row["rolname"] for row in conn.execute(query, [f"{self.name}_%", self.function]).fetchall()]

    def forget(self) -> None:
        """Remove the roles, and all that they have."""
        with self.connect("postgres") as conn:
            there = [row["datname"] for row in conn.execute("select datname from pg_database where datallowconn")]
        for dbname in there if self.named() else ():
            with self.connect(dbname) as conn:
                for role in self.named():
                    name = sql.Identifier(role)
                    conn.execute(sql.SQL("reassign owned by {} to {}").format(name, sql.Identifier(MASTER)))
                    conn.execute(sql.SQL("drop owned by {}").format(name))
        with self.connect("postgres") as conn:
            for role in self.named():
                conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def placed(server: servers.Server, root: Path) -> Iterator[Place]:
    """Make a database of the master's with some of each kind in it."""
    root.mkdir(exist_ok=True)
    for database in made(server, root):
        place = Place(server, database.name, root)
        place.declare()
        place.do(RDS, "postgres")
        place.do(f'create database "{place.name}" owner {MASTER}', "postgres")
        with psycopg.connect(place.url, autocommit=True) as conn:
            conn.execute(SCHEMA.encode())
        yield place
        place.forget()


@pytest.fixture
def place(postgres: servers.Server, tmp_path: Path) -> Iterator[Place]:
    """A database without roles yet, on one server."""
    yield from placed(postgres, tmp_path)


def keep_as_ours(place: Place) -> Settings:
    """Have the server count as the one that the suite keeps, and return the settings."""
    folder = place.root / ".local" / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    state = {"home": None, "port": place.server.port, "user": "postgres", "passwords": ["x" * 12]}
    (folder / "server.json").write_text(json.dumps(state), encoding="utf-8")
    return replace(place.settings())
