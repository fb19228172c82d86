"""Which alarms an instance wants: metric, bound and what it means, by what the instance is.

Metrics: RDS's user guide, "Amazon CloudWatch metrics for Amazon RDS"; PutMetricAlarm and its defaults: CloudWatch's API reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ops.cloud.facts import Row

STORAGE_LEFT = 0.1
"""Share of the storage that is to stay free."""
CREDITS = 30
"""Each is a minute of a full processor; below none, RDS bills what a class of this kind takes beyond its share."""
CONNECTIONS = 0.8
"""Share of max_connections that may be in use."""
LAG_SECONDS = 60
GIB = 2**30
FAILED = "failed-sign-ups"
METRIC = "FailedSignUps"
PATTERN = '{ $.outcome = "failed" }'
"""What the function's line of JSON says of a sign-up that left no row (functions/post_confirmation/handler.py)."""


@dataclass(frozen=True)
class Wanted:
    """An alarm as it should be."""

    kind: str
    """storage, cpu-credits, connections, replica-lag or failed-sign-ups."""
    means: str
    """What has happened when it goes off."""
    metric: dict[str, Any] = field(repr=False)
    """Namespace, metric, dimensions and statistic, as PutMetricAlarm takes them."""
    above: bool
    bound: float
    periods: int = 3
    """Of five minutes each."""
    missing: str = "missing"
    """How no data is taken: an instance that is stopped has none."""

    def request(self, name: str, topic: str) -> dict[str, Any]:
        """Return PutMetricAlarm's request, but for the tags, which it takes for new ones only."""
        return {
            "AlarmName": name,
            "AlarmDescription": f"{self.means} (inv rds.alarms)",
            "ActionsEnabled": True,
            "AlarmActions": [topic],
            "OKActions": [topic],
            **self.metric,
            "Period": 300,
            "EvaluationPeriods": self.periods,
            "Threshold": float(self.bound),
            "ComparisonOperator": "GreaterThanThreshold" if self.above else "LessThanThreshold",
            "TreatMissingData": self.missing,
        }


def of_rds(metric: str, identifier: str, statistic: str = "Average") -> dict[str, Any]:
    return {
        "Namespace": "AWS/RDS",
        "MetricName": metric,
        "Statistic": statistic,
        "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": identifier}],
    }


def of_instance(row: Row, connections: int | None) -> Iterator[Wanted]:
    """Yield the alarms of an instance; `connections` is its max_connections, where the server has told it."""
    name = row["DBInstanceIdentifier"]
    free = int(row["AllocatedStorage"] * GIB * STORAGE_LEFT)
    yield Wanted(
        "storage", f"less than a tenth of the storage of {name} is free", of_rds("FreeStorageSpace", name), False, free
    )
    if row["DBInstanceClass"].startswith("db.t"):
        means = f"{name} has less than half an hour of saved processor time left: RDS bills what it takes beyond"
        yield Wanted("cpu-credits", means, of_rds("CPUCreditBalance", name), False, CREDITS)
    if connections:
        means = f"more than {CONNECTIONS:.0%} of the {connections} connections of {name} are in use"
        yield Wanted(
            "connections", means, of_rds("DatabaseConnections", name, "Maximum"), True, int(connections * CONNECTIONS)
        )
    for replica in sorted(row.get("ReadReplicaDBInstanceIdentifiers", [])):
        means = f"the replica {replica} is more than {LAG_SECONDS} seconds behind {name}"
        yield Wanted(f"replica-lag-{replica}", means, of_rds("ReplicaLag", replica, "Maximum"), True, LAG_SECONDS)


def of_function(function: str) -> Wanted:
    """Return the alarm of the function: a sign-up without a row, which Cognito does not try again."""
    metric = {"Namespace": namespace(function), "MetricName": METRIC, "Statistic": "Sum", "Dimensions": []}
    means = f"{function} has missed a sign-up: inv lambda.sync-users makes its row"
    return Wanted(FAILED, means, metric, True, 0, periods=1, missing="notBreaching")


def namespace(function: str) -> str:
    """Return where the function's own metric is counted."""
    return f"inv/{function}"


def metric_filter(function: str, log_group: str) -> dict[str, Any]:
    """Return PutMetricFilter's request, which counts the failures in the function's log."""
    return {
        "logGroupName": log_group,
        "filterName": FAILED,
        "filterPattern": PATTERN,
        "metricTransformations": [
            {"metricName": METRIC, "metricNamespace": namespace(function), "metricValue": "1", "defaultValue": 0.0}
        ],
    }
