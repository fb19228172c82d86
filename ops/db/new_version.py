"""What another major version of PostgreSQL has, asked of a server of it that is made for that."""

from __future__ import annotations

from config.settings import Settings
from ops import postgres
from ops.db import scratch_server
from ops.rds.upgrade.catalog import Catalog, read
from ops.targets.embedded import binaries


def catalog(settings: Settings, major: int) -> Catalog | None:
    """Return what the catalogs of a major version hold, or None where its programs are not here."""
    if binaries.of_major(major) is None:
        return None
    with scratch_server.alone(settings.root, scratch_server.UPGRADE) as folder:
        place = folder / "passing"
        try:
            made = scratch_server.start_anew(place, major)
            with postgres.connect(made.target("postgres"), task="rds.upgrade") as conn:
                return read(conn)
        finally:
            scratch_server.remove(place)
