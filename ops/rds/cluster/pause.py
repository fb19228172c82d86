"""What does not go together with a cluster that pauses: a function that waits for no database, a pool that keeps a session.

A paused instance wakes in about 15 seconds (Aurora User Guide, "Scaling to Zero ACUs with automatic pause and resume for Aurora
Serverless v2"); Cognito gives a function 5 (Cognito Developer Guide, "Customizing user pool workflows with Lambda triggers").
"""

from __future__ import annotations

from config.settings import Settings
from ops.aws import Aws
from ops.aws_errors import code, speaking
from ops.cloud.facts import Row
from ops.console import say
from ops.errors import Problem, Refused
from ops.rds.cluster import capacity

COGNITO_SECONDS = 5
ANYWAY = "rds.pause_with_function"
WHY = (
    f"a database that pauses wakes in {capacity.WAKES}, and Cognito gives a sign-up's function {COGNITO_SECONDS}: a sign-up that wakes it is "
    "confirmed, and its row is missing until inv lambda.sync-users"
)


def check(settings: Settings, aws: Aws, task: str) -> None:
    """Raise `Refused` where the settings have a cluster pause, there is a function that logs in to it, and it is not said twice."""
    rds = settings.rds
    if not rds.is_cluster or rds.min_acu >= 0.5 or not has_function(settings, aws):
        return
    refuse(settings, f"rds.min_acu is {rds.min_acu:g}, and there is the function {settings.lambdas.function}", task)


def check_row(settings: Settings, row: Row, task: str) -> None:
    """Raise `Refused` where a cluster pauses for which a function is meant, and it is not said twice."""
    if settings.rds.is_cluster and capacity.pauses(row):
        refuse(settings, f"{row['DBInstanceIdentifier']} pauses (rds.min_acu is 0)", task)


def refuse(settings: Settings, what: str, task: str) -> None:
    """Raise `Refused`, or say it where the settings say twice that it is meant."""
    if settings.rds.pause_with_function:
        say(f"note: {what}: {WHY}")
        return
    raise Refused(
        f"{what}: {WHY}; nothing was done: set rds.min_acu to 0.5 (inv rds.apply), or {ANYWAY} to yes, then inv {task} again"
    )


def has_function(settings: Settings, aws: Aws) -> bool:
    """Whether the function of the settings is there; what may not be asked is taken for no, and said."""
    client = aws.client("lambda")
    try:
        with speaking():
            try:
                client.get_function_configuration(FunctionName=settings.lambdas.function)
            except client.exceptions.ClientError as error:
                if code(error) == "ResourceNotFoundException":
                    return False
                raise
    except Problem as error:
        say(f"note: whether there is a function that would wake it was not looked up ({error})")
        return False
    return True
