"""Which Pythons this machine has, and whether it could be Lambda's."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from ops import process
from ops.lambdas.package import uv
from ops.lambdas.package.runtimes import ARCHITECTURES

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION = "import sys; print('%d.%d' % sys.version_info[:2] if sys.implementation.name == 'cpython' else 'another')"


def find(python: str) -> Path | None:
    """Return the interpreter of a version, such as 3.13: the running one, or one on the PATH, of pyenv or of uv."""
    if python == RUNNING:
        return running()
    name = f"python{python}"
    found = shutil.which(name)
    if found and Path(found).parent.name == "shims":  # pyenv's answer only where that version was chosen
        versions = sorted(Path(found).parent.parent.glob(f"versions/{python}.*/bin/{name}"))
        found = str(versions[-1]) if versions else None
    if not (found and version(found) == python):
        found = uv.python(python)
    return Path(found) if found and version(found) == python else None


def running() -> Path:
    """Return the interpreter that runs the suite."""
    return Path(sys.executable)


def version(interpreter: str) -> str:
    """Return which Python an interpreter is, empty where it does not run."""
    try:
        return process.run([interpreter, "-S", "-c", VERSION], {}, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def fits(architecture: str) -> bool:
    """Whether libraries made for Lambda run here: Linux with glibc on that processor."""
    linux = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
    return linux and platform.machine() == ARCHITECTURES[architecture]
