"""An instance whose database is a real one, a user pool, and the function deployed beside them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from config.sign_up import ROLE
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.cloud.policies import listed
from ops.lambdas import deploy, role
from ops.lambdas.package import archive, layer
from ops.lambdas.plan import Plan, nothing
from ops.lambdas.user_pool import attach, pool
from ops.rds import connect_policy
from tests.fix_aws import LOGIN, Front, Hands
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database

HOST = "cruddur-db-instance.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"
"""What moto calls the instance."""
NAME = "cruddur-post-confirmation"
SERVICES = ("iam", "lambda", "logs", "ec2", "rds", "cognito-idp")


@dataclass
class Stage:
    """moto's AWS with an instance, whose name leads to the test's own database."""

    cloud: Front
    database: Database
    hands: Hands
    root: Path
    certificates: Path
    name: str = NAME
    """The function's: another one stands beside what is there, and starting AWS anew takes longer."""
    config: dict[str, str] = field(default_factory=dict)
    """Of the lambda: section, for whatever is done."""

    def settings(self, config: dict[str, str] | None = None, **environ: str) -> Settings:
        """Return the settings; `config` is that of the lambda: section."""
        params = {**self.database.server.params, "host": HOST, "dbname": self.database.name}
        from config.targets import Target

        variables = {
            **LOGIN,
            "AWS_ENDPOINT_URL": self.cloud.url,
            "PROD_CONNECTION_URL": Target("prod", "", params).url(show_password=True),
            "PROD_DB_HOSTADDR": "127.0.0.1",
            "PROD_DB_SSLMODE": "disable",
            "PROD_DB_SSLROOTCERT": str(self.certificates),
            **environ,
        }
        return load({"lambda": {"function": self.name, **self.config, **(config or {})}}, variables, self.root)

    @property
    def aws(self) -> Aws:
        return self.cloud.aws(self.settings())

    def client(self, service: str) -> Any:
        return self.aws.client(service)

    def deploy(self, config: dict[str, str] | None = None, *, dry_run: bool = False, adopt: bool = False) -> list[str]:
        """Deploy, and return the parts that were changed."""
        plan = deploy.deploy(self.settings(config), self.aws, self.hands.clock, dry_run=dry_run, adopt=adopt)
        return plan.changed

    def function(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("lambda").get_function(FunctionName=self.name)
        return found

    def url(self) -> str:
        return str(self.function()["Configuration"]["Environment"]["Variables"]["CONNECTION_URL"])

    def make_pool(self, **settings: Any) -> str:
        return str(self.client("cognito-idp").create_user_pool(PoolName="cruddur", **settings)["UserPool"]["Id"])

    def described(self, pool_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client("cognito-idp").describe_user_pool(UserPoolId=pool_id)["UserPool"]
        return {key: value for key, value in found.items() if key != "LastModifiedDate"}

    def pool(self, pool_id: str) -> pool.Pool:
        return pool.Pool(self.aws, pool_id, self.root / ".local" / "pools", sleep=self.hands.sleep)

    def attach(self, pool_id: str, *, replace: bool = False) -> list[str]:
        plan = Plan()
        attach.attach(self.settings(), self.aws, self.pool(pool_id), plan, replace=replace)
        return plan.changed

    def detach(self, pool_id: str) -> list[str]:
        plan = Plan()
        attach.detach(self.settings(), self.aws, self.pool(pool_id), plan)
        return plan.changed

    def lets_in(self, url: str) -> bool:
        """Whether the database takes the login of a URL of the function's."""
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        params = {**conninfo_to_dict(url), "host": "127.0.0.1", "sslmode": "disable"}
        try:
            psycopg.connect(**params).close()  # type: ignore[arg-type]
        except psycopg.OperationalError:
            return False
        return True


def role_by_token(aws: Aws, settings: Settings, row: Row) -> None:
    """Make the role of a function that logs in to an instance by token, as lambda.deploy does."""
    role.create_role(aws, settings)
    role.let_in(aws, settings, row, Plan(tell=nothing))


def let_into(aws: Aws, settings: Settings) -> set[str]:
    """Return the names of the instances that the function may log in to by token."""
    given = role.inner(aws.client("iam"), settings.lambdas.role, role.DATABASE_POLICY)
    assert given
    rows = aws.client("rds").describe_db_instances()["DBInstances"]
    names = {connect_policy.resource(row, ROLE): row["DBInstanceIdentifier"] for row in rows}
    return {names[one] for statement in given["Statement"] for one in listed(statement["Resource"])}


@pytest.fixture
def built(tmp_path: Path) -> archive.Artifact:
    """A layer with little in it: what is really in one, its own tests and the sandbox's chain see."""
    compiled = {"python/psycopg/__pycache__/__init__.cpython-313.pyc": b""}
    return archive.write({"python/psycopg/__init__.py": b""}, tmp_path / "layer.zip", compiled)


@functools.cache
def managed_policies() -> str:
    """Return those of AWS's own policies that are attached here, as moto has them: else it reads all thousand for each test."""
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    every = json.loads(aws_managed_policies_data)
    names = ("AWSLambdaBasicExecutionRole", "AmazonS3ReadOnlyAccess", "AmazonSSMManagedInstanceCore")
    return json.dumps({name: every[name] for name in names})


def stand(staged: Stage) -> None:
    """Make the instance, and its security group without any rule."""
    ec2 = staged.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    door = ec2.create_security_group(GroupName="door", Description="door", VpcId=vpc)["GroupId"]
    staged.client("rds").create_db_instance(
        DBInstanceIdentifier="cruddur-db-instance",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="postgres",
        MasterUserPassword="not-used-here",
        Port=staged.database.server.port,
        VpcSecurityGroupIds=[door],
    )
    staged.cloud.forget()


def unsign(database: Database) -> None:
    """Remove the function's role, which belongs to the server that other tests share."""
    owned = "do $$ begin if to_regrole('lambda_signup') is not null then drop owned by lambda_signup; end if; end $$"
    for suffix in database.names():
        database.do(owned, database.name + suffix)
    database.do("drop role if exists lambda_signup", "postgres")


@pytest.fixture
def stage(
    cloud: Front, one: Database, hands: Hands, built: archive.Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """An instance with its database set up, and nothing deployed."""
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    monkeypatch.setattr("moto.iam.models.aws_managed_policies_data", managed_policies())
    from moto.core.config import default_user_config

    monkeypatch.setitem(default_user_config, "lambda", {"use_docker": False})
    cloud.reset()  # IAM reads that when it is made
    monkeypatch.setattr(layer, "build", lambda *_: built)
    certificates = SUITE / "tests" / "data" / "rds-roots-ca-central-1.pem"
    staged = Stage(cloud, one, hands, one.root, certificates)
    one.do(f'create database "{one.name}"', "postgres")
    one.do((SUITE / "sql" / "schema.sql").read_text(encoding="utf-8"))
    stand(staged)
    yield staged
    unsign(one)
