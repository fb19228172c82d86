"""The certificates that RDS servers are checked against, fetched into .local.

They are RDS's own roots, which no system's store holds. Python's ssl reads
them, so that no further package is needed: OpenSSL itself tells whether a
certificate is a CA, as it will when libpq uses the file.
"""

from __future__ import annotations

import functools
import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.declared import PROD
from config.paths import local_dir, write_private
from config.settings import Settings
from config.targets import ca_bundle
from ops import own_files, web
from ops.console import say
from ops.errors import Problem

TIMEOUT = 20.0
LONGEST = 4_000_000
"""Bytes; the bundle of all regions has some 160,000."""
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def bundle(settings: Settings) -> Path:
    return ca_bundle(settings.root)


def fetch(settings: Settings) -> Path:
    """Fetch the bundle, check it, and put it in place by a rename."""
    url = settings.rds.ca_url
    pem = check_bundle(download(url, settings.focus.names.sslrootcert), url)
    path = bundle(settings)
    local_dir(settings.root)
    write_private(path, with_public_roots("\n".join(pem) + "\n"))
    say(f"fetched {len(pem)} RDS certificates into {path.relative_to(settings.root)}")
    return path


def complete(settings: Settings) -> None:
    """Add Amazon's public roots to a bundle that was fetched without them."""
    path = bundle(settings)
    have = own_files.content(path).decode("ascii", errors="replace")
    if (whole := with_public_roots(have)) != have:
        write_private(path, whole)


def with_public_roots(pem: str) -> str:
    """Return certificates with Amazon's public roots behind them, each once."""
    return pem if public_roots() in pem else f"{pem.rstrip()}\n{public_roots()}"


@dataclass(frozen=True)
class Bundle:
    """The certificates that RDS is checked against."""

    path: str
    """The file that holds them."""


def download(url: str, variable: str = PROD.sslrootcert) -> str:
    """Return what a URL holds, over HTTPS from end to end."""
    if not url.startswith("https://"):
        raise Problem(f"{url} (rds.ca_url) must be an https:// URL")
    try:
        answer = web.get(url, timeout=TIMEOUT, longest=LONGEST)
    except OSError as error:
        raise Problem(
            f"the RDS certificates were not fetched from {url} ({error}): set rds.ca_url, or {variable} to a file"
        ) from error
    if answer.status != 200 or len(answer.body) > LONGEST:
        raise Problem(f"{url} answers {answer.status} with {len(answer.body)} bytes, not a bundle: correct rds.ca_url")
    return answer.body.decode("ascii", errors="replace")


def check_bundle(text: str, source: str, now: float | None = None) -> list[str]:
    """Return the certificates of a bundle, each a CA and in date.

    What is no CA makes the whole bundle suspect. One that has expired is left
    out: roots of single regions do expire, and must not lock the others out.
    """
    found = CERTIFICATE.findall(text)
    if not found:
        raise Problem(f"{source} holds no certificate: correct rds.ca_url")
    now, kept = time.time() if now is None else now, []
    for number, pem in enumerate(found, 1):
        dates = validity(pem)
        if isinstance(dates, str):
            raise Problem(f"{source}: certificate {number} of {len(found)} {dates}: nothing was changed")
        if dates[0] <= now < dates[1]:
            kept.append(str(pem))
    if not kept:
        raise Problem(f"{source}: none of its {len(found)} certificates is in date: correct rds.ca_url, or this clock")
    if len(kept) < len(found):
        say(f"left out {len(found) - len(kept)} certificates that are not in date")
    return kept


@functools.cache
def public_roots() -> str:
    """Return Amazon's public roots: RDS Proxy, and the gateway of a cluster by express configuration, have certificates of AWS
    Certificate Manager, which none of RDS's own roots has signed.

    They are those that botocore brings (RDS User Guide, "Using TLS/SSL with RDS Proxy"; Aurora User Guide, "Create with express
    configuration", Certificate authority).
    """
    import botocore

    text = (Path(botocore.__file__).parent / "cacert.pem").read_text(encoding="utf-8")
    found = [str(pem) for pem in CERTIFICATE.findall(text) if is_amazons(pem)]
    return "".join(f"{pem}\n" for pem in found)


def is_amazons(pem: str) -> bool:
    """Whether a CA's certificate is Amazon's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    authorities: list[Any] = context.get_ca_certs()
    return any(part == (("organizationName", "Amazon"),) for one in authorities for part in one["subject"])


def validity(pem: str) -> tuple[int, int] | str:
    """Return from when to when a CA's certificate holds, or what it is instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except ssl.SSLError:
        return "cannot be read"
    authorities: list[Any] = context.get_ca_certs()  # leaves out what is no CA
    if not authorities:
        return "is no CA"
    [authority] = authorities
    return ssl.cert_time_to_seconds(authority["notBefore"]), ssl.cert_time_to_seconds(authority["notAfter"])
