"""Plot results of many cases: box plots of a metric, curves over adaptation steps."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepreg_meta.evaluate.picture import save_figure

# Okabe and Ito's colours, safe for colour-blind readers; their yellow is left out, for
# it does not show on white. Then three that differ from them in lightness. Curves
# differ in their marks and styles too.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
    "#999933",
    "#999999",
)
_MARKS = "osD^vP*"
_STYLES = ("-", "--", "-.", ":")
WHISKERS = (10, 90)  # percentiles
MAX_THIN_LINES = 40  # cases that are drawn one by one; more of them as their range

Values = Iterable[float | None]
History = Sequence[float | None] | NDArray  # value i after i updates


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Give each name a colour; beyond the last colour they begin again."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def box_plot(
    path: str | Path,
    series: Mapping[str, Values],
    ylabel: str,
    title: str = "",
    seed: int = 0,
    colours: Mapping[str, str] | None = None,
) -> Path:
    """
    Draw one box per series: quartiles and median, whiskers at 10 and 90 %, all points.

    :param path: PNG or SVG to write.
    :param series: label -> values, one per case or landmark; None and nan are left
        out. The number of values stands under the label, which is broken at its commas:
        in one line those of neighbours would touch.
    :param ylabel: what is measured, with its unit.
    :param title: of the plot.
    :param seed: of the points' sideways jitter, so that a plot can be reproduced.
    :param colours: of the series by label; None takes one after the other.
    :return: the path.
    :raises ValueError: when there is no series, or none has a value.
    """
    samples = {name: _finite(values) for name, values in series.items()}
    _check_any(samples, f"box_plot {path}")
    colours = colours_of(samples) if colours is None else colours
    figure = Figure(figsize=(1.6 + 1.3 * len(samples), 4.2), layout="constrained")
    axes = figure.add_subplot()
    rng = np.random.default_rng(seed)
    for position, (name, sample) in enumerate(samples.items()):
        _box(axes, position, sample, colours[name], rng)
    names = [f"{name}, n = {len(sample)}" for name, sample in samples.items()]
    names = [name.replace(", ", "\n") for name in names]
    axes.set_xticks(range(len(samples)), names)
    axes.set_xlim(-0.6, len(samples) - 0.4)
    _finish(axes, ylabel, title)
    return save_figure(figure, path)


def grouped_box_plot(
    path: str | Path,
    groups: Mapping[str, Mapping[str, Values]],
    ylabel: str,
    title: str = "",
    seed: int = 0,
) -> Path:
    """
    Draw boxes side by side in groups, as in `box_plot`, a colour for each series.

    :param path: PNG or SVG to write.
    :param groups: group, such as a stage -> series, such as a method -> values. A
        series has one colour in all groups, and stands in the legend where there are
        several; a group need not have all of them.
    :param ylabel: what is measured, with its unit.
    :param title: of the plot.
    :param seed: of the points' sideways jitter.
    :return: the path.
    :raises ValueError: when there is nothing to draw.
    """
    samples = {
        group: {name: _finite(values) for name, values in series.items()}
        for group, series in groups.items()
    }
    flat = {(g, s): v for g, series in samples.items() for s, v in series.items()}
    _check_any(flat, f"grouped_box_plot {path}")
    names = list(dict.fromkeys(name for series in samples.values() for name in series))
    colours = colours_of(names)
    figure = Figure(figsize=(2.2 + 0.75 * len(flat), 4.2), layout="constrained")
    axes = figure.add_subplot()
    rng = np.random.default_rng(seed)
    position, ticks, labelled = 0.0, [], set()
    for series in samples.values():
        ticks.append(position + (len(series) - 1) / 2)
        for name, sample in series.items():
            label = "" if name in labelled else name
            _box(axes, position, sample, colours[name], rng, label)
            labelled.add(name)
            position += 1.0
        position += 0.7  # between groups
    axes.set_xticks(
        ticks, [_with_counts(g, list(s.values())) for g, s in samples.items()]
    )
    axes.set_xlim(-0.7, position - 1.0)
    if len(names) > 1:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    _finish(axes, ylabel, title)
    return save_figure(figure, path)


def curves(
    path: str | Path,
    histories: Mapping[str, Sequence[History]],
    xlabel: str = "adaptation updates",
    title: str = "",
) -> Path:
    """
    Draw quantities over the adaptation steps: mean over cases, and every case.

    :param path: PNG or SVG to write.
    :param histories: quantity (`loss`, `dsc`, ...; a panel each, its name and unit the
        y label) -> one sequence per case, value i after i updates. Sequences may
        differ in length; at each step the cases that have a value count.
    :param xlabel: of all panels.
    :param title: of the page.
    :return: the path.
    :raises ValueError: when there is nothing to draw.
    """
    one = {name: {"": sequences} for name, sequences in histories.items()}
    return step_curves(path, one, xlabel, title)


def step_curves(
    path: str | Path,
    histories: Mapping[str, Mapping[str, Sequence[History]]],
    xlabel: str = "adaptation updates",
    title: str = "",
) -> Path:
    """
    Draw quantities of several methods over the adaptation steps, as `curves` does.

    The mean is a thick line, a case a thin one; above 40 cases their range is shaded.

    :param path: PNG or SVG to write.
    :param histories: quantity, a panel each -> method -> one sequence per case.
    :param xlabel: of all panels.
    :param title: of the page.
    :return: the path.
    :raises ValueError: when there is nothing to draw.
    """
    tables = {
        name: {method: _table(rows) for method, rows in methods.items()}
        for name, methods in histories.items()
    }
    flat = {
        (n, m): t[np.isfinite(t)] for n, ts in tables.items() for m, t in ts.items()
    }
    _check_any(flat, f"curves {path}", "history")
    figure = Figure(figsize=(3.8 * len(tables), 3.4), layout="constrained")
    for index, (name, methods) in enumerate(tables.items()):
        axes = figure.add_subplot(1, len(tables), index + 1)
        for number, (method, table) in enumerate(methods.items()):
            _curve(axes, table, number, method)
        axes.set_xlabel(xlabel)
        locator = axes.xaxis.get_major_locator()
        if isinstance(locator, MaxNLocator):  # as Matplotlib's default is
            locator.set_params(integer=True)
        count = max(len(table) for table in methods.values())
        axes.legend(fontsize=8, frameon=False)
        _finish(axes, name, f"{count} cases" if count != 1 else "1 case")
    figure.suptitle(title)
    return save_figure(figure, path)


def _check_any(samples: Mapping, where: str, kind: str = "series") -> None:
    if not any(len(sample) for sample in samples.values()):
        raise ValueError(
            f"{where}: expected at least one {kind} with values, got {list(samples)}."
        )


def _finite(values: Values) -> NDArray[np.float64]:
    sample = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return sample[np.isfinite(sample)]


def _table(sequences: Sequence[History]) -> NDArray[np.float64]:
    """Pad to (cases, steps) with nan."""
    steps = max((len(sequence) for sequence in sequences), default=0)
    table = np.full((len(sequences), steps), np.nan)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = [np.nan if v is None else v for v in sequence]
    return table


def _with_counts(name: str, samples: Sequence[NDArray]) -> str:
    counts = sorted({len(sample) for sample in samples})
    shown = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{name}\nn = {shown}"


def _box(
    axes: Axes,
    position: float,
    sample: NDArray,
    colour: str,
    rng: np.random.Generator,
    label: str = "",
) -> None:
    """Draw a box and its points; an empty sample leaves its place empty."""
    parts = axes.boxplot(
        [sample],
        positions=[position],
        widths=0.55,
        whis=WHISKERS,
        showfliers=False,  # every point is drawn anyway
        patch_artist=True,
        manage_ticks=False,
    )
    for box in parts["boxes"]:
        box.set(facecolor=(colour, 0.25), edgecolor=colour, label=label or None)
    for line in parts["whiskers"] + parts["caps"]:
        line.set(color=colour)
    for line in parts["medians"]:
        line.set(color="black", linewidth=1.5)
    jitter = rng.uniform(-0.14, 0.14, size=len(sample))
    axes.plot(position + jitter, sample, "o", color=colour, ms=3.5, alpha=0.7, mew=0)


def _curve(axes: Axes, table: NDArray, number: int, method: str) -> None:
    steps = np.flatnonzero(np.isfinite(table).any(axis=0))
    if not len(steps):
        return
    colour = COLOURS[number % len(COLOURS)]
    shown = np.where(np.isfinite(table), table, np.nan)[:, steps]
    axes.plot(
        steps,
        np.nanmean(shown, axis=0),
        _STYLES[number % len(_STYLES)],
        marker=_MARKS[number % len(_MARKS)],
        color=colour,
        lw=2,
        ms=4,
        label=f"{method}, mean" if method else "mean",
        zorder=3,
    )
    if len(table) > MAX_THIN_LINES:
        low, high = np.nanmin(shown, axis=0), np.nanmax(shown, axis=0)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
    elif len(table) > 1:
        for case in shown:
            axes.plot(steps, case, color=colour, lw=0.5, alpha=0.5)


def _finish(axes: Axes, ylabel: str, title: str) -> None:
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", lw=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
