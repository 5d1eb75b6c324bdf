"""Figures of a study: curves over a setting, losses of the trainings, box plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plot import COLOURS, box_plot, colours_of
from deepreg_meta.study.folder import RUNS
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.table import case_means

_MARKS = "osD^vP*X<"  # beside colours, of which there are fewer than methods
_SECONDS = (0, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # ticks
_NEAR = 0.05  # of the height of a plot: closer names share a place
_STYLES = ("-", "--", ":", "-.")
# columns of `log.csv`: of every epoch, and of those that end with a validation
_LOSSES = {"loss": "training loss", "val_loss_unadapted": "validation loss"}


def setting_value(setting: str) -> float:
    """Read the number of a setting of one key: 0.04 of "weight=0.04"."""
    return float(setting.split("=")[-1])


def sweep_curves(
    path: str | Path,
    table: pd.DataFrame,
    columns: Mapping[str, tuple[str, float]],
    xlabel: str,
    methods: Sequence[str] = (),
) -> Path:
    """
    Draw what a sweep over one key shows: a panel per quantity, a curve per method.

    :param path: PNG or SVG to write.
    :param table: of `sweep_table`, with settings of one key.
    :param columns: y label -> (column, scale).
    :param xlabel: of all panels; its axis is logarithmic where all values are > 0.
    :param methods: as of `loss_curves`.
    :return: the path.
    """
    colours = colours_of(methods or dict.fromkeys(table["method"]))
    figure = Figure(figsize=(4.2 * len(columns), 3.4), layout="constrained")
    values = table["setting"].map(setting_value)
    for index, (ylabel, (column, scale)) in enumerate(columns.items()):
        axes = figure.add_subplot(1, len(columns), index + 1)
        for number, (method, group) in enumerate(table.groupby("method", sort=False)):
            order = np.argsort(values[group.index].to_numpy())
            axes.plot(
                values[group.index].to_numpy()[order],
                scale * group[column].to_numpy()[order],
                marker=_MARKS[number % len(_MARKS)],
                color=colours[method],
                label=str(method),
            )
        if (values > 0).all():
            axes.set_xscale("log")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    return save_figure(figure, path)


def loss_history(log: str | Path, column: str = "loss") -> pd.Series:
    """
    Read the losses of a training.

    :param log: `log.csv` of a run; of an epoch that was run twice, for the first time
        in vain, the last row counts.
    :param column: of the file.
    :return: loss by epoch, of those that have one; the total `loss` without the penalty
        of a kernel.
    """
    table = pd.read_csv(log).drop_duplicates("epoch", keep="last")
    table = table.set_index("epoch").sort_index()
    if "kernel" in table:
        # linear in the traces: it falls for ever and would hide whether the rest does
        table["loss"] -= table["kernel"]
    return table.get(column, pd.Series(dtype=float)).dropna()


def loss_curves(
    path: str | Path, output: Path, runs: Sequence[Run], methods: Sequence[str] = ()
) -> Path | None:
    """
    Draw the losses of trainings, which show whether they have converged.

    A method has its colour, a seed its style.

    :param path: PNG or SVG to write.
    :param output: folder of the study.
    :param runs: no two of one method and seed; those without a log are left out.
    :param methods: all of a study, whose figures then have the same colours; without,
        those of the runs.
    :return: the path, or None where no run has a log.
    """
    logs = {run: output / RUNS / run.name / "log.csv" for run in runs}
    logs = {run: log for run, log in logs.items() if log.is_file()}
    if not logs:
        return None
    colours = colours_of(methods or dict.fromkeys(run.method for run in runs))
    seeds = list(dict.fromkeys(run.seed for run in logs))
    styles = {seed: _STYLES[i % len(_STYLES)] for i, seed in enumerate(seeds)}
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    for index, (column, ylabel) in enumerate(_LOSSES.items()):
        axes = figure.add_subplot(1, len(_LOSSES), index + 1)
        for run, log in logs.items():
            history = loss_history(log, column)
            axes.plot(
                history.index + 1,
                history.to_numpy(),
                color=colours[run.method],
                ls=styles[run.seed],
                lw=1.0,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.3)
    shown = dict.fromkeys(run.method for run in logs)
    entries = [Line2D([], [], color=colours[name], label=name) for name in shown]
    if len(seeds) > 1:
        entries += [
            Line2D([], [], color="0.4", ls=styles[seed], label=f"seed {seed}")
            for seed in seeds
        ]
    figure.legend(handles=entries, loc="outside right upper", fontsize=8, frameon=False)
    return save_figure(figure, path)


def method_boxes(
    path: str | Path,
    rows: pd.DataFrame,
    column: str,
    ylabel: str,
    title: str = "",
    scale: float = 1.0,
    methods: Sequence[str] = (),
) -> Path:
    """
    Draw a box for each method on one test set.

    :param path: PNG or SVG to write.
    :param rows: of one training and one test set.
    :param column: what is drawn, a case counting once.
    :param ylabel: with the unit.
    :param title: of the plot.
    :param scale: factor.
    :param methods: as of `loss_curves`.
    :return: the path.
    """
    series = {
        str(method): (scale * case_means(own, column)).tolist()
        for method, own in rows.groupby("method", sort=False)
    }
    colours = colours_of(methods or series)
    return box_plot(path, series, ylabel, title, colours=colours)


def time_curves(
    path: str | Path,
    rows: pd.DataFrame,
    column: str = "dice",
    ylabel: str = "Dice (%)",
    scale: float = 100.0,
    title: str = "",
) -> Path:
    """
    Draw a mean against CPU seconds: a mark per method, a point per adaptation, each of
    which is named once, above its highest point.

    :param path: PNG or SVG to write.
    :param rows: of one test set, with `cpu_seconds`.
    :param column: what is drawn.
    :param ylabel: with the unit.
    :param scale: factor of the column.
    :param title: of the plot.
    :return: the path.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    highest: dict[str, tuple[float, float]] = {}
    for number, (method, own) in enumerate(rows.groupby("method", sort=False)):
        colour = COLOURS[number % len(COLOURS)]
        means = own.groupby("adaptation", sort=False)[["cpu_seconds", column]].mean()
        x, y = means["cpu_seconds"], scale * means[column]
        mark = _MARKS[number % len(_MARKS)]
        axes.scatter(x, y, color=colour, marker=mark, label=str(method), zorder=3)
        for name in filter(None, means.index):  # classical methods adapt nothing
            place = float(x[name]), float(y[name])
            highest[str(name)] = max(
                highest.get(str(name), place), place, key=lambda point: point[1]
            )
    low, high = axes.get_ylim()
    for names, place in _neighbours(highest, _NEAR * (high - low)):
        # aslant, so that the names of neighbours do not lie on each other
        axes.annotate(
            "\n".join(names), place, fontsize=6, color="0.3", rotation=45,
            xytext=(2, 4), textcoords="offset points", rotation_mode="anchor",
        )  # fmt: skip
    axes.set_xlabel("CPU seconds a pair")
    axes.set_xscale("symlog", linthresh=1.0)
    axes.margins(x=0.12, y=0.2)  # for the names
    axes.set_xlim(left=-0.1)
    axes.xaxis.set_major_locator(FixedLocator(_SECONDS))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return save_figure(figure, path)


def _neighbours(
    places: Mapping[str, tuple[float, float]], near: float
) -> list[tuple[list[str], tuple[float, float]]]:
    """
    Put names together whose places are too close for two of them.

    :param places: CPU seconds and value, by name.
    :param near: values that differ by less are close, where the seconds are too.
    :return: names and the place of the highest of them.
    """
    found: list[tuple[list[str], tuple[float, float]]] = []
    for name, (x, y) in sorted(places.items(), key=lambda one: -one[1][1]):
        for names, (x0, y0) in found:
            if abs(x - x0) <= 0.2 * max(x, x0, 1.0) and abs(y - y0) <= near:
                names.append(name)
                break
        else:
            found.append(([name], (x, y)))
    return found


def epoch_curves(
    path: str | Path,
    means: pd.DataFrame,
    columns: Mapping[str, tuple[str, float]],
    levels: Mapping[str, tuple[str, int]] | None = None,
    title: str = "",
) -> Path:
    """
    Draw results against epochs: a panel per quantity, a curve per method.

    :param path: PNG or SVG to write.
    :param means: of `reach.epoch_means`; a curve is the mean over the seeds, in a band
        from the least to the largest. A method of one checkpoint has no curve.
    :param columns: y label -> (column, scale).
    :param levels: drawn as dotted lines through all epochs: label -> (method, epoch).
    :param title: of the figure.
    :return: the path.
    """
    figure = Figure(figsize=(4.2 * len(columns), 3.6), layout="constrained")
    for index, (ylabel, (column, scale)) in enumerate(columns.items()):
        axes = figure.add_subplot(1, len(columns), index + 1)
        number = 0
        for method, own in means.groupby("method", sort=False):
            curve = scale * own.groupby("epoch")[column].agg(["mean", "min", "max"])
            if len(curve) < 2:
                continue
            colour = COLOURS[number % len(COLOURS)]
            mark = _MARKS[number % len(_MARKS)]
            axes.plot(curve.index, curve["mean"], color=colour, marker=mark, ms=4,
                      label=str(method) if index == 0 else None)  # fmt: skip
            axes.fill_between(
                curve.index, curve["min"], curve["max"], color=colour, alpha=0.2, lw=0
            )
            number += 1
        for name, (method, epoch) in (levels or {}).items():
            own = means[(means["method"] == method) & (means["epoch"] == epoch)]
            if len(own):
                colour = COLOURS[number % len(COLOURS)]
                axes.axhline(scale * own[column].mean(), color=colour, ls=":", lw=1.2,
                             label=name if index == 0 else None)  # fmt: skip
                number += 1
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_xlim(left=-0.3)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return save_figure(figure, path)
