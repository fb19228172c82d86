"""Where things are, independent of the directory a task is started from."""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds tasks.py: paths in invoke.yaml are relative to it."""


def local_dir(root: Path) -> Path:
    """The folder for what the suite makes on this machine, made on first use.

    It ignores itself, so that a repository the suite is dropped into never
    commits what lies there, whatever its own .gitignore says.
    """
    path = root / ".local"
    if not path.is_dir():
        path.mkdir(exist_ok=True)
    marker = path / ".gitignore"
    if not marker.exists():
        marker.write_text("*\n", encoding="utf-8")
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, by a rename: it is the old one or the new one."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.")
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)  # a power cut must not leave it empty
        if os.geteuid() == 0:  # root must not take it from the user who owns the folder
            owner = path.parent.stat()
            os.chown(temporary, owner.st_uid, owner.st_gid)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
