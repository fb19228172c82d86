"""Rules of a security group as AWS tells them, and whose they are: by tables and without AWS, so that every wrong change is tried at night."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ops.errors import Misconfigured
from ops.rds.security_group import rules, wide_open
from ops.rds.security_group.rules import Mark, Rule

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=timezone.utc)
MARK = Mark("ada@home", NOON, NOON + timedelta(hours=12), "w1")
TAGS = {
    "ManagedBy": "inv", "inv:owner": "ada@home", "inv:workspace": "w1",
    "inv:created": "2026-01-02T12:00:00Z", "inv:expires": "2026-01-03T00:00:00Z",
}  # fmt: skip
SAID = "inv rds.allow-my-ip: ada@home workspace w1 created 2026-01-02T12:00:00Z expires 2026-01-03T00:00:00Z"
RAW: dict[str, Any] = {
    "SecurityGroupRuleId": "sgr-1", "GroupId": "sg-1", "IsEgress": False, "IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5433,
    "CidrIpv4": "9.9.9.9/32", "Description": "mine", "Tags": [{"Key": "a", "Value": "b"}],
}  # fmt: skip


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


ONE = Rule("sgr-1", "sg-1", network("9.9.9.9/32"), "9.9.9.9/32", "tcp", (5432, 5433), "mine", {"a": "b"})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, ONE),
        ({"CidrIpv4": "9.9.9.9/24"}, replace(ONE, network=network("9.9.9.0/24"), source="9.9.9.0/24")),
        ({"CidrIpv4": None, "CidrIpv6": "2a00::/16"}, replace(ONE, network=network("2a00::/16"), source="2a00::/16")),
        ({"CidrIpv4": "what", "Description": None}, replace(ONE, network=None, source="what", description="")),
        ({"CidrIpv4": None, "PrefixListId": "pl-1"}, replace(ONE, network=None, source="pl-1")),
        ({"CidrIpv4": None, "ReferencedGroupInfo": {"GroupId": "sg-2"}}, replace(ONE, network=None, source="sg-2")),
        ({"CidrIpv4": None}, replace(ONE, network=None, source="")),
        ({"FromPort": -1, "ToPort": -1, "IpProtocol": "-1"}, replace(ONE, ports=(-1, -1), protocol="-1")),
    ],
)
def test_a_rule_is_read(change: dict[str, Any], rule: Rule) -> None:
    assert rules.read({**RAW, **change}) == rule  # type: ignore[typeddict-item]


def test_what_aws_leaves_out_is_nothing() -> None:
    assert rules.read({"SecurityGroupRuleId": "sgr-1"}) == Rule("sgr-1", "", None, "", "", (-1, -1), "", {})


@pytest.mark.parametrize(
    ("tags", "description", "known"),
    [
        (TAGS, "", (True, True, "ada@home", "w1", True)),
        ({}, SAID, (True, False, "ada@home", "w1", True)),
        ({}, SAID.replace(" workspace w1", ""), (True, False, "ada@home", "", True)),
        ({}, "inv rds.allow-my-ip: ada@home", (False, False, "ada@home", "", False)),
        ({}, f"{SAID} and more", (False, False, "", "", False)),
        ({}, f"not {SAID}", (False, False, "", "", False)),
        ({"ManagedBy": "inv"}, "", (False, False, "", "", False)),
        ({"ManagedBy": "terraform", "inv:owner": "ada@home"}, "", (False, False, "ada@home", "", False)),
        (TAGS, SAID.replace("ada@home", "bob").replace("w1", "w2"), (True, True, "ada@home", "w1", True)),
    ],
)
def test_whose_a_rule_is(tags: dict[str, str], description: str, known: tuple[bool, bool, str, str, bool]) -> None:
    rule = replace(ONE, tags=tags, description=description)
    assert (rule.ours, rule.tagged, rule.owner, rule.workspace, rule.created is not None) == known
    assert (rule.created, rule.expires) == ((MARK.created, MARK.expires) if known[-1] else (None, None))


def test_a_mark_is_read_back() -> None:
    assert MARK.tags == TAGS
    assert replace(MARK, workspace="").tags == {k: v for k, v in TAGS.items() if k != "inv:workspace"}
    assert (MARK.description, MARK.full_description) == ("inv rds.allow-my-ip: ada@home", SAID)
    assert replace(MARK, workspace="").full_description == SAID.replace(" workspace w1", "")
    east = timezone(timedelta(hours=2))
    assert rules.stamp(datetime(2026, 1, 2, 14, 0, 0, tzinfo=east)) == "2026-01-02T12:00:00Z"
    assert rules.moment("2026-01-02T12:00:00Z") == NOON
    assert [rules.moment(text) for text in ("", "2026-01-02", "2026-01-02T12:00:00", "soon")] == [None] * 4


@pytest.mark.parametrize(
    ("wanted", "port", "protocol", "lets_in", "exactly"),
    [
        ("9.9.9.0/24", 5432, "tcp", True, True),
        ("9.9.9.0/25", 5432, "tcp", True, False),
        ("9.9.9.128/25", 5432, "tcp", True, False),
        ("9.9.8.0/23", 5432, "tcp", False, False),
        ("9.9.9.0/23", 5432, "tcp", False, False),
        ("9.9.10.0/24", 5432, "tcp", False, False),
        ("9.9.9.0/24", 5433, "tcp", False, False),
        ("9.9.9.0/24", 5431, "tcp", False, False),
        ("9.9.9.0/24", 5432, "udp", False, False),
        ("9.9.9.0/24", 1, "-1", True, False),
        ("::909:900/120", 5432, "tcp", False, False),
    ],
)
def test_what_a_rule_lets_in(wanted: str, port: int, protocol: str, lets_in: bool, exactly: bool) -> None:
    rule = replace(ONE, network=network("9.9.9.0/24"), ports=(5432, 5432), protocol=protocol)
    into = ipaddress.ip_network(wanted, strict=False)
    assert (rule.lets_in(into, port), rule.is_exactly(into, port)) == (lets_in, exactly)
    assert not replace(rule, network=None).lets_in(into, port)


@pytest.mark.parametrize(
    ("has", "wanted"), [("9.9.9.1/32", "9.9.9.0/31"), ("9.9.9.0/31", "9.9.9.0/30"), ("9.9.9.0/32", "9.9.9.0/31")]
)
def test_one_address_outside_is_not_let_in(has: str, wanted: str) -> None:
    assert not replace(ONE, network=network(has)).lets_in(network(wanted), 5432)
    assert replace(ONE, network=network(has)).lets_in(network(has), 5432)


def test_times_are_in_utc_wherever_this_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert rules.stamp(NOON) == "2026-01-02T12:00:00Z"
        assert rules.moment("2026-01-02T12:00:00Z") == NOON
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_ports_from_and_to_are_reached() -> None:
    assert [ONE.reaches(port) for port in (5431, 5432, 5433, 5434)] == [False, True, True, False]
    assert not ONE.is_exactly(network("9.9.9.9/32"), 5432), "it opens another one, too"
    assert not ONE.wide_open
    assert replace(ONE, network=network("0.0.0.0/0")).wide_open
    assert not replace(ONE, network=None).wide_open


@pytest.mark.parametrize(
    ("text", "wide"),
    [("0.0.0.0/7", True), ("0.0.0.0/8", False), ("2a00::/15", True), ("2a00::/16", False), ("::/0", True), ("fc00::/7", False), ("fe80::/10", False), ("fe00::/7", True)],
)  # fmt: skip
def test_what_is_wide_open(text: str, wide: bool) -> None:
    assert wide_open.is_wide_open(ipaddress.ip_network(text)) is wide


@pytest.mark.parametrize(
    ("text", "length"),
    [("1m", timedelta(minutes=1)), ("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("30d", timedelta(days=30)), ("00012h", timedelta(hours=12))],
)  # fmt: skip
def test_a_lifetime_is_read(text: str, length: timedelta) -> None:
    assert rules.lifetime(text, "--expires") == length


@pytest.mark.parametrize(
    ("text", "told"),
    [(each, rf"^--expires: {each!r} is no lifetime: write it like 12h, 30m or 7d$") for each in ("", "12", "12s", "-1h", "123456m", "1h ", "h")]
    + [(each, rf"^--expires: {each} is not between 1m and 30d$") for each in ("0m", "31d", "721h", "99999d")],
)  # fmt: skip
def test_what_is_no_lifetime_is_named(text: str, told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        rules.lifetime(text, "--expires")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ada@home", "ada@home"), ("a.b_c:d/e=f+g-h", "a.b_c:d/e=f+g-h"), ("a" * 120, "a" * 120),
        ("Zoë", "Zoe-c6a126"), ("a b", "a-b-c8687a"), ("a" * 121, "a" * 120 + "-e96153"),
    ],
)  # fmt: skip
def test_a_name_is_one_that_aws_takes(text: str, name: str) -> None:
    assert rules.owner_name(text) == name
