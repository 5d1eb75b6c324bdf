"""Transforms of ITK, and the files that ITK, ANTs and 3D Slicer open as such."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import (
    FLIP,
    GeometryError,
    swap_ras_lps,
)
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.itk_image import image_affine
from deepreg_meta.geometry.transform import Affine, Field, Part, Transform
from deepreg_meta.geometry.whole_file import whole_file

_MIN_PACKED = 1000  # numbers; below it compression gains nothing
_ROUNDING = 1e-6  # mm across the plane of a map that keeps to it


def write_itk(
    path: str | Path, parts: Sequence[Part], dimension: Literal[2, 3] = 3
) -> None:
    """
    Write affine maps and fields as an ITK transform.

    :param path: .h5, .tfm or .txt; the last two for affine maps alone.
    :param parts: RAS mm, the first one applied first; fields have no displacement
        outside their grid, whatever `Field.outside` says.
    :param dimension: 2 for parts of the plane z = 0, see `keeps_to_plane`.
    """
    transforms = [_to_itk(part, dimension) for part in parts]
    # the one added last is applied first
    whole = transforms[0]
    if len(transforms) > 1:
        whole = sitk.CompositeTransform(transforms[::-1])
    with whole_file(path) as part:
        sitk.WriteTransform(whole, str(part))
        if part.suffix == ".h5":
            _pack(part)


def read_itk(path: str | Path, fixed_grid: Grid | None = None) -> Transform:
    """
    Read an ITK transform; one of two dimensions leaves z as it is.

    :param path: .h5, .tfm, .txt or .mat.
    :param fixed_grid: where to sample what is neither affine nor a field, such as
        B-splines.
    :return: RAS mm.
    :raises GeometryError: for a transform that is singular, not finite, or needs a
        grid.
    :raises ValueError: when the file is no ITK transform.
    """
    try:
        itk = sitk.ReadTransform(str(path))
    except RuntimeError as err:
        reason = str(err).strip().splitlines()[-1].strip()
        raise ValueError(
            f"{path}: expected an ITK transform, but ITK cannot read it ({reason})."
        ) from err
    try:
        parts = _from_itk(itk, str(path))
    except GeometryError as err:
        raise GeometryError(f"{path}: {err}") from err
    if parts is None:
        parts = (_sampled(itk, str(path), fixed_grid),)
    for part in parts:
        if isinstance(part, Field):
            part.check_finite(str(path))
    return Transform(tuple(parts))


def keeps_to_plane(part: Part) -> bool:
    """
    Tell whether a map leads the plane z = 0 to itself, as ITK's 2-D transforms do.

    :param part: affine map or field.
    """
    if isinstance(part, Field):
        leaves = part.vectors[..., 2]
        return part.grid.is_planar and not (np.abs(leaves) > _ROUNDING).any()
    matrix = part.matrix
    leaves = np.array([*matrix[2, :2], *matrix[:2, 2], matrix[2, 3]])
    return not (np.abs(leaves) > _ROUNDING).any()


def _to_itk(part: Part, dimension: int) -> sitk.Transform:
    axes = slice(dimension)
    if isinstance(part, Affine):
        matrix = swap_ras_lps(part.matrix)
        affine = sitk.AffineTransform(dimension)
        affine.SetMatrix(matrix[axes, axes].ravel().tolist())
        affine.SetTranslation(matrix[axes, 3].tolist())
        return affine
    vectors = (part.vectors * FLIP).transpose(2, 1, 0, 3)  # ITK's arrays are (z, y, x)
    vectors = vectors if dimension == 3 else vectors[0, :, :, axes]
    image = sitk.GetImageFromArray(vectors, isVector=True)
    _, origin, spacing, direction = _itk_grid(part.grid, dimension)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return sitk.DisplacementFieldTransform(image)


def _itk_grid(
    grid: Grid, dimension: int
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return size, origin, spacing and direction, as ITK describes a grid (LPS)."""
    axes = slice(dimension)
    direction = FLIP[:, None] * grid.affine[:3, :3] / grid.spacing_mm
    origin = FLIP * grid.affine[:3, 3]
    return (
        [*grid.shape][axes],
        origin[axes].tolist(),
        grid.spacing_mm[axes].tolist(),
        direction[axes, axes].ravel().tolist(),
    )


def _from_itk(itk: sitk.Transform, path: str) -> tuple[Part, ...] | None:
    """Return the parts, first one first; None where one is of another kind."""
    itk = itk.Downcast()
    if isinstance(itk, sitk.CompositeTransform):
        parts: list[Part] = []
        for index in reversed(range(itk.GetNumberOfTransforms())):
            found = _from_itk(itk.GetNthTransform(index), path)
            if found is None:
                return None
            parts.extend(found)
        return tuple(parts)
    if isinstance(itk, sitk.DisplacementFieldTransform):
        return (_field(itk.GetDisplacementField()),)
    if itk.IsLinear():
        # by what it does: each kind keeps its matrix and its centre in its own way
        offset = np.array(itk.TransformPoint([0.0] * itk.GetDimension()))
        units = np.eye(itk.GetDimension())
        columns = [itk.TransformPoint(unit) - offset for unit in units]
        return (Affine(swap_ras_lps(_with_z(np.stack(columns, 1), offset))),)
    return None


def _with_z(matrix: NDArray, offset: NDArray) -> NDArray[np.float64]:
    """Return the map of space, (4, 4), to that of two dimensions z being added."""
    whole, axes = np.eye(4), slice(len(offset))
    whole[axes, axes], whole[axes, 3] = matrix, offset
    return whole


def _field(image: sitk.Image) -> Field:
    """Return the field that an image of vectors (LPS, mm) holds."""
    dimension, vectors = image.GetDimension(), sitk.GetArrayFromImage(image)
    if dimension == 2:
        vectors = np.pad(vectors[None], [(0, 0), (0, 0), (0, 0), (0, 1)])
    vectors = vectors.transpose(2, 1, 0, 3) * FLIP
    small = vectors.astype(np.float32)
    # most fields were float32 before ITK made them float64
    vectors = small if np.array_equal(small, vectors) else vectors
    shape = (*image.GetSize(), 1)
    return Field(Grid((shape[0], shape[1], shape[2]), image_affine(image)), vectors)


def _sampled(itk: sitk.Transform, path: str, grid: Grid | None) -> Field:
    """Return what a transform of any kind does to the voxels of a grid."""
    if grid is None:
        raise GeometryError(
            f"{path}: expected affine transforms and displacement fields, got a "
            f"{itk.GetName()} or a composite of it. It can be sampled on the grid of "
            "the fixed image: name that image, and this transform before all others."
        )
    dimension = itk.GetDimension()
    if dimension == 2 and not grid.is_planar:
        raise GeometryError(
            f"{path}: a {itk.GetName()} of 2 dimensions can be sampled on an image of "
            "the plane z = 0 alone, which the fixed image is not."
        )
    size, origin, spacing, direction = _itk_grid(grid, dimension)
    return _field(
        sitk.TransformToDisplacementField(
            itk, sitk.sitkVectorFloat64, size, origin, spacing, direction
        )
    )


def _pack(path: Path) -> None:
    """
    Compress an .h5 file in its place.

    SimpleITK writes 24 bytes per voxel. The numbers stay float64, which every version
    of ITK reads; those that were float32 shrink to a third or less.
    """
    packed = path.with_name(f"{path.stem}-packed.h5")
    try:
        with h5py.File(path) as old, h5py.File(packed, "w") as new:
            for name in old:
                old.copy(name, new) if name != "TransformGroup" else None
            for number, group in old["TransformGroup"].items():
                for name, data in group.items():
                    _copy(data, new, f"TransformGroup/{number}/{name}")
        os.replace(packed, path)
    finally:
        packed.unlink(missing_ok=True)


def _copy(data: h5py.Dataset, new: h5py.File, name: str) -> None:
    if data.size < _MIN_PACKED:
        data.parent.copy(data, new, name)
        return
    values: NDArray = data[()]
    new.create_dataset(name, data=values, compression="gzip", shuffle=True)
