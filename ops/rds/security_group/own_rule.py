"""One rule for this workspace's address: made, moved, renewed, removed.

A new address never locks anyone out: the rule is changed in place, or the new
one is there before the old one goes. The rules of others are never touched.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import datetime

from ops.addresses import Address, Network
from ops.aws_errors import code, speaking
from ops.cloud import tags
from ops.console import say
from ops.errors import Misconfigured, Problem
from ops.rds.security_group import rules
from ops.rds.security_group.changes import REFUSED, Changed, Door, change, label, remove, send
from ops.rds.security_group.own_address import network
from ops.rds.security_group.rules import Mark, Rule

TRIES = 4
"""Looks at the group when its rules change under our hands."""
Offer = Callable[[list[Rule]], bool]
"""Asks whether expired rules may go to make room."""


def allow(door: Door, address: Address, offer: Offer = lambda _: False) -> str:
    """Make one rule of ours exist for exactly this address, and say in words what was done."""
    for _ in range(TRIES):
        try:
            with speaking():
                return allow_once(door, ipaddress.ip_network(network(address)), offer)
        except Changed:
            continue
    raise Problem(f"the rules of {door.group} keep changing: run this again in a moment")


def allow_once(door: Door, wanted: Network, offer: Offer) -> str:
    """Do what the rules, as they are now, call for."""
    every = door.listed()
    named = named_rule(door, every)
    mine = [rule for rule in every if is_mine(door, rule)]
    candidates = [*([named] if named else []), *(rule for rule in mine if rule != named)]
    kept = next((rule for rule in candidates if rule.is_exactly(wanted, door.port)), None)
    done, until = "", rules.stamp(door.mark.expires)
    if kept:
        done = renew(door, kept)
    elif theirs := next((rule for rule in every if rule.is_exactly(wanted, door.port)), None):
        # AWS keeps one rule for an address and port, whoever asks: it is not ours to adopt or to revoke
        candidates = mine if named not in mine else [rule for rule in mine if rule != named]
        done = f"{wanted} is let in already by {whose(theirs)}: ask for it to stay, nothing was added"
        if named:
            say(f"note: {named.id} ({door.names.rule}) stays as it is, for {named.source}")
    else:
        same = (rule for rule in candidates if rule.network and rule.network.version == wanted.version)
        if kept := next(same, None):
            change(door, kept, wanted)
            done = f"{kept.id} lets {wanted} in now, instead of {kept.source}, until {until}"
        else:
            made = authorize(door, wanted, every, offer)
            done = f"{made} lets {wanted} in until {until}"
            if door.named:
                say(f"note: {made} takes the place of {door.named}: inv env.set {door.names.rule}={made}")
    for rule in every:
        if (
            rule not in candidates
            and rule != kept
            and rule.lets_in(wanted, door.port)
            and not rule.is_exactly(wanted, door.port)
        ):
            say(
                f"note: {whose(rule)} lets {rule.source} in, which covers it too"
                + (": that is wide open" if rule.wide_open else "")
            )
    for rule in candidates:
        users = rule == named and not is_mine(door, rule)
        if kept and rule != kept and users and rule.network and rule.network.version == wanted.version:
            say(f"note: {rule.id} ({door.names.rule}) stays as it is, for {rule.source}: unset {door.names.rule}")
        elif rule != kept:
            remove(door, rule)
    return f"{done} (port {door.port}, {door.group}, {door.owner})"


def named_rule(door: Door, every: list[Rule]) -> Rule | None:
    """Return the rule that is named by its id, if it is there and one that can hold an address."""
    if not door.named:
        return None
    found = next((rule for rule in every if rule.id == door.named), None)
    if found is None:
        say(f"note: {door.group} has no rule {door.named} that lets something in ({door.names.rule}): going by tags")
    elif found.network is None:
        raise Misconfigured(
            f"{door.names.rule}: {door.named} lets {found.source} in, which is no address: name another rule"
        )
    return found


def is_mine(door: Door, rule: Rule) -> bool:
    """Whether a rule is this workspace's: by its id, or by the owner's name where it carries none."""
    known = rule.workspace == door.workspace if rule.workspace else rule.owner == door.owner
    return rule.ours and known and rule.network is not None


def whose(rule: Rule) -> str:
    """Return a rule and whose it is, in words."""
    return f"{rule.id} ({rule.owner or rule.description or 'no description'})"


def renew(door: Door, rule: Rule) -> str:
    """Set the expiry that was asked for; the default, only when less than half of it is left: most runs write nothing."""
    until = rules.stamp(door.mark.expires)
    if not is_mine(door, rule):
        label(door, rule, door.mark)
        return f"{rule.id} lets {rule.source} in already; it is marked as yours now, until {until}"
    unnamed = door.workspace and not rule.workspace  # it is from before there were ids
    if door.asked or unnamed or rule.expires is None or rule.expires - door.now < door.lifetime / 2:
        mark = Mark(door.owner, rule.created or door.now, door.mark.expires, door.workspace)
        label(door, rule, mark)
        return f"{rule.id} lets {rule.source} in already; it expires {until} now"
    return f"{rule.id} lets {rule.source} in already, until {rules.stamp(rule.expires)}"


def authorize(door: Door, wanted: Network, every: list[Rule], offer: Offer) -> str:
    """Add a rule and return its id; a full group may be cleared of expired rules once."""
    tagged = [{"ResourceType": "security-group-rule", "Tags": tags.to_aws(door.mark.tags)}]
    try:
        try:
            return send(door, wanted, door.mark.description, TagSpecifications=tagged)
        except door.ec2.exceptions.ClientError as error:
            if code(error) not in REFUSED:
                raise
            # with or without the tags? AWS does not say in a form to rely on
            made = send(door, wanted, door.mark.full_description)
            say("note: AWS does not permit ec2:CreateTags here: owner and expiry went into the description")
            return made
    except door.ec2.exceptions.ClientError as error:
        if code(error) == "InvalidPermission.Duplicate":
            raise Changed from error
        if code(error) != "RulesPerSecurityGroupLimitExceeded":
            raise door.lost(error) from error
    make_room(door, every, offer)
    raise Changed


def make_room(door: Door, every: list[Rule], offer: Offer) -> None:
    """Remove expired rules of ours from a full group, if the user agrees."""
    expired = [rule for rule in every if is_expired(rule, door.now)]
    if not expired:
        raise Problem(
            f"{door.group} is full, and none of its rules is an expired one of ours: "
            "see inv rds.rules for what may go, or ask AWS for a higher limit"
        )
    if not offer(expired):
        raise Problem(
            f"{door.group} is full: {len(expired)} of its rules are ours and expired, inv rds.prune-rules removes them"
        )
    for rule in expired:
        remove(door, rule)


def is_expired(rule: Rule, now: datetime) -> bool:
    """Whether a rule carries our tags and its time is over."""
    return rule.tagged and rule.expires is not None and rule.expires <= now


def revoke(door: Door) -> list[Rule]:
    """Remove this workspace's rules and return them."""
    gone = [rule for rule in door.listed() if is_mine(door, rule)]
    with speaking():
        for rule in gone:
            remove(door, rule)
    return gone


def prune(door: Door) -> list[Rule]:
    """Remove the expired rules that carry our tags, whoever's they are, and return them."""
    gone = [rule for rule in door.listed() if is_expired(rule, door.now)]
    with speaking():
        for rule in gone:
            remove(door, rule)
    return gone
