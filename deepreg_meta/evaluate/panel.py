"""Draw one panel of a case's page: a plane of an image and what lies on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from deepreg_meta.evaluate.metric import FOREGROUND, centroid

Labels = Mapping[str, NDArray | None]  # keys of CONTOURS
Window = tuple[float, float]  # intensities of black and white

CONTOURS: dict[str, tuple[str, Literal["-", "--"]]] = {
    "fixed": ("#2ee62e", "-"),
    "before": ("#ffd60a", "--"),
    "warped": ("#ff4d4d", "-"),
}
FRAME_COLOUR = "#4cc9f0"
GRID_LINES = 14  # along the shorter side of a slice
TILES = 6  # of the checkerboard, along the shorter side


@dataclass(frozen=True)
class Slice:
    """One plane of a volume: `axis` and `index` fix it, rows and columns span it."""

    axis: int
    index: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @property
    def row_axis(self) -> int:
        return 0 if self.axis != 0 else 2

    @property
    def column_axis(self) -> int:
        return 1 if self.axis != 1 else 2

    def take(self, volume: NDArray) -> NDArray:
        """Cut (d1, d2, d3, ...) to (rows, columns, ...)."""
        plane = np.take(volume, self.index, axis=self.axis)
        # what is left is in ascending order of axes; turn it if rows come second
        return plane if self.row_axis < self.column_axis else np.swapaxes(plane, 0, 1)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in lengths: voxel centres at index * spacing."""
        rows, columns = self.shape[self.row_axis], self.shape[self.column_axis]
        dr, dc = self.spacing[self.row_axis], self.spacing[self.column_axis]
        return (-dc / 2, (columns - 0.5) * dc, (rows - 0.5) * dr, -dr / 2)

    @property
    def size(self) -> tuple[float, float]:
        """Height and width in lengths."""
        left, right, bottom, top = self.extent
        return bottom - top, right - left

    def coordinates(self) -> tuple[NDArray, NDArray]:
        """Lengths of the rows' and of the columns' voxel centres."""
        return (
            np.arange(self.shape[self.row_axis]) * self.spacing[self.row_axis],
            np.arange(self.shape[self.column_axis]) * self.spacing[self.column_axis],
        )


def choose_planes(
    shape: tuple[int, ...],
    spacing: Sequence[float] | NDArray,
    label: NDArray | None,
) -> list[Slice]:
    """Three orthogonal planes; the one across a singleton axis alone in 2-D."""
    centre = None if label is None else centroid(label)
    if centre is None:
        centre = (np.array(shape) - 1) / 2
    index = np.clip(np.rint(centre), 0, np.array(shape) - 1).astype(int)
    flat = [axis for axis in range(3) if shape[axis] == 1]
    axes = flat[-1:] if flat else [2, 1, 0]
    return [Slice(axis, int(index[axis]), shape, tuple(spacing)) for axis in axes]


def around(label: NDArray | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mark a label and two voxels around it; without a label, everything."""
    if label is None or not (label >= FOREGROUND).any():
        return np.ones(shape, dtype=bool)
    return binary_dilation(label >= FOREGROUND, iterations=2)


def window(image: NDArray, gland: NDArray[np.bool_]) -> Window:
    """
    Choose the intensities of black and white.

    Black leaves out the lowest 1 % of the image, white the highest 1 % of the gland's
    neighbourhood: bright fat elsewhere must not leave the gland in the dark, and what
    lies around it has to stay visible.
    """
    everywhere, near = np.isfinite(image), np.isfinite(image) & gland
    low = float(np.percentile(image[everywhere], 1)) if everywhere.any() else 0.0
    high = float(np.percentile(image[near], 99)) if near.any() else low
    return (low, high) if high > low else (low, low + 1.0)


def _grey(plane: NDArray, limits: Window) -> NDArray:
    return np.clip((plane - limits[0]) / (limits[1] - limits[0]), 0, 1)


def show(axes: Axes, plane: Slice, image: NDArray, limits: Window) -> None:
    """Show a plane of an image in grey."""
    axes.imshow(
        _grey(plane.take(image), limits),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=plane.extent,
        interpolation="nearest",  # no smoothing: what is shown is what is there
    )


def draw_frames(
    axes: Axes, plane: Slice, frames: Sequence[int], frame_axis: int | None
) -> None:
    """Mark the lines in which the sampled frames cut the plane."""
    if not frames or frame_axis is None or frame_axis == plane.axis:
        return
    draw = axes.axhline if frame_axis == plane.row_axis else axes.axvline
    for frame in frames:
        draw(frame * plane.spacing[frame_axis], color=FRAME_COLOUR, lw=0.5, alpha=0.65)


def draw_cross(axes: Axes, plane: Slice, planes: list[Slice]) -> None:
    """Dot the lines in which the page's other planes cut this one."""
    for other in planes:
        if other.axis != plane.axis:
            draw = axes.axhline if other.axis == plane.row_axis else axes.axvline
            position = other.index * plane.spacing[other.axis]
            draw(position, color="white", lw=0.6, ls=":", alpha=0.6)


def draw_contours(axes: Axes, plane: Slice, labels: Labels) -> None:
    """Draw the outlines of the labels that the plane shows."""
    rows, columns = (
        np.concatenate([[x[0] - dx], x, [x[-1] + dx]])
        for x, dx in zip(
            plane.coordinates(),
            (plane.spacing[plane.row_axis], plane.spacing[plane.column_axis]),
            strict=True,
        )
    )
    for name, (colour, style) in CONTOURS.items():
        label = labels[name]
        # a border of background closes the contour of a label that leaves the image
        cut = None if label is None else np.pad(plane.take(label), 1)
        if cut is None or not cut.max() > FOREGROUND:
            continue  # contour() warns where there is no line to draw
        axes.contour(
            columns,
            rows,
            cut,
            levels=[FOREGROUND],
            colors=colour,
            linestyles=style,
            linewidths=1.3,
        )
    left, right, bottom, top = plane.extent
    axes.set(xlim=(left, right), ylim=(bottom, top))


def draw_checkerboard(
    axes: Axes,
    plane: Slice,
    images: tuple[NDArray, NDArray],
    limits: tuple[Window, Window],
) -> None:
    """Alternate square tiles of two images, the first one at the first voxel."""
    first, second = (
        _grey(plane.take(image), pair)
        for image, pair in zip(images, limits, strict=True)
    )
    tile = min(plane.size) / TILES
    rows, columns = plane.coordinates()
    odd = (rows[:, None] // tile + columns[None] // tile) % 2 == 1
    board = np.where(odd, second, first)
    axes.imshow(
        board, cmap="gray", vmin=0, vmax=1, extent=plane.extent, interpolation="nearest"
    )


def draw_displacement(
    axes: Axes, plane: Slice, ddf: NDArray, magnitude: NDArray, limit: float
) -> AxesImage:
    """Draw the grid x + u(x), seen in the plane, over the length of u in 3-D."""
    colours = axes.imshow(
        plane.take(magnitude),
        cmap="viridis",
        vmin=0,
        vmax=limit,
        extent=plane.extent,
        interpolation="nearest",
    )
    field = plane.take(ddf)
    rows, columns = np.meshgrid(*plane.coordinates(), indexing="ij")
    dr, dc = plane.spacing[plane.row_axis], plane.spacing[plane.column_axis]
    rows = rows + field[..., plane.row_axis] * dr
    columns = columns + field[..., plane.column_axis] * dc
    mesh = min(plane.size) / GRID_LINES  # a square mesh in lengths, not in voxels
    row_step, column_step = (max(1, round(mesh / width)) for width in (dr, dc))
    points = np.stack([columns, rows], axis=-1)  # (rows, columns, 2) as (x, y)
    lines = [*points[::row_step], *points[:, ::column_step].swapaxes(0, 1)]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=0.45))
    left, right, bottom, top = plane.extent
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return colours


def label_axes(row: list[Axes], plane: Slice, unit: str) -> None:
    """Name the axes of a row of panels, and the plane at its left."""
    for axes in row[:6]:
        axes.tick_params(labelsize=6, length=2, pad=1)
        axes.set_facecolor("black")
    for axes in row[1:6]:
        axes.tick_params(labelleft=False)
    for axes in row[:6]:
        axes.set_xlabel(f"axis {plane.column_axis} ({unit})", fontsize=7, labelpad=1)
    name = f"axis {plane.axis} = {plane.index}"
    row[0].set_ylabel(f"{name}\naxis {plane.row_axis} ({unit})", fontsize=7, labelpad=2)
