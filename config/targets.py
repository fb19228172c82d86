"""From variables to one target: which server, which login, which database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from config import urls
from config.settings import Settings
from ops.errors import Misconfigured, NotConfigured

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MASK = "****"
RDS_HOST = ".rds.amazonaws.com"
LOGIN = ("POSTGRES_MASTER_USERNAME", "POSTGRES_MASTER_PASSWORD")
DOCKER_URL = "postgresql://postgres:password@db:5432/cruddur"

# Parameters that libpq itself hides; the names of newer ones tell what they are
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
# Parameters that make up the address part of a URL; all others follow the `?`.
ADDRESS = ("user", "password", "host", "port", "dbname")


@dataclass(frozen=True)
class Target:
    """One database on one server, resolved once per command."""

    name: str
    """local, docker or prod."""
    source: str
    """What named it: a variable, or the embedded server."""
    params: Mapping[str, str] = field(repr=False)
    """libpq parameters by keyword, the password among them."""
    embedded: bool = False
    """Whether the server is the one that the suite keeps in .local/postgres."""

    @property
    def host(self) -> str:
        return self.params.get("host", "")

    @property
    def port(self) -> int:
        return int(self.params.get("port") or 5432)

    @property
    def dbname(self) -> str:
        return self.params["dbname"]

    @property
    def password(self) -> str:
        return self.params.get("password", "")

    @property
    def loopback(self) -> bool:
        host = self.params.get("hostaddr") or self.host
        return host in LOOPBACK or host.startswith(("127.", "/")) or not host

    @property
    def rds(self) -> bool:
        return is_rds(self.host)

    @property
    def login(self) -> str:
        """What named user and password: with parts it is not what named the host."""
        return " and ".join(LOGIN) if self.source == "PROD_DB_ENDPOINT" else self.source

    @property
    def address(self) -> str:
        """user@host:port/database, for people."""
        user = f"{self.params['user']}@" if self.params.get("user") else ""
        host = f"[{self.host}]" if ":" in self.host else self.host or "socket"
        return f"{user}{host}:{self.port}/{self.dbname}"

    def on(self, **params: str) -> Target:
        """Return the same target with some parameters changed."""
        return replace(self, params={**self.params, **params})

    def url(self, *, show_password: bool = False) -> str:
        """Return the URL, percent-encoded so that psql takes it as it is."""
        p = self.params
        user = quote(p.get("user", ""), safe="")
        if self.password:
            user += ":" + (quote(self.password, safe="") if show_password else MASK)
        extra = {k: v for k, v in p.items() if k not in ADDRESS and v}
        host = self.host
        if host.startswith("/"):
            extra, host = {"host": host, **extra}, ""
        elif ":" in host:
            host = f"[{host}]"
        port = f":{p['port']}" if p.get("port") else ""
        if not show_password:
            extra = {k: MASK if k in SECRETS else v for k, v in extra.items()}
        query = "&".join(f"{k}={quote(v, safe='/*')}" for k, v in extra.items())
        return f"postgresql://{user}{'@' if user else ''}{host}{port}/{quote(self.dbname, safe='')}" + (
            f"?{query}" if query else ""
        )


def resolve(settings: Settings, name: str) -> Target | None:
    """Return the target called `name`; None stands for the embedded server.

    Raises `Misconfigured` when its variables are missing or wrong. Asks no
    server and no network: what the name turns out to be is seen on connecting.
    """
    if name == "prod":
        return prod(settings)
    if name == "docker":
        variable = "CONNECTION_LOCAL_DOCKER_URL"
        value = settings.vars.find(variable)
        return verified(parse(value.text if value else DOCKER_URL, variable, name), settings.root)
    if value := settings.vars.find("CONNECTION_URL"):
        return verified(parse(value.text, "CONNECTION_URL", name), settings.root)
    return None


def is_rds(host: str) -> bool:
    """Whether a host name is one that RDS gives."""
    return host.lower().rstrip(".").endswith(RDS_HOST)


def ca_bundle(root: Path) -> Path:
    """Return where the certificates lie that RDS servers are checked against."""
    return root / ".local" / "rds-ca.pem"


def verified(target: Target, root: Path) -> Target:
    """Return an RDS target with TLS verified in full, unless it says otherwise itself.

    libpq's own default would fall back to plain text, and `require` would trust
    anyone in between. RDS's roots are in no system's store.
    """
    if not target.rds:
        return target
    target = target.on(sslmode=target.params.get("sslmode") or "verify-full")
    if target.params["sslmode"].startswith("verify") and not target.params.get("sslrootcert"):
        target = target.on(sslrootcert=str(ca_bundle(root)))
    return target


def prod(settings: Settings) -> Target:
    """Return production: PROD_CONNECTION_URL, or built from its parts.

    Raises `NotConfigured` where RDS may be asked for the rest (ops/rds/prod.py).
    """
    get = settings.vars.get
    if url := get("PROD_CONNECTION_URL"):
        target = parse(url, "PROD_CONNECTION_URL", "prod")
    elif host := get("PROD_DB_ENDPOINT"):
        if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]+", host):
            raise Misconfigured("PROD_DB_ENDPOINT: give the host name alone; the port is POSTGRES_PORT")
        missing = [name for name in LOGIN if not get(name)]
        if missing:
            error = NotConfigured if is_rds(host) else Misconfigured
            raise error(f"prod needs {' and '.join(missing)} beside PROD_DB_ENDPOINT: set it in .env")
        if not urls.is_port(port := get("POSTGRES_PORT", "5432")):
            raise Misconfigured("POSTGRES_PORT: the port must be a number from 1 to 65535")
        params = {
            "user": get("POSTGRES_MASTER_USERNAME"),
            "password": get("POSTGRES_MASTER_PASSWORD"),
            "host": host,
            "port": port,
            "dbname": settings.database,
        }
        target = Target("prod", "PROD_DB_ENDPOINT", params)
    else:
        raise NotConfigured(
            "prod is not configured: set PROD_CONNECTION_URL (or PROD_DB_ENDPOINT and "
            "POSTGRES_MASTER_USERNAME, POSTGRES_MASTER_PASSWORD) in .env"
        )
    return reached(settings, target)


def reached(settings: Settings, target: Target) -> Target:
    """Return a prod target with the address and the TLS that the variables give."""
    get = settings.vars.get
    extra = {
        "hostaddr": get("PROD_DB_HOSTADDR"),
        "sslmode": get("PROD_DB_SSLMODE"),
        "sslrootcert": get("PROD_DB_SSLROOTCERT"),
    }
    if extra["hostaddr"] and not urls.is_address(extra["hostaddr"]):
        raise Misconfigured("PROD_DB_HOSTADDR: the address behind the host name must be numeric, like 127.0.0.1")
    if extra["sslmode"] and extra["sslmode"] not in urls.SSLMODES:
        raise Misconfigured(f"PROD_DB_SSLMODE: use one of {', '.join(urls.SSLMODES)}")
    return verified(target.on(**{k: v for k, v in extra.items() if v}), settings.root)


def parse(url: str, source: str, name: str) -> Target:
    """Return the target that a URL names; raises `Misconfigured` naming the variable it came from."""
    return Target(name, source, urls.read(url, source))
