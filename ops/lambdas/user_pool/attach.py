"""lambda.attach and lambda.detach: Cognito may call the function, and does.

In this order, and backwards in the other: a trigger that Cognito may not call would
fail every sign-up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from config.lambdas import Lambda
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import policies
from ops.console import say
from ops.errors import Refused
from ops.lambdas import function
from ops.lambdas.plan import Plan
from ops.lambdas.user_pool import pool
from ops.lambdas.user_pool.pool_request import TRIGGER, Facts
from ops.rds import instance
from ops.rds.cluster import pause

PRINCIPAL = "cognito-idp.amazonaws.com"
ARN, ACCOUNT = "aws:sourcearn", "aws:sourceaccount"
"""The conditions of a permission; IAM takes their names in any case."""


def attach(settings: Settings, aws: Aws, at: pool.Pool, plan: Plan, *, replace: bool) -> None:
    """Let the pool call the function, and set its trigger to it."""
    arn = str(function.require_function(aws, settings.lambdas)["FunctionArn"])
    if settings.rds_read[0].is_cluster:
        pause.check_row(settings, instance.require_instance(aws, settings.rds), "lambda.attach")
    if plan.write:
        at.resume()
    before = at.read()

    def free(facts: Facts) -> bool:
        """Whether the trigger is to be set; raises `Refused` where it is another function's."""
        now = pool.trigger(facts)
        if now and now != arn and not replace:
            raise Refused(
                f"the pool {at.id} calls another function when a sign-up is confirmed: {now}. Nothing was done; "
                "inv lambda.attach --replace puts this one in its place"
            )
        return now != arn

    wanted = free(before)
    add_permission(aws, settings.lambdas, before["Arn"], plan)
    if not wanted:
        plan.same("trigger", f"{TRIGGER} of {at.id}")
        return
    now = pool.trigger(before)
    what = f"{TRIGGER} of {at.id} calls {settings.lambdas.function}" + (f", no longer {now}" if now else "")
    act = plan.update if now else plan.create
    act("trigger", what, lambda: at.set_trigger(arn, free), None)
    if plan.write:
        say(f"the pool as it was is kept in {at.folder}")


def detach(settings: Settings, aws: Aws, at: pool.Pool, plan: Plan, arn: str = "") -> None:
    """Take the function out of the pool's trigger, then its permission; `arn` where the function itself may be gone."""
    found = function.find_function(aws, settings.lambdas)
    arn = arn or str(found["Configuration"]["FunctionArn"] if found else expected(aws, settings.lambdas, at))

    def ours(facts: Facts) -> bool:
        return pool.trigger(facts) == arn

    if plan.write:
        at.resume()
    before = at.read()
    if ours(before):
        plan.remove("trigger", f"{TRIGGER} of {at.id}", lambda: at.set_trigger(None, ours))
        if plan.write:
            say(f"the pool as it was is kept in {at.folder}")
    else:
        now = pool.trigger(before)
        plan.same("trigger", f"{TRIGGER} of {at.id} calls {now or 'nothing'}")
    if found and statement(aws, settings.lambdas, sid(at.id)):
        plan.remove("permission", sid(at.id), lambda: remove_permission(aws, settings.lambdas, sid(at.id)))
    else:
        plan.same("permission", "not there")


def expected(aws: Aws, lam: Lambda, at: pool.Pool) -> str:
    """Return the ARN that a function of our name has, in the account of the pool."""
    account = str(at.read()["Arn"]).split(":")[4]
    partition = aws.session.get_partition_for_region(aws.region)
    return f"arn:{partition}:lambda:{aws.region}:{account}:function:{lam.function}"


def sid(pool_id: str) -> str:
    """Return the id of the permission's statement; each pool has its own."""
    return f"inv-{re.sub(r'[^a-zA-Z0-9_-]', '-', pool_id)}"


def policy(aws: Aws, lam: Lambda) -> list[dict[str, Any]]:
    """Return the statements about who may call the function."""
    client = aws.client("lambda")
    try:
        text = client.get_policy(FunctionName=lam.function)["Policy"]
    except client.exceptions.ResourceNotFoundException:
        return []
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def called_by(aws: Aws, lam: Lambda) -> list[str]:
    """Return the pools that lambda.attach let call the function, as its policy tells."""
    return [
        pool_id
        for one in policy(aws, lam)
        for pool_id in sorted(arn.rpartition("/")[2] for arn in sources(one))
        if one.get("Sid") == sid(pool_id)
    ]


def statement(aws: Aws, lam: Lambda, name: str) -> dict[str, Any] | None:
    return next((one for one in policy(aws, lam) if one.get("Sid") == name), None)


def sources(one: Mapping[str, Any]) -> set[str]:
    """Return the ARNs for which a statement is; what it excludes is none of them."""
    return wanted(one, ARN, "ArnLike", "ArnEquals", "StringEquals")


def wanted(one: Mapping[str, Any], name: str, *operators: str) -> set[str]:
    """Return the values that the conditions of these operators have for a key."""
    conditions = one.get("Condition", {})
    found = [
        value for operator in operators for key, value in conditions.get(operator, {}).items() if key.lower() == name
    ]
    return {str(value) for values in found for value in policies.listed(values)}


def is_permitted(one: Mapping[str, Any], pool_arn: str) -> bool:
    """Whether a statement lets exactly this pool call the function."""
    return (
        one.get("Effect") == "Allow"
        and one.get("Principal") == {"Service": PRINCIPAL}
        and one.get("Action") == "lambda:InvokeFunction"
        and sorted(key.lower() for keys in one.get("Condition", {}).values() for key in keys) == [ACCOUNT, ARN]
        and sources(one) == {pool_arn}
        and wanted(one, ACCOUNT, "StringEquals") == {pool_arn.split(":")[4]}
    )


def add_permission(aws: Aws, lam: Lambda, pool_arn: str, plan: Plan) -> None:
    """Let the pool, and no other and no other account, call the function."""
    client = aws.client("lambda")
    name = sid(pool_arn.rpartition("/")[2])
    have = statement(aws, lam, name)
    if have and is_permitted(have, pool_arn):
        plan.same("permission", name)
        return

    def add() -> None:
        if have:
            remove_permission(aws, lam, name)
        try:
            calls.surely(send, there)
        except client.exceptions.ResourceConflictException:
            if not there():  # another run was first
                raise

    def there() -> bool | None:
        now = statement(aws, lam, name)
        return (now is not None and is_permitted(now, pool_arn)) or None

    def send() -> None:
        client.add_permission(
            FunctionName=lam.function,
            StatementId=name,
            Action="lambda:InvokeFunction",
            Principal=PRINCIPAL,
            SourceArn=pool_arn,
            SourceAccount=pool_arn.split(":")[4],
        )

    (plan.update if have else plan.create)("permission", f"{pool_arn} may call {lam.function}", add, None)


def remove_permission(aws: Aws, lam: Lambda, name: str) -> None:
    with unless("ResourceNotFoundException"):
        aws.client("lambda").remove_permission(FunctionName=lam.function, StatementId=name)
