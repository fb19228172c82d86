"""Who may do what: the declared roles."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import CONFIRM, TARGET, settings, task


@task(
    help={
        "target": TARGET,
        "dry-run": "list where the roles are not as declared, and change nothing (default: no)",
        "check": "the same, and exit with 4 where anything differs (default: no)",
        "strict": "also take away what nobody declared (default: it is named, and stays)",
        "confirm": CONFIRM,
    },
    answer="ops.db.roles.write.Roles",
)
def roles(
    c: Context,
    target: str = "",
    dry_run: bool = False,
    check: bool = False,
    strict: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Give each role what sql/roles.yaml says, and no more."""
    from ops.db.roles import write

    write.run(settings(c, target), target, confirm, dry_run=dry_run, check=check, strict=strict, json=json)
