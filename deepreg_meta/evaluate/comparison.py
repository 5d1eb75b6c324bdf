"""Compare methods with a baseline, case by case."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from deepreg_meta.evaluate.statistics import (
    bootstrap_difference_ci,
    holm,
    paired_tests,
    summarize,
)

COLUMNS = (
    "n",
    "num_dropped",
    "mean",
    "sd",
    "median",
    "q1",
    "q3",
    "baseline_mean",
    "mean_difference",
    "ci_low",
    "ci_high",
    "p_t",
    "p_t_holm",
    "p_wilcoxon",
    "p_wilcoxon_holm",
    "num_better",
)

Values = Mapping[str, float | None]  # by name of the case


def compare(
    methods: Mapping[str, Values],
    baseline: str,
    higher_is_better: bool,
    seed: int = 0,
) -> pd.DataFrame:
    """
    Compare methods with a baseline on the cases that both have.

    :param methods: name -> case -> value; None and nan are missing.
    :param baseline: name of the method that the others are held against.
    :param higher_is_better: whether a case with a higher value is the better one.
    :param seed: of the bootstrap; same seed, same intervals.
    :return: a row per method but the baseline (index `method`). All figures are of the
        `n` cases that both methods have; `num_dropped` cases have a value of one of the
        two alone. `mean`, `sd`, `median`, `q1`, `q3` of the method, `baseline_mean`;
        `mean_difference` (method - baseline) with its 95 % bootstrap interval `ci_low`,
        `ci_high` (cases resampled); two-tailed paired `p_t` and `p_wilcoxon`, and both
        after Holm's correction for the number of methods compared; `num_better`, the
        cases in which the method is strictly better.
    :raises ValueError: when the baseline is not among the methods.
    """
    if baseline not in methods:
        raise ValueError(
            f"compare: expected a baseline out of {', '.join(methods)}, got "
            f"{baseline!r}."
        )
    base = _known(methods[baseline])
    rows = {
        name: _compare_one(_known(values), base, higher_is_better, seed)
        for name, values in methods.items()
        if name != baseline
    }
    for test in ("p_t", "p_wilcoxon"):
        corrected = holm([row[test] for row in rows.values()])
        for row, value in zip(rows.values(), corrected, strict=True):
            row[f"{test}_holm"] = value
    index = pd.Index(list(rows), name="method", dtype=object)
    return pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))


def _known(values: Values) -> dict[str, float]:
    """Leave out the cases without a value."""
    return {
        case: float(value)
        for case, value in values.items()
        if value is not None and not np.isnan(value)
    }


def _compare_one(
    method: Mapping[str, float],
    baseline: Mapping[str, float],
    higher_is_better: bool,
    seed: int,
) -> dict[str, float]:
    cases = [case for case in method if case in baseline]
    own = np.array([method[case] for case in cases], dtype=np.float64)
    other = np.array([baseline[case] for case in cases], dtype=np.float64)
    low, high = bootstrap_difference_ci(own, other, seed=seed)
    better = own > other if higher_is_better else own < other
    return {
        **summarize(own),
        **paired_tests(own, other),
        "num_dropped": len(method) + len(baseline) - 2 * len(cases),
        "baseline_mean": float(other.mean()) if len(cases) else float("nan"),
        "ci_low": low,
        "ci_high": high,
        "num_better": int(better.sum()),
    }
