"""Python compiled beforehand: where Lambda finds none it compiles at each cold start, and can keep nothing.

A compiled file goes by the version of Python alone, not by processor or system, so any interpreter of the
runtime's version will do. Another magic number than the runtime's does no harm: the sources are beside it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from ops import process

AT = "/opt/python"
"""Where the files will lie, as tracebacks tell it."""
SLOWER = 1.7
"""How many times as long the import takes where nothing is compiled; measured by `inv bench --only cold`."""
# Unchecked (PEP 552): in a zip file there is no time of change to go by. What another version's syntax is for is left
COMPILE = """
import importlib.util, py_compile, sys
from pathlib import Path
site, at = Path(sys.argv[1]), sys.argv[2]
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
for name in sorted(path.relative_to(site).as_posix() for path in site.rglob("*.py")):
    py_compile.compile(str(site / name), dfile=f"{at}/{name}", optimize=0, invalidation_mode=unchecked, quiet=2)
"""
SETTINGS = {
    "PYTHONHASHSEED": "0",  # before 3.11, what is compiled goes by it
    "PYTHONHOME": "",
    "PYTHONPATH": "",
    "PYTHONPYCACHEPREFIX": "",
    "PYTHONWARNINGS": "",
}
TIMEOUT = 120.0


def compiled(site: Path, interpreter: Path | None) -> dict[str, bytes]:
    """Compile a folder of packages, and return the files by their names; none where there is no interpreter for it.

    The same sources give the same bytes with the same interpreter; another release of its version may differ.
    """
    if interpreter is None:
        return {}
    argv = [str(interpreter), "-S", "-s", "-c", COMPILE, str(site), AT]
    try:
        done = process.run(argv, SETTINGS, timeout=TIMEOUT, cwd=site)
    except subprocess.TimeoutExpired:
        return {}
    if done.returncode:
        return {}
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("__pycache__/*.pyc")}
