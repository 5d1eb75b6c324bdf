"""
Displacement fields in NIfTI files: ITK's, in mm, DeepReg's, in voxels, and the places
that SPM writes.
"""

import logging
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import FLIP, GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.volume_file import VolumeFile, read_volume, set_forms
from deepreg_meta.geometry.whole_file import whole_file

logger = logging.getLogger(__name__)

_NO_INTENT, _DISPLACEMENT, _VECTOR = 0, 1006, 1007
_PLACES = "Mapping"  # the intent name by which SPM says that y_*.nii holds places


def write_field(path: str | Path, field: Field, dimension: Literal[2, 3] = 3) -> None:
    """
    Write a field that ITK, ANTs and 3D Slicer apply as a transform.

    Not so of a single slice with three components: ITK's reader drops the third axis,
    whatever the header says, and is left with two axes, which is no transform. An ITK
    transform (.h5) has no such gap, and `deepreg_warp` reads both.

    :param path: ends in .nii or .nii.gz.
    :param field: stored as (d1, d2, d3, 1, 3), mm, axes L, P, S, intent 1007: readers
        flip x and y of a field with intent 1006.
    :param dimension: 2 leaves the third component of a single slice out, (d1, d2, 1,
        1, 2), and ITK reads a field of two dimensions.
    """
    vectors = (field.vectors * FLIP).astype(np.float32)[..., :dimension]
    image = nib.Nifti1Image(vectors[:, :, :, None, :], field.grid.affine)
    image.header.set_intent(_VECTOR)
    _write(path, image, field.grid)


def save_deepreg_ddf(
    path: str | Path, transform: Transform, fixed_grid: Grid, moving_grid: Grid
) -> None:
    """
    Write a transform in DeepReg's layout, for DeepReg's `deepreg_warp`.

    Voxel x of the fixed image takes the moving image's value at voxel x + ddf(x): both
    are counted from their first voxels, wherever these lie in space. With two grids of
    one shape this is the layout of the Learn2Reg challenge too.

    :param path: ends in .nii or .nii.gz.
    :param transform: fixed space to moving space.
    :param fixed_grid: of the fixed image; its affine goes into the header, which
        DeepReg does not look at.
    :param moving_grid: of the moving image, as its file has it.
    :raises GeometryError: for displacements that are not finite.
    """
    ddf = np.empty((*fixed_grid.shape, 3), np.float32)
    for part, voxels in fixed_grid.slabs():
        points = transform.map_slab(fixed_grid, part, voxels)
        ddf[part] = moving_grid.to_voxel(points) - voxels
    Field(fixed_grid, ddf).check_finite(str(path))
    _write(path, nib.Nifti1Image(ddf, fixed_grid.affine), fixed_grid)


def read_field(
    path: str | Path, fixed_grid: Grid | None = None, moving_grid: Grid | None = None
) -> Transform:
    """
    Read a displacement field, ITK's or DeepReg's, or a deformation field of SPM; the
    header tells which.

    :param path: .nii or .nii.gz.
    :param fixed_grid: of the fixed image, for a field in DeepReg's layout whose header
        says nothing of its place, as DeepReg writes it.
    :param moving_grid: of the moving image, in whose voxels DeepReg's layout counts.
    :return: fixed space to moving space.
    :raises GeometryError: for a layout that is neither, values that are not finite, or
        grids that are missing or do not fit.
    """
    volume = read_volume(path)
    header: Any = nib.load(volume.path).header
    shape, intent = volume.voxels.shape, int(header["intent_code"])
    if intent == _DISPLACEMENT:
        raise GeometryError(
            f"{path}: expected intent code 1007 (vector), got 1006 (displacement "
            "vector). ITK would flip x and y of this field, other programs would not, "
            "so its meaning is open: write it anew with 1007, in mm, LPS."
        )
    kind = bytes(header["intent_name"]).decode("latin-1").rstrip("\0")
    is_flat = shape[2:] == (1, 1, 2)  # of two dimensions
    is_field = intent == _VECTOR and (shape[3:] == (1, 3) or is_flat)
    if is_field and not kind.startswith("NREG"):
        if kind == _PLACES and not is_flat:
            field = _from_places(volume)
        else:
            missing = [(0, 0)] * 3 + [(0, 3 - shape[4])]
            vectors = np.pad(volume.voxels[:, :, :, 0], missing) * FLIP
            field = Field(volume.grid, _floats(vectors))
        field.check_finite(str(path))
        return Transform((field,))
    if intent == _NO_INTENT and shape[3:] == (3,):
        return _from_voxels(volume, fixed_grid, moving_grid)
    raise GeometryError(
        f"{path}: expected a displacement field, either of shape (d1, d2, d3, 1, 3), "
        "in two dimensions (d1, d2, 1, 1, 2), with intent code 1007 (mm, LPS), or of "
        "shape (d1, d2, d3, 3) with intent code "
        f"0 (DeepReg's, voxels), got shape {shape}, intent code {intent} and intent "
        f"name {kind!r}."
    )


def _from_places(volume: VolumeFile) -> Field:
    """Take each voxel's own place off the place it is led to, both RAS in mm."""
    vectors = np.empty((*volume.grid.shape, 3), np.float32)
    for part, voxels in volume.grid.slabs():
        vectors[part] = volume.voxels[part, :, :, 0] - volume.grid.to_world(voxels)
    return Field(volume.grid, vectors)


def _from_voxels(
    volume: VolumeFile, fixed_grid: Grid | None, moving_grid: Grid | None
) -> Transform:
    """Express DeepReg's displacement in space: a field, then voxel to voxel."""
    if moving_grid is None:
        raise GeometryError(
            f"{volume.path}: a field of shape (d1, d2, d3, 3) is in DeepReg's layout "
            "and counts voxels of the moving image: name the moving image too."
        )
    grid = volume.grid
    if not volume.is_placed:
        grid = _fixed_grid(volume, fixed_grid)
    vectors = _floats(volume.voxels @ grid.affine[:3, :3].T)
    field = Field(grid, vectors)
    field.check_finite(volume.path)
    # not one field: what is beyond it, and its inverse, keep the map of the grids
    return Transform((field, Affine(moving_grid.affine @ np.linalg.inv(grid.affine))))


def _fixed_grid(volume: VolumeFile, fixed_grid: Grid | None) -> Grid:
    """Return the fixed image's grid for a field whose file does not say it."""
    if fixed_grid is None:
        logger.warning(
            "%s: the header does not say where the field lies, and no fixed image is "
            "named, so its voxel indices are taken for mm.",
            volume.path,
        )
        return volume.grid
    if fixed_grid.shape != volume.grid.shape:
        raise GeometryError(
            f"{volume.path}: expected a field on the fixed image's grid, "
            f"{fixed_grid.shape}, got {volume.grid.shape}, and its header does not say "
            "where it lies."
        )
    return fixed_grid


def _floats(vectors: NDArray) -> NDArray[np.float32]:
    return vectors.astype(np.float32)


def _write(path: str | Path, image: nib.Nifti1Image, grid: Grid) -> None:
    set_forms(image, grid.affine)
    with whole_file(path) as part:
        nib.save(image, part)
