"""The rights in config/policies/lambda.json are those that the tasks use: no fewer, and none that nobody asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.cloud import policies
from ops.lambdas import delete, invoke, logs, role, sign_ups, status
from ops.lambdas.user_pool import sync
from tests.fix_cli import SUITE
from tests.fix_lambda import NAME, SERVICES, Stage

# What AWS demands of the caller beyond the call's own right; moto asks for none
IMPLIED = {
    *("iam:PassRole", "ec2:CreateTags", "ec2:DescribeVpcs", "lambda:GetLayerVersion", "logs:TagResource"),
    "lambda:ListTags",  # without it GetFunction tells no tags
    "secretsmanager:GetSecretValue",  # where RDS keeps the password
}


def policy() -> list[dict[str, Any]]:
    text = (SUITE / "config" / "policies" / "lambda.json").read_text(encoding="utf-8")
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def test_the_policy_holds_what_a_whole_life_asks_for_and_nothing_else(stage: Stage) -> None:
    used: set[str] = set()

    def note(model: Any, **_: Any) -> None:
        name = "InvokeFunction" if model.name == "Invoke" else model.name
        used.add(f"{model.service_model.signing_name}:{name}")

    clients = [stage.client(service) for service in SERVICES]
    pool_id = stage.make_pool()
    settings = stage.settings(AWS_COGNITO_USER_POOL_ID=pool_id)
    for client in clients:
        client.meta.events.register("before-call", note)
    try:
        stage.deploy()
        stage.deploy({"memory_mb": "1024", "architecture": "arm64"})
        stage.config = {"snap_start": "yes"}
        stage.deploy()
        stage.attach(pool_id)
        stage.config = {}
        stage.deploy()
        stage.attach(pool_id)
        status.facts(settings, stage.aws, pool_id)
        sync.sync_users(settings, stage.aws, pool_id, "", dry_run=True, linking=False)
        invoke.invoke_in_aws(stage.aws, settings, {})
        logs.show(stage.aws, settings, 1, follow=False)
        sign_ups.look(settings, stage.aws, 1)
        for client in clients:
            client.meta.events.unregister("before-call", note)
        stage.client("iam").untag_role(RoleName=NAME, TagKeys=["ManagedBy"])
        arn = stage.function()["Configuration"]["FunctionArn"]
        stage.client("lambda").untag_resource(Resource=arn, TagKeys=["ManagedBy"])
        ec2 = json.dumps(role.TRUST).replace("lambda.", "ec2.")
        stage.client("iam").update_assume_role_policy(RoleName=NAME, PolicyDocument=ec2)
        for client in clients:
            client.meta.events.register("before-call", note)
        stage.deploy(adopt=True)
        delete.delete_all(settings, stage.aws, stage.hands.clock, confirm=NAME)  # the role stays: it serves EC2
        stage.deploy()
        for client in clients:
            client.meta.events.unregister("before-call", note)
        stage.client("iam").update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(role.TRUST))
        for client in clients:
            client.meta.events.register("before-call", note)
        delete.delete_all(settings, stage.aws, stage.hands.clock, confirm=NAME)
    finally:
        for client in clients:
            client.meta.events.unregister("before-call", note)
    used.add("cognito-idp:SetUserPoolMfaConfig")  # only where AWS has turned the second factor off
    allowed = {name for statement in policy() for name in statement["Action"]}
    assert allowed - IMPLIED == used
    assert not any("*" in name for name in allowed)


def resources(statement: dict[str, Any]) -> set[str]:
    return set(policies.listed(statement["Resource"]))


# Reading calls that AWS permits for all or for nothing
UNLIMITED = {
    *("rds:DescribeDBInstances", "ec2:DescribeSecurityGroups", "ec2:DescribeSecurityGroupRules"),
    *("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DescribeVpcs", "logs:DescribeLogGroups"),
    "lambda:ListLayerVersions",
}
OWN = {
    "iam": {f"arn:aws:iam::*:role/{NAME}"},
    "lambda": {
        f"arn:aws:lambda:*:*:function:{NAME}",
        f"arn:aws:lambda:*:*:function:{NAME}:*",  # its versions and its alias
        f"arn:aws:lambda:*:*:layer:{NAME}-psycopg",
        f"arn:aws:lambda:*:*:layer:{NAME}-psycopg:*",
    },
    "logs": {f"arn:aws:logs:*:*:log-group:/aws/lambda/{NAME}", f"arn:aws:logs:*:*:log-group:/aws/lambda/{NAME}:*"},
}


def test_only_what_reads_and_cannot_be_limited_is_for_every_resource() -> None:
    [unlimited] = [set(statement["Action"]) for statement in policy() if "*" in resources(statement)]
    assert unlimited == UNLIMITED


@pytest.mark.parametrize("service", list(OWN))
def test_what_is_named_after_the_function_is_limited_to_its_name(service: str) -> None:
    found: set[str] = set()
    for statement in policy():
        if any(name.startswith(f"{service}:") for name in set(statement["Action"]) - UNLIMITED):
            found |= resources(statement)
    assert found == OWN[service]


def test_one_pool_is_changed_and_read_which_the_user_names() -> None:
    [change] = [s for s in policy() if "cognito-idp:UpdateUserPool" in s["Action"]]
    assert set(change["Action"]) == {
        f"cognito-idp:{n}" for n in ("UpdateUserPool", "SetUserPoolMfaConfig", "ListUsers")
    }
    [pool] = resources(change)
    assert pool == "arn:aws:cognito-idp:*:*:userpool/PUT-THE-ID-OF-YOUR-POOL-HERE"
    assert pool.rpartition("/")[2] in (SUITE / "docs" / "lambda.md").read_text(encoding="utf-8")


def test_what_is_made_is_tagged_at_birth_and_only_what_is_tagged_is_changed() -> None:
    for statement in policy():
        for name in statement["Action"]:
            groups = "security-group/" in str(statement["Resource"])
            if name == "ec2:CreateSecurityGroup" and groups:
                assert statement["Condition"] == {"StringEquals": {"aws:RequestTag/ManagedBy": "inv"}}
            elif name == "ec2:CreateTags":
                assert list(statement["Condition"]["StringEquals"]) == ["ec2:CreateAction"]
            elif name.startswith("ec2:") and groups:
                assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/ManagedBy": "inv"}}
            elif name in ("iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PassRole"):
                assert statement["Condition"]


def test_the_policy_fits_into_one_of_iams() -> None:
    """A managed policy has at most 6,144 characters, blanks not counted."""
    text = (SUITE / "config" / "policies" / "lambda.json").read_text(encoding="utf-8")
    assert len("".join(text.split())) < 6144
