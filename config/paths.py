"""Where things are, independent of the directory a task is started from."""

import contextlib
import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ops.errors import Problem

SUITE = Path(__file__).resolve().parent.parent
"""The folder that holds the suite's own files: config/, ops/ and the others."""
MANIFEST = "adopted.json"
"""Its mark, where `inv adopt` has put it into a folder of somebody's repository."""
ROOT = SUITE.parent if (SUITE / MANIFEST).is_file() else SUITE
"""The folder that holds tasks.py: paths in invoke.yaml are relative to it."""
POLICIES = SUITE / "config" / "policies"
"""The rights in AWS that the tasks need, a file for each kind of them."""
DEVELOPMENT = str((SUITE / "requirements-dev.txt").relative_to(ROOT))
"""What pip is given for the packages that the running tasks do without: those of the checks, and of AWS on this machine."""

UNFINISHED = ".inv-new"
"""How the name of a file ends that is not whole yet: it is removed by its name, which so must be nobody else's."""
ABANDONED = 60.0
"""Seconds after which nobody is writing a file any more that takes milliseconds."""


def suite_of(root: Path) -> Path:
    """Return the folder of the suite's own files for the repository at `root`."""
    return SUITE if root == ROOT else root


def local_dir(root: Path) -> Path:
    """The folder for what the suite makes on this machine, made on first use.

    It ignores itself, so that a repository the suite is dropped into never
    commits what lies there, whatever its own .gitignore says.
    """
    path = own_folder(root / ".local")
    make(path, 0o777)
    close_to_others(path)
    marker = path / ".gitignore"
    with contextlib.suppress(FileNotFoundError):
        if marker.lstat().st_size:
            return path
    # renamed into its place: empty, as a killed run could leave it, it would ignore nothing for good
    write_private(marker, "*\n", lasting=False)
    return path


def make(path: Path, mode: int) -> None:
    """Make a folder where it is not there yet; as root, for the user whose folder it is in, who would be locked out of it else."""
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        hand_over(fd, path.parent)
    finally:
        os.close(fd)


def hand_over_whole(folder: Path) -> None:
    """As root, give a folder that is closed to others, and all in it, to the user whose folder it is in: itself last, when nobody else was in it."""
    if os.geteuid() == 0:
        owner = folder.parent.stat()
        for each in (*folder.rglob("*"), folder):
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)


def make_folders(path: Path) -> None:
    """Make a folder and those that it is to lie in, each as `make` does."""
    if not path.is_dir():
        make_folders(path.parent)
        make(path, 0o777)


def private_folder(path: Path) -> Path:
    """Return a folder of ours that is for its owner only, made on first use, and closed where it has come to be open."""
    make(own_folder(path), 0o700)
    if path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # another user's, or a file system without modes
            path.chmod(0o700)
    return path


def close_to_others(folder: Path) -> None:
    """Take from others the right to write in a folder of ours, who could put files of theirs in the place of ours.

    They may go through it: another user may run the embedded server, which lies in it.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        with contextlib.suppress(OSError):  # another user's, or a file system without modes
            folder.chmod(mode & ~0o022)


def own_folder(path: Path) -> Path:
    """Return where a folder of ours is or will be; raise `Problem` where something else has its place.

    Behind a link would be somebody else's folder, in which nothing is ours to write or remove.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # not there yet, or not to be reached, as whoever uses it will see
        return path
    if stat.S_ISLNK(mode):
        raise Problem(f"{path} is a link, and what it leads to is not ours to change: remove the link, then run again")
    if not stat.S_ISDIR(mode):
        raise Problem(f"{path} is no folder: move it away, then run again")
    return path


def write_private(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write a file that only its owner may read, by a rename: it is the old one or the new one.

    One that need not be `lasting`, since it can be made anew, is not waited for until it is on the disk.
    """
    with unfinished(path) as (fd, temporary):
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if lasting:
                os.fsync(fd)  # a power cut must not leave it empty
            hand_over(fd, path.parent)
        os.replace(temporary, path)


def placed(error: OSError, path: Path) -> OSError:
    """Return an error with the place that it is about, which that of writing itself does not name."""
    return error if error.filename else OSError(error.errno, error.strerror, str(path))


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[tuple[int, str]]:
    """Make a file that is to be renamed to `path`, for its owner only; yield its descriptor and path, and remove it where the block fails.

    What a run that was killed in between has left there is removed: by its name, and by nobody having written to it for a while.
    """
    kind = re.compile(re.escape(f"{path.stem}.") + r"[a-z0-9_]{8}" + re.escape(UNFINISHED))
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if kind.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):  # another user's, or somebody else has just removed it
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
                        Path(entry.path).unlink()
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=UNFINISHED)
    try:
        yield fd, temporary
    except BaseException as error:  # a Ctrl-C as well: there may be a secret in it
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise placed(error, path) from None
        raise


def hand_over(fd: int, folder: Path) -> None:
    """As root, give an open file to the user who owns its folder, from whom it must not be taken."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


class Foreign(Problem):
    """A link, or what is no file of ours, stands in the place of one."""


def opened(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a regular file in a folder of ours and return its descriptor; made with `mode` if `flags` say so, as root for the folder's user.

    Raises `Foreign` for a link of either kind, and for a file of another user than ours or the folder's.
    """
    folder = os.open(own_folder(path.parent), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(folder).st_uid
        fd = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise foreign(path) from None
        raise
    finally:
        os.close(folder)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid not in (os.geteuid(), owner):
        os.close(fd)
        raise foreign(path)
    if flags & os.O_CREAT and not found.st_size:  # it may be new
        hand_over(fd, path.parent)
    return fd


def foreign(path: Path) -> Foreign:
    return Foreign(f"{path} is a link or not ours: nothing was written to it; remove it, then run again")
