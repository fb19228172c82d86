"""lambda.status: the function as AWS has it, and where it has drifted from what deploy and attach made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from config.lambdas import Lambda
from config.settings import Settings
from config.sign_up import ROLE
from config.targets import Target
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Misconfigured, Problem, Refused
from ops.lambdas import function, login_check, login_ways, logs, network, publish, role, snap_start, waiting
from ops.lambdas.login_check import Drift, Trial
from ops.lambdas.package import function_code, runtimes
from ops.lambdas.plan import Plan, nothing, slug
from ops.lambdas.user_pool import attach, pool
from ops.lambdas.way import Way, way_of
from ops.rds import instance
from ops.rds.proxy import parts
from ops.times import moment

REDEPLOY = "inv lambda.deploy puts it right"


@dataclass(frozen=True)
class Status:
    """The function as AWS has it; null is what there is none of, or what was not looked at."""

    function: str
    """Its ARN."""
    ours: bool
    """Whether the suite made or adopted it for this project, as its tags tell."""
    state: str
    """In Lambda's word: Active, Pending, Inactive, Failed."""
    update: str | None
    """Of the last change, in Lambda's word: Successful, InProgress, Failed."""
    runtime: str
    """In Lambda's word: python3.13."""
    runtime_ends_on: date | None
    """The day on which AWS stops to maintain that runtime."""
    architecture: str
    """In Lambda's word: x86_64 or arm64."""
    memory_mb: int
    """What it may take."""
    timeout_seconds: int
    """How long it may run."""
    changed_at: datetime | None
    """When its code or configuration was."""
    layers: list[str]
    """The ARNs of their versions."""
    vpc: str | None
    """Its id."""
    code: Literal["same", "differs"] | None
    """Whether it is what would be packaged here."""
    code_note: str | None
    """Why that was not compared, in words."""
    database: str | None
    """The URL that it logs in by, the password masked."""
    login: Trial | None
    """What came of that login, tried from here."""
    login_note: str | None
    """Why it was not tried, in words."""
    log_group: str | None
    """The name of its log group."""
    log_days: int | None
    """How long it keeps its lines; null also where that is for ever."""
    pool: str | None
    """The id of the user pool that was looked at."""
    trigger: str | None
    """The ARN of the function that the pool calls."""
    permission: bool | None
    """Whether the pool may call this one."""
    alias: str | None
    """The ARN by which pools call it where it starts from snapshots; null where there is no such alias."""
    version: str | None
    """The number that the alias leads to, or $LATEST for the function itself."""
    snapshot: str | None
    """The state of that version, in Lambda's word: Active, Pending, Inactive, Failed; null where it has no snapshot."""
    drift: list[Drift]
    """What is not as it was made."""


def facts(settings: Settings, aws: Aws, pool_id: str) -> Status:
    """Return what lambda.status shows; `drift` names what is not as it was made, and what to do."""
    lam = settings.lambdas
    found = function.find_function(aws, lam)
    if found is None:
        raise Misconfigured(f"there is no function {lam.function} in {aws.region}: inv lambda.deploy makes it")
    have = found["Configuration"]
    arn, architecture = str(have["FunctionArn"]), have.get("Architectures", ["x86_64"])[0]
    wrong = waiting.state(have)[1]
    row = instance.find(aws, settings.rds)
    target = login(have)
    tried = try_login(settings, target, row) if target else login_check.Outcome(None)
    by_token = row is not None and login_ways.tokens_wanted(settings, row)
    way = way_of(aws, settings, row, target.url()) if target and row is not None and instance.host(row) else None
    end, soon = runtimes.end_of_life(have["Runtime"])
    code, code_note = compare_code(settings, have)
    drift = [Drift("function", wrong)] if wrong else []
    drift += logins(target, row, way, by_token=by_token)
    if soon:
        what = f"AWS maintains {have['Runtime']} until {end}: set a newer lambda.python, then inv lambda.deploy"
        drift.append(Drift("runtime", what))
    drift += tried.drift
    if architecture != lam.architecture:
        what = f"architecture is {architecture}, the settings say {lam.architecture}: {REDEPLOY}"
        drift.append(Drift("architecture", what))
    if code == "differs":
        drift.append(Drift("code", f"the code is not what is here: {REDEPLOY}"))
    drift += compared(aws, settings, have, row, way, by_token=by_token)
    live = look_at_alias(aws, lam, have)
    drift += live.drift
    group = logs.find_log_group(aws, lam.log_group)
    triggered = Trigger()
    if pool_id:
        triggered = look_at_trigger(aws, settings, pool_id, arn)
    else:
        say(
            f"note: no user pool is named ({settings.focus.names.pools[0]}), so trigger and permission were not looked at"
        )
    return Status(
        function=arn,
        ours=function.has_our_tags(found),
        state=have.get("State", "Active"),
        update=have.get("LastUpdateStatus"),
        runtime=have["Runtime"],
        runtime_ends_on=date.fromisoformat(end) if end else None,
        architecture=architecture,
        memory_mb=have["MemorySize"],
        timeout_seconds=have["Timeout"],
        changed_at=moment(have["LastModified"]),
        layers=function.layers(have),
        vpc=(have.get("VpcConfig") or {}).get("VpcId") or None,
        code=code,
        code_note=code_note,
        database=target.url() if target else None,
        login=tried.word,
        login_note=tried.note,
        log_group=lam.log_group if group else None,
        log_days=group.get("retentionInDays") if group else None,
        pool=pool_id or None,
        trigger=triggered.calls,
        permission=triggered.may,
        alias=live.arn,
        version=live.version,
        snapshot=live.snapshot,
        drift=[*drift, *triggered.drift],
    )


def told(found: Status) -> dict[str, Any]:
    """Return the function for people."""
    doing = {"InProgress": "being changed"}.get(found.update or "", found.state)
    days = f"{found.log_days} days" if found.log_days else "for ever"
    code = {"same": "as it is here", "differs": "differs", None: f"not compared ({found.code_note})"}
    login = {"lets_in": "lets in", "refused": "refused", None: f"not tested ({found.login_note})"}
    return {
        "function": found.function,
        "ours": found.ours,
        "state": "being made" if found.state == "Pending" else doing,
        "runtime": found.runtime,
        "runtime ends": found.runtime_ends_on,
        "architecture": found.architecture,
        "memory": f"{found.memory_mb} MB",
        "timeout": f"{found.timeout_seconds} s",
        "changed": found.changed_at,
        "layers": found.layers,
        "vpc": found.vpc,
        "code": code[found.code],
        "database": found.database,
        "login": login[found.login] if found.database else None,
        "logs": f"kept {days}" if found.log_group else None,
        "trigger": found.trigger,
        "permission": found.permission,
        "alias": found.alias,
        "version": found.version,
        "snapshot": found.snapshot,
        "drift": found.drift,
    }


def login(have: waiting.Configuration) -> Target | None:
    """Return the database of the function, with its login; None where it has none."""
    try:
        return function.login({"Configuration": have})
    except Misconfigured:
        return None


def logins(target: Target | None, row: Row | None, way: Way | None, *, by_token: bool) -> list[Drift]:
    """Return what is wrong with the login by its looks."""
    if target is None:
        return [Drift("login", f"{function.URL} is missing or no URL: {REDEPLOY}")]
    drift = []
    if row is not None and way is not None and target.host.lower() != way.host.lower():
        what = f"{function.URL} leads to {target.host}, the instance is {instance.host(row)}: inv lambda.deploy"
        drift.append(Drift("login", what))
    if target.params.get("user") != ROLE:
        what = f"the function logs in as {target.params.get('user')}: inv lambda.deploy gives it a login of its own"
        drift.append(Drift("login", what))
    elif by_token and target.password:
        what = f"a password lies in the environment of the function, {ROLE} is declared to take tokens: {REDEPLOY}"
        drift.append(Drift("login", what))
    elif not by_token and not target.password:
        what = f"the function signs tokens, {ROLE} is to have a password: {REDEPLOY}"
        drift.append(Drift("login", what))
    return drift


def try_login(settings: Settings, target: Target, row: Row | None) -> login_check.Outcome:
    """Try the login where it leads to the instance: by PROD_DB_HOSTADDR and its like, no other server is reached."""
    if parts.is_endpoint(target.host):
        return login_check.Outcome(None, "it leads through a proxy, which is reached from its own network alone")
    if row is None or target.host != instance.host(row):
        return login_check.Outcome(None, "it does not lead to the instance")
    return login_check.check_login(settings, target, REDEPLOY)


def compare_code(
    settings: Settings, have: waiting.Configuration
) -> tuple[Literal["same", "differs"] | None, str | None]:
    """Compare the code with what would be packaged here; return what came of it, or why the certificates for that cannot be had."""
    try:
        here = function_code.build(function_code.certificates(settings), function_code.folder(settings))
    except Problem as error:
        return None, str(error)
    return "same" if have.get("CodeSha256") == here.code_sha256 else "differs", None


def compared(
    aws: Aws, settings: Settings, have: waiting.Configuration, row: Row | None, way: Way | None, *, by_token: bool
) -> list[Drift]:
    """Compare all but login and code as lambda.deploy does, by a plan of it that writes nothing."""
    lam, plan, drift = settings.lambdas, Plan(write=False, tell=nothing), list[Drift]()
    arn, place = str(have["Role"]), have.get("VpcConfig") or {}
    vpc = {key: place.get(key, []) for key in ("SubnetIds", "SecurityGroupIds")}
    try:
        arn = role.ensure_role(aws, settings, plan, adopt=False)
    except Refused as error:
        drift.append(Drift("role", str(error)))
    if by_token and row is not None:
        role.let_in(aws, settings, row, plan, way.proxy if way else None)
    if row is None:
        drift.append(Drift("instance", f"there is no instance {settings.rds.identifier}: inv rds.create"))
    else:
        try:
            with speaking():
                vpc = network.ensure_network(aws, settings, network.network_of(aws, settings, row), plan)
        except Problem as error:
            drift.append(Drift("network", f"its place in the network is not known ({error})"))
    logs.ensure_log_group(aws, settings, plan)
    drift += [Drift(slug(part), f"{line}; {REDEPLOY}") for part, line in zip(plan.changed, plan.lines, strict=True)]
    version, missing = layer(aws, lam, have)
    drift += missing
    want = function.wanted_configuration(lam, function_code.HANDLER, arn, version, vpc)
    now = {**have, "Layers": function.layers(have), "VpcConfig": {key: place.get(key, []) for key in vpc}}
    for key, value in function.differing(have, lam, want, "").items():
        # without a version there is nothing to compare with yet; the environment holds secrets, and `login` has seen ours
        if key != "Environment" and (version or key != "Layers"):
            drift.append(Drift("configuration", f"{key} is {now.get(key)}, and is to be {value}: {REDEPLOY}"))
    return drift


def layer(aws: Aws, lam: Lambda, have: waiting.Configuration) -> tuple[str, list[Drift]]:
    """Return the layer version that the function is to have: the newest for its runtime; and whether there is none."""
    fitting = [one for one in publish.versions(aws, lam) if str(one.get("Description")).startswith(publish.begins(lam))]
    if fitting:
        return str(fitting[0]["LayerVersionArn"]), []
    what = f"{lam.layer} has no version for {lam.runtime} on {lam.architecture}: inv lambda.deploy publishes it"
    ours = next((arn for arn in function.layers(have) if function.is_ours(arn, lam)), "")
    return ours, [Drift("layer", what)]


class Live(NamedTuple):
    """The alias by which pools call the function, and the snapshot behind it."""

    arn: str | None = None
    version: str | None = None
    snapshot: str | None = None
    drift: Sequence[Drift] = ()


FAILING = "a sign-up is confirmed meanwhile, but sees an error and leaves no row (inv lambda.sync-users brings it in)"


def look_at_alias(aws: Aws, lam: Lambda, have: waiting.Configuration) -> Live:
    """See that the alias leads to what the function is now, and that a sign-up finds a snapshot behind it."""
    alias = snap_start.find_alias(aws, lam)
    if alias is None or not snap_start.is_ours(alias):
        wanted = f"{lam.function} has no alias {snap_start.ALIAS} of ours: inv lambda.deploy makes it"
        return Live(drift=[Drift("alias", wanted)] if lam.snap_start else [])
    number = alias["FunctionVersion"]
    if not lam.snap_start:
        what = f"the alias {snap_start.ALIAS} leads to {number}, and lambda.snap_start is no: inv lambda.deploy, then inv lambda.attach, which removes it"
        return Live(alias["AliasArn"], number, drift=[Drift("alias", what)])
    if number == snap_start.ITSELF:
        what = f"the alias {snap_start.ALIAS} leads to the function itself, of which there is no snapshot: {REDEPLOY}"
        return Live(alias["AliasArn"], number, drift=[Drift("alias", what)])
    behind, drift = snap_start.version(aws, lam, number), list[Drift]()
    if snap_start.content(behind) != snap_start.content(have):
        what = (
            f"the alias {snap_start.ALIAS} leads to version {number}, which is not what the function is now: {REDEPLOY}"
        )
        drift.append(Drift("alias", what))
    state = behind.get("State", "Active")
    if state == "Inactive":
        what = (
            f"AWS has dropped the snapshot of version {number}, as it does after 14 days without a sign-up, and makes a new one only when it is "
            f"called: {FAILING}; inv lambda.deploy calls it and waits"
        )
        drift.append(Drift("snapshot", what))
    elif state == "Failed":
        what = f"AWS could not take a snapshot of version {number} ({behind.get('StateReasonCode')}: {behind.get('StateReason')}): mend that, then inv lambda.deploy"
        drift.append(Drift("snapshot", what))
    elif not snap_start.is_ready(behind):
        doing = f"is being made: {FAILING}" if state == "Pending" else "is not there, so it starts without one"
        drift.append(Drift("snapshot", f"the snapshot of version {number} {doing}; inv lambda.deploy waits for it"))
    made = function.snapshots(behind) == function.SNAPSHOTS
    return Live(alias["AliasArn"], number, state if made else None, drift)


class Trigger(NamedTuple):
    """Whom a pool calls, and whether it may."""

    calls: str | None = None
    may: bool | None = None
    drift: Sequence[Drift] = ()


def look_at_trigger(aws: Aws, settings: Settings, pool_id: str, arn: str) -> Trigger:
    """See that the pool calls this function, by the alias where it has one, and may."""
    client, drift = aws.client("cognito-idp"), list[Drift]()
    lam, itself = settings.lambdas, arn
    arn = snap_start.called(lam, itself)
    try:
        facts = client.describe_user_pool(UserPoolId=pool_id)["UserPool"]
    except client.exceptions.ResourceNotFoundException:
        return Trigger(drift=[Drift("pool", str(pool.Missing(pool_id, aws.region)))])
    now = pool.trigger(facts)
    if now != arn:
        option = " --replace" if now and now not in (itself, snap_start.arn_of(itself)) else ""
        what = f"the pool {pool_id} calls {now or 'nothing'}: inv lambda.attach{option} sets the trigger"
        drift.append(Drift("trigger", what))
    have = attach.statement(aws, lam, attach.sid(pool_id), snap_start.ALIAS if now == snap_start.arn_of(itself) else "")
    may = bool(have and attach.is_permitted(have, facts["Arn"]))
    if not may and now in (itself, snap_start.arn_of(itself)):
        what = f"Cognito may not call the function, so sign-ups of {pool_id} fail: inv lambda.attach lets it"
        drift.append(Drift("permission", what))
    return Trigger(now, may, drift)
