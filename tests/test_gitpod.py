"""The start commands of .gitpod.yml and devcontainer.json, taken from there and run in a clean clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import forked
from tests.fix_cli import SUITE, copy_suite, lines_of


def commands(root: Path) -> dict[str, tuple[str, str]]:
    """Return what each file runs when a workspace is made, and at every start."""
    [gitpod] = yaml.safe_load((root / ".gitpod.yml").read_text(encoding="utf-8"))["tasks"]
    container = json.loads((root / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    return {
        "gitpod": (gitpod["init"], gitpod["command"]),
        "devcontainer": (container["postCreateCommand"], container["postStartCommand"]),
    }


FILES = ("gitpod", "devcontainer")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = copy_suite(tmp_path / "clone")
    shutil.copy(SUITE / ".gitpod.yml", made)
    shutil.copytree(SUITE / ".devcontainer", made / ".devcontainer")
    return made


def start(root: Path, file: str, before: str = "", after: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a start command with bash, as the workspace does."""
    text, env = f"{before}\n{commands(root)[file][1]}\ncode=$?\n{after}\nexit $code", {**os.environ, **environ}
    return subprocess.run(
        ["bash", "-c", text],
        cwd=root,
        env={**env, "PATH": forked.path_of(text, env)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("file", FILES)
def test_a_new_workspace_is_made_by_the_readmes_first_command(root: Path, file: str) -> None:
    """Which the test of the documentation runs on an empty machine."""
    made = commands(root)[file][0]
    assert f"```sh\n{made}\n```" in (SUITE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES)
def test_without_a_login_it_is_one_line_and_the_start_goes_on(root: Path, file: str) -> None:
    done = start(root, file, AWS_DEFAULT_REGION="ca-central-1")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "no AWS login" in done.stderr
    assert len(lines_of(done.stderr)) == 1


@pytest.mark.parametrize("file", FILES)
def test_without_a_region_too(root: Path, file: str) -> None:
    done = start(root, file)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no AWS region" in done.stderr
    assert len(lines_of(done.stderr)) == 1


@pytest.mark.parametrize("file", FILES)
def test_without_a_network_it_is_one_line_and_the_start_goes_on(root: Path, file: str) -> None:
    """A proxy that nobody listens at stands for a network that is not there."""
    login = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "ca-central-1"}
    away = {"HTTPS_PROXY": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1", "NO_PROXY": "", "no_proxy": ""}
    done = start(root, file, **login, **away)
    assert (done.returncode, done.stdout) == (0, "")
    assert "rds.ca-central-1.amazonaws.com is not reached by the proxy 127.0.0.1:1 (HTTPS_PROXY)" in done.stderr
    assert len(lines_of(done.stderr)) == 1


def test_in_the_sandbox_the_rule_exists(root: Path) -> None:
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    inside = {"INVOKE_RDS_CA_URL": "https://127.0.0.1:1/none.pem"}
    try:
        for file, address in zip(FILES, ("8.8.4.4", "8.8.8.8"), strict=True):
            before = f'eval "$(inv sandbox.up)" && inv rds.create && export GITPOD_IP={address}'
            done = start(root, file, before, "inv rds.rules --json > rules", **inside)
            assert done.returncode == 0, done.stderr
            [rule] = json.loads((root / "rules").read_text(encoding="utf-8"))
            assert rule["address"] == f"{address}/32"
            assert rule["mine"]
    finally:
        start(root, "gitpod", "inv sandbox.down; exit")
