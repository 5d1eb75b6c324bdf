"""What the metrics share: when a voxel is foreground, and the checks of their input."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FOREGROUND = 0.5  # a voxel belongs to a soft label from here on, as in DeepReg


def check_shapes(a: NDArray, b: NDArray, where: str) -> None:
    """
    Check that two volumes can be compared voxel by voxel.

    :param a: volume.
    :param b: volume.
    :param where: the metric, for the message.
    :raises ValueError: when the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"{where}: expected two volumes of one shape, got {a.shape} and {b.shape}. "
            "Warp the moving one first."
        )


def check_mask(
    mask: ArrayLike, shape: tuple[int, ...], where: str
) -> NDArray[np.bool_]:
    """
    Bring a mask to the shape of what it masks.

    :param mask: true, or a number >= 0.5, where voxels count; a shape that broadcasts,
        such as (1, d2, 1) for whole frames of axis 1.
    :param shape: wanted.
    :param where: the metric, for the message.
    :return: of the shape wanted.
    :raises ValueError: when the mask does not broadcast to the shape.
    """
    keep = np.asarray(mask) >= FOREGROUND
    try:
        return np.broadcast_to(keep, shape)
    except ValueError as err:
        raise ValueError(
            f"{where}: expected a mask that broadcasts to the volumes, got mask "
            f"{keep.shape} and volumes {shape}."
        ) from err


def check_ddf(ddf: ArrayLike, where: str) -> NDArray:
    """
    Check the shape of a displacement field.

    :param ddf: (d1, d2, d3, 3).
    :param where: the metric, for the message.
    :return: the field as an array.
    :raises ValueError: for another shape.
    """
    ddf = np.asarray(ddf)
    if ddf.ndim != 4 or ddf.shape[-1] != 3:
        raise ValueError(
            f"{where}: expected a ddf (f1, f2, f3, 3), got {ddf.shape}. "
            "Give a 2-D field a singleton last axis and a third, zero component."
        )
    return ddf


def check_spacing(
    spacing_mm: Sequence[float] | NDArray, name: str
) -> NDArray[np.float64]:
    """
    Check a spacing.

    :param spacing_mm: (3,).
    :param name: of the argument, for the message.
    :return: the spacing as an array.
    :raises ValueError: when it is not three positive lengths.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(
            f"{name}: expected three positive lengths, got {spacing_mm}. "
            "For a nominal spacing pass (1, 1, 1) and report voxels."
        )
    return spacing
