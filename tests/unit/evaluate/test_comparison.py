"""Laws, hand-derived values and errors of deepreg_meta.evaluate.comparison."""

import math

import numpy as np
import pytest
from scipy import stats

from deepreg_meta.evaluate.comparison import COLUMNS, compare
from deepreg_meta.evaluate.statistics import bootstrap_ci

CASES = [f"case{number}" for number in range(9)]


def by_case(values):
    return dict(zip(CASES, values, strict=False))


def test_three_cases_worked_out_by_hand():
    methods = {
        "before": {"a": 1.0, "b": 2.0, "c": 3.0},
        "after": {"c": 6.0, "a": 2.0, "b": 4.0},  # other order: paired by name
    }
    table = compare(methods, "before", higher_is_better=True)
    row = table.loc["after"]
    # differences 1, 2, 3: t = 2 / (1 / sqrt 3); with 2 degrees of freedom the
    # two-tailed p is 1 - t / sqrt(t^2 + 2). All signs equal: 2 / 2^3
    t = 2 * math.sqrt(3)
    assert list(table.index) == ["after"] and tuple(table.columns) == COLUMNS
    assert (row["n"], row["num_dropped"], row["num_better"]) == (3, 0, 3)
    assert (row["mean"], row["sd"], row["median"]) == (4.0, 2.0, 4.0)
    assert (row["q1"], row["q3"], row["baseline_mean"]) == (3.0, 5.0, 2.0)
    assert row["mean_difference"] == 2.0
    assert (row["ci_low"], row["ci_high"]) == (1.0, 3.0)  # 1 of 27 resamples each
    assert row["p_t"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert row["p_wilcoxon"] == pytest.approx(0.25)


def test_the_tests_and_the_interval_are_those_of_the_paired_differences(rng):
    a, b = rng.normal(size=(2, 9))
    row = compare({"a": by_case(a), "b": by_case(b)}, "b", False, seed=5).loc["a"]
    assert row["p_t"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert (row["ci_low"], row["ci_high"]) == bootstrap_ci(a - b, seed=5)
    assert row["num_better"] == (a < b).sum()


def test_holm_runs_over_the_methods_that_are_compared(rng):
    base = rng.normal(size=9)
    methods = {
        name: by_case(base + shift + 0.5 * rng.normal(size=9))
        for name, shift in (("far", 2.0), ("near", 0.4), ("middle", 1.0))
    }
    table = compare({"base": by_case(base), **methods}, "base", True)
    assert list(table.index) == ["far", "near", "middle"]
    for test in ("p_t", "p_wilcoxon"):
        p = table[test]
        ordered = p.sort_values()
        expected = (ordered * [3, 2, 1]).cummax().clip(upper=1.0)
        np.testing.assert_allclose(table[f"{test}_holm"], expected[p.index])
        assert (table[f"{test}_holm"] > p)[["far", "middle"]].all()
    alone = compare({"base": by_case(base), "far": methods["far"]}, "base", True)
    assert alone.loc["far", "p_t_holm"] == alone.loc["far", "p_t"]


def test_cases_of_one_method_alone_are_left_out_everywhere_and_counted():
    methods = {
        "base": {"a": 1.0, "b": 2.0, "c": None, "d": 5.0},
        "own": {"a": 2.0, "b": 1.0, "c": 9.0, "e": 9.0, "d": float("nan")},
    }
    row = compare(methods, "base", higher_is_better=True).loc["own"]
    assert (row["n"], row["num_dropped"], row["num_better"]) == (2, 3, 1)  # c, d, e
    assert row["mean"] == 1.5 and row["baseline_mean"] == 1.5
    assert row["mean_difference"] == 0.0


def test_a_tie_is_not_better_and_the_better_way_is_told():
    base, own = {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 3.0, "c": 2.5}
    for way in (True, False):
        table = compare({"base": base, "own": own}, "base", way)
        assert table.loc["own", "num_better"] == 1


def test_methods_without_common_cases_have_no_figures():
    row = compare({"a": {"x": 1.0}, "b": {"y": 2.0}}, "a", True).loc["b"]
    assert (row["n"], row["num_dropped"], row["num_better"]) == (0, 2, 0)
    assert row[["mean", "mean_difference", "ci_low", "p_t", "p_t_holm"]].isna().all()
    assert compare({"a": {"x": 1.0}}, "a", True).empty


def test_a_baseline_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="baseline out of a, b, got 'c'"):
        compare({"a": {}, "b": {}}, "c", True)
