"""The request that changes one trigger of a user pool, and the comparison of the pool before and after.

UpdateUserPool resets whatever is not sent to its default. So the request is
built from what the pool has and what the SDK's model says can be sent; a pool that
has what this SDK does not know is left alone, because it would be reset unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TRIGGER = "PostConfirmation"
SUPERSEDED = "UnusedAccountValidityDays"
"""What TemporaryPasswordValidityDays stands for now; AWS refuses both together, though it tells both."""

Facts = dict[str, Any]
"""A pool as DescribeUserPool tells it, or a request about it."""


def unknown(value: Any, shape: Any, path: str = "") -> Iterator[str]:
    """Yield the keys of an answer that the model does not have; the SDK drops them without a word."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for key, inner in value.items():
            where = f"{path}.{key}" if path else key
            if key in shape.members:
                yield from unknown(inner, shape.members[key], where)
            else:
                yield where
    elif shape.type_name == "list" and isinstance(value, list):
        for inner in value:
            yield from unknown(inner, shape.member, path)
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from unknown(inner, shape.value, f"{path}.{key}")


def build(facts: Facts, arn: str | None, model: Any) -> Facts:
    """Return the UpdateUserPool request that leaves everything as it is but the trigger.

    What the pool does not have is not sent: for some settings, sending anything turns them on.
    """
    shape = model.operation_model("UpdateUserPool").input_shape
    wanted: Facts = {key: fitted(value, shape.members[key]) for key, value in facts.items() if key in shape.members}
    wanted["UserPoolId"], wanted["PoolName"] = facts["Id"], facts["Name"]
    triggers = {key: value for key, value in wanted.pop("LambdaConfig", {}).items() if key != TRIGGER}
    if arn:
        triggers[TRIGGER] = arn
    if triggers:
        wanted["LambdaConfig"] = triggers
    return wanted


def relaxed(wanted: Facts, refusal: str) -> bool:
    """Take out of a refused request what AWS tells of a pool but does not take back; False where it is something else."""
    admin = wanted.get("AdminCreateUserConfig", {})
    if SUPERSEDED in admin and SUPERSEDED in refusal:
        del admin[SUPERSEDED]  # the password policy says the same, and AWS goes by that
        return True
    if wanted.get("MfaConfiguration", "OFF") != "OFF" and re.search(r"MFA|SMS", refusal):
        # a second factor by app alone is refused for want of text messages. Without the field the
        # factor is off until `prove`, right after, puts it back by the call that it was set up with
        del wanted["MfaConfiguration"]
        return True
    return False


def fitted(value: Any, shape: Any) -> Any:
    """Return a part of an answer as a request takes it: without what can only be read."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        return {key: fitted(inner, shape.members[key]) for key, inner in value.items() if key in shape.members}
    if shape.type_name == "list" and isinstance(value, list):
        return [fitted(inner, shape.member) for inner in value]
    return value  # also of a map, whose keys are the user's own


def differing(before: Facts, after: Facts, model: Any, but: str = TRIGGER) -> list[str]:
    """Return the settings of a pool that are not what they were, but for the trigger.

    Those that can be sent: the others no update changes, or they move by themselves.
    """
    settings = model.operation_model("UpdateUserPool").input_shape.members

    def plain(facts: Facts) -> Facts:
        triggers = {k: v for k, v in (facts.get("LambdaConfig") or {}).items() if k != but}
        admin = {k: v for k, v in (facts.get("AdminCreateUserConfig") or {}).items() if k != SUPERSEDED}
        sent = {k: v for k, v in facts.items() if k in settings}
        return {**sent, "LambdaConfig": triggers, "AdminCreateUserConfig": admin}

    one, other = plain(before), plain(after)
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
