"""The topic of SNS by which alarms become e-mails, and who gets them: addresses are written to AWS, and told to nobody."""

from __future__ import annotations

from typing import Any

from ops.aws import Aws
from ops.aws_errors import code
from ops.cloud import tags
from ops.cloud.steps import Request, Step
from ops.errors import Refused
from ops.rds.schedule.own_role import Names, is_ours, marks

PENDING = "PendingConfirmation"
"""What stands in the place of a subscription's ARN until its link was clicked (SNS API reference, Subscribe)."""
GONE = ("NotFound", "NotFoundException", "ResourceNotFound", "ResourceNotFoundException")


def arn(of: Names) -> str:
    return f"arn:{of.partition}:sns:{of.region}:{of.account}:{of.identifier}-alarms"


def exists(aws: Aws, of: Names) -> bool:
    """Whether the topic is there; raises `Refused` for one of that name which is not ours."""
    client = aws.client("sns")
    try:
        have = tags.from_aws(client.list_tags_for_resource(ResourceArn=arn(of))["Tags"])
    except client.exceptions.ClientError as error:
        if code(error) in GONE:
            return False
        raise
    if not is_ours(of, have):
        raise Refused(
            f"the topic {of.identifier}-alarms is not ours: remove it, or tag it ManagedBy={tags.MANAGED_BY} and "
            f"{tags.INSTANCE}={of.identifier}"
        )
    return True


def subscriptions(aws: Aws, of: Names) -> list[dict[str, Any]]:
    """Return who gets the alarms by e-mail, as SNS lists them."""
    pages = aws.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn(of))
    return [one for page in pages for one in page["Subscriptions"] if one["Protocol"] == "email"]


def counted(found: list[dict[str, Any]]) -> tuple[int, int]:
    """Return how many get e-mails, and how many none until their link was clicked."""
    waiting = sum(one["SubscriptionArn"] == PENDING for one in found)
    return len(found) - waiting, waiting


def steps(aws: Aws, of: Names, project: str, email: str) -> list[Step]:
    """Return what makes the topic, and has an address subscribed that is not yet."""
    found = []
    there = exists(aws, of)
    if not there:
        made = {"Name": arn(of).rpartition(":")[2], "Tags": tags.to_aws(marks(of, project))}
        found.append(Step(f"topic {made['Name']}: made", Request("sns", "CreateTopic", made)))
    known = {one["Endpoint"].lower() for one in subscriptions(aws, of)} if there else set()
    if email and email.lower() not in known:
        asked = {"TopicArn": arn(of), "Protocol": "email", "Endpoint": email, "ReturnSubscriptionArn": True}
        found.append(Step("e-mail: AWS has sent a link to it", Request("sns", "Subscribe", asked)))
    return found
