"""The password of an instance made one of the user's own, where RDS keeps it and cannot for what comes next.

RDS keeps no password of an instance with blue/green deployments, nor of one with a replica (User Guide, "Password management with
Amazon RDS and AWS Secrets Manager", limitations).
"""

from __future__ import annotations

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Refused
from ops.rds import instance, request
from ops.rds.waiting import Goal, is_usable


def is_to_be_taken_over(
    settings: Settings, row: Row, task: str, because: str, *, dry_run: bool, after: str = ""
) -> bool:
    """Whether the password is to be taken over from RDS first; raises `Refused` where there is none to take.

    `because` is what AWS does not do, `after` what may follow it.
    """
    if not row.get("MasterUserSecret"):
        return False
    variable = settings.focus.names.password
    said = (
        f"RDS keeps the password of {row['DBInstanceIdentifier']}, and AWS {because}: set {variable} to one of "
        f"your own, and inv {task} changes it to that first{after}"
    )
    if request.master(settings).password:
        return True
    if not dry_run:
        raise Refused(said)
    say(f"note: {said}")
    return False


def take_over(settings: Settings, aws: Aws, clock: Clock, task: str) -> None:
    """Make the password ours: RDS removes its secret."""
    client, identifier = aws.client("rds"), settings.rds.identifier
    password = request.master(settings).password

    def ours(row: Row | None) -> bool:
        return is_usable(row) and not (row or {}).get("MasterUserSecret")

    calls.surely(
        lambda: client.modify_db_instance(
            DBInstanceIdentifier=identifier,
            ManageMasterUserPassword=False,
            MasterUserPassword=password,
            ApplyImmediately=True,
        ),
        lambda: ours(instance.find_instance(aws, identifier)) or None,
    )
    say(f"asked AWS for the password of {settings.focus.names.password}")
    instance.wait_for(aws, settings.rds, Goal(task, ours, {}), clock)
