"""What the door tasks do: from settings to the group, and a word about it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from config.paths import local_dir, write_private
from config.settings import Settings
from ops import console, own_files
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.errors import Problem
from ops.rds.bastion import bastion
from ops.rds.security_group import location, own_address, own_rule, reachability, rules
from ops.rds.security_group.changes import Door
from ops.rds.security_group.rules import Rule
from ops.times import largest_unit

ID = re.compile("[0-9a-f]{16}")
COLUMNS = ("who", "address", "port", "age", "expires", "rule", "group", "note")


def now() -> datetime:
    return datetime.now(timezone.utc)


def owner(settings: Settings) -> str:
    """Return who stands before the door: the workspace where it has a name, else user@host."""
    from ops.postgres import whoami

    return rules.owner_name(name_of(settings) or whoami())


def name_of(settings: Settings) -> str:
    """Return the name that a host of workspaces has given to this one, or nothing."""
    return settings.vars.get("GITPOD_WORKSPACE_ID") or settings.vars.get("CODESPACE_NAME")


def workspace(settings: Settings) -> str:
    """Return what tells this workspace from all others: the name it was given, else an id kept in .local.

    Containers share user@host (root and a name that is in a compose file), and change
    it when they are built anew. Nothing where the folder cannot be written.
    """
    if name := name_of(settings):
        return rules.owner_name(name)
    try:
        path = local_dir(settings.root) / "workspace"
        if not path.exists() or not ID.fullmatch(own_files.content(path).decode(errors="replace")):
            write_private(path, secrets.token_hex(8))
        return own_files.content(path).decode()
    except (OSError, Problem):
        return ""


def door_of(aws: Aws, settings: Settings, at: location.Location, expires: str | None = None) -> Door:
    """Return the door at an entrance, with this workspace before it."""
    return Door(
        aws.client("ec2"),
        at.group,
        at.port,
        owner(settings),
        now(),
        stays(settings, expires),
        workspace(settings),
        at.named_rule,
        settings.focus.names,
        asked=expires is not None,
    )


def stays(settings: Settings, expires: str | None) -> timedelta:
    """Return how long the rule stays: --expires, else the setting."""
    if expires is None:
        return rules.lifetime(settings.door.expires, "door.expires (INVOKE_DOOR_EXPIRES)")
    return rules.lifetime(expires, "--expires")


def allow(aws: Aws, settings: Settings, ip: str | None, expires: str | None) -> None:
    """Let this workspace in, then try the port.

    What can be wrong about the input is found before AWS is asked for anything;
    echo services are asked last, so that a missing login is one line.
    """
    stays(settings, expires)
    location.ids(settings)
    given = settings.vars.get("GITPOD_IP")
    known = own_address.find(ip, given, ()) if ip is not None or given else None
    for service in settings.door.echo:
        own_address.check_service(service)
    at = location.find_location(aws, settings)
    if at.instance and is_private(settings, at.instance) and (via := bastion.let_in(settings, aws)):
        console.say(f"{settings.rds.identifier} is not public, so no address is let in: the bastion is, by {via}")
        return
    found = known or own_address.find(None, "", settings.door.echo)
    console.say(own_rule.allow(door_of(aws, settings, at, expires), found, offer))
    get, names = settings.vars.get, settings.focus.names
    console.say(
        reachability.outcome(
            aws, at.instance, get(names.endpoint), get(names.hostaddr), at.port, variable=names.endpoint
        )
    )


def is_private(settings: Settings, row: Row) -> bool:
    """Whether an instance has no public address; where AWS does not tell, the settings do."""
    public = row.get("PubliclyAccessible")
    return not (settings.rds.public if public is None else public)


def offer(expired: Sequence[Rule]) -> bool:
    """Ask whether expired rules may go; nobody there to ask means no."""
    names = console.few([f"{rule.source} of {rule.owner}" for rule in expired], 5)
    question = f"the group is full; revoke {len(expired)} expired rules ({names})? [y/N]"
    return console.interactive() and console.ask(question).lower() in ("y", "yes")


def show(aws: Aws, settings: Settings, *, json: bool) -> None:
    """List who is let in, by every group of the instance."""
    every, mine = found(aws, settings)
    if json:
        console.as_json([as_data(rule, mine) for rule in every])
        return
    console.table(COLUMNS, [as_row(rule, mine) for rule in every], red=lambda row: row["note"] == "WIDE OPEN")
    if wide := [rule.id for rule in every if rule.wide_open]:
        console.say(f"note: {', '.join(wide)} lets anyone in: remove it once the addresses that need it have rules")


def found(aws: Aws, settings: Settings) -> tuple[list[Rule], Door]:
    """Return the rules of every group of the instance, and the door with this workspace before it."""
    at = location.find_location(aws, settings)
    groups = [g["VpcSecurityGroupId"] for g in (at.instance or {}).get("VpcSecurityGroups", [])]
    mine = door_of(aws, settings, at)
    return [rule for group in dict.fromkeys([at.group, *groups]) for rule in replace(mine, group=group).listed()], mine


@dataclass(frozen=True)
class Listed:
    """A rule that lets something in, of any group of the instance."""

    rule: str
    """Its id."""
    group: str
    """The id of its security group."""
    owner: str | None
    """Whose it is; null where the suite has not made it."""
    address: str
    """What may enter: a range as AWS writes it, another security group or a prefix list by its id."""
    protocol: str
    """all, tcp, udp, icmp, or a number."""
    from_port: int | None
    """Null where it is for all."""
    to_port: int | None
    """Null where it is for all."""
    created_at: datetime | None
    """Null where the suite has not made it."""
    expires_at: datetime | None
    """Null where the suite has not made it."""
    expired: bool
    """Whether its time is over; rds.prune-rules takes it away."""
    ours: bool
    """Whether the suite has made it."""
    mine: bool
    """Whether it is this workspace's."""
    wide_open: bool
    """Whether it lets in strangers by the million."""
    description: str | None
    """As AWS has it."""


def as_data(rule: Rule, mine: Door) -> Listed:
    """Return a rule for JSON: times are absolute."""
    low, high = (None if port == -1 else port for port in rule.ports)
    return Listed(
        rule=rule.id,
        group=rule.group,
        owner=rule.owner or None,
        address=rule.source,
        protocol="all" if rule.protocol == "-1" else rule.protocol,
        from_port=low,
        to_port=high,
        created_at=rule.created,
        expires_at=rule.expires,
        expired=own_rule.is_expired(rule, mine.now),
        ours=rule.ours,
        mine=own_rule.is_mine(mine, rule),
        wide_open=rule.wide_open,
        description=rule.description or None,
    )


def as_row(rule: Rule, mine: Door) -> dict[str, Any]:
    """Return a rule for people: times are told from now."""
    low, high = rule.ports
    note = "WIDE OPEN" if rule.wide_open else "you" if own_rule.is_mine(mine, rule) else "" if rule.ours else "not ours"
    return {
        "who": rule.owner or rule.description,
        "address": rule.source,
        "port": "all" if rule.protocol == "-1" else f"{low}" if low == high else f"{low}-{high}",
        "age": span((mine.now - rule.created).total_seconds()) if rule.created else "",
        "expires": ""
        if rule.expires is None
        else "expired"
        if rule.expires <= mine.now
        else f"in {span((rule.expires - mine.now).total_seconds())}",
        "rule": rule.id,
        "group": rule.group,
        "note": note,
    }


def span(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    count, unit = largest_unit(seconds)
    return f"{count}{unit[0]}"


def revoke(aws: Aws, settings: Settings) -> None:
    """Take this workspace's rule away."""
    at = location.find_location(aws, settings)
    if not own_rule.revoke(door_of(aws, settings, at)):
        console.say(f"{at.group} has no rule of {owner(settings)}: nothing to do")


def prune(aws: Aws, settings: Settings) -> None:
    """Take expired rules away, those with our tags only."""
    at = location.find_location(aws, settings)
    here = door_of(aws, settings, at)
    if not own_rule.prune(here):
        console.say(f"{at.group} has no expired rule of ours: nothing to do")
    untagged = [r for r in here.listed() if r.ours and not r.tagged and r.expires and r.expires <= here.now]
    for rule in untagged:
        console.say(
            f"note: {rule.id} of {rule.owner} has expired too, by its description alone: inv rds.revoke-my-ip there"
        )
