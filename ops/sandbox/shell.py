"""The lines for eval by which a shell enters the sandbox, and those by which it leaves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from config import proxies

REGION = "ca-central-1"
ENV_FILE = ".local/sandbox/env"

# What a shell may know of the real production, or that leads the SDK past our endpoint
FOREIGN = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "GITPOD_IP",
    "CONNECTION_URL",
    "CONNECTION_LOCAL_DOCKER_URL",
    "PROD_CONNECTION_URL",
    "PROD_DB_ENDPOINT",
    "PROD_DB_SSLMODE",
    "POSTGRES_MASTER_USERNAME",
    "POSTGRES_MASTER_PASSWORD",
    "DB_SG_ID",
    "DB_SG_RULE_ID",
    "AWS_COGNITO_USER_POOL_ID",
    "AWS_USER_POOLS_ID",
)
FAMILIES = ("PROD_", "POSTGRES_MASTER_", "DB_SG_", "AWS_ENDPOINT_URL_")


def endpoint(aws_port: int, key: str) -> str:
    """Return the URL of the sandbox's AWS, with the key that it asks for."""
    return f"http://127.0.0.1:{aws_port}/{key}".rstrip("/")


def exports(aws_port: int, port: int, ca: Path, environ: Mapping[str, str], key: str = "") -> dict[str, str]:
    """Return the variables of the sandbox: settings that a user has too, with its values."""
    return {
        "AWS_ENDPOINT_URL": endpoint(aws_port, key),
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "no-secret-at-all",  # it is masked in all that is printed
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "POSTGRES_PORT": str(port),
        "PROD_DB_HOSTADDR": "127.0.0.1",
        "PROD_DB_SSLROOTCERT": str(ca),
        "ENV_FILE": ENV_FILE,
        **proxies.spared(environ),  # the aws command would ask the proxy for 127.0.0.1
    }


def enter(values: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return what the shell has to evaluate to be in the sandbox, and nowhere else."""
    others = (name for name in sorted(environ) if name.startswith(FAMILIES) and re.fullmatch(r"\w+", name))
    unset = [name for name in dict.fromkeys([*FOREIGN, *others]) if name not in values]
    return [f"unset {' '.join(unset)}", *(f"export {name}={shlex.quote(value)}" for name, value in values.items())]


def leave(*, inside: bool) -> list[str]:
    """Return what takes the sandbox out of a shell again: nothing where it is not in, and the values are the user's."""
    if not inside:
        return []
    names = exports(0, 0, Path(), {})
    return [f"unset {' '.join(names)}"]
