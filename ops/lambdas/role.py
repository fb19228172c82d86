"""The function's role: who may take it, and what it may do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from config.paths import SUITE
from config.settings import Settings
from config.sign_up import ROLE
from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.cloud.policies import listed
from ops.errors import Refused
from ops.lambdas.plan import Plan
from ops.rds import connect_policy
from ops.rds.proxy import standing

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient
    from mypy_boto3_iam.type_defs import AttachedPolicyTypeDef, RoleTypeDef
    from mypy_boto3_rds.type_defs import DBProxyTypeDef

SERVICE = "lambda.amazonaws.com"
TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": SERVICE}, "Action": "sts:AssumeRole"}],
}
VPC_POLICY = "vpc-access"
"""The name of the role's own policy, whose text is config/policies/lambda-vpc-access.json.

Its first statement is what the application's authors asked for. Beyond it, AWS's own
AWSLambdaVPCAccessExecutionRole holds the subnets and addresses of the second, and
lets Lambda write logs, which is AWSLambdaBasicExecutionRole here. Lambda itself needs neither
AttachNetworkInterface nor DescribeInstances today.
"""

DATABASE_POLICY = "database-login"
"""The name of the role's other own policy: the right to log in as its user of the database (ops/rds/connect_policy.py)."""


def basic(aws: Aws) -> str:
    """Return the ARN of AWS's policy for writing logs, in the partition of the region."""
    partition = aws.session.get_partition_for_region(aws.region)
    return f"arn:{partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


def find_role(aws: Aws, name: str) -> RoleTypeDef | None:
    """Return a role as IAM describes it, or None."""
    iam: IAMClient = aws.client("iam")
    try:
        return iam.get_role(RoleName=name)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None


def ensure_role(aws: Aws, settings: Settings, plan: Plan, *, adopt: bool) -> str:
    """Return the ARN of the role, with its trust and its policies as they should be."""
    iam: IAMClient = aws.client("iam")
    name = settings.lambdas.role
    role = find_role(aws, name)
    mark = tags.to_aws(tags.of_project(settings.rds.project))
    if role is None:
        arn = plan.create(
            "role",
            name,
            lambda: str(create_role(aws, settings)["Arn"]),
            f"(the role {name} that lambda.deploy makes)",
        )
    else:
        arn = str(role["Arn"])
        if not tags.is_ours(tags.from_aws(role.get("Tags"))):
            if not adopt:
                raise Refused(
                    f"the role {name} is there already, and not made by inv: set another lambda.function; "
                    "if it is yours, inv lambda.deploy --adopt takes it over"
                )
            plan.update("role", f"{name} tagged", lambda: iam.tag_role(RoleName=name, Tags=mark), None)
        ensure_trust(iam, name, trust(role), plan)
    attached = {policy["PolicyArn"] for policy in policies(iam, name)} if role else set()
    logs = basic(aws)
    if logs in attached:
        plan.same("role's policy for logs", "AWSLambdaBasicExecutionRole")
    else:
        plan.create(
            "role's policy for logs",
            "AWSLambdaBasicExecutionRole",
            lambda: iam.attach_role_policy(RoleName=name, PolicyArn=logs),
            None,
        )
    wanted = (SUITE / "config" / "policies" / "lambda-vpc-access.json").read_text(encoding="utf-8")
    ensure_policy(iam, name, plan, Inner("VPC", VPC_POLICY, "config/policies/lambda-vpc-access.json", wanted))
    return arn


def create_role(aws: Aws, settings: Settings) -> RoleTypeDef:
    """Make the role; one that is suddenly there was made by another run, or by a request of ours whose answer was lost."""
    iam: IAMClient = aws.client("iam")
    name = settings.lambdas.role
    mark = tags.to_aws(tags.of_project(settings.rds.project))
    try:
        role = iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(TRUST),
            Description=f"Role of the function {settings.lambdas.function} (inv lambda.deploy)",
            Tags=mark,
        )["Role"]
    except iam.exceptions.EntityAlreadyExistsException:
        found = find_role(aws, name)
        if found is None or not tags.is_ours(tags.from_aws(found.get("Tags"))):
            raise
        role = found
    return role


def ensure_trust(iam: IAMClient, name: str, have: dict[str, Any], plan: Plan) -> None:
    """Let Lambda take the role; whoever else may take it goes on doing so.

    Checked by itself, because AWS has the same message for a role that is just
    too fresh and for one that does not trust Lambda at all.
    """
    if any(trusts(statement) for statement in listed(have.get("Statement"))):
        plan.same("role", name)
        return
    whole = {**have, "Version": "2012-10-17", "Statement": [*listed(have.get("Statement")), *TRUST["Statement"]]}
    plan.update(
        "role",
        f"{name} trusts {SERVICE}",
        lambda: iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(whole)),
        None,
    )


def trust(role: RoleTypeDef) -> dict[str, Any]:
    """Return who may take a role; botocore has read it from its JSON (botocore.handlers.json_decode_policies)."""
    return cast("dict[str, Any]", role["AssumeRolePolicyDocument"])


def trusts(statement: dict[str, Any]) -> bool:
    """Whether a statement lets Lambda take the role, unconditionally."""
    principal = statement.get("Principal")
    services = listed(principal.get("Service")) if isinstance(principal, dict) else []
    return (
        statement.get("Effect") == "Allow"
        and SERVICE in services
        and bool({"sts:AssumeRole", "sts:*", "*"} & set(listed(statement.get("Action"))))
        and not statement.get("Condition")
    )


def policies(iam: IAMClient, name: str) -> list[AttachedPolicyTypeDef]:
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
    return [policy for page in pages for policy in page["AttachedPolicies"]]


@dataclass(frozen=True)
class Inner:
    """A policy of the role's own."""

    about: str
    name: str
    what: str
    """As it is told."""
    text: str


def ensure_policy(iam: IAMClient, name: str, plan: Plan, policy: Inner) -> None:
    """Give the role a right."""
    part, have = f"role's policy for the {policy.about}", inner(iam, name, policy.name)

    def put() -> None:
        iam.put_role_policy(RoleName=name, PolicyName=policy.name, PolicyDocument=policy.text)

    if have == json.loads(policy.text):
        plan.same(part, policy.what)
    elif have is None:
        plan.create(part, policy.what, put, None)
    else:
        plan.update(part, policy.what, put, None)


def inner(iam: IAMClient, name: str, policy: str) -> dict[str, Any] | None:
    """Return a policy of the role's own as botocore has read it, or None."""
    try:
        return cast("dict[str, Any]", iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"])
    except iam.exceptions.NoSuchEntityException:
        return None


def let_in(aws: Aws, settings: Settings, row: Row, plan: Plan, proxy: DBProxyTypeDef | None = None) -> None:
    """Give the role the right to log in to the instance, and by its proxy, as its user, and as no other."""
    more = [standing.resource(proxy)] if proxy else []
    text = json.dumps(connect_policy.document(row, ROLE, *more), indent=2)
    what = f"rds-db:connect as {ROLE} on {row['DBInstanceIdentifier']}"
    if proxy:
        what += f" and {proxy['DBProxyName']}"
    ensure_policy(aws.client("iam"), settings.lambdas.role, plan, Inner("database", DATABASE_POLICY, what, text))


def keep_out(aws: Aws, settings: Settings, plan: Plan) -> None:
    """Take that right away, where the role has it: its user has a password."""
    iam: IAMClient = aws.client("iam")
    name = settings.lambdas.role
    if inner(iam, name, DATABASE_POLICY) is not None:
        plan.remove(
            "role's policy for the database",
            DATABASE_POLICY,
            lambda: iam.delete_role_policy(RoleName=name, PolicyName=DATABASE_POLICY),
        )


def others(given: dict[str, Any]) -> list[str]:
    """Return who may take a role besides Lambda."""
    found: list[str] = []
    for statement in listed(given.get("Statement")):
        principal = statement.get("Principal", "NotPrincipal")
        kinds = principal if isinstance(principal, dict) else {"": principal}
        found += [
            str(who) for kind, whos in kinds.items() for who in listed(whos) if (kind, who) != ("Service", SERVICE)
        ]
    return found


def remove_role(aws: Aws, settings: Settings, plan: Plan) -> None:
    """Remove our policies from the role, if it is ours, and the role unless it serves somebody else as well."""
    iam: IAMClient = aws.client("iam")
    name = settings.lambdas.role
    role = find_role(aws, name)
    if role is None:
        plan.same("role", "not there")
        return
    if not tags.is_ours(tags.from_aws(role.get("Tags"))):
        plan.same("role", f"{name} is not ours and stays")
        return

    def drop(act: Callable[..., object], **fields: str) -> None:
        with unless("NoSuchEntity"):
            act(RoleName=name, **fields)

    logs, attached = basic(aws), {policy["PolicyArn"] for policy in policies(iam, name)}
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=name)
    own = {policy for page in pages for policy in page["PolicyNames"]}
    # policies go first, as IAM wants it
    if logs in attached:
        part, what = "role's policy for logs", "AWSLambdaBasicExecutionRole"
        plan.remove(part, what, lambda: drop(iam.detach_role_policy, PolicyArn=logs))
    ours = {VPC_POLICY: "VPC", DATABASE_POLICY: "database"}
    for policy, about in ours.items():
        if policy in own:
            plan.remove(
                f"role's policy for the {about}", policy, partial(drop, iam.delete_role_policy, PolicyName=policy)
            )
    left = [*sorted(attached - {logs}), *sorted(own - set(ours)), *others(trust(role))]
    if left:
        plan.same("role", f"{name} stays, because it serves others too ({', '.join(left)})")
    else:
        plan.remove("role", name, lambda: drop(iam.delete_role))
