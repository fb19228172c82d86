"""The home feed: what everybody posted, newest first, a page at a time."""

from __future__ import annotations

import base64
import contextlib
import re
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from backend import settings
from backend.db import Pool, query, query_array_json
from backend.replica import reading

try:
    from opentelemetry import trace
except ImportError:  # an application without tracing
    trace = None  # type: ignore[assignment]

LIMIT = 20
"""Activities of a page where no number is asked for."""
MOST = 100
"""Activities that one page may have."""

# As Postgres writes a time in JSON; the zone is missing where the column has none
_TIME = re.compile(r"\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?([+-]\d\d(:\d\d){1,2})?( BC)?|-?infinity", re.ASCII)


class Logger(Protocol):
    """What a logger must be able to do."""

    def info(self, msg: str, /) -> object: ...


@dataclass(frozen=True)
class Cursor:
    """An activity's place in the feed: the next page begins after it."""

    created_at: str
    uuid: str

    def __str__(self) -> str:
        """The cursor as it travels: opaque, safe in a URL, the same for the same activity."""
        return base64.urlsafe_b64encode(f"{self.created_at}/{self.uuid}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` has made; raise `ValueError` for anything else."""
        if not re.fullmatch(r"[\w-]{1,200}", text, re.ASCII):
            raise ValueError("before: not a cursor that this API has given")
        try:
            created_at, _, activity = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition("/")
            found = cls(created_at, str(uuid.UUID(activity)))
        except ValueError:
            found = None
        if found is None or not _TIME.fullmatch(created_at) or str(found) != text:
            raise ValueError("before: not a cursor that this API has given")
        return found


@dataclass(frozen=True)
class Page:
    """Some activities in their order, and where the next page begins."""

    activities: list[dict[str, Any]]
    next: Cursor | None
    """`None` on the last page."""


class HomeActivities:
    """The feed as an application asks for it."""

    @staticmethod
    def run(
        logger: Logger | None = None,
        cognito_user: str | None = None,  # noqa: ARG004 (callers give it)
        *,
        cognito_user_id: str | None = None,  # noqa: ARG004 (the same)
        limit: int = LIMIT,
        before: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return a page of the feed: uuid, display_name, handle, message, counts, reply_to_activity_uuid, times.

        `before` is a cursor (`str(page.next)`); without it the page is the newest one.
        The user is taken because callers give it: the feed is the same for everybody.
        Raises `ValueError` for a limit or cursor that is none, psycopg's `Error` for the rest.
        """
        if logger is not None:
            logger.info("home-activities")
        return home(limit, Cursor.parse(before) if before else None).activities


def home(limit: int = LIMIT, before: Cursor | None = None, source: Pool | None = None) -> Page:
    """Return the page of at most `limit` activities after a cursor; without a source it is read where `reading` says."""
    if not 1 <= limit <= MOST:
        raise ValueError(f"limit: give a whole number from 1 to {MOST}")
    read = settings.load()
    parameters = {
        "limit": limit + 1,  # the one more tells whether there is a next page
        "before": before.created_at if before else None,
        "before_uuid": before.uuid if before else None,
        "hide_expired": read.hide_expired,
    }
    template = query("home", read.queries)

    def ask(where: Pool) -> list[dict[str, Any]]:
        return query_array_json(template, parameters, where)

    with span("home-activities"):
        rows = ask(source) if source else reading.read(ask, read)
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(rows[:limit], Cursor(last["created_at"], last["uuid"]) if last else None)


def span(name: str) -> AbstractContextManager[object]:
    """Return an OpenTelemetry span with the time of the request, or nothing where that is not installed.

    Installed but not configured, its own spans do nothing.
    """
    if trace is None:
        return contextlib.nullcontext()
    now = datetime.now(timezone.utc).isoformat()
    return trace.get_tracer("home.activities").start_as_current_span(name, attributes={"app.now": now})
