"""Lay out a case's page: where the panels stand, and what explains them."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from deepreg_meta.evaluate import field_panel as field
from deepreg_meta.evaluate import panel
from deepreg_meta.evaluate.plane import Slice

COLUMN_TITLES = (
    "fixed",
    "moving, aligned",
    "warped",
    "contours",
    "checkerboard",
    "displacement",
    "deformed grid",
    "Jacobian determinant",
)
NUM_COLUMNS = len(COLUMN_TITLES)
PANEL_INCH = 1.9
_LABEL_NAMES = {
    "fixed": "fixed label",
    "before": "moving label before registration",
    "warped": "moving label warped",
}
# of the page, in inches
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP, _ROW_GAP = 0.62, 0.15, 0.72, 0.95, 0.09, 0.36


def palette() -> NDArray[np.uint8]:
    """
    Collect the colours of a page: all of them at three bytes a pixel are too heavy.

    :return: (n <= 256, 3): greys, both colour maps, and the lines with their rims.
    """
    lines = [colour for colour, _, _ in panel.CONTOURS.values()]
    parts = [np.repeat(np.linspace(0, 1, 101)[:, None], 3, axis=1)]
    for colours in (colormaps[field.LENGTH_COLOURS], field.jacobian_colours()):
        parts.append(colours(np.linspace(0, 1, 60))[:, :3])
    for colour in (*lines, panel.FRAME_COLOUR, field.GRID_COLOUR):
        shares = np.array([[1.0], [0.75], [0.5]])
        for ground in (0.0, 1.0):  # where a line's rim meets black or white
            parts.append(shares * to_rgb(colour) + (1 - shares) * ground)
    return np.unique(np.round(255 * np.concatenate(parts)), axis=0).astype(np.uint8)


def new_page(
    planes: list[Slice], title: str
) -> tuple[Figure, list[list[Axes]], tuple[Axes, Axes]]:
    """Lay out the panels so that one length is as long in every panel of the page."""
    inch = PANEL_INCH / max(plane.size[1] for plane in planes)
    # a plane far higher than wide, or flatter than its tick labels, keeps to the page
    heights = [float(np.clip(plane.size[0] * inch, 0.8, 5.0)) for plane in planes]
    width = _LEFT + NUM_COLUMNS * (PANEL_INCH + _GAP) + _RIGHT
    total = _TOP + sum(heights) + _ROW_GAP * (len(planes) - 1) + _BOTTOM
    figure = Figure(figsize=(width, total), facecolor="white")

    def place(column: int, bottom: float, height: float) -> Axes:
        left = _LEFT + column * (PANEL_INCH + _GAP)
        return figure.add_axes(
            (left / width, bottom / total, PANEL_INCH / width, height / total)
        )

    grid, top = [], total - _TOP
    for height in heights:
        grid.append([place(column, top - height, height) for column in range(8)])
        top -= height + _ROW_GAP
    for axes, name in zip(grid[0], COLUMN_TITLES, strict=True):
        axes.set_title(name, fontsize=10)
    bars = place(5, 0.5, 0.11), place(7, 0.5, 0.11)
    figure.suptitle(title, fontsize=12, y=1 - 0.12 / total, va="top")
    return figure, grid, bars


def finish_row(row: list[Axes], plane: Slice, unit: str) -> None:
    """Turn the panels the right way round, and name plane and axes at the left."""
    for axes in row:
        axes.set(**plane.limits)
        axes.tick_params(labelsize=7, length=2, pad=1)
        for spine in axes.spines.values():
            spine.set_linewidth(0.5)
    for axes in row[1:]:
        axes.tick_params(labelleft=False, labelbottom=False, length=0)
    name = (
        f"{plane.name} {plane.index}"
        if plane.letters
        else f"{plane.name} = {plane.index}"
    )
    row[0].set_xlabel(f"axis {plane.column_axis} ({unit})", fontsize=7, labelpad=1)
    row[0].set_ylabel(f"{name}\naxis {plane.row_axis} ({unit})", fontsize=8, labelpad=2)


def draw_bars(
    bars: tuple[Axes, Axes], colours: tuple[AxesImage, AxesImage], unit: str
) -> None:
    """Put colour bars below the columns that they explain."""
    names = (f"displacement ({unit})", "determinant (1: volume kept)")
    for axes, image, name in zip(bars, colours, names, strict=True):
        bar = axes.figure.colorbar(image, cax=axes, orientation="horizontal")
        bar.set_label(name, fontsize=8)
        axes.tick_params(labelsize=7, length=2, pad=1)
        bar.ax.spines["outline"].set_linewidth(0.5)
    low, end = colours[1].get_clim()
    bars[1].xaxis.set_major_locator(FixedLocator([low, low**0.5, 1, end**0.5, end]))
    bars[1].xaxis.set_minor_locator(NullLocator())
    bars[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def draw_legend(figure: Figure, labels: Sequence[str], has_frames: bool) -> None:
    """
    Explain lines and colours below the panels.

    :param figure: of `new_page`.
    :param labels: those that are drawn, keys of CONTOURS.
    :param has_frames: whether lines mark frames.
    """
    handles: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=style,
            lw=width,
            path_effects=panel.halo(width),
            label=_LABEL_NAMES[name],
        )
        for name, (colour, style, width) in panel.CONTOURS.items()
        if name in labels
    ]
    if has_frames:
        colour = panel.FRAME_COLOUR
        handles.append(Line2D([], [], color=colour, label="frames seen"))
    handles.append(
        Patch(facecolor=field.FOLD_COLOUR, label="determinant ≤ 0: the field folds")
    )
    left = _LEFT / figure.get_figwidth()
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(left, 0.22 / figure.get_figheight()),
        ncols=3,
        fontsize=9,
        frameon=False,
        handlelength=3,
        borderaxespad=0,
    )
