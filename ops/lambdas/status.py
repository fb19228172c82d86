"""lambda.status: the function as AWS has it, and where it has drifted from what deploy and attach made."""

from __future__ import annotations

from typing import Any

from config.lambdas import Lambda
from config.settings import Settings
from config.targets import Target
from ops.aws import Aws
from ops.console import say
from ops.db.identity import SIGNUP
from ops.errors import Misconfigured, Problem, Refused
from ops.lambdas import attach, function, logs, network, package, pool, publish, role, runtimes, trial, waiting
from ops.lambdas.plan import Plan
from ops.rds import instance
from ops.rds.waiting import Row
from ops.refusals import speaking

REDEPLOY = "inv lambda.deploy puts it right"


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
    arn = str(have["FunctionArn"])
    row = instance.find(aws, settings.rds.identifier)
    target = login(have, row, drift)
    shown: dict[str, Any] = {
        "function": arn,
        "ours": function.ours(found),
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
        "database": target.url() if target else None,
        "login": tried(settings, target, row, drift) if target else None,
        "logs": None,
        "trigger": None,
        "permission": None,
    }
    if shown["architecture"] != lam.architecture:
        drift.append(f"architecture is {shown['architecture']}, the settings say {lam.architecture}: {REDEPLOY}")
    shown["code"] = code(settings, have, drift)
    compared(aws, settings, have, row, drift)
    group = logs.find(aws, lam.log_group)
    shown["logs"] = f"kept {group.get('retentionInDays', 'for ever')} days" if group else None
    if pool_id:
        triggered(aws, settings, pool_id, arn, shown, drift)
    else:
        say(
            f"note: no user pool is named ({settings.focus.names.pools[0]}), so trigger and permission were not looked at"
        )
    return {**shown, "drift": drift or None}


def ends(runtime: str, drift: list[str]) -> str | None:
    """Return the day on which AWS stops to maintain a runtime."""
    end, soon = runtimes.end_of_life(runtime)
    if soon:
        drift.append(f"AWS maintains {runtime} until {end}: set a newer lambda.python, then inv lambda.deploy")
    return end or None


def login(have: waiting.Configuration, row: Row | None, drift: list[str]) -> Target | None:
    """Return the database of the function, with its login."""
    try:
        target = function.login({"Configuration": have})
    except Misconfigured:
        drift.append(f"{function.URL} is missing or no URL: {REDEPLOY}")
        return None
    if row is not None and instance.host(row) and target.host != instance.host(row):
        drift.append(f"{function.URL} leads to {target.host}, the instance is {instance.host(row)}: inv lambda.deploy")
    if target.params.get("user") != SIGNUP:
        drift.append(
            f"the function logs in as {target.params.get('user')}: inv lambda.deploy gives it a login of its own"
        )
    return target


def tried(settings: Settings, target: Target, row: Row | None, drift: list[str]) -> str:
    """Try the login where it leads to the instance: by PROD_DB_HOSTADDR and its like, no other server is reached."""
    if row is None or target.host != instance.host(row):
        return "not tested (it does not lead to the instance)"
    return trial.of(settings, target, drift, REDEPLOY)


def code(settings: Settings, have: waiting.Configuration, drift: list[str]) -> str:
    """Compare the code with what would be packaged here, where the certificates for that can be had."""
    try:
        here = package.build(package.certificates(settings), package.folder(settings))
    except Problem as error:
        return f"not compared ({error})"
    if have.get("CodeSha256") == here.code_sha256:
        return "as it is here"
    drift.append(f"the code is not what is here: {REDEPLOY}")
    return "differs"


def compared(aws: Aws, settings: Settings, have: waiting.Configuration, row: Row | None, drift: list[str]) -> None:
    """Compare all but login and code as lambda.deploy does, by a plan of it that writes nothing."""
    lam, plan = settings.lambdas, Plan(write=False, quiet=True)
    arn, place = str(have["Role"]), have.get("VpcConfig") or {}
    vpc = {key: place.get(key, []) for key in ("SubnetIds", "SecurityGroupIds")}
    try:
        arn = role.ensure(aws, settings, plan, adopt=False)
    except Refused as error:
        drift.append(str(error))
    if row is None:
        drift.append(f"there is no instance {settings.rds.identifier}: inv rds.create")
    else:
        try:
            with speaking():
                vpc = network.ensure(aws, settings, network.beside(aws, settings, row), plan)
        except Problem as error:
            drift.append(f"its place in the network is not known ({error})")
    logs.ensure(aws, settings, plan)
    drift += [f"{line}; {REDEPLOY}" for line in plan.lines]
    version = layer(aws, lam, have, drift)
    want = function.wanted(lam, package.HANDLER, arn, version, vpc)
    now = {**have, "Layers": function.layers(have), "VpcConfig": {key: place.get(key, []) for key in vpc}}
    for key, value in function.differing(have, lam, want, "").items():
        # without a version there is nothing to compare with yet; the environment holds secrets, and `login` has seen ours
        if key != "Environment" and (version or key != "Layers"):
            drift.append(f"{key} is {now.get(key)}, and is to be {value}: {REDEPLOY}")


def layer(aws: Aws, lam: Lambda, have: waiting.Configuration, drift: list[str]) -> str:
    """Return the layer version that the function is to have: the newest for its runtime."""
    fitting = [one for one in publish.versions(aws, lam) if str(one.get("Description")).startswith(publish.begins(lam))]
    if fitting:
        return str(fitting[0]["LayerVersionArn"])
    drift.append(f"{lam.layer} has no version for {lam.runtime} on {lam.architecture}: inv lambda.deploy publishes it")
    return next((arn for arn in function.layers(have) if function.is_ours(arn, lam)), "")


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
