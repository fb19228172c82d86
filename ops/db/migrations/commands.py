"""Postgres, changed: migrations, drift, the rehearsal."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import CONFIRM, TARGET, VAR, settings, task, variables

ALLOW = "a rule that may be broken: one of db.migration-lint, or stall: on production, a table closed to all others for longer than migrate.stall (repeatable; default: none)"
END_IDLE = "end sessions in the way that are idle in a transaction, and no others (default: wait for them)"


@task(help={"name": "what it does, in a few words: add_bio"}, answer="ops.db.migrations.new.Made")
def migration_new(c: Context, name: str, json: bool = False) -> None:
    """Make the file of a new migration."""
    from ops import console
    from ops.db.migrations import new

    made = new.make(settings(c, ""), name)
    if json:
        console.as_json(made)
    else:
        console.result(made.file)


@task(
    help={
        "target": TARGET,
        "to": "the last migration to be applied, by its version or name (default: all)",
        "dry-run": "list what would be applied, and change nothing (default: no)",
        "out-of-order": "apply what stands before an applied one, too (default: if they share no object)",
        "accept-edited": "take files that were edited since for what was applied (default: no)",
        "write-schema": "write paths.schema anew, whoever made it (default: if it says that we made it)",
        "allow": ALLOW,
        "end-idle-transactions": END_IDLE,
        "confirm": CONFIRM,
    },
    iterable=["allow"],
    answer="list[ops.db.migrations.apply.Change]",
)
def migrate(
    c: Context,
    target: str = "",
    to: str = "",
    dry_run: bool = False,
    out_of_order: bool = False,
    accept_edited: bool = False,
    write_schema: bool = False,
    allow: list[str] | None = None,
    end_idle_transactions: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Apply the pending migrations, each whole or not at all."""
    from ops.db.migrations import apply

    care = apply.Care(allow or (), end_idle_transactions)
    how = {
        "dry_run": dry_run,
        "out_of_order": out_of_order,
        "accept_edited": accept_edited,
        "write_schema": write_schema,
    }
    apply.report(apply.migrate(settings(c, target), target, to, confirm, care, **how), json=json)


@task(
    help={
        "target": TARGET,
        "to": "the last migration to be kept, by its version or name, 0 for none (default: all but the last)",
        "dry-run": "list what would be taken back, and change nothing (default: no)",
        "allow": ALLOW,
        "end-idle-transactions": END_IDLE,
        "confirm": CONFIRM,
    },
    iterable=["allow"],
    answer="list[ops.db.migrations.apply.Change]",
)
def rollback(
    c: Context,
    target: str = "",
    to: str = "",
    dry_run: bool = False,
    allow: list[str] | None = None,
    end_idle_transactions: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Take back the last migration, or all behind one."""
    from ops.db.migrations import apply

    care = apply.Care(allow or (), end_idle_transactions)
    apply.report(apply.rollback(settings(c, target), target, to, confirm, care, dry_run=dry_run), json=json)


@task(
    help={"target": TARGET, "check": "exit with 4 unless all are applied as they are in the folder (default: no)"},
    answer="list[ops.db.migrations.standing.State]",
)
def migrations(c: Context, target: str = "", check: bool = False, json: bool = False) -> None:
    """List the migrations and the state of each."""
    from ops.db.migrations import listing

    listing.show(settings(c, target), target, check=check, json=json)


@task(
    help={
        "target": TARGET,
        "var": VAR,
        "sql": "print statements that would end the difference, either way (default: no)",
    },
    iterable=["var"],
    answer="ops.db.drift.report.Drift",
)
def drift(c: Context, target: str = "", var: list[str] | None = None, sql: bool = False, json: bool = False) -> None:
    """Show where the database is not what the repository says."""
    from ops.db.drift import report

    report.show(settings(c, target), target, variables(var), sql=sql, json=json)


@task(
    help={"target": TARGET, "with": "the target to hold it against (default: none, it has to be named)"},
    answer="ops.db.drift.targets.Between",
)
def compare(c: Context, target: str = "", with_: str = "", json: bool = False) -> None:
    """Show where two targets differ."""
    from ops.db.drift import targets

    targets.show(settings(c, target), target, with_, json=json)


@task(
    help={
        "target": TARGET,
        "file": "a migration to look at (repeatable; default: those that the target lacks)",
        "allow": "a rule that may be broken this once (repeatable; default: none)",
        "markdown": "print Markdown, as a comment on a pull request (default: no)",
    },
    iterable=["file", "allow"],
    answer="ops.db.migrations.lint.Lint",
)
def migration_lint(
    c: Context,
    target: str = "",
    file: list[str] | None = None,
    allow: list[str] | None = None,
    json: bool = False,
    markdown: bool = False,
) -> None:
    """Look for what would stall or break production."""
    from ops.db.migrations import lint_report

    lint_report.show(settings(c, target), target, file or (), allow or (), json=json, markdown=markdown)


@task(
    help={
        "target": "also record in this target's database what has run there (default: only files are written)",
        "folder": "the other tool's migrations, or a structure.sql of Rails",
        "dry-run": "say what would be done, and do nothing (default: no)",
        "ran": "this one has run on the target, whatever is recorded there (repeatable; default: none)",
        "pending": "this one has not (repeatable; default: none)",
        "end-idle-transactions": END_IDLE,
        "confirm": CONFIRM,
    },
    iterable=["ran", "pending"],
)
def migration_import(
    c: Context,
    folder: str,
    target: str = "",
    dry_run: bool = False,
    ran: list[str] | None = None,
    pending: list[str] | None = None,
    end_idle_transactions: bool = False,
    confirm: str = "",
) -> None:
    """Take over another tool's migrations, and their state."""
    from ops.db.migrations.importing import record

    said = record.Said(ran or (), pending or ())
    record.run(settings(c, target), folder, target, confirm, said, dry_run=dry_run, end_idle=end_idle_transactions)


@task(
    help={
        "target": TARGET,
        "rows": "which share of its rows is made up for it, 0% to 100% (default: 100%)",
        "max-gb": "the most gigabytes that they may come to (default: 1)",
        "markdown": "print Markdown, for a pull request (default: no)",
    },
    answer="ops.db.rehearsal.report.Rehearsal",
)
def rehearse(
    c: Context,
    target: str = "",
    rows: str = "100%",
    max_gb: str = "1",
    markdown: bool = False,
    json: bool = False,
) -> None:
    """Try the pending migrations on a stand-in for the target."""
    from ops.db.rehearsal import rehearse

    rehearse.show(settings(c, target), target, rows, max_gb, json=json, markdown=markdown)
