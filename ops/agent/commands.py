"""For assistants."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import TARGET, settings, task


@task(help={"target": TARGET})
def agent(c: Context, target: str = "") -> None:
    """Serve a target's facts to an assistant, by MCP."""
    from ops.agent import serve

    serve.serve(settings(c, target), target)
