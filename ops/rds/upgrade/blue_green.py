"""rds.upgrade --blue-green: AWS makes a copy that is kept up to date, upgrades that, and switches over to it.

What it takes and lacks is on three pages of the RDS user guide: "Limitations and considerations for Amazon RDS blue/green
deployments", "PostgreSQL replication methods for blue/green deployments" (another major version goes by logical replication) and
"Using RDS Proxy with Blue/Green Deployments" (since April 2026, for a proxy that the instance was a target of before; what is made of it is
in ops/rds/proxy/following.py). Where a run ends is seen from the deployment alone, so the next one goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from config.rds import Rds
from config.settings import Settings
from ops import calls
from ops.aws import Aws
from ops.aws_errors import unless
from ops.cloud import prices, tags
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import minutes, say
from ops.errors import Problem, Refused
from ops.rds import instance, lookups, own_password, waiting
from ops.rds.connect_policy import Follow, nobody
from ops.rds.proxy import following as proxied
from ops.rds.replica import following
from ops.rds.restore import making
from ops.rds.upgrade import checks, offers, upgrade
from ops.rds.upgrade.checks import Check, Finding
from ops.rds.upgrade.offers import Offer, fits, major
from ops.rds.upgrade.upgrade import Upgraded, Wanted
from ops.rds.waiting import Goal, is_usable
from ops.typed_name import require_confirmation

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_rds.type_defs import BlueGreenDeploymentTypeDef

OPTION = " --blue-green"
LONGEST = 60
"""Characters of a deployment's name."""
SWITCH_SECONDS = 300
"""After which AWS gives a switchover up and leaves all as it was; its default."""
EARLIEST = {11: 21, 12: 16, 13: 12, 14: 9, 15: 4, 16: 1}
"""The minor version of each major one from which AWS can lead to another major one so; newer ones all."""
OLD = "-old1"
"""What AWS puts behind the name of the instance from before ("Switching a blue/green deployment in Amazon RDS")."""
BAD = {
    "INVALID_CONFIGURATION": "its events in the RDS console say why",
    "SWITCHOVER_FAILED": "all is as before it, its events in the RDS console say why",
    "DELETING": "somebody deletes it: run this again when it is gone",
}

LOGICAL = (
    Check(
        "a table without a primary key, whose rows AWS's copy cannot follow",
        r"""
        select pg_catalog.format('%I.%I', n.nspname, c.relname) as object,
          pg_catalog.format('alter table %I.%I add ' || case n.nspname when 'inv' then 'id bigint generated always as identity primary key'
            else 'primary key (…)' end, n.nspname, c.relname) as mend
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
          and not exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary)
          and not exists (select from pg_catalog.pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
        order by 1
        """,
    ),
    checks.of_tables(
        "a table that is not logged, and so is not copied", "set logged", "c.relkind = 'r' and c.relpersistence = 'u'"
    ),
    Check(
        "large objects, of which later changes are not copied",
        r"""
        select pg_catalog.format('%s large objects', pg_catalog.count(*)) as object,
          'upgrade in place, or move them into columns of type bytea' as mend
        from pg_catalog.pg_largeobject_metadata having pg_catalog.count(*) > 0
        """,
    ),
    Check(
        "a publication or subscription of your own, beside which AWS makes none",
        r"""
        select pg_catalog.format('publication %I', pubname) as object, pg_catalog.format('drop publication %I', pubname) as mend
        from pg_catalog.pg_publication
        union all
        select pg_catalog.format('subscription %I', subname), pg_catalog.format('drop subscription %I', subname)
        from pg_catalog.pg_subscription where subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
        order by 1
        """,
    ),
    Check(
        "an extension that must be disabled meanwhile",
        r"""
        select pg_catalog.format('extension %I', extname) as object, pg_catalog.format('drop extension %I', extname) as mend
        from pg_catalog.pg_extension where extname in ('pg_partman', 'pgactive', 'pglogical') order by 1
        """,
    ),
)
"""What logical replication leaves behind, looked at in each database."""
OF_SERVER = Check(
    "the server does not write what logical replication needs",
    r"""
    select 'parameter wal_level' as object, 'set rds.logical_replication to 1 in a parameter group of your own (none of AWS''s '
      'can be changed), give it to the instance and restart that' as mend
    where pg_catalog.current_setting('wal_level') <> 'logical'
    union all
    select 'parameter max_replication_slots', pg_catalog.format('raise it above the number of databases, %s', needed.number)
    from (select pg_catalog.count(*) as number from pg_catalog.pg_database where datallowconn and not datistemplate) as needed
    where pg_catalog.current_setting('max_replication_slots')::int <= needed.number
    """,
    of_server=True,
)


def lead(
    settings: Settings,
    aws: Aws,
    clock: Clock,
    wanted: Wanted,
    *,
    confirm: str,
    dry_run: bool,
    follow: Follow = nobody,
) -> Upgraded:
    """Upgrade by a copy and a switchover, or go on with that; return what was done, or what is in the way.

    `follow` lets the function in there: before the switchover into both, after it into the new one alone.
    """
    rds = settings.rds
    row = upgrade.owned(settings, aws)
    was, there = row["EngineVersion"], find(aws, settings)
    if there is None:
        offers.check_wanted(wanted.to, row)
        offer = offers.ask(aws, rds, row, wanted.to)
        if not offer.version:
            say(f"{rds.identifier} has PostgreSQL {was} already")
            if not dry_run:
                upgrade.finish(settings, aws, clock, was)
            return Upgraded(rds.identifier, False, was, was, None, [])
        check_row(row, offer)
        check_name(aws, rds)
        proxied.check_copy(aws, row)
        findings = in_the_way(settings, aws, row, offer, wanted)
        own = takes_over_password(settings, row, dry_run=dry_run)
        tell(settings, aws, row, offer, switches_password=own)
        if dry_run:
            return Upgraded(rds.identifier, False, was, offer.version, None, findings)
        upgrade.require_none(rds.identifier, findings)
        ask(settings, confirm, f"upgrade {rds.identifier} to PostgreSQL {offer.version}")
        if own:
            own_password.take_over(settings, aws, clock, f"{upgrade.TASK}{OPTION}")
        there = make(settings, aws, row, offer, wanted.group)
    elif dry_run:
        say(f"AWS is at it already: the deployment {there['BlueGreenDeploymentName']} is {there['Status']}")
        return Upgraded(rds.identifier, False, was, was, None, [])
    else:
        say(f"the deployment {there['BlueGreenDeploymentName']} is there already ({there['Status']}): going on with it")
        ask(settings, confirm, left_to_do(rds.identifier, there["Status"]))
    begun = None
    there = wait(settings, aws, clock, wanted, ("AVAILABLE", "SWITCHOVER_IN_PROGRESS", "SWITCHOVER_COMPLETED"))
    if there["Status"] == "AVAILABLE":
        try_copy(settings, aws, clock, there)
        let_both_in(settings, aws, there, follow)
        begun = clock.monotonic()
        switch(settings, aws, there)
        there = wait(settings, aws, clock, wanted, ("SWITCHOVER_COMPLETED",))
    elif there["Status"] != "SWITCHOVER_COMPLETED":
        there = wait(settings, aws, clock, wanted, ("SWITCHOVER_COMPLETED",))
    return end(settings, aws, clock, wanted, there, was, begun, follow)


def left_to_do(identifier: str, state: str) -> str:
    """Return what a person is asked for, who goes on with a deployment in a state."""
    if state.startswith("SWITCHOVER_"):
        begun = "which is switched over" if state == "SWITCHOVER_COMPLETED" else "which AWS switches over"
        return f"end the upgrade of {identifier}, {begun}: new statistics, then its deployment goes"
    return f"switch {identifier} over to its copy"


def name(settings: Settings) -> str:
    """Return what the deployment of an instance is called."""
    wanted = f"{settings.rds.identifier}-upgrade"
    if len(wanted) <= LONGEST:
        return wanted
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return f"{settings.rds.identifier[: LONGEST - 17].rstrip('-')}-{digest}-upgrade"


def find(aws: Aws, settings: Settings) -> BlueGreenDeploymentTypeDef | None:
    """Return the deployment of the instance, or None; raises `Refused` for one of that name which is not ours."""
    client: RDSClient = aws.client("rds")
    filters: Any = [{"Name": "blue-green-deployment-name", "Values": [name(settings)]}]
    found = client.describe_blue_green_deployments(Filters=filters)["BlueGreenDeployments"]
    found = [one for one in found if not one.get("DeleteTime")]
    for one in found:
        have = tags.from_aws(one.get("TagList"))
        if not tags.is_ours(have) or have.get(tags.INSTANCE) != settings.rds.identifier:
            raise Refused(
                f"the blue/green deployment {name(settings)} is not ours: delete it, or tag it ManagedBy={tags.MANAGED_BY} and "
                f"{tags.INSTANCE}={settings.rds.identifier}"
            )
    return found[0] if found else None


# --- what is in the way -------------------------------------------------------------------


def check_row(row: Row, offer: Offer) -> None:
    """Refuse what AWS would of an instance."""
    upgrade.check_ready(row)
    identifier, have = row["DBInstanceIdentifier"], row["EngineVersion"]
    if not row.get("BackupRetentionPeriod"):
        raise Refused(
            f"{identifier} keeps no backups, without which AWS makes no copy: set rds.backup_days, then inv rds.apply"
        )
    if row.get("ReadReplicaSourceDBInstanceIdentifier"):
        raise Refused(f"{identifier} is a replica of {row['ReadReplicaSourceDBInstanceIdentifier']}: upgrade that one")
    if major(offer.version) == major(have):
        return
    minor = (*lookups.numbers(have), 0)[1]
    if minor < EARLIEST.get(major(have), 0) or major(have) < min(EARLIEST):
        raise Refused(
            f"{identifier}: AWS leads {have} to no other major version by a copy: inv {upgrade.TASK} --to "
            f"{major(have)} first, or without --blue-green"
        )


def in_the_way(settings: Settings, aws: Aws, row: Row, offer: Offer, wanted: Wanted) -> list[Finding]:
    """Return what the upgrade of the copy would be refused for, and what would not reach it."""
    found = upgrade.in_the_way(settings, aws, row, offer, wanted)
    if major(offer.version) == major(row["EngineVersion"]):  # by physical replication, which copies all
        return found
    with upgrade.server(settings, aws) as connect:
        return found + look_at(connect)


def look_at(connect: Callable[[str], Any]) -> list[Finding]:
    """Return what would not reach the copy, in every database of a server."""
    with connect("") as conn:
        found = list(checks.found(conn, None, [OF_SERVER]))
        names = checks.databases(conn)
    for each in names:
        with connect(each) as conn:
            found += checks.found(conn, each, list(LOGICAL))
    return found


def check_name(aws: Aws, rds: Rds) -> None:
    """Raise `Refused` where an instance has the name that the one from before is to get: AWS would take another number for it."""
    old = rds.identifier + OLD
    if (there := instance.find_instance(aws, old)) is None:
        return
    ours = tags.is_ours(tags.from_aws(there.get("TagList")))
    step = (
        f"it is that of an upgrade before, and paid for: INVOKE_RDS_IDENTIFIER={old} inv rds.delete removes it"
        if ours
        else "it was not made by inv: give it another name, or upgrade without --blue-green"
    )
    raise Refused(f"{old} is there, and {rds.identifier} is to be called so after the switch: nothing was done; {step}")


def takes_over_password(settings: Settings, row: Row, *, dry_run: bool) -> bool:
    """Whether the password is to be taken over from RDS first; raises `Refused` where there is none to take."""
    return own_password.is_to_be_taken_over(
        settings,
        row,
        f"{upgrade.TASK}{OPTION}",
        "makes no copy of such an instance",
        dry_run=dry_run,
        after="; afterwards, unset it, and aws rds modify-db-instance --manage-master-user-password gives it back to RDS",
    )


# --- the way ------------------------------------------------------------------------------


def ask(settings: Settings, confirm: str, act: str) -> None:
    identifier = settings.rds.identifier
    require_confirmation(
        identifier,
        confirm,
        this="this instance",
        act=act,
        question=f"{act}. Type {identifier} to go on:",
        caseless=True,
    )


def tell(settings: Settings, aws: Aws, row: Row, offer: Offer, *, switches_password: bool) -> None:
    """Say what it does, takes and costs."""
    rds = settings.rds
    if switches_password:
        say(f"first: the password is that of {settings.focus.names.password} and no more kept by RDS; the secret goes")
    say(
        f"{rds.identifier}: AWS makes a copy with PostgreSQL {offer.version} and keeps it up to date; then the names are exchanged. "
        "Sessions end, and writes wait, for a minute at most by AWS's documentation; no row is lost"
    )
    if major(offer.version) != major(row["EngineVersion"]):
        say(
            "until then: no migrations, for the copy does not follow them; sequences and materialized views are not followed either"
        )
    asked = prices.Asked(
        row["DBInstanceClass"],
        row.get("AllocatedStorage") or 0,
        row.get("StorageType") or "gp3",
        bool(row.get("MultiAZ")),
    )
    say(f"costs: one more instance, {prices.told(aws, asked)}, until {rds.identifier}{OLD} is deleted")
    following.tell_copies(row, OLD)


def make(settings: Settings, aws: Aws, row: Row, offer: Offer, group: str) -> BlueGreenDeploymentTypeDef:
    """Ask AWS for the copy."""
    client: RDSClient = aws.client("rds")
    more: dict[str, Any] = {"TargetDBParameterGroupName": group} if group else {}
    labels = {**tags.of_project(settings.rds.project), tags.INSTANCE: settings.rds.identifier}

    def send() -> BlueGreenDeploymentTypeDef:
        return client.create_blue_green_deployment(
            BlueGreenDeploymentName=name(settings),
            Source=row["DBInstanceArn"],
            TargetEngineVersion=offer.version,
            Tags=tags.to_aws(labels),
            **more,
        )["BlueGreenDeployment"]

    try:
        made = calls.surely(send, lambda: find(aws, settings))
    except client.exceptions.BlueGreenDeploymentAlreadyExistsFault:  # another run was first
        there = find(aws, settings)
        if there is None:
            raise
        made = there
    say(
        f"asked AWS for a copy with PostgreSQL {offer.version}; this takes half an hour and more for much data, Ctrl-C is safe"
    )
    return made


def wait(
    settings: Settings, aws: Aws, clock: Clock, wanted: Wanted, states: tuple[str, ...]
) -> BlueGreenDeploymentTypeDef:
    """Wait until the deployment is in one of these states; each is said."""
    there: BlueGreenDeploymentTypeDef | None = None

    def look(elapsed: float) -> str | None:
        nonlocal there
        there = find(aws, settings)
        if there is None:
            if elapsed > SWITCH_SECONDS / 5:
                raise Problem(f"the deployment {name(settings)} is gone: somebody has deleted it")
            return "gone"
        state = there["Status"]
        if state in states:
            return None
        if advice := BAD.get(state):
            said = there.get("StatusDetails") or advice
            raise Problem(
                f"the deployment {name(settings)} is {state}: {said}; aws rds delete-blue-green-deployment --delete-target "
                f"--blue-green-deployment-identifier {there['BlueGreenDeploymentIdentifier']} removes it and the copy"
            )
        return state.lower().replace("_", " ")

    again = f"inv {upgrade.TASK} --to {wanted.to}{OPTION}"
    waiting.until(look, f"the deployment {name(settings)}", settings.rds.wait_minutes, again, clock)
    assert there is not None
    return there


def try_copy(settings: Settings, aws: Aws, clock: Clock, there: BlueGreenDeploymentTypeDef) -> None:
    """Prove the copy by a session in its database, before anything is switched."""
    copy = instance.find_instance(aws, there["Target"].split(":")[-1])
    if copy is None:
        raise Problem(f"the deployment {name(settings)} has no copy: nothing was switched; its events say why")
    making.connect(settings, aws, copy, clock)
    say(f"a session was opened in {copy['DBInstanceIdentifier']}, which has PostgreSQL {copy['EngineVersion']}")


def let_both_in(settings: Settings, aws: Aws, there: BlueGreenDeploymentTypeDef, follow: Follow) -> None:
    """Let a proxy of ours, and the function, into the copy too: before it switches over, AWS sees that the proxy reaches both."""
    found = [instance.find_instance(aws, there[key].split(":")[-1]) for key in ("Source", "Target")]
    both = [row for row in found if row is not None]
    proxied.follow_copy(settings, aws, both)
    follow(both, [])


def switch(settings: Settings, aws: Aws, there: BlueGreenDeploymentTypeDef) -> None:
    """Ask AWS for the switchover."""
    client: RDSClient = aws.client("rds")

    def begun() -> bool | None:
        now = find(aws, settings)
        return (now is not None and now["Status"] != "AVAILABLE") or None

    try:
        calls.surely(
            lambda: client.switchover_blue_green_deployment(
                BlueGreenDeploymentIdentifier=there["BlueGreenDeploymentIdentifier"], SwitchoverTimeout=SWITCH_SECONDS
            ),
            begun,
        )
    except client.exceptions.InvalidBlueGreenDeploymentStateFault:
        if not begun():  # another run was first
            raise
    say("asked AWS to switch over")


def end(
    settings: Settings,
    aws: Aws,
    clock: Clock,
    wanted: Wanted,
    there: BlueGreenDeploymentTypeDef,
    was: str,
    begun: float | None,
    follow: Follow = nobody,
) -> Upgraded:
    """Look at the instance that has the name now, give it its statistics, and let go of the deployment; the old one stays."""
    rds, client = settings.rds, aws.client("rds")

    def upgraded(row: Row | None) -> bool:
        return is_usable(row) and fits((row or {}).get("EngineVersion", ""), wanted.to)

    again = f"{upgrade.TASK} --to {wanted.to}{OPTION}"
    row = instance.wait_for(aws, rds, Goal(again, upgraded, {}), clock)
    assert row is not None
    back = upgrade.finish(settings, aws, clock, row["EngineVersion"])
    seconds = None if begun is None else back - begun
    proxied.follow_copy(settings, aws, [row])
    old = rds.identifier + OLD
    before = instance.find_instance(aws, old)
    follow([row], [before] if before else [])
    with unless("BlueGreenDeploymentNotFoundFault"):
        calls.surely(
            lambda: client.delete_blue_green_deployment(
                BlueGreenDeploymentIdentifier=there["BlueGreenDeploymentIdentifier"]
            ),
            lambda: find(aws, settings) is None or None,
        )
    away = "" if seconds is None else f", switched over in {minutes(seconds)} minutes"
    say(
        f"{rds.identifier} is another instance now{away}: rights by rds-db:connect name its id, those of people want it too "
        f"(inv rds.connect-policy); the one before is {old}, takes no writes and is paid for: INVOKE_RDS_IDENTIFIER={old} inv rds.delete removes it"
    )
    return Upgraded(rds.identifier, True, was, row["EngineVersion"], None, [], seconds)
