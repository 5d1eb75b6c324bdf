"""Planes of a volume, and which way round a reader expects to see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate.metric import FOREGROUND

# in place of an orientation: array axis 0 runs to the right, axis 1 down, as in a PNG
PICTURE = "picture"
OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
# the letters of one anatomical axis; planes are named after the axis across them
_PAIRS = ("RL", "AP", "SI")
_NAMES = ("sagittal", "coronal", "axial")
# what points down and to the right in radiological display, by the axis across
_DOWN = ("I", "I", "P")
_RIGHT = ("P", "L", "L")


class _Sides(NamedTuple):
    """Which array axes run down and to the right, and whether they run backwards."""

    row_axis: int
    column_axis: int
    flips_rows: bool = False
    flips_columns: bool = False


@dataclass(frozen=True)
class Slice:
    """
    One plane of a volume.

    Positions in it are lengths, index times spacing along the array axes, whichever way
    it is displayed; `limits` turns it round.

    :param axis: array axis across the plane.
    :param index: of the plane along `axis`.
    :param shape: of the volume, (d1, d2, d3).
    :param spacing: voxel sides along the array axes.
    :param orientation: where the array axes point, such as "RAS"; None if unknown;
        PICTURE for a plane across axis 2 that is shown as a picture.
    """

    axis: int
    index: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str | None = None

    @property
    def _codes(self) -> str | None:
        """Where the axes point in the patient; None if unknown."""
        return None if self.orientation == PICTURE else self.orientation

    @property
    def _sides(self) -> _Sides:
        codes = self._codes
        if self.orientation == PICTURE and self.axis == 2:
            return _Sides(1, 0)
        if codes is None:
            return _Sides(0 if self.axis else 2, 1 if self.axis != 1 else 2)
        across = anatomy_of(codes[self.axis])
        found = []
        for wanted in (_DOWN[across], _RIGHT[across]):
            axis = _axis_along(codes, anatomy_of(wanted))
            found.append((axis, codes[axis] != wanted))
        (row, flips_rows), (column, flips_columns) = found
        return _Sides(row, column, flips_rows, flips_columns)

    @property
    def row_axis(self) -> int:
        """Array axis that runs down."""
        return self._sides.row_axis

    @property
    def column_axis(self) -> int:
        """Array axis that runs across."""
        return self._sides.column_axis

    @property
    def name(self) -> str:
        """Anatomical name, the nearest one of oblique planes; or that of the axis."""
        codes = self._codes
        if codes is None:
            return f"axis {self.axis}"
        return _NAMES[anatomy_of(codes[self.axis])]

    @property
    def letters(self) -> dict[Literal["left", "right", "top", "bottom"], str]:
        """Where the sides of the picture lie in the patient; empty if unknown."""
        codes = self._codes
        if codes is None:
            return {}
        across = anatomy_of(codes[self.axis])
        down, right = _DOWN[across], _RIGHT[across]
        return {
            "left": OPPOSITE[right],
            "right": right,
            "top": OPPOSITE[down],
            "bottom": down,
        }

    def take(self, volume: NDArray) -> NDArray:
        """Cut (d1, d2, d3, ...) to (rows, columns, ...)."""
        plane = np.take(volume, self.index, axis=self.axis)
        # what is left is in ascending order of axes; turn it if rows come second
        return plane if self.row_axis < self.column_axis else np.swapaxes(plane, 0, 1)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """First and last edge of the columns, last and first edge of the rows."""
        rows, columns = self.shape[self.row_axis], self.shape[self.column_axis]
        dr, dc = self.spacing[self.row_axis], self.spacing[self.column_axis]
        return (-dc / 2, (columns - 0.5) * dc, (rows - 0.5) * dr, -dr / 2)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """What stands at the left and right, and at the bottom and top."""
        left, right, bottom, top = self.extent
        sides = self._sides
        return {
            "xlim": (right, left) if sides.flips_columns else (left, right),
            "ylim": (top, bottom) if sides.flips_rows else (bottom, top),
        }

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


def anatomy_of(letter: str) -> int:
    """Return 0 for R and L, 1 for A and P, 2 for S and I."""
    return next(i for i, pair in enumerate(_PAIRS) if letter in pair)


def _axis_along(orientation: str, anatomy: int) -> int:
    return next(i for i in range(3) if orientation[i] in _PAIRS[anatomy])


def check_orientation(orientation: str | None) -> None:
    """
    Check the letters of an orientation.

    :param orientation: three letters, one of R and L, A and P, S and I each; or None,
        or PICTURE.
    :raises ValueError: for others.
    """
    if orientation is None or orientation == PICTURE:
        return
    found = sorted(i for i, p in enumerate(_PAIRS) for x in orientation if x in p)
    if len(orientation) != 3 or found != [0, 1, 2]:
        raise ValueError(
            "orientation: expected where the three array axes point, such as RAS or "
            f"LPI, or None where it is not known, got {orientation!r}."
        )


def choose_planes(
    shape: tuple[int, ...],
    spacing: Sequence[float] | NDArray,
    label: NDArray | None,
    orientation: str | None = None,
) -> list[Slice]:
    """
    Choose the planes of a page.

    :param shape: (d1, d2, d3).
    :param spacing: (3,).
    :param label: the planes pass through its centroid; without one, through the middle.
    :param orientation: see `Slice`.
    :return: three planes, axial, coronal, sagittal (or across axes 2, 1, 0); the one
        across the singleton axis alone in 2-D.
    """
    centre = None if label is None else _centroid(label)
    if centre is None:
        centre = (np.array(shape) - 1) / 2
    index = np.clip(np.rint(centre), 0, np.array(shape) - 1).astype(int)
    flat = [axis for axis in range(3) if shape[axis] == 1]
    axes = flat[-1:] or [2, 1, 0]
    if orientation is not None and orientation != PICTURE and not flat:
        axes = [_axis_along(orientation, anatomy) for anatomy in (2, 1, 0)]
    sides = tuple(float(side) for side in spacing)
    return [Slice(axis, int(index[axis]), shape, sides, orientation) for axis in axes]


def _centroid(label: NDArray) -> NDArray[np.float64] | None:
    """Find the centre of the foreground by sums, without a list of its voxels."""
    inside = label >= FOREGROUND
    across, down = (np.add.reduce(inside, axis=axis, dtype=np.int64) for axis in (2, 0))
    total = across.sum()
    if not total:
        return None
    profiles = across.sum(axis=1), across.sum(axis=0), down.sum(axis=0)
    return np.array([profile @ np.arange(len(profile)) / total for profile in profiles])
