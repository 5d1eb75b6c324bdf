"""Labels that are interpolated linearly."""

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Transform


def resample_soft(
    label: NDArray,
    source: Grid,
    target: Grid,
    transform: Transform | None = None,
    outside: float = 0.0,
) -> NDArray:
    """
    Take a label at T(p) for every voxel centre p, with smooth borders.

    :param label: (d1, d2, d3); an index map of whole numbers, each of which is
        interpolated linearly, and the largest share wins; or a soft label in [0, 1].
    :param source: its grid.
    :param target: the grid wanted.
    :param transform: T, from the space of `target` to that of `source`.
    :param outside: value outside the source; of two equal shares it wins, else the
        lower value.
    :return: on the target grid; an index map of the same type, or float32.
    :raises ValueError: for values that are neither whole nor in [0, 1].
    """
    values = np.unique(label)
    if not np.array_equal(values, np.round(values)):
        if values.min() >= 0 and values.max() <= 1:
            return resample(label, source, target, transform, "linear", outside)
        raise ValueError(
            "expected an index map of whole numbers or a soft label in [0, 1], got "
            f"values between whole numbers in [{values.min():.4g}, {values.max():.4g}]."
        )
    result = np.full(target.shape, outside, label.dtype)
    rest = (label == outside).astype(np.float32)
    best = resample(rest, source, target, transform, "linear")
    for value in values[values != outside]:
        share = (label == value).astype(np.float32)
        share = resample(share, source, target, transform, "linear")
        is_better = share > best
        result[is_better], best[is_better] = value, share[is_better]
    return result
