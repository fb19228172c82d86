"""Zip files that are the same byte for byte on every machine, where nothing in them is compiled."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.paths import hand_over, make_folders, unfinished
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
    """Of the zip file, in hexadecimal."""
    sources: str
    """Of the zip file as it would be without what was compiled: the same on every machine, so it stands for the content."""
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

    @property
    def compiled(self) -> bool:
        """Whether there is more in it than the sources."""
        return self.sources != self.sha256

    def read(self) -> bytes:
        return self.path.read_bytes()


def write(files: Mapping[str, bytes], path: Path, compiled: Mapping[str, bytes] | None = None) -> Artifact:
    """Write files, by their names, as a zip file; raises `Problem` where Lambda would not take it.

    `compiled` goes in as well, and follows from the others.
    """
    everything = {**files, **(compiled or {})}
    unpacked = sum(len(content) for content in everything.values())
    content = packed(everything)
    if len(content) > UPLOAD or unpacked > UNPACKED:
        raise Problem(
            f"{path.name} has {len(content) / 2**20:.0f} MB, {unpacked / 2**20:.0f} MB unpacked: Lambda takes "
            f"{UPLOAD >> 20} and {UNPACKED >> 20}, leave packages out of requirements.txt"
        )
    make_folders(path.parent)
    with unfinished(path) as (fd, temporary):
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)  # a power cut must not leave it empty
            hand_over(fd, path.parent)
        os.replace(temporary, path)
    digest = hashlib.sha256(content).hexdigest()
    sources = hashlib.sha256(packed(files)).hexdigest() if compiled else digest
    return Artifact(path, digest, sources, len(content), unpacked, tuple(sorted(everything)))


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a zip file. Nothing is compressed: what zlib makes differs from one build of it to the next."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, also where this is Windows
            info.external_attr = MODE << 16
            archive.writestr(info, files[name])
    return memory.getvalue()
