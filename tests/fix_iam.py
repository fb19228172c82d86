"""An instance that takes tokens of IAM: the sandbox's own Postgres and front, with a record where moto has its instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from config.targets import Target, resolve
from ops import postgres
from ops.sandbox import instances, lifecycle, shell
from ops.targets import iam
from ops.targets.embedded import server, state
from tests import servers
from tests.fix_front import Front, open_front

HOST = lifecycle.NAME.replace("*", "cruddur-db-instance")
ROLES = """
create role rds_iam nologin;
create role by_token login; grant rds_iam to by_token;
create role both_ways login password 'p4ssword'; grant rds_iam to both_ways;
create role by_password login password 'p4ssword';
create role family nologin; grant rds_iam to family; create role nested login; grant family to nested;
create database cruddur;
"""


@dataclass(eq=False)
class Row:
    """What moto says of the instance."""

    port: int = 0
    address: str = HOST
    region: str = shell.REGION
    enable_iam_database_authentication: bool = True
    db_instance_arn: str = f"arn:aws:rds:{shell.REGION}:{lifecycle.ACCOUNT}:db:cruddur-db-instance"
    dbi_resource_id: str = "db-ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class Instance:
    """The instance, and how a login is made at it."""

    front: Front
    row: Row
    server: state.Server
    root: Path
    signed: list[str] = field(default_factory=list)
    """The tokens that were signed for targets of `target`."""

    def settings(self, **environ: str) -> Settings:
        """Return settings with prod there, as the user `by_token`; `environ` goes over that."""
        login = {"AWS_ACCESS_KEY_ID": shell.KEY_ID, "AWS_SECRET_ACCESS_KEY": shell.SECRET}
        way = {"PROD_DB_HOSTADDR": "127.0.0.1", "PROD_DB_SSLROOTCERT": str(self.front.ca)}
        return load({}, {**login, **way, "PROD_CONNECTION_URL": self.url("by_token"), **environ}, self.root)

    def url(self, user: str, dbname: str = "cruddur", more: str = "") -> str:
        return f"postgresql://{user}@{HOST}:{self.front.port}/{dbname}{more}"

    def target(self, user: str = "by_token", **environ: str) -> Target:
        """Return prod with tokens, which are noted."""
        settings = self.settings(PROD_CONNECTION_URL=self.url(user), **environ)
        found = resolve(settings, "prod")
        assert found
        made = iam.by_token(settings, found)
        sign = made.token
        assert sign

        def noted(target: Target) -> str:
            token = sign(target)
            self.signed.append(token)
            return token

        object.__setattr__(made, "token", noted)
        return made

    def do(self, sql: str, dbname: str = "postgres") -> list[dict[str, Any]]:
        """Run a statement as the superuser of the server."""
        with postgres.connect(self.server.target(dbname), task="test") as conn:
            cursor = conn.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def instance_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    home = tmp_path_factory.mktemp("iam")
    home.chmod(0o755)
    (home / "instance").mkdir()
    login = server.Login(servers.free_port(), instances.OWNER, "not-of-a-user")
    made = server.start_server(home / "instance", login, instances.OWNER, socket=True)
    row, known = Row(), instances.Instances(home)
    known.known[row] = instances.Instance(home / "instance", made)
    params = {"host": "127.0.0.1", "port": str(made.port), "user": made.user, "password": made.passwords[0]}
    try:
        with open_front(home / "front", servers.Server("sandbox", params), lifecycle.NAME, known) as front:
            row.port = front.port
            (home / "repo").mkdir()
            found = Instance(front, row, made, home / "repo")
            for statement in ROLES.split(";")[:-1]:
                found.do(statement)
            yield found
    finally:
        instances.wipe(home / "instance")


@pytest.fixture
def instance(instance_of_module: Instance) -> Instance:
    instance_of_module.signed.clear()
    return instance_of_module
