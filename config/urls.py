"""What a database URL means to libpq, and where that is not what its author meant."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ops.errors import Misconfigured

MAINTENANCE = ("postgres", "template0", "template1", "rdsadmin")
SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def read(url: str, source: str) -> dict[str, str]:
    """Return the libpq parameters of a URL, or say what in it libpq would misread.

    Raises `Misconfigured` naming the variable `source` and the character, never a
    part of the URL: whatever stands there may be a piece of the password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    if why := misread(url):
        raise Misconfigured(f"{source}: {why}")
    try:
        params = {k: str(v) for k, v in conninfo_to_dict(url).items() if v is not None}
    except psycopg.Error as error:
        if "query parameter" in str(error):
            why = "a parameter after the ? is none that libpq knows: remove it, or correct it"
        else:
            why = "libpq cannot read it: it must look like postgresql://user:password@host:5432/database"
        raise Misconfigured(f"{source}: {why}") from None
    except UnicodeError:
        raise Misconfigured(f"{source}: a %XX in it is not UTF-8: write non-ASCII characters as they are") from None
    if why := unusable(params):
        raise Misconfigured(f"{source}: {why}")
    return params


def misread(url: str) -> str:
    """Return what in a URL libpq would take for something else than meant, or nothing."""
    if url[:1] in ("'", '"') or url[-1:] in ("'", '"'):
        return "has quotes around it: remove them"
    if url != url.strip() or any(ord(c) < 32 or ord(c) == 127 for c in url):
        return "has a blank or a control character at its start or end, or a line break: remove it"
    scheme, found, rest = url.partition("://")
    if not found or scheme not in ("postgresql", "postgres"):
        return "must begin with postgresql:// and look like postgresql://user:password@host:5432/database"
    if re.search(r"\$\{|\$\(", url):
        return "holds an unexpanded ${…}: the shell or file it came from did not fill it in"
    if any(c.isspace() for c in url):
        return "holds a blank: write it as %20"

    # libpq ends user:password at the first @, and the address at the first /
    authority, _, path = rest.partition("/")
    if "@" in path.partition("?")[0] or ("@" in path and ":" in authority and "@" not in authority):
        return "a raw / in the password: write it as %2F (a raw @ in the database name is %40)"
    if authority.count("@") > 1:
        return "a raw @ in the user or password: write it as %40"
    credentials = authority.rpartition("@")[0]
    if bad := re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        place = "the password" if bad.start() < len(credentials) else "the URL"
        return f"a raw % in {place}: write it as %25"
    if "%00" in rest:
        return "holds %00: a zero byte cannot be sent to Postgres, remove it"
    if re.fullmatch(r"<[^<>]*>|\[[A-Za-z _-]*\]", credentials.partition(":")[2]):
        return "a placeholder stands where the password belongs: fill it in"
    if "#" in path:
        return "a raw # after the host: write it as %23"
    return ""


def unusable(params: Mapping[str, str]) -> str:
    """Return why libpq's reading of a URL does not name one database of ours, or nothing."""
    if any("," in params.get(name, "") for name in ("host", "hostaddr", "port")):
        return "names several hosts: give one"
    if params.get("port") and not is_port(params["port"]):
        if params["port"].isdigit():
            return "the port must be a number from 1 to 65535"
        return (
            "the port must be a number; special characters in the password are written "
            "as %XX (@ is %40, / is %2F, : is %3A)"
        )
    if params.get("hostaddr") and not is_address(params["hostaddr"]):
        return "hostaddr must be numeric, like 127.0.0.1"
    if params.get("sslmode") and params["sslmode"] not in SSLMODES:
        return f"sslmode must be one of {', '.join(SSLMODES)}"
    if not re.fullmatch(r"[0-9]*", params.get("connect_timeout", "")):
        return "connect_timeout must be a number of seconds"
    if "service" in params:
        return "takes no service=: give host, port, user and database"
    name = params.get("dbname", "")
    if not name:
        return "no database name: end it with /cruddur, or the name of your database"
    if name in MAINTENANCE:
        return f"the database {name} belongs to the server itself: name your own, like /cruddur"
    if len(name.encode()) > 63:
        return "the database name is longer than the 63 bytes that Postgres keeps"
    return ""


def is_port(text: str) -> bool:
    """Whether this is a port number."""
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def is_address(text: str) -> bool:
    """Whether this is a numeric address, which libpq takes without asking for a name."""
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
