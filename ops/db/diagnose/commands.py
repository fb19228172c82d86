"""Postgres, examined: what is wrong with a database, and what mends it."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import TARGET, settings, task


@task(
    help={
        "target": TARGET,
        "fail-on": "end with exit code 4 where a line is red, or red or yellow (default: whatever is found is no failure)",
        "prove": "try the indexes that are advised for your queries on a copy of the target's shape (default: no)",
    },
    answer="ops.db.diagnose.report.Diagnosis",
)
def diagnose(c: Context, target: str = "", fail_on: str = "", prove: bool = False, json: bool = False) -> None:
    """Show what is wrong with a database, and the mend."""
    from ops.db.diagnose import report

    report.show(settings(c, target), target, fail_on=fail_on, prove=prove, json=json)
