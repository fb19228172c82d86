"""The exchange of names: old away, then new in, and back by rds.undo.

RDS takes no name that is in use, so it is two renames in a row. Each reboots the instance, whose new name becomes effective in
about 10 minutes, and it is not available until then (User Guide, "Renaming a DB instance"). In between nothing has the name: a run
that is cut off there leaves both instances whole, under names from which either way goes on.
"""

from __future__ import annotations

from dataclasses import replace

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import minutes, say
from ops.errors import Problem, Refused
from ops.rds import env_file, instance, prod
from ops.rds.proxy import following as proxied
from ops.rds.replica import following
from ops.rds.restore import making, written_later
from ops.rds.restore.making import Restored
from ops.rds.restore.names import AS, PREV_OF, SOURCE, Names, have, is_restored, names, of, require_prev
from ops.rds.restore.source import Source
from ops.rds.waiting import HOPELESS, RESTING, Goal, is_usable, require_usable
from ops.typed_name import require_confirmation

RENAME_MINUTES = 10
"""What AWS says of one rename."""


def swap(settings: Settings, aws: Aws, clock: Clock, source: Source, which: Names, confirm: str) -> Restored:
    """Put the restored instance in the place of the live one, which stays as -prev."""
    rds = settings.rds
    live = instance.require_instance(aws, rds)
    if not instance.is_ours(live, rds):
        raise Refused(f"{which.live} was not made by inv: inv rds.create --adopt hands it over first")
    require_usable(live, f"rds.restore {source.option} --swap")
    if (prev := instance.find_instance(aws, which.prev)) is not None:
        raise Refused(
            f"{prev['DBInstanceIdentifier']} is there already, from a swap before or somebody else's: nothing was renamed; "
            f"look at it, then INVOKE_RDS_IDENTIFIER={which.prev} inv rds.delete, or rename it"
        )
    proxied.check_swap(aws, live)
    beside = instance.find_instance(aws, which.beside)
    assert beside is not None
    tell_rows(settings, aws, live, beside)
    following.tell_swap(settings, live, which.prev)
    ask(which.live, confirm, f"give the name {which.live} to {which.beside}, restored from {source}")
    following.forget_swapped(settings, live)
    mark(aws, live, which)
    begun = clock.monotonic()
    away(settings, aws, clock, which.live, which.prev, f"rds.restore {source.option} --swap")
    return finish(settings, aws, clock, source, which, begun)


def plan(settings: Settings, aws: Aws, source: Source, given: str, *, swap: bool) -> Restored:
    """Return the request for the instance beside, and say what a `swap` would make of replicas; nothing is written."""
    planned = making.plan(settings, aws, source, given)
    which, live = making.target_name(aws, settings.rds, source, given)
    if swap and live is not None and which.beside != which.live:
        proxied.check_swap(aws, live)
        following.tell_swap(settings, live, which.prev)
    return planned


def ask(name: str, confirm: str, act: str) -> None:
    say(
        f"{name} has no endpoint meanwhile: two renames one after the other, of about {RENAME_MINUTES} minutes each by AWS's "
        "documentation; sessions end, and both instances restart"
    )
    require_confirmation(
        name, confirm, this="this instance", act=act, question=f"{act}. Type {name} to go on:", caseless=True
    )


def tell_rows(settings: Settings, aws: Aws, live: Row, beside: Row) -> None:
    """Say what of the live instance is not in the restored one, as far as its tables can be read."""
    with (
        prod.open_session(settings, aws, live, "rds.restore") as now,
        prod.open_session(settings, aws, beside, "rds.restore") as then,
    ):
        found = written_later.find(now, then)
    rows, gone = sum(one.written for one in found.tables), sum(one.gone for one in found.tables)
    say(
        f"written after the restore point, and only in {live['DBInstanceIdentifier']}: {rows} rows, "
        f"{gone} changed or deleted ones come back as they were"
    )
    for one in found.tables[:20]:
        say(f"  {one.table}: {one.written} rows later, {one.gone} changed or deleted")
    for name in found.unread:
        say(f"  note: {name} cannot be read, and is not counted")


def mark(aws: Aws, live: Row, which: Names) -> None:
    """Tag the instance as the one that is moved away: what only has its name is never taken for it."""
    aws.client("rds").add_tags_to_resource(ResourceName=live["DBInstanceArn"], Tags=tags.to_aws({PREV_OF: which.live}))


def rename(aws: Aws, old: str, new: str) -> None:
    """Ask AWS to rename an instance, once: where the answer was lost, it is looked."""
    client = aws.client("rds")

    def done() -> bool | None:
        return is_renamed(aws, old, new) or None

    try:
        calls.surely(
            lambda: client.modify_db_instance(
                DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True
            ),
            done,
        )
    except client.exceptions.ClientError as error:
        if code(error) == "DBInstanceNotFound" and instance.find_instance(aws, new):
            return  # another run was first
        if code(error) == "DBInstanceAlreadyExists":
            raise Problem(
                f"the name {new} is not free yet: run this again in a minute, it goes on where it was"
            ) from error
        raise
    say(f"asked AWS to call {old} {new}")


def is_renamed(aws: Aws, old: str, new: str) -> bool:
    row = instance.find_instance(aws, old)
    return (row is None or row.get("DBInstanceStatus") == "renaming") or bool(instance.find_instance(aws, new))


def away(settings: Settings, aws: Aws, clock: Clock, old: str, new: str, again: str) -> None:
    """Rename an instance and wait until its old name is free, no longer: that is all the next rename needs."""
    rename(aws, old, new)

    def free(_: Row | None) -> bool:
        return instance.find_instance(aws, old) is None

    bad = {state: of(new, advice) for state, advice in HOPELESS.items()}
    instance.wait_for(aws, replace(settings.rds, identifier=new), Goal(again, free, bad), clock)


def into_place(settings: Settings, aws: Aws, clock: Clock, old: str, again: str) -> Row:
    """Rename an instance to the name of the settings, and wait until it can be reached there."""
    name = settings.rds.identifier
    row = instance.find_instance(aws, name)
    if row is None:
        rename(aws, old, name)

    def here(now: Row | None) -> bool:
        return is_usable(now) and instance.host(now or {"DBInstanceIdentifier": ""}).split(".")[0] == name

    bad = dict.fromkeys([*HOPELESS, *RESTING], "both instances keep their data, inv rds.status tells more")
    found = instance.wait_for(aws, settings.rds, Goal(again, here, bad), clock)
    assert found is not None
    making.connect(settings, aws, found, clock, RENAME_MINUTES)
    return found


def finish(
    settings: Settings, aws: Aws, clock: Clock, source: Source, which: Names, begun: float | None = None
) -> Restored:
    """Bring the restored instance in, where nothing has the name any more; save how it is reached."""
    if begun is None:
        say(f"going on with a swap that was cut off: {which.beside} becomes {which.live}")
    row = into_place(settings, aws, clock, which.beside, f"rds.restore {source.option} --swap")
    outage = None if begun is None else clock.monotonic() - begun
    tell(settings, row, outage, f"the one before is {which.prev}, inv rds.undo goes back to it")
    return making.told(row, source, swapped=True, previous=which.prev, outage=outage)


def tell(settings: Settings, row: Row, outage: float | None, back: str) -> None:
    env_file.save(settings, row, force=False)
    name = row["DBInstanceIdentifier"]
    if outage is None:
        say(f"how long {name} was away is known to the run that was cut off")
    else:
        say(f"{name} was away for {minutes(outage)} minutes, from the first rename until a session was open again")
    say(
        f"{name} is {row.get('DbiResourceId') or 'another resource'} now: rights by rds-db:connect name that id, "
        f"inv lambda.deploy renews a function's; {back}"
    )


def undo(settings: Settings, aws: Aws, clock: Clock, confirm: str, *, dry_run: bool = False) -> str:
    """Give the name back to the instance before the swap; return what to tell."""
    rds = settings.rds
    which = names(rds)
    now, prev = instance.find_instance(aws, which.live), instance.find_instance(aws, which.prev)
    if prev is None:
        raise Refused(f"there is no {which.prev} to go back to: nothing was renamed")
    require_prev(prev, rds)
    begun = None
    if now is not None:
        if not is_restored(now, rds):
            raise Refused(f"{which.live} was not made by rds.restore, so no swap can be undone: nothing was renamed")
        require_usable(now, "rds.undo")
        require_usable(prev, "rds.undo")
        aside = have(now).get(AS, which.beside)
        if instance.find_instance(aws, aside) is not None:
            raise Refused(f"{aside} is there already: delete it, or give it another name, then inv rds.undo")
        proxied.check_swap(aws, now)
        say(f"what was written since the swap stays in {aside}, and is not in {which.prev}")
        following.tell_swap(settings, now, aside)
        if dry_run:
            return (
                f"nothing was renamed: {which.live} would become {aside}, then {which.prev} would become {which.live}"
            )
        ask(which.live, confirm, f"give the name {which.live} back to {which.prev}")
        following.forget_swapped(settings, now)
        begun = clock.monotonic()
        away(settings, aws, clock, which.live, aside, "rds.undo")
    elif dry_run:
        return f"nothing was renamed: {which.prev} would become {which.live}"
    else:
        say(f"going on with a swap that was cut off: {which.prev} becomes {which.live}")
    row = into_place(settings, aws, clock, which.prev, "rds.undo")
    outage = None if begun is None else clock.monotonic() - begun
    source = have(now).get(SOURCE, "") if now else ""
    tell(
        settings,
        row,
        outage,
        f"inv rds.restore --swap brings the one from {source} in again" if source else "it is the one from before",
    )
    return f"{which.live} is the instance from before the swap"
