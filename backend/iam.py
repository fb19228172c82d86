"""A token of IAM in the place of a password, for each new connection: DB_IAM asks for it.

It is signed here, by the login to AWS that botocore finds (of a container, an instance, a profile or the environment), for the
instance's own name and port, and good for fifteen minutes; a session outlives it (RDS User Guide, "IAM database authentication").
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from backend.settings import Misconfigured

REGION = r"[a-z]{2,}(?:-[a-z]+)+-\d+"


def signer(conninfo: str, server: str, *, replica: bool = False) -> Callable[[], str]:
    """Return what signs a token for a libpq URL or conninfo string; `server` is yes, or HOST:PORT where a tunnel leads there.

    Raises `Misconfigured` where no token may be sent, or none would be taken.
    """
    from psycopg.conninfo import conninfo_to_dict

    asked, url = ("READ_DB_IAM", "READ_CONNECTION_URL") if replica else ("DB_IAM", "CONNECTION_URL")
    params = conninfo_to_dict(conninfo)
    host, _, port = server.rpartition(":") if ":" in server else (str(params.get("host", "")), "", "")
    host, port = host.lower().rstrip("."), port or str(params.get("port") or 5432)
    found = re.search(rf"(?:\.({REGION}))?\.rds(?:\.({REGION}))?\.", host)
    region = (found[1] or found[2]) if found else None
    if not region:
        raise Misconfigured(f"{asked}: {url} names no instance of RDS by its own name, for which a token is signed")
    if params.get("sslmode") != "verify-full":
        raise Misconfigured(f"{asked}: a token goes over verified TLS only: add ?sslmode=verify-full to {url}")
    if not params.get("user"):
        raise Misconfigured(f"{asked}: {url} names no user, for whom a token is signed")
    return lambda: str(client(region).generate_db_auth_token(host, int(port), str(params["user"]), region))


@functools.cache
def client(region: str) -> Any:
    """Return what signs for a region; the login to AWS is looked up once, and renewed by botocore."""
    try:
        import botocore.session
    except ModuleNotFoundError:
        raise Misconfigured("DB_IAM: botocore is missing, which signs the tokens: pip install botocore") from None
    session = botocore.session.Session()
    if session.get_credentials() is None:
        raise Misconfigured(
            "DB_IAM: there is no login to AWS, by which a token is signed: AWS_PROFILE, or a role for this container"
        )
    return session.create_client("rds", region_name=region)
