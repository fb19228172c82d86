"""The instance's own group: made once, closed at birth, found by its tags, removed with it.

moto lets a group go that an instance still uses: AWS's refusals are given by the front before it.
"""

from __future__ import annotations

from typing import Any

import pytest

from ops.aws import Aws
from ops.cloud import tags
from ops.errors import InProgress, Misconfigured, Problem
from ops.rds.security_group import instance_group
from tests.fix_aws import Answer, Call, Configure, Front, Hands, error
from tests.fix_door import quick


@pytest.fixture
def aws(cloud: Front, configure: Configure) -> Aws:
    return quick(Aws(configure()))


def vpc(aws: Aws) -> str:
    return str(aws.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"])


def groups(aws: Aws) -> list[dict[str, Any]]:
    found = aws.client("ec2").describe_security_groups()["SecurityGroups"]
    return [g for g in found if g["GroupName"] != "default"]


def test_it_is_born_with_tags_and_lets_nobody_in(aws: Aws, cloud: Front) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    [found] = groups(aws)
    assert found["GroupId"] == made
    assert found["IpPermissions"] == []
    assert tags.from_aws(found["Tags"]) == {
        "Project": "cruddur",
        "ManagedBy": "inv",
        "inv:instance": "cruddur-db-instance",
    }
    assert cloud.writes == ["CreateSecurityGroup"]


def test_again_it_is_found_and_nothing_is_written(aws: Aws, cloud: Front) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    cloud.forget()
    assert instance_group.ensure_group(aws, aws.settings.rds, vpc(aws)) == made
    assert cloud.writes == []


def test_the_group_of_another_instance_or_network_is_not_taken(aws: Aws, cloud: Front, configure: Configure) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    other = instance_group.ensure_group(aws, configure({"identifier": "another"}).rds, vpc(aws))
    there = aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    assert len({made, other, instance_group.ensure_group(aws, aws.settings.rds, there)}) == 3


def test_a_group_of_its_name_that_is_not_ours_is_refused(aws: Aws, cloud: Front) -> None:
    theirs = aws.client("ec2").create_security_group(
        GroupName=instance_group.own_group(aws.settings.rds).name, Description="by hand", VpcId=vpc(aws)
    )["GroupId"]
    with pytest.raises(Problem, match=f"{theirs} is called rds-cruddur-db-instance and is not ours"):
        instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))


def test_a_search_by_tags_that_lags_behind_is_made_up_for(aws: Aws, cloud: Front) -> None:
    """AWS may not find by its tags for a moment what it has just made."""
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    empty = b'<DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><securityGroupInfo/></DescribeSecurityGroupsResponse>'

    def before(call: Call) -> Answer | None:
        by_tags = any("tag:" in value for value in call.params.values())
        return ("200 OK", empty) if call.action == "DescribeSecurityGroups" and by_tags else None

    cloud.before = before
    assert instance_group.ensure_group(aws, aws.settings.rds, vpc(aws)) == made


@pytest.mark.parametrize("carried_out", [True, False])
def test_cut_off_at_its_birth_the_next_run_finds_it(aws: Aws, cloud: Front, carried_out: bool) -> None:
    def cut(call: Call) -> Answer | None:
        return error("RequestLimitExceeded", "503 Service Unavailable") if call.writes else None

    if carried_out:
        cloud.after = cut
    else:
        cloud.before = cut
    with pytest.raises(Problem):
        instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    cloud.mend()
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    assert [g["GroupId"] for g in groups(aws)] == [made]


def test_without_the_right_to_make_one_the_policy_is_named(aws: Aws, cloud: Front) -> None:
    here = vpc(aws)
    cloud.before = lambda call: error("UnauthorizedOperation", "403 Forbidden") if call.writes else None
    with pytest.raises(Problem, match=r"CreateSecurityGroup.*config/policies"):
        instance_group.ensure_group(aws, aws.settings.rds, here)


def test_an_expired_login_is_a_matter_of_configuration(aws: Aws, cloud: Front) -> None:
    cloud.before = lambda _: error("RequestExpired")
    with pytest.raises(Misconfigured, match="expired"):
        instance_group.ensure_group(aws, aws.settings.rds, "vpc-1")


def test_it_is_removed_and_again_is_nothing_to_do(aws: Aws, cloud: Front, hands: Hands) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    assert instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep) == [made]
    assert groups(aws) == []
    cloud.forget()
    assert instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep) == []
    assert cloud.writes == []
    assert hands.slept == []


def test_only_its_own_group_is_removed(aws: Aws, cloud: Front, configure: Configure) -> None:
    instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    other = instance_group.ensure_group(aws, configure({"identifier": "another"}).rds, vpc(aws))
    instance_group.remove_group(aws, aws.settings.rds)
    assert [g["GroupId"] for g in groups(aws)] == [other]


def test_a_group_that_is_still_held_is_waited_for(aws: Aws, cloud: Front, hands: Hands) -> None:
    instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    cloud.before = lambda call: error("DependencyViolation") if call.writes and hands.time < 60 else None
    instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep)
    assert groups(aws) == []
    assert hands.time == 60


def test_a_group_that_stays_held_ends_in_exit_3(aws: Aws, cloud: Front, hands: Hands) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    cloud.before = lambda call: error("DependencyViolation") if call.writes else None
    with pytest.raises(
        InProgress, match=rf"{made} is still held by the network interface.*inv rds\.delete again"
    ) as problem:
        instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep)
    assert problem.value.code == 3


def held(cloud: Front) -> None:
    """Refuse as AWS does while a group is in use: moto lets it go."""
    cloud.before = lambda call: error("DependencyViolation") if call.action == "DeleteSecurityGroup" else None


def test_a_group_that_another_instance_uses_is_said_at_once(aws: Aws, cloud: Front, hands: Hands) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    aws.client("rds").create_db_instance(
        DBInstanceIdentifier="another",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="postgres",
        MasterUserPassword="not-used-here",
        VpcSecurityGroupIds=[made],
    )
    held(cloud)
    with pytest.raises(
        Problem, match=rf"{made} stays, it is used by the instance another: .*inv rds\.delete again"
    ) as told:
        instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep)
    assert told.value.code == 1
    assert hands.slept == []


def test_a_group_that_an_interface_and_a_rule_use_names_both(aws: Aws, cloud: Front, hands: Hands) -> None:
    ec2 = aws.client("ec2")
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    web = ec2.create_network_interface(SubnetId=subnet, Groups=[made], Description="web")["NetworkInterface"]
    other = ec2.create_security_group(GroupName="app", Description="app", VpcId=vpc(aws))["GroupId"]
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": made}]}
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[permission])
    held(cloud)
    with pytest.raises(Problem) as told:
        instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep)
    assert f"by the network interface {web['NetworkInterfaceId']} web" in str(told.value)
    assert f"in a rule of {other} (app)" in str(told.value)


def test_the_interface_that_the_deleted_instance_leaves_is_waited_for(aws: Aws, cloud: Front, hands: Hands) -> None:
    ec2 = aws.client("ec2")
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_network_interface(SubnetId=subnet, Groups=[made], Description="RDSNetworkInterface")
    cloud.before = lambda call: (
        error("DependencyViolation") if call.action == "DeleteSecurityGroup" and hands.time < 60 else None
    )
    assert instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep) == [made]
    assert hands.time == 60


def test_without_the_right_to_look_it_waits_and_ends_in_exit_3(aws: Aws, cloud: Front, hands: Hands) -> None:
    instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))

    def before(call: Call) -> Answer | None:
        if call.action == "DeleteSecurityGroup":
            return error("DependencyViolation")
        looks = call.action in ("DescribeNetworkInterfaces", "DescribeDBInstances")
        return error("UnauthorizedOperation", "403 Forbidden") if looks else None

    cloud.before = before
    with pytest.raises(InProgress):
        instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep)


def test_a_group_that_somebody_else_removes_meanwhile_is_well(aws: Aws, cloud: Front, hands: Hands) -> None:
    instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    cloud.before = lambda call: error("InvalidGroup.NotFound") if call.writes else None
    instance_group.remove_group(aws, aws.settings.rds, sleep=hands.sleep)


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("0.0.0.0/0", True),
        ("0.0.0.0/1", True),
        ("::/0", True),
        ("2000::/3", True),
        ("10.0.0.0/8", False),
        ("1.2.3.4/32", False),
        ("2600::1/128", False),
    ],
)
def test_one_left_over_with_its_door_open_to_all_is_refused(
    aws: Aws, capsys: pytest.CaptureFixture[str], source: str, refused: bool
) -> None:
    made = instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    field, key = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
    permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, field: [{key: source}]}
    aws.client("ec2").authorize_security_group_ingress(GroupId=made, IpPermissions=[permission])
    if refused:
        with pytest.raises(Problem, match="lets everybody in"):
            instance_group.ensure_group(aws, aws.settings.rds, vpc(aws))
    else:
        assert instance_group.ensure_group(aws, aws.settings.rds, vpc(aws)) == made
        assert f"lets in {source}" in capsys.readouterr().err
