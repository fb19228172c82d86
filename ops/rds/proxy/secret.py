"""The secret with the function's password, which a proxy logs in by where the function has one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import tags
from ops.cloud.steps import Work
from ops.errors import Refused
from ops.rds.proxy.parts import Parts

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

TO_BE = "(the secret that rds.proxy makes)"


def find(aws: Aws, mine: Parts) -> dict[str, Any] | None:
    """Return DescribeSecret's answer for our secret, or None; raises `Refused` where a stranger's has the name."""
    client: SecretsManagerClient = aws.client("secretsmanager")
    try:
        found: Any = client.describe_secret(SecretId=mine.secret)
    except client.exceptions.ResourceNotFoundException:
        return None
    if not mine.owns(tags.from_aws(found.get("Tags"))):
        raise Refused(
            f"the secret {mine.secret} is there already, and not made by inv: nothing was done; delete it, then run this again"
        )
    told: dict[str, Any] = found
    return told


def ensure(aws: Aws, mine: Parts, user: str, password: str, work: Work) -> str:
    """Return the ARN of the secret, which has this login then."""
    client: SecretsManagerClient = aws.client("secretsmanager")
    wanted = json.dumps({"username": user, "password": password})
    there = find(aws, mine)
    if there is None:
        made: list[str] = []

        def make() -> None:
            try:
                client.create_secret(
                    Name=mine.secret,
                    Description=f"Login of {user} for the proxy of {mine.identifier} (inv rds.proxy)",
                    SecretString=wanted,
                    Tags=tags.to_aws(mine.tags),
                )
            except client.exceptions.ResourceExistsException:  # another run was first; a stranger's is refused there
                if find(aws, mine) is not None:
                    store(client, mine.secret, wanted)
            found = find(aws, mine)
            assert found is not None
            made.append(str(found["ARN"]))

        work.do(f"make the secret {mine.secret} with the login of {user}", make)
        return made[0] if made else TO_BE
    if client.get_secret_value(SecretId=mine.secret)["SecretString"] != wanted:
        work.do(f"put the login of {user} into the secret {mine.secret}", lambda: store(client, mine.secret, wanted))
    return str(there["ARN"])


def store(client: SecretsManagerClient, name: str, wanted: str) -> None:
    client.put_secret_value(SecretId=name, SecretString=wanted)


def remove(aws: Aws, mine: Parts, work: Work) -> None:
    """Remove the secret at once: the function has the password too, and the name is free for the next proxy."""
    if find(aws, mine) is None:
        return
    client: SecretsManagerClient = aws.client("secretsmanager")

    def drop() -> None:
        with unless("ResourceNotFoundException"):
            client.delete_secret(SecretId=mine.secret, ForceDeleteWithoutRecovery=True)

    work.do(f"remove the secret {mine.secret}", drop)
