"""One picture of some pairs: how they lie before any network."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate import panel
from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plane import Slice, choose_planes

_TILES_PER_ROW = 2
_PANEL_INCH = 1.75
_TITLES = ("fixed", "moving, aligned", "first label")
_LABELS = {"fixed": "label of the fixed image", "before": "of the moving one, aligned"}


@dataclass(frozen=True, eq=False)
class Tile:
    """
    One plane of a pair; of the volumes no more than the plane is kept.

    :param title: of the tile.
    :param plane: where it was cut.
    :param images: fixed and moving, one voxel thick.
    :param windows: intensities of black and white of both.
    :param labels: by key of `panel.CONTOURS`, one voxel thick.
    :param text: below the title, such as a score.
    """

    title: str
    plane: Slice
    images: tuple[NDArray, NDArray]
    windows: tuple[panel.Window, panel.Window]
    labels: dict[str, NDArray | None]
    text: str = ""


def make_tile(
    title: str,
    images: tuple[NDArray, NDArray],
    labels: tuple[NDArray | None, NDArray | None],
    spacing_mm: ArrayLike,
    orientation: str | None,
    text: str = "",
) -> Tile:
    """
    Cut the plane of a pair that is drawn: through the middle of the fixed label.

    :param title: of the tile.
    :param images: fixed and aligned moving image, (d1, d2, d3).
    :param labels: the first labels of both, likewise; None without.
    :param spacing_mm: (3,).
    :param orientation: where the axes point; None if unknown.
    :param text: below the title.
    """
    sides = tuple(np.asarray(spacing_mm, float))
    whole = choose_planes(images[0].shape, sides, labels[0], orientation)[0]
    shape = tuple(1 if i == whole.axis else n for i, n in enumerate(whole.shape))
    near = panel.around(labels[0])  # the moving label lies there too, more or less

    def cut(volume: NDArray) -> NDArray:
        return np.take(volume, [whole.index], axis=whole.axis)

    return Tile(
        title=title,
        plane=replace(whole, index=0, shape=shape),
        images=(cut(images[0]), cut(images[1])),
        windows=(panel.window(images[0], near), panel.window(images[1], near)),
        labels={
            name: None if label is None else cut(label)
            for name, label in zip(_LABELS, labels, strict=True)
        },
        text=text,
    )


def draw_overview(path: str | Path, tiles: list[Tile]) -> Path:
    """
    Draw pairs side by side: fixed, moving, and the outlines of the first labels.

    :param path: ends in .png.
    :param tiles: at least one.
    :return: the path.
    """
    num_rows = -(-len(tiles) // _TILES_PER_ROW)
    num_columns = min(len(tiles), _TILES_PER_ROW)
    shapes = [tile.plane.size for tile in tiles]
    tallest = max(height / width for height, width in shapes)
    row_inch = _PANEL_INCH * float(np.clip(tallest, 0.5, 1.5)) + 0.45
    size = (num_columns * 3 * _PANEL_INCH, num_rows * row_inch + 0.4)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    parts = figure.subfigures(num_rows, num_columns, squeeze=False).ravel()
    for part, tile in zip(parts, tiles, strict=False):
        part.suptitle("   ".join(filter(None, (tile.title, tile.text))), fontsize=8)
        for column, axes in enumerate(part.subplots(1, 3)):
            _draw(axes, tile, column)
    _draw_legend(figure, tiles)
    return save_figure(figure, path)


def _draw(axes: Axes, tile: Tile, column: int) -> None:
    image = 1 if column == 1 else 0
    panel.show(axes, tile.plane, tile.images[image], tile.windows[image])
    if column == 2:
        panel.draw_contours(axes, tile.plane, tile.labels)
    panel.draw_letters(axes, tile.plane)
    axes.set(xticks=[], yticks=[], **tile.plane.limits)
    axes.set_title(_TITLES[column], fontsize=7, pad=2)


def _draw_legend(figure: Figure, tiles: list[Tile]) -> None:
    shown = [name for name in _LABELS if any(t.labels[name] is not None for t in tiles)]
    handles = []
    for name in shown:
        colour, style, width = panel.CONTOURS[name]
        handles.append(
            Line2D(
                [],
                [],
                color=colour,
                linestyle=style,
                lw=width,
                path_effects=panel.halo(width),
                label=_LABELS[name],
            )
        )
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2,
            fontsize=8,
            frameon=False,
        )
