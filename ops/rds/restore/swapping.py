"""The exchange of names: old away, then new in, and back by rds.undo.

RDS takes no name that is in use, so it is two renames in a row. Each reboots the instance, whose new name becomes effective in
about 10 minutes, and it is not available until then (User Guide, "Renaming a DB instance"). In between nothing has the name: a run
that is cut off there leaves both instances whole, under names from which either way goes on. A cluster of Aurora is renamed likewise,
and its instances after it: member_names.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import minutes, say
from ops.errors import Problem, Refused
from ops.rds import env_file, instance, prod, server
from ops.rds.cluster.row import machine
from ops.rds.connect_policy import Follow, nobody
from ops.rds.proxy import following as proxied
from ops.rds.replica import following
from ops.rds.restore import making, member_names, written_later
from ops.rds.restore.making import Restored
from ops.rds.restore.names import AS, PREV_OF, SOURCE, Names, have, is_restored, names, of, require_prev
from ops.rds.restore.source import Source
from ops.rds.server import Server
from ops.rds.waiting import HOPELESS, RESTING, Events, Goal, is_usable, require_usable, wait
from ops.typed_name import require_confirmation

RENAME_MINUTES = 10
"""What AWS says of one rename."""


def swap(
    settings: Settings, aws: Aws, clock: Clock, source: Source, which: Names, confirm: str, follow: Follow = nobody
) -> Restored:
    """Put the restored instance in the place of the live one, which stays as -prev."""
    rds = settings.rds
    live = instance.require_instance(aws, rds)
    if not instance.is_ours(live, rds):
        raise Refused(f"{which.live} was not made by inv: inv rds.create --adopt hands it over first")
    require_usable(live, f"rds.restore {source.option} --swap")
    its = server.of(rds)
    if (prev := instance.find_named(aws, its, which.prev)) is not None:
        raise Refused(
            f"{prev['DBInstanceIdentifier']} is there already, from a swap before or somebody else's: nothing was renamed; "
            f"look at it, then INVOKE_RDS_IDENTIFIER={which.prev} inv rds.delete, or rename it"
        )
    proxied.check_swap(aws, live)
    beside = making.beside(aws, rds, which)
    assert beside is not None
    member_names.check(aws, which, {which.prev: live, which.live: beside})
    tell_rows(settings, aws, live, beside)
    following.tell_swap(settings, live, which.prev)
    ask(its, which.live, confirm, f"give the name {which.live} to {which.beside}, restored from {source}")
    following.forget_swapped(settings, live)
    mark(aws, live, which)
    follow([live, beside], [])
    begun = clock.monotonic()
    away(settings, aws, clock, which.live, which.prev, f"rds.restore {source.option} --swap")
    return finish(settings, aws, clock, source, which, begun, follow)


def plan(settings: Settings, aws: Aws, source: Source, given: str, *, swap: bool) -> Restored:
    """Return the request for the instance beside, and say what a `swap` would make of replicas; nothing is written."""
    planned = making.plan(settings, aws, source, given)
    which, live = making.target_name(aws, settings.rds, source, given)
    if swap and live is not None and which.beside != which.live:
        proxied.check_swap(aws, live)
        following.tell_swap(settings, live, which.prev)
    return planned


def ask(its: Server, name: str, confirm: str, act: str) -> None:
    if its is server.CLUSTER:
        say(
            f"{name} has no endpoint meanwhile: two renames one after the other, for which AWS names no time; then each instance "
            f"of both gets its name and restarts, of about {RENAME_MINUTES} minutes each by AWS's documentation; sessions end"
        )
    else:
        say(
            f"{name} has no endpoint meanwhile: two renames one after the other, of about {RENAME_MINUTES} minutes each by AWS's "
            "documentation; sessions end, and both instances restart"
        )
    require_confirmation(
        name, confirm, this=f"this {its.word}", act=act, question=f"{act}. Type {name} to go on:", caseless=True
    )


def tell_rows(settings: Settings, aws: Aws, live: Row, beside: Row) -> None:
    """Say what of the live one is not in the restored one, as far as its tables can be read."""
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
    """Tag the live one as the one that is moved away: what only has its name is never taken for it."""
    aws.client("rds").add_tags_to_resource(ResourceName=live["DBInstanceArn"], Tags=tags.to_aws({PREV_OF: which.live}))


def rename(aws: Aws, its: Server, old: str, new: str) -> None:
    """Ask AWS to rename an instance or a cluster, once: where the answer was lost, it is looked."""

    def done() -> bool | None:
        return is_renamed(aws, its, old, new) or None

    try:
        calls.surely(
            lambda: its.call(aws, its.modify, old, **{f"New{its.name}": new}, ApplyImmediately=True),
            done,
        )
    except aws.client("rds").exceptions.ClientError as error:
        if code(error) == its.missing and instance.find_named(aws, its, new):
            return  # another run was first
        if code(error) == its.exists:
            raise Problem(
                f"the name {new} is not free yet: run this again in a minute, it goes on where it was"
            ) from error
        raise
    say(f"asked AWS to call {old} {new}")


def is_renamed(aws: Aws, its: Server, old: str, new: str) -> bool:
    row = instance.find_named(aws, its, old)
    return (row is None or row.get("DBInstanceStatus") == "renaming") or bool(instance.find_named(aws, its, new))


def away(settings: Settings, aws: Aws, clock: Clock, old: str, new: str, again: str) -> None:
    """Rename the one that goes and wait until its old name is free, no longer: that is all the next rename needs."""
    its = server.of(settings.rds)
    rename(aws, its, old, new)

    def free(_: Row | None) -> bool:
        return instance.find_named(aws, its, old) is None

    bad = {state: of(new, advice) for state, advice in HOPELESS.items()}
    wait_for_name(settings, aws, clock, its, (old, new), Goal(again, free, bad))


def into_place(settings: Settings, aws: Aws, clock: Clock, old: str, again: str) -> Row:
    """Rename the one that comes to the name of the settings, and wait until it can be reached there."""
    its, name = server.of(settings.rds), settings.rds.identifier
    if instance.find_named(aws, its, name) is None:
        rename(aws, its, old, name)

    def here(now: Row | None) -> bool:
        return is_usable(now) and instance.host(now or {"DBInstanceIdentifier": ""}).split(".")[0] == name

    bad = dict.fromkeys([*HOPELESS, *RESTING], f"both {its.word}s keep their data, inv rds.status tells more")
    found = wait_for_name(settings, aws, clock, its, (old, name), Goal(again, here, bad))
    assert found is not None
    making.connect(settings, aws, found, clock, RENAME_MINUTES)
    return found


def wait_for_name(
    settings: Settings, aws: Aws, clock: Clock, its: Server, names: tuple[str, str], goal: Goal
) -> Row | None:
    """Wait for one that is being renamed, under whichever of both names AWS shows it meanwhile."""
    old, new = names
    events = Events(aws.client("rds"), new, clock, its.source)
    return wait(
        lambda: instance.find_named(aws, its, new) or instance.find_named(aws, its, old),
        goal,
        events,
        settings.rds.wait_minutes,
        clock,
    )


def finish(
    settings: Settings,
    aws: Aws,
    clock: Clock,
    source: Source,
    which: Names,
    begun: float | None = None,
    follow: Follow = nobody,
) -> Restored:
    """Bring the restored instance in, where nothing has the name any more; save how it is reached."""
    if begun is None:
        say(f"going on with a swap that was cut off: {which.beside} becomes {which.live}")
    again = f"rds.restore {source.option} --swap"
    row = into_place(settings, aws, clock, which.beside, again)
    prev = instance.find_named(aws, server.of(settings.rds), which.prev)
    follow([row], [prev] if prev else [])
    outage = None if begun is None else clock.monotonic() - begun
    tell(settings, row, outage, f"the one before is {which.prev}, inv rds.undo goes back to it")
    more = rename_members(settings, aws, clock, which, which.prev, again)
    outage = None if outage is None else outage + more
    return making.told(row, source, swapped=True, previous=which.prev, outage=outage)


def rename_members(settings: Settings, aws: Aws, clock: Clock, which: Names, away: str, again: str) -> float:
    """Give the instances of both clusters their clusters' names; those of the one that went away make room for the others'.

    Return for how many seconds the cluster of the settings was away meanwhile: its writer restarts.
    """
    rds, lost = settings.rds, 0.0
    for name in (away, rds.identifier) if rds.is_cluster else ():
        row = instance.find_named(aws, server.CLUSTER, name)
        moves = member_names.to_rename(row, which) if row else {}
        for old, new in moves.items():
            its = replace(rds, identifier=name)
            bad = {state: of(name, advice) for state, advice in {**HOPELESS, **RESTING}.items()}
            found = instance.wait_for(aws, its, Goal(again, is_usable, bad), clock)
            assert found is not None
            writes, begun = machine(found) == old, clock.monotonic()
            rename(aws, server.INSTANCE, old, new)
            here = partial(is_there, name=new)
            wait_for_name(settings, aws, clock, server.INSTANCE, (old, new), Goal(again, here, bad))
            if name == rds.identifier and writes:
                making.connect(settings, aws, instance.require_instance(aws, rds), clock, RENAME_MINUTES)
                lost += clock.monotonic() - begun
                say(f"{name} was away for {minutes(lost)} minutes more, while {new} restarted")
    return lost


def is_there(row: Row | None, name: str) -> bool:
    """Whether an instance can be used, and has a name already."""
    return row is not None and row["DBInstanceIdentifier"] == name and is_usable(row)


def tell(settings: Settings, row: Row, outage: float | None, back: str) -> None:
    env_file.save(settings, row, force=False)
    if settings.rds.is_cluster:
        env_file.save_reader(settings, row)
    name = row["DBInstanceIdentifier"]
    if outage is None:
        say(f"how long {name} was away is known to the run that was cut off")
    else:
        say(f"{name} was away for {minutes(outage)} minutes, from the first rename until a session was open again")
    say(
        f"{name} is {row.get('DbiResourceId') or 'another resource'} now: rights by rds-db:connect name that id, and "
        f"those of people want it too (inv rds.connect-policy); {back}"
    )


def undo(
    settings: Settings, aws: Aws, clock: Clock, confirm: str, *, dry_run: bool = False, follow: Follow = nobody
) -> str:
    """Give the name back to the one before the swap; return what to tell."""
    rds, its = settings.rds, server.of(settings.rds)
    which = names(rds)
    now, prev = instance.find_named(aws, its, which.live), instance.find_named(aws, its, which.prev)
    if prev is None and now is not None and (left := member_names.to_rename(now, which)):
        if dry_run:
            return "nothing was renamed: " + ", ".join(f"{old} would become {new}" for old, new in left.items())
        rename_members(settings, aws, clock, which, member_names.holder(aws, now, which), "rds.undo")
        return f"the instances of {which.live} have its name now: that was left of an exchange that was cut off"
    if prev is None:
        if now is not None and not dry_run:
            follow([now], [])  # for one that was cut off at its last write
        raise Refused(f"there is no {which.prev} to go back to: nothing was renamed")
    require_prev(prev, rds)
    begun = None
    if now is not None:
        if not is_restored(now, rds):
            raise Refused(f"{which.live} was not made by rds.restore, so no swap can be undone: nothing was renamed")
        require_usable(now, "rds.undo")
        require_usable(prev, "rds.undo")
        aside = have(now).get(AS, which.beside)
        if instance.find_named(aws, its, aside) is not None:
            raise Refused(f"{aside} is there already: delete it, or give it another name, then inv rds.undo")
        proxied.check_swap(aws, now)
        which = replace(which, beside=aside)
        member_names.check(aws, which, {aside: now, which.live: prev})
        say(f"what was written since the swap stays in {aside}, and is not in {which.prev}")
        following.tell_swap(settings, now, aside)
        if dry_run:
            return (
                f"nothing was renamed: {which.live} would become {aside}, then {which.prev} would become {which.live}"
            )
        ask(its, which.live, confirm, f"give the name {which.live} back to {which.prev}")
        following.forget_swapped(settings, now)
        follow([prev, now], [])
        begun = clock.monotonic()
        away(settings, aws, clock, which.live, aside, "rds.undo")
    elif dry_run:
        return f"nothing was renamed: {which.prev} would become {which.live}"
    else:
        say(f"going on with a swap that was cut off: {which.prev} becomes {which.live}")
    row = into_place(settings, aws, clock, which.prev, "rds.undo")
    follow([row], [now] if now is not None else [])
    outage = None if begun is None else clock.monotonic() - begun
    source = have(now).get(SOURCE, "") if now else ""
    tell(
        settings,
        row,
        outage,
        f"inv rds.restore --swap brings the one from {source} in again" if source else "it is the one from before",
    )
    aside = which.beside if now is not None else member_names.holder(aws, row, which)
    rename_members(settings, aws, clock, which, aside, "rds.undo")
    return f"{which.live} is the {its.word} from before the swap"
