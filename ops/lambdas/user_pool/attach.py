"""lambda.attach and lambda.detach: Cognito may call the function, and does.

In this order, and backwards in the other: a trigger that Cognito may not call would
fail every sign-up.
"""

from __future__ import annotations

import functools
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
from ops.lambdas import function, snap_start
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
    lam = settings.lambdas
    itself = str(function.require_function(aws, lam)["FunctionArn"])
    arn, alias, other = snap_start.called(lam, itself), *named(lam)
    if lam.snap_start:
        snap_start.require_alias(aws, lam)
    if settings.rds_read[0].is_cluster:
        pause.check_row(settings, instance.require_instance(aws, settings.rds), "lambda.attach")
    if plan.write:
        at.resume()
    before = at.read()

    def free(facts: Facts) -> bool:
        """Whether the trigger is to be set; raises `Refused` where it is another function's."""
        now = pool.trigger(facts)
        if now and now not in (itself, snap_start.arn_of(itself)) and not replace:
            raise Refused(
                f"the pool {at.id} calls another function when a sign-up is confirmed: {now}. Nothing was done; "
                "inv lambda.attach --replace puts this one in its place"
            )
        return now != arn

    wanted = free(before)
    add_permission(aws, lam, before["Arn"], plan, alias)
    if wanted:
        now, called = pool.trigger(before), f"{lam.function}:{alias}" if alias else lam.function
        what = f"{TRIGGER} of {at.id} calls {called}" + (f", no longer {now}" if now else "")
        act = plan.update if now else plan.create
        act("trigger", what, lambda: at.set_trigger(arn, free), None)
        if plan.write:
            say(f"the pool as it was is kept in {at.folder}")
    else:
        plan.same("trigger", f"{TRIGGER} of {at.id}")
    # by the way of before no call comes any more
    if statement(aws, lam, sid(at.id), other):
        plan.remove("permission", through(sid(at.id), other), lambda: remove_permission(aws, lam, sid(at.id), other))
    if not lam.snap_start:
        snap_start.clear(aws, lam, plan, sid(at.id))


def detach(settings: Settings, aws: Aws, at: pool.Pool, plan: Plan, arn: str = "") -> None:
    """Take the function out of the pool's trigger, then its permission; `arn` where the function itself may be gone."""
    lam = settings.lambdas
    found = function.find_function(aws, lam)
    arn = arn or str(found["Configuration"]["FunctionArn"] if found else expected(aws, lam, at))

    def ours(facts: Facts) -> bool:
        return pool.trigger(facts) in (arn, snap_start.arn_of(arn))

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
    ways = [alias for alias in named(lam) if found and statement(aws, lam, sid(at.id), alias)]
    for alias in ways:
        plan.remove(
            "permission", through(sid(at.id), alias), functools.partial(remove_permission, aws, lam, sid(at.id), alias)
        )
    if not ways:
        plan.same("permission", "not there")
    if found and not lam.snap_start:
        snap_start.clear(aws, lam, plan, sid(at.id))


def named(lam: Lambda) -> tuple[str, str]:
    """Return by which alias a pool is to call the function, and by which it is not; empty for the function itself."""
    return (snap_start.ALIAS, "") if lam.snap_start else ("", snap_start.ALIAS)


def through(what: str, alias: str) -> str:
    """Return a permission's name as it is told."""
    return f"{what} by {alias}" if alias else what


def expected(aws: Aws, lam: Lambda, at: pool.Pool) -> str:
    """Return the ARN that a function of our name has, in the account of the pool."""
    account = str(at.read()["Arn"]).split(":")[4]
    partition = aws.session.get_partition_for_region(aws.region)
    return f"arn:{partition}:lambda:{aws.region}:{account}:function:{lam.function}"


def sid(pool_id: str) -> str:
    """Return the id of the permission's statement; each pool has its own."""
    return f"inv-{re.sub(r'[^a-zA-Z0-9_-]', '-', pool_id)}"


def called_by(aws: Aws, lam: Lambda) -> list[str]:
    """Return the pools that lambda.attach let call the function, as its policy tells and that of its alias."""
    return [
        pool_id
        for alias in ("", snap_start.ALIAS)
        for one in function.policy(aws, lam, alias)
        for pool_id in sorted(arn.rpartition("/")[2] for arn in sources(one))
        if one.get("Sid") == sid(pool_id)
    ]


def statement(aws: Aws, lam: Lambda, name: str, alias: str = "") -> dict[str, Any] | None:
    return next((one for one in function.policy(aws, lam, alias) if one.get("Sid") == name), None)


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


def add_permission(aws: Aws, lam: Lambda, pool_arn: str, plan: Plan, alias: str = "") -> None:
    """Let the pool, and no other and no other account, call the function, by an alias or by itself."""
    client = aws.client("lambda")
    name = sid(pool_arn.rpartition("/")[2])
    have = statement(aws, lam, name, alias)
    if have and is_permitted(have, pool_arn):
        plan.same("permission", through(name, alias))
        return

    def add() -> None:
        if have:
            remove_permission(aws, lam, name, alias)
        try:
            calls.surely(send, there)
        except client.exceptions.ResourceConflictException:
            if not there():  # another run was first
                raise

    def there() -> bool | None:
        now = statement(aws, lam, name, alias)
        return (now is not None and is_permitted(now, pool_arn)) or None

    def send() -> None:
        client.add_permission(
            FunctionName=lam.function,
            StatementId=name,
            Action="lambda:InvokeFunction",
            Principal=PRINCIPAL,
            SourceArn=pool_arn,
            SourceAccount=pool_arn.split(":")[4],
            **qualified(alias),
        )

    what = f"{pool_arn} may call {lam.function}{f':{alias}' if alias else ''}"
    (plan.update if have else plan.create)("permission", what, add, None)


def remove_permission(aws: Aws, lam: Lambda, name: str, alias: str = "") -> None:
    with unless("ResourceNotFoundException"):
        aws.client("lambda").remove_permission(FunctionName=lam.function, StatementId=name, **qualified(alias))


def qualified(alias: str) -> dict[str, str]:
    return {"Qualifier": alias} if alias else {}
