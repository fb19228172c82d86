"""app.run: how the reading side is started on this machine, in the place of inv."""

from __future__ import annotations

import errno
import importlib.util
import socket
import sys
from pathlib import Path

from config.paths import suite_of
from config.settings import Settings
from config.targets import Target
from config.urls import is_port
from ops import postgres, process
from ops.console import say
from ops.errors import Misconfigured, NoDatabase, Problem
from ops.targets import opening, replica
from ops.targets.open_target import OpenTarget

WORKSPACE = ("GITPOD_WORKSPACE_URL", "CODESPACE_NAME", "GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN")
"""Variables from which the feed knows its name in an online workspace."""
DAY = 86400
"""Seconds of lag that the feed takes at most (backend/settings.py)."""
THEIRS = ("DB_POOL_TIMEOUT", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", *WORKSPACE, *process.INHERITED)
"""Variables of the feed's, gunicorn's and libpq's own that it is started with."""


def command(settings: Settings, name: str, port: str) -> tuple[list[str], dict[str, str]]:
    """Return gunicorn's command line and variables for a target; raise what keeps it from serving.

    The database is started if it is the embedded one. The password is among the variables only.
    """
    configuration = backend(settings) / "gunicorn.conf.py"
    for name_ in ("gunicorn", "waitress"):
        if importlib.util.find_spec(name_) is None:
            raise ModuleNotFoundError(name=name_)
    if port and not is_port(port):
        raise Misconfigured(f"--port {port}: give a port from 1 to 65535")
    app = settings.app
    at = (app.host, int(port) if port else app.port)
    claim(*at)
    with opening.open_target(settings, name, "app.run", login="reader") as found:
        target = found.target
        found.required()
        with found.connect() as conn:
            tables = postgres.row(conn, "select to_regclass('public.activities') is not null as there")
        if not tables["there"]:
            raise NoDatabase(f"{target.address} has no table public.activities yet: inv db.setup -t {target.name}")
        reads = at_replica(settings, found)
    login = by_token(settings, target) if target.token else {}
    env = {
        "CONNECTION_URL": target.direct().url(show_password=True),
        "DB_POOL_SIZE": str(app.pool_size),
        **pausing(settings, target),
        "DB_QUERIES": str(settings.queries),
        "HIDE_EXPIRED": "yes" if app.hide_expired else "no",
        "FRONTEND_URL": settings.vars.get("FRONTEND_URL"),
        "HOST": at[0],
        "PORT": str(at[1]),
        **login,
        **reads,
    }
    if hosts := settings.vars.get("TRUSTED_HOSTS"):
        env["TRUSTED_HOSTS"] = hosts
    shown = f"[{at[0]}]" if ":" in at[0] else at[0]
    say(f"the feed is at http://{shown}:{at[1]} (Ctrl-C ends it)")
    return [sys.executable, "-m", "gunicorn", "-c", str(configuration)], env


def pausing(settings: Settings, target: Target) -> dict[str, str]:
    """Return the variable by which the feed keeps no session where the target's database pauses by itself."""
    its = settings.on(target.name).rds_read[0]
    return {"DB_POOL_KEPT": "0"} if target.rds and its.is_cluster and its.min_acu == 0 else {}


def by_token(settings: Settings, target: Target) -> dict[str, str]:
    """Return the variables by which the feed signs a token for each connection: that it shall, and the login to AWS as it is here."""
    names = {name for name in (*settings.vars.environ, *settings.vars.saved) if name.startswith("AWS_")}
    login = {name: value for name in names if (value := settings.vars.get(name))}
    return {**login, "DB_IAM": f"{target.host.lower().rstrip('.')}:{target.port}"}


def at_replica(settings: Settings, found: OpenTarget) -> dict[str, str]:
    """Return the variables by which the feed reads at the target's replica, where it has one; whether it does now is said.

    The feed looks at it again, so one that is away or lags just now is read later. Raises `Misconfigured` as `replica.opened`.
    """
    with replica.opened(found):
        pass
    target = replica.resolved(found)
    if target is None:
        return {}
    token = by_token(settings, target) if target.token else {}
    if "DB_IAM" in token:
        token["READ_DB_IAM"] = token.pop("DB_IAM")
    url = target.direct().url(show_password=True)
    return {"READ_CONNECTION_URL": url, "DB_READ_LAG": f"{min(settings.read_lag, DAY):g}", **token}


def backend(settings: Settings) -> Path:
    """Return the application's folder, which a repository that the suite was dropped into may lack."""
    folder = suite_of(settings.root) / "backend"
    if not folder.exists():
        raise Misconfigured("backend/ is not here: it comes with the suite's own repository, copy it beside ops/")
    return folder


def claim(host: str, port: int) -> None:
    """Raise the next step where nobody can listen at this address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Problem(
                    f"port {port} is taken by another program: stop that, or inv app.run --port {port + 1 if port < 65535 else 4567}"
                ) from None
            if error.errno == errno.EACCES:
                raise Problem(f"port {port} is reserved for root: inv app.run --port 4567") from None
            raise Misconfigured(f"app.host: {host} is no address of this machine") from None
