"""A token of IAM in the place of a password: signed here, without a call, and with the standard library alone.

botocore signs the same (generate_db_auth_token), and its import at a cold start would cost more than the row. What is signed is
a GET of `/?Action=connect&DBUser=…` at the instance's own name and port for the service rds-db, by Signature Version 4 in the
query (IAM User Guide, "Create a signed AWS API request"; RDS User Guide, "Connecting to your DB instance using IAM
authentication"). It holds for fifteen minutes, for that name, port, user and region.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import quote

SECONDS = 900
"""How long a token holds, at most."""
ALGORITHM = "AWS4-HMAC-SHA256"
KEY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Lambda's variables of the role that a function runs as; AWS_SESSION_TOKEN goes with them."""
GIVER, WORD = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"
"""Where a function asks for its role's keys, and by what word, instead of having them in variables: so with SnapStart, since those
of the snapshot would have expired (Lambda Developer Guide, "Using SnapStart with AWS SDKs")."""
PATIENCE = 1.0
"""Seconds for the answer, which comes from the sandbox itself."""
REGION = r"[a-z]{2,}(?:-[a-z]+)+-\d+"


class Unsigned(LookupError):
    """A token cannot be signed, or is not sent; the text says why."""


def keys(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables of a role's keys as they are just now; raises `Unsigned` where they are to be asked for, and cannot be had."""
    if GIVER not in environ:
        return environ
    import http.client
    import json
    from urllib.parse import urlsplit

    where = urlsplit(environ[GIVER])
    try:
        asked = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        path = f"{where.path}?{where.query}" if where.query else where.path
        asked.request("GET", path, headers={"Authorization": environ.get(WORD, "")})
        answer = asked.getresponse()
        given = json.loads(answer.read())
        asked.close()
        names = ("AccessKeyId", "SecretAccessKey", "Token")
        return dict(zip((*KEY, "AWS_SESSION_TOKEN"), (str(given[name]) for name in names), strict=True))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise Unsigned(
            f"Lambda gives no keys of the role ({type(error).__name__}), by which a token is signed"
        ) from error


def region_of(host: str) -> str:
    """Return the region that an instance's own name says, before `rds` or, in China and where governments are, after it."""
    found = re.search(rf"(?:\.({REGION}))?\.rds(?:\.({REGION}))?\.", host.lower())
    return (found[1] or found[2] or "") if found else ""


def signed(host: str, port: str, user: str, environ: Mapping[str, str], now: float) -> str:
    """Return the token for a user of an instance, from `now` on, in seconds since 1970.

    `environ` has the login to AWS. Raises `Unsigned` where it has none, or the name says no region.
    """
    region, missing = region_of(host), [name for name in KEY if not environ.get(name)]
    if not region:
        raise Unsigned("the host is not an instance's own name, for which a token could be signed")
    if missing:
        raise Unsigned(f"{missing[0]} is not set, by which a token is signed")
    access, secret = (environ[name] for name in KEY)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = (stamp[:8], region, "rds-db", "aws4_request")
    asked = {
        "Action": "connect",
        "DBUser": user,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": "/".join((access, *scope)),
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    if session := environ.get("AWS_SESSION_TOKEN"):
        asked["X-Amz-Security-Token"] = session
    pairs = [f"{name}={quote(value, safe='')}" for name, value in asked.items()]
    named = host.lower() if port == "443" else f"{host.lower()}:{port}"  # the port of https is never told
    request = ("GET", "/", "&".join(sorted(pairs)), f"host:{named}", "", "host", hashlib.sha256(b"").hexdigest())
    what = (ALGORITHM, stamp, "/".join(scope), hashlib.sha256("\n".join(request).encode()).hexdigest())
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, "\n".join(what).encode(), "sha256").hex()
    return f"{host}:{port}/?{'&'.join(pairs)}&X-Amz-Signature={signature}"
