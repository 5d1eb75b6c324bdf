"""Scores of index maps, structure by structure, and what they come to over targets."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.columns import rename_unit
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.study.table import mean_sd

Row = dict[str, Any]
FUSED = "fused"  # in the column atlas, with the rank 0


def values_of(maps: Iterable[NDArray]) -> list[int]:
    """
    List the structures that index maps show.

    :param maps: of one image.
    :return: their values in ascending order, without 0, the background.
    """
    found: set[int] = set()
    for labels in maps:
        found |= {int(value) for value in np.unique(labels)}
    return sorted(found - {0})


def structure_rows(
    labels: NDArray,
    truth: NDArray | None,
    names: Mapping[int, str],
    spacing: NDArray,
    unit: str = "mm",
) -> list[Row]:
    """
    Measure the structures of an index map.

    :param labels: (d1, d2, d3).
    :param truth: the true map, or None.
    :param names: of the structures, by value.
    :param spacing: (3,), voxel sides.
    :param unit: of lengths, mm or voxels.
    :return: a row for each structure: its size, and beside a true map the true size,
        Dice and 95 % Hausdorff distance, nan where one of both is empty.
    """
    used = np.array(labels.shape) > 1  # the thickness of a single slice is no length
    end = {"mm": "mm", "voxels": "vox"}[unit]
    size = f"volume_{end}3" if used.all() else f"area_{end}2"
    voxel = float(np.prod(spacing[used]))
    rows = []
    for value, name in names.items():
        own = labels == value
        row: Row = {"structure": name, "value": value, size: voxel * int(own.sum())}
        if truth is not None:
            true = truth == value
            row[f"{size}_true"] = voxel * int(true.sum())
            row["dsc"] = metric.dsc(true, own)
            row[rename_unit("hd95_mm", unit)] = metric.hd95(true, own, spacing)
        rows.append(row)
    return rows


def methods_of(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """
    Divide rows of structures by what gave the labels.

    :param rows: of all targets, with the columns target, rank, template and structure.
    :return: those of the fused labels, of the most similar atlas alone, and of single
        atlases, whose mean over the atlases counts for a target, and the same through
        templates, where there are some; by a name for each.
    """
    is_direct = rows["template"].fillna("") == ""
    single = rows[(rows["rank"] > 0) & is_direct]
    found = {
        FUSED: rows[rows["rank"] == 0],
        "most similar atlas": single[single["rank"] == 1],
        "single atlases, mean": _mean_of_each(single),
    }
    if not is_direct.all():
        found["through one template, mean"] = _mean_of_each(rows[~is_direct])
    return found


def _mean_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of each target and structure."""
    groups = rows.groupby(["target", "structure"], sort=False)
    return groups.mean(numeric_only=True).reset_index()


def score_columns(rows: pd.DataFrame) -> list[str]:
    """Name the columns of scores against the truth: Dice, and the distance."""
    return [name for name in rows.columns if name == "dsc" or name.startswith("hd95")]


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Average the scores of all targets.

    :param rows: of structures, with scores.
    :return: a row for each method and structure, and one for their average (of each
        target first): number of targets, mean and standard deviation of each score.
    """
    lines: list[Row] = []
    for method, own in methods_of(rows).items():
        parts = dict(list(own.groupby("structure", sort=False)))
        average = own.groupby("target").mean(numeric_only=True)
        for name, part in [*parts.items(), ("average", average)]:
            line: Row = {"method": method, "structure": name}
            for column in score_columns(rows):
                values = part[column].dropna()
                line |= {
                    f"{column}_n": len(values),
                    f"{column}_mean": values.mean(),
                    f"{column}_sd": values.std(ddof=1),
                }
            lines.append(line)
    return pd.DataFrame(lines)


def wide_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Lay out the scores of all targets for reading: mean ± SD, a line per method.

    :param rows: of structures, with scores.
    :return: as text; Dice of each structure, and the average of each score.
    """
    lines = []
    for method, own in methods_of(rows).items():
        line = {"labels": method}
        for name, part in own.groupby("structure", sort=False):
            line[f"Dice {name}"] = mean_sd(part["dsc"].dropna(), 3)
        average = own.groupby("target").mean(numeric_only=True)
        for column in score_columns(rows):
            heading = "Dice" if column == "dsc" else f"HD95 ({column.split('_')[1]})"
            digits = 3 if column == "dsc" else 2
            line[f"{heading}, average"] = mean_sd(average[column].dropna(), digits)
        line["targets"] = str(own["target"].nunique())
        lines.append(line)
    return pd.DataFrame(lines)


def write_rows(path: Path, rows: pd.DataFrame | Sequence[Row]) -> None:
    """
    Write a table as CSV, numbers with six digits.

    :param path: of the file.
    :param rows: at least one.
    """
    with whole_file(path) as part:
        pd.DataFrame(rows).to_csv(part, index=False, float_format="%.6g")
