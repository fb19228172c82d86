"""The variables that the reading side takes; nothing else in backend/ reads the environment."""

from __future__ import annotations

import ipaddress
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
    iam: str
    """Whether tokens of IAM stand in for its password (DB_IAM): yes, or HOST:PORT where a tunnel leads there; empty for no."""
    read_url: str = field(repr=False)
    """A replica of that database, to read at (READ_CONNECTION_URL); empty for none."""
    read_iam: str
    """DB_IAM for the replica (READ_DB_IAM)."""
    read_lag: float
    """Seconds that the replica may lag to be read (DB_READ_LAG)."""
    pool_size: int
    """The most connections that one process holds (DB_POOL_SIZE)."""
    pool_kept: int
    """How many of them stay open while nothing is asked (DB_POOL_KEPT); 0 lets a database pause that does so without a session."""
    pool_timeout: float
    """Seconds that a request waits for one of them (DB_POOL_TIMEOUT); a longer wait also delays the first answer after an outage."""
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
    trusted: frozenset[str]
    """The names that it is asked by; with a dot in front, all below (TRUSTED_HOSTS, beside those of `own_names`)."""


def load(environ: Mapping[str, str] | None = None, *, complete: bool = False) -> Settings:
    """Read the variables; raise `Misconfigured` for what cannot be read, and if `complete` for what is missing."""
    environ = os.environ if environ is None else environ

    def number(
        name: str, default: str, most: float, kind: Callable[[str], float] = int, *, none: bool = False
    ) -> float:
        text = environ.get(name) or default
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not (0 < value <= most or (none and value == 0)):
            raise Misconfigured(f"{name}: {text} is not a number above 0 and of at most {most}")
        return value

    hide = environ.get("HIDE_EXPIRED") or "no"
    if hide not in ("yes", "no"):
        raise Misconfigured(f"HIDE_EXPIRED: {hide} is neither yes nor no")

    def token(name: str) -> str:
        text = environ.get(name) or "no"
        if text not in ("yes", "no") and not re.fullmatch(r"[\w.-]+:\d{1,5}", text, re.ASCII):
            raise Misconfigured(f"{name}: {text} is none of yes, no, HOST:PORT")
        return "" if text == "no" else text

    host, port = environ.get("HOST") or "127.0.0.1", int(number("PORT", "4567", 65535))
    read = Settings(
        connection_url=environ.get("CONNECTION_URL", ""),
        iam=token("DB_IAM"),
        read_url=environ.get("READ_CONNECTION_URL", ""),
        read_iam=token("READ_DB_IAM"),
        read_lag=number("DB_READ_LAG", "10", 86400, float),
        pool_size=int(number("DB_POOL_SIZE", "8", 1000)),
        pool_kept=int(number("DB_POOL_KEPT", "1", 1000, none=True)),
        pool_timeout=number("DB_POOL_TIMEOUT", "2", 60, float),
        queries=Path(environ.get("DB_QUERIES") or QUERIES),
        hide_expired=hide == "yes",
        frontend=origin(environ.get("FRONTEND_URL", "")),
        host=host,
        port=port,
        trusted=own_names(environ, host, port) | names(environ.get("TRUSTED_HOSTS", "")),
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


def own_names(environ: Mapping[str, str], host: str, port: int) -> frozenset[str]:
    """Return the names that need no setting: this machine's for itself, and that of an online workspace's port.

    Gitpod has them as PORT-WORKSPACE.CLUSTER (`gp url PORT`), Codespaces as NAME-PORT.DOMAIN (GitHub's page
    "Forwarding ports in your codespace"). APP_PORT is the port of the machine that stands for a container's.
    """
    own = {"localhost", "127.0.0.1", "::1"}
    if host not in ("0.0.0.0", "::"):  # noqa: S104 (any address is not one)
        own.add(host.lower())
    workspace = urlsplit(environ.get("GITPOD_WORKSPACE_URL", "")).hostname
    codespace = environ.get("CODESPACE_NAME", "").lower()
    domain = environ.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN") or "app.github.dev"
    for outside in (str(port), environ.get("APP_PORT", "")):
        if outside and workspace:
            own.add(f"{outside}-{workspace}")
        if outside and codespace:
            own.add(f"{codespace}-{outside}.{domain}".lower())
    return frozenset(own)


def names(text: str) -> frozenset[str]:
    """Return the names of TRUSTED_HOSTS, which are separated by blanks or commas."""
    found = [name for name in re.split(r"[\s,]+", text.lower()) if name]
    for name in found:
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            if not re.fullmatch(r"\.?\w([\w.-]*\w)?", name, re.ASCII) or name.isdigit():
                raise Misconfigured(
                    f"TRUSTED_HOSTS: {name} is no host name: write it like feed.example.com, without a port"
                ) from None
    return frozenset(name.strip("[]") for name in found)


def is_trusted(host: str, trusted: frozenset[str]) -> bool:
    """Whether a request may name this host (`Host`, with or without a port)."""
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    return name in trusted or any(one.startswith(".") and name.endswith(one) for one in trusted)
