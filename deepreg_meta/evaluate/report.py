"""
Write results as documented CSV files and as a short table for the terminal.

Three CSV files share the columns of `COLUMNS`: one row per case, one per landmark, one
per adaptation step. Rows are plain dictionaries. Keys of lengths end in `_mm`; with
`unit="voxels"` (a nominal spacing) they are written with the ending `_vox` instead, so
that no file calls a voxel a millimetre.
"""

import csv
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pandas as pd

from deepreg_meta.evaluate.columns import (
    BASELINE,
    COLUMNS,
    STAGES,
    describe_column,
    rename_unit,
    stage_column,
)
from deepreg_meta.evaluate.statistics import summarize

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]  # numbers, flags, words, None


def write_csv(
    path: str | Path,
    rows: Iterable[Row],
    columns: Sequence[str] | None = None,
    unit: str = "mm",
) -> Path:
    """
    Write rows to a CSV file at once: readers see the old file or the whole new one.

    :param path: target; its folder is made.
    :param rows: dictionaries; None and nan become empty cells, True becomes 1, numbers
        keep 6 significant digits.
    :param columns: order of the columns; None takes the keys as they first appear. A
        column without description is written, with a warning.
    :param unit: "mm" or "voxels": renames columns that end in `_mm` to `_vox`.
    :return: the path.
    :raises ValueError: when there are neither rows nor columns, a row has a key that is
        not in `columns`, or the unit is another one.
    """
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        raise ValueError(f"{path}: expected rows or columns to write, got none.")
    extra = {key for row in rows for key in row} - set(columns)
    if extra:
        raise ValueError(
            f"{path}: rows have keys {sorted(extra)} that no column takes."
        )
    header = [rename_unit(name, unit) for name in columns]
    for name in header:
        try:
            describe_column(name)
        except ValueError as err:
            logger.warning("%s: %s", path, err)
    lines = [header] + [[_cell(row.get(name)) for name in columns] for row in rows]
    return _write_lines(Path(path), lines)


def write_columns(
    path: str | Path, names: Iterable[str] = tuple(COLUMNS), unit: str = "mm"
) -> Path:
    """
    Write `columns.md`, which says what each column of the CSV files holds.

    :param path: target file.
    :param names: columns, in either unit; default all.
    :param unit: as in `write_csv`, so that the names are those of its files.
    :return: the path.
    :raises ValueError: when a column is not documented.
    """
    lines = ["# Columns of the result files", "", "| column | content |", "|---|---|"]
    written = [rename_unit(name, unit) for name in names]
    lines += [f"| `{name}` | {describe_column(name)} |" for name in written]
    return _replace(Path(path), "\n".join(lines) + "\n")


def summary_table(
    rows: Iterable[Row], columns: Sequence[str] | None = None, unit: str = "mm"
) -> pd.DataFrame:
    """
    Summarise columns over rows.

    :param rows: rows of one kind, cases or landmarks.
    :param columns: what to summarise; None takes all columns of numbers.
    :param unit: as in `write_csv`.
    :return: one line per metric (index `metric`): n, mean, sd, median, q1, q3.
    """
    rows = list(rows)
    if columns is None:
        keys = dict.fromkeys(key for row in rows for key in row)
        columns = [key for key in keys if any(_is_number(row.get(key)) for row in rows)]
    summaries = [summarize(row.get(name) for row in rows) for name in columns]
    names = pd.Index([rename_unit(name, unit) for name in columns], name="metric")
    return pd.DataFrame(
        summaries, index=names, columns=["n", "mean", "sd", "median", "q1", "q3"]
    )


def write_summary(path: str | Path, table: pd.DataFrame) -> Path:
    """
    Write a summary table as CSV.

    :param path: target file.
    :param table: from `summary_table`, units already in its index.
    :return: the path.
    """
    return write_csv(path, table.reset_index().to_dict("records"))


def format_terminal(
    case_rows: Iterable[Row],
    landmark_rows: Iterable[Row] = (),
    *,
    unit: str = "mm",
    title: str = "",
    first_label: str = "",
) -> str:
    """
    Lay out the results as plain text for a terminal of 80 columns.

    :param case_rows: rows with the columns of `COLUMNS`; metrics and stages without
        any value are left out.
    :param landmark_rows: one row per landmark of all cases, pooled.
    :param unit: "mm" or "voxels", printed with every length.
    :param title: first line, or none.
    :param first_label: name of the label that Dice is of, where there are several.
    :return: mean +/- SD and median by stage (before, unadapted, adapted), without a
        final line break.
    :raises ValueError: for another unit.
    """
    rename_unit("", unit)  # an unknown unit ends here, not in a table
    cases, landmarks = list(case_rows), list(landmark_rows)
    dice = f"Dice ({first_label})" if first_label else "Dice"
    blocks = [
        (label.format(unit=unit), pool, metric, digits, scale)
        for label, pool, metric, digits, scale in (
            (dice[:22], cases, "dsc", 3, 1),
            ("Dice off frames", cases, "dsc_off_frames", 3, 1),
            ("TRE, case rms ({unit})", cases, "tre_*_mm", 2, 1),
            ("TRE, landmark ({unit})", landmarks, "tre_*_mm", 2, 1),
            ("TRE, blobs ({unit})", landmarks, "tre_blob_*_mm", 2, 1),
            ("NCC of the images", cases, "ncc", 3, 1),
            ("folds (%)", cases, "folds", 2, 100),
        )
    ]
    stages = [
        stage
        for stage in STAGES
        if any(_sample(pool, metric, stage) for _, pool, metric, _, _ in blocks)
    ]
    lines = [title] if title else []
    lines += [f"{'':22}{'n':>6}" + "".join(f"{stage:>17}" for stage in stages)]
    for label, pool, metric, digits, scale in blocks:
        lines += _block(label, stages, pool, metric, digits, scale)
    lines += _lost_line(stages, landmarks) + _seconds_line(cases)
    return "\n".join(line.rstrip() for line in lines)


def _sample(rows: Sequence[Row], metric: str, stage: str) -> list[float]:
    values = (row.get(stage_column(metric, stage)) for row in rows)
    return [float(v) for v in values if _is_number(v) and not np.isnan(v)]


def _block(
    label: str,
    stages: Sequence[str],
    rows: Sequence[Row],
    metric: str,
    digits: int,
    scale: float,
) -> list[str]:
    """
    Two lines, mean +/- SD and median, and one for the baseline where it was scored;
    none where the metric has no value.
    """
    found = []
    for stage in stages:
        found.append(summarize(scale * v for v in _sample(rows, metric, stage)))
    counts = sorted({int(summary["n"]) for summary in found if summary["n"]})
    if not counts:
        return []
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
    first, second = f"{label:22}{n:>6}", f"{'  median':28}"
    for summary in found:
        mean, sd, median = (
            _number(summary[key], digits) for key in ("mean", "sd", "median")
        )
        first += f"{'-' if not summary['n'] else f'{mean} +/- {sd}':>17}"
        second += f"{'-' if not summary['n'] else median:>17}"
    lines = [first, second]
    baseline = summarize(scale * v for v in _sample(rows, metric, BASELINE))
    if baseline["n"]:
        mean, sd = (_number(baseline[key], digits) for key in ("mean", "sd"))
        lines.append(f"{'  centroids aligned':28}{f'{mean} +/- {sd}':>17}")
    return lines


def _lost_line(stages: Sequence[str], landmarks: Sequence[Row]) -> list[str]:
    lost = {stage: _sample(landmarks, "lost", stage) for stage in stages}
    if not any(lost.values()):
        return []
    n = max(len(flags) for flags in lost.values())
    cells = (f"{sum(v):.0f}" if v else "-" for v in lost.values())
    return [
        f"{'landmark blobs lost':22}{n:>6}" + "".join(f"{cell:>17}" for cell in cells)
    ]


def _seconds_line(cases: Sequence[Row]) -> list[str]:
    seconds = summarize(v for row in cases if _is_number(v := row.get("seconds")))
    if not seconds["n"]:
        return []
    mean, sd, median = (_number(seconds[k], 2) for k in ("mean", "sd", "median"))
    return [f"seconds per case: {mean} +/- {sd}, median {median}"]


def _number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.4g}"


def _is_number(value: object) -> TypeGuard[float]:
    """Tell numbers and flags (Python's and NumPy's) from text and None."""
    return isinstance(value, (Real, np.bool_))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if not isinstance(value, Real) or isinstance(value, Integral):
        return str(value)
    return "" if math.isnan(value) else f"{float(value):.6g}"


def _write_lines(path: Path, lines: Iterable[Sequence[str]]) -> Path:
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> Path:
    """Write beside the target and rename: an interrupted run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
