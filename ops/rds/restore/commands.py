"""RDS: back to an earlier state, beside the instance first."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_aws, task


@task(
    help={
        "target": OF_AWS,
        "snapshot": "the snapshot to restore (default: none; inv rds.snapshots lists them)",
        "at": "the moment to go back to, like 2026-11-20T14:05Z (default: none)",
        "as_": "the name of the new instance (default: the instance's, with -restored)",
        "swap": "then exchange the names: the old one stays as ...-prev (default: no)",
        "dry-run": "print the request as JSON, and send nothing (default: no)",
        "confirm": "the instance's identifier, for a swap: it stands for typing it (default: ask)",
    },
    answer="ops.rds.restore.making.Restored",
)
def restore(
    c: Context,
    target: str = "",
    snapshot: str = "",
    at: str = "",
    as_: str = "",
    swap: bool = False,
    dry_run: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Restore the instance beside itself, or go on with that."""
    from functools import partial

    from ops import console
    from ops.cloud.clock import Clock
    from ops.lambdas.following import follow
    from ops.rds.restore import restoring, source, swapping

    wanted = source.read(snapshot, at)
    found = settings_of_aws(c, target, may_make_env_file=swap)
    cloud = aws(found)
    follows = partial(follow, found, cloud)
    done = (
        swapping.plan(found, cloud, wanted, as_, swap=swap)
        if dry_run
        else restoring.restore(found, cloud, Clock(), wanted, as_, swap=swap, confirm=confirm, follow=follows)
    )
    if json:
        console.as_json(done)
    elif dry_run:
        console.as_json(done.request)
    else:
        console.result(done.endpoint or "")


@task(
    help={
        "target": OF_AWS,
        "dry-run": "say which instances would be renamed, and rename none (default: no)",
        "confirm": "the instance's identifier, which stands for typing it (default: ask)",
    }
)
def undo(c: Context, target: str = "", dry_run: bool = False, confirm: str = "") -> None:
    """Go back to the instance from before a swap."""
    from functools import partial

    from ops.cloud.clock import Clock
    from ops.console import say
    from ops.lambdas.following import follow
    from ops.rds.restore import swapping

    found = settings_of_aws(c, target, may_make_env_file=not dry_run)
    cloud = aws(found)
    say(swapping.undo(found, cloud, Clock(), confirm, dry_run=dry_run, follow=partial(follow, found, cloud)))


@task(
    help={
        "target": OF_AWS,
        "prune": "remove old ones of ours, as the settings rds.keep_snapshots and rds.keep_snapshot_days say (default: no)",
        "dry-run": "with --prune: say which, and remove none (default: no)",
        "confirm": "the instance's identifier, for --prune: it stands for typing it (default: ask)",
    },
    answer="list[ops.rds.restore.snapshots.Listed]",
)
def snapshots(
    c: Context, target: str = "", prune: bool = False, dry_run: bool = False, confirm: str = "", json: bool = False
) -> None:
    """List the snapshots of the instance; prune old ones."""
    from ops import console
    from ops.rds.restore import snapshots

    found = settings_of_aws(c, target)
    listed = (
        snapshots.prune(found, aws(found), dry_run=dry_run, confirm=confirm)
        if prune
        else snapshots.find(found, aws(found))
    )
    if json:
        console.as_json(listed)
    else:
        console.table(
            ("snapshot", "age", "size", "kind", "status", "prune"), [snapshots.table_row(one) for one in listed]
        )
