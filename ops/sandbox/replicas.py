"""What AWS does to replicas, and moto leaves out.

moto makes a replica by copying its source, backups and all, and never tells it apart from that again: a promoted one still follows,
one whose source was renamed or deleted follows a name that nobody has, and one that was restored follows what it is of. By the RDS User Guide ("Working with DB instance read
replicas", "Renaming a DB instance", "Deleting a DB instance") a replica has no backups, stays with a source that is renamed, and is
promoted where that is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SOURCE = "inv_source"
"""Of a moto object: the object of the instance that it follows."""
PASSWORD = "_master_user_password"  # noqa: S105 - moto's name for it


def settle(there: Iterable[Any]) -> None:
    """Have each instance follow the one that it was made from, as long as both are there and it was not promoted."""
    every = list(there)
    for one in every:
        source = getattr(one, SOURCE, None)
        if source is None and one.is_replica:
            source = named(every, one)
            setattr(one, SOURCE, source)
            one.backup_retention_period = 0
            one.__dict__.pop("master_user_secret", None)  # its source has none, else there would be no replica
            one.manage_master_user_password = False
        if source is None:
            one.source_db_instance_identifier = None  # of one that was restored, which follows nobody
            continue
        if not one.is_replica or source not in every:
            one.is_replica, one.source_db_instance_identifier = False, None
            setattr(one, SOURCE, None)
        else:
            one.source_db_instance_identifier = source.db_instance_identifier
            setattr(one, PASSWORD, getattr(source, PASSWORD, None))
    for one in every:
        one.replicas = [each.db_instance_identifier for each in every if getattr(each, SOURCE, None) is one]


def named(every: Iterable[Any], replica: Any) -> Any:
    """Return the instance from which a new replica was made."""
    name = str(replica.source_db_instance_identifier or "").rpartition(":")[2]
    return next(one for one in every if one.db_instance_identifier == name and one is not replica)


def source_of(one: Any) -> Any:
    """Return moto's object of the instance that one follows; None where it follows none."""
    return getattr(one, SOURCE, None)
