"""Who is told when something goes wrong."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_instance, task


@task(
    help={
        "target": OF_AWS,
        "email": "an address that gets the alarms, once its link was clicked (default: none is added)",
        "delete": "take the alarms and who is told away (default: no)",
        "dry-run": "print what AWS would be asked, and ask nothing that changes it (default: no)",
    },
    answer="ops.rds.alarms.alarms.Changed",
)
def alarms(
    c: Context, target: str = "", email: str = "", delete: bool = False, dry_run: bool = False, json: bool = False
) -> None:
    """Have an e-mail sent when something runs out or fails."""
    from ops import console
    from ops.rds.alarms import alarms

    found = settings_of_instance(c, target, "alarms")
    if delete:
        done = alarms.delete(found, aws(found), dry_run=dry_run)
    else:
        done = alarms.put(found, aws(found), email, dry_run=dry_run)
    if json:
        console.as_json(done)
    elif dry_run:
        console.as_json(done.requests)
    else:
        console.result(alarms.told(done))
