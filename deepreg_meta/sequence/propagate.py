"""Carry what is known of the first frame along: maps, labels and points."""

import logging

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.inverse import invert, solve_points
from deepreg_meta.geometry.soft_label import resample_soft
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.layer.warp import compose
from deepreg_meta.sequence.track import TrackedPair, displacement_field

logger = logging.getLogger(__name__)


class Composition:
    """
    The map between the first frame and the current one, composed pair by pair.

    Where pairs are registered backward it leads from the current frame to the first,
    and lies on the current frame's grid; forward, from the first frame to the current
    one, on the first one's grid.

    Example::

        whole = Composition(sequence.grid)
        for pair in track(sequence, registrar):
            whole.advance(pair)
        whole.ddf  # between the first and the last frame

    :param grid: of the frames.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.ddf: NDArray[np.float32] = np.zeros((*grid.shape, 3), np.float32)
        self._frame = 0

    def advance(self, pair: TrackedPair) -> None:
        """
        Go on by one pair.

        :param pair: of the current frame and the next.
        :raises ValueError: for a pair that does not begin at the current frame.
        """
        if min(pair.fixed, pair.moving) != self._frame:
            raise ValueError(
                f"expected the pair that begins at frame {self._frame}, got "
                f"{pair.name}."
            )
        # both are x -> inner -> outer: back over the new pair and then the old ones, or
        # forth over the old ones and then the new pair
        outer, inner = self.ddf, pair.ddf
        if pair.moving > pair.fixed:
            outer, inner = pair.ddf, self.ddf
        self.ddf = compose(tf.constant(outer[None]), tf.constant(inner[None]))[
            0
        ].numpy()
        self._frame += 1

    def transform(self) -> Transform:
        """Return the map as a transform of space."""
        return Transform((displacement_field(self.ddf, self.grid),))


class LabelTrail:
    """
    A label of the first frame, on every later one.

    :param label: (d1, d2, d3), an index map or a mask.
    :param grid: of the frames.
    """

    def __init__(self, label: NDArray, grid: Grid) -> None:
        self._first = label
        self._map = Composition(grid)

    @property
    def ddf(self) -> NDArray[np.float32]:
        """The composed map, see `Composition`."""
        return self._map.ddf

    def advance(self, pair: TrackedPair) -> NDArray:
        """
        Carry the label to the next frame.

        It is taken from the first frame at once, each structure interpolated linearly
        and the largest share kept: rounding does not add up from frame to frame, and
        motion of less than half a voxel shows.

        :param pair: of the current frame and the next.
        :return: (d1, d2, d3), of the label's type; 0 where it comes from beyond.
        """
        self._map.advance(pair)
        transform, grid = self._map.transform(), self._map.grid
        if pair.moving > pair.fixed:
            transform, residual = invert(transform)
            if residual.p95_mm > grid.spacing_mm.min():
                logger.warning(
                    "%s: the map to the first frame folds and has no inverse there; "
                    "the label is wrong by more than a voxel (%s).",
                    pair.name,
                    residual,
                )
        return resample_soft(self._first, grid, grid, transform)


class PointTrail:
    """
    Points of the first frame, followed through every later one.

    They are mapped pair by pair, which is the composition of the fields without another
    interpolation.

    :param points: (N, 3), mm, RAS.
    :param grid: of the frames.
    """

    def __init__(self, points: NDArray, grid: Grid) -> None:
        self.points: NDArray[np.float64] = np.asarray(points, float).reshape(-1, 3)
        self._grid = grid

    def advance(self, pair: TrackedPair) -> NDArray[np.float64]:
        """
        Follow the points to the next frame.

        :param pair: of the current frame and the next.
        :return: (N, 3), mm, RAS; beyond the grid the field of its border leads on.
        """
        field = displacement_field(pair.ddf, self._grid)
        if pair.moving > pair.fixed:
            self.points = field.map_points(self.points)
            return self.points
        self.points, is_left = solve_points(field, self.points)
        if is_left.any():
            logger.warning(
                "%s: %d of %d points lie where the field folds; where they go is not "
                "determined.",
                pair.name,
                int(is_left.sum()),
                len(self.points),
            )
        return self.points
