"""
The robust Hausdorff distance of DeepMind's surface-distance package, which the scorer
of the Learn2Reg challenge uses.

It is not `surface.hd95`: surface elements (surfels) lie between the voxels, at the
centres of cubes of eight voxel centres, and weigh by their area. All lengths are in
voxels.

Source: surface-distance 0.1 on PyPI (github.com/google-deepmind/surface-distance),
`compute_surface_distances` with a spacing of ones and `compute_robust_hausdorff`. Its
table of 256 areas is derived here, see `surfel_areas`, and an empty label does not stop
the run with NumPy 2, as it does there.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, distance_transform_edt, find_objects

# Bits of the corners of a cube; two that differ in one bit share an edge.
_CORNERS = 2 ** np.arange(8).reshape(2, 2, 2)
# Marching cubes with every edge cut in its middle. The key is the number of neighbours
# of each corner in a connected group of corners, which tells groups of up to four
# corners apart; the value lists the areas of the pieces of surface around the group. A
# tip is an equilateral triangle with sides of sqrt(1/2), a ramp half of a rectangle of
# 1 x sqrt(1/2).
_TIP, _RAMP = sqrt(3) / 8, sqrt(2) / 4
_PIECES = {
    (0,): (_TIP,),  # a corner
    (1, 1): (_RAMP, _RAMP),  # an edge
    (1, 1, 2): (0.5, 2 * _TIP, _TIP),  # an angle: half a face and three tips
    (2, 2, 2, 2): (1.0,),  # a face
    (1, 1, 1, 3): (_TIP, 2 * _TIP, 2 * _TIP, _TIP),  # a corner with all neighbours
    (1, 1, 2, 2): (_TIP, 3 * _TIP, _RAMP, _RAMP),  # a path round a corner
}


@lru_cache(maxsize=1)
def surfel_areas() -> NDArray[np.float64]:
    """
    Derive the area of the surface inside a cube of eight voxels.

    Corners of the rarer kind, inside or outside, are cut off in connected groups; with
    four of each, those inside.

    :return: (256,), by the sum of the bits (`_CORNERS`) of the corners inside; 0 where
        all are inside or none is.
    """
    return np.array([_area(code) for code in range(256)])


def _area(code: int) -> float:
    if bin(code).count("1") > 4:
        code = 255 - code
    left = {corner for corner in range(8) if code >> corner & 1}
    area = 0.0
    while left:
        group = [left.pop()]
        for corner in group:  # grows while it is gone through
            found = {corner ^ 1, corner ^ 2, corner ^ 4} & left
            left -= found
            group += found
        neighbours = sorted(
            sum(corner ^ bit in group for bit in (1, 2, 4)) for corner in group
        )
        area += sum(_PIECES[tuple(neighbours)])
    return area


def robust_hausdorff(
    a: NDArray[np.bool_], b: NDArray[np.bool_], percent: float = 95.0
) -> float:
    """
    Compute the percentile of the surface distances, weighed by area, in voxels.

    In each direction, the distance below which `percent` of the area lies; the larger
    one of the two.

    :param a: label, (d1, d2, d3).
    :param b: label of the same shape.
    :param percent: in [0, 100].
    :return: infinite when a label is empty, as the package and the challenge have it.
    """
    if not a.any() or not b.any():
        return float("inf")
    box = find_objects((a | b).astype(np.uint8))[0]
    codes_a, codes_b = _codes(a[box]), _codes(b[box])
    return max(
        _percentile(codes_a, codes_b, percent), _percentile(codes_b, codes_a, percent)
    )


def _codes(label: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the bits of the corners inside, for every cube that the label meets."""
    padded = np.pad(label.astype(np.uint8), [(0, 1)] * 3)
    return correlate(padded, _CORNERS.astype(np.uint8), mode="constant")


def _percentile(
    codes: NDArray[np.uint8], other: NDArray[np.uint8], percent: float
) -> float:
    """Return the distance from one surface to the other that `percent` stay below."""
    surface, target = (codes > 0) & (codes < 255), (other > 0) & (other < 255)
    distances = distance_transform_edt(~target)[surface]
    areas = surfel_areas()[codes[surface]]
    order = np.lexsort((areas, distances))
    share = np.cumsum(areas[order]) / np.sum(areas[order])
    index = np.searchsorted(share, percent / 100.0)
    return float(distances[order][min(index, len(order) - 1)])
