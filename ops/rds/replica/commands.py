"""RDS: a replica of the instance, to read at."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_instance, task


@task(
    help={
        "target": OF_AWS,
        "delete": "take the replica away, and its variable (default: no)",
        "promote": "make it an instance of its own, which takes writes and follows no more (default: no)",
        "dry-run": "say what would be done, and write nothing (default: no)",
        "confirm": "the replica's identifier, or the instance's where its password changes hands: it stands for typing it (default: ask)",
    },
    answer="ops.rds.replica.making.Replica",
)
def replica(
    c: Context,
    target: str = "",
    delete: bool = False,
    promote: bool = False,
    dry_run: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Make a replica of the instance, to read at."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.rds.replica import ending, making

    found = settings_of_instance(c, target, "replica", may_make_env_file=not dry_run)
    act = ending.chosen(making.make, delete=delete, promote=promote)
    done = act(found, aws(found), Clock(), confirm=confirm, dry_run=dry_run)
    if json:
        console.as_json(done)
    elif done.request and dry_run:
        console.as_json(done.request)
    elif done.endpoint:
        console.result(done.endpoint)
