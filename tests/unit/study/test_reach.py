"""Tests of deepreg_meta/study/reach.py, on curves that are made up."""

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.study.reach import (
    cost_to_reach,
    epoch_means,
    epochs_to_reach,
    mean_curves,
    reach_table,
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0.5, 1.0),  # there from the first point on
        (0.6, 2.0),  # half way from 0.5 at 1 to 0.7 at 3
        (0.7, 3.0),
        (0.8, 7.0),  # past the dip at 5, half way from 0.6 at 5 to 1.0 at 9
        (1.0, 9.0),
    ],
)
def test_the_cost_is_that_of_the_first_place_that_is_as_good(target, expected):
    costs, values = [9.0, 1.0, 5.0, 3.0], [1.0, 0.5, 0.6, 0.7]
    assert cost_to_reach(costs, values, target) == pytest.approx(expected)


def test_what_is_never_reached_has_no_cost():
    assert np.isnan(cost_to_reach([1.0, 2.0], [0.5, 0.6], 0.7))
    assert np.isnan(cost_to_reach([], [], 0.7))
    assert cost_to_reach([1.0, 2.0, 3.0], [0.5, np.nan, 0.7], 0.6) == 2.0


def rows():
    """:return: two methods, two cases, seeds; a case counts with its mean."""
    lines = []
    for method, points in (
        ("slow", {"few": (2.0, 0.4), "many": (10.0, 0.8)}),
        ("fast", {"none": (0.5, 0.6), "five": (1.5, 0.7)}),
    ):
        for adaptation, (seconds, dice) in points.items():
            for case, seed, gain in (("a", 0, 0.0), ("a", 1, 0.0), ("b", 0, 0.1)):
                lines.append(
                    dict(method=method, adaptation=adaptation, case=case, seed=seed,
                         cpu_seconds=seconds, dice=dice + gain - 0.05)
                )  # fmt: skip
    return pd.DataFrame(lines)


def test_curves_count_a_case_once():
    curves = mean_curves(rows(), ["dice", "absent"])
    assert list(curves.columns) == ["method", "adaptation", "cpu_seconds", "dice"]
    assert curves["adaptation"].tolist() == ["few", "many", "none", "five"]
    # the mean of both cases, not of the three rows
    assert curves["dice"].tolist() == pytest.approx([0.4, 0.8, 0.6, 0.7])


def test_methods_are_held_against_the_references_that_there_are():
    references = [("slow", "many"), ("fast", "five"), ("other", "none")]
    table = reach_table(mean_curves(rows(), ["dice"]), references)
    assert list(table.columns) == ["method", "to slow, many", "to fast, five"]
    assert table["to slow, many"].tolist() == pytest.approx([10.0, np.nan], nan_ok=True)
    # from 0.4 at 2 s to 0.8 at 10 s
    assert table["to fast, five"].tolist() == pytest.approx([8.0, 1.5])


def test_epochs_are_counted_seed_by_seed_in_the_direction_that_is_better():
    rows = pd.DataFrame(
        dict(method=method, seed=seed, epoch=epoch, case=case,
             asd=value + (1 - 2 * case) * 0.5 + seed)
        for method, curve in (("slow", {20: 2.0, 0: 6.0}), ("fast", {0: 4.0, 5: 3.0}))
        for epoch, value in curve.items()
        for seed in range(2) if (method, seed) != ("fast", 1)
        for case in range(2)
    )  # fmt: skip
    means = epoch_means(rows, ["asd", "absent"])
    assert list(means.columns) == ["method", "seed", "epoch", "asd"]
    slow = means[(means["method"] == "slow") & (means["seed"] == 0)]
    assert slow["epoch"].tolist() == [0, 20]
    assert slow["asd"].tolist() == [6.0, 2.0]  # of both cases
    found = epochs_to_reach(means, "slow", ("fast", 5), "asd", -1)
    # of the seed that both have: 3 lies at three quarters of the way from 6 to 2
    assert found.to_dict() == pytest.approx({0: 15.0})
    assert epochs_to_reach(means, "slow", ("fast", 5), "asd", 1)[0] == 0.0
    assert np.isnan(epochs_to_reach(means, "fast", ("slow", 20), "asd", -1)[0])
