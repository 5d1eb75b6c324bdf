"""Bring volumes from one grid to another through a transform."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
    job = ResampleJob(volumes, interpolation, outside)
    return resample_several([job], source, target, transform)[0]


class ResampleJob(NamedTuple):
    """Volumes of one grid, and how they are sampled: arguments of `resample`."""

    volumes: NDArray
    interpolation: Interpolation = "linear"
    outside: float = 0.0


def resample_several(
    jobs: Sequence[ResampleJob],
    source: Grid,
    target: Grid,
    transform: Transform | None = None,
) -> list[NDArray]:
    """
    Resample volumes of one grid in different ways, the transform evaluated once.

    :param jobs: volumes and how each is sampled.
    :param source: as of `resample`.
    :param target: as of `resample`.
    :param transform: as of `resample`.
    :return: what `resample` returns for each.
    :raises ValueError: when volumes are not on their grid.
    """
    for job in jobs:
        if job.volumes.shape[-3:] != source.shape:
            raise ValueError(
                f"resample: expected volumes on the grid {source.shape}, got "
                f"{job.volumes.shape}."
            )
    transform = transform or Transform()
    results = [
        np.empty(
            (*job.volumes.shape[:-3], *target.shape),
            np.float32 if job.interpolation == "linear" else job.volumes.dtype,
        )
        for job in jobs
    ]
    for part, voxels in target.slabs():
        places = source.to_voxel(transform.map_slab(target, part, voxels))
        inside = is_inside(places, source.shape)
        places = np.moveaxis(places, -1, 0)
        for job, result in zip(jobs, results, strict=True):
            for index in np.ndindex(job.volumes.shape[:-3]):
                values = map_coordinates(
                    job.volumes[index],
                    places,
                    result.dtype,
                    order=_ORDER[job.interpolation],
                    mode="nearest",
                )
                result[index][part] = np.where(inside, values, job.outside)
    return results
