"""Bring volumes from one grid to another through a transform."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from deepreg_meta.geometry.grid import Grid, is_inside
from deepreg_meta.geometry.transform import Transform

Interpolation = Literal["linear", "nearest"]
_ORDER = {"linear": 1, "nearest": 0}


def resample(
    volumes: NDArray,
    source: Grid,
    target: Grid,
    transform: Transform | None = None,
    interpolation: Interpolation = "linear",
    outside: float = 0.0,
) -> NDArray:
    """
    Take volumes at T(p) for every voxel centre p of a grid, as ITK's resampling does.

    Up to half a voxel beyond the outer voxel centres the value at the border holds.

    :param volumes: (d1, d2, d3), or several of one grid, (n, d1, d2, d3).
    :param source: their grid.
    :param target: the grid wanted.
    :param transform: T, from the space of `target` to that of `source`; None is the
        identity.
    :param interpolation: linear or nearest.
    :param outside: value outside the source.
    :return: on the target grid, float32; of the volumes' type for `nearest`.
    :raises ValueError: when the volumes are not on their grid.
    """
    several = volumes if volumes.ndim == 4 else volumes[None]
    if several.shape[1:] != source.shape:
        raise ValueError(
            f"resample: expected volumes on the grid {source.shape}, got "
            f"{volumes.shape}."
        )
    transform = transform or Transform()
    dtype = np.float32 if interpolation == "linear" else volumes.dtype
    order = _ORDER[interpolation]
    result = np.empty((len(several), *target.shape), dtype)
    for part, voxels in target.slabs():
        places = source.to_voxel(transform.map_slab(target, part, voxels))
        inside = is_inside(places, source.shape)
        places = np.moveaxis(places, -1, 0)
        for volume, out in zip(several, result, strict=True):
            values = map_coordinates(volume, places, dtype, order=order, mode="nearest")
            out[part] = np.where(inside, values, outside)
    return result if volumes.ndim == 4 else result[0]
