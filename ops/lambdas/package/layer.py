"""The layer: psycopg for the Python and the processor of Lambda, from wheels, on any machine.

uv resolves for another Python and platform than its own: markers as well as
platform tags, where pip reads the markers of the Python it runs in. No
compiler, no Docker, and not that Python either.
"""

from __future__ import annotations

import re
from pathlib import Path

from ops import own_files
from ops.errors import Problem
from ops.lambdas.package import bytecode, elf, function_code, interpreters, layer_cache, runtimes, sbom, uv
from ops.lambdas.package.archive import Artifact, write

SITE = "python"
"""Where Lambda looks for a layer's packages; python/lib/python3.X/site-packages would do, too."""
INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
"""Files of a .dist-info that tell of the installation and not of the package; the others are read at run time."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


def build(python: str, architecture: str, to: Path) -> Artifact:
    """Build layer-<python>-<architecture>.zip in the folder `to`, with the list of what is in it beside; the same pins give the same bytes.

    One that is there, and made of the same, is taken. It is compiled where this machine has that Python. Raises `Problem` where a
    pinned version has no wheel for it, or a library in a wheel is for another
    Python, processor or C library.
    """
    runtime, interpreter = runtimes.find(python, architecture), interpreters.find(python)
    path, mark = to / f"layer-{python}-{architecture}.zip", layer_cache.mark(runtime, interpreter)
    if found := layer_cache.find(path, mark):
        sbom.ensure(found)
        return found
    with own_files.temporary("inv-layer-") as site:
        wheels(runtime, site)
        check_pins(site, runtime)
        files = contents(site)
        for name, content in files.items():
            if fault := elf.fault(name, content, runtime):
                raise Problem(f"the wheels for {runtime.name} on {architecture} do not fit: {name} {fault}")
        made = packed(files, bytecode.compiled(site, interpreter), path)
    sbom.ensure(made)
    if made.compiled or interpreter is None:  # else the next one may be
        layer_cache.note(made, mark)
    return made


def build_here(to: Path) -> Artifact:
    """Build layer-here.zip for the Python and the machine that run this, which may be no Linux."""
    with own_files.temporary("inv-layer-") as site:
        uv.install(site, "-r", str(function_code.REQUIREMENTS), what="a layer for this machine")
        return packed(contents(site), bytecode.compiled(site, interpreters.running()), to / "layer-here.zip")


def wheels(runtime: runtimes.Runtime, site: Path) -> None:
    """Unpack the wheels of requirements.txt for a runtime."""
    target = ("--python-version", runtime.python, "--python-platform", runtime.platform)
    requirements = ("--only-binary", ":all:", "-r", str(function_code.REQUIREMENTS))
    uv.install(site, *target, *requirements, what=f"the layer for {runtime.name} on {runtime.architecture}")


def packed(files: dict[str, bytes], compiled: dict[str, bytes], path: Path) -> Artifact:
    """Write a layer's zip file, with all in the folder where Lambda looks."""
    placed = [{f"{SITE}/{name}": content for name, content in part.items()} for part in (files, compiled)]
    return write(placed[0], path, placed[1])


def check_pins(site: Path, runtime: runtimes.Runtime) -> None:
    """Raise `Problem` where a package came in that requirements.txt does not pin: it may be another one tomorrow."""
    lines = function_code.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = {normal(found[1]) for line in lines if (found := PIN.match(line.strip()))}
    for info in sorted(site.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        if normal(name) not in pins:
            raise Problem(
                f"{runtime.name} needs {name}, too: add {name}=={version} to {function_code.REQUIREMENTS.name}"
            )


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
