"""What rds.delete leaves without a database: a function that logs in there, and the sign-ups that call it."""

from __future__ import annotations

from collections.abc import Iterator

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import speaking
from ops.cloud.facts import Row
from ops.errors import Problem
from ops.lambdas import function
from ops.lambdas.function import URL
from ops.lambdas.user_pool import attach
from ops.lambdas.way import host_of
from ops.rds import instance
from ops.rds.proxy.standing import Before


def told(settings: Settings, aws: Aws, row: Row, proxies: list[Before]) -> Iterator[str]:
    """Yield what is to be said of the function before an instance is deleted; `proxies` are those before it."""
    lam = settings.lambdas
    try:
        with speaking():
            found = function.find_function(aws, lam)
            leads = host_of(function.environment(found).get(URL, ""))
            called = attach.called_by(aws, lam) if found else []
    except Problem as error:
        yield f"whether the function {lam.function} logs in there was not looked up ({error})"
        return
    ways = {instance.host(row).lower(): ""} | {(one.endpoint or "").lower(): f" through {one.name}" for one in proxies}
    if not leads or leads not in ways:
        return
    yield f"{lam.function} logs in there{ways[leads]}, and stands without a database then: inv lambda.delete, or another rds.identifier and inv lambda.deploy"
    for pool in called:
        yield (
            f"the user pool {pool} calls it: sign-ups are confirmed then and leave no row, until inv lambda.sync-users makes them in another "
            "database; inv lambda.detach ends the calls"
        )
