"""The master password that RDS keeps in Secrets Manager: read at use, never copied to a file.

RDS rotates it every seven days, so whoever saved it is locked out a week later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud.facts import Row
from ops.console import hide
from ops.errors import InProgress, Problem

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient


@dataclass(frozen=True)
class Login:
    """User and password as the secret holds them."""

    user: str
    password: str = field(repr=False)
    version: str = ""
    """The version of the secret; empty for a login that is in none."""


def read(aws: Aws, row: Row) -> Login:
    """Return the login in an instance's managed secret; its password is masked from here on."""
    arn = row["MasterUserSecret"]["SecretArn"]
    client: SecretsManagerClient = aws.client("secretsmanager")
    try:
        answer = client.get_secret_value(SecretId=arn)
        held = json.loads(answer["SecretString"])
        login = Login(held["username"], held["password"], answer.get("VersionId", ""))
    except client.exceptions.ClientError as error:
        if code(error) == "ResourceNotFoundException":
            raise InProgress("the secret of the master user is just being made: run this again in a minute") from error
        raise
    except (ValueError, KeyError, TypeError):
        raise Problem(
            f"the secret {arn} does not hold a user and a password: it is RDS's own, see whether somebody changed it"
        ) from None
    hide(login.password)
    return login
