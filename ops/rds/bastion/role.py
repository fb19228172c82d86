"""The bastion's role: it may be reached by Session Manager, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import tags
from ops.cloud.steps import Work
from ops.errors import Refused
from ops.rds.bastion.parts import CORE, Parts

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient

TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def core(aws: Aws) -> str:
    """Return the ARN of AWS's policy, in the partition of the region."""
    return f"arn:{aws.session.get_partition_for_region(aws.region)}:iam::aws:policy/{CORE}"


def ensure_role(aws: Aws, mine: Parts, work: Work) -> None:
    """Have the role and the profile by which a machine takes it; each step looks first."""
    iam: IAMClient = aws.client("iam")
    name, mark = mine.name, tags.to_aws(mine.tags)
    role = find_role(iam, mine)
    if not role:
        with_trust = json.dumps(TRUST)

        def make() -> None:
            with unless("EntityAlreadyExists"):
                iam.create_role(
                    RoleName=name,
                    AssumeRolePolicyDocument=with_trust,
                    Description=f"Bastion of the RDS instance {mine.identifier} (inv rds.bastion)",
                    Tags=mark,
                )

        work.do(f"make the role {name}", make)
    if not role or core(aws) not in attached(iam, name):
        work.do(f"attach {CORE} to it", lambda: iam.attach_role_policy(RoleName=name, PolicyArn=core(aws)))
    profile = find_profile(iam, mine)
    if not profile:

        def make_profile() -> None:
            with unless("EntityAlreadyExists"):
                iam.create_instance_profile(InstanceProfileName=name, Tags=mark)

        work.do(f"make the instance profile {name}", make_profile)
    if not profile or not profile["Roles"]:

        def add() -> None:
            with unless(
                "LimitExceeded"
            ):  # it has the one role that it may have: ours, by a request whose answer was lost
                iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)

        work.do("give it the role", add)


def find_role(iam: IAMClient, mine: Parts) -> Any:
    """Return our role; raises `Refused` where a stranger's has the name."""
    try:
        role = iam.get_role(RoleName=mine.name)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    require_ours(mine, f"the role {mine.name}", tags.from_aws(role.get("Tags")))
    return role


def find_profile(iam: IAMClient, mine: Parts) -> Any:
    """Return our instance profile; raises `Refused` where a stranger's has the name."""
    try:
        profile = iam.get_instance_profile(InstanceProfileName=mine.name)["InstanceProfile"]
    except iam.exceptions.NoSuchEntityException:
        return None
    require_ours(mine, f"the instance profile {mine.name}", tags.from_aws(profile.get("Tags")))
    return profile


def require_ours(mine: Parts, what: str, have: dict[str, str]) -> None:
    """Refuse what has our name and not our tags."""
    if not tags.is_ours(have) or have.get("inv:bastion") != mine.identifier:
        raise Refused(f"{what} is there already, and not made by inv: remove or rename it, then run this again")


def attached(iam: IAMClient, name: str) -> set[str]:
    try:
        pages = list(iam.get_paginator("list_attached_role_policies").paginate(RoleName=name))
    except iam.exceptions.NoSuchEntityException:
        return set()
    return {str(policy["PolicyArn"]) for page in pages for policy in page["AttachedPolicies"]}


def remove_role(aws: Aws, mine: Parts, work: Work) -> None:
    """Remove profile and role, in the order that IAM wants."""
    iam: IAMClient = aws.client("iam")
    name = mine.name
    if profile := find_profile(iam, mine):
        for role in profile["Roles"]:
            its = str(role["RoleName"])

            def out(its: str = its) -> None:
                with unless("NoSuchEntity"):
                    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=its)

            work.do("take the role out of the profile", out)

        def drop_profile() -> None:
            with unless("NoSuchEntity"):
                iam.delete_instance_profile(InstanceProfileName=name)

        work.do(f"remove the instance profile {name}", drop_profile)
    if not find_role(iam, mine):
        return
    for arn in sorted(attached(iam, name)):

        def detach(arn: str = arn) -> None:
            with unless("NoSuchEntity"):
                iam.detach_role_policy(RoleName=name, PolicyArn=arn)

        work.do(f"detach {arn.rpartition('/')[2]}", detach)

    def drop_role() -> None:
        with unless("NoSuchEntity"):
            iam.delete_role(RoleName=name)

    work.do(f"remove the role {name}", drop_role)
