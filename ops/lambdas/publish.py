"""The layer in AWS: one version for each content, known by the digest of its sources in its description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.lambdas import Lambda
from ops import calls
from ops.aws import Aws
from ops.console import say
from ops.lambdas.package import bytecode, uv
from ops.lambdas.package.archive import Artifact
from ops.lambdas.plan import Plan

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_lambda.type_defs import LayerVersionsListItemTypeDef


def versions(aws: Aws, lam: Lambda) -> list[LayerVersionsListItemTypeDef]:
    """Return the versions of our layer, newest first; none where there is no such layer."""
    client: LambdaClient = aws.client("lambda")
    pages = client.get_paginator("list_layer_versions").paginate(LayerName=lam.layer)
    return [version for page in pages for version in page["LayerVersions"]]


def begins(lam: Lambda) -> str:
    """Return how the descriptions of the versions for a runtime begin."""
    return f"psycopg for {lam.runtime} {lam.architecture}, "


def description(artifact: Artifact, lam: Lambda, *, compiled: bool) -> str:
    """Return what a version says of itself: the digest of its sources, which AWS does not tell in its lists."""
    return f"{begins(lam)}sha256:{artifact.sources}{', compiled' if compiled else ''}"


def find_version(aws: Aws, lam: Lambda, artifact: Artifact) -> LayerVersionsListItemTypeDef | None:
    """Return the version that holds this content, or None.

    A compiled one serves whoever builds the same sources, on a machine that has the Python for that or not; so
    what one machine has published no other one replaces but once, by a compiled one.
    """
    there = {str(version.get("Description")): version for version in reversed(versions(aws, lam))}
    found = there.get(description(artifact, lam, compiled=True))
    return found if found or artifact.compiled else there.get(description(artifact, lam, compiled=False))


def arn(version: LayerVersionsListItemTypeDef | None) -> str | None:
    return str(version["LayerVersionArn"]) if version else None


@dataclass(frozen=True)
class Layer:
    """The layer as it was built here, and its version in AWS."""

    path: str
    """The zip file."""
    size_bytes: int
    """Of the zip file."""
    runtime: str
    """In Lambda's word: python3.13."""
    architecture: str
    """In Lambda's word: x86_64 or arm64."""
    compiled: bool
    """Whether the bytecode is in it, which spares each cold start some time."""
    sources_sha256: str
    """Of what is in it but bytecode: the same on every machine."""
    version_arn: str | None
    """The version that holds this content; null without --publish."""


def described(artifact: Artifact, lam: Lambda, version: str | None) -> Layer:
    """Return what lambda.layer tells."""
    path, compiled = str(artifact.path), artifact.compiled
    return Layer(path, artifact.size, lam.runtime, lam.architecture, compiled, artifact.sources, version)


def uncompiled_warning(lam: Lambda) -> str:
    """Return what to say of a layer that could not be compiled."""
    return (
        f"note: no Python {lam.python} is here to compile the layer with, so each cold start of the function does it, "
        f"and imports psycopg in {bytecode.SLOWER:g} times the time: {uv.typed()} python install {lam.python}, then run this again"
    )


def ensure_layer(aws: Aws, lam: Lambda, artifact: Artifact, plan: Plan) -> str:
    """Return the ARN of the layer version that holds this content, published if there is none."""
    if found := arn(find_version(aws, lam, artifact)):
        plan.same("layer", found)
        return found
    if not artifact.compiled:
        say(uncompiled_warning(lam))

    def publish() -> str:
        """Each call makes another version of the same content."""
        return calls.surely(send, lambda: arn(find_version(aws, lam, artifact)))

    def send() -> str:
        made = aws.client("lambda").publish_layer_version(
            LayerName=lam.layer,
            Description=description(artifact, lam, compiled=artifact.compiled),
            Content={"ZipFile": artifact.read()},
            CompatibleRuntimes=[lam.runtime],
            CompatibleArchitectures=[lam.architecture],
        )
        return str(made["LayerVersionArn"])

    what = f"{lam.layer}, {artifact.size / 1e6:.1f} MB{', compiled' if artifact.compiled else ''}"
    return plan.create("layer", what, publish, f"(the next version of {lam.layer})")
