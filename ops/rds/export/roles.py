"""Roles and what they may do.

Arguments and imports: the AWS provider's documentation, aws_iam_role, aws_iam_role_policy and aws_iam_role_policy_attachment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.cloud import tags
from ops.rds.export.hcl import Expression, Json, label
from ops.rds.export.resources import Found, Resource, present, tagged

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient

HOUR = 3600
"""How long a session of a role lasts by default, in seconds."""


def add_role(aws: Aws, found: Found, arn: str, name: str) -> None:
    """Take up a role that the suite has made, with its policies."""
    iam: IAMClient = aws.client("iam")
    called = arn.rpartition("/")[2]
    try:
        role = iam.get_role(RoleName=called)["Role"]
    except iam.exceptions.NoSuchEntityException:
        found.left_out.append(f"role {called}: it is not there")
        return
    have = tags.from_aws(role.get("Tags"))
    if not tags.is_ours(have):
        found.left_out.append(f"role {called}: not made by inv, named by its ARN")
        return
    session = role.get("MaxSessionDuration")
    body = present(
        [
            ("name", called),
            ("path", role.get("Path") if role.get("Path") != "/" else None),
            ("description", role.get("Description")),
            ("assume_role_policy", Json(role["AssumeRolePolicyDocument"])),
            ("max_session_duration", session if session != HOUR else None),
            ("permissions_boundary", (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")),
            *tagged(have),
        ]
    )
    made = Resource("aws_iam_role", name, called, body)
    found.add(made, arn=role["Arn"])
    add_policies(iam, found, made)


def add_policies(iam: IAMClient, found: Found, role: Resource) -> None:
    """Take up what a role may do: its own policies, and AWS's or others' that are attached to it."""
    by = ("role", Expression(f"{role.address}.name"))
    for page in iam.get_paginator("list_role_policies").paginate(RoleName=role.id):
        for policy in sorted(page["PolicyNames"]):
            text: Any = iam.get_role_policy(RoleName=role.id, PolicyName=policy)["PolicyDocument"]
            body = [by, ("name", policy), ("policy", Json(text))]
            name = label(f"{role.name}_{policy}")
            found.add(Resource("aws_iam_role_policy", name, f"{role.id}:{policy}", body))
    for attached in iam.get_paginator("list_attached_role_policies").paginate(RoleName=role.id):
        for one in sorted(attached["AttachedPolicies"], key=lambda policy: policy["PolicyArn"]):
            body = [by, ("policy_arn", one["PolicyArn"])]
            name = label(f"{role.name}_{one['PolicyName']}")
            found.add(Resource("aws_iam_role_policy_attachment", name, f"{role.id}/{one['PolicyArn']}", body))
