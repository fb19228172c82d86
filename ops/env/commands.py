"""Variables: where each came from, and saving one."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import settings, task


@task(answer="list[ops.env.variables.Shown]")
def show(c: Context, json: bool = False) -> None:
    """Show each variable, masked, and where it came from."""
    from ops import console
    from ops.env import variables

    found = settings(c)
    rows = variables.shown(found)
    if json:
        console.as_json(rows)
    else:
        console.table(("variable", "value", "from", "meaning"), [variables.as_row(found, row) for row in rows])


@task(
    help={
        "pair": "NAME=VALUE; NAME alone asks for it (or reads standard input), as secrets must",
        "share": "give a secret to gp env too, which takes it on its command line (default: no)",
    }
)
def set(c: Context, pair: str, share: bool = False) -> None:
    """Save a variable in the env file."""
    from ops.env import variables

    variables.save(settings(c, may_make_env_file=True), pair, share=share)
