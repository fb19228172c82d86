"""The function of sign-ups: its layer, its role, who may call it, its logs.

Arguments and imports: the AWS provider's documentation, aws_lambda_function, aws_lambda_alias, aws_lambda_layer_version,
aws_lambda_permission and aws_cloudwatch_log_group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from config.lambdas import Lambda
from config.targets import parse
from ops.aws import Aws
from ops.cloud import tags
from ops.console import hide
from ops.errors import Misconfigured, Problem
from ops.rds.export import database, roles
from ops.rds.export.hcl import Block, Expression, label
from ops.rds.export.resources import Found, Resource, present, tagged

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient

FUNCTION, LAYER = "sign_up", "libraries"
URL = "CONNECTION_URL"
TMP_MB = 512
"""What every function has in /tmp."""
CODE = """\
AWS holds the code: aws lambda get-function --query Code.Location tells from where it is downloaded. A plan does not look at
the file; it is needed where Terraform makes the function anew."""
ALIAS, OURS = "live", "inv lambda.deploy"
"""By which pools call a version with a snapshot; how its description begins."""
VERSIONS = """\
Each change of the function needs a version of its own, which its argument publish makes; then this is to lead there."""
LIBRARIES = "Like the function's code: aws lambda get-layer-version-by-arn --query Content.Location. Its content has this number for ever."


def find(aws: Aws, lam: Lambda) -> Mapping[str, Any] | None:
    """Return the function as Lambda describes it, or None."""
    client: LambdaClient = aws.client("lambda")
    try:
        return client.get_function(FunctionName=lam.function)
    except client.exceptions.ResourceNotFoundException:
        return None


def add_function(aws: Aws, found: Found, lam: Lambda, there: Mapping[str, Any]) -> None:
    """Take the function up; its groups are known by then."""
    has: Mapping[str, Any] = there["Configuration"]
    if wrong := there.get("TagsError"):
        raise Problem(f"{lam.function}: its tags cannot be read ({wrong.get('Message', '')}): permit lambda:ListTags")
    roles.add_role(aws, found, has["Role"], FUNCTION)
    for layer in has.get("Layers", []):
        if layer["Arn"].split(":")[6:7] == [lam.layer]:
            add_layer(aws, found, layer["Arn"])
    size, tracing = has.get("EphemeralStorage", {}).get("Size"), has.get("TracingConfig", {}).get("Mode")
    body = present(
        [
            ("function_name", lam.function),
            ("description", has.get("Description")),
            ("role", found.refer(has["Role"])),
            ("filename", "function.zip"),
            ("runtime", has["Runtime"]),
            ("handler", has["Handler"]),
            ("architectures", list(has.get("Architectures", []))),
            ("layers", [found.refer(layer["Arn"]) for layer in has.get("Layers", [])]),
            ("timeout", has["Timeout"]),
            ("memory_size", has["MemorySize"]),
            ("reserved_concurrent_executions", there.get("Concurrency", {}).get("ReservedConcurrentExecutions")),
            *tagged(there.get("Tags", {})),
        ]
    )
    ignored = [Expression("filename"), Expression("source_code_hash")]
    if size and size != TMP_MB:
        body.append(Block("ephemeral_storage", (), [("size", size)]))
    if tracing == "Active":
        body.append(Block("tracing_config", (), [("mode", tracing)]))
    if (vpc := has.get("VpcConfig") or {}).get("SubnetIds"):
        groups = [
            ("subnet_ids", sorted(vpc["SubnetIds"])),
            ("security_group_ids", found.refer_all(vpc["SecurityGroupIds"])),
        ]
        body.append(Block("vpc_config", (), groups))
    if (of := has.get("SnapStart", {}).get("ApplyOn", "None")) != "None":
        body.append(Block("snap_start", (), [("apply_on", of)]))
    values = has.get("Environment", {}).get("Variables", {})
    if values:
        shown = {key: environment(found, key, values[key]) for key in sorted(values)}
        body.append(Block("environment", (), [("variables", shown)]))
        if any(isinstance(value, Expression) for value in shown.values()):
            ignored.append(Expression("environment"))
    body.append(database.lifecycle(ignored))
    found.add(Resource("aws_lambda_function", FUNCTION, lam.function, body, CODE), arn=has["FunctionArn"])
    alias = add_alias(aws, found, lam)
    for way in ("", alias) if alias else ("",):
        add_permissions(aws, found, lam, way)
    add_logs(aws, found, lam)


def environment(found: Found, name: str, value: str) -> Any:
    """Return a variable of the function: only a URL without a password is known to be no secret."""
    if name == URL:
        try:
            target = parse(value, f"{URL} of the function", "the function")
        except Misconfigured:
            target = None
        if target is not None and not target.password:
            return value
        hide(value)
    about = (
        f"{name} of the function. Left empty, Terraform leaves it as it is: the environment is ignored in every plan."
    )
    return found.secret(f"function_{label(name)}", about)


def add_layer(aws: Aws, found: Found, arn: str) -> None:
    """Take up the version of our layer that the function has; each version is a thing of its own."""
    name, number = arn.split(":")[6:8]
    layer: Any = aws.client("lambda").get_layer_version(LayerName=name, VersionNumber=int(number))
    body = present(
        [
            ("layer_name", name),
            ("description", layer.get("Description")),
            ("filename", "layer.zip"),
            ("compatible_runtimes", sorted(layer.get("CompatibleRuntimes", []))),
            ("compatible_architectures", sorted(layer.get("CompatibleArchitectures", []))),
            ("skip_destroy", True),
        ]
    )
    body.append(
        database.lifecycle([Expression("filename"), Expression("source_code_hash"), Expression("skip_destroy")])
    )
    found.add(Resource("aws_lambda_layer_version", LAYER, arn, body, LIBRARIES), arn=arn)


def add_alias(aws: Aws, found: Found, lam: Lambda) -> str:
    """Take up the alias that leads to the version with a snapshot, and return its name; empty where there is none."""
    client: LambdaClient = aws.client("lambda")
    try:
        has = client.get_alias(FunctionName=lam.function, Name=ALIAS)
    except client.exceptions.ResourceNotFoundException:
        return ""
    if not str(has.get("Description")).startswith(OURS):
        found.left_out.append(f"the alias {ALIAS} of {lam.function}: it is not the suite's")
        return ""
    body = present(
        [
            ("name", has["Name"]),
            ("function_name", Expression(f"aws_lambda_function.{FUNCTION}.function_name")),
            ("function_version", has["FunctionVersion"]),
            ("description", has.get("Description")),
        ]
    )
    found.add(Resource("aws_lambda_alias", ALIAS, f"{lam.function}/{has['Name']}", body, VERSIONS))
    return has["Name"]


def add_permissions(aws: Aws, found: Found, lam: Lambda, alias: str) -> None:
    """Take up who may call the function, or its alias: Cognito, for each pool that lambda.attach has let."""
    client: LambdaClient = aws.client("lambda")
    try:
        asked = {"Qualifier": alias} if alias else {}
        policy = json.loads(client.get_policy(FunctionName=lam.function, **asked)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return
    for one in sorted(policy["Statement"], key=lambda statement: str(statement["Sid"])):
        principal, conditions = one["Principal"], one.get("Condition", {})
        equal, like = conditions.get("StringEquals", {}), conditions.get("ArnLike", {})
        body = present(
            [
                ("statement_id", one["Sid"]),
                ("function_name", Expression(f"aws_lambda_function.{FUNCTION}.function_name")),
                ("qualifier", Expression(f"aws_lambda_alias.{ALIAS}.name") if alias else None),
                ("action", one["Action"]),
                (
                    "principal",
                    principal.get("Service") or principal.get("AWS") if isinstance(principal, dict) else principal,
                ),
                ("source_account", equal.get("AWS:SourceAccount")),
                ("source_arn", like.get("AWS:SourceArn")),
            ]
        )
        name = label(f"{one['Sid']}_{alias}" if alias else one["Sid"])
        of = f"{lam.function}:{alias}" if alias else lam.function
        found.add(Resource("aws_lambda_permission", name, f"{of}/{one['Sid']}", body))
        found.left_out.append(
            f"the trigger of {like.get('AWS:SourceArn') or one['Sid']}: the pool is not the suite's, its setting stays as it is"
        )


def add_logs(aws: Aws, found: Found, lam: Lambda) -> None:
    """Take up the function's log group, if it is there."""
    logs = aws.client("logs")
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=lam.log_group)
    group = next((one for page in pages for one in page["logGroups"] if one["logGroupName"] == lam.log_group), None)
    if group is None:
        return
    arn = str(group["arn"]).removesuffix(":*")
    have = tags.from_aws([{"Key": key, "Value": value} for key, value in log_tags(logs, arn).items()])
    body = present(
        [
            ("name", lam.log_group),
            ("retention_in_days", group.get("retentionInDays")),
            ("kms_key_id", group.get("kmsKeyId")),
            *tagged(have),
        ]
    )
    found.add(Resource("aws_cloudwatch_log_group", FUNCTION, lam.log_group, body))


def log_tags(logs: Any, arn: str) -> dict[str, str]:
    tags_of: dict[str, str] = logs.list_tags_for_resource(resourceArn=arn).get("tags", {})
    return tags_of
