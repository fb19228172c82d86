"""What is left to the night, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.settings import load
from ops.errors import Problem
from ops.workspace import checks
from tests.fix_cli import SUITE
from tests.fix_nightly import AGAIN, BETWEEN, is_repetition
from tests.fix_suppliers import SUPPLIERS


def selected(request: pytest.FixtureRequest, name: str) -> set[str]:
    """Return for which suppliers a test of this file is run; nothing is started for these."""
    own = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    return {str(item.callspec.params["supplier"]) for item in own if item.originalname == name}


@pytest.mark.parametrize("supplier", SUPPLIERS)
def test_newest_and_oldest(request: pytest.FixtureRequest, supplier: str) -> None:
    assert supplier not in {*BETWEEN, AGAIN} or request.config.getoption("--nightly")


@pytest.mark.every_server
@pytest.mark.parametrize("supplier", SUPPLIERS)
def test_every_server(supplier: str) -> None:
    pass


@pytest.mark.nightly
def test_in_the_night(request: pytest.FixtureRequest) -> None:
    assert is_repetition(request.node)
    assert request.config.getoption("--nightly")


def test_what_is_marked_runs_everywhere_and_the_rest_at_both_ends(request: pytest.FixtureRequest) -> None:
    both = request.config.getoption("--nightly")
    assert selected(request, "test_every_server") == ({*SUPPLIERS} if both else {*SUPPLIERS} - {AGAIN})
    assert selected(request, "test_newest_and_oldest") == ({*SUPPLIERS} if both else {*SUPPLIERS} - BETWEEN - {AGAIN})


def test_a_night_runs_all_its_parts_whatever_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of work: that each is what it is called, their own tests show."""
    ran: list[str] = []

    def part(name: str, *failures: str) -> Callable[..., None]:
        def run(*_: object, **__: object) -> None:
            ran.append(name)
            if name in failures:
                raise Problem(f"{name} failed", "  how")

        return run

    def night(*failures: str) -> None:
        ran.clear()
        for name in ("python", "wrong_changes", "soak", "bench"):
            monkeypatch.setattr(checks, name, part(name, *failures))
        checks.test(load({}, {}, SUITE), "", quick=False, changed=False, coverage=False, nightly=True, mutants=False)

    night()
    assert ran == ["python", "wrong_changes", "soak", "soak", "soak", "bench"]
    assert capsys.readouterr().out == "nightly: 6 of 6 parts passed\n"
    with pytest.raises(Problem) as caught:
        night("python", "soak", "bench")
    assert ran == ["python", "wrong_changes", "soak", "soak", "soak", "bench"]
    first, *lines = str(caught.value).splitlines()
    assert first == "the night has found something"
    assert lines[:2] == ["the tests: python failed", "the tests:   how"]
    assert [line.partition(":")[0] for line in lines[2::2]] == [
        "soak 1 of 3",
        "soak 2 of 3",
        "soak 3 of 3",
        "the comparisons, each once",
    ]
