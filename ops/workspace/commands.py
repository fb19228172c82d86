"""The workspace: doctor, and the checks that CI runs."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from ops.cli import settings, task


@task(answer="list[ops.workspace.doctor.Check]")
def doctor(c: Context, json: bool = False) -> None:
    """Check this machine: a line for each fact, and the remedy."""
    from ops.workspace import doctor

    doctor.report(settings(c), json=json)


@task(
    help={
        "dir": "the top folder of the repository that is to have the suite",
        "schema": "its schema, relative to it (default: found by what the files hold)",
        "seed": "its seed (default: found likewise)",
        "overwrite": "replace files of the suite that were changed there (default: no)",
        "dry_run": "show what would be written, and write nothing (default: no)",
    }
)
def adopt(
    c: Context, dir: str, schema: str = "", seed: str = "", overwrite: bool = False, dry_run: bool = False
) -> None:
    """Put the suite into a repository, or update it there."""
    from invoke import util

    from ops.adopt import plan

    yaml: Any = util.yaml  # type: ignore[attr-defined] # what invoke itself reads its settings with

    def parse(data: bytes) -> Any:
        try:
            return yaml.safe_load(data)
        except yaml.YAMLError as error:
            raise ValueError(error) from None

    settings(c)
    plan.adopt(dir, schema, seed, parse, overwrite=overwrite, dry_run=dry_run)


@task(
    help={
        "only": "run tests whose name matches this expression, as pytest -k does (default: all)",
        "quick": "only what starts nothing, and what matters most on one real server: about a minute (default: no)",
        "changed": "only the test files that import or name what differs from the main branch (default: no)",
        "coverage": "measure coverage and hold it to the floor (default: no)",
        "mutants": "make each wrong change of tests/mutants, and see that its tests fail; --only picks by name (default: no)",
        "nightly": "for hours: what repeats the others, too, each wrong change by the quick tests, three soaks, the comparisons (default: no)",
    }
)
def test(
    c: Context,
    only: str = "",
    quick: bool = False,
    changed: bool = False,
    coverage: bool = False,
    nightly: bool = False,
    mutants: bool = False,
) -> None:
    """Run every test that this machine can run."""
    from ops.workspace import checks

    kind = {"quick": quick, "changed": changed, "coverage": coverage, "nightly": nightly, "mutants": mutants}
    checks.test(settings(c), only, **kind)


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


@task(
    help={
        "minutes": "how long it goes on; the round that is under way is ended (default: 10)",
        "seed": "the number by which all is chosen: what failed by it is played again (default: one at random)",
        "rounds": "so many rounds instead of so long (default: by --minutes)",
    }
)
def soak(c: Context, minutes: str = "10", seed: str = "", rounds: str = "") -> None:
    """Let four users work under random faults, and lose nothing."""
    from ops.workspace import checks

    checks.soak(settings(c), minutes, seed, rounds)
