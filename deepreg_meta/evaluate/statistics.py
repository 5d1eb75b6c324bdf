"""
Describe and compare samples of results: summaries, paired tests, bootstrap intervals.

Missing values (None, nan) are left out, in pairs where samples are paired; every answer
carries the n that remained.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = Iterable[float | None]

_AT_ONCE = 1_000_000  # numbers of several resamples: bounds the memory
_ROUNDING = 1e-12  # of the largest number: differences that spread less are equal


def summarize(values: Values) -> dict[str, float]:
    """
    Describe a sample.

    :param values: numbers of one unit; None and nan are left out.
    :return: `n`, `mean`, `sd` (of the sample, n - 1; nan for n < 2), `median`, `q1`
        and `q3` (quartiles by linear interpolation); all but n are nan when n is 0.
    """
    sample = _as_array(values)
    sample = sample[~np.isnan(sample)]
    nan = float("nan")
    if not len(sample):
        return {"n": 0, "mean": nan, "sd": nan, "median": nan, "q1": nan, "q3": nan}
    q1, median, q3 = (float(q) for q in np.quantile(sample, [0.25, 0.5, 0.75]))
    return {
        "n": len(sample),
        "mean": float(sample.mean()),
        "sd": float(sample.std(ddof=1)) if len(sample) > 1 else nan,
        "median": median,
        "q1": q1,
        "q3": q3,
    }


def paired_tests(a: Values, b: Values) -> dict[str, float]:
    """
    Compare two results on the same cases by two-tailed paired tests.

    :param a: one number per case.
    :param b: one number per case, same order; a case that misses one is left out.
    :return: `n`, `mean_difference` (a - b), `p_t` (paired t-test, nan for n < 2 or
        when all differences are equal, but for rounding, and not zero) and
        `p_wilcoxon` (signed rank, nan for n = 0). Without any difference both are 1.
    :raises ValueError: when the numbers of cases differ.
    """
    left, right = _check_pairs(a, b)
    difference = left - right
    keep = ~np.isnan(difference)
    difference = difference[keep]
    result = {"n": len(difference), "mean_difference": float("nan")}
    if not len(difference):
        return {**result, "p_t": float("nan"), "p_wilcoxon": float("nan")}
    result["mean_difference"] = float(difference.mean())
    if not difference.any():
        return {**result, "p_t": 1.0, "p_wilcoxon": 1.0}
    # differences of equal steps differ by the rounding of what they are made of
    rounding = _ROUNDING * max(np.abs(left[keep]).max(), np.abs(right[keep]).max())
    spread = len(difference) > 1 and np.ptp(difference) > rounding
    with warnings.catch_warnings():
        # differences that are all but equal: the p value is as small as it should be
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        p_t = stats.ttest_1samp(difference, 0.0).pvalue if spread else float("nan")
    p_wilcoxon = stats.wilcoxon(difference, alternative="two-sided").pvalue
    return {**result, "p_t": float(p_t), "p_wilcoxon": float(p_wilcoxon)}


def holm(pvalues: Sequence[float]) -> list[float]:
    """
    Correct p values for the number of tests, by Holm's step-down method.

    Source: Holm 1979, Scand. J. Statist. 6, 65-70. The i-th smallest of m is
    multiplied by m - i + 1, never falls below a smaller one's, and stops at 1.

    :param pvalues: in [0, 1], any order; nan (no test) stays nan and is not counted.
    :return: corrected values in the same order.
    :raises ValueError: when one is outside [0, 1].
    """
    p = _as_array(pvalues)
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"holm: expected p values in [0, 1], got {list(pvalues)}.")
    order = [int(i) for i in np.argsort(p) if not np.isnan(p[i])]
    corrected = np.full(len(p), np.nan)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p[index]))
        corrected[index] = running
    return corrected.tolist()


def bootstrap_ci(
    values: Values,
    statistic: Callable[[NDArray], float] = np.mean,
    num: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence | None = None,
) -> tuple[float, float]:
    """
    Bound a statistic by the percentile bootstrap.

    Landmarks of one case share its registration and are not independent: give
    `groups`, and whole cases are drawn with all their landmarks.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    :param values: numbers of one unit; None and nan are left out, with their group
        label.
    :param statistic: maps an array (n,) to a number, e.g. np.mean or np.median.
    :param num: resamples, >= 1.
    :param seed: same seed, same interval.
    :param level: share of resamples inside the interval, in (0, 1).
    :param groups: one label per value, e.g. its case; None draws single values.
    :return: lower and upper bound, the unit of the statistic; nan for fewer than
        two values, or groups: one alone says nothing of how much they vary.
    :raises ValueError: when `groups` has another length, or num or level is out of
        range.
    """
    sample = _as_array(values)
    if groups is not None and len(groups) != len(sample):
        raise ValueError(
            f"bootstrap_ci: expected one group per value, got {len(groups)} groups "
            f"for {len(sample)} values."
        )
    if num < 1 or not 0 < level < 1:
        raise ValueError(
            "bootstrap_ci: expected num >= 1 and level in (0, 1), "
            f"got num {num} and level {level}."
        )
    keep = np.flatnonzero(~np.isnan(sample))
    clusters = sample[keep] if groups is None else _clusters(sample, groups, keep)
    if len(clusters) < 2:
        return float("nan"), float("nan")
    estimates = _estimates(clusters, statistic, num, np.random.default_rng(seed))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(estimates, [tail, 1.0 - tail])
    return float(low), float(high)


def _estimates(
    clusters: NDArray | list[NDArray],
    statistic: Callable[[NDArray], float],
    num: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the statistic of every resample, (num,)."""
    count, estimates = len(clusters), np.empty(num)
    if isinstance(clusters, np.ndarray) and statistic in (np.mean, np.median):
        # many resamples at once, the same ones as in a loop, which takes far longer
        size = max(1, _AT_ONCE // count)
        for first in range(0, num, size):
            part = estimates[first : first + size]
            drawn = rng.integers(count, size=(len(part), count))
            part[:] = statistic(clusters[drawn], axis=1)
        return estimates
    for i in range(num):
        drawn = rng.integers(count, size=count)
        estimates[i] = statistic(_take(clusters, drawn))
    return estimates


def bootstrap_difference_ci(
    a: Values,
    b: Values,
    statistic: Callable[[NDArray], float] = np.mean,
    num: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence | None = None,
) -> tuple[float, float]:
    """
    Bound a statistic of the paired differences a - b: see `bootstrap_ci`.

    :param a: one number per case or landmark.
    :param b: the same cases or landmarks in the same order.
    :param statistic: of the differences.
    :param num: resamples.
    :param seed: same seed, same interval.
    :param level: in (0, 1).
    :param groups: one label per pair; whole groups are drawn.
    :return: lower and upper bound.
    :raises ValueError: when the numbers of values differ.
    """
    left, right = _check_pairs(a, b)
    return bootstrap_ci(left - right, statistic, num, seed, level, groups)


def _as_array(values: Values) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _check_pairs(a: Values, b: Values) -> tuple[NDArray, NDArray]:
    left, right = _as_array(a), _as_array(b)
    if len(left) != len(right):
        raise ValueError(
            "paired samples: expected the same cases in both, "
            f"got {len(left)} and {len(right)} values."
        )
    return left, right


def _clusters(sample: NDArray, groups: Sequence, keep: NDArray) -> list[NDArray]:
    """Split the values that are kept into arrays that are drawn as one."""
    members: dict = {}
    for index in keep:
        members.setdefault(groups[index], []).append(sample[index])
    return [np.array(values) for values in members.values()]


def _take(clusters: NDArray | list[NDArray], drawn: NDArray) -> NDArray:
    """Return a resample; single values, the usual case, without a loop."""
    if isinstance(clusters, np.ndarray):
        return clusters[drawn]
    return np.concatenate([clusters[index] for index in drawn])
