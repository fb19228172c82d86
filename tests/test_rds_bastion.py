"""rds.bastion: a machine that takes nothing in, found again by its tags, cut at any write, taken away whole."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from ops.errors import Misconfigured, Problem, Refused
from ops.rds import create, delete, left_over
from ops.rds.alarms import alarms
from ops.rds.bastion import bastion, machine, parts, user_data
from ops.rds.bastion.bastion import Bastion
from ops.rds.schedule import schedule, times
from ops.rds.security_group import allow
from tests.fix_aws import Call, Configure, Front, Hands, error, outcome
from tests.fix_cli import SUITE

VERSIONS = {"2014-10-31": "rds", "2016-11-15": "ec2", "2010-05-08": "iam", "": "ssm"}


@pytest.fixture(autouse=True)
def policies(cloud: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto know AWS's own policy that is attached, and none of its thousand others."""
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    own = json.dumps({parts.CORE: json.loads(aws_managed_policies_data)[parts.CORE]})
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    monkeypatch.setattr("moto.iam.models.aws_managed_policies_data", own)
    cloud.reset()


@pytest.fixture
def settings(cloud: Front, configure: Configure, hands: Hands) -> Settings:
    """Of an instance without a public address, in a network that leads to the internet, as AWS's default one does."""
    made = configure({"public": "no"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(made)
    create.create_or_resume(made, aws, hands.clock, adopt=False)
    out(aws.client("ec2"))
    cloud.forget()
    return made


def out(ec2: Any) -> None:
    """Give the default network its way out, which moto leaves away."""
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    table = ec2.describe_route_tables(Filters=filters)["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)


def make(cloud: Front, settings: Settings, hands: Hands, *, dry_run: bool = False) -> Bastion:
    return bastion.make(settings, cloud.aws(settings), hands.clock, dry_run=dry_run)


def remove(cloud: Front, settings: Settings, hands: Hands, *, dry_run: bool = False) -> Bastion:
    return bastion.remove(settings, cloud.aws(settings), hands.clock, dry_run=dry_run)


def left(cloud: Front, settings: Settings) -> dict[str, Any]:
    """Return what there is of a bastion, as AWS tells it."""
    aws, mine = cloud.aws(settings), parts.of(settings.rds)
    ec2, iam = aws.client("ec2"), aws.client("iam")
    groups = mine.group.find(ec2)
    return {
        "machines": len(machine.find_machines(aws, mine)),
        "groups": len(groups),
        "inbound": sum(len(group["IpPermissions"]) for group in groups),
        "roles": [role["RoleName"] for role in iam.list_roles()["Roles"] if "bastion" in role["RoleName"]],
        "profiles": [len(p["Roles"]) for p in iam.list_instance_profiles()["InstanceProfiles"]],
        "rules": sum(
            len(rule["UserIdGroupPairs"])
            for group in ec2.describe_security_groups()["SecurityGroups"]
            for rule in group["IpPermissions"]
            if group["GroupName"] != "default"
        ),
    }


WHOLE = {
    "machines": 1,
    "groups": 1,
    "inbound": 0,
    "roles": ["inv-bastion-cruddur-db-instance"],
    "profiles": [1],
    "rules": 1,
}
NOTHING = {"machines": 0, "groups": 0, "inbound": 0, "roles": [], "profiles": [], "rules": 0}


def test_it_is_made_found_again_started_and_taken_away(
    cloud: Front, settings: Settings, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(cloud, settings, hands)
    said = capsys.readouterr().err
    assert said.index("USD a month") < said.index("done: ")
    assert left(cloud, settings) == WHOLE
    assert made.via == f"ssm://{made.machine}"
    assert f"PROD_DB_VIA='{made.via}'" in settings.vars.env_file.read_text()
    cloud.forget()
    assert make(cloud, settings, hands) == Bastion(made.machine, made.via, True, [])
    assert cloud.writes == []
    ec2 = cloud.aws(settings).client("ec2")
    ec2.stop_instances(InstanceIds=[made.machine])
    assert make(cloud, settings, hands).done == [f"start {made.machine}, which is stopped"]
    remove(cloud, settings, hands)
    assert left(cloud, settings) == NOTHING
    assert remove(cloud, settings, hands).done == []


@pytest.mark.parametrize(
    "action",
    ["CreateSecurityGroup", "CreateRole", "CreateInstanceProfile", "AddRoleToInstanceProfile", "AuthorizeSecurityGroupIngress"],
)  # fmt: skip
def test_two_runs_at_once_make_one(cloud: Front, settings: Settings, hands: Hands, action: str) -> None:
    """The other one was first between our look and our request."""
    others: list[Bastion] = []

    def meanwhile(call: Call) -> None:
        if call.action == action and not others:
            cloud.before = lambda _: None
            others.append(make(cloud, settings, hands))

    cloud.before = meanwhile
    made = make(cloud, settings, hands)
    assert (made.machine, made.via) == (others[0].machine, others[0].via)
    assert left(cloud, settings) == WHOLE
    cloud.forget()
    assert make(cloud, settings, hands).done == []
    assert cloud.writes == []


@pytest.mark.parametrize("seconds", [0, 1])
@pytest.mark.parametrize("ours", ["i-0aaaaaaaaaaaaaaaa", "i-0ccccccccccccccccc"])
def test_of_two_machines_one_stays_whichever_was_ready_first(
    cloud: Front, settings: Settings, hands: Hands, monkeypatch: pytest.MonkeyPatch, ours: str, seconds: int
) -> None:
    """The other run has ended before ours asks for its own, in the same second or the one before: AWS tells no more of when that was."""
    theirs, begun = "i-0bbbbbbbbbbbbbbbb", datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
    others: list[Bastion] = []
    of_moto = "moto.ec2.models.instances"
    monkeypatch.setattr(f"{of_moto}.random_instance_id", lambda: ours if others else theirs)
    monkeypatch.setattr(f"{of_moto}.utcnow", lambda: begun + timedelta(seconds=seconds if others else 0))

    def meanwhile(call: Call) -> None:
        if call.action == "RunInstances" and not others:
            cloud.before = lambda _: None
            others.append(make(cloud, settings, hands))

    cloud.before = meanwhile
    made = make(cloud, settings, hands)
    assert others[0].machine == theirs
    assert made.machine == (theirs if seconds else min(ours, theirs))
    assert left(cloud, settings) == WHOLE
    assert settings.vars.env_file.read_text().count(f"PROD_DB_VIA='ssm://{made.machine}'") == 1
    cloud.forget()
    assert make(cloud, settings, hands).done == []
    assert cloud.writes == []


def test_nothing_comes_in_and_what_is_asked_is_safe(cloud: Front, settings: Settings, hands: Hands) -> None:
    made = make(cloud, settings, hands)
    [call] = [call for call in cloud.calls if call.action == "RunInstances"]
    params = call.params
    assert params["InstanceType"] == "t4g.nano"
    assert params["MetadataOptions.HttpTokens"] == "required"
    assert params["InstanceInitiatedShutdownBehavior"] == "stop"
    assert params["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert "KeyName" not in params
    assert base64.b64decode(params["UserData"]).decode() == user_data.script()
    assert made.machine
    assert "AuthorizeSecurityGroupIngress" in cloud.writes


def test_a_dry_run_writes_nothing_and_says_all(
    cloud: Front, settings: Settings, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = make(cloud, settings, hands, dry_run=True)
    assert cloud.writes == []
    assert (planned.machine, planned.via, planned.written) == (None, None, False)
    assert "would make the machine inv-bastion-cruddur-db-instance" in capsys.readouterr().err
    assert planned.done == make(cloud, settings, hands).done or len(planned.done) == 7
    cloud.forget()
    assert len(remove(cloud, settings, hands, dry_run=True).done) == 7
    assert cloud.writes == []
    assert left(cloud, settings) == WHOLE


def test_a_network_without_a_way_out_is_told_with_what_it_would_cost(
    cloud: Front, configure: Configure, hands: Hands
) -> None:
    settings = configure({"public": "no"}, PROD_DB_SSLROOTCERT="/none.pem")
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)
    cloud.forget()
    with pytest.raises(
        Misconfigured, match=r"endpoints com.amazonaws.ca-central-1.ssm, .*ssmmessages \(about 7.30 USD"
    ) as told:
        make(cloud, settings, hands)
    assert told.value.code == 2
    assert cloud.writes == []


def test_endpoints_do_for_a_way_out(cloud: Front, configure: Configure, hands: Hands) -> None:
    settings = configure({"public": "no"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(settings)
    create.create_or_resume(settings, aws, hands.clock, adopt=False)
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnet = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"][0]["SubnetId"]
    for name in parts.ENDPOINTS:
        ec2.create_vpc_endpoint(
            VpcId=vpc,
            ServiceName=f"com.amazonaws.ca-central-1.{name}",
            VpcEndpointType="Interface",
            SubnetIds=[subnet],
        )
    cloud.forget()
    make(cloud, settings, hands)
    [call] = [call for call in cloud.calls if call.action == "RunInstances"]
    assert call.params["NetworkInterface.1.AssociatePublicIpAddress"] == "false"
    assert call.params["NetworkInterface.1.SubnetId"] == subnet


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("how", ["lost", "before"])
def test_cut_at_each_write_the_next_run_converges(
    cloud: Front, settings: Settings, hands: Hands, pauses: None, how: str
) -> None:
    for act, whole in ((make, WHOLE), (remove, NOTHING)):
        for number in range(1, 20):
            reached = cloud.cut(number, how)
            outcome(lambda act=act: act(cloud, settings, hands))  # type: ignore[misc]
            cloud.mend()
            if not reached():
                break
            act(cloud, settings, hands)
            assert left(cloud, settings) == whole, (act, number)
            if act is make:
                remove(cloud, settings, hands)
            else:
                make(cloud, settings, hands)
        act(cloud, settings, hands)


def test_what_a_stranger_has_made_is_refused(cloud: Front, settings: Settings, hands: Hands) -> None:
    aws = cloud.aws(settings)
    ec2, iam = aws.client("ec2"), aws.client("iam")
    name = parts.of(settings.rds).name
    [theirs] = ec2.run_instances(
        ImageId=machine.image(aws),
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
    )["Instances"]
    with pytest.raises(Refused, match="was not made by inv"):
        make(cloud, settings, hands)
    remove(cloud, settings, hands)
    assert machine.state_of(aws, theirs["InstanceId"]) == "running"
    ec2.terminate_instances(InstanceIds=[theirs["InstanceId"]])
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    with pytest.raises(Refused, match=r"the role .* is there already, and not made by inv"):
        make(cloud, settings, hands)
    with pytest.raises(Refused):
        remove(cloud, settings, hands)
    assert iam.get_role(RoleName=name)


def test_a_group_that_lets_something_in_is_refused(cloud: Front, settings: Settings, hands: Hands) -> None:
    make(cloud, settings, hands)
    aws = cloud.aws(settings)
    [group] = parts.of(settings.rds).group.find(aws.client("ec2"))
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    aws.client("ec2").authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[permission])
    with pytest.raises(Problem, match="nothing has to come in there"):
        make(cloud, settings, hands)


def test_the_door_of_a_private_instance_is_the_bastions(
    cloud: Front, settings: Settings, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(cloud, settings, hands)
    aws = cloud.aws(settings)
    ec2 = aws.client("ec2")
    for group in ec2.describe_security_groups()["SecurityGroups"]:
        if group["GroupName"] == "rds-cruddur-db-instance":
            ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
    assert left(cloud, settings)["rules"] == 0
    allow.allow(aws, settings, "8.8.4.4", None)
    assert f"no address is let in: the bastion is, by {made.via}" in capsys.readouterr().err
    assert left(cloud, settings)["rules"] == 1
    create.create_or_resume(settings, aws, hands.clock, adopt=False)
    assert f"the bastion is let in, by {made.via}" in capsys.readouterr().err


@pytest.mark.parametrize(("age", "session", "off"), [(0, False, False), (3700, False, True), (3700, True, False)])
def test_it_stops_when_no_session_was_open_for_an_hour(tmp_path: Path, age: int, session: bool, off: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"pgrep": f"exit {0 if session else 1}", "systemctl": f'echo "$@" > {tmp_path}/off'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    last = tmp_path / "last"
    last.touch()
    seen = last.stat().st_mtime - age
    os.utime(last, (seen, seen))
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "LAST_SESSION": str(last)}
    subprocess.run(["sh", "-c", user_data.LOOK], env=env, check=True)
    assert (tmp_path / "off").exists() is off


def test_the_script_is_whole() -> None:
    subprocess.run(["sh", "-n"], input=user_data.script(), text=True, check=True)
    assert len(user_data.script()) < 16384


def test_the_policy_holds_what_a_whole_life_asks_for_and_nothing_else(
    cloud: Front, settings: Settings, hands: Hands
) -> None:
    used: set[str] = set()

    def note(call: Call) -> None:
        used.add(f"{VERSIONS[call.params.get('Version', '')]}:{call.action}")

    cloud.before = note
    made = make(cloud, settings, hands)
    cloud.aws(settings).client("ec2").stop_instances(InstanceIds=[made.machine])
    make(cloud, settings, hands)
    remove(cloud, settings, hands)
    used.discard("ec2:StopInstances")
    policy = json.loads((SUITE / "config" / "policies" / "bastion.json").read_text())
    allowed = {name for statement in policy["Statement"] for name in statement["Action"]}
    # AWS asks for these in the caller's name; the session is another task's; endpoints are looked for where nothing else leads out
    implied = {"iam:PassRole", "ec2:CreateTags", "iam:TagRole", "iam:TagInstanceProfile"}
    sessions = {"ssm:StartSession", "ssm:TerminateSession", "ssm:ResumeSession", "ssmmessages:OpenDataChannel"}
    assert allowed - implied - sessions == used | {"ec2:DescribeVpcEndpoints"}


def test_what_outlives_an_instance_is_named(
    cloud: Front, settings: Settings, hands: Hands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = cloud.aws(settings)
    monkeypatch.setattr(alarms, "max_connections", lambda *_: 100)
    machine = make(cloud, settings, hands).machine
    schedule.put(settings, aws, hands.clock, times.read("20:00", "", "mon-fri", "UTC"), dry_run=False)
    alarms.put(settings, aws, "", dry_run=False)
    delete.delete_instance(settings, aws, hands.clock, confirm="cruddur-db-instance", snapshot=False)
    capsys.readouterr()
    left_over.tell(settings, aws)
    said = capsys.readouterr().err
    assert [line.partition(",")[0] for line in said.splitlines() if not line.startswith("note: ")] == [
        f"left: the bastion {machine}", "left: its schedules", "left: 3 alarms",
    ]  # fmt: skip
    cloud.before = lambda call: error("UnauthorizedOperation") if call.action == "DescribeInstances" else None
    left_over.tell(settings, aws)
    assert "bastion" not in capsys.readouterr().err
    cloud.mend()
    bastion.remove(settings, aws, hands.clock, dry_run=False)
    schedule.delete(settings, aws, dry_run=False)
    alarms.delete(settings, aws, dry_run=False)
    capsys.readouterr()
    left_over.tell(settings, aws)
    assert capsys.readouterr().err == ""
