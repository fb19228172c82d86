"""The workspace: doctor, and the checks that CI runs."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import settings, task


@task(answer="list[ops.workspace.doctor.Check]")
def doctor(c: Context, json: bool = False) -> None:
    """Check this machine: a line for each fact, and the remedy."""
    from ops.workspace import doctor

    doctor.report(settings(c), json=json)


@task(
    help={
        "only": "run tests whose name matches this expression, as pytest -k does (default: all)",
        "coverage": "measure coverage and hold it to the floor (default: no)",
    }
)
def test(c: Context, only: str = "", coverage: bool = False) -> None:
    """Run every test that this machine can run."""
    from ops.workspace import checks

    checks.test(settings(c), only, coverage=coverage)


@task(help={"fix": "let ruff repair what it can, and write generated pages anew (default: no)"})
def lint(c: Context, fix: bool = False) -> None:
    """Check style, types and import rules, and generated pages."""
    from ops.workspace import checks

    checks.lint(settings(c), fix=fix)


@task(
    help={
        "only": "name of a comparison (repeatable; default: all)",
        "runs": "counted runs of each side (default: 10)",
        "tiny": "small files and no run to warm up: only whether each still works (default: no)",
        "write": "write the figures into docs/performance.md (default: no)",
    },
    iterable=["only"],
    answer="bench.measure.Figures",
)
def bench(
    c: Context,
    only: list[str] | None = None,
    runs: str = "10",
    tiny: bool = False,
    write: bool = False,
    json: bool = False,
) -> None:
    """Measure the tasks beside what one would type instead."""
    from ops.workspace import checks

    checks.bench(settings(c), only or [], runs, tiny=tiny, write=write, json=json)
