"""The tables of a tracked sequence: per pair, in the mean, and of the drift."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plot import COLOURS
from deepreg_meta.evaluate.report import (
    summary_table,
    write_columns,
    write_csv,
    write_summary,
)
from deepreg_meta.evaluate.statistics import summarize
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.sequence.frames import FrameSequence

Row = Mapping[str, Any]

TABLE = "tracking.csv"
# heading, columns as if nothing moved and by the tracking, digits
_COMPARED = (
    ("MSE (1e-3)", "mse_still", "mse_tracked", 1e3, 3),
    ("NLCC", "nlcc_still", "nlcc_tracked", 1.0, 4),
    ("endpoint error ({unit})", "epe_still_mm", "epe_tracked_mm", 1.0, 3),
    ("Dice of later labels", "dsc_still", "dsc_tracked", 1.0, 3),
    ("drift of points ({unit})", "error_still_mm", "error_tracked_mm", 1.0, 3),
)
_ALONE = (
    ("motion per frame ({unit})", "motion_mean_mm", 1.0, 3),
    ("speed ({speed})", "speed_mean", 1.0, 3),
    ("folds (%)", "folds", 100.0, 3),
    ("seconds per pair", "seconds", 1.0, 2),
)


def write_tables(
    folder: Path,
    sequence: FrameSequence,
    rows: Sequence[Row],
    drift: Sequence[Row] = (),
    title: str = "",
) -> str:
    """
    Write `tracking.csv`, `summary.csv`, `summary.md`, `columns.md`, `tracking.png`, and
    `drift.csv` where there is any.

    :param folder: of the results.
    :param sequence: the frames.
    :param rows: one per pair, see `measure_pair`.
    :param drift: of labels and points, see `drift`.
    :param title: of the table.
    :return: the table as Markdown.
    """
    unit = sequence.unit
    write_csv(folder / TABLE, rows, unit=unit)
    names = {name for row in [*rows, *drift] for name in row}
    if drift:
        write_csv(folder / "drift.csv", drift, unit=unit)
    write_columns(folder / "columns.md", sorted(names), unit)
    numbers = [name for name in rows[0] if name not in ("pair", "frame", "time_s")]
    write_summary(folder / "summary.csv", summary_table(rows, numbers, unit=unit))
    text = format_table(sequence, rows, drift, title)
    with whole_file(folder / "summary.md") as part:
        part.write_text(f"{text}\n", encoding="utf-8")
    draw_measures(folder / "tracking.png", sequence, rows)
    return text


def format_table(
    sequence: FrameSequence,
    rows: Sequence[Row],
    drift: Sequence[Row] = (),
    title: str = "",
) -> str:
    """
    Lay out the means over the sequence as Markdown.

    :param sequence: the frames.
    :param rows: one per pair.
    :param drift: of labels and points.
    :param title: first line, or none.
    :return: mean ± standard deviation over the pairs (of the drift over what was
        compared), without and with the tracking.
    """
    units = {"unit": sequence.unit, "speed": sequence.speed_unit}
    lines = [title, ""] if title else []
    lines += ["| | as if nothing moved | tracked |", "|---|---|---|"]
    everything = [*rows, *drift]
    for heading, still, tracked, scale, digits in _COMPARED:
        cells = [_cell(everything, name, scale, digits) for name in (still, tracked)]
        if any(cells):
            lines.append(f"| {heading.format(**units)} | {' | '.join(cells)} |")
    for heading, name, scale, digits in _ALONE:
        cell = _cell(rows, name, scale, digits)
        lines.append(f"| {heading.format(**units)} | | {cell} |")
    return "\n".join(lines)


def _cell(rows: Sequence[Row], name: str, scale: float, digits: int) -> str:
    """Return mean ± SD, or nothing."""
    values = (row[name] for row in rows if row.get(name) is not None)
    found = summarize(scale * value for value in values)
    if not found["n"]:
        return ""
    text = f"{found['mean']:.{digits}f}"
    return text if math.isnan(found["sd"]) else f"{text} ± {found['sd']:.{digits}f}"


def draw_measures(path: Path, sequence: FrameSequence, rows: Sequence[Row]) -> None:
    """
    Draw the measures over time.

    :param path: PNG to write.
    :param sequence: the frames.
    :param rows: one per pair.
    """
    shown = [
        (heading.format(unit=sequence.unit), [still, tracked], scale)
        for heading, still, tracked, scale, _ in _COMPARED
        if tracked in rows[0]
    ]
    shown.append((f"mean speed ({sequence.speed_unit})", ["speed_mean"], 1.0))
    times = [row.get("time_s", row["frame"]) for row in rows]
    figure = Figure(figsize=(3.6 * len(shown), 3.0), layout="constrained")
    for number, (heading, names, scale) in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        for name in names:
            values = scale * np.array([row[name] for row in rows], float)
            is_still = "_still" in name
            axes.plot(
                times,
                values,
                "--" if is_still else "-",
                marker="o",
                ms=3,
                color=COLOURS[0] if is_still else COLOURS[1],
                label="as if nothing moved" if is_still else "tracked",
            )
        axes.set_xlabel("frame" if sequence.time_step_s is None else "time (s)")
        axes.set_title(heading, fontsize=10)
        highest = max(axes.get_ylim()[1], 0.0)
        axes.set_ylim(0.0, 1.05 * highest if highest else 1.0)
        axes.grid(axis="y", lw=0.4, alpha=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path)
