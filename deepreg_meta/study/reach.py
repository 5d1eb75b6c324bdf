"""What it costs to reach a result that another method has reached."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def cost_to_reach(costs: ArrayLike, values: ArrayLike, target: float) -> float:
    """
    Find the least cost at which a curve reaches a value from below.

    :param costs: of the points of the curve, such as seconds, in any order.
    :param values: at the points; between them the curve is straight. Points of which
        either is nan are left out.
    :param target: the value.
    :return: the cost; that of the first point where it is there already; nan where the
        curve never reaches it.
    """
    points = np.stack([np.asarray(costs, float), np.asarray(values, float)], axis=1)
    points = points[np.isfinite(points).all(axis=1)]
    points = points[np.argsort(points[:, 0], kind="stable")]
    there = np.flatnonzero(points[:, 1] >= target)
    if not len(there):
        return float("nan")
    last = int(there[0])
    if last == 0:
        return float(points[0, 0])
    (c0, v0), (c1, v1) = points[last - 1], points[last]
    return float(c0 + (c1 - c0) * (target - v0) / (v1 - v0))


def mean_curves(
    rows: pd.DataFrame, columns: Sequence[str], cost: str = "cpu_seconds"
) -> pd.DataFrame:
    """
    Average every adaptation of every method: the points of its curve.

    :param rows: of one test set; a case counts once, with its mean over the seeds.
    :param columns: what is averaged, those that there are.
    :param cost: column of what an adaptation costs.
    :return: `method`, `adaptation`, the cost and the columns, in the order of the rows.
    """
    keys = ["method", "adaptation"]
    present = [cost, *(name for name in columns if name in rows)]
    cases = rows.groupby([*keys, "case"], sort=False)[present].mean()
    return cases.groupby(keys, sort=False).mean().reset_index()


def reach_table(
    curves: pd.DataFrame,
    references: Sequence[tuple[str, str]],
    column: str = "dice",
    cost: str = "cpu_seconds",
) -> pd.DataFrame:
    """
    Tell what each method costs until it is as good as some references, in the mean.

    :param curves: of `mean_curves`.
    :param references: method and adaptation of each; those without rows are left out.
    :param column: what is to be reached, the larger the better.
    :param cost: column of the cost.
    :return: one line per method: for each reference the cost, nan where it is never
        reached, headed "to <method>, <adaptation>".
    """
    targets = {}
    for method, adaptation in references:
        own = curves[
            (curves["method"] == method) & (curves["adaptation"] == adaptation)
        ]
        if len(own):
            targets[f"to {method}, {adaptation}"] = float(own[column].iloc[0])
    lines = [
        {"method": method}
        | {
            heading: cost_to_reach(own[cost], own[column], target)
            for heading, target in targets.items()
        }
        for method, own in curves.groupby("method", sort=False)
    ]
    return pd.DataFrame(lines)


def epoch_means(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """
    Average every tested checkpoint of every training over its cases.

    :param rows: of one test set.
    :param columns: what is averaged, those that there are; a case without a value is
        left out of its mean.
    :return: `method`, `seed`, `epoch` and the columns, sorted by epoch.
    """
    keys = ["method", "seed", "epoch"]
    present = [name for name in columns if name in rows]
    means = rows.groupby(keys, sort=False)[present].mean().reset_index()
    return means.sort_values("epoch", kind="stable")


def epochs_to_reach(
    means: pd.DataFrame, method: str, reference: tuple[str, int], column: str, sign: int
) -> pd.Series:
    """
    Tell after how many epochs a method is as good as another after a given number.

    :param means: of `epoch_means`.
    :param method: whose epochs are counted.
    :param reference: another method, and the epoch of its checkpoint.
    :param column: what is to be reached.
    :param sign: 1 where more is better, -1 where less is.
    :return: epochs by seed, of the seeds that both have; between two checkpoints the
        curve is straight; nan where the last one is not as good.
    """
    own = means[means["method"] == method]
    other = means[
        (means["method"] == reference[0]) & (means["epoch"] == reference[1])
    ].set_index("seed")
    shared = [seed for seed in other.index if (own["seed"] == seed).any()]
    return pd.Series(
        {
            seed: cost_to_reach(
                own.loc[own["seed"] == seed, "epoch"],
                sign * own.loc[own["seed"] == seed, column],
                sign * float(other.loc[seed, column]),
            )
            for seed in shared
        },
        dtype=float,
    )
