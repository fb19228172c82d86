"""The feed: serve it, here or in Docker."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import TARGET, settings, task


@task(help={"target": TARGET, "port": "port to listen at (default: the setting app.port, which is 4567)"})
def run(c: Context, target: str = "", port: str = "") -> None:
    """Serve the feed from here until Ctrl-C; no Docker."""
    from ops import process
    from ops.app import serve

    argv, env = serve.command(settings(c, target), target, port)
    process.replace(argv, process.lasting_environ(env, *serve.THEIRS))


@task()
def up(c: Context) -> None:
    """Build and start the compose service of the feed."""
    from ops.app import service

    service.up(settings(c))


@task()
def down(c: Context) -> None:
    """Stop the compose service of the feed."""
    from ops.app import service

    service.down(settings(c))


@task(
    help={
        "follow": "go on printing until Ctrl-C (default: no)",
        "lines": "how many of the last lines (default: 100)",
    },
    answer="lines[ops.app.service.Line]",
)
def logs(c: Context, follow: bool = False, lines: str = "100", json: bool = False) -> None:
    """Print what the compose service has logged."""
    from ops.app import service

    service.logs(settings(c), lines, follow=follow, json=json)
