"""
Tables of a study: means and standard deviations, and tests between two methods.

A case counts once, with its mean over the seeds: seeds are no further cases.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from deepreg_meta.evaluate.statistics import (
    bootstrap_difference_ci,
    holm,
    paired_tests,
)

# of `compare_couples`
PAIRED = ["ours", "other", "n", "mean_difference", "ci_low", "ci_high", "p_unpaired",
          "p_paired", "p_holm"]  # fmt: skip


def main_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the main part of a study, those of the sweeps left out."""
    return rows[rows["sweep"].fillna("") == ""]


def with_adaptations(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Tell methods apart by how they were adapted too.

    :param rows: of a study.
    :return: a copy whose methods are such as "reptile, ten".
    """
    adaptation = rows["adaptation"].fillna("")
    named = rows["method"] + ", " + adaptation
    return rows.assign(method=named.where(adaptation != "", rows["method"]))


def case_means(rows: pd.DataFrame, column: str) -> pd.Series:
    """
    Average over the seeds.

    :param rows: of one method, one training and one test set.
    :param column: what is averaged.
    :return: one value for each case that has one, by its name, sorted.
    """
    return rows.groupby("case")[column].mean().dropna().sort_index()


def mean_sd(values: pd.Series, digits: int = 2, scale: float = 1.0) -> str:
    """
    Write a sample as mean ± standard deviation (n - 1).

    :param values: one per case.
    :param digits: after the point.
    :param scale: factor, 100 for shares in %.
    :return: such as "84.80 ± 6.09"; "–" without values, no deviation of one value.
    """
    if not len(values):
        return "–"
    text = f"{scale * values.mean():.{digits}f}"
    if len(values) > 1:
        text += f" ± {scale * values.std(ddof=1):.{digits}f}"
    return text


def method_table(
    rows: pd.DataFrame, columns: Mapping[str, tuple[str, int, float]]
) -> pd.DataFrame:
    """
    Describe every method on one test set.

    :param rows: of one training and one test set.
    :param columns: heading -> (column of the rows, digits, scale).
    :return: one line per method, in the order of the rows; columns of no value are
        left out. `seeds` counts the trainings.
    """
    lines = []
    for method, group in rows.groupby("method", sort=False):
        line = {"method": method}
        for heading, (column, digits, scale) in columns.items():
            if column in rows and rows[column].notna().any():
                line[heading] = mean_sd(case_means(group, column), digits, scale)
        line["seeds"] = str(group["seed"].nunique())
        line["cases"] = str(group["case"].nunique())
        lines.append(line)
    return pd.DataFrame(lines)


def compare_methods(
    rows: pd.DataFrame, ours: str, other: str, column: str = "dice"
) -> dict[str, float | str]:
    """
    Test whether two methods differ on one test set.

    The unpaired t-test (Welch's, two-tailed) takes the cases of both for independent
    samples, the source's choice; they are the same cases, so the paired ones are the
    tests to go by: t-test, signed rank test and a bootstrap interval of the mean
    difference.

    :param rows: of one training and one test set.
    :param ours: name of a method.
    :param other: name of another.
    :param column: what is compared.
    :return: `n`, `mean_difference` (ours - other), `ci_low`, `ci_high`, `p_unpaired`,
        `p_paired` and `p_wilcoxon`; nan where there are too few cases.
    """
    a, b = (case_means(rows[rows["method"] == m], column) for m in (ours, other))
    shared = a.index.intersection(b.index)
    paired = paired_tests(a[shared], b[shared])
    low, high = bootstrap_difference_ci(a[shared], b[shared], num=2000)
    return {
        "ours": ours,
        "other": other,
        "n": paired["n"],
        "mean_difference": paired["mean_difference"],
        "ci_low": low,
        "ci_high": high,
        "p_unpaired": _unpaired_p(a, b),
        "p_paired": paired["p_t"],
        "p_wilcoxon": paired["p_wilcoxon"],
    }


def compare_couples(
    rows: pd.DataFrame,
    couples: Sequence[tuple[str, str]],
    column: str = "dice",
    same_seeds: bool = False,
) -> pd.DataFrame:
    """
    Test several couples of methods, and correct for their number.

    :param rows: of one training and one test set.
    :param couples: names as `ours` and `other` of `compare_methods`, whose columns the
        table has.
    :param column: what is compared.
    :param same_seeds: take of a couple the seeds that both have: where both are
        trained, and not all trainings are done.
    :return: one line per couple, the columns `PAIRED`; `p_holm` is `p_paired` by Holm's
        method over them.
    """
    lines = []
    for one in couples:
        own = shared_seeds(rows, *one) if same_seeds else rows
        lines.append(compare_methods(own, *one, column))
    corrected = holm([float(line["p_paired"]) for line in lines])
    table = pd.DataFrame(lines, columns=PAIRED)
    return table.assign(p_holm=corrected)


def compare_quantities(
    rows: pd.DataFrame,
    couples: Sequence[tuple[str, str]],
    quantities: Mapping[str, str],
    same_seeds: bool = False,
) -> pd.DataFrame:
    """
    Test several couples of methods by several quantities.

    :param rows: of one training and one test set.
    :param couples: as of `compare_couples`; of a quantity those that both have it.
    :param quantities: heading -> column of the rows.
    :param same_seeds: as of `compare_couples`.
    :return: lines of `compare_couples` without `p_unpaired`, after `of`, the heading;
        Holm's method is over the couples of a quantity. Empty where there are none.
    """
    parts = []
    for heading, column in quantities.items():
        if column not in rows:
            continue
        there = set(rows.loc[rows[column].notna(), "method"])
        both = [couple for couple in couples if set(couple) <= there]
        if both:
            table = compare_couples(rows, both, column, same_seeds)
            table = table.drop(columns="p_unpaired")
            table.insert(0, "of", heading)
            parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def shared_seeds(rows: pd.DataFrame, ours: str, other: str) -> pd.DataFrame:
    """Return the rows of two methods, of the seeds that both have."""
    seeds = [set(rows.loc[rows["method"] == name, "seed"]) for name in (ours, other)]
    return rows[
        rows["method"].isin([ours, other]) & rows["seed"].isin(set.intersection(*seeds))
    ]


def _unpaired_p(a: pd.Series, b: pd.Series) -> float:
    """Return the p value of Welch's t-test; nan where nothing varies."""
    if len(a) < 2 or len(b) < 2 or np.ptp(a) + np.ptp(b) == 0:
        return float("nan")
    with warnings.catch_warnings():
        # one of them all but constant: the test is as it should be
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def sweep_table(rows: pd.DataFrame, sweep: str, columns: Sequence[str]) -> pd.DataFrame:
    """
    Average every setting of a sweep.

    :param rows: of a study.
    :param sweep: its name.
    :param columns: what is averaged.
    :return: `method`, `data`, `test`, `setting` and the columns, one line per setting
        in the order of the plan.
    """
    own = rows[rows["sweep"] == sweep]
    keys = ["method", "data", "test", "setting"]
    present = [column for column in columns if column in own]
    cases = own.groupby([*keys, "case"], sort=False)[present].mean()
    return cases.groupby(keys, sort=False).mean().reset_index()


def best_setting(table: pd.DataFrame, column: str, method: str) -> str:
    """
    Find the setting of a sweep with the largest mean.

    :param table: of `sweep_table`, on data that no test looks at.
    :param column: what is to be large.
    :param method: name.
    :return: the setting; the first of several equal ones.
    """
    own = table[table["method"] == method]
    return str(own.loc[own[column].idxmax(), "setting"])


def markdown(table: pd.DataFrame, digits: int = 3) -> str:
    """
    Write a table in Markdown.

    :param table: of text and numbers.
    :param digits: significant ones, of numbers that are no integers.
    :return: lines, the last one without its end.
    """

    def text(value: object) -> str:
        if isinstance(value, (float, np.floating)):
            return "–" if np.isnan(value) else f"{value:.{digits}g}"
        return str(value)

    head = [str(name) for name in table.columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [
        "| " + " | ".join(text(value) for value in line) + " |"
        for line in table.itertuples(index=False)
    ]
    return "\n".join(lines)
