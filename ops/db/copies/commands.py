"""Copies: dump, restore, pull, and what is kept of before."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import CONFIRM, TARGET, settings, task

FORCE = "end sessions that are at work, on production all, and leave behind what does not go along (default: no)"


@task(
    help={
        "target": TARGET,
        "file": "where to, by the name's end: .sql, .sql.gz, .dump, or a folder NAME/ (default: a .dump in .local/dumps)",
        "schema-only": "leave the rows out (default: no)",
        "data-only": "leave the schema out (default: no)",
        "table": "a table, with its partitions (repeatable; default: all)",
        "jobs": "how many tables are read at a time; more than one makes a folder (default: 1)",
        "overwrite": "write over a dump that is there (default: no)",
    },
    iterable=["table"],
    answer="ops.db.copies.dump.Dumped",
)
def dump(
    c: Context,
    target: str = "",
    file: str = "",
    schema_only: bool = False,
    data_only: bool = False,
    table: list[str] | None = None,
    jobs: str = "1",
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Dump the database into a file, whole or not at all."""
    from ops.db.copies import dump

    dump.show(
        settings(c, target),
        target,
        file,
        schema_only=schema_only,
        data_only=data_only,
        tables=table or (),
        jobs=jobs,
        overwrite=overwrite,
        json=json,
    )


@task(
    help={
        "target": TARGET,
        "file": "a dump of pg_dump or db.dump: plain SQL, with gzip or zstd, or an archive, a folder too",
        "table": "bring back this table alone, beside the live one as NAME__restored (default: the whole database)",
        "jobs": "sessions that load an archive at once (default: one for each processor, 4 at most)",
        "force": FORCE,
        "dry-run": "check the file against the server, say what would be done, and do nothing (default: no)",
        "confirm": CONFIRM,
    },
    answer="ops.db.copies.restore.Restored",
)
def restore(
    c: Context,
    file: str,
    target: str = "",
    table: str = "",
    jobs: str = "",
    force: bool = False,
    dry_run: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Build the database from a dump, then swap it in."""
    from ops.db.copies import restore

    restore.restore(settings(c, target), target, file, table, jobs, confirm, force=force, dry_run=dry_run, json=json)


@task(help={"target": TARGET}, answer="list[ops.db.copies.kept.Kept]")
def previous(c: Context, target: str = "", json: bool = False) -> None:
    """List what is kept of before: age and size."""
    from ops.db.copies import kept

    kept.show(settings(c, target), target, json=json)


@task(
    help={
        "target": TARGET,
        "force": "end sessions that are at work there, and lose what is bound to it (default: no)",
        "dry-run": "say what would be removed, and remove nothing (default: no)",
        "confirm": CONFIRM,
    }
)
def purge(c: Context, target: str = "", force: bool = False, dry_run: bool = False, confirm: str = "") -> None:
    """Remove what db.undo would bring back."""
    from ops.db.copies import kept

    kept.purge(settings(c, target), target, confirm, force=force, dry_run=dry_run)


@task(
    help={
        "target": TARGET,
        "from_": "the target that it is a copy of, which is only read (default: prod)",
        "rows": "which share of the rows, with all that their foreign keys need: 5% (default: all)",
        "where": "which rows of a table, TABLE=CONDITION (repeatable; default: all)",
        "plans": "bring no rows, but what the plans of its queries come from, into a database beside (default: no)",
        "propose": "write a first paths.masks, from names and types, where there is none (default: no)",
        "jobs": "how many tables are read at once, 1 to 16 (default: 2)",
        "force": "end sessions that are at work on the target's database (default: no)",
        "dry-run": "print what of each column would come along, and read no row (default: no)",
        "confirm": CONFIRM,
    },
    iterable=["where"],
    answer="ops.db.pull.pull.Pulled",
)
def pull(
    c: Context,
    target: str = "",
    from_: str = "prod",
    rows: str = "",
    where: list[str] | None = None,
    plans: bool = False,
    propose: bool = False,
    jobs: str = "2",
    force: bool = False,
    dry_run: bool = False,
    confirm: str = "",
    json: bool = False,
) -> None:
    """Copy production's rows, masked before they leave it."""
    from ops.db.pull import first_file, pull
    from ops.yaml_file import compose

    if propose:
        first_file.write(settings(c, target), from_)
        return
    if plans:
        from ops.db.plans import plans as all_plans

        all_plans.show(settings(c, target), compose, from_, target)
        return
    how = pull.How(rows, tuple(where or ()), jobs, confirm, force, dry_run)
    pull.show(settings(c, target), compose, from_, target, how, json=json)
