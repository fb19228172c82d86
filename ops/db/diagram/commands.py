"""Postgres, drawn."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import TARGET, settings, task


@task(
    help={
        "target": TARGET,
        "file": "the SVG file, written anew where it is there, - for standard output (default: print it)",
    }
)
def diagram(c: Context, target: str = "", file: str = "") -> None:
    """Draw tables and foreign keys, as SVG."""
    from ops.db.diagram import draw

    draw.show(settings(c, target), target, file)
