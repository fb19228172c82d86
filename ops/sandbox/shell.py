"""The lines for eval by which a shell enters the sandbox, and those by which it leaves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from config import proxies
from config.declared import BUILT_IN, Declared, Kind

REGION = "ca-central-1"
KEY_ID, SECRET = "sandbox", "no-secret-at-all"
"""The login to its AWS, which may do everything; the secret is masked in all that is printed."""
ENV_FILE = ".local/sandbox/env"
ALL = tuple(BUILT_IN.values())

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
)
FAMILIES = ("PROD_", "POSTGRES_MASTER_", "DB_SG_", "AWS_ENDPOINT_URL_")


def endpoint(aws_port: int, key: str) -> str:
    """Return the URL of the sandbox's AWS, with the key that it asks for."""
    return f"http://127.0.0.1:{aws_port}/{key}".rstrip("/")


def variables(targets: Iterable[Declared]) -> list[str]:
    """Return the variables of all targets, in their order."""
    names = (field for target in targets for field in target.names)
    return list(dict.fromkeys(one for field in names for one in ([field] if isinstance(field, str) else field) if one))


def exports(
    aws_port: int, port: int, ca: Path, environ: Mapping[str, str], key: str = "", targets: Iterable[Declared] = ALL
) -> dict[str, str]:
    """Return the variables of the sandbox: settings that a user has too, with its values."""
    values = {
        "AWS_ENDPOINT_URL": endpoint(aws_port, key),
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "ENV_FILE": ENV_FILE,
        **proxies.spared(environ),  # the aws command would ask the proxy for 127.0.0.1
    }
    for names in (target.names for target in targets if Kind.RDS in target.kinds):
        values |= {names.port: str(port), names.hostaddr: "127.0.0.1", names.sslrootcert: str(ca)}
    return values


@dataclass(frozen=True)
class Change:
    """What a shell has to do to enter the sandbox, or to leave it."""

    unset: list[str]
    """The variables that it has to unset, before the others are set."""
    variables: dict[str, str]
    """The variables that it has to export, by their names; secrets of the sandbox's own are among them."""

    def lines(self) -> list[str]:
        """Return it for eval."""
        exported = [f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return [*([f"unset {' '.join(self.unset)}"] if self.unset else []), *exported]


def enter(values: Mapping[str, str], environ: Mapping[str, str], targets: Iterable[Declared] = ALL) -> Change:
    """Return what the shell has to do to be in the sandbox, and nowhere else."""
    others = (name for name in sorted(environ) if name.startswith(FAMILIES) and re.fullmatch(r"\w+", name))
    unset = [name for name in dict.fromkeys([*FOREIGN, *variables(targets), *others]) if name not in values]
    return Change(unset, dict(values))


def leave(targets: Iterable[Declared] = ALL, *, inside: bool) -> Change:
    """Return what takes the sandbox out of a shell again: nothing where it is not in, and the values are the user's."""
    if not inside:
        return Change([], {})
    return Change(list(exports(0, 0, Path(), {}, targets=targets)), {})
