"""What becomes of the function's login by token where its instance becomes another one: the right to it is for an instance's id.

An exchange of names (rds.restore --swap, rds.undo, rds.upgrade --blue-green) gives the name that the function connects to to another
instance. The function misses nothing in this order: into both, then the exchange, then into the new one alone. A run that was cut off
between leaves it let into both, and the next one ends it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from config.settings import Settings
from config.sign_up import ROLE
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.cloud.policies import listed
from ops.console import say
from ops.errors import Problem, Refused
from ops.lambdas import role
from ops.lambdas.plan import Plan, nothing
from ops.rds import connect_policy

PROXY = "prx-"
"""How the ids of proxies begin (RDS User Guide, "Connecting to a database through RDS Proxy")."""


def follow(settings: Settings, aws: Aws, rows: Sequence[Row], before: Sequence[Row]) -> None:
    """Let the function into these instances alone, where it may log in by token to one of them, and keep its right to a proxy.

    Or to one of those `before`, which had the name till now: the right to both may have been refused then.
    One that logs in by password, or elsewhere, needs nothing. What this login to AWS may not do is said, and holds up nothing: the
    exchange is more urgent, and lambda.deploy does it too.
    """
    name = settings.lambdas.role
    names = " and ".join(str(row["DBInstanceIdentifier"]) for row in rows)
    try:
        with speaking():
            if let_in(settings, aws, rows, before):
                say(f"{name} may log in by token to {names} now")
    except Problem as error:
        say(f"note: whether {name} may log in by token to {names} is not seen to ({error}): inv lambda.deploy does it")


def let_in(settings: Settings, aws: Aws, rows: Sequence[Row], before: Sequence[Row]) -> bool:
    """Change the right of the function's role to these, where there is one to any of all; True if it was changed."""
    name, iam = settings.lambdas.role, aws.client("iam")
    have = [
        str(one)
        for statement in listed((role.inner(iam, name, role.DATABASE_POLICY) or {}).get("Statement"))
        for one in listed(statement.get("Resource"))
    ]
    wanted = [connect_policy.resource(row, ROLE) for row in rows]
    proxies = [one for one in have if connect_policy.id_of(one).startswith(PROXY)]
    known = {*wanted, *(connect_policy.resource(row, ROLE) for row in before)}
    if not set(have) & known or sorted(have) == sorted([*wanted, *proxies]):
        return False
    found = role.find_role(aws, name)
    if not (found and tags.is_ours(tags.from_aws(found.get("Tags")))):
        raise Refused(f"the role {name} was not made by inv")
    kept = ({"DBInstanceArn": one, "DbiResourceId": connect_policy.id_of(one)} for one in proxies)
    text = json.dumps(connect_policy.document(rows[0], ROLE, *rows[1:], *kept), indent=2)
    plan = Plan(tell=nothing)
    role.ensure_policy(iam, name, plan, role.Inner("database", role.DATABASE_POLICY, "rds-db:connect", text))
    return bool(plan.changed)
