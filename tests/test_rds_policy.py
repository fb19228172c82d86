"""The rights in config/policies are those that the tasks use: no fewer, and none that nobody asks for."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from typing import Any

from ops.rds import create, delete, instance, prod, rotate
from tests.fix_aws import Call, Configure, Front, Hands
from tests.fix_cli import SUITE

VERSIONS = {"2014-10-31": "rds", "2016-11-15": "ec2"}
# What AWS does in the caller's name while it carries out a call; moto asks for no rights
IMPLIED = {
    *("secretsmanager:CreateSecret", "secretsmanager:TagResource", "secretsmanager:RotateSecret"),
    *("kms:DescribeKey", "kms:CreateGrant", "iam:CreateServiceLinkedRole", "ec2:CreateTags"),
}


def action(call: Call) -> str:
    return f"{VERSIONS.get(call.params.get('Version', ''), 'secretsmanager')}:{call.action}"


def allowed() -> set[str]:
    policy: dict[str, Any] = json.loads((SUITE / "config" / "policies" / "rds.json").read_text())
    return {name for statement in policy["Statement"] for name in statement["Action"]}


def test_the_policy_holds_what_a_whole_life_asks_for_and_nothing_else(
    cloud: Front, configure: Configure, hands: Hands
) -> None:
    used: set[str] = set()

    def note(call: Call) -> Any:
        used.add(action(call))
        if call.action in ("DescribeDBEngineVersions", "DescribeOrderableDBInstanceOptions"):  # not in moto
            body = f"<{call.action}Response><{call.action}Result>{ANSWERS[call.action]}</{call.action}Result></{call.action}Response>"
            return "200 OK", body.encode()
        return None

    cloud.before = note
    settings = configure({"zone": "a"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(settings)
    create.run(settings, aws, hands.clock, adopt=False)
    prod.asked(settings, why="", aws=aws)
    instance.stop(aws, settings.rds, hands.clock)
    instance.start(aws, settings.rds, hands.clock)
    instance.snapshot(aws, settings.rds, "", hands.clock)
    rotate.run(settings, aws, hands.clock)
    aws.client("rds").remove_tags_from_resource(
        ResourceName=instance.required(aws, settings.rds)["DBInstanceArn"], TagKeys=["ManagedBy"]
    )
    create.run(settings, aws, hands.clock, adopt=True)
    delete.run(settings, aws, hands.clock, confirm="cruddur-db-instance", snapshot=True)
    used.discard("rds:RemoveTagsFromResource")
    # asked only while something is waited for, or for a subnet group of the user's
    used |= {"rds:DescribeEvents", "rds:DescribeDBSubnetGroups", "ec2:DescribeAvailabilityZones"}
    assert allowed() - IMPLIED == used
    assert not any(fnmatch(name, "*[*]*") for name in allowed())


ANSWERS = {
    "DescribeDBEngineVersions": "<DBEngineVersions><DBEngineVersion><EngineVersion>18.4</EngineVersion></DBEngineVersion></DBEngineVersions>",
    "DescribeOrderableDBInstanceOptions": (
        "<OrderableDBInstanceOptions><OrderableDBInstanceOption><StorageType>gp3</StorageType><AvailabilityZones>"
        "<AvailabilityZone><Name>ca-central-1a</Name></AvailabilityZone></AvailabilityZones>"
        "</OrderableDBInstanceOption></OrderableDBInstanceOptions>"
    ),
}


def test_what_changes_something_is_limited_to_what_is_tagged() -> None:
    policy = json.loads((SUITE / "config" / "policies" / "rds.json").read_text())
    for statement in policy["Statement"]:
        for name in statement["Action"]:
            if name.startswith(("rds:Modify", "rds:Delete", "rds:Stop", "rds:Start", "ec2:Delete")):
                assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/ManagedBy": "inv"}}
