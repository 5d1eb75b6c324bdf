"""Draw a segmented image: contours of what was found, and of the truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from deepreg_meta.evaluate import panel
from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plane import Slice, choose_planes

# Okabe and Ito's, safe for colour-blind readers; of more structures they come again
COLOURS = ("#D55E00", "#56B4E9", "#F0E442", "#009E73", "#CC79A7", "#E69F00", "#0072B2")
DPI = 100
_INCH, _LEGEND, _TITLE = 3.2, 0.55, 0.45  # of a panel's width, and of the page
_NAMED = 12  # structures that a legend has room for


class Maps(NamedTuple):
    """Index maps of one image, (d1, d2, d3)."""

    found: NDArray
    truth: NDArray | None


def segmentation_figure(
    path: Path,
    image: NDArray,
    maps: Maps,
    names: Mapping[int, str],
    spacing: NDArray,
    orientation: str | None = None,
    title: str = "",
) -> Path:
    """
    Draw an image, and below it the contours of its structures, on three planes.

    :param path: target, PNG.
    :param image: (d1, d2, d3), any range of intensities.
    :param maps: what was found, dashed, and the truth, solid.
    :param names: of the structures, by value.
    :param spacing: (3,), voxel sides.
    :param orientation: see `case_figure`.
    :param title: of the page.
    :return: the path.
    """
    shown = maps.found if maps.truth is None else maps.truth
    inside = (shown > 0).astype(np.float32)
    planes = choose_planes(image.shape, spacing, inside, orientation)
    limits = panel.window(image, panel.around(inside))
    figure, rows = _new_page(planes, title)
    colours = {value: COLOURS[i % len(COLOURS)] for i, value in enumerate(names)}
    for plain, drawn, plane in zip(*rows, planes, strict=True):
        for axes in (plain, drawn):
            panel.show(axes, plane, image, limits)
            panel.draw_letters(axes, plane)
            axes.set(**plane.limits, xticks=[], yticks=[])
        plain.set_title(f"{plane.name} {plane.index}", fontsize=9)
        _draw_structures(drawn, plane, maps, colours)
    _draw_legend(figure, names, colours, maps.truth is not None)
    return save_figure(figure, path, dpi=DPI)


def _new_page(planes: list[Slice], title: str) -> tuple[Figure, list[list[Axes]]]:
    """Lay out two rows of panels, a column per plane; a length is as long in each."""
    inch = _INCH / max(plane.size[1] for plane in planes)
    width = sum(plane.size[1] * inch for plane in planes)
    height = 2 * float(np.clip(max(p.size[0] for p in planes) * inch, 1.0, 6.0))
    total = height + _TITLE + _LEGEND
    figure = Figure(figsize=(max(width, 4.5), total), facecolor="white")
    grid = figure.subplots(
        2,
        len(planes),
        squeeze=False,
        width_ratios=[plane.size[1] for plane in planes],
        gridspec_kw=dict(
            left=0.01, right=0.99, bottom=_LEGEND / total,
            top=1 - 1.4 * _TITLE / total, hspace=0.03, wspace=0.03,
        ),
    )  # fmt: skip
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / total, va="top")
    return figure, [list(row) for row in grid]


def _draw_structures(
    axes: Axes, plane: Slice, maps: Maps, colours: Mapping[int, str]
) -> None:
    """Outline the structures that the plane shows, truth first."""
    cut = [own for own in maps if own is not None]
    there = {int(value) for own in cut for value in np.unique(plane.take(own))}
    for value in there & set(colours):
        labels: dict[str, NDArray | None] = {"warped": maps.found == value}
        if maps.truth is not None:
            labels["fixed"] = maps.truth == value
        panel.draw_contours(axes, plane, labels, colors=colours[value])


def _draw_legend(
    figure: Figure, names: Mapping[int, str], colours: Mapping[int, str], truth: bool
) -> None:
    """Name the colours, and the lines where there are two kinds of them."""
    handles = [
        Line2D([], [], color=colours[value], lw=3, label=name)
        for value, name in list(names.items())[:_NAMED]
    ]
    if truth:
        for kind, word in (("fixed", "truth"), ("warped", "fused")):
            line = panel.CONTOURS[kind][1]
            handles.append(Line2D([], [], color="black", ls=line, label=word))
    figure.legend(
        handles=handles, loc="lower center", ncols=max(min(len(handles), 6), 1),
        fontsize=9, frameon=False, borderaxespad=0.3,
    )  # fmt: skip
