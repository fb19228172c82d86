"""app.up, app.down, app.logs: the `backend` service of docker-compose.yml."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime

from config.settings import Settings
from config.targets import parse, resolve
from ops import process
from ops.app.serve import DAY, backend
from ops.console import as_json, progress, result, say
from ops.errors import InProgress, Misconfigured, Problem
from ops.targets import compose, last_look, least_login
from ops.times import moment

SERVICE, DOCKER = "backend", "docker"
"""Its name in docker-compose.yml, and that of the target whose database it reads."""
PORT = 4567
"""Where it listens inside its container."""
TIMEOUT = 90.0
"""Seconds until its health check should have passed. No setting: that check has its own times, in docker-compose.yml, and
whoever runs app.up again goes on waiting."""
PASSED_ON = ("CONNECTION_LOCAL_DOCKER_URL", "FRONTEND_URL", "TRUSTED_HOSTS")
"""Variables of docker-compose.yml that may come from whichever file ENV_FILE names."""


def up(settings: Settings) -> None:
    """Build the image, start the service with the database it depends on, and wait until it is healthy."""
    backend(settings)
    env = {name: value for name in PASSED_ON if (value := settings.vars.get(name))}
    if url := readers_url(settings):
        env[PASSED_ON[0]] = url
    env |= at_replica(settings, url)
    compose.command()
    say(f"building and starting {SERVICE}; the first time takes a minute")
    compose.compose(settings.root, "up", "-d", "--build", SERVICE, env=env)
    healthy(compose.compose(settings.root, "ps", "-q", SERVICE).strip())
    address = compose.compose(settings.root, "port", SERVICE, str(PORT)).strip()
    say(f"the feed is at http://{address} (inv db.setup -t docker fills it)")


def readers_url(settings: Settings) -> str:
    """Return by which URL the service reads as the reader; empty where there is none, or was none at the last look."""
    own, look = resolve(settings, DOCKER), last_look.recalled(settings).get(DOCKER)
    least = least_login.least(settings, own, "reader") if own and look and "reader" in (look.roles or ()) else None
    return least.url(show_password=True) if least else ""


def at_replica(settings: Settings, reader: str) -> dict[str, str]:
    """Return the variables by which the service reads at the target's replica; its URL is as the container sees it.

    One without a user takes the login of the database itself: the reader's URL, where there is one.
    """
    variable = settings.on(DOCKER).focus.names.read_url
    text = settings.vars.get(variable)
    if not text:
        return {}
    target, own = parse(text, variable, DOCKER), resolve(settings, DOCKER)
    if own and target.dbname != own.dbname:
        raise Misconfigured(
            f"{variable}: names the database {target.dbname}, and {DOCKER} is {own.dbname}: give the same"
        )
    login = parse(reader, PASSED_ON[0], DOCKER) if reader else own
    if login and not target.params.get("user"):
        target = target.on(user=login.params.get("user", ""), password=login.password)
    return {variable: target.url(show_password=True), "DB_READ_LAG": f"{min(settings.read_lag, DAY):g}"}


def healthy(container: str) -> None:
    """Wait until a container's health check passes; raise `Problem` if it has ended instead."""
    begun = time.monotonic()
    with progress(TIMEOUT) as show:
        while True:
            status, health = compose.docker(
                "inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", container
            ).split()
            if health == "healthy":
                return
            elapsed = time.monotonic() - begun
            show(f"{SERVICE} is {status}, {health}", elapsed)
            if status not in ("created", "running"):
                raise Problem(f"{SERVICE} has ended ({status}): inv app.logs says why")
            if elapsed > TIMEOUT:
                raise InProgress(
                    f"{SERVICE} is {health} after {TIMEOUT:.0f} s, which no setting changes: inv app.logs says why, inv app.up goes on waiting"
                )
            time.sleep(0.5)


def down(settings: Settings) -> None:
    """Stop the service and remove its container; the database runs on."""
    compose.compose(settings.root, "rm", "-f", "-s", SERVICE)
    say(f"stopped {SERVICE}; the database runs on (inv db.down -t docker)")


@dataclass(frozen=True)
class Line:
    """A line that the service has logged."""

    at: datetime | None
    """When Docker took it; null for a line of Docker's own."""
    message: str
    """The line as it was written."""


def line(text: str) -> Line:
    """Read a line of `docker compose logs --timestamps --no-log-prefix`."""
    stamp, _, message = text.partition(" ")
    at = moment(stamp)
    return Line(at, message if at else text)


def logs(settings: Settings, lines: str, *, follow: bool, json: bool = False) -> None:
    """Print the last lines that the service has logged, and with `follow` those to come."""
    if not (lines.isascii() and lines.isdigit()):
        raise Misconfigured(f"--lines {lines}: give a whole number")
    arguments = ["logs", "--no-color", "--tail", lines]
    if json:
        arguments += ["--no-log-prefix", "--timestamps"]
    if not follow:
        said = compose.compose(settings.root, *arguments, SERVICE).rstrip()
        if not json:
            result(said)
            return
        for text in said.splitlines():
            as_json(line(text), indent=None)
        return
    argv = [*compose.command(), *arguments, "--follow", SERVICE]
    sys.stdout.flush()
    heard = subprocess.PIPE if json else None
    with subprocess.Popen(
        argv,
        cwd=settings.root,
        env=process.child_environ(compose.named(settings.root)),
        stdout=heard,
        text=True,
        errors="replace",
    ) as running:
        for text in running.stdout or ():
            as_json(line(text.rstrip("\n")), indent=None)
            sys.stdout.flush()  # whoever follows waits for it
    if (code := running.returncode) != 0:
        raise Problem(f"{' '.join(argv)}: exit {code}")
