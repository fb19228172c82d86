"""A stand-in for AWS and RDS on this machine, to try everything without an account."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import settings, task


@task(answer="ops.sandbox.shell.Change")
def up(c: Context, json: bool = False) -> None:
    """Start the sandbox and print its shell lines, for eval."""
    from ops import console
    from ops.sandbox import lifecycle

    with lifecycle.or_false(json=json):
        change = lifecycle.up(settings(c, may_make_env_file=True))
    if json:
        console.as_json(change)
    else:
        console.result("\n".join(change.lines()))


@task(answer="ops.sandbox.lifecycle.Where")
def status(c: Context, json: bool = False) -> None:
    """Show what of the sandbox runs where."""
    from ops.sandbox import lifecycle

    lifecycle.status(settings(c, may_make_env_file=True), json=json)


@task(answer="ops.sandbox.shell.Change")
def down(c: Context, json: bool = False) -> None:
    """Remove the sandbox and print the lines to leave it."""
    from ops import console
    from ops.sandbox import lifecycle

    change = lifecycle.down(settings(c, may_make_env_file=True))
    if json:
        console.as_json(change)
    elif lines := change.lines():
        console.result("\n".join(lines))
