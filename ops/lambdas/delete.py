"""lambda.delete: the function and all that is its own; triggers first, so that no sign-up fails over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from config.sign_up import ROLE
from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud.clock import Clock
from ops.console import result, say
from ops.errors import Misconfigured, Refused
from ops.lambdas import function, logs, network, publish, role
from ops.lambdas.plan import Plan, Tell
from ops.lambdas.user_pool import attach, pool
from ops.rds.proxy import parts
from ops.targets.identity import PREV
from ops.typed_name import require_confirmation


def delete_all(settings: Settings, aws: Aws, clock: Clock, *, confirm: str, tell: Tell = result) -> Plan:
    """Delete the function, its triggers, rule, group and role; say what stays."""
    lam, plan, client = settings.lambdas, Plan(tell=tell), aws.client("lambda")
    found = function.find_function(aws, lam)
    if found and not function.has_our_tags(found):
        raise Refused(f"{lam.function} was not made by inv: inv lambda.deploy --adopt hands it over, then delete it")
    require_confirmation(
        lam.function,
        confirm,
        this="this function",
        act=f"delete {lam.function}",
        question=f"delete the function {lam.function}. Type its name to go on:",
    )
    for pool_id in pools(settings, aws, there=found is not None):
        at = pool.open_pool(settings, aws, pool_id)
        try:
            at.read()
        except pool.Missing:
            say(f"note: there is no user pool {pool_id} (any more)")
        else:
            attach.detach(settings, aws, at, plan)
    if found:
        plan.remove("function", lam.function, lambda: delete_function(client, lam.function))
    else:
        plan.same("function", "not there")
    network.remove_network(aws, settings, plan, sleep=clock.sleep)
    role.remove_role(aws, settings, plan)
    say_what_stays(settings, aws, found)
    return plan


def say_what_stays(settings: Settings, aws: Aws, deleted: Mapping[str, Any] | None) -> None:
    """Say what is left, and how to be rid of the login; what the database has is known of a function that was there."""
    lam, left = settings.lambdas, []
    if logs.find_log_group(aws, lam.log_group):
        left.append(f"the logs {lam.log_group}")
    if publish.versions(aws, lam):
        left.append(f"the versions of the layer {lam.layer}")
    try:
        database = function.login(deleted)
    except Misconfigured:
        database = None
    if database:
        left.append(f"the rows in {database.dbname}")
        if parts.is_endpoint(database.host):
            left.append("its proxy, which costs (inv rds.proxy --delete)")
    if left:
        say(f"what stays: {', '.join(left)}")
    if database and database.params.get("user") == ROLE:
        say(
            f"the role {ROLE} stays, too. To drop it, inv db.connect -t {settings.focus.name} --write and there, line by line, "
            f"without those of {database.dbname}{PREV} where there is none:"
        )
        say("\n".join(statements_to_drop(database.dbname, by_token=not database.password)))


def statements_to_drop(dbname: str, *, by_token: bool) -> list[str]:
    """Return the lines for psql that drop the login: first what it may in each database, which only a member of it can take away.

    Whoever is a member of one in rds_iam, is in that himself, and RDS takes no password of him any more: so it leaves that before.
    """
    owned = f"drop owned by {ROLE};"
    return [
        *([f"revoke rds_iam from {ROLE};"] if by_token else []),
        f"grant {ROLE} to current_user;",
        owned,
        f'\\connect "{dbname}{PREV}"',
        owned,
        f"drop role {ROLE};",
    ]


def pools(settings: Settings, aws: Aws, *, there: bool) -> list[str]:
    """Return the pools that lambda.attach let call the function, as its policy tells, and the one of the settings."""
    found = attach.called_by(aws, settings.lambdas) if there else []
    if pool.is_configured(settings):
        found.append(pool.identifier(settings))
    return list(dict.fromkeys(found))


def delete_function(client: Any, name: str) -> None:
    with unless("ResourceNotFoundException"):
        client.delete_function(FunctionName=name)
