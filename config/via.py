"""The way to a database that this machine does not reach: by a bastion, over SSH or AWS's Session Manager."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ops.errors import Misconfigured

LIKE = "write it as ssh://user@bastion, ssh://user@bastion:2222 or ssm://i-0123456789abcdef0"
# Neither may begin with a hyphen: ssh would take it for an option
USER = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"
HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:]+(?:%[A-Za-z0-9]+)?\]"
INSTANCE = r"m?i-[0-9a-f]{8,17}"


@dataclass(frozen=True)
class Via:
    """What stands between this machine and a server."""

    kind: Literal["ssh", "ssm"]
    host: str
    """The bastion: a name of ~/.ssh/config, a host name or an address; or the id of an instance."""
    user: str = ""
    """Empty: as ssh's own configuration says."""
    port: str = ""
    """As `user`."""

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{user}{host}{f':{self.port}' if self.port else ''}"


def wrong(text: str) -> str:
    """Return what of a way cannot be meant, or nothing; no part of it is repeated, it may hold a password."""
    if re.match(r"ssh://[^/@]*:[^/]*@", text):
        return "holds a password: ssh takes none here, name a key in ~/.ssh/config or give it to ssh-agent"
    return "" if found(text) else f"is no way to a server: {LIKE}"


def read(text: str, source: str) -> Via:
    """Return the way that a text names; raises `Misconfigured` naming where the text stands."""
    if why := wrong(text):
        raise Misconfigured(f"{source}: {why}")
    match = found(text)
    assert match is not None
    parts = {key: value or "" for key, value in match.groupdict().items()}
    if parts.get("instance"):
        return Via("ssm", parts["instance"])
    return Via("ssh", parts["host"].strip("[]"), parts["user"], parts["port"])


def found(text: str) -> re.Match[str] | None:
    match = re.fullmatch(rf"ssm://(?P<instance>{INSTANCE})", text) or re.fullmatch(
        rf"ssh://(?:(?P<user>{USER})@)?(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?/?", text
    )
    port = match and match.groupdict().get("port")
    return match if match and (not port or 0 < int(port) < 65536) else None
