"""Zip files that are the same byte for byte on every machine."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import Problem

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can tell."""
MODE = 0o100644
UPLOAD = 50 * 1024 * 1024
"""Bytes that Lambda takes in one call; more would need a bucket."""
UNPACKED = 250 * 1024 * 1024
"""Bytes that a function and its layers may have together."""


@dataclass(frozen=True)
class Artifact:
    """A zip file that was built, for the function or the layer."""

    path: Path
    sha256: str
    """Of the zip file, in hexadecimal. The same on every machine, so that it stands for the content."""
    size: int
    """Bytes of the zip file."""
    unpacked: int
    """Bytes of what is in it."""
    names: tuple[str, ...]
    """The files in it, in order."""

    @property
    def code_sha256(self) -> str:
        """The digest as Lambda writes it: CodeSha256 of a function or a layer version."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()

    def read(self) -> bytes:
        return self.path.read_bytes()


def write(files: Mapping[str, bytes], path: Path) -> Artifact:
    """Write files, by their names, as a zip file; raises `Problem` where Lambda would not take it.

    Nothing is compressed: what zlib makes differs from one build of it to the
    next, and a digest that differs would mean a deployment.
    """
    unpacked = sum(len(content) for content in files.values())
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, also where this is Windows
            info.external_attr = MODE << 16
            archive.writestr(info, files[name])
    content = memory.getvalue()
    if len(content) > UPLOAD or unpacked > UNPACKED:
        raise Problem(
            f"{path.name} has {len(content) / 2**20:.0f} MB, {unpacked / 2**20:.0f} MB unpacked: Lambda takes "
            f"{UPLOAD >> 20} and {UNPACKED >> 20}, leave packages out of requirements.txt"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.")
    with open(fd, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
    return Artifact(path, hashlib.sha256(content).hexdigest(), len(content), unpacked, tuple(sorted(files)))
