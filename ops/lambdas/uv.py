"""uv, from this environment: it installs for another Python and platform than its own, and knows where Pythons are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ops import process
from ops.errors import Problem

SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROJECT": "1", "UV_COMPILE_BYTECODE": "0"}
"""What somebody's uv may be set to otherwise; indexes and proxies stay theirs."""
TIMEOUT = 300.0
"""Seconds for fetching the wheels."""
LOOK = 20.0
"""Seconds for finding a Python."""


def install(site: Path, *arguments: str, what: str, python: Path | None = None) -> None:
    """Run `uv pip install` into a folder, for the running Python unless told otherwise; raises `Problem`."""
    site.mkdir(parents=True, exist_ok=True)
    interpreter = str(python or sys.executable)
    argv = ["pip", "install", "--quiet", "--no-progress", "--color", "never", "--python", interpreter]
    argv += ["--target", str(site), "--link-mode", "copy", *arguments]
    try:
        done = run(argv, TIMEOUT, site)
    except subprocess.TimeoutExpired:
        raise Problem(f"{what} cannot be built: uv did not end within {TIMEOUT:g} s, check the network") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"uv ended with {done.returncode}"]
        raise Problem(f"{what} cannot be built", *said)


def python(version: str) -> str | None:
    """Return the interpreter of a version, such as 3.13, that uv has installed for this user."""
    argv = ["python", "find", "--system", "--managed-python", "--offline", "--color", "never", version]
    try:
        done = run(argv, LOOK)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def run(argv: Sequence[str], timeout: float, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the uv of the package in this environment to its end."""
    from uv import find_uv_bin

    return process.run([str(find_uv_bin()), *argv], SETTINGS, timeout=timeout, cwd=cwd)
