"""The variables that the reading side takes; nothing else in backend/ reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

QUERIES = Path(__file__).resolve().parent.parent / "sql" / "queries"


class Misconfigured(Exception):
    """A variable is missing or cannot be read; the message names it."""


@dataclass(frozen=True)
class Settings:
    """What the environment says at this moment."""

    connection_url: str = field(repr=False)
    """A libpq URL or conninfo string (CONNECTION_URL)."""
    pool_size: int
    """The most connections that one process holds (DB_POOL_SIZE)."""
    pool_timeout: float
    """Seconds that a request waits for one of them (DB_POOL_TIMEOUT)."""
    queries: Path
    """The folder of the SQL files (DB_QUERIES)."""
    hide_expired: bool
    """Whether the feed leaves out what has expired (HIDE_EXPIRED, yes or no)."""
    frontend: str
    """The origin whose pages may read the API, besides its own (FRONTEND_URL); empty for none."""
    host: str
    """The address to listen at (HOST)."""
    port: int
    """The port (PORT)."""


def load(environ: Mapping[str, str] | None = None, *, complete: bool = False) -> Settings:
    """Read the variables; raise `Misconfigured` for what cannot be read, and if `complete` for what is missing."""
    environ = os.environ if environ is None else environ

    def number(name: str, default: str, most: float, kind: Callable[[str], float] = int) -> float:
        text = environ.get(name) or default
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 < value <= most:
            raise Misconfigured(f"{name}: {text} is not a number above 0 and of at most {most}")
        return value

    hide = environ.get("HIDE_EXPIRED") or "no"
    if hide not in ("yes", "no"):
        raise Misconfigured(f"HIDE_EXPIRED: {hide} is neither yes nor no")
    read = Settings(
        connection_url=environ.get("CONNECTION_URL", ""),
        pool_size=int(number("DB_POOL_SIZE", "8", 1000)),
        pool_timeout=number("DB_POOL_TIMEOUT", "2", 60, float),
        queries=Path(environ.get("DB_QUERIES") or QUERIES),
        hide_expired=hide == "yes",
        frontend=origin(environ.get("FRONTEND_URL", "")),
        host=environ.get("HOST") or "127.0.0.1",
        port=int(number("PORT", "4567", 65535)),
    )
    if complete and not read.connection_url:
        raise Misconfigured("CONNECTION_URL is not set: it names the database to read from")
    return read


def origin(url: str) -> str:
    """Return the origin of FRONTEND_URL as browsers send it; `*` and patterns are none."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc, re.ASCII):
        raise Misconfigured("FRONTEND_URL: write it like http://localhost:3000")
    return f"{parts.scheme}://{parts.netloc}".lower()
