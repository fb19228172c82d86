"""db.migration-new: a file with a stamp."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from config.paths import hand_over, make_folders, unfinished
from config.settings import Settings
from ops.db.migrations import files
from ops.db.sql_file.script import display
from ops.errors import Misconfigured

TEMPLATE = "-- migrate:up\n\n\n-- migrate:down\n\n"
"""As dbmate's own."""


@dataclass(frozen=True)
class Made:
    """A new migration."""

    version: str
    """Its stamp: the second in UTC, or the next one that is free."""
    file: str
    """Its path from the working directory."""


def make(settings: Settings, name: str) -> Made:
    """Write a migration with nothing in it; the stamp is the second, or the next one behind the last's."""
    from ops.db.copies import beside

    words = re.sub(r"[^\w]+", "_", name.strip().removesuffix(".sql").lower()).strip("_")
    if not re.search(r"[^\W\d_]", words):
        raise Misconfigured(f"{name!r}: a migration is called by what it does, in letters, digits and _: add_bio")
    folder = settings.migrations
    make_folders(folder)
    taken = {file.version for file in files.find(folder)}
    moment = datetime.now(timezone.utc)
    while (stamp := f"{moment:%Y%m%d%H%M%S}") in taken:
        moment += timedelta(seconds=1)
    path = folder / f"{stamp}_{words}.sql"
    try:
        if not write(path, TEMPLATE.encode()):
            raise Misconfigured(f"{display(path)} is there by now: run this again")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise beside.unwritable(folder, error) from None
        raise Misconfigured(
            f"{words[:40]}…: too long for the name of a file: say in fewer words what it does"
        ) from None
    return Made(stamp, display(path))


def write(path: Path, data: bytes) -> bool:
    """Write a migration, whole or not at all; False where another run has just made a file of that name."""
    from ops.db.copies import beside

    with unfinished(path.with_name(".migration")) as (fd, temporary):
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, 0o644 & ~beside.umask())
            hand_over(fd, path.parent)
            os.fsync(fd)
        return beside.put_new(Path(temporary), path)
