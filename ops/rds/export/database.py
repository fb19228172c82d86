"""The instance, its security group and the rules of that.

Arguments and imports: the AWS provider's documentation, aws_db_instance, aws_security_group,
aws_vpc_security_group_ingress_rule and aws_vpc_security_group_egress_rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.rds.export.hcl import Block, Expression, label
from ops.rds.export.resources import Found, Resource, present, tagged
from ops.rds.request import GP3_TUNABLE_GB
from ops.rds.security_group import rules

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import SecurityGroupRuleTypeDef

INSTANCE = "database"
NO_PASSWORD = "The master user's password. Left empty, Terraform leaves it as it is: it is ignored in every plan."  # noqa: S105


def add_instance(found: Found, row: Row) -> None:
    """Take the instance up; its groups are known by then."""
    name = row["DBInstanceIdentifier"]
    ignored = []
    if row.get("MasterUserSecret"):
        login: list[tuple[str, Any]] = [("manage_master_user_password", True)]
    else:
        login = [("password", found.secret("master_password", NO_PASSWORD))]
        ignored.append(Expression("password"))
    body = present(
        [
            ("identifier", name),
            ("instance_class", row["DBInstanceClass"]),
            ("engine", row["Engine"]),
            ("engine_version", version(row)),
            ("db_name", row.get("DBName")),
            ("username", row.get("MasterUsername")),
            *login,
            ("port", row.get("Endpoint", {}).get("Port") or row.get("DbInstancePort")),
            *storage(row),
            *place(found, row),
            *upkeep(row),
            *watching(row),
            ("skip_final_snapshot", False),
            ("final_snapshot_identifier", f"{name}-final"),
            *tagged(tags.from_aws(row.get("TagList"))),
        ]
    )
    body.append(lifecycle(ignored, kept=True))
    found.add(Resource("aws_db_instance", INSTANCE, name, body), arn=row["DBInstanceArn"])


def lifecycle(ignored: list[Expression], *, kept: bool = False) -> Block:
    """Return what Terraform may not do, and in what it sees no difference."""
    body: list[tuple[str, Any] | Block] = [("prevent_destroy", True)] if kept else []
    if ignored:
        body.append(("ignore_changes", ignored))
    return Block("lifecycle", (), body)


def version(row: Row) -> str:
    """Return the version as the provider compares it: a minor one that AWS changes by itself is left open."""
    exact = row["EngineVersion"]
    return exact.split(".")[0] if row.get("AutoMinorVersionUpgrade") else exact


def storage(row: Row) -> list[tuple[str, Any]]:
    size, kind = row.get("AllocatedStorage") or 0, row.get("StorageType")
    tunable = kind in ("io1", "io2") or (kind == "gp3" and size >= GP3_TUNABLE_GB)
    return [
        ("allocated_storage", size),
        ("max_allocated_storage", row.get("MaxAllocatedStorage")),
        ("storage_type", kind),
        ("iops", row.get("Iops") if tunable else None),
        ("storage_throughput", row.get("StorageThroughput") if tunable and kind == "gp3" else None),
        ("storage_encrypted", row.get("StorageEncrypted")),
        ("kms_key_id", row.get("KmsKeyId")),
    ]


def place(found: Found, row: Row) -> list[tuple[str, Any]]:
    groups = [str(one["VpcSecurityGroupId"]) for one in row.get("VpcSecurityGroups", [])]
    parameters = [str(one["DBParameterGroupName"]) for one in row.get("DBParameterGroups", [])]
    return [
        ("multi_az", bool(row.get("MultiAZ"))),
        ("availability_zone", None if row.get("MultiAZ") else row.get("AvailabilityZone")),
        ("db_subnet_group_name", row.get("DBSubnetGroup", {}).get("DBSubnetGroupName")),
        ("parameter_group_name", next(iter(parameters), None)),
        ("vpc_security_group_ids", found.refer_all(groups)),
        ("publicly_accessible", bool(row.get("PubliclyAccessible"))),
        ("ca_cert_identifier", row.get("CACertificateIdentifier")),
    ]


def upkeep(row: Row) -> list[tuple[str, Any]]:
    return [
        ("backup_retention_period", row.get("BackupRetentionPeriod")),
        ("backup_window", row.get("PreferredBackupWindow")),
        ("maintenance_window", row.get("PreferredMaintenanceWindow")),
        ("auto_minor_version_upgrade", row.get("AutoMinorVersionUpgrade")),
        ("copy_tags_to_snapshot", row.get("CopyTagsToSnapshot")),
        ("deletion_protection", row.get("DeletionProtection")),
        ("engine_lifecycle_support", row.get("EngineLifecycleSupport")),
        ("iam_database_authentication_enabled", row.get("IAMDatabaseAuthenticationEnabled")),
    ]


def watching(row: Row) -> list[tuple[str, Any]]:
    return [
        ("performance_insights_enabled", row.get("PerformanceInsightsEnabled")),
        ("performance_insights_retention_period", row.get("PerformanceInsightsRetentionPeriod")),
        ("database_insights_mode", row.get("DatabaseInsightsMode")),
        ("enabled_cloudwatch_logs_exports", sorted(row.get("EnabledCloudwatchLogsExports", []))),
        ("monitoring_interval", row.get("MonitoringInterval") or None),
        ("monitoring_role_arn", row.get("MonitoringRoleArn")),
    ]


# --- groups -------------------------------------------------------------------------------


def add_groups(aws: Aws, found: Found, ids: Iterable[str], name: str) -> None:
    """Take up those of these groups that the suite has made; rules come after all groups are known."""
    ec2 = aws.client("ec2")
    known = ec2.describe_security_groups(GroupIds=sorted(set(ids)))["SecurityGroups"] if ids else []
    mine = []
    for group in sorted(known, key=lambda one: one["GroupId"]):
        have = tags.from_aws(group.get("Tags"))
        if not tags.is_ours(have):
            found.left_out.append(f"security group {group['GroupId']}: not made by inv, named by its id")
        else:
            mine.append((group, have))
    for number, (group, have) in enumerate(mine):
        body = present(
            [
                ("name", group["GroupName"]),
                ("description", group["Description"]),
                ("vpc_id", group.get("VpcId")),
                *tagged(have),
            ]
        )
        at = name if not number else f"{name}_{number + 1}"
        found.add(Resource("aws_security_group", at, group["GroupId"], body), id=group["GroupId"])


def add_rules(aws: Aws, found: Found) -> None:
    """Take up the rules of the groups that are exported, but for those of people, which end by themselves."""
    groups = [one for one in found.resources if one.type == "aws_security_group"]
    pages = aws.client("ec2").get_paginator("describe_security_group_rules")
    for group in groups:
        filters = [{"Name": "group-id", "Values": [group.id]}]
        every = [raw for page in pages.paginate(Filters=filters) for raw in page["SecurityGroupRules"]]
        for raw in sorted(every, key=partial(by_what_it_says, found)):
            if rules.read(raw).ours:
                found.left_out.append(
                    f"rule {raw['SecurityGroupRuleId']}: an address of a person's, by rds.allow-my-ip, which ends by itself"
                )
            else:
                found.add(rule(found, group, raw))


def by_what_it_says(found: Found, raw: SecurityGroupRuleTypeDef) -> tuple[Any, ...]:
    """Return by what rules are sorted: what comes in first, groups by what they are called here."""
    read = rules.read(raw)
    return bool(raw.get("IsEgress")), found.references.get(read.source, read.source), read.ports, read.id


def rule(found: Found, group: Resource, raw: SecurityGroupRuleTypeDef) -> Resource:
    """Return one rule."""
    id_, ports = raw["SecurityGroupRuleId"], raw.get("IpProtocol") != "-1"
    other = (raw.get("ReferencedGroupInfo") or {}).get("GroupId")
    body = present(
        [
            ("security_group_id", found.refer(group.id)),
            ("cidr_ipv4", raw.get("CidrIpv4")),
            ("cidr_ipv6", raw.get("CidrIpv6")),
            ("prefix_list_id", raw.get("PrefixListId")),
            ("referenced_security_group_id", found.refer(str(other)) if other else None),
            ("ip_protocol", raw.get("IpProtocol")),
            ("from_port", raw.get("FromPort") if ports else None),
            ("to_port", raw.get("ToPort") if ports else None),
            ("description", raw.get("Description")),
            *tagged(tags.from_aws(raw.get("Tags"))),
        ]
    )
    kind = "egress" if raw.get("IsEgress") else "ingress"
    return Resource(f"aws_vpc_security_group_{kind}_rule", label(f"{group.name}_{id_}"), id_, body)
