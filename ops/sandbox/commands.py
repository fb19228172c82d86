"""A stand-in for AWS and RDS on this machine, to try everything without an account."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import settings, task


@task()
def up(c: Context) -> None:
    """Start the sandbox and print its shell lines, for eval."""
    from ops.console import result
    from ops.sandbox import lifecycle

    with lifecycle.or_false():
        lines = lifecycle.up(settings(c, may_make_env_file=True))
    result("\n".join(lines))


@task()
def status(c: Context) -> None:
    """Show what of the sandbox runs where."""
    from ops.sandbox import lifecycle

    lifecycle.status(settings(c, may_make_env_file=True))


@task()
def down(c: Context) -> None:
    """Remove the sandbox and print the lines to leave it."""
    from ops.console import result
    from ops.sandbox import lifecycle

    if lines := lifecycle.down(settings(c, may_make_env_file=True)):
        result("\n".join(lines))
