"""What a compiled library was made for: its Python, its processor, its C library."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.lambdas.package.runtimes import Runtime

MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
LIBRARY = re.compile(r"\.(?:so|pyd|dll|dylib)(?:\.\d+)*$")
MODULE = re.compile(r"\.(?:cpython-(\d+[a-z]*)|abi3)(?:-[\w-]+)?\.so$")
"""The name of an extension module, with the Python that it is for."""


def fault(name: str, content: bytes, runtime: Runtime) -> str:
    """Return why a file cannot be loaded by a runtime; empty where it can, or is no library.

    A wrong one shows in Lambda only, as "No module named psycopg_binary._psycopg".
    """
    if not content.startswith(b"\x7fELF"):
        return "is no Linux library" if LIBRARY.search(name) else ""
    wanted = runtime.python.replace(".", "")
    if name.endswith(".so") and (tag := MODULE.search(name)) and tag[1] not in {None, wanted}:
        return f"is for Python {tag[1][0]}.{tag[1][1:]}"
    return header(content, runtime)


def header(content: bytes, runtime: Runtime) -> str:
    """Return what the ELF header of a library has against a runtime."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(content))
        machine = elf.header["e_machine"]
        if machine != MACHINES[runtime.machine] or elf.elfclass != 64:
            return f"is for the processor {str(machine).removeprefix('EM_').lower()}"
        needed = glibc(elf)
    except (ELFError, UnicodeDecodeError):
        return "is a broken library"
    if needed > runtime.glibc:
        return f"needs glibc {needed[0]}.{needed[1]}, and {runtime.name} has {runtime.glibc[0]}.{runtime.glibc[1]}"
    return ""


def glibc(elf: object) -> tuple[int, int]:
    """Return the newest version of the C library that a library needs symbols of; (0, 0) where none."""
    from elftools.elf.gnuversions import GNUVerNeedSection

    found = [(0, 0)]
    for section in elf.iter_sections():  # type: ignore[attr-defined]
        if isinstance(section, GNUVerNeedSection):
            names = (entry.name for _, entries in section.iter_versions() for entry in entries)
            found += [
                (int(v[1]), int(v[2])) for name in names if (v := re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", name))
            ]
    return max(found)
