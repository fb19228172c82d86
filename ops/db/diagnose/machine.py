"""How much memory and how many processors a server's machine has, where that can be known: Postgres does not say."""

from __future__ import annotations

import os
from pathlib import Path

from ops.targets.open_target import OpenTarget


def of(place: OpenTarget) -> tuple[int | None, int | None]:
    """Return the bytes of memory and the processors of a server's machine; None for each where they are not known from here.

    A server is on this machine if its data are: its address may be the near end of a tunnel.
    """
    data = place.facts["data_directory"]
    if not (place.target.embedded or (place.target.loopback and data and (Path(data) / "PG_VERSION").exists())):
        return None, None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), os.cpu_count()
