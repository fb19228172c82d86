"""The right to log in to one instance as one user by tokens of IAM: config/policies/connect.json, filled in.

rds-db:connect is for the instance's resource id, not its name, and for a user of the database (RDS User Guide, "Creating and
using an IAM policy for IAM database access").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config.paths import SUITE
from ops import own_files
from ops.cloud.facts import Row
from ops.errors import Problem

TEMPLATE = SUITE / "config" / "policies" / "connect.json"
Follow = Callable[[Sequence[Row], Sequence[Row]], None]
"""Lets the function into the first instances, where it may log in to one of them or of the second; what deploys functions knows how."""
MEND = "git checkout config/policies brings it back"


def resource(row: Mapping[str, object], user: str) -> str:
    """Return what the right is for: a user of the instance that RDS describes so.

    What IAM would read as a pattern in the user's name is written so that it stands for itself (IAM User Guide, "IAM policy
    elements: Variables and tags").
    """
    _, partition, _, region, account, *_ = str(row["DBInstanceArn"]).split(":")
    name = re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", user)
    return f"arn:{partition}:rds-db:{region}:{account}:dbuser:{row['DbiResourceId']}/{name}"


def id_of(resource: str) -> str:
    """Return the id of the instance, cluster or proxy that such a resource is of."""
    return resource.rpartition(":")[2].partition("/")[0]


def nobody(rows: Sequence[Row], before: Sequence[Row]) -> None:
    """Follow where there is no function."""


def document(row: Mapping[str, object], user: str, *more: Mapping[str, object]) -> dict[str, Any]:
    """Return the policy for a user of an instance, and of what else is described in the same words, as a proxy before it.

    It has no end: for this right IAM looks at no condition of time (AWS re:Post, "How do I connect to my Amazon RDS for PostgreSQL
    or Amazon Aurora PostgreSQL using IAM authentication?"). What ends a login is in the database.
    """
    policy: dict[str, Any] | None = own_files.read(TEMPLATE, {"Statement": has_one}, MEND, shared=True)
    if policy is None:
        raise Problem(f"{TEMPLATE} is not there: {MEND}")
    [statement] = policy["Statement"]
    every = [resource(one, user) for one in (row, *more)]
    statement["Resource"] = every if more else every[0]
    return policy


def has_one(content: Any) -> bool:
    """Whether a JSON value is a list of one statement."""
    return own_files.is_shaped(content, [dict]) and len(content) == 1
