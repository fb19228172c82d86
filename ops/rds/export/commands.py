"""The way out."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_instance, task


@task(
    help={
        "target": OF_AWS,
        "file": "the folder to write main.tf into, made if it is not there (default: print it)",
        "overwrite": "replace a main.tf that this task has written (default: no)",
    },
    answer="ops.rds.export.exporting.Exported",
)
def export(c: Context, target: str = "", file: str = "", overwrite: bool = False, json: bool = False) -> None:
    """Write all of it as a configuration of Terraform."""
    from ops import console
    from ops.db.copies import beside
    from ops.rds.export import exporting

    found = settings_of_instance(c, target, "export")
    done = exporting.export(found, aws(found), file, beside.open_beside, overwrite=overwrite)
    if json:
        console.as_json(done)
    else:
        console.result(exporting.told(done) if file else done.configuration)
