"""The tables of a split, or of a single pair."""

from pathlib import Path
from typing import Any

import numpy as np

from deepreg_meta.evaluate.plot import curves
from deepreg_meta.evaluate.report import (
    format_terminal,
    summary_table,
    write_columns,
    write_csv,
)
from deepreg_meta.evaluate.report import write_summary as write_table
from deepreg_meta.results.case import CaseResult


def _step_rows(result: CaseResult, names: list[str]) -> list[dict]:
    """Turn the history of an adaptation into documented rows."""
    keys = {"total": "loss"}
    fixed = {"total", "tre_mm", "dsc", "num_frames", "scale"}
    keys |= {name: f"loss_{name}" for name in names if name not in fixed}
    rows = []
    for step, values in enumerate(result.outputs["history"]):
        row: dict[str, Any] = {"case": result.case.name, "step": step}
        row |= {keys.get(n, n): float(v) for n, v in zip(names, values, strict=True)}
        rows.append(row)
    return rows


def write_summary(
    folder: Path, results: list[CaseResult], history_names: list[str], title: str = ""
) -> str:
    """
    Write the tables of a split.

    :param folder: of all results.
    :param results: one per case, scored.
    :param history_names: columns of the histories.
    :param title: of the table.
    :return: a short table for the terminal.
    """
    unit = results[0].unit
    rows = [result.case_row for result in results]
    labels = [row for result in results for row in result.label_rows]
    landmarks = [row for result in results for row in result.landmark_rows]
    steps = [row for r in results for row in _step_rows(r, history_names)]
    write_csv(folder / "metrics.csv", rows, unit=unit)
    # channels without names of their own are the gland and its landmarks
    named = [row["label"] for row in labels]
    first = named[0] if named and named[0] != "label_0" else ""
    if labels:
        write_csv(folder / "labels.csv", labels, unit=unit)
    if landmarks:
        write_csv(folder / "landmarks.csv", landmarks, unit=unit)
    if steps:
        write_csv(folder / "adaptation.csv", steps, unit=unit)
        dice = f"Dice of {first or 'the gland'}"
        _draw_histories(folder / "adaptation.png", results, history_names, dice)
    names = {name for row in [*rows, *labels, *landmarks, *steps] for name in row}
    write_columns(folder / "columns.md", sorted(names), unit)
    columns = dict.fromkeys(name for row in rows for name in row)
    numbers = [name for name in columns if name not in ("case", "warning")]
    write_table(folder / "summary.csv", summary_table(rows, numbers, unit=unit))
    shown = first if len(set(named)) > 1 else ""
    return format_terminal(rows, landmarks, unit=unit, title=title, first_label=shown)


def _draw_histories(
    path: Path, results: list[CaseResult], names: list[str], dice: str
) -> None:
    columns = {name: index for index, name in enumerate(names)}
    shown = [("loss", "total")]
    if np.isfinite(results[0].outputs["history"][:, columns["dsc"]]).all():
        shown.append((dice, "dsc"))
    histories = {
        title: [result.outputs["history"][:, columns[name]] for result in results]
        for title, name in shown
    }
    curves(path, histories)
