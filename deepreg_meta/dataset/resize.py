"""
Take a volume at other places along its axes: another number of voxels, another size.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Shape = tuple[int, int, int]
_AXES = (-3, -2, -1)


def resize_linear(volume: NDArray, shape: Shape) -> NDArray:
    """
    Resize by linear interpolation between voxel centres, as DeepReg's loader does.

    The volume's outer faces stay where they are (half-pixel centres, no smoothing
    before the image is made smaller); beyond the outermost centres it is constant.

    :param volume: shape = (..., d1, d2, d3), float.
    :param shape: (out_d1, out_d2, out_d3).
    :return: shape = (..., out_d1, out_d2, out_d3), the dtype of `volume`.
    """
    for axis, num_out in zip(_AXES, shape, strict=True):
        num_in = volume.shape[axis]
        if num_in != num_out:
            centres = (np.arange(num_out) + 0.5) * num_in / num_out - 0.5
            volume = _interpolate(volume, axis, centres)
    return volume


def resample_linear(volume: NDArray, ratio: Sequence[float], shape: Shape) -> NDArray:
    """
    Take voxels of another size by linear interpolation, the centre staying in place.

    Beyond the outermost voxel centres the volume is constant.

    :param volume: shape = (..., d1, d2, d3), float.
    :param ratio: new voxel side over old one, for each axis.
    :param shape: (out_d1, out_d2, out_d3).
    :return: shape = (..., out_d1, out_d2, out_d3), the dtype of `volume`.
    """
    for axis, factor, num_out in zip(_AXES, ratio, shape, strict=True):
        num_in = volume.shape[axis]
        if factor != 1 or num_in != num_out:
            from_centre = np.arange(num_out) - (num_out - 1) / 2
            centres = (num_in - 1) / 2 + factor * from_centre
            volume = _interpolate(volume, axis, centres)
    return volume


def smooth(volume: NDArray, ratio: Sequence[float]) -> NDArray:
    """
    Take away what larger voxels could not show, as scikit-image does before it shrinks.

    Along each axis whose voxels grow the volume is filtered by a Gaussian with a
    standard deviation of (ratio - 1) / 2 voxels.

    :param volume: shape = (..., d1, d2, d3), float.
    :param ratio: new voxel side over old one, for each axis.
    :return: the same shape and dtype.
    """
    for axis, factor in zip(_AXES, ratio, strict=True):
        if factor > 1:
            sigma = (factor - 1) / 2
            volume = gaussian_filter1d(volume, sigma, axis, mode="nearest")
    return volume


def _interpolate(volume: NDArray, axis: int, centres: NDArray) -> NDArray:
    """Interpolate linearly along one axis, at voxel coordinates; constant beyond."""
    last = volume.shape[axis] - 1
    low = np.floor(centres).astype(int)
    weight = (centres - low).astype(volume.dtype)
    weight = weight.reshape(-1, *[1] * (-1 - axis))
    before = volume.take(np.clip(low, 0, last), axis)
    after = volume.take(np.clip(low + 1, 0, last), axis)
    return before * (1 - weight) + after * weight
