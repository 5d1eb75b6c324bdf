"""Initial alignment of two images."""

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import GeometryError, from_parts
from deepreg_meta.geometry.transform import Affine
from deepreg_meta.geometry.volume_file import VolumeFile


def centre_of_mass(image: VolumeFile) -> NDArray[np.float64]:
    """
    Find the centre of mass of an image, intensities minus their minimum as weights.

    :param image: voxels that are not finite weigh nothing; channels are summed up.
    :return: (3,), mm, RAS.
    :raises GeometryError: for an image without any contrast.
    """
    values = np.asarray(image.voxels, dtype=np.float64)
    values = values.reshape(*values.shape[:3], -1)
    finite = np.isfinite(values)
    lowest = values[finite].min() if finite.any() else 0.0
    weights = np.where(finite, values - lowest, 0.0).sum(axis=-1)
    total = weights.sum()
    if not total > 0:
        raise GeometryError(
            f"{image.path}: expected an image with contrast, whose centre of mass can "
            "be found, got the same value everywhere. Align by an affine file instead."
        )
    profiles = [
        weights.sum(axis=tuple(other for other in range(3) if other != axis))
        for axis in range(3)
    ]
    centre = [np.arange(len(profile)) @ profile / total for profile in profiles]
    return image.grid.to_world(centre)


def centre_of_mass_affine(fixed: VolumeFile, moving: VolumeFile) -> Affine:
    """
    Find the translation that takes the fixed image's centre of mass to the moving
    one's.

    :param fixed: the fixed image.
    :param moving: the moving image.
    :return: fixed space to moving space.
    :raises GeometryError: for an image without any contrast.
    """
    return Affine(from_parts(np.eye(3), centre_of_mass(moving) - centre_of_mass(fixed)))
