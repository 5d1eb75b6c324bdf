"""The grids of scales."""

import math
from collections.abc import Sequence

Size = tuple[int, int, int]


def scaled_size(size: Sequence[int], scale: float) -> Size:
    """
    Return the grid of a scale.

    :param size: (d1, d2, d3) at scale 1.
    :param scale: in (0, 1].
    :return: sides times the scale, rounded, halves up, at least 1.
    """
    d1, d2, d3 = (max(1, math.floor(side * scale + 0.5)) for side in size)
    return d1, d2, d3
