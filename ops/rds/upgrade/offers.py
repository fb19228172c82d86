"""What AWS offers for an upgrade of an instance: which versions, for which classes, with which extensions.

Where AWS may not be asked (no permission, or an endpoint that lacks it), that is said, and AWS has the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.cloud.facts import Row
from ops.errors import Misconfigured
from ops.rds import lookups

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

    from config.rds import Rds

EXTENSIONS = "rds.extensions"
"""The parameter that lists what a version has (RDS user guide, "Supported PostgreSQL extension versions")."""


@dataclass
class Offer:
    """What an instance would be upgraded to."""

    version: str
    """Empty where it is at the newest already that is asked for."""
    extensions: frozenset[str] | None = None
    """Which the new major version has; None where AWS did not tell."""


def major(version: str) -> int:
    """Return the major version of a PostgreSQL that RDS offers: all are 10 or newer."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def fits(version: str, wanted: str) -> bool:
    """Whether a version is the one that is wanted, or a minor one of it."""
    return f"{version}.".startswith(f"{wanted}.")


def check_wanted(wanted: str, row: Row) -> None:
    """Refuse what is no version, or an older one than the instance has: AWS leads no instance back."""
    if not re.fullmatch(r"\d{2}(\.\d{1,2})?", wanted):
        raise Misconfigured(f"--to {wanted}: give a major version like 18, or an exact one like 18.4")
    have = row["EngineVersion"]
    if lookups.numbers(wanted) < lookups.numbers(have)[: len(lookups.numbers(wanted))]:
        raise Misconfigured(
            f"--to {wanted}: {row['DBInstanceIdentifier']} has {have}, and no way leads back: restore a snapshot"
        )


def ask(aws: Aws, rds: Rds, row: Row, wanted: str) -> Offer:
    """Return what AWS would upgrade to; raises `Misconfigured` where it does not."""
    offer = Offer("" if fits(row["EngineVersion"], wanted) else wanted)
    targets: list[dict[str, Any]] | None = None

    def versions(aws: Aws, _: Rds, __: lookups.Found) -> None:
        nonlocal targets
        client: RDSClient = aws.client("rds")
        rows = client.describe_db_engine_versions(
            Engine="postgres", EngineVersion=row["EngineVersion"], IncludeAll=True
        )
        targets = [dict(one) for each in rows["DBEngineVersions"] for one in each.get("ValidUpgradeTarget", [])]

    found = lookups.Found()
    lookups.optional("which versions AWS upgrades to", versions, aws, rds, found)
    if targets is None:
        return offer
    named = sorted(
        {str(one["EngineVersion"]) for one in targets if one.get("Engine") == "postgres"}, key=lookups.numbers
    )
    able = [version for version in named if fits(version, wanted)]
    if not able and offer.version:
        raise Misconfigured(
            f"--to {wanted}: AWS upgrades {row['EngineVersion']} to {', '.join(named) or 'no other version'} only"
        )
    offer.version = able[-1] if able else ""
    if offer.version:
        lookups.optional("whether the class has the new version", of_class(row, offer.version), aws, rds, found)
    return offer


def of_class(row: Row, version: str) -> lookups.Step:
    """Return the look whether an instance's class exists for a version."""

    def look(aws: Aws, _: Rds, __: lookups.Found) -> None:
        client: RDSClient = aws.client("rds")
        answer = client.describe_orderable_db_instance_options(
            Engine="postgres", EngineVersion=version, DBInstanceClass=row["DBInstanceClass"]
        )
        if not answer["OrderableDBInstanceOptions"]:
            raise Misconfigured(
                f"{row['DBInstanceClass']} does not run PostgreSQL {version} in {aws.region}: "
                "change rds.instance_class first"
            )

    return look


def ask_extensions(aws: Aws, rds: Rds, offer: Offer) -> None:
    """Note which extensions the new major version has."""

    def look(aws: Aws, _: Rds, __: lookups.Found) -> None:
        client: RDSClient = aws.client("rds")
        pages = client.get_paginator("describe_engine_default_parameters").paginate(
            DBParameterGroupFamily=f"postgres{major(offer.version)}"
        )
        rows = [one for page in pages for one in page["EngineDefaults"].get("Parameters", [])]
        told: Any = next((one for one in rows if one.get("ParameterName") == EXTENSIONS), {})
        names = str(told.get("ParameterValue") or told.get("AllowedValues") or "")
        offer.extensions = frozenset(filter(None, re.split(r"[\s,]+", names))) or None

    lookups.optional("which extensions the new version has", look, aws, rds, lookups.Found())


def check_group(row: Row, offer: Offer, group: str) -> None:
    """Refuse an upgrade whose parameter group AWS would refuse: one of the user's own is of one major version.

    ModifyDBInstance, EngineVersion: where a group that is no default one is in use, one of the new family must be named.
    """
    if major(offer.version) == major(row["EngineVersion"]):
        return
    own = [str(one["DBParameterGroupName"]) for one in row.get("DBParameterGroups", [])]
    own = [name for name in own if not name.startswith("default.")]
    if own and not group:
        raise Misconfigured(
            f"{row['DBInstanceIdentifier']} has the parameter group {own[0]}, which is of the old version: name one of "
            f"postgres{major(offer.version)} by --parameter-group, or AWS's default.postgres{major(offer.version)}"
        )
