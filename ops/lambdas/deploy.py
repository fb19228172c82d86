"""lambda.deploy: every part compared with what AWS and the database have, and written where it differs.

There is no state but theirs, so a run may end anywhere and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from config.lambdas import ENOUGH_MB, Lambda
from config.settings import Settings
from ops.aws import Aws
from ops.cloud.clock import Clock
from ops.console import hide, result, say
from ops.db import lock
from ops.errors import Misconfigured, Refused
from ops.lambdas import function, login, login_ways, logs, network, publish, role, snap_start
from ops.lambdas import way as ways
from ops.lambdas.package import function_code, layer, runtimes
from ops.lambdas.plan import Plan, Tell
from ops.rds import instance
from ops.rds.cluster import pause, refusals
from ops.targets import opening


def deploy(settings: Settings, aws: Aws, clock: Clock, *, dry_run: bool, adopt: bool, tell: Tell = result) -> Plan:
    """Deploy the function with all that it needs; `dry_run` only tells what would be done."""
    lam, plan = settings.lambdas, Plan(write=not dry_run, tell=tell)
    runtime = runtimes.find(lam.python, lam.architecture)
    if lam.snap_start:
        runtimes.check_snap_start(runtime)
    row = instance.require_instance(aws, settings.rds)
    pause.check_row(settings, row, "lambda.deploy")
    refusals.check_express(row, "lambda.deploy")
    host = instance.endpoint(row)
    warn_of_age(lam)
    warn_of_memory(lam)
    # before prod is opened: no session of it waits while wheels are fetched
    code = function_code.build(function_code.certificates(settings), function_code.folder(settings))
    libraries = layer.build(lam.python, lam.architecture, function_code.folder(settings))

    def exists(name: str) -> bool:
        return function.find_function(aws, replace(lam, function=name)) is not None

    with opening.open_target(settings, settings.focus.name, "lambda.deploy", writes=not dry_run) as at:
        at.work.by_steps = True
        if at.target.host.lower().rstrip(".") != host.lower():
            raise Misconfigured(
                f"{at.target.name} is {at.target.address}, and not the instance {settings.rds.identifier} ({host}) beside which the "
                f"function runs: correct {at.target.source}; a tunnel's address belongs in {settings.focus.names.hostaddr}"
            )
        login.check_rights(at)
        # two at once would each give the role a password, and the function the one that is lost
        with lock.hold_lock(at) if plan.write else contextlib.nullcontext():
            found = function.find_function(aws, lam)
            if found and not (function.has_our_tags(found) or adopt):
                raise Refused(
                    f"the function {lam.function} is there already, and not made by inv: set another lambda.function; "
                    "if it is yours, inv lambda.deploy --adopt takes it over"
                )
            snap_start.check(aws, lam, found, adopt=adopt)
            arn = role.ensure_role(aws, settings, plan, adopt=adopt)
            vpc = network.ensure_network(aws, settings, network.network_of(aws, settings, row), plan)
            version = publish.ensure_layer(aws, lam, libraries, plan)
            logs.ensure_log_group(aws, settings, plan)
            now = function.environment(found).get(function.URL, "")
            by_token, way = login_ways.tokens_wanted(settings, row), ways.way_of(aws, settings, row, now)
            ways.check_login(way, by_token=by_token)
            if by_token:
                role.let_in(aws, settings, row, plan, way.proxy)
            given = login.ensure_login(at, login.Client(lam.function, way.host, way.port, now, exists, by_token), plan)
            hide(given.url if not given.by_token else given.kept)
            ways.keep_secret(aws, settings, way, given.url, write=plan.write)
            want = function.wanted_configuration(lam, function_code.HANDLER, arn, version, vpc)
            if given.kept and plan.write:  # the code that knows both ways in, before the way changes
                function.ensure_function(aws, settings, found, code, want, given.kept, plan, clock)
                snap_start.ensure(aws, settings, plan, clock)
                given.switch()
                found = function.find_function(aws, lam)
            if given.kept != given.url or not plan.write:
                function.ensure_function(aws, settings, found, code, want, given.url, plan, clock)
                snap_start.ensure(aws, settings, plan, clock)
            if not given.by_token:
                role.keep_out(aws, settings, plan)
    if dry_run:
        say("nothing was written")
    return plan


def warn_of_age(lam: Lambda) -> None:
    """Warn of a runtime that AWS will soon maintain no more."""
    end, soon = runtimes.end_of_life(lam.runtime)
    if soon:
        say(f"note: AWS maintains {lam.runtime} until {end}: set a newer lambda.python")


def warn_of_memory(lam: Lambda) -> None:
    """Warn of memory with which the first sign-up after a quiet time may take too long: the processor comes with it."""
    if lam.memory_mb < ENOUGH_MB:
        say(
            f"note: lambda.memory_mb is {lam.memory_mb}: a cold sign-up may take more than half of the 5 s that Cognito waits, "
            f"which it does not with {ENOUGH_MB} and costs about the same (docs/lambda.md)"
        )
