"""The only place that asks for a page: HTTPS, by the proxy of the environment, never past a check."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from config import proxies
from config.proxies import Proxy
from ops import process, silence


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    """At most one byte more than was wanted, which tells that there was more."""


def proxy(url: str) -> Proxy | None:
    """Return the proxy by which a URL is asked, if any; raises `Misconfigured` for a variable that names none."""
    return proxies.find(url, process.environ())


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


def get(url: str, *, timeout: float, longest: int, address: str = "") -> Answer:
    """Return what an https:// URL answers, its certificate checked against its own name; redirects are not followed.

    `timeout` is in seconds, `longest` in bytes; `address` is where the host is reached, if a proxy does not reach
    it for us. Raises OSError in a few words, and for a proxy that does not lead there a `Problem`.
    """
    import urllib3
    from urllib3.exceptions import HTTPError
    from urllib3.util import make_headers

    asked, through = urlsplit(url), proxy(url)
    host, port = asked.hostname or "", asked.port or 443
    common: dict[str, Any] = {"ssl_context": trust(), "timeout": timeout, "retries": False}
    pool: urllib3.HTTPSConnectionPool
    if through:
        login = make_headers(proxy_basic_auth=through.login) if through.login else None
        by = urllib3.ProxyManager(through.url, proxy_headers=login, proxy_ssl_context=trust(), **common)
        pool = by.connection_from_host(host, port, "https")  # type: ignore[assignment]
    else:
        pool = urllib3.HTTPSConnectionPool(address or host, port, server_hostname=host, assert_hostname=host, **common)
    try:
        with silence.waiting(f"{host} by {through}" if through else host):
            answer = pool.request(
                "GET",
                f"{asked.path or '/'}{'?' + asked.query if asked.query else ''}",
                headers={"Host": asked.netloc, "Accept-Encoding": "identity"},
                redirect=False,
                preload_content=False,
            )
            body = answer.read(longest + 1)
            answer.close()
    except HTTPError as error:
        if through:
            raise proxies.failed(through, host, proxies.reason(error)) from error
        raise OSError(f"{proxies.reason(error)}{proxies.passed_over(process.environ())}") from error
    finally:
        pool.close()
    return Answer(answer.status, body)
