"""From variables to one target: which server, which login, which database."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from config import urls
from config.declared import BUILT_IN, Declared, Kind, assert_never
from config.settings import Settings
from ops.errors import Misconfigured, NotConfigured, Problem

if TYPE_CHECKING:
    from config.via import Via

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MASK = "****"
# In China, and where only governments are, the region follows the service; the domains are those of botocore's partitions
RDS_HOST = re.compile(
    r"\.rds(\.[a-z0-9-]+)?\.(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov"
    r"|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$"
)
DOCKER_URL = "postgresql://postgres:password@db:5432/cruddur"

# Parameters that libpq itself hides; the names of newer ones tell what they are
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
# Parameters that make up the address part of a URL; all others follow the `?`.
ADDRESS = ("user", "password", "host", "port", "dbname")


class Way(Protocol):
    """A tunnel to a server (ops/targets/tunnel)."""

    def open(self) -> int:
        """Return the loopback port of its near end, opened by now; raises `Problem` where it does not come up."""

    def fault(self, said: str) -> Problem | None:
        """Return why a connection through it failed, by what libpq said, where the tunnel knows more than that."""

    def ended(self) -> str:
        """Return that the tunnel has ended, in words; nothing where it is up."""


@dataclass(frozen=True)
class Target:
    """One database on one server, resolved once per command."""

    name: str
    """As it is given to --target."""
    source: str
    """What named it: a variable, or the embedded server."""
    params: Mapping[str, str] = field(repr=False)
    """libpq parameters by keyword, the password among them."""
    embedded: bool = False
    """Whether the server is the one that the suite keeps in .local/postgres."""
    kind: Kind = Kind.SERVER
    declared: Declared = BUILT_IN["local"]
    branch: str = ""
    """The git branch whose database it is; empty: it is the one that the variables name."""
    trunk: str = ""
    """With a branch: the database that the variables name, which the main branch has."""
    via: Via | None = None
    """The bastion through which it is reached; host and port are as that one sees them."""
    way: Way | None = field(default=None, repr=False, compare=False)
    """The tunnel by that."""
    token: Callable[[Target], str] | None = field(default=None, repr=False, compare=False)
    """Signs what stands in for the password, at each login anew (ops/targets/iam.py); None: the password is what it says."""

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
        if self.via:  # another machine's
            return False
        host = self.params.get("hostaddr") or self.host
        return host in LOOPBACK or host.startswith(("127.", "/")) or not host

    @property
    def rds(self) -> bool:
        return is_rds(self.host)

    @property
    def region(self) -> str:
        """The region that the name of an instance says, before `rds` or, in China and where governments are, after it."""
        name = r"[a-z]{2,}(?:-[a-z]+)+-\d+"
        found = re.search(rf"(?:\.({name}))?\.rds(?:\.({name}))?\.", self.host.lower()) if self.rds else None
        return (found[1] or found[2] or "") if found else ""

    @property
    def login(self) -> str:
        """What named user and password: with parts it is not what named the host."""
        names = self.declared.names
        return " and ".join(names.login) if self.source == names.endpoint else self.source

    @property
    def protected(self) -> bool:
        """Whether it is production by declaration."""
        return self.declared.protected

    @property
    def address(self) -> str:
        """user@host:port/database, for people, and the way there where it is not the straight one."""
        user = f"{self.params['user']}@" if self.params.get("user") else ""
        host = f"[{self.host}]" if ":" in self.host else self.host or "socket"
        via = f" via {self.via}" if self.via else ""
        return f"{user}{host}:{self.port}/{self.dbname}{via}"

    def on(self, **params: str) -> Target:
        """Return the same target with some parameters changed."""
        return replace(self, params={**self.params, **params})

    def direct(self) -> Target:
        """Return the target as this machine reaches it: by the near end of its tunnel, which is opened, where it has one.

        The host name stays, since TLS is checked against it.
        """
        if not self.via:
            return self
        assert self.way is not None  # else it would be looked for past its tunnel
        near = {"hostaddr": "127.0.0.1", "port": str(self.way.open())}
        return replace(self, params={**self.params, **near}, via=None, way=None)

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


def kind_of(settings: Settings, target: Declared) -> Kind:
    """Return who keeps the server behind a target, as its variables tell."""
    if len(target.kinds) == 1:
        return target.kinds[0]
    url = settings.vars.get(target.names.url)
    if Kind.EMBEDDED in target.kinds:
        return Kind.SERVER if url else Kind.EMBEDDED
    if url:
        return Kind.RDS if of_variable(url, target, Kind.RDS).rds else Kind.SERVER
    host = settings.vars.get(target.names.endpoint)
    return Kind.SERVER if host and not is_rds(host) else Kind.RDS


def resolve(settings: Settings, name: str = "") -> Target | None:
    """Return the target called `name`; None stands for the embedded server.

    Raises `Misconfigured` when its variables are missing or wrong. Asks no
    server and no network: what the name turns out to be is seen on connecting.
    """
    settings = settings.on(name)
    target = settings.focus
    match kind_of(settings, target):
        case Kind.EMBEDDED:
            return None
        case Kind.COMPOSE:
            url = settings.vars.get(target.names.url, DOCKER_URL)
            return verified(of_variable(url, target, Kind.COMPOSE), settings.root)
        case Kind.RDS | Kind.SERVER as kind:
            return by_variables(settings, target, kind)
        case never:
            return assert_never(never)


def is_rds(host: str) -> bool:
    """Whether a host name is one that RDS gives."""
    return RDS_HOST.search(host.lower().rstrip(".")) is not None


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


def by_variables(settings: Settings, declared: Declared, kind: Kind) -> Target:
    """Return a target by its URL, or built from its parts.

    Raises `NotConfigured` where RDS may be asked for the rest (ops/rds/prod.py).
    """
    get, names, name = settings.vars.get, declared.names, declared.name
    if url := get(names.url):
        target = of_variable(url, declared, kind)
    elif host := get(names.endpoint):
        if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]+", host):
            raise Misconfigured(f"{names.endpoint}: give the host name alone; the port is {names.port}")
        missing = [names.user] if settings.rds_read[0].login == "iam" else names.login
        missing = [variable for variable in missing if not get(variable)]
        if missing:
            error = NotConfigured if is_rds(host) else Misconfigured
            raise error(f"{name} needs {' and '.join(missing)} beside {names.endpoint}: set it in .env")
        if not urls.is_port(port := get(names.port, "5432")):
            raise Misconfigured(f"{names.port}: the port must be a number from 1 to 65535")
        params = {
            "user": get(names.user),
            "password": get(names.password),
            "host": host,
            "port": port,
            "dbname": settings.database,
        }
        target = Target(name, names.endpoint, params, kind=kind, declared=declared)
    else:
        raise NotConfigured(
            f"{name} is not configured: set {names.url} (or {names.endpoint} and {', '.join(names.login)}) in .env"
        )
    return reached(settings, target)


def reached(settings: Settings, target: Target) -> Target:
    """Return a target with the address and the TLS that its variables give."""
    get, names = settings.vars.get, settings.focus.names
    extra = {
        "hostaddr": get(names.hostaddr),
        "sslmode": get(names.sslmode),
        "sslrootcert": get(names.sslrootcert),
    }
    if extra["hostaddr"] and not urls.is_address(extra["hostaddr"]):
        raise Misconfigured(f"{names.hostaddr}: the address behind the host name must be numeric, like 127.0.0.1")
    if extra["sslmode"] and extra["sslmode"] not in urls.SSLMODES:
        raise Misconfigured(f"{names.sslmode}: use one of {', '.join(urls.SSLMODES)}")
    target = verified(target.on(**{k: v for k, v in extra.items() if v}), settings.root)
    return replace(target, via=way_to(settings, target))


def read_target(settings: Settings) -> Target | None:
    """Return the replica that the target in focus is read at, by its own URL; None where it names none; raises `Misconfigured`."""
    get, names = settings.vars.get, settings.focus.names
    url = get(names.read_url) if names.read_url else ""
    if not url:
        return None
    target = Target(settings.focus.name, names.read_url, urls.read(url, names.read_url), declared=settings.focus)
    tls = {"sslmode": get(names.sslmode), "sslrootcert": get(names.sslrootcert)}
    return verified(target.on(**{k: v for k, v in tls.items() if v and not target.params.get(k)}), settings.root)


def way_to(settings: Settings, target: Target) -> Via | None:
    """Return the bastion that a target is reached by, if it is; raises `Misconfigured`."""
    names, declared = settings.focus.names, settings.focus
    text, source = settings.vars.get(names.via) if names.via else "", names.via
    if not text:
        text, source = declared.via, f"targets.{declared.name}.via in invoke.yaml"
    if not text:
        return None
    if not target.host or target.host.startswith("/"):
        raise Misconfigured(f"{source}: {target.source} names no host: name the server's, as the bastion sees it")
    from config import via

    return via.read(text, source)


def of_variable(url: str, declared: Declared, kind: Kind) -> Target:
    """Return a target by the URL in its variable; raises `Misconfigured`."""
    source = declared.names.url
    return Target(declared.name, source, urls.read(url, source), kind=kind, declared=declared)


def parse(url: str, source: str, name: str) -> Target:
    """Return what a URL names, wherever that stands; raises `Misconfigured` naming the variable it came from."""
    return Target(name, source, urls.read(url, source))
