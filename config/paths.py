"""Where things are, independent of the directory a task is started from."""

import os
import stat
import tempfile
from pathlib import Path

from ops.errors import Problem

SUITE = Path(__file__).resolve().parent.parent
"""The folder that holds the suite's own files: config/, ops/ and the others."""
MANIFEST = "adopted.json"
"""Its mark, where `inv adopt` has put it into a folder of somebody's repository."""
ROOT = SUITE.parent if (SUITE / MANIFEST).is_file() else SUITE
"""The folder that holds tasks.py: paths in invoke.yaml are relative to it."""
DEVELOPMENT = str((SUITE / "requirements-dev.txt").relative_to(ROOT))
"""What pip is given for the packages that the running tasks do without: those of the checks, and of AWS on this machine."""


def suite_of(root: Path) -> Path:
    """Return the folder of the suite's own files for the repository at `root`."""
    return SUITE if root == ROOT else root


def local_dir(root: Path) -> Path:
    """The folder for what the suite makes on this machine, made on first use.

    It ignores itself, so that a repository the suite is dropped into never
    commits what lies there, whatever its own .gitignore says.
    """
    path = own_folder(root / ".local")
    path.mkdir(exist_ok=True)
    try:
        marker = os.open(path / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return path
    with open(marker, "w", encoding="utf-8") as file:
        file.write("*\n")
    return path


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
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.")
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if lasting:
                os.fsync(fd)  # a power cut must not leave it empty
            hand_over(fd, path.parent)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def hand_over(fd: int, folder: Path) -> None:
    """As root, give an open file to the user who owns its folder, from whom it must not be taken."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
