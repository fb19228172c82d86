"""The deletion protection of an instance or a cluster: lifted for a deletion, and on again where AWS refuses that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ops import calls
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Problem
from ops.rds.server import Server


@contextlib.contextmanager
def lift(aws: Aws, its: Server, row: Row) -> Iterator[None]:
    """Lift the protection while AWS is asked for the deletion; what goes on by itself or by another run needs none any more.

    ModifyDBInstance, ModifyDBCluster (API reference of RDS): DeletionProtection.
    """
    from botocore.exceptions import ClientError

    name = row["DBInstanceIdentifier"]
    if not row.get("DeletionProtection"):
        yield
        return

    def change(*, on: bool) -> None:  # set twice is set
        calls.surely(
            lambda: its.call(aws, its.modify, name, DeletionProtection=on, ApplyImmediately=True), lambda: None
        )

    change(on=False)
    say(f"lifted the deletion protection of {name}")
    try:
        yield
    except InProgress:
        raise
    except (ClientError, Problem):
        try:
            change(on=True)
        except (ClientError, Problem):
            say(f"note: the deletion protection of {name} is off: inv rds.apply puts it back")
        else:
            say(f"{name} is protected from deletion again")
        raise
