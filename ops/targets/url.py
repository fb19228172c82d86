"""How the database of a target is reached, as db.url tells it."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import Word
from config.targets import ADDRESS, MASK, SECRETS, Target
from ops import postgres


@dataclass(frozen=True)
class Url:
    """How the database of a target is reached."""

    target: str
    """As it is given to --target."""
    kind: Word
    """Who keeps the server: the suite, docker-compose.yml, RDS, or somebody else."""
    url: str
    """As psql takes it; the password is **** without --show-password."""
    user: str | None
    """Who logs in."""
    password: str | None
    """Null without --show-password, and where there is none."""
    host: str | None
    """Null for the socket of this machine."""
    port: int
    """Of the server."""
    database: str
    """Its name."""
    parameters: dict[str, str]
    """What else libpq is given, by its own names: sslmode, sslrootcert, hostaddr."""


def url(target: Target, *, show_password: bool) -> Url:
    """Return how a target is reached, with secrets only where they are asked for: a token for the next 15 minutes is one, too."""
    if show_password:
        target = target.on(**postgres.secret(target))
    params = target.params
    hidden = () if show_password else SECRETS
    return Url(
        target=target.name,
        kind=target.kind.word,
        url=target.url(show_password=show_password),
        user=params.get("user") or None,
        password=(target.password or None) if show_password else None,
        host=target.host or None,
        port=target.port,
        database=target.dbname,
        parameters={k: MASK if k in hidden else v for k, v in params.items() if k not in ADDRESS and v},
    )
