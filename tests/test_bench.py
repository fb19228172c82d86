"""The comparisons: figures that are what they say."""

from __future__ import annotations

import time

import pytest

from bench import feed
from bench.compare import clone
from bench.measure import Comparison, quantile, run
from config.settings import load


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3, 1, 2], 0.5, 2), ([1, 2, 3, 4], 0.5, 2.5), (list(range(1000)), 0.99, 990), ([5], 0.99, 5), ([1, 9], 0.99, 9)],
)
def test_a_quantile_is_the_value_that_so_many_do_not_exceed(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


def test_a_comparison_holds_the_figures_of_each_side() -> None:
    ended = []
    comparison = Comparison(
        "sleep",
        lambda: time.sleep(0.02),
        {"less": lambda: time.sleep(0.01)},
        {"less": 3},
        calls=3,
        end=lambda: ended.append(True),
    )
    found = run(comparison, 2)
    ours, less = found["sides"]
    assert (found["figure"], ours["side"], less["reach"], ours["reach"]) == ("median", "ours", 3, None)
    assert ours["least"] <= ours["seconds"] <= ours["most"]
    assert 1 < less["ratio"] < 3
    assert ended == [True]


def test_the_feed_is_measured_beside_select_1_and_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both small here: the figures at a million are those of inv bench."""
    monkeypatch.setattr(feed, "MANY", 2000)
    monkeypatch.setattr(feed, "FEW", 200)
    settings = load({})
    with clone(settings) as folder:
        found = run(feed.feed(settings, folder), 1)
    assert found["figure"] == "p99"
    assert {side["side"]: side["reach"] for side in found["sides"]} == {
        "ours": None,
        "select 1": 10,
        "200 activities": 2,
    }
