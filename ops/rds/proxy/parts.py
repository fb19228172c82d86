"""What the proxy of an instance consists of, and what each part is called and known by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from config.rds import Rds
from ops.cloud import tags
from ops.cloud.own_group import OwnGroup
from ops.errors import Misconfigured
from ops.rds.server import LONGEST

PROXY = "inv:proxy"
"""The tag of each part: its value is the instance that it is for."""
PORT = 5432
"""Where a proxy of the family POSTGRESQL listens, whatever the port of its instance is."""
SUFFIX = "-proxy"
LONGEST_ROLE = 64
ENDPOINT = re.compile(r"[a-z0-9-]+\.proxy-[a-z0-9]+\.", re.IGNORECASE)
"""How the name of a proxy begins, by which it is told from an instance's own."""


@dataclass(frozen=True)
class Parts:
    """The proxy of one instance."""

    identifier: str
    """The instance's."""
    project: str
    region: str

    @property
    def name(self) -> str:
        """The proxy's; raises `Misconfigured` where RDS would not take it."""
        found = self.identifier + SUFFIX
        if len(found) > LONGEST:
            raise Misconfigured(
                f"a proxy cannot be called {found}: {LONGEST} characters at most; a shorter rds.identifier leaves room for {SUFFIX}"
            )
        return found

    @property
    def role(self) -> str:
        """The role's; roles are of the whole account, and an instance of one name may be in each region."""
        begin, mark = f"inv-proxy-{self.identifier}", f"-{self.region}"
        if len(begin + mark) <= LONGEST_ROLE:
            return begin + mark
        digest = hashlib.sha256(self.identifier.encode()).hexdigest()[:8]
        return f"{begin[: LONGEST_ROLE - len(mark) - 9]}-{digest}{mark}"

    @property
    def secret(self) -> str:
        """The name of the secret that has the function's password, where it logs in by one."""
        return f"inv-proxy-{self.identifier}"

    @property
    def tags(self) -> dict[str, str]:
        return {**tags.of_project(self.project), PROXY: self.identifier}

    @property
    def group(self) -> OwnGroup:
        return OwnGroup(
            name=f"proxy-{self.identifier}",
            description=f"Proxy of the RDS instance {self.identifier} (inv rds.proxy)",
            project=self.project,
            key=PROXY,
            owner=self.identifier,
        )

    def owns(self, have: dict[str, str]) -> bool:
        """Whether these tags are those of what was made for this instance."""
        return tags.is_ours(have) and have.get(PROXY) == self.identifier


def of(rds: Rds, region: str) -> Parts:
    """Return the parts of the proxy of the settings' instance."""
    return Parts(rds.identifier.lower(), rds.project, region)


def is_endpoint(host: str) -> bool:
    """Whether a host name is a proxy's."""
    return ENDPOINT.match(host) is not None
