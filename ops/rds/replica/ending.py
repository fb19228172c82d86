"""The end of a replica: taken away, or made an instance of its own. Its variable goes before, so that nobody reads there meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.rds import env_file, instance, protection
from ops.rds.replica import names
from ops.rds.replica.making import BAD, TASK, Replica, ask
from ops.rds.server import INSTANCE
from ops.rds.waiting import Goal, is_gone, is_usable, require_usable

Act = Callable[..., Replica]


def chosen(make: Act, *, delete: bool, promote: bool) -> Act:
    """Return what the options ask for."""
    if delete and promote:
        raise Misconfigured("--delete and --promote exclude each other: give one")
    return remove if delete else promote_one if promote else make


# --- taken away -------------------------------------------------------------------------


def remove(settings: Settings, aws: Aws, clock: Clock, *, confirm: str = "", dry_run: bool = False) -> Replica:
    """Delete our replica; a promoted one is none any more, and refused."""
    rds = settings.rds
    row = names.find(aws, rds)
    if row is None:
        say(f"{rds.identifier} has no replica of ours: nothing to delete")
        if not dry_run:
            env_file.forget_replica(settings, names.name(rds))
        return gone(names.name(rds), written=False)
    name = row["DBInstanceIdentifier"]
    names.require_ours(row, rds)
    deleting = row["DBInstanceStatus"] == "deleting"
    if not names.source_of(row) and not deleting:
        raise names.promoted(row)
    if dry_run:
        say(f"{name} would be deleted; {names.source_of(row)} is not touched, and has all of its data")
        return replace(gone(name, written=False), request={"DBInstanceIdentifier": name, "SkipFinalSnapshot": True})
    if not deleting:
        ask(name, "the replica", confirm, f"delete {name}")
        row = (
            instance.find_instance(aws, name) or row
        )  # it may have been promoted meanwhile, and then it has data of its own
        deleting = row["DBInstanceStatus"] == "deleting"
        if not names.source_of(row) and not deleting:
            raise names.promoted(row)
    env_file.forget_replica(settings, name)
    if not deleting:
        with protection.lift(aws, INSTANCE, row):
            send(aws, name)
    instance.wait_for(aws, replace(rds, identifier=name), Goal(f"{TASK} --delete", is_gone, {}), clock)
    say(f"{name} is deleted; {names.source_of(row) or rds.identifier} is as it was")
    return gone(name, written=not deleting)


def gone(name: str, *, written: bool) -> Replica:
    return Replica(name, None, written, None, None, None)


def send(aws: Aws, name: str) -> None:
    """Ask AWS to delete a replica, which leaves no final snapshot (API reference of DeleteDBInstance)."""
    client = aws.client("rds")

    def going() -> bool | None:
        row = instance.find_instance(aws, name)
        return (row is None or row["DBInstanceStatus"] == "deleting") or None

    try:
        calls.surely(lambda: client.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True), going)
    except client.exceptions.ClientError as error:
        if code(error) == "DBInstanceNotFound" or going():  # another run was first
            return
        if code(error) == "InvalidParameterCombination":  # protection is lifted a moment after AWS has said yes to that
            said = error.response["Error"].get("Message", "")
            raise InProgress(
                f"AWS does not delete {name} yet ({said}): run inv {TASK} --delete again in a minute"
            ) from error
        raise
    say(f"asked AWS to delete {name}")


# --- an instance of its own -------------------------------------------------------------


def promote_one(settings: Settings, aws: Aws, clock: Clock, *, confirm: str = "", dry_run: bool = False) -> Replica:
    """Make our replica an instance of its own, or go on with that."""
    rds = settings.rds
    row = names.find(aws, rds)
    if row is None:
        raise Refused(f"{rds.identifier} has no replica of ours to promote: inv {TASK} makes one")
    name, source = row["DBInstanceIdentifier"], names.source_of(row)
    names.require_ours(row, rds)
    asked: dict[str, Any] = {"DBInstanceIdentifier": name, "BackupRetentionPeriod": rds.backup_days}
    if source:
        if not is_usable(row) and row["DBInstanceStatus"] not in BAD:  # a promotion that was asked for, too
            raise InProgress(f"{name} is {row['DBInstanceStatus']}: run inv {TASK} --promote again in a minute")
        require_usable(row, f"{TASK} --promote")
        say(
            f"{name} becomes an instance of its own: it restarts, takes writes and has all that {source} had written by then and it had "
            f"received; it follows {source} no more, which goes on untouched, and there is no way back"
        )
        say(
            f"it is paid for as before, has backups of {rds.backup_days} days, and keeps users and passwords; nothing reads there by itself"
        )
    else:
        say(f"{name} is an instance of its own already")
    if dry_run:
        return Replica(name, source or None, False, None, None, asked if source else None)
    if source:
        ask(name, "the replica", confirm, f"promote {name}")
    env_file.forget_replica(settings, name)
    if source:
        send_promotion(aws, name, asked)

    def alone(now: Row | None) -> bool:
        return is_usable(now) and now is not None and not names.source_of(now)

    found = instance.wait_for(aws, replace(rds, identifier=name), Goal(f"{TASK} --promote", alone, BAD_ALONE), clock)
    assert found is not None
    say(
        f"{name} takes writes: INVOKE_RDS_IDENTIFIER={name} inv rds.status shows it, and the other tasks work on it likewise"
    )
    return Replica(name, None, bool(source), instance.host(found), instance.port(found), None)


BAD_ALONE = {state: advice for state, advice in BAD.items() if state == "deleting"} | dict.fromkeys(
    [state for state in BAD if state != "deleting"], "its events say why (RDS console), and its data is there"
)


def send_promotion(aws: Aws, name: str, asked: dict[str, Any]) -> None:
    """Ask AWS to promote, once: where the answer was lost, it is looked."""
    client = aws.client("rds")

    def begun() -> bool | None:
        row = instance.find_instance(aws, name)
        return (row is not None and (not names.source_of(row) or not is_usable(row))) or None

    try:
        calls.surely(lambda: client.promote_read_replica(**asked), begun)
    except client.exceptions.ClientError as error:
        row = instance.find_instance(aws, name)
        if row is None:
            raise Problem(f"{name} is gone: somebody has deleted it") from error
        if code(error) != "InvalidDBInstanceState":
            raise
        if names.source_of(row) and is_usable(row):
            raise InProgress(f"AWS does not promote {name} yet: run inv {TASK} --promote again in a minute") from error
        if row["DBInstanceStatus"] == "backing-up":
            raise InProgress(f"{name} is being backed up: run inv {TASK} --promote again after that") from error
        return  # another run was first
    say(f"asked AWS to promote {name}; this takes some minutes, Ctrl-C is safe")
