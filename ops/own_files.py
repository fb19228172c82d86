"""What we write and remove is ours: opened without following links, and removed by name.

The server's data belongs to the user that runs it, and a repository to whoever cloned it: a link
planted there must not lead root to another file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from config.paths import ABANDONED, Foreign, hand_over, opened, own_folder
from ops.console import say
from ops.errors import Problem

TRIES, PAUSE = 40, 0.05
"""To remove a folder that is still written to, and seconds between two."""


def content(path: Path) -> bytes:
    """Return what is in a file of ours; raises OSError, and `Foreign` for a link and for what is not ours."""
    with open(opened(path, os.O_RDONLY), "rb") as file:
        return file.read()


def read(path: Path, shape: Any, advice: str, *, shared: bool = False) -> Any:
    """Return the JSON in a file of ours, or None where there is no such file.

    `shape` is what it must look like: a type or several, a function that tells, a list with the shape of its items, or a mapping with those of
    its keys (one that ends in ? may be left out). Raises `Problem` with the `advice` for anything else, for a link and what is no
    file, which is neither followed nor waited for, and for a file that others may write to, unless it is `shared`, as what git holds is.
    """
    try:
        with open(path if shared else opened(path, os.O_RDONLY), encoding="utf-8") as file:
            if not shared:
                check_closed(path, file.fileno())
            found = json.load(file)
    except FileNotFoundError:
        return None
    except Foreign:
        raise Problem(f"{path}: it is a link, or no file of ours: {advice}") from None
    except PermissionError:
        raise Problem(f"{path} belongs to another user: run inv as that user") from None
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}: {advice}") from None
    except (ValueError, RecursionError):
        raise Problem(f"{path} is damaged: {advice}") from None
    if not is_shaped(found, shape):
        raise Problem(f"{path} is damaged: {advice}")
    return found


def check_closed(path: Path, fd: int) -> None:
    """Close an open file of ours to others, who may have come to read it; raises `Problem` where they could have written to it.

    A file system without modes shows the same for each file and folder: there they tell nothing.
    """
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode & 0o022 & ~path.parent.stat().st_mode:
        raise Problem(f"{path} may be written by others: see what is in it, then chmod 600 it, or remove it")
    if mode & 0o077:
        with contextlib.suppress(OSError):  # another user's
            os.fchmod(fd, 0o600)


def is_shaped(content: Any, shape: Any) -> bool:
    """Whether a JSON value has a shape, as `read` describes it."""
    if isinstance(shape, list):
        return isinstance(content, list) and all(is_shaped(item, shape[0]) for item in content)
    if isinstance(shape, dict):
        return isinstance(content, dict) and all(
            is_shaped(content[key.rstrip("?")], each) if key.rstrip("?") in content else key.endswith("?")
            for key, each in shape.items()
        )
    if not isinstance(shape, type | tuple):
        return bool(shape(content))
    return isinstance(content, shape) and not (isinstance(content, bool) and shape is int)


def port(found: Any) -> bool:
    """Whether a JSON value is the number of a port."""
    return is_shaped(found, int) and 0 < found < 65536


def pid(found: Any) -> bool:
    """Whether a JSON value is the number of a process that may be ended: none of those that stand for all of a group or of a user (kill(2))."""
    return is_shaped(found, int) and 1 < found < 2**31


def log(path: Path) -> int:
    """Open a log to be appended to: readable by its owner alone, for statements and their values stand in it."""
    fd = opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.fchmod(fd, 0o600)
    hand_over(fd, path.parent)
    return fd


def remove(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Remove the entries of a folder that have one of these names; return the names of the others.

    By descriptor from the folder down: whoever puts a link or another folder in a
    place on the way loses that, and nothing behind it.
    """
    fd = os.open(own_folder(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        others = []
        for name in sorted(os.listdir(fd)):  # noqa: PTH208 (by descriptor)
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                unlink(name, fd)
            else:
                others.append(name)
        return others
    finally:
        os.close(fd)


@contextlib.contextmanager
def temporary(kind: str) -> Iterator[Path]:
    """Yield a folder for temporary files, for its owner only, which goes with the block; those that killed runs have left go first.

    Its name begins with `kind`, which must be nobody else's, and it is locked as long as it is used.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{kind}*"):
        with contextlib.suppress(OSError):  # another run has just removed it, or it is another user's
            remove_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=kind))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody else knows of it
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove a temporary folder of ours that no run has locked any more; one that is new may only be about to be."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(lock)
        if found.st_uid == os.geteuid() and time.time() - found.st_mtime > ABANDONED:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    finally:
        os.close(lock)


def name_foreign(left: Sequence[Path]) -> None:
    """Say what a removal has left alone."""
    for path in left:
        say(f"{path} is not of its making and stays: remove it yourself if nobody wants it")


def unlink(name: str, folder: int) -> None:
    """Remove an entry of an open folder, with all that is in it.

    A program that a killed run has started may still write there, or remove it, too: initdb does both.
    """
    for left in reversed(range(TRIES)):
        try:
            unlink_once(name, folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not left:
                raise
            time.sleep(PAUSE)
        else:
            return


def unlink_once(name: str, folder: int) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=folder)
        return
    try:
        for each in os.listdir(fd):  # noqa: PTH208
            unlink(each, fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder)
