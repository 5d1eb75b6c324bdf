"""Errors of landmarks, given as points or as label blobs."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate.metric.checks import FOREGROUND


def centroid(
    mask: ArrayLike, threshold: float = FOREGROUND
) -> NDArray[np.float64] | None:
    """
    Find the centre of mass of the foreground, every voxel of equal weight.

    As DeepReg's `compute_centroid`, but without its EPS and without an answer for an
    empty label (DeepReg's is a point far outside the grid).

    :param mask: label, binary or soft in [0, 1], shape (d1, d2, d3).
    :param threshold: a voxel with value >= threshold is foreground.
    :return: (3,) in voxels, the first voxel's centre is 0; None for an empty label.
    """
    voxels = np.argwhere(np.asarray(mask) >= threshold)
    return voxels.mean(axis=0) if len(voxels) else None


def point_errors(
    fixed_points_mm: ArrayLike,
    moving_points_mm: ArrayLike,
    transform: Callable[[NDArray], NDArray],
) -> NDArray[np.float64]:
    """
    Measure the target registration error of points that are given in space.

    :param fixed_points_mm: (N, 3), world mm of the fixed image.
    :param moving_points_mm: (N, 3), the same landmarks in the moving image.
    :param transform: maps (N, 3) from the fixed to the moving image, such as
        `Transform.map_points`.
    :return: (N,), distances in mm between the mapped and the moving points; see
        `tre_rms` for the figure of a case.
    :raises ValueError: when the points are not (N, 3) or not as many.
    """
    fixed = np.asarray(fixed_points_mm, dtype=np.float64)
    moving = np.asarray(moving_points_mm, dtype=np.float64)
    if fixed.ndim != 2 or fixed.shape[1] != 3 or fixed.shape != moving.shape:
        raise ValueError(
            "point_errors: expected as many fixed as moving points, (N, 3), got "
            f"{fixed.shape} and {moving.shape}."
        )
    return np.linalg.norm(transform(fixed) - moving, axis=1)


def tre_rms(errors: Iterable[float | None]) -> float:
    """
    Take the root mean square of a case's landmark errors.

    :param errors: lengths of one unit; None (a landmark without error) is left out.
    :return: the same unit; nan for a case without any error.
    """
    values = np.array([value for value in errors if value is not None], dtype=float)
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
