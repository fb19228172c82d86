"""Where the function's URL leads: to the instance itself, or through our proxy before it.

The URL that the function has tells which, so lambda.deploy keeps the way that rds.proxy has chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from config.sign_up import ROLE
from config.targets import parse
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.cloud.steps import Work
from ops.errors import Misconfigured, Refused
from ops.lambdas.function import URL
from ops.rds import instance
from ops.rds.proxy import parts, secret, standing
from ops.rds.proxy.waiting import TASK

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import DBProxyTypeDef


@dataclass(frozen=True)
class Way:
    """Where the function's URL is to lead."""

    host: str
    port: int
    proxy: DBProxyTypeDef | None = None
    """The one that it leads through."""


def way_of(aws: Aws, settings: Settings, row: Row, url: str) -> Way:
    """Return the way of a function that has this URL: through our proxy where that leads there, else to the instance itself."""
    host = host_of(url)
    if parts.is_endpoint(host):
        try:
            proxy = standing.find(aws, parts.of(settings.rds, aws.region))
        except Refused:  # somebody else's has the name
            proxy = None
        if proxy is not None and proxy.get("Endpoint", "").lower() == host:
            return Way(proxy["Endpoint"], parts.PORT, proxy)
    return Way(instance.endpoint(row), instance.port(row))


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, nothing where it is none."""
    try:
        return parse(url, URL, "").host.lower().rstrip(".")
    except Misconfigured:
        return ""


def check_login(way: Way, *, by_token: bool) -> None:
    """Raise `Refused` where the function is to log in by another way than its proxy."""
    if way.proxy is not None and standing.by_tokens(way.proxy) != by_token:
        word = "a token" if by_token else "a password"
        raise Refused(
            f"the function is to log in by {word}, and its proxy {way.proxy['DBProxyName']} does not: nothing was done; "
            f"inv {TASK} --delete, then this again, then inv {TASK}"
        )


def keep_secret(aws: Aws, settings: Settings, way: Way, url: str, *, write: bool) -> None:
    """Have the proxy log in by the password that the function has, where both have one."""
    login = parse(url, URL, "")
    if way.proxy is not None and login.password:
        mine = parts.of(settings.rds, aws.region)
        secret.ensure(aws, mine, ROLE, login.password, Work(write))
