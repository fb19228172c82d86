"""Killed at each write to AWS, before it or after it, a task is run again and all is as if nothing had happened.

The scenes are those of tests/test_aws_cut.py, in which the answer to each write is lost.
"""

# ruff: noqa: F811 (fixtures of other files come by import)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ops import calls
from ops.aws_errors import writes
from tests import fix_spread
from tests import test_rds_bastion as bastion
from tests.fix_aws import Front, Hands, Killed, outcome
from tests.fix_lambda import Stage
from tests.test_aws_cut import LAMBDA, RDS, Cut, Scene, closed, cut, let_in  # noqa: F401
from tests.test_rds_bastion import policies, settings  # noqa: F401


class Interrupted(Killed, KeyboardInterrupt):
    """Somebody has pressed Ctrl-C: what clears up behind a task does so."""


class Death:
    """Ends the process, as far as it can be told from here, at a write of some number: before it is sent, or once it is answered.

    One that is killed asks AWS for nothing any more, whatever Python does on its way out; at each second write it is interrupted.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number, self.seen, self.sent, self.dead = 0, 0, False, False
        begin, end = calls.Watch.begin, calls.Watch.end

        def before(watch: calls.Watch, context: dict[str, Any], event_name: str, **more: Any) -> None:
            if self.dead:
                raise Killed
            writing = writes(event_name.split(".")[2])
            self.seen += writing
            context["writing"] = writing
            if writing and self.seen == self.number and not self.sent:
                self.die()
            begin(watch, context, event_name, **more)

        def after(watch: calls.Watch, context: dict[str, Any], **more: Any) -> None:
            end(watch, context, **more)
            if context.get("writing") and self.seen == self.number and self.sent:
                self.die()

        monkeypatch.setattr(calls.Watch, "begin", before)
        monkeypatch.setattr(calls.Watch, "end", after)

    def at(self, number: int, *, sent: bool) -> None:
        self.number, self.seen, self.sent = number, 0, sent

    def die(self) -> None:
        if self.number % 2 == 0:
            raise Interrupted
        self.dead = True
        raise Killed

    def over(self) -> None:
        self.number, self.dead = 0, False


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    """Asked for before any other: clients keep what they were made with."""
    return Death(monkeypatch)


ENDED = ("rds.undo",)
"""Done, it has nothing to go back to, and says so."""


def killed(at: Cut, scene: Scene, death: Death, fresh: Callable[[str], object]) -> None:
    at.config = scene.config
    for number in fix_spread.some(range(1, len(scene.writes) + 1)):
        # once a write is answered is as good as before the next one
        for sent in (False, True) if number == len(scene.writes) else (False,):
            fresh(f"{number}-{sent}")
            scene.before(at)
            death.at(number, sent=sent)
            failed = outcome(lambda: scene.act(at))
            death.over()
            assert failed, f"write {number} is there"
            assert failed.code == 137
            failed = outcome(lambda: scene.act(at))
            if scene not in [RDS[name] for name in ENDED] or number < len(scene.writes) or not sent:
                assert failed is None, f"{scene.writes[number - 1]}, {sent}: {failed}"
            scene.check(at)


@pytest.mark.parametrize("name", RDS)
def test_killed_at_any_write_the_next_run_ends_it(
    death: Death,
    cut: Cut,
    let_in: None,
    closed: None,
    name: str,
) -> None:
    killed(cut, RDS[name], death, lambda _: cut.forget())


@pytest.mark.slow
@pytest.mark.parametrize("name", LAMBDA)
def test_killed_at_any_write_of_the_function_the_next_run_ends_it(
    death: Death,
    cut: Cut,
    stage: Stage,
    name: str,
) -> None:
    killed(cut, LAMBDA[name], death, lambda label: cut.rename(stage, label.lower()))


def test_killed_at_any_write_of_the_bastion_the_next_run_ends_it(
    death: Death,
    cloud: Front,
    settings: Any,
    hands: Hands,
    pauses: None,
) -> None:
    for act, other, whole in (
        (bastion.make, bastion.remove, bastion.WHOLE),
        (bastion.remove, bastion.make, bastion.NOTHING),
    ):
        for number in range(1, 30):
            death.at(number, sent=bool(number % 2))
            failed = outcome(lambda act=act: act(cloud, settings, hands))  # type: ignore[misc]
            death.over()
            act(cloud, settings, hands)
            assert bastion.left(cloud, settings) == whole, (act, number)
            if failed is None:
                break
            other(cloud, settings, hands)
        else:
            raise AssertionError("it has no end")
        act(cloud, settings, hands)
