"""This workspace's public address: given, or told alike by two echo services.

What an echo answers goes into a firewall rule, so it is taken only if it is an
address and nothing else: a captive portal answers HTML with status 200.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from config.proxies import Proxy
from ops import web
from ops.addresses import UNICAST6, UNROUTED6, Address, is_public
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
    why = why_not_public(address)
    if why:
        raise Misconfigured(f"{source}: {address} is {why}: give the public address of this workspace (--ip)")
    return address


def why_not_public(address: Address) -> str:
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
    if not is_public(address):
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
        check_service(service)
    blocked: list[Problem] = []
    for version in (4, 6):
        told = ask_all(services, version, blocked)
        if len(set(told.values())) > 1:
            differ = ", ".join(f"{host} says {address}" for host, address in told.items())
            raise Misconfigured(f"the echo services do not agree ({differ}): give the right one by --ip")
        if told:
            return next(iter(told.values()))
    if blocked:
        raise Problem(f"{blocked[0]}, or give the address by --ip")
    raise Problem("no echo service answers: see that this machine reaches the internet, or give the address by --ip")


def ask_all(services: Sequence[str], version: int, blocked: list[Problem]) -> dict[str, Address]:
    """Return what each service that answers says, all over the same family.

    By a proxy a service is asked once, with version 4, and the family is the proxy's choice; what one
    does not lead to is added to `blocked`.
    """
    told: dict[str, Address] = {}
    by: Proxy | None = None
    for service in services:
        host, through = urlsplit(service).netloc, web.proxy(service)
        if through and version == 6:
            continue
        over = f"by {through}" if through else f"over IPv{version}"
        try:
            text = ask(service, version)
        except Misconfigured:
            raise
        except Problem as error:
            blocked.append(error)
            continue
        except (OSError, ValueError) as error:
            say(f"{host} does not answer {over} ({error}): going on without it")
            continue
        address = parse(text, host)
        if address.version != version and not through:
            raise Misconfigured(f"{host} answers {address} when asked over IPv{version}: give the address by --ip")
        told[host], by = address, by or through
    for one in blocked if told else ():
        say(f"{one}: going on without it")
    if by:
        say(f"note: asked by {by}: if Postgres is reached from here by another address, give that by --ip")
    return told


def check_service(service: str) -> None:
    """Refuse a service that anyone on the way could answer for."""
    try:
        url = urlsplit(service)
        good = url.scheme == "https" and url.hostname and url.port != 0 and "@" not in url.netloc
    except ValueError:  # a port or a bracket that is none
        good = False
    if not good:
        raise Misconfigured(f"door.echo (INVOKE_DOOR_ECHO): {shown(service)} must be an https:// URL")


def ask(service: str, version: int) -> str:
    """Return a service's answer, over one family where no proxy stands between; raise OSError or ValueError if it is none."""
    url = urlsplit(service)
    address = ""
    if not web.proxy(service):  # which else finds the host by itself, in whatever family it has
        found = socket.getaddrinfo(url.hostname, url.port or 443, FAMILIES[version], socket.SOCK_STREAM)
        address = str(found[0][4][0])
    answer = web.get(service, timeout=TIMEOUT, longest=LONGEST, address=address)
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    if len(answer.body) > LONGEST:
        raise Misconfigured(f"{url.netloc} answers something else than an address: give yours by --ip")
    return answer.body.decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")
