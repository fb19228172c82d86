"""Every variable that the suite reads: the table behind env.show, .env.example and the README."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from config.declared import BUILT_IN, Declared


@dataclass(frozen=True)
class Variable:
    """One environment variable."""

    name: str
    meaning: str
    example: str = ""
    """What .env.example shows as its value."""


HERE = ("CONNECTION_URL", "CONNECTION_LOCAL_DOCKER_URL", "DOCKER_READ_CONNECTION_URL")
"""Of the targets local and docker, whose servers are this machine's."""


def holds_secret(name: str, value: str) -> bool:
    """Whether this value belongs in no command line and no history.

    The password of a server that only this machine reaches is none, where the variable is one of such a server: under any
    other name, localhost is an end of a tunnel. A name that is not in the table is judged by its words: AWS_SECRET_ACCESS_KEY.
    """
    if name.startswith("AWS_ENDPOINT_URL") and re.search(r"://[^/]+/[\w-]{16}", value):
        return True  # by its path a service may know who is allowed to ask, as a stand-in on this machine does
    if "://" in value or name.endswith("_URL"):
        here = name in HERE and re.fullmatch(r"\w+://[^@?]*@(localhost|127\.[\d.]+|\[::1\]|db)[:/][^@?]*", value)
        return ("@" in value or "password" in value) and not here
    return re.search(r"PASSWORD|PASSWD|SECRET|TOKEN|(API|PRIVATE|ACCESS)_?KEY$", name.upper()) is not None


LOGINS = ("MIGRATOR", "APP", "READER")
"""Those of sql/roles.yaml as it comes; one of yours has a variable of the same form."""
LOCAL = "postgresql://postgres:password@{}:5432/cruddur"

VARIABLES = (
    Variable("CONNECTION_URL", "the local target; unset: the embedded server", LOCAL.format("localhost")),
    Variable(
        "CONNECTION_LOCAL_DOCKER_URL", "the docker target, as seen inside the compose network", LOCAL.format("db")
    ),
    Variable(
        "DOCKER_READ_CONNECTION_URL", "a replica of its server, which the feed of app.up reads at (default: none)"
    ),
    Variable("PROD_CONNECTION_URL", "the prod target; unset: built from the next four, or asked from RDS"),
    Variable(
        "PROD_READ_CONNECTION_URL",
        "a replica of prod's server, which db.query, db.dump, db.pull and the feed read at (default: none)",
    ),
    Variable("PROD_DB_ENDPOINT", "host name of the production server"),
    Variable("POSTGRES_MASTER_USERNAME", "user on the production server"),
    Variable("POSTGRES_MASTER_PASSWORD", "password on the production server, written as it is"),
    Variable(
        "POSTGRES_MASTER_PASSWORD_NEXT", "the next password, while rds.rotate-password puts it in place of that one"
    ),
    Variable("POSTGRES_PORT", "port of the production server (default: 5432)", "5432"),
    Variable("PROD_MIGRATOR_PASSWORD", "password there of the role that changes the schema (inv db.roles)"),
    Variable("PROD_APP_PASSWORD", "of the application's role"),
    Variable("PROD_READER_PASSWORD", "of the role that reads"),
    Variable("PROD_DB_HOSTADDR", "address behind the host name, for a tunnel"),
    Variable(
        "PROD_DB_SSLMODE",
        "TLS on prod: disable, allow, prefer, require, verify-ca, verify-full (default on RDS: verify-full)",
    ),
    Variable(
        "PROD_DB_SSLROOTCERT", "certificates that prod's TLS is checked against (default on RDS: its own, fetched)"
    ),
    Variable("PROD_DB_VIA", "the way to prod: ssh://user@bastion, or ssm://i-… by Session Manager (default: straight)"),
    Variable("AWS_DEFAULT_REGION", "region of the instance", "ca-central-1"),
    Variable("AWS_PROFILE", "login to AWS: a profile of aws configure or aws sso login"),
    Variable("AWS_ACCESS_KEY_ID", "login to AWS: a key, where there is no profile"),
    Variable("AWS_SECRET_ACCESS_KEY", "its secret"),
    Variable("AWS_SESSION_TOKEN", "its session, where the key is temporary"),
    Variable("AWS_ENDPOINT_URL", "another service than AWS, for all of it; AWS_ENDPOINT_URL_DYNAMODB for one"),
    Variable("AWS_COGNITO_USER_POOL_ID", "the user pool, by id or ARN, whose sign-ups become rows"),
    Variable("AWS_USER_POOLS_ID", "the same, under the name that applications have for it"),
    Variable("DB_SG_ID", "security group that rds.allow-my-ip opens (default: found from the instance)"),
    Variable("DB_SG_RULE_ID", "rule of it that rds.allow-my-ip changes (default: one that it makes)"),
    Variable("GITPOD_IP", "this workspace's public address (default: asked from two services)"),
    Variable("GITPOD_WORKSPACE_ID", "name of this workspace, whose the rule is (default: user@host)"),
    Variable("CODESPACE_NAME", "the same on Codespaces"),
    Variable("FRONTEND_URL", "whose pages may read the feed's API, besides its own", "http://localhost:3000"),
    Variable(
        "TRUSTED_HOSTS", "names that the feed is asked by, besides this machine's and workspace's", "feed.example.com"
    ),
    Variable("ENV_FILE", "the file that is read and written (default: .env); in the environment only"),
)


def variables(targets: Iterable[Declared]) -> tuple[Variable, ...]:
    """Return the table, with what the user's own targets add to it."""
    added: list[Variable] = []
    for target in targets:
        if target.name not in BUILT_IN:
            names, prefix = target.names, target.name.upper().replace("-", "_")
            added += [
                Variable(names.url, f"the {target.name} target; unset: built from the next four, or asked from RDS"),
                Variable(names.read_url, "a replica of its server, to read at (default: none)"),
                Variable(names.endpoint, f"host name of the {target.name} server"),
                Variable(names.user, "user there"),
                Variable(names.password, "password there, written as it is"),
                Variable(names.next_password, "the next password, while rds.rotate-password is at it"),
                Variable(names.port, "port there (default: 5432)"),
                *(
                    Variable(f"{prefix}_{role}_PASSWORD", f"password there of the role {role.lower()} (inv db.roles)")
                    for role in LOGINS
                ),
                Variable(names.hostaddr, "address behind the host name, for a tunnel"),
                Variable(names.sslmode, "TLS there (default on RDS: verify-full)"),
                Variable(names.sslrootcert, "certificates that its TLS is checked against (default on RDS: its own)"),
                Variable(names.via, "the way there: ssh://user@bastion, or ssm://i-… (default: via: of the target)"),
                Variable(names.group, "its security group (default: found from the instance)"),
                Variable(names.rule, "rule of it that rds.allow-my-ip changes (default: one that it makes)"),
                *(Variable(pool, f"the user pool of the {target.name} target") for pool in names.pools),
            ]
    return (*VARIABLES, *added)
