"""Where voxels lie in space: affines, and displacement fields other tools can read."""

import logging
from pathlib import Path

import nibabel as nib
import numpy as np

logger = logging.getLogger(__name__)

NIFTI_INTENT_VECTOR = 1007  # ITK flips x and y of a field written with 1006
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """
    Return the voxel sides of a grid.

    :param affine: (4, 4), voxel to world.
    :return: (3,), mm.
    """
    return np.linalg.norm(affine[:3, :3], axis=0)


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """
    Map points by a homogeneous matrix.

    :param affine: (4, 4).
    :param points: (..., 3).
    :return: (..., 3).
    """
    return points @ affine[:3, :3].T + affine[:3, 3]


def displacement_lps_mm(
    ddf: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    fixed_affine: np.ndarray,
    moving_affine: np.ndarray,
) -> np.ndarray:
    """
    Express the whole transform, initial alignment included, as a displacement in space.

    A point p of the fixed image's space is taken to p + d(p) in the moving image's.

    :param ddf: u, (f1, f2, f3, 3), fixed voxels.
    :param matrix: A of the alignment, (3, 3); voxel x goes to A (x + u(x)) + offset.
    :param offset: t of the alignment, (3,).
    :param fixed_affine: (4, 4), voxel to world (RAS, mm).
    :param moving_affine: (4, 4).
    :return: d, (f1, f2, f3, 3), mm, axes L, P, S.
    """
    grid = np.stack(
        np.meshgrid(*[np.arange(n) for n in ddf.shape[:3]], indexing="ij"), axis=-1
    )
    moved = (grid + ddf.astype(np.float64)) @ matrix.T + offset
    displacement = apply(moving_affine, moved) - apply(fixed_affine, grid)
    return (displacement @ _RAS_TO_LPS).astype(np.float32)


def save_displacement(
    path: str | Path, displacement: np.ndarray, fixed_affine: np.ndarray
) -> None:
    """
    Write a displacement field that ITK, ANTs and 3D Slicer apply as a transform.

    :param path: ends in .nii.gz.
    :param displacement: (f1, f2, f3, 3), mm, LPS.
    :param fixed_affine: (4, 4).
    """
    image = nib.Nifti1Image(displacement[:, :, :, None, :], fixed_affine)
    image.header.set_intent(NIFTI_INTENT_VECTOR)
    _set_forms(image, fixed_affine)
    nib.save(image, path)


def save_volume(path: str | Path, volume: np.ndarray, affine: np.ndarray) -> None:
    """
    Write an image or a label with its place in space.

    :param path: ends in .nii.gz.
    :param volume: (d1, d2, d3); boolean volumes are written as 8-bit labels.
    :param affine: (4, 4), voxel to world.
    """
    if volume.dtype == bool:
        volume = volume.astype(np.uint8)
    image = nib.Nifti1Image(volume, affine)
    _set_forms(image, affine)
    nib.save(image, path)


def _set_forms(image: nib.Nifti1Image, affine: np.ndarray) -> None:
    """Set sform and qform alike: readers differ in which of them they trust."""
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    try:
        image.set_qform(affine, code=1, strip_shears=False)
    except nib.spatialimages.HeaderDataError:
        # a sheared affine has no quaternion form; the sform alone is then right
        logger.warning("The affine is sheared, so only the sform is written.")
        image.set_qform(None, code=0)
