"""Times as other programs write them."""

from __future__ import annotations

from datetime import datetime, timezone


def moment(text: str) -> datetime | None:
    """Read a time in any form of ISO 8601, in UTC where it has no zone; None for what is no time.

    Lambda writes +0000 (LastModified), Docker nine digits of a second (logs --timestamps).
    """
    from dateutil.parser import isoparse

    try:
        read: datetime = isoparse(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=timezone.utc)
