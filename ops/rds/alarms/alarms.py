"""rds.alarms: CloudWatch watches the instance and the function, and SNS writes an e-mail when a bound is passed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from config.settings import Settings
from ops import postgres
from ops.aws import Aws
from ops.cloud import prices, steps, tags
from ops.cloud.facts import Row
from ops.cloud.steps import Request, Step
from ops.console import hide, say
from ops.errors import Misconfigured, Problem, Refused
from ops.rds import instance, prod
from ops.rds.alarms import topic, wanted
from ops.rds.alarms.standing import Alarm, Alarms, words
from ops.rds.alarms.wanted import Wanted
from ops.rds.schedule.own_role import Names, is_ours, marks, names
from ops.rds.schedule.schedule import arn_of, owned

TASK = "rds.alarms"
MASK = "****@****"


@dataclass(frozen=True)
class Changed:
    """What rds.alarms has done, or would do."""

    identifier: str
    """The instance's name."""
    written: bool
    """False on a dry run, and where nothing was to be done."""
    holds: Alarms | None
    """What holds after it; null where there are none."""
    requests: list[Request]
    """What AWS was asked, or would be, in this order; addresses are masked."""


def put(settings: Settings, aws: Aws, email: str, *, dry_run: bool) -> Changed:
    """Have the alarms as they should be; what is so already is left."""
    check_email(email)
    row = owned(settings, aws)
    of = names(row)
    every = list(wanted.of_instance(row, max_connections(settings, aws)))
    todo = topic.steps(aws, of, settings.rds.project, email)
    own = filter_steps(settings, aws)
    if own is not None:
        every.append(wanted.of_function(settings.lambdas.function))
        todo += own
    have = existing(aws, of, [one.kind for one in every])
    for one in every:
        todo += alarm_steps(of, one, have.get(one.kind), settings.rds.project)
    say(f"cost: {prices.of_alarms(len(every), int(own is not None))}")
    if not dry_run:
        steps.carry_out(aws, todo)
    requests = [masked(step.request) for step in todo]
    if dry_run:
        told = [
            Alarm(one.kind, str(have[one.kind]["StateValue"]) if one.kind in have else None, one.means) for one in every
        ]
        return Changed(of.identifier, False, Alarms(told, 0, 0), requests)
    return Changed(of.identifier, bool(todo), holding(aws, row), requests)


def delete(settings: Settings, aws: Aws, *, dry_run: bool) -> Changed:
    """Take alarms, topic and the function's count of failures away."""
    row = instance.find_instance(aws, settings.rds.identifier)
    of = names(row) if row else Names(arn_of(settings, aws))
    todo = []
    if mine := sorted(one["AlarmName"] for one in ours(aws, of)):
        request = Request("cloudwatch", "DeleteAlarms", {"AlarmNames": mine})
        todo.append(Step(f"alarms: {len(mine)} removed", request, ("ResourceNotFound", "ResourceNotFoundException")))
    function, log_group = settings.lambdas.function, settings.lambdas.log_group
    if find_filter(aws, function, log_group):
        request = Request("logs", "DeleteMetricFilter", {"logGroupName": log_group, "filterName": wanted.FAILED})
        todo.append(Step(f"{log_group}: failures are counted no more", request, ("ResourceNotFoundException",)))
    if topic.exists(aws, of):
        request = Request("sns", "DeleteTopic", {"TopicArn": topic.arn(of)})
        todo.append(Step(f"topic {of.identifier}-alarms: removed, with who was told", request, topic.GONE))
    if not dry_run:
        steps.carry_out(aws, todo)
    return Changed(of.identifier, bool(todo) and not dry_run, None, [step.request for step in todo])


def check_email(text: str) -> None:
    """Refuse what is no address; it is in no message."""
    hide(text)
    if text and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        raise Misconfigured("--email: this is no e-mail address")


def masked(request: Request) -> Request:
    """Return a request as it may be shown."""
    if "Endpoint" not in request.parameters:
        return request
    return replace(request, parameters={**request.parameters, "Endpoint": MASK})


def max_connections(settings: Settings, aws: Aws) -> int | None:
    """Return what the server takes at most, None where it cannot be asked: that alarm is left out then, and it is said."""
    try:
        target = prod.ask_rds(settings, why="its limit of connections is asked for", aws=aws)
        prod.require_certificates(settings, target)
        with postgres.connect(target, task=TASK, timeout=settings.connect_timeout) as conn:
            found = conn.execute(
                "select setting::int as most from pg_catalog.pg_settings where name = 'max_connections'"
            )
            row = found.fetchone()
            return int(row["most"]) if row else None
    except Problem as error:
        say(f"note: no alarm for connections, since the server did not tell its limit: {error}")
        return None


# --- what is there ------------------------------------------------------------------------


def name(of: Names, kind: str) -> str:
    """Return an alarm's name."""
    return f"{of.identifier}-{kind}"


def described(aws: Aws, **which: Any) -> list[dict[str, Any]]:
    pages = aws.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"], **which)
    return [one for page in pages for one in page["MetricAlarms"]]


def has_our_tags(aws: Aws, of: Names, alarm: dict[str, Any]) -> bool:
    answer = aws.client("cloudwatch").list_tags_for_resource(ResourceARN=alarm["AlarmArn"])
    return is_ours(of, tags.from_aws(answer["Tags"]))


def ours(aws: Aws, of: Names) -> list[dict[str, Any]]:
    """Return the alarms that we have made for the instance, as CloudWatch describes them."""
    return [one for one in described(aws, AlarmNamePrefix=f"{of.identifier}-") if has_our_tags(aws, of, one)]


def existing(aws: Aws, of: Names, kinds: list[str]) -> dict[str, dict[str, Any]]:
    """Return which of these alarms are there, by kind; raises `Refused` for one of that name which is not ours."""
    found = {}
    by_name = {name(of, kind): kind for kind in kinds}
    for one in described(aws, AlarmNames=list(by_name)):
        if not has_our_tags(aws, of, one):
            raise Refused(
                f"the alarm {one['AlarmName']} is not ours: remove it, or tag it ManagedBy={tags.MANAGED_BY} and "
                f"{tags.INSTANCE}={of.identifier}"
            )
        found[by_name[one["AlarmName"]]] = one
    return found


def holding(aws: Aws, row: Row) -> Alarms | None:
    """Return the alarms of an instance and how many get them, for rds.status; None where there are none."""
    of = names(row)
    if not topic.exists(aws, of):
        return None
    confirmed, unconfirmed = topic.counted(topic.subscriptions(aws, of))
    found = [
        Alarm(
            one["AlarmName"].removeprefix(f"{of.identifier}-"),
            str(one["StateValue"]),
            str(one.get("AlarmDescription") or "").removesuffix(f" (inv {TASK})"),
        )
        for one in ours(aws, of)
    ]
    return Alarms(sorted(found, key=lambda one: one.kind), confirmed, unconfirmed)


def find_filter(aws: Aws, function: str, log_group: str) -> dict[str, Any] | None:
    """Return the filter that counts the function's failures, or None; raises `Refused` for one of that name which is not ours.

    A filter has no tags: it is known by where it counts.
    """
    client = aws.client("logs")
    try:
        answer = client.describe_metric_filters(logGroupName=log_group, filterNamePrefix=wanted.FAILED)
    except client.exceptions.ResourceNotFoundException:
        return None
    for one in answer["metricFilters"]:
        if one["filterName"] != wanted.FAILED:
            continue
        if [each["metricNamespace"] for each in one["metricTransformations"]] != [wanted.namespace(function)]:
            raise Refused(f"the metric filter {wanted.FAILED} of {log_group} is not ours: remove it")
        return dict(one)
    return None


# --- what is to be done -------------------------------------------------------------------


def filter_steps(settings: Settings, aws: Aws) -> list[Step] | None:
    """Return what has the function's failures counted; None where there is no function."""
    function, log_group = settings.lambdas.function, settings.lambdas.log_group
    pages = aws.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=log_group)
    if log_group not in [one["logGroupName"] for page in pages for one in page["logGroups"]]:
        say(
            f"note: no alarm for the function: there are no logs {log_group} (inv lambda.deploy makes them, then this again)"
        )
        return None
    want, have = wanted.metric_filter(function, log_group), find_filter(aws, function, log_group)
    if have and {key: have.get(key) for key in want} == want:
        return []
    return [Step(f"{log_group}: failures are counted", Request("logs", "PutMetricFilter", want))]


def alarm_steps(of: Names, one: Wanted, have: dict[str, Any] | None, project: str) -> list[Step]:
    """Return what makes one alarm as it should be."""
    want = one.request(name(of, one.kind), topic.arn(of))
    if have is None:
        want["Tags"] = tags.to_aws(marks(of, project))
    elif {key: have.get(key) for key in want} == want:
        return []
    return [Step(f"alarm {one.kind}: when {one.means}", Request("cloudwatch", "PutMetricAlarm", want))]


def told(done: Changed) -> str:
    """Return what to tell."""
    if done.holds is None:
        return f"{done.identifier} has no alarms"
    return f"{done.identifier}: {words(done.holds)}"
