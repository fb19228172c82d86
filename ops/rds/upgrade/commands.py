"""Another version of PostgreSQL for the instance."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_instance, task


@task(
    help={
        "target": OF_AWS,
        "to": "a major version, or an exact one like 18.4 (default: the setting rds.engine_version)",
        "confirm": "the instance's identifier, which stands for typing it (default: ask)",
        "parameter-group": "one of the new version, where the instance has one of yours (default: AWS's own)",
        "rehearse": "upgrade a copy that is restored beside, and remove it (default: no)",
        "blue-green": "by a copy that is kept up to date and switched over to (default: in place)",
        "dry-run": "look what is in the way, and write nothing (default: no)",
    },
    answer="ops.rds.upgrade.upgrade.Upgraded",
)
def upgrade(
    c: Context,
    target: str = "",
    to: str = "",
    confirm: str = "",
    parameter_group: str = "",
    rehearse: bool = False,
    blue_green: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Upgrade PostgreSQL after a snapshot, and wait for it."""
    from functools import partial

    from ops import console
    from ops.cloud.clock import Clock
    from ops.db import new_version
    from ops.errors import Misconfigured
    from ops.lambdas.following import follow
    from ops.rds.upgrade import blue_green as copied
    from ops.rds.upgrade import rehearsal, upgrade
    from ops.rds.upgrade.upgrade import Wanted

    found = settings_of_instance(c, target, "upgrade")
    wanted = Wanted(to or found.rds.engine_version, parameter_group, lambda major: new_version.catalog(found, major))
    if rehearse and blue_green:
        raise Misconfigured("--rehearse and --blue-green: one after the other")
    if rehearse:
        done = rehearsal.rehearse(found, aws(found), Clock(), wanted, dry_run=dry_run)
    elif blue_green:
        cloud = aws(found)
        follows = partial(follow, found, cloud)
        done = copied.lead(found, cloud, Clock(), wanted, confirm=confirm, dry_run=dry_run, follow=follows)
    else:
        done = upgrade.upgrade(found, aws(found), Clock(), wanted, confirm=confirm, dry_run=dry_run)
    if json:
        console.as_json(done)
    else:
        console.result(upgrade.told(done))
    upgrade.check_clear(done)
