"""A database for each git branch."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import TARGET, settings, task

FORCE = "end sessions that are at work, too, and remove what is bound to the database (default: no)"


@task(
    help={
        "target": f"{TARGET}; only local has databases of branches",
        "branch": "the git branch; made from the current database (default: the one that is checked out, made from the one it was begun from)",
        "delete": "remove its database, and what is kept beside it, for good (default: no)",
        "prune": "remove those whose git branch is gone, if this clone has made them (default: no)",
        "force": FORCE,
        "dry-run": "with --delete or --prune: say what would be removed (default: no)",
    },
    may_be_left_out="branch",
)
def branch(
    c: Context,
    branch: str | None = None,
    target: str = "",
    delete: bool = False,
    prune: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Give a git branch a database of its own."""
    from ops.db.branches import branches

    name = branch or ""
    branches.check_options(name, delete=delete, prune=prune, dry_run=dry_run)
    if delete:
        branches.delete(settings(c, target), target, name, force=force, dry_run=dry_run)
    elif prune:
        branches.prune(settings(c, target), target, force=force, dry_run=dry_run)
    else:
        branches.branch(settings(c, target), target, name, force=force)


@task(
    help={"target": f"{TARGET}; only local has databases of branches"}, answer="list[ops.db.branches.branches.Branch]"
)
def branches(c: Context, target: str = "", json: bool = False) -> None:
    """List the databases of git branches."""
    from ops import console
    from ops.db.branches import branches as all_branches

    rows = all_branches.listed(settings(c, target), target)
    if json:
        console.as_json(rows)
    else:
        console.table(
            all_branches.COLUMNS, [all_branches.as_row(row) for row in rows], lambda row: "is gone" in row["note"]
        )
