"""db.tunnel: a tunnel that stays open between tasks."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import TARGET, settings, task


@task(help={"target": TARGET, "stop": "end it; without --target all of this clone (default: no)"})
def tunnel(c: Context, target: str = "", stop: bool = False) -> None:
    """Keep the tunnel to a target open between tasks."""
    from ops.targets.tunnel import stay

    if stop:
        stay.stop(settings(c, target), target)
    else:
        stay.start(settings(c, target), target)
