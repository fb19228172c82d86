"""lambda.status: the function as AWS has it, and where it has drifted from what deploy and attach made."""

from __future__ import annotations

from typing import Any

from config.settings import Settings
from config.targets import parse
from ops.aws import Aws, errors, explain
from ops.db.identity import SIGNUP
from ops.errors import Misconfigured, Problem
from ops.lambdas import attach, function, logs, network, package, pool, publish, role, runtimes, waiting
from ops.rds import instance, tags
from ops.rds.waiting import Row


def facts(settings: Settings, aws: Aws, pool_id: str) -> dict[str, Any]:
    """Return what lambda.status shows; `drift` names what is not as it was made, and what to do."""
    lam = settings.lambdas
    found = function.find(aws, lam)
    if found is None:
        raise Problem(f"there is no function {lam.function} in {aws.region}: inv lambda.deploy makes it")
    have, drift = found["Configuration"], list[str]()
    doing, wrong = waiting.state(have)
    if wrong:
        drift.append(wrong)
    arn, redeploy = str(have["FunctionArn"]), "inv lambda.deploy puts it right"
    row = instance.find(aws, settings.rds.identifier)
    shown: dict[str, Any] = {
        "function": arn,
        "ours": tags.ours(found.get("Tags", {})),
        "state": doing or have.get("State", "Active"),
        "runtime": have["Runtime"],
        "runtime ends": ends(have["Runtime"], drift),
        "architecture": have.get("Architectures", ["x86_64"])[0],
        "memory": f"{have['MemorySize']} MB",
        "timeout": f"{have['Timeout']} s",
        "changed": have["LastModified"],
        "layers": function.layers(have),
        "vpc": (have.get("VpcConfig") or {}).get("VpcId"),
        "code": None,
        "database": login(have, row, drift),
        "logs": None,
        "trigger": None,
        "permission": None,
    }
    for name, want in (("Runtime", lam.runtime), ("Timeout", lam.timeout_seconds), ("MemorySize", lam.memory_mb)):
        if have.get(name) != want:
            drift.append(f"{name} is {have.get(name)}, the settings say {want}: {redeploy}")
    if have.get("Handler") != package.HANDLER:
        drift.append(f"Handler is {have.get('Handler')}: {redeploy}")
    if shown["architecture"] != lam.architecture:
        drift.append(f"architecture is {shown['architecture']}, the settings say {lam.architecture}: {redeploy}")
    shown["code"] = code(settings, have, drift)
    layer(aws, settings, have, drift)
    placed(aws, settings, have, row, drift)
    if role.find(aws, lam.role) is None:
        drift.append(f"the role {lam.role} is gone: {redeploy}")
    group = logs.find(aws, lam.log_group)
    shown["logs"] = f"kept {group.get('retentionInDays', 'for ever')} days" if group else None
    if not group or group.get("retentionInDays") != lam.log_days:
        drift.append(f"the logs {lam.log_group} are not kept {lam.log_days} days: {redeploy}")
    if pool_id:
        triggered(aws, settings, pool_id, arn, shown, drift)
    return {**shown, "drift": drift or None}


def ends(runtime: str, drift: list[str]) -> str | None:
    """Return the day on which AWS stops to maintain a runtime."""
    end, soon = runtimes.end_of_life(runtime)
    if soon:
        drift.append(f"AWS maintains {runtime} until {end}: set a newer lambda.python, then inv lambda.deploy")
    return end or None


def login(have: waiting.Configuration, row: Row | None, drift: list[str]) -> str | None:
    """Return the database of the function, password masked."""
    text = function.environment({"Configuration": have}).get(function.URL, "")
    try:
        target = parse(text, function.URL, "prod")
    except Misconfigured:
        drift.append(f"{function.URL} is missing or no URL: inv lambda.deploy puts it right")
        return None
    if row is not None and instance.host(row) and target.host != instance.host(row):
        drift.append(f"{function.URL} leads to {target.host}, the instance is {instance.host(row)}: inv lambda.deploy")
    if target.params.get("user") != SIGNUP:
        drift.append(
            f"the function logs in as {target.params.get('user')}: inv lambda.deploy gives it a login of its own"
        )
    return target.url()


def code(settings: Settings, have: waiting.Configuration, drift: list[str]) -> str:
    """Compare the code with what would be packaged here, where the certificates for that can be had."""
    try:
        here = package.build(package.certificates(settings), package.folder(settings))
    except Problem as error:
        return f"not compared ({error})"
    if have.get("CodeSha256") == here.code_sha256:
        return "as it is here"
    drift.append("the code is not what is here: inv lambda.deploy puts it right")
    return "differs"


def layer(aws: Aws, settings: Settings, have: waiting.Configuration, drift: list[str]) -> None:
    """See that the function has the layer that was published last."""
    lam = settings.lambdas
    own = [arn for arn in function.layers(have) if function.is_ours(arn, lam)]
    every = publish.versions(aws, lam)
    if not own:
        drift.append("the function has no layer of ours: inv lambda.deploy puts it right")
    elif own[0] not in {str(version["LayerVersionArn"]) for version in every}:
        drift.append(f"the layer version {own[0]} is deleted: inv lambda.deploy publishes it anew")
    elif every and own[0] != max(every, key=lambda version: int(version["Version"]))["LayerVersionArn"]:
        drift.append(f"the function has {own[0]}, which is not the newest: inv lambda.deploy puts it right")


def placed(aws: Aws, settings: Settings, have: waiting.Configuration, row: Row | None, drift: list[str]) -> None:
    """See that the function is beside the instance and let in at its door."""
    if row is None:
        drift.append(f"there is no instance {settings.rds.identifier}: inv rds.create")
        return
    failures: tuple[type[Exception], ...] = (Problem, *errors())
    try:
        where = network.beside(aws, settings, row)
        own = [str(group["GroupId"]) for group in network.groups(aws, settings.lambdas, where.vpc)]
        groups = (have.get("VpcConfig") or {}).get("SecurityGroupIds", [])
        if not set(own) & set(groups):
            drift.append(f"the function is not in {where.vpc} with its own group: inv lambda.deploy puts it right")
        elif not any(r.source in own and r.reaches(where.port) for r in network.listed(aws, where.door)):
            drift.append(f"{where.door} does not let {own[0]} in on port {where.port}: inv lambda.deploy puts it right")
    except failures as error:
        told = error if isinstance(error, Problem) else explain(error)
        drift.append(f"its place in the network is not known ({told})")


def triggered(aws: Aws, settings: Settings, pool_id: str, arn: str, shown: dict[str, Any], drift: list[str]) -> None:
    """See that the pool calls this function, and may."""
    client = aws.client("cognito-idp")
    try:
        facts = client.describe_user_pool(UserPoolId=pool_id)["UserPool"]
    except client.exceptions.ResourceNotFoundException:
        drift.append(str(pool.Missing(pool_id, aws.region)))
        return
    now = shown["trigger"] = pool.trigger(facts)
    if now != arn:
        option = " --replace" if now else ""
        drift.append(f"the pool {pool_id} calls {now or 'nothing'}: inv lambda.attach{option} sets the trigger")
    have = attach.statement(aws, settings.lambdas, attach.sid(pool_id))
    may = shown["permission"] = bool(have and attach.permits(have, facts["Arn"]))
    if not may and now == arn:
        drift.append(f"Cognito may not call the function, so sign-ups of {pool_id} fail: inv lambda.attach lets it")
