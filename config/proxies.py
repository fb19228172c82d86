"""What the environment says of proxies: which one leads where, and what is asked past any.

As urllib and botocore read it: a variable in lower case wins over upper case, an empty one is none, NO_PROXY
names hosts and suffixes of hosts. ALL_PROXY, which those two pass over, stands in for a missing HTTPS_PROXY or
HTTP_PROXY; one that speaks SOCKS is left to the programs that do (uv, git).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ops.errors import Misconfigured, Problem

HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]", "[fd00:ec2::23]")
"""Where AWS gives an instance, a container or a pod its login, from the machine itself
(https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-proxy.html, EC2's and EKS's user guides)."""
SPARED = (*HERE, *METADATA)
HOW = "write it as http://HOST:PORT, with USER:PASSWORD@ before HOST where it wants a login, percent-encoded"

LONGEST = 200
"""Characters of what a proxy says that are shown."""


@dataclass(frozen=True)
class Proxy:
    """A proxy and the variable that names it."""

    variable: str
    url: str = field(repr=False)
    """Complete, with the login if it has one."""

    @property
    def written(self) -> str:
        """USER:PASSWORD as the variable has them, or nothing; a raw / or # in there is no end of it."""
        return self.url.partition("://")[2].rpartition("@")[0]

    @property
    def login(self) -> str:
        return unquote(self.written)

    @property
    def address(self) -> str:
        """HOST:PORT as they are written."""
        return self.url.partition("://")[2].rpartition("@")[2].partition("/")[0]

    @property
    def for_all(self) -> bool:
        return self.variable.lower() == "all_proxy"

    @property
    def spoken(self) -> bool:
        """Whether it is one for HTTP."""
        return self.url.lower().startswith(("http://", "https://"))

    def __str__(self) -> str:
        """The address, without the login, and the variable: fit for a message."""
        return f"the proxy {self.address} ({self.variable})"


def named(environ: Mapping[str, str]) -> dict[str, Proxy]:
    """Return the proxies that the environment names, by scheme: http, https, all."""
    found = {}
    for scheme in ("http", "https", "all"):
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            if name in environ:
                if value := environ[name].strip():
                    url = value if "://" in value else f"http://{value.removeprefix('//')}"
                    found[scheme] = Proxy(name, url)
                break
    return found


def leading(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that a program would ask for a URL, of whatever kind; None where NO_PROXY names its host."""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # typeshed lacks it

    there, asked = named(environ), urlsplit(url)
    found = there.get(asked.scheme) or there.get("all")
    if found is None or is_here(asked.hostname or ""):
        return None
    exceptions = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    bypassed = proxy_bypass_environment(asked.netloc.rpartition("@")[2], {"no": exceptions})
    return None if bypassed else found


def find(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that we ask for a URL; raises `Misconfigured` where its variable does not name one."""
    found = leading(url, environ)
    if found and found.for_all and not found.spoken:
        return None
    if found:
        check(found)
    return found


def check(proxy: Proxy) -> None:
    """Raise `Misconfigured` for what cannot be asked by us."""
    try:
        parts = urlsplit(proxy.url)
        good = proxy.spoken and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or a bracket that is none
        good = False
    if not good:
        raise Misconfigured(f"{proxy.variable} names no proxy that is spoken here: {HOW}")
    if not proxy.login.isascii():
        raise Misconfigured(f"{proxy.variable}: only ASCII works in a proxy's login: choose another user or password")


def passed_over(environ: Mapping[str, str]) -> str:
    """Return the words for an ALL_PROXY that only other programs ask, to go behind a reason; nothing where there is none."""
    found = named(environ).get("all")
    if found is None or found.spoken:
        return ""
    return f"; {found.variable} names a proxy that is not spoken here, HTTPS_PROXY can name one by http://"


def is_here(host: str) -> bool:
    """Whether a host is this machine, by its name alone."""
    import ipaddress

    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def spared(environ: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY in both spellings, with this machine in it; nothing where no proxy is named.

    Libraries and programs look there. Both are set, since they disagree on which wins.
    """
    if not named(environ):
        return {}
    values = {}
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        have = [part.strip() for part in environ.get(name, environ.get(other, "")).split(",") if part.strip()]
        values[name] = ",".join([*have, *(part for part in SPARED if part not in have)])
    return values


def passwords(environ: Mapping[str, str]) -> Iterable[str]:
    """Yield what must not be printed of any proxy's login, as it is and as it is written."""
    for proxy in named(environ).values():
        password = proxy.written.partition(":")[2]
        yield from (password, unquote(password))


def failed(proxy: Proxy, host: str, said: str, *, trust: str = "SSL_CERT_FILE") -> Problem:
    """Return what it means for the user that a proxy did not lead to a host.

    `said` is the error's reason: what the proxy answered begins with its status, and is empty where that is not
    known. `trust` is the variable that names a company's CA to who asked.
    """
    said = "".join(c if c.isprintable() else " " for c in said).strip()[:LONGEST]  # a stranger's words
    answered = re.match(r"(?:Tunnel connection failed: )?([45]\d\d)\b.*", said)
    status, what = (answered[1], said.removeprefix("Tunnel connection failed: ")) if answered else ("", "")
    if status == "407" and proxy.login:
        return Misconfigured(
            f"{proxy} does not take the login in {proxy.variable}: correct user and password there, percent-encoded"
        )
    if status == "407":
        return Misconfigured(
            f"{proxy} wants a login: put USER:PASSWORD@ before {proxy.address} in {proxy.variable}, percent-encoded"
        )
    if status >= "5":
        return Problem(
            f"{proxy} does not reach {host} ({what}): run this again, and if that stays so ask whoever runs the proxy"
        )
    if status or not said:
        return Problem(
            f"{proxy} does not let us through to {host}{f' ({what})' if what else ''}: have it allowed there, "
            f"or put {host} into NO_PROXY where this network reaches it without"
        )
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return Misconfigured(
            f"what comes from {host} by {proxy} has a certificate that is not trusted here: "
            f"set {trust} to your company's CA file"
        )
    if "WRONG_VERSION_NUMBER" in said or "corrupt message" in said:
        return Misconfigured(f"{proxy} speaks no TLS itself: write it with http:// in {proxy.variable}")
    return Problem(
        f"{host} is not reached by {proxy}: {said}: correct {proxy.variable}, "
        "or unset it where this network needs no proxy"
    )


def reason(error: BaseException) -> str:
    """Return the innermost reason of an error of urllib3's, in a few words: Connection refused."""
    while inner := error.__cause__ or next((arg for arg in error.args[::-1] if isinstance(arg, BaseException)), None):
        error = inner
    if isinstance(error, OSError) and error.strerror and "SSL" not in type(error).__name__:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
