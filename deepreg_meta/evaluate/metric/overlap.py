"""Overlap of two labels."""

import numpy as np
from numpy.typing import ArrayLike

from deepreg_meta.evaluate.metric.checks import FOREGROUND, check_mask, check_shapes


def dsc(a: ArrayLike, b: ArrayLike, threshold: float = FOREGROUND) -> float:
    """
    Compute the hard Dice similarity coefficient of two labels.

    :param a: label, binary or soft in [0, 1], any shape.
    :param b: label of the same shape.
    :param threshold: a voxel with value >= threshold is foreground.
    :return: 2 |a & b| / (|a| + |b|) in [0, 1]; nan when both labels are empty, as
        there is nothing to compare (neither a success nor a failure).
    :raises ValueError: when the shapes differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    check_shapes(a, b, "dsc")
    in_a, in_b = a >= threshold, b >= threshold
    total = int(in_a.sum()) + int(in_b.sum())
    if total == 0:
        return float("nan")
    return 2.0 * int((in_a & in_b).sum()) / total


def dsc_masked(
    a: ArrayLike, b: ArrayLike, mask: ArrayLike, threshold: float = FOREGROUND
) -> float:
    """
    Compute Dice on some of the voxels, e.g. on those off the sampled frames.

    :param a: label, binary or soft in [0, 1], shape (d1, d2, d3).
    :param b: label of the same shape.
    :param mask: voxels that count, see `check_mask`.
    :param threshold: as in `dsc`.
    :return: Dice in [0, 1]; nan when both labels are empty on the mask.
    :raises ValueError: when the shapes do not agree.
    """
    a, b = np.asarray(a), np.asarray(b)
    check_shapes(a, b, "dsc_masked")
    keep = check_mask(mask, a.shape, "dsc_masked")
    return dsc(a[keep], b[keep], threshold)
