"""A file or folder that is there whole or not at all: written beside its place under a name of ours, then renamed.

What a killed run has left is known by its name and by nobody holding it: the next run for the same place removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.paths import hand_over
from ops import console, own_files
from ops.errors import Misconfigured, Problem

KEEP, SWAP = 1, 2
"""RENAME_NOREPLACE and RENAME_EXCHANGE of renameat2(2)."""
HERE = -100
"""AT_FDCWD."""


@dataclass(frozen=True)
class Beside:
    """What is written in the place of another; it exists, empty and open to its owner only."""

    path: Path
    held: int
    """A descriptor that tells the next run that this one is being written: a program that writes it has to have it, too."""


@contextlib.contextmanager
def open_beside(place: Path, *, folder: bool, overwrite: bool) -> Iterator[Beside]:
    """Yield what becomes `place` when the block ends, and is removed when the block fails.

    Raises `Misconfigured` where something is there already and may not be written over.
    """
    check_place(place, folder=folder, overwrite=overwrite)
    real = place.resolve()
    sweep(real)
    path = real.with_name(f".{real.name}.inv-{secrets.token_hex(4)}")
    try:
        if folder:
            path.mkdir(mode=0o700)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise unwritable(place, error) from None
    held = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Beside(path, held)
        try:
            for each in [path, *path.rglob("*")]:
                give(each, real.parent)
            os.fsync(held)
            put(path, real, place, overwrite=overwrite)
        except OSError as error:
            raise unwritable(place, error) from None
    finally:
        os.close(held)
        remove(path)


def write(place: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file that others may read: with the modes of the one that it replaces, or those of any new file.

    Raises `Misconfigured` where something is there already and may not be written over, `Problem` where it cannot be written.
    """
    with open_beside(place, folder=False, overwrite=overwrite) as made:
        try:
            made.path.write_bytes(data)
            made.path.chmod(place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~umask())
        except OSError as error:
            raise unwritable(place, error) from None


def umask() -> int:
    """Return the bits that new files lack."""
    found = os.umask(0)
    os.umask(found)
    return found


def check_place(place: Path, *, folder: bool, overwrite: bool) -> None:
    """See that something may be written at a place; raises `Misconfigured`."""
    if not place.resolve().parent.is_dir():
        raise Misconfigured(f"{place}: there is no folder {place.parent}: make it, or give another name")
    if not os.path.lexists(place):
        return
    if place.is_dir() != folder or not (place.is_file() or place.is_dir()):
        kind = "a folder" if place.is_dir() else "no folder" if folder else "no regular file"
        raise Misconfigured(f"{place} is there already, and {kind}: give another name")
    if folder and any(place.iterdir()) and not (place / "toc.dat").is_file():
        raise Misconfigured(f"{place} is no dump, and is not written over: give another name")
    if not overwrite:
        again = console.option("overwrite", "add --overwrite, or ")
        raise Misconfigured(f"{place} is there already: {again}give another name")


def give(path: Path, folder: Path) -> None:
    """As root, give what was written to the user whose folder it lies in."""
    if os.geteuid() == 0:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            hand_over(fd, folder)
        finally:
            os.close(fd)


def put(path: Path, real: Path, place: Path, *, overwrite: bool) -> None:
    """Give what is whole its name, in one step, and see that this lasts; what had the name is at `path` then, or gone."""
    if overwrite and real.is_dir():
        if not renamed(path, real, SWAP):  # no such step here: for a moment nothing has the name
            old = real.rename(path.with_name(f"{path.name}-old"))
            path.rename(real)
            remove(old)
    elif overwrite:
        path.replace(real)
    elif not renamed(path, real, KEEP):
        if os.path.lexists(real):
            raise Misconfigured(f"{place} is there by now: give another name")
        path.rename(real)
    folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def put_new(temporary: Path, place: Path) -> bool:
    """Give a file that is whole its name, in one step, unless something has it already; whether it has it now."""
    try:
        if not renamed(temporary, place, KEEP):  # no such step here
            os.link(temporary, place)
            temporary.unlink()
    except FileExistsError:
        temporary.unlink()
        return False
    return True


def renamed(one: Path, other: Path, how: int) -> bool:
    """Rename by Linux's renameat2; False where system, file system or C library has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(HERE, os.fsencode(one), HERE, os.fsencode(other), how) == 0:
        return True
    if (number := ctypes.get_errno()) in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number))


def sweep(real: Path) -> None:
    """Remove what killed runs have left beside a place."""
    ours = re.compile(re.escape(f".{real.name}.inv-") + r"[0-9a-f]{8}(-old)?")
    for path in real.parent.iterdir():
        if not ours.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
                continue
            held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.name.endswith("-old") and not os.path.lexists(real):
                    path.rename(real)  # the run ended between two names
                else:
                    remove(path)
            finally:
                os.close(held)


def remove(path: Path) -> None:
    """Remove one of ours, if it is there."""
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            own_files.unlink(path.name, folder)
        finally:
            os.close(folder)


def unwritable(place: Path, error: OSError) -> Problem:
    """Return what a system's error means for what was to be written."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return full(place)
        case errno.EEXIST:
            return Misconfigured(f"{place} is there by now: give another name")
        case _:
            return Problem(f"{place} cannot be written: {error.strerror}")


def full(place: Path) -> Problem:
    return Problem(f"{place}: the disk is full: free some space there, then run this again; nothing was written")
