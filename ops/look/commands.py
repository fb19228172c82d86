"""One page of everything, for people who would rather look than read."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import settings, task


@task(
    help={
        "target": "a target to look at, as for db.status (repeatable; default: local, and each that a variable names)",
        "save": "write the page into this file instead, for a ticket: it wants no server, and names nobody (default: serve it)",
        "no-browser": "print the address only (default: open a browser where there is one)",
    },
    iterable=["target"],
)
def look(c: Context, target: list[str] | None = None, save: str | None = None, no_browser: bool = False) -> None:
    """Show one page of everything, until Ctrl-C."""
    from ops.look import serve

    serve.look(settings(c, ""), target or [], save=save, browser=not no_browser)
