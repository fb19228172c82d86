"""The tags by which the suite knows what it has made: they are its only state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MANAGED_BY = "inv"
INSTANCE = "inv:instance"
OWNER, CREATED, EXPIRES = "inv:owner", "inv:created", "inv:expires"
WORKSPACE = "inv:workspace"
"""Of a rule: the workspace that it is for, where the owner's name is not unique or changes."""


def of_project(project: str) -> dict[str, str]:
    """Return the tags of everything the suite makes for a project."""
    return {"Project": project, "ManagedBy": MANAGED_BY}


def to_aws(tags: Mapping[str, str]) -> list[Any]:
    """Return tags as AWS takes them: Key and Value, for which each service has a type of its own."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def from_aws(tags: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return tags as a dictionary."""
    return {str(tag["Key"]): str(tag.get("Value") or "") for tag in tags or ()}


def is_ours(tags: Mapping[str, str]) -> bool:
    """Whether something with these tags was made by the suite."""
    return tags.get("ManagedBy") == MANAGED_BY
