"""When the instance runs."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_instance, task


@task(
    help={
        "target": OF_AWS,
        "stop": "when it is stopped, like 20:00 (default: not)",
        "start": "when it is started, like 08:00 (default: not)",
        "days": "on which days, like mon-fri or mon,wed,sat (default: mon-fri)",
        "zone": "the time zone, like Europe/Berlin (default: UTC)",
        "delete": "take both schedules away (default: no)",
        "dry-run": "print what AWS would be asked, and ask nothing that changes it (default: no)",
    },
    answer="ops.rds.schedule.schedule.Scheduled",
)
def schedule(
    c: Context,
    target: str = "",
    stop: str = "",
    start: str = "",
    days: str = "mon-fri",
    zone: str = "UTC",
    delete: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Stop and start the instance by the clock."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.rds.schedule import schedule, times

    found = settings_of_instance(c, target, "schedule")
    wanted = None if delete else times.read(stop, start, days, zone)
    if wanted is None:
        done = schedule.delete(found, aws(found), dry_run=dry_run)
    else:
        done = schedule.put(found, aws(found), Clock(), wanted, dry_run=dry_run)
    if json:
        console.as_json(done)
    elif dry_run:
        console.as_json(done.requests)
    else:
        console.result(schedule.told(done))
