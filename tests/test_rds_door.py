"""One rule for this workspace: made, moved, renewed; never a moment locked out, nobody else's touched.

moto takes an HTML page for an address, lets one rule be there twice and knows
no missing permission: those answers of AWS are given by the front before it.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from ops.addresses import Address
from ops.errors import Misconfigured, Problem
from ops.rds.security_group import own_rule, rules
from tests.fix_aws import Answer, Call, error
from tests.fix_door import ME, NOON, Instance

ONE, TWO, SIX = (ipaddress.ip_address(text) for text in ("8.8.4.4", "8.8.8.8", "2600:1f18::1"))
PORT = (5432, 5432)
AUTHORIZE, MODIFY, REVOKE, TAG = (
    "AuthorizeSecurityGroupIngress",
    "ModifySecurityGroupRules",
    "RevokeSecurityGroupIngress",
    "CreateTags",
)


def refusing(
    action: str, code: str, *, times: int = 99, when: Callable[[Call], bool] = lambda _: True
) -> Callable[[Call], Answer | None]:
    """Return a front's answer that refuses an action, a number of times."""
    left = [times]

    def before(call: Call) -> Answer | None:
        if call.action != action or not left[0] or not when(call):
            return None
        left[0] -= 1
        return error(code)

    return before


def tagging(call: Call) -> bool:
    return any(key.startswith("TagSpecification") for key in call.params)


def test_a_first_rule_is_made_for_exactly_this_address(at: Instance) -> None:
    said = own_rule.allow(at.door(), ONE)
    [rule] = at.rules()
    assert (rule.source, rule.protocol, rule.ports, rule.owner) == ("8.8.4.4/32", "tcp", PORT, ME)
    assert (rule.created, rule.expires) == (NOON, NOON + timedelta(hours=12))
    assert rule.tagged
    assert f"{rule.id} lets 8.8.4.4/32 in until 2026-11-23T00:00:00Z" in said
    assert at.cloud.writes == [AUTHORIZE]


def test_the_same_address_again_writes_nothing(at: Instance) -> None:
    own_rule.allow(at.door(), ONE)
    at.cloud.forget()
    own_rule.allow(at.door(hours=5), ONE)
    assert at.cloud.writes == []


def test_its_expiry_is_renewed_when_less_than_half_is_left(at: Instance) -> None:
    own_rule.allow(at.door(), ONE)
    [before] = at.rules()
    at.cloud.forget()
    own_rule.allow(at.door(hours=7), ONE)
    [rule] = at.rules()
    assert at.cloud.writes == [TAG]
    assert (rule.id, rule.created, rule.expires) == (before.id, NOON, NOON + timedelta(hours=19))


@pytest.mark.parametrize("hours", [2, 48])
def test_an_expiry_that_is_asked_for_is_set_longer_or_shorter(at: Instance, hours: int) -> None:
    own_rule.allow(at.door(), ONE)
    [before] = at.rules()
    at.cloud.forget()
    said = own_rule.allow(at.door(hours=1, lifetime=timedelta(hours=hours), asked=True), ONE)
    [rule] = at.rules()
    assert at.cloud.writes == [TAG]
    assert (rule.id, rule.created, rule.expires) == (before.id, NOON, NOON + timedelta(hours=1 + hours))
    assert f"it expires {rules.stamp(NOON + timedelta(hours=1 + hours))} now" in said


def test_an_expiry_that_is_asked_for_is_set_without_the_right_to_tag_too(at: Instance) -> None:
    at.cloud.before = lambda call: error("UnauthorizedOperation") if call.action == TAG or tagging(call) else None
    own_rule.allow(at.door(), ONE)
    own_rule.allow(at.door(lifetime=timedelta(hours=2), asked=True), ONE)
    assert [rule.expires for rule in at.rules()] == [NOON + timedelta(hours=2)]


def test_an_expired_rule_of_mine_is_renewed_and_not_made_anew(at: Instance) -> None:
    made = at.ours("8.8.4.4/32", created=-100)
    own_rule.allow(at.door(), ONE)
    assert [rule.id for rule in at.rules()] == [made]
    assert at.rules()[0].expires == NOON + timedelta(hours=12)


def test_a_new_address_changes_the_rule_in_place(at: Instance) -> None:
    made = at.ours("8.8.4.4/32", created=-1)
    said = own_rule.allow(at.door(), TWO)
    [rule] = at.rules()
    assert (rule.id, rule.source, rule.owner, rule.created) == (made, "8.8.8.8/32", ME, NOON)
    assert "instead of 8.8.4.4/32, until 2026-11-23T00:00:00Z" in said
    assert at.cloud.writes == [MODIFY, TAG]


def test_another_port_of_the_instance_changes_the_rule_too(at: Instance) -> None:
    at.ours("8.8.4.4/32")
    own_rule.allow(at.door(port=5433), ONE)
    assert at.facts() == {(ME, "8.8.4.4/32", (5433, 5433))}


@pytest.mark.parametrize(
    ("old", "new", "source"), [("8.8.4.4/32", SIX, "2600:1f18::1/128"), ("2600:1f18::1/128", ONE, "8.8.4.4/32")]
)
def test_another_family_is_let_in_before_the_old_one_is_shut_out(
    at: Instance, old: str, new: Address, source: str
) -> None:
    """AWS cannot change a rule's family; moto says yes and does nothing."""
    at.ours(old)
    own_rule.allow(at.door(), new)
    assert at.facts() == {(ME, source, PORT)}
    assert at.cloud.writes == [AUTHORIZE, REVOKE]


def test_other_peoples_rules_stay_as_they_are(at: Instance) -> None:
    theirs = {
        at.add("0.0.0.0/0"),
        at.add("8.8.0.0/16"),
        at.ours("1.1.1.1/32", owner="bob@there"),
        at.add("8.8.4.4/32", port=22),
    }
    at.ours("9.9.9.9/32")
    before = {rule.id: rule for rule in at.rules()}
    own_rule.allow(at.door(), ONE)
    after = {rule.id: rule for rule in at.rules()}
    assert len(after) == 5
    assert all(before[rule] == after[rule] for rule in theirs)
    assert (ME, "8.8.4.4/32", PORT) in at.facts()


def test_a_wider_rule_of_others_is_said_and_mine_made_all_the_same(
    at: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    at.add("0.0.0.0/0", "everyone")
    own_rule.allow(at.door(), ONE)
    assert "(everyone) lets 0.0.0.0/0 in, which covers it too: that is wide open" in capsys.readouterr().err
    assert (ME, "8.8.4.4/32", PORT) in at.facts()


def test_the_same_address_of_a_colleague_is_neither_adopted_nor_revoked(at: Instance) -> None:
    theirs = at.ours("8.8.4.4/32", owner="bob@there")
    at.ours("9.9.9.9/32")
    said = own_rule.allow(at.door(), ONE)
    assert at.facts() == {("bob@there", "8.8.4.4/32", PORT)}
    assert theirs in said
    assert "bob@there" in said
    assert at.cloud.writes == [REVOKE]
    own_rule.revoke(at.door())
    assert at.facts() == {("bob@there", "8.8.4.4/32", PORT)}


def test_a_colleague_who_is_quicker_is_no_failure(at: Instance) -> None:
    """AWS finds the duplicate that was not there when we looked."""

    def before(call: Call) -> Answer | None:
        if call.action == AUTHORIZE and not at.facts():
            at.cloud.before = lambda _: None
            at.ours("8.8.4.4/32", owner="bob@there")
            return error("InvalidPermission.Duplicate")
        return None

    at.cloud.before = before
    assert "let in already by" in own_rule.allow(at.door(), ONE)
    assert at.facts() == {("bob@there", "8.8.4.4/32", PORT)}


def test_an_answer_that_was_lost_and_asked_for_again_is_no_failure(at: Instance) -> None:
    """The SDK repeats what ended in a 5xx: the second time AWS finds the first one's rule."""

    def before(call: Call) -> Answer | None:
        if call.action != AUTHORIZE:
            return None
        at.cloud.before = lambda _: None
        at.ours("8.8.4.4/32")
        return error("InvalidPermission.Duplicate")

    at.cloud.before = before
    assert "in already" in own_rule.allow(at.door(), ONE)
    assert at.facts() == {(ME, "8.8.4.4/32", PORT)}


def test_a_duplicate_found_on_changing_a_rule_is_no_failure_either(at: Instance) -> None:
    """moto would make the same rule twice."""
    at.ours("9.9.9.9/32")

    def before(call: Call) -> Answer | None:
        if call.action != MODIFY:
            return None
        at.cloud.before = lambda _: None
        at.ours("8.8.4.4/32", owner="bob@there")
        return error("InvalidPermission.Duplicate")

    at.cloud.before = before
    own_rule.allow(at.door(), ONE)
    assert at.facts() == {("bob@there", "8.8.4.4/32", PORT)}


def test_a_rule_that_vanishes_while_it_is_changed_is_made_again(at: Instance) -> None:
    mine = at.ours("9.9.9.9/32")

    def before(call: Call) -> Answer | None:
        if call.action == MODIFY:
            at.cloud.before = lambda _: None
            at.ec2.revoke_security_group_ingress(GroupId=at.group, SecurityGroupRuleIds=[mine])
            return error("InvalidSecurityGroupRuleId.NotFound")
        return None

    at.cloud.before = before
    own_rule.allow(at.door(), ONE)
    assert at.facts() == {(ME, "8.8.4.4/32", PORT)}


def test_rules_that_never_stop_changing_end_in_one_line(at: Instance) -> None:
    at.ours("9.9.9.9/32")
    at.cloud.before = refusing(MODIFY, "InvalidSecurityGroupRuleId.NotFound")
    with pytest.raises(Problem, match="keep changing"):
        own_rule.allow(at.door(), ONE)


@pytest.mark.parametrize("code", ["InvalidGroup.NotFound", "InvalidGroupId.Malformed"])
@pytest.mark.parametrize("action", ["DescribeSecurityGroupRules", AUTHORIZE])
def test_a_group_that_has_gone_names_the_variable(at: Instance, action: str, code: str) -> None:
    at.cloud.before = refusing(action, code)
    with pytest.raises(Misconfigured, match=f"{at.group} is not there: correct or unset DB_SG_ID"):
        own_rule.allow(at.door(), ONE)


# --- the user's own rule ----------------------------------------------------------------


def test_a_named_rule_is_changed_in_place_and_then_tagged(at: Instance) -> None:
    mine = at.add("1.2.3.4/32", "GITPOD")
    own_rule.allow(at.door(named=mine), ONE)
    [rule] = at.rules()
    assert (rule.id, rule.source, rule.owner, rule.tagged) == (mine, "8.8.4.4/32", ME, True)
    at.cloud.forget()
    own_rule.allow(at.door(named=mine), ONE)
    assert at.cloud.writes == []


def test_a_named_rule_that_is_right_is_only_tagged(at: Instance) -> None:
    mine = at.add("8.8.4.4/32", "GITPOD")
    own_rule.allow(at.door(named=mine), ONE)
    assert at.cloud.writes == [TAG]
    assert at.facts() == {(ME, "8.8.4.4/32", PORT)}


def test_a_named_rule_that_lets_everyone_in_is_closed_to_one_address(at: Instance) -> None:
    mine = at.add("0.0.0.0/0", "GITPOD")
    own_rule.allow(at.door(named=mine), ONE)
    assert at.facts() == {(ME, "8.8.4.4/32", PORT)}


def test_a_named_rule_of_the_other_family_gives_way_to_a_new_one(
    at: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = at.add("1.2.3.4/32", "GITPOD")
    own_rule.allow(at.door(named=mine), SIX)
    [rule] = at.rules()
    assert rule.source == "2600:1f18::1/128"
    assert at.cloud.writes == [AUTHORIZE, REVOKE]
    assert f"inv env.set DB_SG_RULE_ID={rule.id}" in capsys.readouterr().err


def test_a_named_rule_is_not_revoked_for_one_of_ours(at: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    made, theirs = at.ours("8.8.4.4/32"), at.add("10.0.0.0/16", "lambda vpc")
    at.cloud.forget()
    own_rule.allow(at.door(named=theirs), ONE)
    assert {rule.id for rule in at.rules()} == {made, theirs}
    assert REVOKE not in at.cloud.writes
    assert f"{theirs} (DB_SG_RULE_ID) stays as it is" in capsys.readouterr().err


def test_a_named_rule_that_is_gone_is_said_and_the_rule_found_by_its_tags(
    at: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    made = at.ours("9.9.9.9/32")
    own_rule.allow(at.door(named="sgr-0123456789abcdef0"), ONE)
    assert [rule.id for rule in at.rules()] == [made]
    assert "has no rule sgr-0123456789abcdef0" in capsys.readouterr().err


def test_a_named_rule_for_another_group_is_refused(at: Instance) -> None:
    permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": at.group}]}
    made = at.ec2.authorize_security_group_ingress(GroupId=at.group, IpPermissions=[permission])
    rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    at.cloud.forget()
    with pytest.raises(Misconfigured, match="DB_SG_RULE_ID"):
        own_rule.allow(at.door(named=rule), ONE)
    assert at.cloud.writes == []


def test_a_range_is_compared_as_aws_keeps_it(at: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """AWS stores 8.8.4.77/24 as 8.8.4.0/24; moto keeps what it was given."""
    at.add("8.8.4.77/24", "office")
    [rule] = at.rules()
    assert rule.source == "8.8.4.0/24"
    own_rule.allow(at.door(), ONE)
    assert "(office) lets 8.8.4.0/24 in, which covers it too" in capsys.readouterr().err


def test_a_changed_rule_is_sent_whole_with_its_description(at: Instance) -> None:
    """ModifySecurityGroupRules replaces all of a rule: what is left out is lost, and without a protocol AWS refuses."""
    at.ours("9.9.9.9/32")
    own_rule.allow(at.door(), ONE)
    [call] = [call for call in at.cloud.calls if call.action == MODIFY]
    sent = {key.rpartition(".")[2]: value for key, value in call.params.items() if ".SecurityGroupRule." in key}
    assert sent == {
        "IpProtocol": "tcp",
        "FromPort": "5432",
        "ToPort": "5432",
        "CidrIpv4": "8.8.4.4/32",
        "Description": f"inv rds.allow-my-ip: {ME}",
    }


# --- which workspace --------------------------------------------------------------------


def test_two_workspaces_of_one_name_leave_each_others_rules_alone(at: Instance) -> None:
    """Two containers are root at the same host name."""
    theirs = at.ours("9.9.9.9/32", workspace="aaaa")
    at.cloud.forget()
    own_rule.allow(at.door(workspace="bbbb"), ONE)
    assert {(rule.workspace, rule.source) for rule in at.rules()} == {("aaaa", "9.9.9.9/32"), ("bbbb", "8.8.4.4/32")}
    assert at.cloud.writes == [AUTHORIZE]
    assert [rule.source for rule in own_rule.revoke(at.door(workspace="bbbb"))] == ["8.8.4.4/32"]
    assert [rule.id for rule in at.rules()] == [theirs]


def test_a_workspace_that_is_built_anew_keeps_its_rule(at: Instance) -> None:
    """Its host has another name then; the id in .local stays."""
    mine = at.ours("9.9.9.9/32", owner="me@0123abcd", workspace="aaaa")
    own_rule.allow(at.door(owner="me@4567cdef", workspace="aaaa"), ONE)
    [rule] = at.rules()
    assert (rule.id, rule.source, rule.owner, rule.workspace) == (mine, "8.8.4.4/32", "me@4567cdef", "aaaa")


def test_a_rule_from_before_there_were_ids_is_mine_by_name_and_given_one(at: Instance) -> None:
    mine = at.ours("8.8.4.4/32")
    own_rule.allow(at.door(workspace="aaaa"), ONE)
    [rule] = at.rules()
    assert (rule.id, rule.workspace, rule.created) == (mine, "aaaa", NOON)
    assert at.cloud.writes == [TAG]
    at.cloud.forget()
    own_rule.allow(at.door(workspace="aaaa"), ONE)
    assert at.cloud.writes == []
    own_rule.allow(at.door(workspace="bbbb"), TWO)  # taken now: another one of that name makes its own
    assert {rule.source for rule in at.rules()} == {"8.8.4.4/32", "8.8.8.8/32"}


def test_without_an_id_of_its_own_a_workspace_takes_nobodys(at: Instance) -> None:
    at.ours("9.9.9.9/32", workspace="aaaa")
    own_rule.allow(at.door(), ONE)
    assert {rule.source for rule in at.rules()} == {"9.9.9.9/32", "8.8.4.4/32"}


def test_the_same_address_of_another_workspace_of_mine_is_theirs(at: Instance) -> None:
    theirs = at.ours("8.8.4.4/32", workspace="aaaa")
    said = own_rule.allow(at.door(workspace="bbbb"), ONE)
    assert f"let in already by {theirs}" in said
    assert own_rule.revoke(at.door(workspace="bbbb")) == []


def test_without_the_right_to_tag_the_description_names_the_workspace_too(at: Instance) -> None:
    at.cloud.before = lambda call: error("UnauthorizedOperation") if call.action == TAG or tagging(call) else None
    own_rule.allow(at.door(workspace="aaaa"), ONE)
    [rule] = at.rules()
    assert (rule.tags, rule.owner, rule.workspace, rule.expires) == ({}, ME, "aaaa", NOON + timedelta(hours=12))
    own_rule.allow(at.door(workspace="bbbb"), TWO)
    own_rule.allow(at.door(owner="me@anew", workspace="aaaa"), SIX)
    assert {(r.workspace, r.source) for r in at.rules()} == {("bbbb", "8.8.8.8/32"), ("aaaa", "2600:1f18::1/128")}


# --- permissions and limits ---------------------------------------------------------------


def test_without_the_right_to_tag_the_description_says_it_all(at: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """moto permits everything: the front refuses tags as AWS does."""

    def before(call: Call) -> Answer | None:
        return error("UnauthorizedOperation") if call.action == TAG or tagging(call) else None

    at.cloud.before = before
    own_rule.allow(at.door(), ONE)
    [rule] = at.rules()
    assert (rule.tags, rule.owner, rule.expires) == ({}, ME, NOON + timedelta(hours=12))
    assert "ec2:CreateTags" in capsys.readouterr().err
    at.cloud.forget()
    own_rule.allow(at.door(hours=1), ONE)
    assert at.cloud.writes == []  # known again by its description
    own_rule.allow(at.door(hours=7), ONE)
    assert at.rules()[0].expires == NOON + timedelta(hours=19)
    own_rule.allow(at.door(hours=8), TWO)
    assert at.facts() == {(ME, "8.8.8.8/32", PORT)}
    assert at.rules()[0].expires == NOON + timedelta(hours=20)
    assert [r.source for r in own_rule.revoke(at.door())] == ["8.8.8.8/32"]


def test_without_the_right_to_authorize_nothing_is_made(at: Instance) -> None:
    at.cloud.before = refusing(AUTHORIZE, "UnauthorizedOperation")
    with pytest.raises(Problem, match=r"AuthorizeSecurityGroupIngress.*config/policies"):
        own_rule.allow(at.door(), ONE)
    assert at.facts() == set()


def full(at: Instance) -> Callable[[Call], Answer | None]:
    """Answer as AWS does when the group holds two rules already."""

    def before(call: Call) -> Answer | None:
        if call.action == AUTHORIZE and sum(1 for other in at.cloud.calls if other.action == REVOKE) == 0:
            return error("RulesPerSecurityGroupLimitExceeded")
        return None

    return before


def test_a_full_group_offers_to_clear_what_is_ours_and_expired(at: Instance) -> None:
    old = at.ours("1.1.1.1/32", owner="bob@there", created=-50)
    kept = at.ours("1.0.0.1/32", owner="eve@there")
    offered: list[str] = []

    def offer(expired: list[rules.Rule]) -> bool:
        offered.extend(rule.id for rule in expired)
        return True

    at.cloud.before = full(at)
    own_rule.allow(at.door(), ONE, offer)
    assert offered == [old]
    assert at.facts() == {("eve@there", "1.0.0.1/32", PORT), (ME, "8.8.4.4/32", PORT)}
    assert kept in {rule.id for rule in at.rules()}


def test_a_full_group_is_left_alone_when_nobody_agrees(at: Instance) -> None:
    at.ours("1.1.1.1/32", owner="bob@there", created=-50)
    at.cloud.before = full(at)
    with pytest.raises(Problem, match=r"is full: 1 of its rules .*inv rds\.prune-rules"):
        own_rule.allow(at.door(), ONE)
    assert at.facts() == {("bob@there", "1.1.1.1/32", PORT)}


def test_a_group_full_of_others_rules_is_said_to_be(at: Instance) -> None:
    at.add("1.1.1.1/32")
    at.cloud.before = full(at)
    with pytest.raises(Problem, match="none of its rules is an expired one of ours"):
        own_rule.allow(at.door(), ONE, lambda _: True)
    assert at.cloud.writes == [AUTHORIZE]


def test_motos_own_limit_of_sixty_rules_is_met_too(at: Instance) -> None:
    for number in range(60):
        at.ours(f"1.1.1.{number}/32", owner=f"bob@{number}", created=-50 if number == 7 else 0)
    with pytest.raises(Problem, match="is full"):
        own_rule.allow(at.door(), ONE)
    own_rule.allow(at.door(), ONE, lambda _: True)
    assert len(at.rules()) == 60
    assert (ME, "8.8.4.4/32", PORT) in at.facts()


# --- revoke and prune -----------------------------------------------------------------------


def test_revoke_takes_only_what_is_mine(at: Instance) -> None:
    at.ours("8.8.4.4/32")
    at.ours("1.1.1.1/32", owner="bob@there")
    at.add("1.0.0.1/32")
    at.add("5.5.5.5/32", f"inv rds.allow-my-ip: {ME}")  # by hand, in our words: no tag of ours is on it
    assert [rule.source for rule in own_rule.revoke(at.door())] == ["8.8.4.4/32"]
    assert {source for _, source, _ in at.facts()} == {"1.1.1.1/32", "1.0.0.1/32", "5.5.5.5/32"}
    at.cloud.forget()
    assert own_rule.revoke(at.door()) == []
    assert at.cloud.writes == []


def test_revoking_what_has_just_gone_is_well(at: Instance) -> None:
    at.ours("8.8.4.4/32")
    at.cloud.before = refusing(REVOKE, "InvalidSecurityGroupRuleId.NotFound")
    assert len(own_rule.revoke(at.door())) == 1


def test_prune_takes_only_what_is_ours_and_expired(at: Instance) -> None:
    at.ours("1.1.1.1/32", owner="bob@there", created=-12)  # at this very moment
    at.ours("1.0.0.1/32", owner="bob@there", created=-11.9)
    at.ours("8.8.4.4/32", created=-30)
    at.add("5.5.5.5/32", "inv rds.allow-my-ip: bob@there")
    at.add("6.6.6.6/32", "office", tags={"Owner": "bob", "inv:expires": "2020-01-01T00:00:00Z"})
    at.add("7.7.7.7/32", "office", tags={"ManagedBy": "inv", "inv:owner": "bob@there", "inv:expires": "soon"})
    at.add("4.4.4.4/32", rules.Mark("bob@there", NOON - timedelta(days=3), NOON - timedelta(days=2)).full_description)
    assert {rule.source for rule in own_rule.prune(at.door())} == {"1.1.1.1/32", "8.8.4.4/32"}
    assert {s for _, s, _ in at.facts()} == {"1.0.0.1/32", "4.4.4.4/32", "5.5.5.5/32", "6.6.6.6/32", "7.7.7.7/32"}


# --- cut off at any point -------------------------------------------------------------------

# the new address, my rules before and since when, the rule that DB_SG_RULE_ID names
SCENES: dict[str, tuple[Address, dict[str, float], str]] = {
    "first": (ONE, {}, ""),
    "moved": (TWO, {"8.8.4.4/32": -1}, ""),
    "renewed": (ONE, {"8.8.4.4/32": -9}, ""),
    "family": (SIX, {"8.8.4.4/32": 0}, ""),
    "named": (ONE, {}, "1.2.3.4/32"),
    "named family": (SIX, {}, "1.2.3.4/32"),
    "strays": (TWO, {"8.8.4.4/32": 0, "9.9.9.9/32": 0}, ""),
}
CUTS: dict[str, Answer] = {
    "connection": ("500 Internal Server Error", b""),
    "throttled": error("RequestLimitExceeded", "503 Service Unavailable"),
    "expired": error("RequestExpired"),
}


@pytest.mark.parametrize("scene", SCENES)
def test_cut_off_at_any_write_the_next_run_ends_with_one_rule(at: Instance, scene: str) -> None:
    """The call is lost on its way there, or its answer on the way back."""
    for cut, carried_out in itertools.product(CUTS.values(), (True, False)):
        k, finished = 0, False
        while not finished:
            k += 1
            finished = cut_off(at, scene, k, cut, carried_out=carried_out)
        assert k > 1, "nothing was cut"


def cut_off(at: Instance, scene: str, k: int, cut: Answer, *, carried_out: bool) -> bool:
    """Play a scene, cut at its k-th write, and go on; return whether it had fewer."""
    for rule in at.rules():
        at.ec2.revoke_security_group_ingress(GroupId=at.group, SecurityGroupRuleIds=[rule.id])
    others = at.ours("1.1.1.1/32", owner="bob@there")
    address, mine, cidr = SCENES[scene]
    for source, since in mine.items():
        at.ours(source, created=since)
    named = at.add(cidr, "GITPOD") if cidr else ""
    wanted = f"{address}/{address.max_prefixlen}"

    def let_in() -> set[str]:
        return {rule.source for rule in at.rules() if rule.id != others}

    before = let_in()
    at.cloud.forget()

    def hook(call: Call) -> Answer | None:
        return cut if call.writes and len(at.cloud.writes) == k else None

    at.cloud.before, at.cloud.after = (at.cloud.before, hook) if carried_out else (hook, at.cloud.after)
    try:
        own_rule.allow(at.door(named=named), address)
        finished = True
    except Problem:
        finished = False
    at.cloud.mend()
    assert wanted in let_in() or before <= let_in(), "locked out"
    own_rule.allow(at.door(named=named), address)
    assert let_in() == {wanted}
    assert {rule.owner for rule in at.rules() if rule.id != others} == {ME}
    assert others in {rule.id for rule in at.rules()}
    return finished
