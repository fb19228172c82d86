"""Another version of PostgreSQL for the instance."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_aws, task


@task(
    help={
        "target": OF_AWS,
        "to": "a major version, or an exact one like 18.4 (default: the setting rds.engine_version)",
        "confirm": "the instance's identifier, which stands for typing it (default: ask)",
        "parameter-group": "one of the new version, where the instance has one of yours (default: AWS's own)",
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
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Upgrade PostgreSQL after a snapshot, and wait for it."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.db import new_version
    from ops.rds.upgrade import upgrade

    found = settings_of_aws(c, target)
    done = upgrade.upgrade(
        found,
        aws(found),
        Clock(),
        to=to or found.rds.engine_version,
        group=parameter_group,
        confirm=confirm,
        dry_run=dry_run,
        catalog_of=lambda major: new_version.catalog(found, major),
    )
    if json:
        console.as_json(done)
    else:
        console.result(upgrade.told(done))
    upgrade.check_clear(done)
