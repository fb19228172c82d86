"""Where an instance is not what the settings say: no false alarm, and nothing left out."""

from __future__ import annotations

from typing import Any

import pytest

from ops.rds import differences, instance
from tests.fix_aws import Configure, error
from tests.fix_door import Instance


def found(at: Instance, configure: Configure, rds: dict[str, str] | None = None, **changed: Any) -> list[str]:
    """Return the differences of moto's instance, some of its values changed to what AWS may tell."""
    settings = configure(rds)
    row: Any = {**instance.require_instance(at.aws, settings.rds), **changed}
    return [
        line for line in map(str, differences.find_differences(settings, at.aws, row)) if not line.startswith(IGNORED)
    ]


IGNORED = (
    *("engine_version", "public", "encrypted", "backup_days", "deletion_protection", "iam_auth", "copy_tags"),
    *("storage_type", "insights_mode", "insights_days", "storage_max_gb", "the database", "auto_minor"),
)
"""What the instance of the fixture leaves to moto."""


def test_the_instance_as_it_was_asked_for_has_none(at: Instance, configure: Configure) -> None:
    assert found(at, configure) == []


@pytest.mark.parametrize(("grown", "differs"), [(20, False), (37, False), (50, False), (51, True), (19, True)])
def test_storage_that_has_grown_by_itself_is_no_difference(
    at: Instance, configure: Configure, grown: int, differs: bool
) -> None:
    lines = [f"storage_gb is {grown}, the settings say 20"] if differs else []
    assert found(at, configure, AllocatedStorage=grown) == lines


def test_storage_that_may_not_grow_is_one(at: Instance, configure: Configure) -> None:
    assert found(at, configure, {"storage_max_gb": "unset"}, AllocatedStorage=30) == [
        "storage_gb is 30, the settings say 20"
    ]


def test_another_port_is_one(at: Instance, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "5433")
    assert found(at, configure) == ["the port is 5432, the settings say 5433"]
    assert found(at, configure, Endpoint={}) == []  # while it is being made there is none


def test_another_subnet_group_is_one(at: Instance, configure: Configure) -> None:
    its = {"DBSubnetGroupName": "mine", "VpcId": at.vpc}
    assert found(at, configure, {"subnet_group": "Mine"}, DBSubnetGroup=its) == []
    assert found(at, configure, {"subnet_group": "other"}, DBSubnetGroup=its) == [
        "subnet_group is mine, the settings say other"
    ]


def test_another_security_group_is_one(at: Instance, configure: Configure) -> None:
    theirs = [{"VpcSecurityGroupId": "sg-theirs", "Status": "active"}]
    assert found(at, configure, VpcSecurityGroups=theirs) == [
        f"the security group is sg-theirs, rds.create would take {at.group}"
    ]
    both = [*theirs, {"VpcSecurityGroupId": at.group, "Status": "active"}]
    assert found(at, configure, VpcSecurityGroups=both) == []
    at.ec2.delete_tags(Resources=[at.group], Tags=[{"Key": "ManagedBy"}])
    assert found(at, configure) == [
        f"the security group is {at.group}, rds.create would take one of its own (rds-cruddur-db-instance)"
    ]


def test_without_the_right_to_ask_for_groups_the_rest_is_told(at: Instance, configure: Configure) -> None:
    at.cloud.before = lambda call: (
        error("UnauthorizedOperation", "403 Forbidden") if call.action == "DescribeSecurityGroups" else None
    )
    assert found(at, configure, {"instance_class": "db.t4g.small"}) == [
        "instance_class is db.t4g.micro, the settings say db.t4g.small"
    ]
