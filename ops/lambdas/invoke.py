"""lambda.invoke: one event through the function, in AWS or as packaged on this machine."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.targets import parse, reached
from ops.aws import Aws
from ops.console import hide, say
from ops.db import place
from ops.errors import Misconfigured, Problem
from ops.lambdas import function, local, package

if TYPE_CHECKING:
    from ops.lambdas.runtime_api import Answer

HARMLESS = "forgot-password"
"""The sample event that shows that the function runs, and writes nothing."""


def event(given: str) -> Any:
    """Return the event of a file: a path, the name of a sample, or - for standard input."""
    samples = {path.stem: path for path in sorted(package.EVENTS.glob("*.json"))}
    try:
        if given == "-":
            return json.loads(sys.stdin.read())
        path = samples.get(given or HARMLESS) or Path(given).expanduser()
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"--event {given}: no such file, and no sample: {', '.join(samples)}") from None
    except (ValueError, OSError, RuntimeError) as error:
        raise Misconfigured(f"--event {given}: no event in JSON can be read there ({error})") from None


def remote(aws: Aws, settings: Settings, event: Any) -> Any:
    """Return the deployed function's answer; its last log lines go to stderr."""
    client, name = aws.client("lambda"), settings.lambdas.function
    try:
        answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    except client.exceptions.ResourceNotFoundException as error:
        raise Problem(f"there is no function {name} in {aws.region}: inv lambda.deploy makes it") from error
    for line in base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").splitlines():
        say(line)
    said = json.loads(answer["Payload"].read() or b"null")
    if answer.get("FunctionError"):
        what = said.get("errorMessage", said) if isinstance(said, dict) else said
        raise Problem(f"{name} failed ({answer['FunctionError']}): {what}")
    return said


def here(settings: Settings, aws: Aws, target: str, event: Any) -> Answer:
    """Return the packaged function's answer, run on this machine.

    Its database is that of the deployed function's environment, reached as we
    reach prod ourselves; `target` names another one.
    """
    lam = settings.lambdas
    if target:
        environment = {function.URL: place.resolved(settings, target).url(show_password=True)}
    else:
        environment = function.environment(function.find(aws, lam))
        if not environment.get(function.URL):
            raise Problem(
                f"{lam.function} is not deployed, so its login is not known: inv lambda.deploy, or name a database by --target"
            )
        login = reached(settings, parse(environment[function.URL], f"{function.URL} of the function", "prod"))
        hide(login.password)
        environment[function.URL] = login.url(show_password=True)
    answer = local.invoke(settings, lam.python, lam.architecture, event, environment)
    for line in answer.logs:
        say(line)
    say(f"answered in {answer.seconds:.2f} s; Cognito waits 5 s")
    return answer


def stored(answer: Answer) -> None:
    """Raise `Problem` where the function's log says that it failed: it returns the event all the same."""
    for line in answer.logs:
        try:
            told = json.loads(line)
        except ValueError:  # somebody's own line
            continue
        if isinstance(told, dict) and told.get("outcome") == "failed":
            raise Problem(f"the function stored nothing: {told.get('reason')}")
