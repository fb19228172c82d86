"""The function itself: made, or changed where it differs, and waited for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from config.lambdas import Lambda
from config.settings import Settings
from config.targets import Target, parse
from ops import calls
from ops.aws import Aws
from ops.aws_errors import other_service
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.console import say
from ops.errors import Misconfigured, Problem
from ops.lambdas.package.archive import Artifact
from ops.lambdas.plan import Plan
from ops.lambdas.waiting import Configuration, is_busy, patiently, wait_until_settled

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_lambda.type_defs import GetFunctionResponseTypeDef

URL = "CONNECTION_URL"
"""The variable by which the function knows its database."""
SNAPSHOTS = "PublishedVersions"
"""What AWS calls it to take a snapshot of each version: of the function itself it takes none."""


def find_function(aws: Aws, lam: Lambda) -> GetFunctionResponseTypeDef | None:
    """Return Configuration and Tags of the function as Lambda describes it, or None."""
    client: LambdaClient = aws.client("lambda")
    try:
        found = client.get_function(FunctionName=lam.function)
    except client.exceptions.ResourceNotFoundException:
        return None
    if "Configuration" not in found:
        raise other_service("Lambda")
    return found


def has_our_tags(found: Mapping[str, Any]) -> bool:
    """Whether inv made the function; raises `Problem` where its tags may not be read."""
    if wrong := found.get("TagsError"):
        raise Problem(
            f"{found['Configuration']['FunctionName']}: its tags cannot be read ({wrong.get('Message', '')}): "
            "permit lambda:ListTags, as config/policies/lambda.json does"
        )
    return tags.is_ours(found.get("Tags", {}))


def require_function(aws: Aws, lam: Lambda) -> Configuration:
    """Return the configuration of a function that must be there."""
    found = find_function(aws, lam)
    if found is None:
        raise Misconfigured(f"there is no function {lam.function} in {aws.region}: inv lambda.deploy makes it")
    return found["Configuration"]


def environment(found: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the environment of a function."""
    values = (found or {}).get("Configuration", {}).get("Environment", {}).get("Variables", {})
    return {str(key): str(value) for key, value in values.items()}


def login(found: Mapping[str, Any] | None) -> Target:
    """Return the database of the function, with its login; raises `Misconfigured` where its environment has none."""
    return parse(environment(found).get(URL, ""), f"{URL} of the function", "the function")


def snapshots(configuration: Configuration) -> str:
    """Return of what AWS takes snapshots: None or PublishedVersions."""
    return str((configuration.get("SnapStart") or {}).get("ApplyOn", "None"))


def policy(aws: Aws, lam: Lambda, alias: str = "") -> list[dict[str, Any]]:
    """Return the statements about who may call the function, or an alias of it, which has its own."""
    client: LambdaClient = aws.client("lambda")
    try:
        asked = {"Qualifier": alias} if alias else {}
        text = client.get_policy(FunctionName=lam.function, **asked)["Policy"]
    except client.exceptions.ResourceNotFoundException:
        return []
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def layers(configuration: Configuration) -> list[str]:
    return [str(layer["Arn"]) for layer in configuration.get("Layers", [])]


def wanted_configuration(
    lam: Lambda, handler: str, role: str, layer: str, vpc: Mapping[str, list[str]]
) -> dict[str, Any]:
    """Return what we want of the configuration, but for the environment."""
    want: dict[str, Any] = {
        "Runtime": lam.runtime,
        "Handler": handler,
        "Role": role,
        "Timeout": lam.timeout_seconds,
        "MemorySize": lam.memory_mb,
        "Layers": [layer],
        "VpcConfig": {name: list(ids) for name, ids in vpc.items()},
    }
    return {**want, "SnapStart": {"ApplyOn": SNAPSHOTS}} if lam.snap_start else want


def differing(configuration: Configuration, lam: Lambda, want: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return the fields to send for a function that is there; what belongs to others goes along as it is.

    Lambda replaces environment and layers as a whole.
    """
    change = {key: want[key] for key in ("Runtime", "Handler", "Role", "Timeout", "MemorySize")}
    change = {key: value for key, value in change.items() if configuration.get(key) != value}
    have = configuration.get("VpcConfig") or {}
    if any(sorted(have.get(key, [])) != sorted(ids) for key, ids in want["VpcConfig"].items()):
        change["VpcConfig"] = want["VpcConfig"]
    if snapshots(configuration) != (of := want.get("SnapStart", {"ApplyOn": "None"}))["ApplyOn"]:
        change["SnapStart"] = of
    now, [own] = layers(configuration), want["Layers"]
    merged = [arn for arn in now if not is_ours(arn, lam)]
    merged.insert(next((i for i, arn in enumerate(now) if is_ours(arn, lam)), len(merged)), own)
    if merged != now:
        change["Layers"] = merged
    values = environment({"Configuration": configuration})
    if values.get(URL) != url:
        change["Environment"] = {"Variables": {**values, URL: url}}
    return change


def is_ours(arn: str, lam: Lambda) -> bool:
    """Whether a layer version is one of ours: arn:aws:lambda:region:account:layer:name:version."""
    return arn.split(":")[6:7] == [lam.layer]


def ensure_function(
    aws: Aws,
    settings: Settings,
    found: GetFunctionResponseTypeDef | None,
    package: Artifact,
    want: dict[str, Any],
    url: str,
    plan: Plan,
    clock: Clock,
) -> None:
    """Make the function, or change configuration and code where they differ.

    In this order: a function that Cognito calls meanwhile has old code with the layer and the login of the new
    one, which serves it, where new code would lack what it needs.
    """
    lam = settings.lambdas
    client: LambdaClient = aws.client("lambda")
    digest = package.code_sha256
    if found is None:
        plan.create("function", lam.function, lambda: create_function(aws, settings, package, want, url, clock), None)
        return
    configuration: Configuration = found["Configuration"]
    if not has_our_tags(found):
        plan.update(
            "function",
            f"{lam.function} tagged",
            lambda: client.tag_resource(
                Resource=configuration["FunctionArn"], Tags=tags.of_project(settings.rds.project)
            ),
            None,
        )
    if plan.write:
        # an earlier run may have been cut off while AWS was at it; what failed then is sent again
        configuration = wait_until_settled(aws, lam, clock, failed=True)

    def send(act: Callable[..., Any], done: Callable[[Configuration], bool], **fields: Any) -> None:
        nonlocal configuration
        configuration = update_function(aws, lam, configuration, act, fields, done, clock)

    def same_code(now: Configuration) -> bool:
        return now.get("CodeSha256") == digest and now.get("Architectures", ["x86_64"]) == [lam.architecture]

    differs = differing(configuration, lam, want, url)
    architectures = configuration.get("Architectures", ["x86_64"])
    other = not same_code(configuration)
    if other and differs and ("Handler" in differs or architectures != [lam.architecture]):
        say(
            "note: configuration and code change one after the other, and here neither goes with the other as it was: "
            "a sign-up meanwhile is not stored; inv lambda.sync-users brings it in"
        )
    if differs:
        plan.update(
            "configuration",
            ", ".join(differs),
            lambda: send(
                client.update_function_configuration, lambda now: not differing(now, lam, want, url), **differs
            ),
            None,
        )
    else:
        plan.same("configuration", lam.function)
    if not other:
        plan.same("code", digest)
        return
    plan.update(
        "code",
        digest,
        lambda: send(client.update_function_code, same_code, ZipFile=package.read(), Architectures=[lam.architecture]),
        None,
    )


def create_function(
    aws: Aws, settings: Settings, package: Artifact, want: dict[str, Any], url: str, clock: Clock
) -> None:
    """Make the function, waiting until its role has spread."""
    lam = settings.lambdas
    client: LambdaClient = aws.client("lambda")
    request = {
        **want,
        "FunctionName": lam.function,
        "Description": "Stores confirmed Cognito sign-ups in Postgres (inv lambda.deploy)",
        "Code": {"ZipFile": package.read()},
        "Environment": {"Variables": {URL: url}},
        "Architectures": [lam.architecture],
        "Tags": tags.of_project(settings.rds.project),
    }

    def create() -> None:
        try:
            client.create_function(**request)
        except client.exceptions.ResourceConflictException:
            # an earlier request of ours whose answer was lost; or another run was first, with another password
            there = find_function(aws, lam)
            if there is None or environment(there).get(URL) != url:
                raise Problem(f"{lam.function} was just made by another run: run this again") from None

    patiently(create, clock)
    wait_until_settled(aws, lam, clock)


def update_function(
    aws: Aws,
    lam: Lambda,
    configuration: Configuration,
    act: Callable[..., Any],
    fields: dict[str, Any],
    done: Callable[[Configuration], bool],
    clock: Clock,
) -> Configuration:
    """Send a change, for the state of the function that we have seen, and wait until it is in force.

    `done` tells by a configuration whether it is: after a lost answer the function is in another state than we have seen.
    """
    revision = configuration.get("RevisionId")

    def send() -> None:
        nonlocal revision
        seen = {"RevisionId": revision} if revision else {}
        try:
            act(FunctionName=lam.function, **fields, **seen)
        except aws.client("lambda").exceptions.ResourceConflictException as error:
            if is_busy(error):
                revision = wait_until_settled(aws, lam, clock, failed=True).get("RevisionId")
            raise

    def look() -> Configuration | None:
        now = wait_until_settled(aws, lam, clock, failed=True)
        return now if done(now) else None

    try:
        calls.surely(lambda: patiently(send, clock), look)
    except aws.client("lambda").exceptions.PreconditionFailedException as error:
        raise Problem(f"{lam.function} was just changed by somebody else: run this again, it looks anew") from error
    return wait_until_settled(aws, lam, clock)
