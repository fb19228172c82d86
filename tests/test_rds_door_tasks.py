"""The door through the command line: what is refused, what is printed, what is in the way of the port."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from config.defaults import DEFAULTS
from ops import addresses
from ops import aws as ops_aws
from ops.rds import commands as rds_commands
from ops.rds.security_group import allow, reachability, rules
from tests.fix_aws import Configure, Front, error
from tests.fix_cli import SUITE, lines_of
from tests.fix_door import Instance, quick
from tests.fix_echo import Echo


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it said, without notes."""
        return [line for line in lines_of(self.err) if not line.startswith("note: ")]


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`inv` in this process: parser, task and exit code as users meet them."""
    env_file = tmp_path / "env"
    env_file.touch()
    monkeypatch.setenv("ENV_FILE", str(env_file))
    made = ops_aws.Aws.__init__

    def with_quick_clients(self: ops_aws.Aws, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        if self.settings.vars.get("AWS_ENDPOINT_URL"):
            quick(self)

    monkeypatch.setattr(ops_aws.Aws, "__init__", with_quick_clients)

    def run(*args: str, **environ: str) -> Ran:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        ns = Collection()
        ns.configure(DEFAULTS)
        ns.add_collection(Collection.from_module(rds_commands, name="rds"))
        capsys.readouterr()
        code = 0
        try:
            Program(namespace=ns).run(["inv", *args])
        except SystemExit as exit:
            code = int(exit.code or 0)
        got = capsys.readouterr()
        return Ran(code, got.out, got.err)

    return run


ALLOW = "rds.allow-my-ip"
BAD: list[tuple[list[str], dict[str, str], str]] = [
    (["--ip", ""], {}, "--ip: '' is not an address"),
    (["--ip="], {}, "--ip: '' is not an address"),
    (["--ip", "0.0.0.0/0"], {}, "without /32"),
    (["--ip", "0.0.0.0"], {}, "is no address"),  # noqa: S104
    (["--ip", "8.8.4.4/32"], {}, "without /32"),
    (["--ip", "8.8.4"], {}, "is not an address"),
    (["--ip", "10.0.0.1"], {}, "private or for documentation"),
    (["--ip", "203.0.113.7"], {}, "private or for documentation"),
    (["--ip", "100.64.0.1"], {}, "carrier-grade NAT"),
    (["--ip", "127.0.0.1"], {}, "this machine itself"),
    (["--ip", "224.0.0.1"], {}, "multicast"),
    (["--ip", "255.255.255.255"], {}, "private or for documentation"),
    (["--ip", "::/0"], {}, "is not an address"),
    (["--ip", "fe80::1%eth0"], {}, "local to a link"),
    (["--ip", "::ffff:8.8.4.4"], {}, "give 8.8.4.4"),
    (["--ip", "localhost"], {}, "is not an address"),
    (["--ip", "8.8.4.4\n8.8.8.8"], {}, "is not an address"),
    ([], {"GITPOD_IP": "<html>"}, "GITPOD_IP: '<html>' is not an address"),
    ([], {"GITPOD_IP": "192.168.1.1"}, "GITPOD_IP"),
    (["--ip", "8.8.4.4", "--expires", ""], {}, "--expires: '' is no lifetime"),
    (["--ip", "8.8.4.4", "--expires", "12"], {}, "12h, 30m or 7d"),
    (["--ip", "8.8.4.4", "--expires", "0h"], {}, "not between 1m and 30d"),
    (["--ip", "8.8.4.4", "--expires", "-1h"], {}, "is no lifetime"),
    (["--ip", "8.8.4.4", "--expires", "31d"], {}, "not between 1m and 30d"),
    (["--ip", "8.8.4.4", "--expires", "99999d"], {}, "not between 1m and 30d"),
    (["--ip", "8.8.4.4", "--expires", "never"], {}, "is no lifetime"),
    (["--ip", "8.8.4.4", "--expires", "١h"], {}, "is no lifetime"),
    (["--ip", "8.8.4.4"], {"INVOKE_DOOR_EXPIRES": "soon"}, "door.expires (INVOKE_DOOR_EXPIRES)"),
    (["--ip", "8.8.4.4"], {"INVOKE_DOOR_EXPIRES": " "}, "door.expires"),
    (["--ip", "8.8.4.4"], {"DB_SG_ID": "default"}, "DB_SG_ID: 'default' is no id"),
    (["--ip", "8.8.4.4"], {"DB_SG_ID": "sgr-0123456789abcdef0"}, "DB_SG_ID"),
    (["--ip", "8.8.4.4"], {"DB_SG_ID": "sg-0123456789abcdef0 "}, "DB_SG_ID"),
    (["--ip", "8.8.4.4"], {"DB_SG_RULE_ID": "sg-0123456789abcdef0"}, "DB_SG_RULE_ID"),
    (["--ip", "8.8.4.4"], {"DB_SG_RULE_ID": "sgr-GHIJKLMN"}, "DB_SG_RULE_ID"),
    (["--ip", "8.8.4.4"], {"INVOKE_RDS_IDENTIFIER": "-db"}, "rds.identifier"),
    (["--ip", "8.8.4.4"], {"INVOKE_RDS_IDENTIFIER": "my--db"}, "rds.identifier"),
    (["--ip", "8.8.4.4"], {"INVOKE_RDS_IDENTIFIER": "my_db"}, "rds.identifier"),
    (["--ip", "8.8.4.4"], {"POSTGRES_PORT": "0"}, "POSTGRES_PORT"),
    (["--ip", "8.8.4.4"], {"POSTGRES_PORT": "http"}, "POSTGRES_PORT"),
    ([], {"INVOKE_DOOR_ECHO": "http://checkip.amazonaws.com"}, "must be an https:// URL"),
    ([], {"INVOKE_DOOR_ECHO": "https://localhost:port/"}, "must be an https:// URL"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_input_is_one_line_and_exit_2_before_aws_is_asked(run: Run, cloud: Front, number: int) -> None:
    args, environ, words = BAD[number]
    done = run(ALLOW, *args, **environ)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert len(lines_of(done.err)) == 1
    assert cloud.calls == []


ANSWERS: list[tuple[str, str, str]] = [
    ("<html><body>Log in to the network</body></html>", "8.8.4.4", "is not an address"),
    ("<html>" * 100, "8.8.4.4", "something else than an address"),
    ("", "8.8.4.4", "is not an address"),
    ("8.8.4.4", "8.8.8.8", "do not agree"),
    ("8.8.4.4", "10.0.0.1", "private or for documentation"),
    ("100.64.0.1", "100.64.0.1", "carrier-grade NAT"),
    ("203.0.113.7", "203.0.113.7", "private or for documentation"),
    ("2600:1f18::1", "2600:1f18::1", "when asked over IPv4"),
    ("0.0.0.0/0", "0.0.0.0/0", "is not an address"),
    ("8.8.4.4, 8.8.4.4", "8.8.4.4", "is not an address"),
]


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_a_bad_echo_is_one_line_and_exit_2_and_nothing_is_written(
    run: Run, at: Instance, echoes: tuple[Echo, Echo], number: int
) -> None:
    one, two, words = ANSWERS[number]
    echoes[0].says(one)
    echoes[1].says(two)
    done = run(ALLOW, INVOKE_DOOR_ECHO=" ".join(echo.url for echo in echoes))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert len(done.lines) == 1
    assert at.cloud.writes == []


@pytest.mark.quick
def test_two_services_that_agree_open_the_door(run: Run, at: Instance, echoes: tuple[Echo, Echo]) -> None:
    for echo in echoes:
        echo.says("8.8.4.4\n")
    done = run(ALLOW, INVOKE_DOOR_ECHO=" ".join(echo.url for echo in echoes), GITPOD_IP="")
    assert done.code == 0, done.err
    assert {source for _, source, _ in at.facts()} == {"8.8.4.4/32"}


def test_gitpods_variable_stands_for_the_services_and_the_option_for_both(run: Run, at: Instance) -> None:
    assert run(ALLOW, GITPOD_IP="8.8.4.4").code == 0
    assert {source for _, source, _ in at.facts()} == {"8.8.4.4/32"}
    assert run(ALLOW, "--ip", "8.8.8.8", GITPOD_IP="8.8.4.4").code == 0
    assert {source for _, source, _ in at.facts()} == {"8.8.8.8/32"}


@pytest.mark.quick
def test_a_second_run_writes_nothing(run: Run, at: Instance) -> None:
    run(ALLOW, "--ip", "8.8.4.4")
    at.cloud.forget()
    done = run(ALLOW, "--ip", "8.8.4.4")
    assert done.code == 0
    assert at.cloud.writes == []
    assert [call.action for call in at.cloud.calls] == [
        "DescribeDBInstances",
        "DescribeSecurityGroups",
        "DescribeSecurityGroupRules",
    ]


@pytest.mark.parametrize("typed", ["2h", "12h", "7d"])
def test_an_expiry_that_is_typed_is_set_and_said(run: Run, at: Instance, typed: str) -> None:
    run(ALLOW, "--ip", "8.8.4.4", INVOKE_DOOR_EXPIRES="24h")
    before = allow.now().replace(microsecond=0)
    done = run(ALLOW, "--ip", "8.8.4.4", "--expires", typed)
    [rule] = at.rules()
    assert rule.expires
    assert before <= rule.expires - rules.lifetime(typed, "here") <= allow.now()
    assert f"it expires {rules.stamp(rule.expires)} now" in done.err
    at.cloud.forget()
    assert "in already" in run(ALLOW, "--ip", "8.8.4.4", INVOKE_DOOR_EXPIRES="1h").err
    assert at.cloud.writes == []


def test_without_an_instance_the_next_step_is_said(run: Run, cloud: Front) -> None:
    done = run(ALLOW, "--ip", "8.8.4.4")
    assert (done.code, done.out) == (2, "")
    assert "inv rds.create" in done.lines[-1]
    assert len(done.lines) == 1
    assert cloud.writes == []


@pytest.mark.parametrize("task", [ALLOW, "rds.rules", "rds.revoke-my-ip", "rds.prune-rules"])
def test_without_a_login_every_door_task_is_one_line_and_exit_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ca-central-1")
    done = run(task)
    assert done.code == 2
    assert len(lines_of(done.err)) == 1
    assert "no AWS login" in done.err


# --- which group ------------------------------------------------------------------------


def test_a_group_named_by_the_variable_needs_no_instance(run: Run, at: Instance) -> None:
    done = run(ALLOW, "--ip", "8.8.4.4", DB_SG_ID=at.group, INVOKE_RDS_IDENTIFIER="another", POSTGRES_PORT="5433")
    assert done.code == 0, done.err
    assert {(source, ports) for _, source, ports in at.facts()} == {("8.8.4.4/32", (5433, 5433))}
    assert "set PROD_DB_ENDPOINT" in done.err


def test_a_group_named_by_the_variable_is_used_where_rds_may_not_be_asked(run: Run, at: Instance) -> None:
    at.cloud.before = lambda call: (
        error("AccessDenied", "403 Forbidden") if call.action == "DescribeDBInstances" else None
    )
    done = run(ALLOW, "--ip", "8.8.4.4", DB_SG_ID=at.group)
    assert done.code == 0, done.err
    assert "was not looked up" in done.err


def test_a_named_group_that_is_none_of_the_instances_is_said(run: Run, at: Instance) -> None:
    other = at.ec2.create_security_group(GroupName="other", Description="other", VpcId=at.vpc)["GroupId"]
    done = run(ALLOW, "--ip", "8.8.4.4", DB_SG_ID=other)
    assert done.code == 0
    assert f"DB_SG_ID {other} is no group of cruddur-db-instance" in done.err
    assert at.facts() == set()


def test_a_named_group_that_is_not_there_is_exit_2(run: Run, at: Instance) -> None:
    done = run(ALLOW, "--ip", "8.8.4.4", DB_SG_ID="sg-0123456789abcdef0")
    assert done.code == 2
    assert "is not there: correct or unset DB_SG_ID" in done.lines[-1]


def test_of_several_groups_ours_is_opened(run: Run, at: Instance) -> None:
    other = at.ec2.create_security_group(GroupName="other", Description="other", VpcId=at.vpc)["GroupId"]
    at.aws.client("rds").modify_db_instance(
        DBInstanceIdentifier="cruddur-db-instance", VpcSecurityGroupIds=[other, at.group]
    )
    assert run(ALLOW, "--ip", "8.8.4.4").code == 0
    assert {source for _, source, _ in at.facts()} == {"8.8.4.4/32"}


def test_of_several_groups_that_are_not_ours_none_is_chosen(run: Run, at: Instance) -> None:
    others = [
        at.ec2.create_security_group(GroupName=name, Description=name, VpcId=at.vpc)["GroupId"] for name in ("a", "b")
    ]
    at.aws.client("rds").modify_db_instance(DBInstanceIdentifier="cruddur-db-instance", VpcSecurityGroupIds=others)
    at.cloud.forget()
    done = run(ALLOW, "--ip", "8.8.4.4")
    assert done.code == 2
    assert "name one in DB_SG_ID" in done.lines[-1]
    assert at.cloud.writes == []


def test_the_only_group_of_an_instance_made_by_hand_is_opened_and_who_shares_it_said(run: Run, at: Instance) -> None:
    other = at.ec2.create_security_group(GroupName="shared", Description="shared", VpcId=at.vpc)["GroupId"]
    at.aws.client("rds").modify_db_instance(DBInstanceIdentifier="cruddur-db-instance", VpcSecurityGroupIds=[other])
    subnet = at.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    at.ec2.create_network_interface(SubnetId=subnet, Groups=[other], Description="the web server")
    done = run(ALLOW, "--ip", "8.8.4.4")
    assert done.code == 0, done.err
    assert "is shared: the rule lets this address in at" in done.err
    assert "the web server" in done.err
    assert [rule.source for rule in rules.listed(at.ec2, other)] == ["8.8.4.4/32"]


# --- who is let in --------------------------------------------------------------------------


def test_the_rules_are_told_with_owner_age_and_what_is_wide_open(
    run: Run, at: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fix_door import NOON

    monkeypatch.setattr(allow, "now", lambda: NOON)
    monkeypatch.setenv("GITPOD_WORKSPACE_ID", "me@here")
    at.ours("8.8.4.4/32", created=-3)
    at.ours("1.1.1.1/32", owner="bob@there", created=-50)
    at.add("0.0.0.0/0", "everyone")
    at.add("10.0.0.0/8", "the VPC", port=22)
    done = run("rds.rules")
    table = [line.split() for line in done.out.splitlines()]
    assert ["me@here", "8.8.4.4/32", "5432", "3h", "in", "9h"] in [line[:6] for line in table]
    assert ["bob@there", "1.1.1.1/32", "5432", "2d", "expired"] in [line[:5] for line in table]
    assert any("0.0.0.0/0" in line and line.endswith("WIDE OPEN") for line in done.out.splitlines())
    assert any("10.0.0.0/8" in line and line.endswith("not ours") for line in done.out.splitlines())
    assert "lets anyone in" in done.err
    data = {row["address"]: row for row in json.loads(run("rds.rules", "--json").out)}
    assert data["8.8.4.4/32"]["mine"]
    assert data["8.8.4.4/32"]["expires_at"] == "2026-11-22T21:00:00+00:00"
    assert data["1.1.1.1/32"]["expired"]
    assert data["0.0.0.0/0"]["wide_open"]
    assert not data["10.0.0.0/8"]["ours"]
    assert data["10.0.0.0/8"]["created_at"] is None
    assert at.cloud.writes == []


def test_wide_open_rules_are_red_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from ops import console

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.table(["a"], [{"a": "wide"}, {"a": "narrow"}], red=lambda row: row["a"] == "wide")
    wide, narrow = capsys.readouterr().out.splitlines()[1:]
    assert "\x1b[1;31m" in wide
    assert "\x1b[1;31m" not in narrow


@pytest.mark.parametrize(
    ("cidr", "wide"),
    [
        ("0.0.0.0/0", True),
        ("0.0.0.0/1", True),
        ("128.0.0.0/1", True),
        ("::/0", True),
        ("2000::/3", True),
        ("8.0.0.0/8", False),
        ("10.0.0.0/8", False),
        ("fc00::/7", False),
        ("8.8.4.4/32", False),
    ],
)
def test_what_counts_as_wide_open(cidr: str, wide: bool) -> None:
    field = "CidrIpv6" if ":" in cidr else "CidrIpv4"
    raw: Any = {"SecurityGroupRuleId": "sgr-1", field: cidr}
    assert rules.read(raw).wide_open is wide


@pytest.mark.quick
def test_revoke_and_prune_through_the_command_line(run: Run, at: Instance) -> None:
    run(ALLOW, "--ip", "8.8.4.4")
    at.ours("1.1.1.1/32", owner="bob@there", created=-100_000)
    assert "revoked" in run("rds.prune-rules").err
    assert "nothing to do" in run("rds.prune-rules").err
    assert {source for _, source, _ in at.facts()} == {"8.8.4.4/32"}
    assert "revoked" in run("rds.revoke-my-ip").err
    assert at.facts() == set()
    assert "nothing to do" in run("rds.revoke-my-ip").err


def test_an_expired_rule_without_tags_is_named_and_left(run: Run, at: Instance) -> None:
    from datetime import timedelta

    from tests.fix_door import NOON

    mark = rules.Mark("bob@there", NOON - timedelta(days=300), NOON - timedelta(days=299))
    made = at.add("1.1.1.1/32", mark.full_description)
    done = run("rds.prune-rules")
    assert f"{made} of bob@there has expired too" in done.err
    assert len(at.facts()) == 1


# --- which workspace this is ------------------------------------------------------------


def test_the_id_of_a_workspace_is_kept_and_its_own(configure: Configure, root: Path) -> None:
    first = allow.workspace(configure())
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert allow.workspace(configure()) == first
    file = root / ".local" / "workspace"
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    assert allow.workspace(configure()) != first


@pytest.mark.parametrize("damaged", ["", "not an id", "é".encode("latin-1")])
def test_an_id_that_is_damaged_is_made_anew(configure: Configure, root: Path, damaged: str | bytes) -> None:
    allow.workspace(configure())
    (root / ".local" / "workspace").write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    made = allow.workspace(configure())
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert allow.workspace(configure()) == made


def test_a_workspace_with_a_name_of_its_own_needs_no_id(configure: Configure, root: Path) -> None:
    assert allow.workspace(configure(GITPOD_WORKSPACE_ID="crud-x1y2")) == "crud-x1y2"
    assert allow.workspace(configure(CODESPACE_NAME="héron")) == rules.owner_name("héron")
    assert not (root / ".local").exists()


def test_a_folder_that_cannot_be_written_leaves_it_without_one(configure: Configure, root: Path) -> None:
    (root / ".local").write_text("a file where the folder belongs")
    assert allow.workspace(configure()) == ""


def test_the_rule_carries_the_id(run: Run, at: Instance) -> None:
    assert run(ALLOW, "--ip", "8.8.4.4").code == 0
    [rule] = at.rules()
    assert re.fullmatch("[0-9a-f]{16}", rule.workspace)
    assert run(ALLOW, "--ip", "8.8.8.8").code == 0
    assert [other.id for other in at.rules()] == [rule.id]


# --- names and times ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["me@here", "gitpodio-crud-x1y2", "a.b_c:d/e=f+g-h@i"])
def test_a_plain_owner_stays_as_it_is(text: str) -> None:
    assert rules.owner_name(text) == text


@pytest.mark.parametrize("text", ["José@büro", "o'neill@mac's", "名前@ホスト", "x" * 300, "a b\tc\n", '"<>&|'])
def test_any_owner_fits_into_tags_and_descriptions(text: str) -> None:
    import re

    from tests.fix_door import NOON

    name = rules.owner_name(text)
    mark = rules.Mark(name, NOON, NOON)
    assert re.fullmatch(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}", mark.full_description)
    assert re.fullmatch(r"[A-Za-z0-9+\-=._:/@]{1,256}", name)
    assert rules.owner_name(text + "x") != name
    assert rules.read({"SecurityGroupRuleId": "s", "Description": mark.full_description}).owner == name


def test_two_names_that_look_alike_in_ascii_stay_two() -> None:
    assert rules.owner_name("jose@here") != rules.owner_name("josé@here")


# --- is the port reached ----------------------------------------------------------------------


def test_the_port_that_answers_is_said_to(at: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reachability.is_reachable("127.0.0.1", port) == ""
    slept: list[float] = []
    assert reachability.is_reachable("127.0.0.1", port, sleep=slept.append) == "connection refused"
    assert slept == [reachability.PAUSE] * (reachability.TRIES - 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DBInstanceStatus": "stopped"}, "it is stopped: inv rds.start"),
        ({"DBInstanceStatus": "creating", "Endpoint": None}, "no address yet (creating)"),
        ({"PubliclyAccessible": False}, "it is not public"),
    ],
)
def test_what_rds_knows_to_be_in_the_way_is_said_and_the_port_not_tried(
    at: Instance, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    """moto's instances are available at once, always with an endpoint: these rows are made by hand."""
    monkeypatch.setattr(reachability, "is_reachable", lambda *_, **__: pytest.fail("tried"))
    row: Any = {"DBInstanceStatus": "available", "Endpoint": {"Address": "db.example", "Port": 5432}, **changes}
    assert words in reachability.outcome(at.aws, row, "", "", 5432)


def test_a_subnet_without_a_way_to_the_internet_is_found(at: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "is_reachable", lambda *_, **__: "no answer")
    vpc = at.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = at.ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    row: Any = {
        "DBInstanceStatus": "available",
        "Endpoint": {"Address": "db.example", "Port": 5432},
        "DBSubnetGroup": {"VpcId": vpc, "Subnets": [{"SubnetIdentifier": subnet}]},
    }
    assert "no route to an internet gateway" in reachability.outcome(at.aws, row, "", "", 5432)
    gateway = at.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    at.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    [table] = at.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    at.ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert "network ACL" in reachability.outcome(at.aws, row, "", "", 5432)
    at.cloud.before = lambda _: error("UnauthorizedOperation", "403 Forbidden")
    assert "routes could not be looked up" in reachability.outcome(at.aws, row, "", "", 5432)


# --- what the user must be permitted ---------------------------------------------------------


def test_the_policy_permits_what_the_door_does_and_no_more(
    run: Run, at: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = json.loads((SUITE / "config" / "policies" / "door.json").read_text(encoding="utf-8"))
    permitted = {action for statement in policy["Statement"] for action in statement["Action"]}
    monkeypatch.setattr(reachability, "is_reachable", lambda *_, **__: "no answer")
    other = at.ec2.create_security_group(GroupName="o", Description="o", VpcId=at.vpc)["GroupId"]
    at.cloud.forget()
    run(ALLOW, "--ip", "8.8.4.4")
    run(ALLOW, "--ip", "8.8.8.8")
    run("rds.rules")
    run("rds.revoke-my-ip")
    run("rds.prune-rules")
    at.aws.client("rds").modify_db_instance(DBInstanceIdentifier="cruddur-db-instance", VpcSecurityGroupIds=[other])
    run(ALLOW, "--ip", "8.8.4.4")
    reachability.why_no_route(
        at.aws, {"DBSubnetGroup": {"VpcId": at.vpc, "Subnets": [{"SubnetIdentifier": "subnet-0"}]}}
    )
    asked = {call.action for call in at.cloud.calls} - {"ModifyDBInstance"}
    assert {action.partition(":")[2] for action in permitted} == asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("0.0.0.1", False),
        ("1.1.1.1", True),
        ("10.255.255.255", False),
        ("100.63.255.255", True),
        ("100.64.0.1", False),
        ("172.15.0.1", True),
        ("172.31.0.1", False),
        ("192.0.0.9", False),
        ("192.0.2.1", False),
        ("198.17.255.255", True),
        ("198.19.0.1", False),
        ("203.0.113.1", False),
        ("223.255.255.1", True),
        ("239.0.0.1", False),
        ("255.255.255.255", False),
        ("2600:1f18::1", True),
        ("2001:db8::1", False),
        ("2001:1::1", False),
        ("2001:4860::1", True),
        ("64:ff9b::1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("::1", False),
    ],
)
def test_what_counts_as_public_is_the_same_on_every_python(address: str, public: bool) -> None:
    assert addresses.is_public(ipaddress.ip_address(address)) is public


def test_no_code_asks_python_what_is_public() -> None:
    """Its own tables change between patch releases."""
    for path in (SUITE / "ops").rglob("*.py"):
        assert not re.search(r"\.is_(private|global|reserved)\b", path.read_text(encoding="utf-8")), path
