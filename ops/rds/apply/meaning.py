"""What changing a setting of an instance means, and which changes it takes in which step.

By the table of "Settings for DB instances" (User Guide, "Modifying an Amazon RDS DB instance") and the API reference of
ModifyDBInstance. What that operation does not take at all, botocore's model tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

When: TypeAlias = Literal["at once", "window", "restart", "never"]
"""`at once`: without an outage. `window`: without an outage, in the maintenance window. `restart`: with an outage, in the
window. `never`: not by a change. `--now` brings both from the window to now."""


@dataclass(frozen=True)
class Meaning:
    """When a change is made, and what that is for those who are connected."""

    when: When
    words: str


QUIET = "no outage"
STORAGE = "no outage; slower until it is optimized, and no other change of storage for 6 hours"
MEANINGS = {
    "instance_class": Meaning("restart", "another machine: an outage of some minutes"),
    "engine_version": Meaning("restart", "a newer minor version: an outage of some minutes, no way back"),
    "storage_gb": Meaning("at once", STORAGE),
    "storage_max_gb": Meaning("at once", QUIET),
    "storage_type": Meaning("at once", STORAGE),
    "iops": Meaning("at once", STORAGE),
    "throughput": Meaning("at once", STORAGE),
    "public": Meaning("at once", "no outage; its name leads to another address, which clients have to look up again"),
    "multi_az": Meaning("window", "no outage; slower while the second zone is filled"),
    "backup_days": Meaning("at once", QUIET),
    "deletion_protection": Meaning("at once", QUIET),
    "extended_support": Meaning("at once", QUIET),
    "auto_minor_upgrade": Meaning("at once", "no outage now; new minor versions restart it in the window"),
    "iam_auth": Meaning("at once", QUIET),
    "insights_mode": Meaning("at once", QUIET),
    "insights_days": Meaning("at once", QUIET),
    "copy_tags": Meaning("at once", QUIET),
    "security_group": Meaning("at once", "no outage; the groups that it has stay"),
    "port": Meaning("restart", "restarts it, and every client has to use the new one"),
    "encrypted": Meaning("never", "a copy of a snapshot can be encrypted, and restored"),
    "zone": Meaning("never", "an instance stays in its zone; a restored one may be in another"),
    "subnet_group": Meaning("never", "a move between networks changes group and address: restore into the other one"),
    "master_user": Meaning("never", "the master user is the one that it was made with"),
    "database": Meaning("never", "databases are made by SQL: inv db.setup"),
}
CAPACITY = "no outage; its instances take as much of it as they need"
OF_CLUSTER = {
    "min_acu": Meaning("at once", f"{CAPACITY}; from 0 on they pause where nobody is connected"),
    "max_acu": Meaning("at once", f"{CAPACITY}; what follows from it, like max_connections, with their next restart"),
    "pause_after": Meaning("at once", QUIET),
    "public": Meaning(
        "never",
        "that is a matter of each of its instances: aws rds modify-db-instance --publicly-accessible (or --no-…)",
    ),
    "multi_az": Meaning(
        "never", "an instance that reads is made by inv rds.create, and taken away by aws rds delete-db-instance"
    ),
}
"""Of a cluster of Aurora, where it is another than an instance's (Aurora User Guide, "Modifying an Amazon Aurora DB cluster")."""
OF_EXPRESS = {
    "iam_auth": Meaning("never", "it takes logins by IAM alone: set yes"),
    "public": Meaning("never", "it is reached from the internet alone: set yes"),
    "encrypted": Meaning("never", "it is always encrypted, by a key of AWS's own: set yes"),
}
"""Of a cluster by express configuration, where it is another still ("Create with express configuration", Aurora User Guide)."""
BACKUPS_ON_OFF = Meaning("restart", "backups begin or end: input and output may stand still for seconds to minutes")
IN_STORAGE = ("storage_gb", "storage_type", "iops", "throughput")
"""The settings that share the 6 hours."""
