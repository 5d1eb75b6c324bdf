"""Plot results of many cases: box plots of a metric, curves over adaptation steps."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepreg_meta.evaluate.figure import save_figure

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")
WHISKERS = (10, 90)  # percentiles

History = Sequence[float | None] | NDArray  # value i after i updates


def box_plot(
    path: str | Path,
    series: Mapping[str, Iterable[float | None]],
    ylabel: str,
    title: str = "",
    seed: int = 0,
) -> Path:
    """
    Draw one box per series: quartiles and median, whiskers at 10 and 90 %, all points.

    :param path: PNG to write.
    :param series: label -> values, one per case or landmark; None and nan are left
        out. The number of values stands under the label.
    :param ylabel: what is measured, with its unit.
    :param title: of the plot.
    :param seed: of the points' sideways jitter, so that a plot can be reproduced.
    :return: the path.
    :raises ValueError: when there is no series, or none has a value.
    """
    samples = {name: _finite(values) for name, values in series.items()}
    if not any(len(sample) for sample in samples.values()):
        raise ValueError(
            f"box_plot {path}: expected at least one series with values, "
            f"got {list(series)}."
        )
    figure = Figure(figsize=(1.6 + 1.3 * len(samples), 4.2), layout="constrained")
    axes = figure.add_subplot()
    rng = np.random.default_rng(seed)
    for position, sample in enumerate(samples.values()):
        colour = COLOURS[position % len(COLOURS)]
        if len(sample):
            _box(axes, position, sample, colour)
        jitter = rng.uniform(-0.14, 0.14, size=len(sample))
        axes.plot(position + jitter, sample, "o", color=colour, ms=4, alpha=0.7, mew=0)
    names = [f"{name}\nn = {len(sample)}" for name, sample in samples.items()]
    axes.set_xticks(range(len(samples)), names)
    axes.set_xlim(-0.6, len(samples) - 0.4)
    _finish(axes, ylabel, title)
    return save_figure(figure, path)


def curves(
    path: str | Path,
    histories: Mapping[str, Sequence[History]],
    xlabel: str = "adaptation updates",
    title: str = "",
) -> Path:
    """
    Draw quantities over the adaptation steps: mean over cases, and their range.

    :param path: PNG to write.
    :param histories: quantity (`loss`, `dsc`, ...; a panel each, its name and unit the
        y label) -> one sequence per case, value i after i updates. Sequences may
        differ in length; at each step the cases that have a value count.
    :param xlabel: of all panels.
    :param title: of the page.
    :return: the path.
    :raises ValueError: when there is nothing to draw.
    """
    tables = {name: _table(sequences) for name, sequences in histories.items()}
    if not any(np.isfinite(table).any() for table in tables.values()):
        raise ValueError(
            f"curves {path}: expected at least one history with values, "
            f"got {list(histories)}."
        )
    figure = Figure(figsize=(3.8 * len(tables), 3.4), layout="constrained")
    for index, (name, table) in enumerate(tables.items()):
        axes = figure.add_subplot(1, len(tables), index + 1)
        _range(axes, table, COLOURS[index % len(COLOURS)])
        axes.set_xlabel(xlabel)
        locator = axes.xaxis.get_major_locator()
        if isinstance(locator, MaxNLocator):  # as Matplotlib's default is
            locator.set_params(integer=True)
        _finish(axes, name, f"{len(table)} cases" if len(table) != 1 else "1 case")
    figure.suptitle(title)
    return save_figure(figure, path)


def _finite(values: Iterable[float | None]) -> NDArray[np.float64]:
    sample = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return sample[np.isfinite(sample)]


def _table(sequences: Sequence[History]) -> NDArray[np.float64]:
    """Pad to (cases, steps) with nan."""
    steps = max((len(sequence) for sequence in sequences), default=0)
    table = np.full((len(sequences), steps), np.nan)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = [np.nan if v is None else v for v in sequence]
    return table


def _box(axes: Axes, position: int, sample: NDArray, colour: str) -> None:
    parts = axes.boxplot(
        [sample],
        positions=[position],
        widths=0.5,
        whis=WHISKERS,
        showfliers=False,  # every point is drawn anyway
        patch_artist=True,
        manage_ticks=False,
    )
    for box in parts["boxes"]:
        box.set(facecolor=(colour, 0.25), edgecolor=colour)
    for line in parts["whiskers"] + parts["caps"]:
        line.set(color=colour)
    for line in parts["medians"]:
        line.set(color="black", linewidth=1.5)


def _range(axes: Axes, table: NDArray, colour: str) -> None:
    steps = np.flatnonzero(np.isfinite(table).any(axis=0))
    if not len(steps):
        return
    shown = np.where(np.isfinite(table), table, np.nan)[:, steps]
    mean, low, high = (f(shown, axis=0) for f in (np.nanmean, np.nanmin, np.nanmax))
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0, label="range")
    axes.plot(steps, mean, "o-", color=colour, ms=3, label="mean")
    axes.legend(fontsize=8, frameon=False)


def _finish(axes: Axes, ylabel: str, title: str) -> None:
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", lw=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
