"""The request for a replica: what the settings say, and what it does not take over from its source by itself.

Backups are off on a replica and all else is inherited, "except as specified": which the security groups, tags, IAM logins, public
address and deletion protection are (API reference of CreateDBInstanceReadReplica). Which fields it takes, botocore's model tells.
"""

from __future__ import annotations

from typing import Any

from config.settings import Settings
from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.rds import request
from ops.rds.replica import names
from ops.rds.restore.request import kept, members

OPERATION = "CreateDBInstanceReadReplica"
NOT_ASKED = {
    "DBInstanceIdentifier": "it is another one",
    "AllocatedStorage": "as much as the source has, which may have grown",
    "AvailabilityZone": "AWS's choice: the source's would go down with it",
    "DBSubnetGroupName": "that of the source: another is refused within a region (DBSubnetGroupNotAllowedFault)",
    "MultiAZ": "a standby of what can be made anew at any time",
    "Port": "that of the source",
}
"""Fields that a new instance is asked for with and a replica is not."""


def build(settings: Settings, aws: Aws, source: Row, groups: list[str]) -> dict[str, Any]:
    """Return the request."""
    rds = settings.rds
    wanted = request.build(settings, aws.region, groups)
    takes = members(aws, OPERATION)
    asked = {name: value for name, value in wanted.items() if name in takes and name not in NOT_ASKED}
    its = {name: value for name, value in kept(settings, source).items() if name not in NOT_ASKED}
    if authority := source.get("CACertificateIdentifier"):
        its["CACertificateIdentifier"] = authority
    return {
        **asked,
        **its,
        "DBInstanceIdentifier": names.name(rds),
        "SourceDBInstanceIdentifier": rds.identifier,
        "Tags": tags.to_aws(names.labels(rds, source)),
    }
