"""By which proxy AWS is asked, and what it means where that is in the way: botocore's errors tell host and port alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config import proxies
from ops.errors import Problem

_named: list[proxies.Proxy] = []
"""Those that the environment names."""
_asked: dict[str, proxies.Proxy] = {}
"""The endpoints that are asked by one in this command."""


def note(environ: Mapping[str, str]) -> None:
    """Remember which proxies the environment names."""
    _named[:] = proxies.named(environ).values()


def chosen(url: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the proxies to ask for an endpoint where botocore would choose otherwise, else None.

    It asks them for this machine, too, and does not know ALL_PROXY.
    """
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    if proxies.is_here(urlsplit(url).hostname or ""):
        return {} if getproxies() else None
    if found := proxies.find(url, environ):
        _asked[url] = found
        if found.for_all:
            return dict.fromkeys(("http", "https"), found.url)
    return None


def pathless(text: str) -> str:
    """Return a text with its URLs cut after the host: the path of an endpoint may be the key to it."""
    import re

    return re.sub(r"(https?://[^\s/\"']+/)[^\s\"']+", r"\1", text)


def passed_over() -> str:
    """Return which variables of a proxy were not taken for one, in words."""
    return proxies.passed_over({one.variable: one.url for one in _named})


def failed(error: Any) -> Problem | None:
    """Return what it means that an endpoint was not reached by a proxy; None where none was asked.

    An error in reaching the proxy tells its address, one behind it the endpoint.
    """
    url = str(error.kwargs.get("endpoint_url") or "")
    address = str(error.kwargs.get("proxy_url") or "").rpartition("@")[2].rpartition("//")[2].rstrip("/")
    there = {one: by for one, by in _asked.items() if by.address == address or url.startswith(one)}
    known = [*there.values(), *(one for one in _named if one.address == address)]
    if not known and not address:
        return None
    by = known[0] if known else proxies.Proxy("the system's settings", f"http://{address}")
    hosts = " and ".join(one.split("/")[2] for one in there) or "AWS"
    return proxies.failed(by, hosts, proxies.reason(error.kwargs.get("error") or error), trust="AWS_CA_BUNDLE")


def answered(status: int, what: str) -> Problem | None:
    """Return what an answer means that a proxy gives in the place of a service, as it can by plain HTTP."""
    plain = [(url.split("/")[2], by) for url, by in _asked.items() if url.startswith("http:")]
    if plain and (status in {403, 407} or status >= 500):
        return proxies.failed(plain[-1][1], plain[-1][0], f"{status} {what}".strip())
    return None
