"""This workspace's public address: given, or told alike by two echo services.

What an echo answers goes into a firewall rule, so it is taken only if it is an
address and nothing else: a captive portal answers HTML with status 200.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from ops.addresses import UNICAST6, UNROUTED6, Address, public
from ops.console import say
from ops.errors import Misconfigured, Problem

TIMEOUT = 4.0
"""Seconds for an echo service to answer."""
LONGEST = 64
"""Bytes of an answer that can still be an address and a line end."""
SHARED = ipaddress.ip_network("100.64.0.0/10")  # carrier-grade NAT, RFC 6598
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def parse(text: str, source: str) -> Address:
    """Read one address that can be seen from outside; raise `Misconfigured` for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Misconfigured(
            f"{source}: {shown(text)} is not an address: give one like 203.0.113.7, without /32"
        ) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise Misconfigured(f"{source}: {address} is local to a link: give the public address")
        if address.ipv4_mapped:
            raise Misconfigured(f"{source}: {address} is IPv4 written as IPv6: give {address.ipv4_mapped}")
    why = not_public(address)
    if why:
        raise Misconfigured(f"{source}: {address} is {why}: give the public address of this workspace (--ip)")
    return address


def not_public(address: Address) -> str:
    """Return why an address is of no use in a rule, or nothing."""
    if address.is_unspecified:
        return "no address"
    if address.is_loopback:
        return "this machine itself"
    if address.is_multicast:
        return "multicast"
    if address.is_link_local:
        return "local to a link"
    if address.version == 4 and address in SHARED:
        return "shared by a provider's customers (carrier-grade NAT)"
    if not public(address):
        given_out = address.version == 4 or address in UNICAST6 or any(address in own for own in UNROUTED6)
        return "private or for documentation" if given_out else "reserved"
    return ""


def shown(text: str) -> str:
    """Return the start of an answer, fit for one line."""
    plain = "".join(c if c.isprintable() else " " for c in text).strip()
    return repr(plain[:40] + ("…" if len(plain) > 40 else ""))


def network(address: Address) -> str:
    """Return the rule's range: this address alone, in its family's own length."""
    return f"{address}/{address.max_prefixlen}"


def find(given: str | None, variable: str, services: Sequence[str]) -> Address:
    """Return this workspace's address: --ip, else GITPOD_IP, else what two services agree on.

    `given` None: the option is absent; an empty one is an error. Raises
    `Misconfigured` for a bad or doubtful address, `Problem` when no service answers.
    """
    if given is not None:
        return parse(given, "--ip")
    if variable:
        return parse(variable, "GITPOD_IP")
    services = list(dict.fromkeys(services))  # one that is listed twice does not agree with itself
    for service in services:
        checked(service)
    for version in (4, 6):
        told = ask_all(services, version)
        if len(set(told.values())) > 1:
            differ = ", ".join(f"{host} says {address}" for host, address in told.items())
            raise Misconfigured(f"the echo services do not agree ({differ}): give the right one by --ip")
        if told:
            return next(iter(told.values()))
    raise Problem("no echo service answers: see that this machine reaches the internet, or give the address by --ip")


def ask_all(services: Sequence[str], version: int) -> dict[str, Address]:
    """Return what each service that answers says, all over the same family."""
    told: dict[str, Address] = {}
    for service in services:
        host = urlsplit(service).netloc
        try:
            text = ask(service, version)
        except (OSError, ValueError) as error:
            say(f"{host} does not answer over IPv{version} ({error}): going on without it")
            continue
        address = parse(text, host)
        if address.version != version:
            raise Misconfigured(f"{host} answers {address} when asked over IPv{version}: give the address by --ip")
        told[host] = address
    return told


def checked(service: str) -> None:
    """Refuse a service that anyone on the way could answer for."""
    try:
        url = urlsplit(service)
        good = url.scheme == "https" and url.hostname and url.port != 0 and "@" not in url.netloc
    except ValueError:  # a port or a bracket that is none
        good = False
    if not good:
        raise Misconfigured(f"door.echo (INVOKE_DOOR_ECHO): {shown(service)} must be an https:// URL")


def trust() -> ssl.SSLContext:
    """Return what certificates are checked against: the system's (SSL_CERT_FILE), else botocore's own list.

    The Python of python.org comes without any on macOS.
    """
    context = ssl.create_default_context()
    known = ssl.get_default_verify_paths()
    if not known.cafile and not known.capath:
        from botocore.httpsession import where

        context.load_verify_locations(where())
    return context


def ask(service: str, version: int) -> str:
    """Return a service's answer; raise OSError or ValueError if it is none.

    The connection is made over one family, the certificate checked against the
    service's name. Redirects are not followed: the next one could be plain HTTP.
    """
    import urllib3
    from urllib3.exceptions import HTTPError

    url = urlsplit(service)
    host, port = url.hostname or "", url.port or 443
    found = socket.getaddrinfo(host, port, FAMILIES[version], socket.SOCK_STREAM)
    pool = urllib3.HTTPSConnectionPool(
        str(found[0][4][0]),
        port,
        server_hostname=host,
        assert_hostname=host,
        ssl_context=trust(),
        timeout=TIMEOUT,
        retries=False,
    )
    try:
        answer = pool.request(
            "GET",
            url.path or "/",
            headers={"Host": url.netloc, "Accept-Encoding": "identity"},
            redirect=False,
            preload_content=False,
        )
        body = answer.read(LONGEST + 1)
        answer.close()
    except HTTPError as error:
        raise OSError(type(error).__name__) from error
    finally:
        pool.close()
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    if len(body) > LONGEST:
        raise Misconfigured(f"{url.netloc} answers something else than an address: give yours by --ip")
    return body.decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")
