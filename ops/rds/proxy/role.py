"""The proxy's role: it may log in as the function's one user, or read the secret with that user's password, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import tags
from ops.cloud.steps import Work
from ops.errors import Refused
from ops.rds import connect_policy
from ops.rds.proxy.parts import Parts

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient

POLICY = "database-login"
TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "rds.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def by_token(rows: Sequence[Mapping[str, object]], user: str) -> dict[str, Any]:
    """Return the right to log in as a user of each of these instances (RDS User Guide, "Configuring IAM authentication for RDS Proxy")."""
    return allow("rds-db:connect", [connect_policy.resource(row, user) for row in rows])


def by_secret(arn: str) -> dict[str, Any]:
    """Return the right to read the secret; its key is AWS's own, which asks for no right of the role's."""
    return allow("secretsmanager:GetSecretValue", [arn])


def allow(action: str, resources: Sequence[str]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": action, "Resource": sorted(set(resources))}],
    }


def find(aws: Aws, mine: Parts) -> dict[str, Any] | None:
    """Return our role, or None; raises `Refused` where a stranger's has the name."""
    iam: IAMClient = aws.client("iam")
    try:
        role: Any = iam.get_role(RoleName=mine.role)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    if not mine.owns(tags.from_aws(role.get("Tags"))):
        raise Refused(
            f"the role {mine.role} is there already, and not made by inv: remove or rename it, then run this again"
        )
    found: dict[str, Any] = role
    return found


def right(aws: Aws, mine: Parts) -> dict[str, Any] | None:
    """Return what the role may do as botocore has read it, or None."""
    iam: IAMClient = aws.client("iam")
    try:
        found: Any = iam.get_role_policy(RoleName=mine.role, PolicyName=POLICY)["PolicyDocument"]
    except iam.exceptions.NoSuchEntityException:
        return None
    return dict(found)


def ensure(aws: Aws, mine: Parts, policy: dict[str, Any], work: Work) -> str:
    """Return the ARN of the role, with its trust and its one right as they should be; on a dry run it may be empty."""
    iam: IAMClient = aws.client("iam")
    role = find(aws, mine)
    made: list[str] = []
    if role is None:

        def make() -> None:
            with unless("EntityAlreadyExists"):
                iam.create_role(
                    RoleName=mine.role,
                    AssumeRolePolicyDocument=json.dumps(TRUST),
                    Description=f"Proxy of the RDS instance {mine.identifier} (inv rds.proxy)",
                    Tags=tags.to_aws(mine.tags),
                )
            there = find(aws, mine)
            assert there is not None
            made.append(str(there["Arn"]))

        work.do(f"make the role {mine.role}", make)
    elif role.get("AssumeRolePolicyDocument") != TRUST:
        trust = json.dumps(TRUST)
        work.do(
            f"let RDS take the role {mine.role}",
            lambda: iam.update_assume_role_policy(RoleName=mine.role, PolicyDocument=trust),
        )
    put(aws, mine, policy, work, fresh=role is None)
    return str(role["Arn"]) if role else "".join(made)


def put(aws: Aws, mine: Parts, policy: dict[str, Any], work: Work, *, fresh: bool = False) -> None:
    """Give the role its right; what it had before under that name goes."""
    if not fresh and right(aws, mine) == policy:
        return
    iam: IAMClient = aws.client("iam")
    [statement] = policy["Statement"]
    work.do(
        f"let it {statement['Action']} on {', '.join(statement['Resource'])}",
        lambda: iam.put_role_policy(RoleName=mine.role, PolicyName=POLICY, PolicyDocument=json.dumps(policy)),
    )


def remove(aws: Aws, mine: Parts, work: Work) -> None:
    """Remove the role; IAM wants its policy gone first."""
    if find(aws, mine) is None:
        return
    iam: IAMClient = aws.client("iam")

    def drop_right() -> None:
        with unless("NoSuchEntity"):
            iam.delete_role_policy(RoleName=mine.role, PolicyName=POLICY)

    def drop() -> None:
        with unless("NoSuchEntity"):
            iam.delete_role(RoleName=mine.role)

    if right(aws, mine) is not None:
        work.do(f"take its right from the role {mine.role}", drop_right)
    work.do(f"remove the role {mine.role}", drop)
