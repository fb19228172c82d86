"""lambda.invoke: one event through the function, in AWS or as packaged on this machine."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.targets import Target, reached
from ops.aws import Aws
from ops.console import hide, say
from ops.errors import InProgress, Misconfigured, Problem
from ops.lambdas import function, local, login_ways, snap_start
from ops.lambdas.package import function_code
from ops.rds.proxy import parts
from ops.targets import opening, production_guard
from ops.targets.tunnel import way
from ops.typed_name import require_confirmation

if TYPE_CHECKING:
    from ops.lambdas.runtime_api import Answer

HARMLESS = "forgot-password"
"""The sample event that shows that the function runs, and writes nothing."""
MARGIN = 15.0
"""Seconds that AWS may take to start a function, beyond the time that it runs."""


@dataclass(frozen=True)
class Invoked:
    """What the function answered to an event."""

    function: str
    """Its name."""
    local: bool
    """Whether it ran on this machine."""
    answer: Any
    """As the function gave it: it returns the event, in Cognito's own names."""
    duration_seconds: float | None
    """From handing the event in to the answer; null for one in AWS."""


def event(given: str) -> Any:
    """Return the event of a file: a path, the name of a sample, or - for standard input."""
    try:
        return json.loads(sys.stdin.read() if given == "-" else source(given).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"--event {given}: no such file, and no sample: {', '.join(samples())}") from None
    except (ValueError, OSError, RuntimeError) as error:
        raise Misconfigured(f"--event {given}: no event in JSON can be read there ({error})") from None


def samples() -> dict[str, Path]:
    """Return the sample events by their names."""
    return {path.stem: path for path in sorted(function_code.EVENTS.glob("*.json"))}


def source(given: str) -> Path:
    """Return the file that --event means."""
    return samples().get(given or HARMLESS) or Path(given).expanduser()


def is_sample(given: str) -> bool:
    """Whether --event means a sample that adds its user, who is nobody."""
    return given != "-" and source(given).resolve() in {p.resolve() for n, p in samples().items() if n != HARMLESS}


def invoke_in_aws(aws: Aws, settings: Settings, event: Any, *, made_up: bool = False, confirm: str = "") -> Any:
    """Return the deployed function's answer; its last log lines go to stderr.

    An event that is `made_up` is sent when the database's name is confirmed.
    """
    name = settings.lambdas.function
    deployed = function.require_function(aws, settings.lambdas)
    client = aws.client("lambda", silent=float(deployed.get("Timeout") or 0) + MARGIN)  # it answers when it has run
    if made_up:
        confirm_write(function.login({"Configuration": deployed}), confirm)
    asked: Any = {"FunctionName": name, "Payload": json.dumps(event).encode(), "LogType": "Tail"}
    if settings.lambdas.snap_start and snap_start.find_alias(aws, settings.lambdas):
        asked["Qualifier"] = snap_start.ALIAS  # what pools call; without it there is no snapshot
    try:
        answer = client.invoke(**asked)
    except client.exceptions.SnapStartNotReadyException as error:
        raise InProgress(
            f"AWS has let go of the snapshot of {name} (after 14 days without a sign-up, or for its own upkeep), and makes one now: sign-ups fail until it is there; "
            "inv lambda.deploy waits for that, then inv lambda.sync-users"
        ) from error
    for line in base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").splitlines():
        say(line)
    said = json.loads(answer["Payload"].read() or b"null")
    if answer.get("FunctionError"):
        what = said.get("errorMessage", said) if isinstance(said, dict) else said
        raise Problem(f"{name} failed ({answer['FunctionError']}): {what}")
    return said


def invoke_here(
    settings: Settings, aws: Aws, target: str, event: Any, *, made_up: bool = False, confirm: str = ""
) -> Answer:
    """Return the packaged function's answer, run on this machine.

    Its database is that of the deployed function's environment, reached as we
    reach prod ourselves; `target` names another one.
    """
    lam = settings.lambdas
    if target:
        at = database_of(settings, target, confirm, made_up=made_up)
        environment = {function.URL: at.direct().url(show_password=True)}
    else:
        found = function.find_function(aws, lam)
        environment = function.environment(found)
        if found is None or not environment.get(function.URL):
            raise Misconfigured(
                f"{lam.function} is not deployed, so its login is not known: inv lambda.deploy makes it, or name a database by --target"
            )
        at = function.login(found)
        if made_up:
            confirm_write(at, confirm)
        at = way.led(settings, reached(settings, near_end(settings, replace(at, declared=settings.focus))))
        hide(at.password)
        environment[function.URL] = at.direct().url(show_password=True)
    environment |= login_ways.login_to_aws(aws, at)
    answer = local.invoke(settings, lam.python, lam.architecture, event, environment)
    for line in answer.logs:
        say(line)
    say(f"answered in {answer.seconds:.2f} s; Cognito waits 5 s")
    return answer


def near_end(settings: Settings, at: Target) -> Target:
    """Return the database of a function that has a proxy, by the port at which the address behind its name is reached from here."""
    port, address = (settings.vars.get(name) for name in (settings.focus.names.port, settings.focus.names.hostaddr))
    return at.on(port=port) if parts.is_endpoint(at.host) and address and port else at


def database_of(settings: Settings, target: str, confirm: str, *, made_up: bool) -> Target:
    """Return the database that --target names, confirmed where that is production and the event is `made_up`."""
    if not made_up:
        return opening.resolve_target(settings, target)
    with opening.open_target(settings, target, "lambda.invoke", writes=True) as at:
        production_guard.confirm(at, "add the sample's user", confirm)
        return at.target


def confirm_write(at: Target, given: str) -> None:
    """Ask for the name of the function's database."""
    what = f"add the sample's user, who is made up, to {at.address}"
    require_confirmation(
        at.dbname,
        given,
        this="the name of this database",
        act=f"{what} (--event takes a file with an event of your own, --target another database with --local)",
        question=f"{what}. Type the database's name to go on:",
    )


def check_stored(answer: Answer) -> None:
    """Raise `Problem` where the function's log says that it failed: it returns the event all the same."""
    for line in answer.logs:
        try:
            told = json.loads(line)
        except ValueError:  # somebody's own line
            continue
        if isinstance(told, dict) and told.get("outcome") == "failed":
            raise Problem(f"the function stored nothing: {told.get('reason')}")
