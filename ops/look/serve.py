"""inv look: the page is served until Ctrl-C, or saved."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import local_dir, write_private
from config.settings import Settings
from ops import process, row_values
from ops.console import muted, say
from ops.errors import Misconfigured
from ops.look import panels
from ops.targets import git_branch

if TYPE_CHECKING:
    from flask import Flask

THREADS = 8
"""That answer the page; none is kept by a target that does not."""
LIMITS = {
    "max_request_body_size": 0,
    "max_request_header_size": 16_384,
    "connection_limit": 200,
    "channel_timeout": 5,
    "cleanup_interval": 1,
}
"""Anybody on this machine may connect. Waitress keeps a body in a file before it asks who sends it, a gigabyte by default, and a
connection without a request for two minutes, a hundred at once: https://docs.pylonsproject.org/projects/waitress/en/stable/arguments.html"""
CLOSING = 1.0
"""Seconds that sessions have to be closed in at the end."""
ELSEWHERE = (
    "SSH_CONNECTION",
    "SSH_CLIENT",
    "SSH_TTY",
    "CI",
    "container",
    "CODESPACES",
    "GITPOD_WORKSPACE_ID",
    "REMOTE_CONTAINERS",
)
"""Variables of a shell whose user sits before another machine's screen."""
SCREEN = ("DISPLAY", "WAYLAND_DISPLAY")
LEADS = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={url}"><title>inv look</title>\n'
)


def look(settings: Settings, names: list[str], *, save: str | None, browser: bool) -> None:
    """Serve the page of some targets until Ctrl-C, which ends it well; with `save`, write it into a file."""
    for package in ("flask", "waitress"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
    settings = settings.on("")
    found = panels.chosen(settings, names)
    with read_only():
        if save is not None:
            from ops.look import saved

            if save in ("", "-"):
                raise Misconfigured("--save wants the name of a file: give one, like report.html")
            saved.write(settings, found, Path(save))
            return
        with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.suppress(KeyboardInterrupt):
            serve(settings, found, listener, browser=browser)
    say("ended")


@contextlib.contextmanager
def read_only() -> Iterator[None]:
    """Have this process make nothing, also where a task would at its first use, and tell no values of rows."""
    before = git_branch.first_use, row_values.hides()
    git_branch.first_use = None
    row_values.hide(True)  # by one switch for all threads
    try:
        yield
    finally:
        git_branch.first_use = before[0]
        row_values.hide(before[1])


def serve(settings: Settings, names: list[str], listener: socket.socket, *, browser: bool) -> None:
    """Answer at a socket until a Ctrl-C; whoever asks before all is imported waits for it there."""
    from ops.look.door import Door

    port = listener.getsockname()[1]
    door = Door(port, settings.look_hosts)
    url = f"http://127.0.0.1:{port}/?token={door.token}"
    say(f"look at {', '.join(names)}: {url} (Ctrl-C ends it; the address lets in once)")
    for host in door.forwarded:
        say(f"from elsewhere, where that port is forwarded: https://{host}/?token={door.token}")
    with contextlib.ExitStack() as stack:
        if browser and has_browser():
            stack.enter_context(opened(settings, url))
        from ops.look.app import create_app
        from ops.look.watch import Looker

        looker = Looker(settings, names)
        stack.callback(looker.close, CLOSING)
        stack.enter_context(muted())
        server = server_of(create_app(looker, door), listener)
        stack.callback(server.close)
        server.run()


def server_of(app: Flask, listener: socket.socket) -> Any:
    """Return what answers at a socket, once it is run; a stranger there can neither fill the disk nor hold on to all connections."""
    from waitress import create_server

    for name in ("waitress", "waitress.queue"):  # what strangers send, and that some wait, is no news at a terminal
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return create_server(app, sockets=[listener], threads=THREADS, ident="", log_socket_errors=False, **LIMITS)


def has_browser() -> bool:
    """Whether a person sits before this machine's screen, with a browser that has a window of its own."""
    import webbrowser

    env = process.environ()
    if any(env.get(name) for name in ELSEWHERE) or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return False
    if sys.platform.startswith("linux") and not any(env.get(name) for name in SCREEN):
        return False  # what there may be would take this terminal
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


@contextlib.contextmanager
def opened(settings: Settings, url: str) -> Iterator[None]:
    """Open a browser by a file that leads to the page: what stands on a command line, each user of this machine can read."""
    import webbrowser

    file = local_dir(settings.root) / f"look-{secrets.token_hex(4)}.html"
    try:
        write_private(file, LEADS.format(url=url), lasting=False)
        webbrowser.open(file.as_uri())
    except OSError as error:
        raise Misconfigured(f"{file}: {error.strerror}: inv look --no-browser needs no file") from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
