"""db.migration-new: a file with a stamp."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

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
    words = re.sub(r"[^\w]+", "_", name.strip().removesuffix(".sql").lower()).strip("_")
    if not re.search(r"[^\W\d_]", words):
        raise Misconfigured(f"{name!r}: a migration is called by what it does, in letters, digits and _: add_bio")
    folder = settings.migrations
    folder.mkdir(parents=True, exist_ok=True)
    taken = {file.version for file in files.find(folder)}
    moment = datetime.now(timezone.utc)
    while (stamp := f"{moment:%Y%m%d%H%M%S}") in taken:
        moment += timedelta(seconds=1)
    path = folder / f"{stamp}_{words}.sql"
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise Misconfigured(
            f"{words[:40]}…: too long for the name of a file: say in fewer words what it does"
        ) from None
    with open(made, "w", encoding="utf-8") as file:
        file.write(TEMPLATE)
    return Made(stamp, display(path))
