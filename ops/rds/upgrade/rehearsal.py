"""rds.upgrade --rehearse: the upgrade of a copy, restored beside from the newest snapshot, timed, tried and removed.

Nothing is done to the instance itself. Where a run ends is seen from the copy alone, so the next one goes on from there.
"""

from __future__ import annotations

from dataclasses import replace

from config.rds import Rds
from config.settings import Settings
from ops.aws import Aws
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import minutes, say
from ops.errors import InProgress, Problem, Refused
from ops.rds import delete, instance, prod
from ops.rds.restore import making, snapshots
from ops.rds.restore.names import AS, SOURCE, Names, have, is_restored, names, of
from ops.rds.restore.source import Source
from ops.rds.upgrade import offers, statistics, upgrade
from ops.rds.upgrade.offers import Offer, fits
from ops.rds.upgrade.upgrade import Upgraded, Wanted
from ops.rds.waiting import Goal, is_gone, is_usable, status

SUFFIX = "-rehearsal"
OPTION = " --rehearse"


def rehearse(settings: Settings, aws: Aws, clock: Clock, wanted: Wanted, *, dry_run: bool) -> Upgraded:
    """Upgrade a copy and remove it; return how long that took, or what is in the way."""
    rds, to = settings.rds, wanted.to
    row = upgrade.owned(settings, aws)
    offers.check_wanted(to, row)
    was = row["EngineVersion"]
    which = names(rds, rds.identifier + SUFFIX)
    there = instance.find_instance(aws, which.beside)
    if there is not None:
        require_copy(there, rds, which)
    if there is not None and status(there) == "deleting":
        offer = Offer(there["EngineVersion"])
        seconds = None
    else:
        offer = offers.ask(aws, rds, row, to)
        if not offer.version:
            say(f"{rds.identifier} has PostgreSQL {was} already: there is nothing to rehearse")
            return Upgraded(rds.identifier, False, was, was, None, [])
        if there is None:
            findings = upgrade.in_the_way(settings, aws, row, offer, wanted)
            tell(which, was, offer)
            making.tell_costs(settings, aws)
            if dry_run:
                return Upgraded(rds.identifier, False, was, offer.version, None, findings)
            upgrade.require_none(rds.identifier, findings)
        elif dry_run:
            say(f"{which.beside} is there from an earlier run ({status(there)}): the next one goes on with it")
            return Upgraded(rds.identifier, False, was, offer.version, None, [])
        source = Source(snapshot=have(there)[SOURCE]) if there else newest(settings, aws, row, clock)
        copy = restored(settings, aws, clock, source, which, row, to)
        seconds = lead(settings, aws, clock, copy, offer, wanted)
    remove(settings, aws, clock, which, to)
    return Upgraded(rds.identifier, True, was, offer.version, None, [], seconds, rehearsed=True)


def require_copy(row: Row, rds: Rds, which: Names) -> None:
    """Refuse an instance that only has the name of a copy."""
    if not is_restored(row, rds) or have(row).get(AS) != which.beside:
        raise Refused(
            f"{which.beside} is there already, and no copy of a rehearsal: give it another name, nothing was done"
        )


def tell(which: Names, was: str, offer: Offer) -> None:
    say(
        f"{which.live} stays as it is: {which.beside} is restored from its newest snapshot, upgraded from PostgreSQL {was} to "
        f"{offer.version}, tried and removed; an hour or more for much data"
    )


def newest(settings: Settings, aws: Aws, row: Row, clock: Clock) -> Source:
    """Return the newest snapshot of the instance that is complete, made now where there is none."""
    found = [one for one in snapshots.find(settings, aws) if one.status == "available"]
    if found:
        return Source(snapshot=found[0].snapshot)
    cost = prices.of_snapshot(row.get("AllocatedStorage") or 0)
    say(f"{row['DBInstanceIdentifier']} has no snapshot yet: one is made, which costs {cost}, until it is deleted")
    return Source(snapshot=instance.take_snapshot(aws, settings.rds, "", clock))


def restored(settings: Settings, aws: Aws, clock: Clock, source: Source, which: Names, live: Row, to: str) -> Row:
    """Have the copy there and reached; what waits says how this task goes on."""
    try:
        return making.ensure_restored(settings, aws, clock, source, which, live, costs_told=True)
    except InProgress as error:
        raise InProgress(
            f"{which.beside} is not there yet: run inv {upgrade.TASK} --to {to}{OPTION} again to go on waiting"
        ) from error


def lead(settings: Settings, aws: Aws, clock: Clock, copy: Row, offer: Offer, wanted: Wanted) -> float | None:
    """Upgrade the copy and try it; return the seconds that AWS took, None where it has the version already."""
    name, seconds = copy["DBInstanceIdentifier"], None
    if not fits(copy["EngineVersion"], offer.version):
        begun = clock.monotonic()
        if not upgrade.is_under_way(copy):
            upgrade.send(settings, aws, copy, offer, wanted.group)
        goal = upgrade.goal(copy, offer, clock, wanted.to, OPTION)
        goal = replace(goal, bad={state: of(name, advice) for state, advice in goal.bad.items()})
        try:
            done = instance.wait_for(aws, replace(settings.rds, identifier=name), goal, clock)
        except InProgress:
            raise
        except Problem as error:
            raise Problem(
                f"{error}; {name} stays so that its log can be read, then INVOKE_RDS_IDENTIFIER={name} inv rds.delete "
                "--no-snapshot removes it"
            ) from error
        assert done is not None
        copy, seconds = done, clock.monotonic() - begun
        say(f"{name} has PostgreSQL {copy['EngineVersion']}: AWS took {minutes(seconds)} minutes")
    try_it(settings, aws, clock, copy)
    return seconds


def try_it(settings: Settings, aws: Aws, clock: Clock, copy: Row) -> None:
    """Prove the copy by a session in its database, and time what the real one needs next."""
    making.connect(settings, aws, copy, clock)
    with prod.open_session(settings, aws, copy, upgrade.TASK) as conn:
        begun = clock.monotonic()
        number = statistics.analyze(conn)
        say(f"{conn.info.dbname}: statistics of {number} tables in {minutes(clock.monotonic() - begun)} minutes")
        statistics.tell_outdated(conn)


def remove(settings: Settings, aws: Aws, clock: Clock, which: Names, to: str) -> None:
    """Remove the copy, and wait until it is gone: it is paid for until then."""
    row = instance.find_instance(aws, which.beside)
    if row is None:
        return
    require_copy(row, settings.rds, which)
    if not is_usable(row) and status(row) != "deleting":
        raise InProgress(
            f"{which.beside} is {status(row)}: run inv {upgrade.TASK} --to {to}{OPTION} again, it is removed then"
        )
    section = {**settings.config.get("rds", {}), "identifier": which.beside}
    of_copy = replace(settings, config={**settings.config, "rds": section})
    delete.delete_and_wait(of_copy, aws, row, snapshot=False)
    goal = Goal(f"{upgrade.TASK} --to {to}{OPTION}", is_gone, {})
    instance.wait_for(aws, of_copy.rds, goal, clock)
    say(f"{which.beside} is removed")
