"""SnapStart: the version with a snapshot, and the alias by which pools call it.

AWS takes a snapshot of a published version alone, so a pool must call one. The alias leads to the newest, and its ARN stays the
same (Lambda Developer Guide, "Improving startup performance with Lambda SnapStart" and "Using Lambda aliases in event sources").
A version that nobody has called for fourteen days becomes Inactive and loses its snapshot: the next call is refused with
SnapStartNotReadyException, and only by that call a new one is made ("Activating and managing Lambda SnapStart").

The alias moves when the version behind it is ready, and a version goes when the alias has left it: a sign-up meets one or the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from config.lambdas import Lambda
from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.console import progress, say
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.lambdas import function
from ops.lambdas.package import function_code
from ops.lambdas.plan import Plan, nothing
from ops.lambdas.waiting import POLL, Configuration, wait_until_settled

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_lambda.type_defs import AliasConfigurationResponseTypeDef

ALIAS = "live"
MARK = "inv lambda.deploy"
"""Begins the description of alias and versions that are ours: neither has tags."""
ITSELF = "$LATEST"
"""What AWS calls the function as it is, of which there is no snapshot."""
AFTER = "; after version "
"""Begins what the function's description tells of a version whose snapshot failed."""
OURS = "inv-"
"""How the ids of lambda.attach's permissions begin."""
KEPT = 1
"""Versions behind the present one: a call of a moment ago may still run there, and each costs."""
TMP_MB = 512
"""Of /tmp, at most, where AWS is to take a snapshot."""
HARMLESS = function_code.EVENTS / "forgot-password.json"
"""An event that writes nothing."""


def find_alias(aws: Aws, lam: Lambda) -> AliasConfigurationResponseTypeDef | None:
    """Return the alias of our name, whoever made it, or None."""
    client: LambdaClient = aws.client("lambda")
    try:
        return client.get_alias(FunctionName=lam.function, Name=ALIAS)
    except client.exceptions.ResourceNotFoundException:
        return None


def is_ours(thing: Mapping[str, Any]) -> bool:
    return str(thing.get("Description") or "").startswith(MARK)


def arn_of(function_arn: str) -> str:
    """Return the ARN of the alias of a function."""
    return f"{function_arn}:{ALIAS}"


def called(lam: Lambda, function_arn: str) -> str:
    """Return the ARN that pools are to call."""
    return arn_of(function_arn) if lam.snap_start else function_arn


def check(aws: Aws, lam: Lambda, found: Mapping[str, Any] | None, *, adopt: bool) -> None:
    """Refuse, before anything is written, an alias of somebody else's, and what AWS takes no snapshot of; say what snapshots mean."""
    if not lam.snap_start:
        return
    alias, have = find_alias(aws, lam) if found else None, (found or {}).get("Configuration", {})
    if alias and not (is_ours(alias) or adopt):
        raise Refused(
            f"the alias {ALIAS} of {lam.function} is there already, and not made by inv: remove it, or inv lambda.deploy --adopt takes it over"
        )
    if have.get("FileSystemConfigs"):
        raise Refused(
            f'lambda.snap_start: AWS takes no snapshot of {lam.function}, which has a file system: take that off it, or set "no"'
        )
    if have.get("EphemeralStorage", {}).get("Size", TMP_MB) > TMP_MB:
        raise Refused(
            f'lambda.snap_start: AWS takes no snapshot of {lam.function}, whose /tmp is above {TMP_MB} MB: make it smaller, or set "no"'
        )
    if alias is None:
        tell(lam)


def tell(lam: Lambda) -> None:
    """Say what snapshots cost, and what they do to a pool in which nobody signs up."""
    say(f"SnapStart costs {prices.of_versions(lam.memory_mb, KEPT + 1)}")
    say(
        "after 14 days without a sign-up AWS drops the snapshot: the next one is confirmed, but sees an error and leaves no row, until a new "
        "one is made; inv lambda.invoke every week prevents that, inv lambda.sync-users brings in who was missed"
    )
    say(
        f"a pool that calls the function already goes on without snapshots, until inv lambda.attach leads it to the alias {ALIAS}"
    )


def ensure(aws: Aws, settings: Settings, plan: Plan, clock: Clock) -> None:
    """Have the alias lead to a version that is what the function is now, ready to start from its snapshot; without SnapStart, to the function.

    Raises `Problem` where AWS could not make the snapshot, `InProgress` at the limit.
    """
    lam = settings.lambdas
    if not lam.snap_start:
        clear(aws, lam, plan)
        return
    client: LambdaClient = aws.client("lambda")
    found, alias = function.find_function(aws, lam), find_alias(aws, lam)
    behind = version(aws, lam, alias["FunctionVersion"]) if alias else None
    now = found["Configuration"] if found else None
    changes = not plan.write and {"function", "configuration", "code"} & set(plan.changed)
    if (
        behind
        and now
        and alias
        and content(behind) == content(now)
        and alias["FunctionVersion"] != ITSELF
        and behind.get("State") != "Failed"
        and not changes
    ):
        number = alias["FunctionVersion"]
        if is_ready(behind):
            plan.same("version", f"{number}, with its snapshot")
        else:
            state = str(behind.get("State"))
            plan.update(
                "version",
                f"{number} was {state}: its snapshot is made anew",
                lambda: wait(aws, lam, number, clock),
                None,
            )
    else:

        def publish() -> str:
            made = client.publish_version(FunctionName=lam.function, Description=MARK)
            if (
                version(aws, lam, made["Version"]).get("State") == "Failed"
            ):  # one of before, to which nothing has changed
                renew(aws, lam, made["Version"], clock)
                made = client.publish_version(FunctionName=lam.function, Description=MARK)
            wait(aws, lam, made["Version"], clock)
            return made["Version"]

        number = plan.create("version", f"of {lam.function}, with a snapshot", publish, "(the next)")
    lead(aws, lam, plan, alias, number)
    if found:
        for old in superfluous(aws, lam, number):
            drop(aws, lam, plan, old)


def superfluous(aws: Aws, lam: Lambda, number: str) -> list[str]:
    """Return the versions of ours that nobody needs beside this one: all but the newest before it that can be called."""
    states = {one: version(aws, lam, one).get("State", "Active") for one in versions(aws, lam) if one != number}
    earlier = [one for one in states if not number.isdigit() or int(one) < int(number)]
    kept = [one for one in earlier if states[one] == "Active"][:KEPT]
    return [one for one in states if one not in kept]


def renew(aws: Aws, lam: Lambda, number: str, clock: Clock) -> None:
    """Change the function's description, after a version whose snapshot failed, which AWS would give as the next one too.

    It publishes none where code and configuration are as they were (API Reference, PublishVersion).
    """
    now = wait_until_settled(aws, lam, clock, failed=True)
    text = f"{str(now.get('Description') or '').partition(AFTER)[0][:200]}{AFTER}{number}, which has no snapshot"
    act = aws.client("lambda").update_function_configuration
    function.update_function(
        aws, lam, now, act, {"Description": text}, lambda seen: seen.get("Description") == text, clock
    )


def follow(aws: Aws, settings: Settings, clock: Clock) -> None:
    """Have the alias lead to the function as it was just changed."""
    ensure(aws, settings, Plan(tell=nothing), clock)


def lags(aws: Aws, lam: Lambda, url: str) -> bool:
    """Whether our alias leads to a version that has another database URL than the function's, which is `url`."""
    alias = find_alias(aws, lam)
    if alias is None or not is_ours(alias) or alias["FunctionVersion"] == ITSELF:
        return False
    behind = version(aws, lam, alias["FunctionVersion"])
    return function.environment({"Configuration": behind}).get(function.URL, "") != url


def lead(aws: Aws, lam: Lambda, plan: Plan, alias: AliasConfigurationResponseTypeDef | None, number: str) -> None:
    """Make the alias, or have it lead to another version, and to that alone."""
    client: LambdaClient = aws.client("lambda")
    what = f"{ALIAS} leads to {'the function itself' if number == ITSELF else f'version {number}'}"
    fields: Any = {"FunctionName": lam.function, "Name": ALIAS, "FunctionVersion": number}
    fields["Description"] = f"{MARK}: what user pools call"

    def move() -> None:
        client.update_alias(**fields, RoutingConfig={"AdditionalVersionWeights": {}})

    def make() -> None:
        try:
            client.create_alias(**fields)
        except client.exceptions.ResourceConflictException:  # by a request whose answer was lost
            move()

    if alias is None:
        plan.create("alias", what, make, None)
    elif (
        alias["FunctionVersion"] != number
        or not is_ours(alias)
        or (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights")
    ):
        plan.update("alias", what, move, None)
    else:
        plan.same("alias", what)


def clear(aws: Aws, lam: Lambda, plan: Plan, but: str = "") -> None:
    """Have the alias lead to the function itself, and remove it with its versions once no pool may call it.

    `but` is a permission that goes before. The alias goes last, since a run that was cut off goes on by it.
    """
    alias = find_alias(aws, lam)
    if alias is None or not is_ours(alias):
        return
    lead(aws, lam, plan, alias, ITSELF)
    sids = [str(one.get("Sid", "")) for one in function.policy(aws, lam, ALIAS) if one.get("Sid") != but]
    if any(sid.startswith(OURS) for sid in sids):
        say(
            f"note: pools call {lam.function} by its alias {ALIAS}: inv lambda.attach for each leads them to the function itself, and removes it"
        )
        return
    for old in versions(aws, lam):
        drop(aws, lam, plan, old)
    if sids:
        say(
            f"note: the alias {ALIAS} of {lam.function} stays, and leads to the function itself: {', '.join(sids)} of somebody else's lets it be "
            f"called; aws lambda remove-permission --function-name {lam.function} --qualifier {ALIAS} --statement-id {sids[0]} where nobody calls it, "
            "then inv lambda.deploy"
        )
        return

    def remove() -> None:
        with unless("ResourceNotFoundException"):
            aws.client("lambda").delete_alias(FunctionName=lam.function, Name=ALIAS)

    plan.remove("alias", ALIAS, remove)


def drop(aws: Aws, lam: Lambda, plan: Plan, number: str) -> None:
    """Delete a version, and its snapshot with it."""

    def delete() -> None:
        with unless("ResourceNotFoundException"):
            aws.client("lambda").delete_function(FunctionName=lam.function, Qualifier=number)

    plan.remove("version", number, delete)


def versions(aws: Aws, lam: Lambda) -> list[str]:
    """Return the versions that are ours, newest first."""
    client: LambdaClient = aws.client("lambda")
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=lam.function)
    found = [one["Version"] for page in pages for one in page["Versions"] if one["Version"] != ITSELF and is_ours(one)]
    return sorted(found, key=int, reverse=True)


def version(aws: Aws, lam: Lambda, number: str) -> Configuration:
    """Return a version as Lambda describes it, its snapshot included."""
    client: LambdaClient = aws.client("lambda")
    return client.get_function_configuration(FunctionName=lam.function, Qualifier=number)


def content(of: Configuration) -> dict[str, Any]:
    """Return what of a version its snapshot holds, comparable with another one's."""
    same = ("CodeSha256", "Runtime", "Handler", "Role", "Timeout", "MemorySize")
    place = of.get("VpcConfig") or {}
    return {
        **{key: of.get(key) for key in same},
        "architectures": of.get("Architectures", ["x86_64"]),
        "environment": function.environment({"Configuration": of}),
        "layers": function.layers(of),
        "place": [sorted(place.get(key, [])) for key in ("SubnetIds", "SecurityGroupIds")],
        "snapshots": function.snapshots(of),
    }


def is_ready(of: Configuration) -> bool:
    """Whether a version starts from its snapshot."""
    return of.get("State") == "Active" and (of.get("SnapStart") or {}).get("OptimizationStatus") == "On"


def wait(aws: Aws, lam: Lambda, number: str, clock: Clock) -> None:
    """Wait until a version can start from its snapshot; one that is Inactive is called, which alone has AWS make a new one."""
    begun, limit = clock.monotonic(), lam.wait_minutes * 60
    with progress(limit) as show:
        while not is_ready(now := version(aws, lam, number)):
            if now.get("State") == "Failed":
                why = f"{now.get('StateReasonCode')}: {now.get('StateReason')}"
                raise Problem(
                    f"AWS could not take a snapshot of version {number} of {lam.function} ({why}): mend that, then inv lambda.deploy"
                )
            if now.get("State") == "Inactive":
                wake(aws, lam, number)
            elapsed = clock.monotonic() - begun
            if elapsed >= limit:
                raise InProgress(
                    f"the snapshot of version {number} of {lam.function} is still not there after {lam.wait_minutes:g} minutes "
                    "(lambda.wait_minutes): run this again to go on waiting"
                )
            show(f"the snapshot of version {number} is being made", elapsed)
            clock.sleep(POLL)


def wake(aws: Aws, lam: Lambda, number: str) -> None:
    """Call a version by an event that writes nothing: refused where it is Inactive, and by that call woken."""
    with unless("SnapStartNotReadyException", "ResourceConflictException"):
        aws.client("lambda").invoke(FunctionName=lam.function, Qualifier=number, Payload=HARMLESS.read_bytes())


def require_alias(aws: Aws, lam: Lambda) -> None:
    """Raise `Misconfigured` where there is no alias of ours that a pool could call."""
    alias = find_alias(aws, lam)
    if alias is None or not is_ours(alias):
        raise Misconfigured(
            f"{lam.function} has no alias {ALIAS} of ours, which a pool is to call (lambda.snap_start): inv lambda.deploy makes it"
        )
