"""The layer in AWS: one version for each content, known by the digest in its description."""

from __future__ import annotations

from typing import Any

from config.lambdas import Lambda
from ops.aws import Aws
from ops.lambdas.archive import Artifact
from ops.lambdas.plan import Plan


def versions(aws: Aws, lam: Lambda) -> list[dict[str, Any]]:
    """Return the versions of our layer, newest first; none where there is no such layer."""
    pages = aws.client("lambda").get_paginator("list_layer_versions").paginate(LayerName=lam.layer)
    return [version for page in pages for version in page["LayerVersions"]]


def begins(lam: Lambda) -> str:
    """Return how the descriptions of the versions for a runtime begin."""
    return f"psycopg for {lam.runtime} {lam.architecture}, "


def description(artifact: Artifact, lam: Lambda) -> str:
    """Return what a version says of itself: the digest, which AWS does not tell in its lists."""
    return f"{begins(lam)}sha256:{artifact.sha256}"


def published(aws: Aws, lam: Lambda, artifact: Artifact) -> dict[str, Any] | None:
    """Return the version that holds this content, or None."""
    wanted = description(artifact, lam)
    return next((version for version in versions(aws, lam) if version.get("Description") == wanted), None)


def ensure(aws: Aws, lam: Lambda, artifact: Artifact, plan: Plan) -> str:
    """Return the ARN of the layer version that holds this content, published if there is none."""
    found = published(aws, lam, artifact)
    if found:
        plan.same("layer", str(found["LayerVersionArn"]))
        return str(found["LayerVersionArn"])

    def publish() -> str:
        made = aws.client("lambda").publish_layer_version(
            LayerName=lam.layer,
            Description=description(artifact, lam),
            Content={"ZipFile": artifact.read()},
            CompatibleRuntimes=[lam.runtime],
            CompatibleArchitectures=[lam.architecture],
        )
        return str(made["LayerVersionArn"])

    what = f"{lam.layer}, {artifact.size / 1e6:.1f} MB"
    return plan.create("layer", what, publish, f"(the next version of {lam.layer})")
