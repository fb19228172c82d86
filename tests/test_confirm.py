"""A dangerous act wants its name: by the option, or typed by a person."""

from __future__ import annotations

import pytest

from ops import console
from ops.errors import Cancelled, Refused
from ops.typed_name import require_confirmation


def wanted(given: str, *, caseless: bool = False) -> None:
    require_confirmation(
        "mine", given, this="this thing", act="end mine", question="end it. Type its name:", caseless=caseless
    )


def test_the_name_by_the_option_is_enough() -> None:
    wanted("mine")
    wanted("MINE", caseless=True)


@pytest.mark.parametrize("given", ["other", "MINE", " mine"])
def test_another_name_is_refused(given: str) -> None:
    with pytest.raises(Refused, match=rf"^--confirm {given} is not this thing, which is mine: nothing was done$") as no:
        wanted(given)
    assert no.value.code == 2


def test_no_option_and_no_terminal_mean_no() -> None:
    with pytest.raises(Refused, match=r"^end mine: nothing was done; if a person has decided to, add --confirm mine$"):
        wanted("")


def test_a_person_types_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter(["mine", "Mine", "Mine", ""])

    def answer(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr(console, "interactive", lambda: True)
    monkeypatch.setattr(console, "ask", answer)
    wanted("")
    wanted("", caseless=True)
    for _ in range(2):
        with pytest.raises(Refused, match=r"^the name does not match: nothing was done$"):
            wanted("")
    assert set(asked) == {"end it. Type its name:"}

    def gone(_: str) -> str:
        raise Cancelled("cancelled")

    monkeypatch.setattr(console, "ask", gone)
    with pytest.raises(Cancelled):
        wanted("")
