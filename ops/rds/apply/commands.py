"""RDS: the settings against the instance that is there."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_aws, task


@task(
    help={
        "target": OF_AWS,
        "now": "make changes that restart it at once too, and all that waits (default: in the maintenance window)",
        "dry-run": "say what each change means, and send nothing (default: no)",
        "confirm": "the instance's identifier, which stands for typing it (default: ask)",
    },
    answer="ops.rds.apply.planning.Plan",
)
def apply(
    c: Context, target: str = "", now: bool = False, dry_run: bool = False, confirm: str = "", json: bool = False
) -> None:
    """Change the instance to what the settings say."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.rds.apply import applying

    found = settings_of_aws(c, target)
    plan = applying.apply(found, aws(found), Clock(), now=now, dry_run=dry_run, confirm=confirm)
    if json:
        console.as_json(plan)
