"""What is left to the night, and what is not."""

from __future__ import annotations

import pytest

from tests.fix_nightly import BETWEEN, is_repetition
from tests.fix_suppliers import SUPPLIERS


def selected(request: pytest.FixtureRequest, name: str) -> set[str]:
    """Return for which suppliers a test of this file is run; nothing is started for these."""
    own = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    return {str(item.callspec.params["supplier"]) for item in own if item.originalname == name}


@pytest.mark.parametrize("supplier", SUPPLIERS)
def test_newest_and_oldest(request: pytest.FixtureRequest, supplier: str) -> None:
    assert supplier not in BETWEEN or request.config.getoption("--nightly")


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
    assert selected(request, "test_every_server") == {*SUPPLIERS}
    assert selected(request, "test_newest_and_oldest") == ({*SUPPLIERS} if both else {*SUPPLIERS} - BETWEEN)
