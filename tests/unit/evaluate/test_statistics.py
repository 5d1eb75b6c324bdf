"""Laws, hand-derived values and errors of deepreg_meta.evaluate.statistics."""

import math

import numpy as np
import pytest

from deepreg_meta.evaluate import statistics


def test_a_summary_of_four_numbers_worked_out_by_hand():
    found = statistics.summarize([1, 2, None, 3, 6, float("nan")])
    # mean 3, squares 4 + 1 + 0 + 9 over n - 1 = 3; quartiles between neighbours
    assert found["n"] == 4 and found["mean"] == 3.0 and found["median"] == 2.5
    assert found["sd"] == pytest.approx(math.sqrt(14 / 3))
    assert (found["q1"], found["q3"]) == (1.75, 3.75)


def test_a_summary_of_nothing_and_of_one_number_says_nan_where_nothing_is_known():
    assert statistics.summarize([])["n"] == 0
    assert math.isnan(statistics.summarize([None])["mean"])
    single = statistics.summarize([2.0])
    assert single["mean"] == 2.0 and math.isnan(single["sd"])


def test_the_paired_tests_of_three_differences_equal_their_closed_forms():
    found = statistics.paired_tests([2, 4, 6, None], [1, 2, 3, 4])
    # differences 1, 2, 3: t = 2 / (1 / sqrt 3) with 2 degrees of freedom, for which
    # the two-tailed p is 1 - t / sqrt(t^2 + 2); all signs equal: 2 / 2^3
    t = 2 * math.sqrt(3)
    assert found["n"] == 3 and found["mean_difference"] == 2.0
    assert found["p_t"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert found["p_wilcoxon"] == pytest.approx(0.25)


def test_exchanging_the_samples_turns_the_difference_and_keeps_the_p_values():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    one, other = statistics.paired_tests(a, b), statistics.paired_tests(b, a)
    assert one["mean_difference"] == pytest.approx(-other["mean_difference"])
    assert one["p_t"] == pytest.approx(other["p_t"])
    assert one["p_wilcoxon"] == pytest.approx(other["p_wilcoxon"])


def test_samples_without_a_difference_or_without_pairs_have_no_finding():
    same = statistics.paired_tests([1, 2], [1, 2])
    assert (same["p_t"], same["p_wilcoxon"]) == (1.0, 1.0)
    none = statistics.paired_tests([1, None], [None, 2])
    assert none["n"] == 0 and math.isnan(none["p_t"])
    assert math.isnan(statistics.paired_tests([2, 3], [1, 2])["p_t"])


@pytest.mark.parametrize("scale", [2.0**-20, 1.0, 2.0**20])
def test_differences_that_rounding_alone_tells_apart_are_equal(scale):
    """A tenth more each time, until one of them is more by a billionth."""
    b = scale * np.array([0.7, 0.8, 0.31, 0.9, 0.55])
    a = b + 0.1 * scale
    assert np.ptp(a - b) > 0
    assert math.isnan(statistics.paired_tests(a, b)["p_t"])
    assert math.isnan(statistics.paired_tests([*a, None], [*b, 1e9])["p_t"])
    a[0] *= 1 + 1e-9
    assert statistics.paired_tests(a, b)["p_t"] < 1e-6


def test_holm_corrects_a_known_example_in_any_order():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )


def test_holm_neither_counts_nan_nor_exceeds_one():
    corrected = statistics.holm([0.6, float("nan"), 0.02])
    assert corrected[0] == 0.6 and corrected[2] == 0.04 and math.isnan(corrected[1])
    assert statistics.holm([0.7, 0.8]) == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"p values in \[0, 1\]"):
        statistics.holm([1.2])


def test_a_bootstrap_interval_is_reproducible_and_hangs_on_the_seed():
    values = np.random.default_rng(0).normal(size=9)
    first = statistics.bootstrap_ci(values, num=500, seed=3)
    assert first == statistics.bootstrap_ci(values, num=500, seed=3)
    assert first != statistics.bootstrap_ci(values, num=500, seed=4)


def test_a_bootstrap_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(5, 2, size=200)
    low, high = statistics.bootstrap_ci(values, num=2000)
    half = 1.96 * values.std() / math.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_intervals_cover_the_true_mean_about_as_often_as_they_claim():
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(100):
        low, high = statistics.bootstrap_ci(
            rng.normal(size=30), num=200, seed=seed, level=0.9
        )
        covered += low <= 0 <= high
    assert 80 <= covered <= 97


def test_cases_are_drawn_whole_so_copies_of_a_landmark_add_no_certainty():
    cases = np.random.default_rng(3).normal(size=8)
    copies, groups = np.repeat(cases, 5), np.repeat(np.arange(8), 5)
    single = statistics.bootstrap_ci(cases, num=500)
    grouped = statistics.bootstrap_ci(copies, num=500, groups=groups)
    naive = statistics.bootstrap_ci(copies, num=500)
    assert grouped == pytest.approx(single)
    assert naive[1] - naive[0] < 0.6 * (grouped[1] - grouped[0])


def test_groups_follow_their_values_when_some_are_missing():
    found = statistics.bootstrap_ci([None, 1.0, 1.0, 3.0], groups=list("abbc"), num=400)
    assert found == (1.0, 3.0)


def test_an_interval_of_differences_is_that_of_the_pairs():
    a, b = [3.0, 5.0, None, 4.0], [1.0, 2.0, 3.0, 3.0]
    found = statistics.bootstrap_difference_ci(a, b, num=500)
    assert found == statistics.bootstrap_ci([2.0, 3.0, 1.0], num=500)
    assert statistics.bootstrap_difference_ci([2, 3], [1, 2], np.median) == (1.0, 1.0)
    # whole cases are drawn of pairs too
    found = statistics.bootstrap_difference_ci(a, b, num=500, groups=list("xxzy"))
    alone = statistics.bootstrap_ci([2.0, 3.0, 1.0], num=500, groups=list("xxy"))
    assert found == alone == (1.0, 2.5)


def test_nothing_has_an_interval_of_nan_and_wrong_input_is_refused():
    assert math.isnan(statistics.bootstrap_ci([None])[0])
    assert np.isnan(statistics.bootstrap_ci([0.7, None])).all()
    assert np.isnan(statistics.bootstrap_ci([0.7, 0.9], groups=["a", "a"])).all()
    with pytest.raises(ValueError, match="got 1 groups for 2 values"):
        statistics.bootstrap_ci([1, 2], groups=["a"])
    with pytest.raises(ValueError, match="got num 0"):
        statistics.bootstrap_ci([1, 2], num=0)
    with pytest.raises(ValueError, match="got 2 and 1 values"):
        statistics.paired_tests([1, 2], [1])


@pytest.mark.parametrize("statistic", [np.mean, np.median])
@pytest.mark.parametrize("count", [2, 3, 21, 200])
def test_resamples_drawn_at_once_are_those_drawn_one_by_one(
    statistic, count, monkeypatch
):
    monkeypatch.setattr(statistics, "_AT_ONCE", 1000)  # several portions, the last odd
    values = np.random.default_rng(1).normal(size=count)
    slow = statistics.bootstrap_ci(values, lambda x: statistic(x), num=203)
    assert statistics.bootstrap_ci(values, statistic, num=203) == slow
    assert slow[0] < slow[1]
