"""A new instance beside the one of the settings, finished and checked by connecting.

There is no state but the tags in AWS: each step looks first, so a run may end anywhere and the next one goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from config.rds import Rds
from config.section import refuse
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import prices
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import option, say
from ops.errors import LoginFailed, NotAllowed, NothingAnswers, Problem, Refused, Unreachable
from ops.rds import instance, lookups, prod, server
from ops.rds import request as create_request
from ops.rds.cluster import creating, refusals
from ops.rds.restore import operations, request
from ops.rds.restore.names import AS, SOURCE, Names, have, is_restored, names, of
from ops.rds.restore.source import Source, check
from ops.rds.security_group import instance_group
from ops.rds.waiting import HOPELESS, INTERVAL, RESTING, Goal, is_usable

GROUP_TO_BE = "(the group that rds.restore makes)"


@dataclass(frozen=True)
class Restored:
    """The restored instance; on a dry run what AWS would be asked for."""

    identifier: str
    """Its name: that of the settings where it was swapped in."""
    restored_from: str
    """The snapshot's name, or the moment in ISO 8601."""
    written: bool
    """False on a dry run."""
    endpoint: str | None
    """Its host name; null on a dry run."""
    port: int | None
    """Null on a dry run."""
    swapped: bool
    """Whether it has taken the place of the instance of the settings."""
    previous: str | None
    """The instance whose place it has taken, by its name since then; null without a swap."""
    outage_seconds: float | None
    """From the first rename until a session was open again, measured, and the restart of a cluster's writer; null without a swap, and where a run before began it."""
    request: dict[str, Any] | None
    """On a dry run the request with AWS's own names; else null."""


def beside(aws: Aws, rds: Rds, which: Names) -> Row | None:
    """Return the row of the restored one, or None."""
    return instance.find(aws, replace(rds, identifier=which.beside))


def target_name(aws: Aws, rds: Rds, source: Source, given: str) -> tuple[Names, Row | None]:
    """Return the names, and the live instance: where there is none, a restored one takes its name at once."""
    live = instance.find(aws, rds)
    if live is not None:
        refusals.check_express(live, "restore")
    which = names(rds, given)
    if live is None and not given and not beside(aws, rds, which):
        which = replace(which, beside=rds.identifier)
    its = have(live) if live is not None and is_restored(live, rds) else {}
    if not given and its.get(AS) == which.live and its.get(SOURCE) == str(source):  # by a run before
        which = replace(which, beside=rds.identifier)
    if live is not None and which.beside == which.live and not is_restored(live, rds):
        raise Refused(
            f"--as {which.beside}: that is the {server.of(rds).word} itself: leave it out, and --swap exchanges the names"
        )
    return which, live


def plan(settings: Settings, aws: Aws, source: Source, given: str) -> Restored:
    """Return the request as AWS would get it; nothing is written."""
    which, live = target_name(aws, settings.rds, source, given)
    there = beside(aws, settings.rds, which)
    if there is not None:
        require_same(there, settings.rds, source)
        say(f"{which.beside} is there already, restored from {source}: nothing would be made")
    else:
        check(source, aws, settings.rds, which, live)
        tell_costs(settings, aws)
    asked = request.build(settings, aws, source, which, live, group_ids(live) or [GROUP_TO_BE])
    return Restored(which.beside, str(source), False, None, None, False, None, None, request.shown(asked))


def group_ids(live: Row | None) -> list[str]:
    return [str(one["VpcSecurityGroupId"]) for one in (live or {}).get("VpcSecurityGroups", [])]


def ensure_restored(
    settings: Settings,
    aws: Aws,
    clock: Clock,
    source: Source,
    which: Names,
    live: Row | None,
    *,
    costs_told: bool = False,
) -> Row:
    """Have the restored instance there, as the settings say, and reached; return its row."""
    rds = settings.rds
    there = beside(aws, rds, which)
    if there is None:
        check(source, aws, rds, which, live)
        refuse("rds.restore", create_request.faults(settings, aws.session.region_name))
        if rds.is_cluster:
            creating.check_names(aws, replace(rds, identifier=which.beside), "--as NAME takes another name")
        if not costs_told:
            tell_costs(settings, aws)
        make(settings, aws, source, which, live)
    else:
        require_same(there, rds, source)
        say(f"{which.beside} is there already ({there['DBInstanceStatus']}): no second one is made")
    if rds.is_cluster:
        again = f"rds.restore {source.option}" + (f" --as {which.beside}" if which.beside != which.live else "")
        creating.add_instances(settings, aws, clock, replace(rds, identifier=which.beside), again)
    row = wait_for(settings, aws, source, which, clock)
    row = finish(settings, aws, source, which, row, clock)
    connect(settings, aws, row, clock)
    return row


def require_same(row: Row, rds: Rds, source: Source) -> None:
    """Raise `Refused` for an instance of the wanted name that was not restored from this."""
    name = row["DBInstanceIdentifier"]
    if not is_restored(row, rds):
        other = option("as", "--as NAME takes another name", "give it another name")
        raise Refused(f"{name} is there already, and not made by rds.restore: nothing was made; {other}")
    if (its := have(row).get(SOURCE)) != str(source):
        other = option("as", "--as NAME makes another beside it, ")
        raise Refused(
            f"{name} is there already, restored from {its}: {other}"
            f"INVOKE_RDS_IDENTIFIER={name} inv rds.delete --no-snapshot removes it"
        )


def tell_costs(settings: Settings, aws: Aws) -> None:
    rds = settings.rds
    if rds.is_cluster:
        creating.tell_costs(settings, "costs of one more cluster, until one of both is deleted")
        return
    asked = prices.Asked(rds.instance_class, rds.storage_gb, rds.storage_type, rds.multi_az)
    say(f"costs: one more instance, {prices.told(aws, asked)}, until one of both is deleted")


def make(settings: Settings, aws: Aws, source: Source, which: Names, live: Row | None) -> None:
    """Ask AWS for the instance."""
    rds, client = settings.rds, aws.client("rds")
    asked = request.build(settings, aws, source, which, live, groups(settings, aws, live))
    act = operations.call(client, rds, source)

    def ours() -> Row | None:
        there = beside(aws, rds, which)
        return there if there and is_restored(there, rds) else None

    try:
        calls.surely(lambda: act(**asked), ours)
    except client.exceptions.ClientError as error:
        if code(error) == server.of(rds).exists and (row := beside(aws, rds, which)):
            require_same(row, rds, source)  # another run was first
            return
        raise
    say(
        f"asked AWS for {which.beside} from {source.words}; this takes 10 to 30 minutes and more for much data, Ctrl-C is safe"
    )


def groups(settings: Settings, aws: Aws, live: Row | None) -> list[str]:
    """Return the security groups: those of the live instance and its own one, which is made where it is not there."""
    rds = settings.rds
    if live is not None:
        vpc = str(live.get("DBSubnetGroup", {}).get("VpcId") or "")
    else:
        found = lookups.Found()
        lookups.network(aws, rds, found)
        if found.faults:
            raise Problem(found.faults[0])
        vpc = found.vpc
    own = [instance_group.ensure_group(aws, rds, vpc)] if vpc else []
    return list(dict.fromkeys([*group_ids(live), *own]))


def wait_for(settings: Settings, aws: Aws, source: Source, which: Names, clock: Clock) -> Row:
    """Wait for the restored instance; advice for a bad state is about that one, never about the live one."""
    again = f"rds.restore {source.option}" + (f" --as {which.beside}" if which.beside != which.live else "")
    bad = {state: of(which.beside, advice) for state, advice in {**HOPELESS, **RESTING}.items()}
    row = instance.wait_for(aws, replace(settings.rds, identifier=which.beside), Goal(again, is_usable, bad), clock)
    assert row is not None
    return row


def finish(settings: Settings, aws: Aws, source: Source, which: Names, row: Row, clock: Clock) -> Row:
    """Change what a restore does not take, and the password's keeping; wait for it."""
    change = request.rest(settings, aws, source, row)
    login = create_request.master(settings)
    if not login.password and not row.get("MasterUserSecret"):
        change["ManageMasterUserPassword"] = True
    elif login.password and not is_admitted(settings, aws, row):
        change["MasterUserPassword"] = login.password
    if not change:
        return row
    its, rds, secret = server.of(settings.rds), settings.rds, bool(change.get("ManageMasterUserPassword"))

    def done() -> bool | None:
        now = beside(aws, rds, which)
        return (now is not None and (not is_usable(now) or bool(secret and now.get("MasterUserSecret")))) or None

    calls.surely(lambda: its.call(aws, its.modify, which.beside, ApplyImmediately=True, **change), done)
    say(f"{which.beside}: " + ", ".join(sorted(change)) + " as the settings say")

    def reached(now: Row | None) -> bool:
        return is_usable(now) and (not secret or bool((now or {}).get("MasterUserSecret")))

    again = f"rds.restore {source.option} --as {which.beside}"
    bad = {state: of(which.beside, advice) for state, advice in {**HOPELESS, **RESTING}.items()}
    found = instance.wait_for(aws, replace(settings.rds, identifier=which.beside), Goal(again, reached, bad), clock)
    assert found is not None
    return found


def is_admitted(settings: Settings, aws: Aws, row: Row) -> bool:
    """Whether the instance takes the password of the settings: that of the source at that time is often the same."""
    try:
        prod.open_session(settings, aws, row, "rds.restore").close()
    except NotAllowed:
        return True
    except LoginFailed:
        return False
    except Problem:
        return False  # who cannot be asked is told
    return True


def connect(
    settings: Settings, aws: Aws, row: Row, clock: Clock, minutes: float = 1, *, task: str = "rds.restore"
) -> None:
    """Prove an instance by a session in its database; raises `Problem` that says what is to be done.

    A name that is new is not known everywhere at once: who is not reached is asked again for some minutes.
    """
    until, told = clock.monotonic() + minutes * 60, False
    while True:
        try:
            prod.open_session(settings, aws, row, task).close()
        except LoginFailed:
            raise
        except (Unreachable, NothingAnswers) as error:
            if clock.monotonic() >= until:
                raise not_proved(row, error) from error
            if not told:
                say(f"waiting until {instance.host(row)} can be reached from here, for {minutes:g} minutes at most")
            told = True
            clock.sleep(INTERVAL)
        except Problem as error:
            raise not_proved(row, error) from error
        else:
            return


def not_proved(row: Row, error: Problem) -> Problem:
    return type(error)(f"{row['DBInstanceIdentifier']} is there, but no session was opened: {error}")


def told(row: Row, source: Source, *, swapped: bool, previous: str | None, outage: float | None = None) -> Restored:
    return Restored(
        row["DBInstanceIdentifier"],
        str(source),
        True,
        instance.host(row),
        instance.port(row),
        swapped,
        previous,
        outage,
        None,
    )
