"""What is done to AWS in turn, each act planned by a look at what is there: told, or carried out.

`Step` is a call whose request is told as it is; `Work` takes acts that depend on what those before them have made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.aws import Aws
from ops.aws_errors import code
from ops.console import say


@dataclass(frozen=True)
class Request:
    """A call of AWS's, under AWS's own names."""

    service: str
    """As boto3 calls it: scheduler."""
    operation: str
    """CreateSchedule."""
    parameters: dict[str, Any]
    """What is sent; on a dry run what would be."""


@dataclass(frozen=True)
class Step:
    """One call, which does no harm twice (ops/calls.py, REPEATABLE)."""

    what: str
    """What it does, in words."""
    request: Request
    done: tuple[str, ...] = ()
    """Refusals by which it is done already: by another run, or by a request of ours whose answer was lost."""
    is_ours: Callable[[], bool] = lambda: True
    """Asked after such a refusal: whether what is there already is ours."""


def carry_out(aws: Aws, steps: Sequence[Step]) -> None:
    """Make the calls, and say what each has done; raises botocore's errors."""
    for step in steps:
        make(aws, step)
        say(step.what)


def make(aws: Aws, step: Step) -> None:
    """Make one call."""
    from botocore import xform_name
    from botocore.exceptions import ClientError

    client = aws.client(step.request.service)
    try:
        getattr(client, xform_name(step.request.operation))(**step.request.parameters)
    except ClientError as error:
        if code(error) not in step.done or not step.is_ours():
            raise


@dataclass
class Work:
    """Carries out acts, and tells each in a line; without `write` it says what it would do."""

    write: bool
    done: list[str] = field(default_factory=list)
    """What was, or would be, done."""

    def do(self, what: str, act: Callable[[], object]) -> None:
        """Do one thing to AWS; `what` is an imperative."""
        self.done.append(what)
        if self.write:
            act()
            say(f"done: {what}")
        else:
            say(f"would {what}")
