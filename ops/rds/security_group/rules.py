"""The rules of a security group as AWS has them, and whose they are."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ops.addresses import Network
from ops.cloud import tags
from ops.errors import Misconfigured
from ops.rds.security_group.wide_open import is_wide_open

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import SecurityGroupRuleTypeDef

LONGEST = timedelta(days=30)
SHORTEST = timedelta(minutes=1)
FORM = re.compile(
    r"inv rds\.allow-my-ip: (?P<owner>\S+)(?: workspace (?P<workspace>\S+))?(?: created (?P<created>\S+) expires (?P<expires>\S+))?"
)


@dataclass(frozen=True)
class Rule:
    """One rule that lets something in."""

    id: str
    group: str
    network: Network | None
    """What may enter; None for another group or a prefix list."""
    source: str
    """The same as AWS writes it."""
    protocol: str
    ports: tuple[int, int]
    description: str
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether the suite has made it: by its tags, or where those were refused by its description."""
        return self.tagged or bool(self._said("created"))

    @property
    def tagged(self) -> bool:
        return self.tags.get("ManagedBy") == tags.MANAGED_BY and tags.OWNER in self.tags

    @property
    def owner(self) -> str:
        return self.tags.get(tags.OWNER) or self._said("owner")

    @property
    def workspace(self) -> str:
        """The id of the workspace that it is for; empty on a rule from before there were any."""
        return self.tags.get(tags.WORKSPACE) or self._said("workspace")

    @property
    def created(self) -> datetime | None:
        return moment(self.tags.get(tags.CREATED) or self._said("created"))

    @property
    def expires(self) -> datetime | None:
        return moment(self.tags.get(tags.EXPIRES) or self._said("expires"))

    def _said(self, what: str) -> str:
        """Return what the description says, which stands in for tags."""
        found = FORM.fullmatch(self.description)
        return (found[what] or "") if found else ""

    @property
    def wide_open(self) -> bool:
        """Whether it lets in strangers by the million."""
        return self.network is not None and is_wide_open(self.network)

    def lets_in(self, network: Network, port: int) -> bool:
        """Whether this rule opens the port for the whole of a network."""
        if self.network is None or self.network.version != network.version:
            return False
        inside = int(self.network[0]) <= int(network[0]) and int(network[-1]) <= int(self.network[-1])
        return inside and self.reaches(port)

    def reaches(self, port: int) -> bool:
        """Whether this rule is about the port at all."""
        return self.protocol == "-1" or (self.protocol == "tcp" and self.ports[0] <= port <= self.ports[1])

    def is_exactly(self, network: Network, port: int) -> bool:
        return (self.network, self.protocol, self.ports) == (network, "tcp", (port, port))


def listed(ec2: EC2Client, group: str) -> list[Rule]:
    """Return the rules of a group that let something in."""
    pages = ec2.get_paginator("describe_security_group_rules").paginate(
        Filters=[{"Name": "group-id", "Values": [group]}]
    )
    return [read(raw) for page in pages for raw in page["SecurityGroupRules"] if not raw.get("IsEgress")]


def read(raw: SecurityGroupRuleTypeDef) -> Rule:
    """Return one rule of AWS's answer."""
    cidr = raw.get("CidrIpv4") or raw.get("CidrIpv6") or ""
    other = raw.get("PrefixListId") or (raw.get("ReferencedGroupInfo") or {}).get("GroupId") or ""
    network: Network | None = None
    if cidr:
        try:
            network = ipaddress.ip_network(cidr, strict=False)  # a stand-in for AWS keeps host bits
        except ValueError:
            network = None
    low, high = raw.get("FromPort", -1), raw.get("ToPort", -1)
    return Rule(
        id=raw["SecurityGroupRuleId"],
        group=raw.get("GroupId", ""),
        network=network,
        source=str(network or cidr or other),
        protocol=str(raw.get("IpProtocol", "")),
        ports=(low, high),
        description=raw.get("Description") or "",
        tags=tags.from_aws(raw.get("Tags")),
    )


@dataclass(frozen=True)
class Mark:
    """Whose rule it is, since when and until when."""

    owner: str
    created: datetime
    expires: datetime
    workspace: str = ""

    @property
    def tags(self) -> dict[str, str]:
        times = {tags.CREATED: stamp(self.created), tags.EXPIRES: stamp(self.expires)}
        place = {tags.WORKSPACE: self.workspace} if self.workspace else {}
        return {"ManagedBy": tags.MANAGED_BY, tags.OWNER: self.owner, **place, **times}

    @property
    def description(self) -> str:
        return f"inv rds.allow-my-ip: {self.owner}"

    @property
    def full_description(self) -> str:
        """What stands in for the tags where AWS does not let us set any."""
        place = f" workspace {self.workspace}" if self.workspace else ""
        return f"{self.description}{place} created {stamp(self.created)} expires {stamp(self.expires)}"


def owner_name(text: str) -> str:
    """Return an owner's name in the letters that AWS takes in tags and descriptions.

    Where that changes it, a short digest keeps two owners apart.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._:/@=+-]", "-", plain)[:120]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def lifetime(text: str, source: str) -> timedelta:
    """Read how long a rule stays: 12h, 30m or 7d."""
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if not found:
        raise Misconfigured(f"{source}: {text!r} is no lifetime: write it like 12h, 30m or 7d")
    unit = {"m": "minutes", "h": "hours", "d": "days"}[found[2]]
    length = timedelta(**{unit: int(found[1])})
    if not SHORTEST <= length <= LONGEST:
        raise Misconfigured(f"{source}: {text} is not between 1m and {LONGEST.days}d")
    return length


def stamp(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime | None:
    """Read a time that we wrote; what anyone else wrote there is no time."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
