"""The role by which EventBridge Scheduler stops and starts one instance, and can do nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.cloud.steps import Request, Step
from ops.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient
    from mypy_boto3_iam.type_defs import RoleTypeDef

POLICY = "stop-and-start"
LONGEST = 64
"""Characters of a role's name."""


@dataclass(frozen=True)
class Names:
    """What is named after an instance, by its ARN."""

    arn: str

    @property
    def partition(self) -> str:
        return self.arn.split(":")[1]

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    @property
    def identifier(self) -> str:
        return self.arn.split(":")[6]

    @property
    def group(self) -> str:
        """The schedules' group: only it can have tags."""
        return self.identifier

    @property
    def group_arn(self) -> str:
        return f"arn:{self.partition}:scheduler:{self.region}:{self.account}:schedule-group/{self.group}"

    @property
    def role(self) -> str:
        """The role's name; roles are of the whole account, and an instance of one name may be in each region."""
        mark = f"-schedule-{self.region}"
        if len(self.identifier + mark) <= LONGEST:
            return self.identifier + mark
        digest = hashlib.sha256(self.identifier.encode()).hexdigest()[:8]
        return f"{self.identifier[: LONGEST - len(mark) - 9]}-{digest}{mark}"

    @property
    def role_arn(self) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role}"


def names(row: Row) -> Names:
    """Return the names for an instance."""
    return Names(row["DBInstanceArn"])


def marks(of: Names, project: str) -> dict[str, str]:
    """Return the tags by which what is made for an instance is ours."""
    return {**tags.of_project(project), tags.INSTANCE: of.identifier}


def is_ours(of: Names, have: dict[str, str]) -> bool:
    """Whether these tags are those of what we have made for the instance."""
    return tags.is_ours(have) and have.get(tags.INSTANCE) == of.identifier


def trust(of: Names) -> dict[str, Any]:
    """Return who may take the role: Scheduler, for the instance's own group only.

    Scheduler's user guide, "Confused deputy prevention": the source is the group.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "scheduler.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": of.account, "aws:SourceArn": of.group_arn}},
            }
        ],
    }


def policy(of: Names) -> dict[str, Any]:
    """Return what the role may do."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["rds:StopDBInstance", "rds:StartDBInstance"], "Resource": of.arn}],
    }


def find(aws: Aws, of: Names) -> RoleTypeDef | None:
    """Return the role, or None; raises `Refused` for one of that name which is not ours."""
    iam: IAMClient = aws.client("iam")
    try:
        role = iam.get_role(RoleName=of.role)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    if not is_ours(of, tags.from_aws(role.get("Tags"))):
        raise Refused(
            f"the role {of.role} is not ours: remove it, or tag it ManagedBy={tags.MANAGED_BY} and {tags.INSTANCE}={of.identifier}"
        )
    return role


def steps(aws: Aws, of: Names, project: str) -> list[Step]:
    """Return what makes the role as it should be."""
    iam: IAMClient = aws.client("iam")
    role, found = find(aws, of), []
    wanted = {"RoleName": of.role, "AssumeRolePolicyDocument": json.dumps(trust(of))}
    if role is None:
        more = {
            "Description": f"Stops and starts the instance {of.identifier} (inv rds.schedule)",
            "Tags": tags.to_aws(marks(of, project)),
        }
        found.append(
            Step(
                f"role {of.role}: made",
                Request("iam", "CreateRole", wanted | more),
                ("EntityAlreadyExists",),
                lambda: find(aws, of) is not None,
            )
        )
    elif role.get("AssumeRolePolicyDocument") != trust(of):
        change = {"RoleName": of.role, "PolicyDocument": json.dumps(trust(of))}
        found.append(Step(f"role {of.role}: who may take it", Request("iam", "UpdateAssumeRolePolicy", change)))
    have: Any = None
    if role is not None:
        try:
            have = iam.get_role_policy(RoleName=of.role, PolicyName=POLICY)["PolicyDocument"]
        except iam.exceptions.NoSuchEntityException:
            have = None
    if have != policy(of):
        put = {"RoleName": of.role, "PolicyName": POLICY, "PolicyDocument": json.dumps(policy(of))}
        found.append(Step(f"role {of.role}: may stop and start {of.identifier}", Request("iam", "PutRolePolicy", put)))
    return found


def removal(aws: Aws, of: Names) -> list[Step]:
    """Return what takes the role away; IAM wants its policies gone first."""
    if find(aws, of) is None:
        return []
    gone = ("NoSuchEntity",)
    inner = {"RoleName": of.role, "PolicyName": POLICY}
    return [
        Step(f"role {of.role}: its right", Request("iam", "DeleteRolePolicy", inner), gone),
        Step(f"role {of.role}: removed", Request("iam", "DeleteRole", {"RoleName": of.role}), gone),
    ]
