"""The key of the masks: one in `.local`, from which each pull's own is made; by neither does a value come back.

A key depends on the source alone, so that two pulls of it agree, and copies of two sources have nothing in common.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from config import paths
from config.paths import hand_over, local_dir, unfinished
from ops.console import hide
from ops.db.copies import beside
from ops.errors import Problem

FILE = "mask.key"


def of_source(root: Path, system_id: str | None, database: str) -> str:
    """Return the key for a source as 32 hexadecimal digits; it is hidden from whatever is printed."""
    made = hmac.new(own(root).encode(), f"{system_id}/{database}".encode(), hashlib.sha256).hexdigest()[:32]
    hide(made)
    return made


def own(root: Path) -> str:
    """Return the key of this folder, made on first use; raises `Problem` where the file is damaged or not ours."""
    path = local_dir(root) / FILE
    if not path.exists():
        with unfinished(path) as (fd, temporary):
            with open(fd, "w", encoding="ascii") as new:
                new.write(secrets.token_hex(32) + "\n")
                new.flush()
                os.fsync(fd)
                hand_over(fd, path.parent)
            beside.put_new(Path(temporary), path)  # or another run was first
    with open(paths.opened(path, os.O_RDONLY), encoding="ascii", errors="replace") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise Problem(
                f"{path} may be read by others: chmod 600 it, or remove it, and masks are others from then on"
            )
        text = file.read().strip()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise Problem(f"{path} is damaged: remove it, and masks are others from then on")
    hide(text)
    return text
