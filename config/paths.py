"""Where things are, independent of the directory a task is started from."""

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
