"""Files that have a size and take no room: a planner asks the file of a table for its pages, and reads none of them.

A page of zeros is a new one to Postgres, also where it checks checksums. A file of a relation ends at 1 GB, the next is called
as it with .1, .2 and so on (https://www.postgresql.org/docs/current/storage-file-layout.html).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from config import paths
from ops.errors import Problem

PROBE = 1 << 20
"""Bytes at which is seen whether a file takes room."""


def stretch(path: Path, size: int, segment: int) -> None:
    """Make the files of a relation as long as `size` bytes, and never shorter; those that are not there are made.

    Raises `Problem` where the file system would give them room.
    """
    for number in range(-(-size // segment)):
        wanted = min(segment, size - number * segment)
        flags = os.O_RDWR | (os.O_CREAT if number else 0)
        fd = paths.opened(path.with_name(f"{path.name}.{number}") if number else path, flags)
        try:
            if os.fstat(fd).st_size < wanted:
                lengthen(fd, wanted, path.parent)
        finally:
            os.close(fd)


def lengthen(fd: int, size: int, folder: Path) -> None:
    """Make an open file longer, once it is seen that this takes no room."""
    before = os.fstat(fd)
    if size - before.st_size > PROBE and not before.st_size:
        os.ftruncate(fd, PROBE)
        if os.fstat(fd).st_blocks * 512 >= PROBE:
            os.ftruncate(fd, 0)
            raise Problem(
                f"the file system of {folder} gives every file its whole room: put the repository on another one (ext4, XFS, Btrfs, APFS)"
            )
    os.ftruncate(fd, size)


def first_page(path: Path, size: int) -> bytes:
    """Return the first bytes of a file."""
    fd = paths.opened(path, os.O_RDONLY)
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def put(path: Path, pages: Sequence[bytes]) -> None:
    """Write the first pages of a file."""
    fd = paths.opened(path, os.O_RDWR)
    try:
        whole = b"".join(pages)
        if os.pwrite(fd, whole, 0) != len(whole):
            raise Problem(f"{path} could not be written: free some room on the disk, then run this again")
    finally:
        os.close(fd)
