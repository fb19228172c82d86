"""rds.proxy: the way of the function's connections, to the instance itself or through a proxy before it.

The function follows in the order in which nothing is missed: there, the proxy has a session in the instance, then the function's role
may log in by it, then the function's URL leads there; back, the URL first, then the rest. Which way holds is told by the URL that the
function has, so lambda.deploy keeps it. Where pools call the alias, the version behind it follows, and the rest waits for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from config.settings import Settings
from config.sign_up import ROLE
from config.targets import Target
from ops.aws import Aws
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.cloud.steps import Work
from ops.console import hide, say
from ops.errors import Problem, Refused
from ops.lambdas import function, network, role, snap_start, status
from ops.lambdas.function import URL
from ops.lambdas.plan import Plan, nothing
from ops.lambdas.waiting import Configuration, wait_until_settled
from ops.lambdas.way import Way, host_of
from ops.rds import instance
from ops.rds.proxy import following, making, parts, standing
from ops.rds.proxy.making import Login, Place
from ops.rds.proxy.waiting import TASK
from ops.typed_name import require_confirmation

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import DBProxyTypeDef


@dataclass(frozen=True)
class Proxy:
    """The proxy before the instance, and what was done for it."""

    proxy: str
    """Its name."""
    endpoint: str | None
    """Its host name; null where it is not there, or only would be made."""
    port: int | None
    """Null where the host name is."""
    login: Literal["token", "password"] | None
    """How the function logs in by it, and it in the instance; null where it is gone."""
    function: str | None
    """The function whose URL leads there; null where none's does."""
    written: bool
    """Whether something was written to AWS: false on a dry run, and where all was so already."""
    done: list[str]
    """What was done, or on a dry run would be, in this order, each as an imperative."""
    request: dict[str, Any] | None
    """On a dry run of making it what AWS would be asked for, with its own names; else null."""


# --- there --------------------------------------------------------------------------------


def make(settings: Settings, aws: Aws, clock: Clock, *, dry_run: bool) -> Proxy:
    """Have the proxy there, and the function's URL lead to it; raises `Refused` where it would serve no function."""
    mine, work, lam = parts.of(settings.rds, aws.region), Work(not dry_run), settings.lambdas
    row = making.owned(settings, aws)
    have = owned(aws, settings)
    login = login_of(have)
    check_code(settings, have)
    if not any(one.name == mine.name for one in standing.before(aws, row)):
        following.check_no_copy(aws, row)
    making.tell(row, login)
    place = place_of(aws, settings, row)
    asked = making.ensure(settings, aws, clock, mine, place, login, work)
    there = standing.find(aws, mine)
    endpoint = there.get("Endpoint") if there else None
    if not login.password:
        let_in(aws, settings, row, there, work)
    if endpoint is None or host_of(function.environment({"Configuration": have}).get(URL, "")) != endpoint.lower():
        work.do(
            f"have {lam.function} connect to {endpoint or 'it'}",
            lambda: point(aws, settings, clock, Way(str(endpoint), parts.PORT)),
        )
    elif snap_start.lags(aws, lam, function.environment({"Configuration": have})[URL]):
        trail(aws, settings, clock, work)
    way: Literal["token", "password"] = "password" if login.password else "token"
    if work.write:
        say(f"{lam.function} logs in by {mine.name}; inv lambda.invoke sends an event through it")
    return Proxy(
        mine.name, endpoint, parts.PORT if endpoint else None, way, lam.function, work.write and bool(work.done), work.done, asked if dry_run else None
    )  # fmt: skip


def owned(aws: Aws, settings: Settings) -> Configuration:
    """Return the configuration of the function, which must be ours."""
    found = function.find_function(aws, settings.lambdas)
    name = settings.lambdas.function
    if found is None:
        raise Refused(f"there is no function {name}, for which a proxy would be: inv lambda.deploy, then inv {TASK}")
    check_ours(found, name)
    return found["Configuration"]


def check_ours(found: Mapping[str, Any], name: str) -> None:
    """Raise `Refused` for a function that somebody else has made."""
    if not function.has_our_tags(found):
        raise Refused(f"{name} was not made by inv: inv lambda.deploy --adopt hands it over first")


def login_of(have: Configuration) -> Login:
    """Return how a function logs in; raises `Refused` for what a proxy does not pass on."""
    target = function.login({"Configuration": have})
    hide(target.password)
    if target.params.get("user") != ROLE:
        raise Refused(
            f"the function logs in as {target.params.get('user')}: inv lambda.deploy gives it a login of its own first"
        )
    if target.params.get("options"):
        raise Refused(f"{URL} of the function has options, which RDS Proxy does not take: take them out of it first")
    return Login(ROLE, target.password)


def check_code(settings: Settings, have: Configuration) -> None:
    """Raise `Refused` where the function's code may be from before it knew Amazon's own roots, by which proxies are known."""
    code, note = status.compare_code(settings, have)
    if code is None:
        raise Problem(f"the function's code could not be compared ({note}): nothing was done")
    if code == "differs":
        raise Refused(
            "the function's code is not what is here, and may not know the certificates of a proxy: inv lambda.deploy first, nothing was done"
        )


def place_of(aws: Aws, settings: Settings, row: Row) -> Place:
    """Return where the proxy is to stand: beside the instance, for the function's group."""
    at = network.network_of(aws, settings, row)
    groups = network.own_group(settings).find(aws.client("ec2"), at.vpc)
    if not groups:
        raise Refused(f"the function has no security group of ours in {at.vpc}: inv lambda.deploy first")
    return Place(at.vpc, at.subnets, at.door, at.port, str(groups[0]["GroupId"]))


def let_in(aws: Aws, settings: Settings, row: Row, proxy: DBProxyTypeDef | None, work: Work) -> None:
    """Give the function's role the right to log in by the proxy beside that for the instance, or take it back."""
    planned = Plan(write=False, tell=nothing)
    role.let_in(aws, settings, row, planned, proxy)
    for line in planned.lines:
        work.do(
            line.replace(" would be created: ", ": ").replace(" would be updated: ", ": "),
            lambda: role.let_in(aws, settings, row, Plan(tell=nothing), proxy),
        )


def point(aws: Aws, settings: Settings, clock: Clock, way: Way) -> None:
    """Have the function's URL lead another way; all else of its environment stays."""
    lam, client = settings.lambdas, aws.client("lambda")
    now = wait_until_settled(aws, lam, clock, failed=True)
    values = function.environment({"Configuration": now})
    url = led(function.login({"Configuration": now}), way)
    hide(url)

    def done(configuration: Configuration) -> bool:
        return function.environment({"Configuration": configuration}).get(URL) == url

    function.update_function(
        aws, lam, now, client.update_function_configuration, {"Environment": {"Variables": {**values, URL: url}}}, done, clock
    )  # fmt: skip
    if snap_start.lags(aws, lam, url):
        snap_start.follow(aws, settings, clock)


def trail(aws: Aws, settings: Settings, clock: Clock, work: Work) -> None:
    """Have the alias lead to a version whose URL is the function's, where a run was cut off before it did."""
    work.do(
        f"have the alias {snap_start.ALIAS} lead to {settings.lambdas.function} as it is now",
        lambda: snap_start.follow(aws, settings, clock),
    )


def led(target: Target, way: Way) -> str:
    """Return a URL that differs by the way alone."""
    return target.on(host=way.host, port=str(way.port)).url(show_password=True)


# --- back ---------------------------------------------------------------------------------


def remove(settings: Settings, aws: Aws, clock: Clock, *, confirm: str, dry_run: bool) -> Proxy:
    """Have the function connect to the instance itself, then take the proxy away with all that was made for it."""
    mine, work, lam = parts.of(settings.rds, aws.region), Work(not dry_run), settings.lambdas
    there = standing.find(aws, mine)
    row = instance.find_instance(aws, settings.rds.identifier)
    found = function.find_function(aws, lam)
    url = function.environment(found).get(URL, "")
    host, lags = host_of(url), found is not None and snap_start.lags(aws, lam, url)
    leads = parts.is_endpoint(host) and host.startswith(f"{mine.name}.")
    if (leads or lags) and found is not None:
        check_ours(found, lam.function)
    if there is not None and not dry_run:
        require_confirmation(
            mine.name,
            confirm,
            this="this proxy",
            act=f"delete {mine.name}",
            question=f"delete the proxy {mine.name}. Type its name to go on:",
            caseless=True,
        )
    if leads:
        if row is None:
            say(
                f"note: {lam.function} goes on to connect to {host}: there is no instance {mine.identifier} to lead it to"
            )
        else:
            back = Way(instance.endpoint(row), instance.port(row))
            work.do(f"have {lam.function} connect to {back.host}", lambda: point(aws, settings, clock, back))
    elif lags:
        trail(aws, settings, clock, work)
    if row is not None and found is not None and role.inner(aws.client("iam"), lam.role, role.DATABASE_POLICY):
        let_in(aws, settings, row, None, work)
    making.remove(settings, aws, clock, mine, work)
    if not work.done:
        say(f"{mine.identifier} has no proxy of ours: nothing to delete")
    return Proxy(mine.name, None, None, None, None, work.write and bool(work.done), work.done, None)
