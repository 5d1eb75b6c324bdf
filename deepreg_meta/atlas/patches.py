"""Patches of images around many voxels at once."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FLAT = 1e-6  # least deviation in a patch that is none of rounding, of the range


class Matched(NamedTuple):
    """The patch of an image that was chosen for each voxel, and where it lies."""

    patches: NDArray[np.float64]  # (m, p), normalised
    places: NDArray[np.intp]  # (m, 3), voxels at their middles


class Patches:
    """
    Cut cubes out of an image, each brought to mean 0 and standard deviation 1.

    Beyond the border of the image its border goes on; along a singleton axis a patch
    has one voxel.

    Example::

        patches = Patches(image, radius=2).cut(places)

    :param image: (d1, d2, d3).
    :param radius: voxels on each side of the middle, >= 1.
    """

    def __init__(self, image: NDArray, radius: int) -> None:
        self._shape = np.array(image.shape)
        self._margin = np.where(self._shape > 1, radius, 0)
        padded = np.pad(image, [(int(m), int(m)) for m in self._margin], mode="edge")
        self._values = padded.ravel()
        self._strides = np.array(
            [padded.shape[1] * padded.shape[2], padded.shape[2], 1], np.intp
        )
        self._steps = offsets(image.shape, radius) @ self._strides
        self._least = _FLAT * float(np.ptp(image))

    @property
    def size(self) -> int:
        """Voxels in a patch, p."""
        return len(self._steps)

    def cut(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """
        Cut out normalised patches.

        :param places: (m, 3), voxels of the image at their middles.
        :return: (m, p); zeros where a patch is of one grey value. The squares of any
            other add up to p - 1.
        """
        first = (places + self._margin) @ self._strides
        values = self._values[first[:, None] + self._steps].astype(np.float64)
        values -= values.mean(axis=1, keepdims=True)
        deviation = np.sqrt((values**2).sum(axis=1, keepdims=True) / (self.size - 1))
        is_flat = deviation <= self._least
        return np.where(is_flat, 0.0, values / np.where(is_flat, 1.0, deviation))

    def match(
        self, places: NDArray[np.intp], wanted: NDArray, radius: int = 0
    ) -> Matched:
        """
        Choose around each voxel the patch that is most like another one.

        :param places: (m, 3), voxels.
        :param wanted: (m, p), normalised patches of another image.
        :param radius: how far the middle may lie from the voxel along each axis; 0
            takes the patch at the voxel itself.
        :return: those with the least sum of squared differences, of equal ones the
            nearest.
        """
        best = Matched(self.cut(places), places)
        if radius == 0:
            return best
        patches, found = best.patches, places.copy()
        least = ((patches - wanted) ** 2).sum(axis=1)
        for step in offsets(tuple(self._shape), radius)[1:]:  # the first one is none
            moved = np.clip(places + step, 0, self._shape - 1)
            other = self.cut(moved)
            error = ((other - wanted) ** 2).sum(axis=1)
            is_better = error < least
            patches[is_better], found[is_better] = other[is_better], moved[is_better]
            least[is_better] = error[is_better]
        return Matched(patches, found)


def offsets(shape: Sequence[int], radius: int) -> NDArray[np.intp]:
    """
    List the steps to the voxels of a cube, the nearest ones first.

    :param shape: of the volume; there are no steps along a singleton axis.
    :param radius: of the cube, voxels.
    :return: (n, 3), the first of them 0.
    """
    sides = [range(-radius, radius + 1) if n > 1 else range(1) for n in shape]
    steps = sorted(itertools.product(*sides), key=lambda s: sum(x * x for x in s))
    return np.array(steps, np.intp)
