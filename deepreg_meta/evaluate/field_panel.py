"""Draw a displacement field in one plane: its length, its grid and its folding."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from deepreg_meta.evaluate.metric import jacobian_determinant
from deepreg_meta.evaluate.plane import Slice

GRID_LINES = 18  # along the shorter side of a slice
GRID_COLOUR = "#0072B2"
FOLD_COLOUR = "#000000"
LENGTH_COLOURS = "viridis"  # even steps in lightness, safe for colour-blind readers
_JACOBIAN_ENDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_MAX_CELLS = 220  # along a side: about the pixels of a panel
_MAX_POINTS = 150  # along a line of the grid


def jacobian_colours() -> Colormap:
    """
    Return blue for shrinking, white for 1, red for growing, black for folds.

    The dark ends of Matplotlib's `RdBu` are left out, for there black would not show.
    """
    from matplotlib import colormaps

    middle = colormaps["RdBu_r"](np.linspace(0.1, 0.9, 256))
    colours = LinearSegmentedColormap.from_list("jacobian", middle)
    return colours.with_extremes(bad=FOLD_COLOUR)


def magnitude_of(plane: Slice, ddf: NDArray) -> NDArray[np.float32]:
    """
    Measure how far the field moves each point of a plane, in three dimensions.

    :param plane: of the fixed grid.
    :param ddf: (f1, f2, f3, 3), in voxels of that grid.
    :return: (rows, columns), in the unit of the plane's spacing.
    """
    vectors = plane.take(ddf).astype(np.float32)
    lengths = np.linalg.norm(vectors * np.asarray(plane.spacing, np.float32), axis=-1)
    return lengths.astype(np.float32)


def determinant_of(plane: Slice, ddf: NDArray) -> NDArray[np.float64]:
    """
    Compute the Jacobian determinant in a plane, from it and its two neighbours alone.

    :param plane: of the fixed grid.
    :param ddf: (f1, f2, f3, 3), in voxels of that grid.
    :return: (rows, columns), as `metric.jacobian_determinant` has it there.
    """
    start = max(plane.index - 1, 0)
    stop = min(plane.index + 2, plane.shape[plane.axis])
    slab = np.take(ddf, range(start, stop), axis=plane.axis)
    within = Slice(
        plane.axis,
        plane.index - start,
        slab.shape[:3],
        plane.spacing,
        plane.orientation,
    )
    return within.take(jacobian_determinant(slab))


def largest(planes: Sequence[NDArray]) -> float:
    """Return the largest finite value, or 1 where there is none above 0."""
    values = np.concatenate([plane.ravel() for plane in planes])
    return float(max(values[np.isfinite(values)], default=0.0)) or 1.0


def jacobian_end(planes: Sequence[NDArray]) -> float:
    """
    Choose the end e of a colour bar from 1 / e to e.

    :param planes: determinants.
    :return: a round number that 99 % of the positive ones keep within, 10 at most.
    """
    values = np.concatenate([plane.ravel() for plane in planes])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return _JACOBIAN_ENDS[0]
    reach = float(np.exp(np.percentile(np.abs(np.log(values)), 99)))
    return next((end for end in _JACOBIAN_ENDS if reach <= end), _JACOBIAN_ENDS[-1])


def draw_magnitude(
    axes: Axes, plane: Slice, magnitude: NDArray, limit: float
) -> AxesImage:
    """Show lengths from 0 to a limit as colours."""
    return axes.imshow(
        magnitude,
        cmap=LENGTH_COLOURS,
        vmin=0,
        vmax=limit,
        extent=plane.extent,
        interpolation="auto",
        aspect="equal",
    )


def draw_grid(axes: Axes, plane: Slice, ddf: NDArray) -> None:
    """Draw the grid x + u(x), seen in the plane: where voxels are taken from."""
    field = plane.take(ddf).astype(np.float32)
    rows, columns = np.meshgrid(*plane.coordinates(), indexing="ij")
    dr, dc = plane.spacing[plane.row_axis], plane.spacing[plane.column_axis]
    rows = rows + field[..., plane.row_axis] * dr
    columns = columns + field[..., plane.column_axis] * dc
    mesh = min(plane.size) / GRID_LINES  # a square mesh in lengths, not in voxels
    row_step, column_step = (max(1, round(mesh / width)) for width in (dr, dc))
    points = np.stack([columns, rows], axis=-1)  # (rows, columns, 2) as (x, y)
    along_rows, along_columns = (max(1, n // _MAX_POINTS) for n in points.shape[:2])
    lines = [
        *points[::row_step, ::along_columns],
        *points[::along_rows, ::column_step].swapaxes(0, 1),
    ]
    axes.add_collection(
        LineCollection(lines, colors=GRID_COLOUR, linewidths=0.6), autolim=False
    )


def draw_jacobian(
    axes: Axes, plane: Slice, determinant: NDArray, end: float
) -> AxesImage:
    """
    Show determinants on a logarithmic scale around 1; folds and NaN in a colour of
    their own, which no averaging may hide.
    """
    factors = [-(-n // _MAX_CELLS) for n in determinant.shape]
    shown = _gather(determinant, factors)
    left, _, _, top = plane.extent
    height, width = (
        n * factor * plane.spacing[axis]  # the last block may reach past the border
        for n, factor, axis in zip(
            shown.shape, factors, (plane.row_axis, plane.column_axis), strict=True
        )
    )
    return axes.imshow(
        shown,
        cmap=jacobian_colours(),
        norm=LogNorm(1 / end, end),
        extent=(left, left + width, top + height, top),
        interpolation="nearest",
        aspect="equal",
    )


def _gather(determinant: NDArray, factors: list[int]) -> np.ma.MaskedArray:
    """Average logarithms over blocks; a block with a fold in it is a fold."""
    folded = ~(determinant > 0)
    logarithm = np.log(np.where(folded, 1.0, determinant))
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = range(0, determinant.shape[axis], factor)
            ends = [*starts, determinant.shape[axis]]
            counts = np.array([stop - start for start, stop in pairwise(ends)])
            shape = [1, 1]
            shape[axis] = -1
            sums = np.add.reduceat(logarithm, starts, axis=axis)
            logarithm = sums / counts.reshape(shape)
            folded = np.logical_or.reduceat(folded, starts, axis=axis)
    return np.ma.masked_array(np.exp(logarithm), mask=folded)
