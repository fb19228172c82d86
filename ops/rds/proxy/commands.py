"""RDS: a proxy before the instance, for the function."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_instance, task


@task(
    help={
        "target": OF_AWS,
        "delete": "lead the function back to the instance, and take the proxy away (default: no)",
        "dry-run": "say what would be done, and write nothing (default: no)",
        "confirm": "the proxy's name where it is deleted, which stands for typing it (default: ask)",
    },
    answer="ops.lambdas.through.Proxy",
)
def proxy(
    c: Context, target: str = "", delete: bool = False, dry_run: bool = False, confirm: str = "", json: bool = False
) -> None:
    """Make RDS Proxy before the instance, for the function."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.lambdas import through

    found = settings_of_instance(c, target, "proxy")
    cloud = aws(found)
    made = (
        through.remove(found, cloud, Clock(), confirm=confirm, dry_run=dry_run)
        if delete
        else through.make(found, cloud, Clock(), dry_run=dry_run)
    )
    if json:
        console.as_json(made)
    elif made.request:
        console.as_json(made.request)
    elif made.endpoint:
        console.result(made.endpoint)
