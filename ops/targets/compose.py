"""The services of docker-compose.yml, `db` among them, by whichever compose command there is."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from config.targets import Target
from ops import process, silence
from ops.console import say
from ops.errors import NothingAnswers, Problem, Unreachable

SERVICE = "db"
TAKEN = re.compile("address already in use|port is already allocated")
PUBLISHED = re.compile(r"\b127\.0\.0\.1:(\d+)")
"""As Docker says that a port of this machine cannot be published: a program listens there, or another container's is."""
WITHOUT = "leave -t docker out for the embedded server (inv app.run serves the feed from it)"


@functools.cache
def command() -> list[str]:
    """Return the compose command of this machine."""
    if shutil.which("docker") and run(["docker", "compose", "version"]).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise Problem(f"Docker's compose command is not here: install Docker, or {WITHOUT}")


def run(
    argv: Sequence[str], env: Mapping[str, str] | None = None, root: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that has Docker do something, however long, as long as Docker answers."""
    return process.run(argv, env or {}, cwd=root, watch=partial(silence.watching_child, "Docker", answers))


def answers() -> str | None:
    """Ask Docker for a sign of life."""
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        process.run(["docker", "version"], {}, timeout=silence.limit)
        return ""
    return None


def compose(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a compose command in the repository and return what it prints."""
    done = run([*command(), *arguments], {**named(root), **(env or {})}, root)
    if done.returncode != 0:
        why = cause(done.stderr) or f"exit {done.returncode}"
        if "permission denied" in done.stderr.lower():
            why = "this user may not talk to Docker: add it to the group docker"
        elif (
            "connect to the Docker daemon" in done.stderr
            or "Connection aborted" in done.stderr
            or "Couldn't connect" in done.stderr
        ):
            why = f"Docker does not run: start it, or {WITHOUT}"
        raise Problem(f"{' '.join([*command(), *arguments])}: {why}")
    return done.stdout


def cause(said: str) -> str:
    """Return the line that says why; empty where it has said nothing.

    The last one, but for the older docker-compose, which ends with `Encountered errors while …` after a line for each service.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    whys = [line for line in lines if not line.startswith("Encountered errors")] or lines
    why = whys[-1] if whys else ""
    if TAKEN.search(why) and (published := PUBLISHED.search(why)):
        return f"port {published[1]} is taken by another program: stop that, or set DB_PORT (APP_PORT for the feed)"
    return why


def named(root: Path) -> dict[str, str]:
    """Return the variables that compose puts into its files, passwords among them; no other secret is its business."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in root.glob("*compose*.y*ml")]
    names = {name for text in texts for name in re.findall(r"\$\{?(\w+)", text)}
    return {name: value for name in names if (value := process.environ().get(name)) is not None}


def up(root: Path) -> None:
    """Start the service; a running one is left as it is."""
    compose(root, "up", "-d", SERVICE)


def down(root: Path, *, wipe: bool) -> None:
    """Stop the service; with `wipe` its volume goes too."""
    if not wipe:
        compose(root, "stop", SERVICE)
        return
    # `compose down -v` would take the volumes of all other services too
    container = (
        compose(root, "ps", "-a", "-q", SERVICE) if command()[0] == "docker" else compose(root, "ps", "-q", SERVICE)
    )
    mounts = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
    volumes = docker("inspect", "-f", mounts, *container.split()).split() if container.strip() else []
    compose(root, "rm", "-f", "-s", "-v", SERVICE)
    if volumes:
        docker("volume", "rm", "-f", *volumes)


def docker(*arguments: str) -> str:
    """Run a docker command and return what it prints."""
    done = run(["docker", *arguments])
    if done.returncode != 0:
        raise Problem(f"docker {' '.join(arguments[:2])}: {' '.join(done.stderr.split())}")
    return done.stdout


def outside(root: Path, target: Target) -> Target:
    """Return the target as it is reached from here.

    The service's name resolves inside the compose network only; elsewhere the
    port that compose has published for it leads to the same server.
    """
    if target.loopback or "." in target.host:
        return target
    with contextlib.suppress(OSError, Unreachable):
        silence.resolves(target.host, 5.0)
        socket.getaddrinfo(target.host, target.port)
        return target
    lines = compose(root, "port", SERVICE, str(target.port)).split() if running(root) else []
    published = lines[0].rpartition(":")[2] if lines else ""
    if not published.isdigit() or published == "0":
        raise NothingAnswers(f"the service {SERVICE} of docker-compose.yml does not run: inv db.up -t docker")
    say(f"{target.host} resolves only inside the compose network: using its published port 127.0.0.1:{published}")
    return target.on(host="127.0.0.1", port=published)


def running(root: Path) -> bool:
    """Whether the service has a container that runs."""
    return bool(compose(root, "ps", "-q", SERVICE).strip())
