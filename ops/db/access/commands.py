"""Logins for people, each with an end."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import CONFIRM, TARGET, settings, task


@task(
    help={
        "target": TARGET,
        "name": "whose login it is: letters, digits, '.', '_' and '-'",
        "role": "a role of paths.roles, whose rights it has (default: reader)",
        "expires": "when it ends, from now: 30m, 8h, 5d (default: 8h)",
        "show-password": "print the URL with the password (default: write it into .local/access, for you alone)",
        "dry-run": "say what would be made (default: no)",
        "confirm": CONFIRM,
    },
    answer="ops.db.access.grant.Granted",
)
def grant_access(
    c: Context,
    name: str,
    role: str = "reader",
    expires: str = "8h",
    target: str = "",
    show_password: bool = False,
    dry_run: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Give a person a login of their own, which ends."""
    from ops.db.access import grant

    grant.grant(
        settings(c, target),
        target,
        name,
        role,
        expires,
        confirm,
        show_password=show_password,
        dry_run=dry_run,
        json=json,
    )


@task(
    help={
        "target": TARGET,
        "name": "whose login it is, as db.grant-access was given it",
        "dry-run": "say what would be removed (default: no)",
    }
)
def revoke_access(c: Context, name: str, target: str = "", dry_run: bool = False) -> None:
    """Take a person's login away, with its open sessions."""
    from ops.db.access import grant

    grant.revoke(settings(c, target), target, name, dry_run=dry_run)


@task(help={"target": TARGET}, answer="ops.db.access.standing.Access")
def access(c: Context, target: str = "", json: bool = False) -> None:
    """Show who may what, until when, and is connected."""
    from ops.db.access import standing

    standing.show(settings(c, target), target, json=json)
