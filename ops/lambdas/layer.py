"""The layer: psycopg for the Python and the processor of Lambda, from wheels, on any machine.

uv resolves for another Python and platform than its own: markers as well as
platform tags, where pip reads the markers of the Python it runs in. No
compiler, no Docker, and not that Python either.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ops import process
from ops.errors import Problem
from ops.lambdas import elf, package, runtimes
from ops.lambdas.archive import Artifact, write

SITE = "python"
"""Where Lambda looks for a layer's packages; python/lib/python3.X/site-packages would do, too."""
INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
"""Files of a .dist-info that tell of the installation and not of the package; the others are read at run time."""
SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROJECT": "1", "UV_COMPILE_BYTECODE": "0"}
"""What somebody's uv may be set to otherwise; indexes and proxies stay theirs."""
TIMEOUT = 300.0
"""Seconds for fetching the wheels."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


def build(python: str, architecture: str, to: Path) -> Artifact:
    """Build layer-<python>-<architecture>.zip in the folder `to`; the same pins give the same bytes.

    Raises `Problem` where a pinned version has no wheel for it, or a library in
    a wheel is for another Python, processor or C library.
    """
    runtime = runtimes.find(python, architecture)
    with tempfile.TemporaryDirectory(prefix="layer-") as folder:
        site = Path(folder)
        wheels(runtime, site)
        pinned(site, runtime)
        files = contents(site)
    for name, content in files.items():
        if fault := elf.fault(name, content, runtime):
            raise Problem(f"the wheels for {runtime.name} on {architecture} do not fit: {name} {fault}")
    return write(
        {f"{SITE}/{name}": content for name, content in files.items()}, to / f"layer-{python}-{architecture}.zip"
    )


def wheels(runtime: runtimes.Runtime, site: Path) -> None:
    """Unpack the wheels of requirements.txt for a runtime."""
    target = ("--python-version", runtime.python, "--python-platform", runtime.platform)
    requirements = ("--only-binary", ":all:", "-r", str(package.REQUIREMENTS))
    install(site, *target, *requirements, what=f"the layer for {runtime.name} on {runtime.architecture}")


def build_here(to: Path) -> Artifact:
    """Build layer-here.zip for the Python and the machine that run this, which may be no Linux."""
    with tempfile.TemporaryDirectory(prefix="layer-") as folder:
        site = Path(folder)
        install(site, "-r", str(package.REQUIREMENTS), what="a layer for this machine")
        files = contents(site)
    return write({f"{SITE}/{name}": content for name, content in files.items()}, to / "layer-here.zip")


def install(site: Path, *arguments: str, what: str, python: Path | None = None) -> None:
    """Run `uv pip install` into a folder, for the running Python unless told otherwise; raises `Problem`."""
    site.mkdir(parents=True, exist_ok=True)
    interpreter = str(python or sys.executable)
    argv = [uv(), "pip", "install", "--quiet", "--no-progress", "--color", "never", "--python", interpreter]
    argv += ["--target", str(site), "--link-mode", "copy", *arguments]
    try:
        done = process.run(argv, SETTINGS, timeout=TIMEOUT, cwd=site)
    except subprocess.TimeoutExpired:
        raise Problem(f"{what} cannot be built: uv did not end within {TIMEOUT:g} s, check the network") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"uv ended with {done.returncode}"]
        raise Problem(f"{what} cannot be built", *said)


def uv() -> str:
    """Return uv's program: that of the package in this environment."""
    from uv import find_uv_bin

    return str(find_uv_bin())


def pinned(site: Path, runtime: runtimes.Runtime) -> None:
    """Raise `Problem` where a package came in that requirements.txt does not pin: it may be another one tomorrow."""
    lines = package.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = {normal(found[1]) for line in lines if (found := PIN.match(line.strip()))}
    for info in sorted(site.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        if normal(name) not in pins:
            raise Problem(f"{runtime.name} needs {name}, too: add {name}=={version} to {package.REQUIREMENTS.name}")


def normal(name: str) -> str:
    """Return the name of a package as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def contents(site: Path) -> dict[str, bytes]:
    """Return what belongs into the layer: what is the same at each installation."""
    files = {}
    for path in site.rglob("*"):
        name = path.relative_to(site)
        told = name.parts[0].endswith(".dist-info") and len(name.parts) == 2 and name.name in INSTALLERS
        if not path.is_file() or told or "__pycache__" in name.parts or name.parts[0] in {"bin", ".lock"}:
            continue
        files[name.as_posix()] = path.read_bytes()
    return files
