"""When the instance stops and starts.

Arguments and imports: the AWS provider's documentation, aws_scheduler_schedule_group and aws_scheduler_schedule.
"""

from __future__ import annotations

import json
from typing import Any

from ops.aws import Aws
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.errors import Refused
from ops.rds.export import roles
from ops.rds.export.hcl import Block, Expression, Json
from ops.rds.export.resources import Found, Resource, present, tagged
from ops.rds.schedule import own_role, schedule

NAME = "schedule"


def add_schedules(aws: Aws, found: Found, row: Row) -> None:
    """Take up the schedules of the instance, their group and their role, where rds.schedule has made them."""
    of = own_role.names(row)
    try:
        group = schedule.group_of(aws, of)
    except Refused as why:
        found.left_out.append(f"schedules: {why}")
        return
    if group is None:
        return
    have = tags.from_aws(aws.client("scheduler").list_tags_for_resource(ResourceArn=group["Arn"])["Tags"])
    body = present([("name", of.group), *tagged(have)])
    found.add(Resource("aws_scheduler_schedule_group", NAME, of.group, body))
    roles.add_role(aws, found, of.role_arn, NAME)
    for kind in schedule.CALLS:
        if one := schedule.find(aws, of, kind):
            found.add(resource(found, of.group, kind, one))


def resource(found: Found, group: str, kind: str, one: dict[str, Any]) -> Resource:
    """Return one of the schedules."""
    target, window = one["Target"], one["FlexibleTimeWindow"]
    body = present(
        [
            ("name", kind),
            ("group_name", Expression(f"aws_scheduler_schedule_group.{NAME}.name")),
            ("description", one.get("Description")),
            ("schedule_expression", one["ScheduleExpression"]),
            ("schedule_expression_timezone", one.get("ScheduleExpressionTimezone")),
            ("state", one.get("State")),
        ]
    )
    inner = present([("mode", window["Mode"]), ("maximum_window_in_minutes", window.get("MaximumWindowInMinutes"))])
    body.append(Block("flexible_time_window", (), inner))
    aim = present(
        [("arn", target["Arn"]), ("role_arn", found.refer(target["RoleArn"])), ("input", text(target.get("Input")))]
    )
    if retry := target.get("RetryPolicy"):
        policy = present(
            [
                ("maximum_event_age_in_seconds", retry.get("MaximumEventAgeInSeconds")),
                ("maximum_retry_attempts", retry.get("MaximumRetryAttempts")),
            ]
        )
        aim.append(Block("retry_policy", (), policy))
    body.append(Block("target", (), aim))
    return Resource("aws_scheduler_schedule", kind, f"{group}/{kind}", body)


def text(given: str | None) -> Any:
    """Return what a target is given: JSON as such, where it is some."""
    try:
        return Json(json.loads(given or ""))
    except ValueError:
        return given
