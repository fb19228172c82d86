"""SnapStart: pools call an alias, which leads to a version with a snapshot; on and off again without a sign-up that nobody takes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from botocore.stub import Stubber

from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.lambdas import deploy, invoke, snap_start, status
from tests.fix_aws import Call, Hands, outcome
from tests.fix_lambda import NAME, Stage

ON, OFF = {"snap_start": "yes"}, {"snap_start": "no"}


@pytest.fixture
def on(stage: Stage) -> Stage:
    stage.config = dict(ON)
    return stage


def alias(stage: Stage) -> dict[str, Any] | None:
    found = snap_start.find_alias(stage.aws, stage.settings().lambdas)
    return dict(found) if found else None


def numbers(stage: Stage) -> list[str]:
    return snap_start.versions(stage.aws, stage.settings().lambdas)


def statements(stage: Stage, alias: str = "") -> int:
    from ops.lambdas import function

    return len(function.policy(stage.aws, stage.settings().lambdas, alias))


def is_served(stage: Stage, pool_id: str) -> bool:
    """Whether a sign-up of the pool reaches a function that is there and that the pool may call."""
    from ops.lambdas.user_pool import attach

    arn = str(stage.described(pool_id)["LambdaConfig"]["PostConfirmation"])
    way = snap_start.ALIAS if arn.endswith(f":{snap_start.ALIAS}") else ""
    if way:
        stage.client("lambda").get_function(FunctionName=arn)  # raises where there is none
    return attach.statement(stage.aws, stage.settings().lambdas, attach.sid(pool_id), way) is not None


def drift(stage: Stage, pool_id: str) -> list[str]:
    """Return what lambda.status says of alias, snapshot, trigger and permission."""
    found = status.facts(stage.settings(), stage.aws, pool_id)
    return [one.part for one in found.drift if one.part in ("alias", "snapshot", "trigger", "permission", "configuration")]


def test_on_then_on_again_then_changed_then_off(on: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pool_id = on.make_pool()
    assert on.deploy(dry_run=True)[-3:] == ["function", "version", "alias"]
    said = capsys.readouterr()
    assert re.search(r"SnapStart costs about 1\.98 USD a month for each version .* and 2 are", said.err)
    assert "after 14 days without a sign-up" in said.err
    assert on.cloud.writes == ["CreateUserPool"]
    assert on.deploy()[-3:] == ["function", "version", "alias"]
    assert on.attach(pool_id) == ["permission", "trigger"]
    assert on.described(pool_id)["LambdaConfig"]["PostConfirmation"].endswith(f":function:{NAME}:live")
    assert (statements(on), statements(on, "live")) == (0, 1)
    on.cloud.forget()
    assert (on.deploy(), on.attach(pool_id), on.cloud.writes) == ([], [], [])
    found = status.facts(on.settings(), on.aws, pool_id)
    assert (found.version, found.snapshot, found.permission) == ("1", "Active", True)
    assert found.alias == found.trigger
    assert drift(on, pool_id) == []

    for memory in ("1024", "768"):
        assert on.deploy({"memory_mb": memory})[:3] == ["configuration", "version", "alias"]
    assert numbers(on) == ["3", "2"]  # the one before stays for calls that began there, the one before that goes
    assert alias(on)["FunctionVersion"] == "3"  # type: ignore[index]

    on.config = {**OFF, "memory_mb": "768"}
    assert drift(on, pool_id) == ["configuration", "alias", "trigger"]
    capsys.readouterr()
    assert on.deploy() == ["configuration", "alias"]
    assert "inv lambda.attach for each leads them to the function itself" in capsys.readouterr().err
    assert alias(on)["FunctionVersion"] == "$LATEST"  # type: ignore[index]
    assert is_served(on, pool_id)
    assert on.attach(pool_id) == ["permission", "trigger", "permission", "version", "version", "alias"]
    assert (alias(on), numbers(on), statements(on)) == (None, [], 1)
    assert on.described(pool_id)["LambdaConfig"]["PostConfirmation"].endswith(f":function:{NAME}")
    assert drift(on, pool_id) == []
    on.cloud.forget()
    assert (on.deploy(), on.attach(pool_id), on.cloud.writes) == ([], [], [])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "lost"])
def test_cut_at_any_write_of_the_way_there_and_back_every_sign_up_is_served(stage: Stage, how: str) -> None:
    """A pool that calls the function is led to the alias, and back; wherever a run ends, its sign-ups reach what it may call."""
    stage.deploy()
    pool_id = stage.make_pool()
    stage.attach(pool_id)
    number, came = 0, True
    while came:
        number += 1
        came = False
        for config in (ON, OFF):
            stage.config = dict(config)
            reached = stage.cloud.cut(number, how)
            outcome(lambda: (stage.deploy(), stage.attach(pool_id)))
            stage.cloud.mend()
            assert is_served(stage, pool_id)
            came |= reached()
            stage.deploy()
            assert is_served(stage, pool_id)
            stage.attach(pool_id)
            assert drift(stage, pool_id) == []
            assert len(numbers(stage)) == (config == ON)
    # configuration, version, alias, permission, trigger, permission; on the way back alias and version go, too
    assert number == 9
