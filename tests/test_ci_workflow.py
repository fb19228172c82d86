"""docs/ci-workflow.yml: its steps, run here as GitHub runs them, with a `gh` that only writes down what it is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fix_cli import SUITE
from tests.fix_suppliers import Database

GH = """\
#!/bin/bash
printf '%s\\n' "$*" >> "$RUNNER_TEMP/asked"
for word in "$@"; do case "$word" in body=@*) cp "${word#body=@}" "$RUNNER_TEMP/body";; esac; done
if [ "$1" = pr ]; then cp "$5" "$RUNNER_TEMP/body"; fi
case "$*" in *--jq*) cat "$RUNNER_TEMP/comments" 2>/dev/null || true;; esac
"""
FINE = "-- migrate:up\nalter table users add column bio text;\n-- migrate:down\nalter table users drop column bio;\n"
BREAKS = (
    "-- migrate:up\nalter table users drop column handle;\n-- migrate:down\nalter table users add column handle text;\n"
)


ALLOWED = BREAKS.replace("migrate:up", "migrate:up allow:ban-drop-column -- in the test", 1)


@dataclass
class Runner:
    """Runs the steps of the workflow in a checkout."""

    root: Path
    temporary: Path
    context: Mapping[str, str]
    installed: bool = False

    def __call__(self) -> tuple[int, str]:
        """Return the code of the job, and its summary."""
        workflow: Any = yaml.safe_load((SUITE / "docs" / "ci-workflow.yml").read_text(encoding="utf-8"))
        [job] = workflow["jobs"].values()
        outputs: dict[str, str] = {}
        summary = self.temporary / "summary"
        summary.write_text("")
        code = 0
        for step in job["steps"]:
            if "run" not in step or code or (step["name"] == "Install" and self.installed):
                continue
            self.installed = True
            output = self.temporary / "output"
            output.write_text("")
            given = {**job["env"], **step.get("env", {})}
            done = subprocess.run(
                ["bash", "-e", "-c", step["run"]],
                cwd=self.root,
                env={
                    **os.environ,
                    "PATH": f"{self.temporary}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "RUNNER_TEMP": str(self.temporary),
                    "GITHUB_OUTPUT": str(output),
                    "GITHUB_STEP_SUMMARY": str(summary),
                    "GITHUB_REPOSITORY": "we/ours",
                    **{name: self.filled(text, outputs) for name, text in given.items()},
                },
                capture_output=True,
                text=True,
                check=False,
            )
            if step.get("id"):
                lines = output.read_text().splitlines()
                outputs |= {f"steps.{step['id']}.outputs.{k}": v for k, _, v in (line.partition("=") for line in lines)}
            if done.returncode and not step.get("continue-on-error"):
                code = done.returncode
        return code, summary.read_text(encoding="utf-8")

    def filled(self, text: str, outputs: Mapping[str, str]) -> str:
        return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: {**self.context, **outputs}[found[1]], text)

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout

    def commit(self, name: str, text: str) -> None:
        path = self.root / "sql" / "migrations" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-qm", name)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_example_workflow_lints_rehearses_comments_and_judges(clone: Path, tmp_path: Path, one: Database) -> None:
    temporary = tmp_path / "runner"
    temporary.mkdir()
    (temporary / "gh").write_text(GH)
    (temporary / "gh").chmod(0o755)
    runner = Runner(clone, temporary, {})
    runner.git("init", "-q")
    (clone / ".gitignore").write_text(".local/\n__pycache__/\nreport.md\n")
    runner.commit("20260101000000_before.sql", BREAKS)
    context = {
        "github.event.pull_request.base.sha": runner.git("rev-parse", "HEAD").strip(),
        "github.event.pull_request.number": "7",
        "github.token": "t",
        "secrets.LINT_CONNECTION_URL": "",
    }
    runner.context = context
    assert runner() == (0, "")  # nothing of the folder has changed
    assert not (temporary / "asked").exists()
    runner.commit("20260101000001_fine é.sql", FINE)
    code, summary = runner()
    assert (code, summary.splitlines()[:3]) == (0, ["<!-- inv db.migration-lint -->", "### Migrations", ""])
    assert "1 migration for PostgreSQL 18: 0 errors, 0 warnings" in summary
    assert (temporary / "asked").read_text().splitlines()[1] == "pr comment 7 --body-file report.md"
    one.do(f'create database "{one.name}"', "postgres")
    one.do("create table users (handle text); insert into users values ('CANARY')")
    one.do("create table schema_migrations (version varchar primary key)")
    one.do("insert into schema_migrations values ('20260101000000')")
    runner.context = {**context, "secrets.LINT_CONNECTION_URL": one.url}
    code, summary = runner()
    assert code == 0
    assert summary.index("### Migrations") < summary.index("## Rehearsal on local")
    assert "### 20260101000001_fine é" in summary
    assert "1 pending, tried on PostgreSQL 18" in summary
    assert "CANARY" not in summary
    assert (temporary / "body").read_text(encoding="utf-8") == summary
    assert one.scalar("select count(*) from schema_migrations") == 1, "nothing is written there"
    runner.context = context
    (temporary / "comments").write_text("41\n")
    runner.commit("20260101000002_breaks.sql", BREAKS)
    code, summary = runner()
    assert code == 4
    assert "| **error** | `sql/migrations/20260101000002_breaks.sql:2` | ban-drop-column |" in summary
    assert "repos/we/ours/issues/comments/41 -F body=@report.md" in (temporary / "asked").read_text().splitlines()[-1]
    assert (temporary / "body").read_text(encoding="utf-8") == summary
    # what the text alone does not tell: a query of the release that runs would break
    (clone / "sql" / "queries" / "handles.sql").write_text("select handle from users")
    runner.commit("20260101000002_breaks.sql", ALLOWED)
    runner.context = {**context, "secrets.LINT_CONNECTION_URL": one.url}
    code, summary = runner()
    assert code == 4, "the lint lets it, the rehearsal does not"
    assert "0 errors" in summary
    assert "| `public.users` |" in summary
    assert "| sql/queries/handles.sql | breaks |" in summary
    runner.commit("20260101000003_wrong.sql", "drop table users;\n")
    assert runner() == (2, "")
