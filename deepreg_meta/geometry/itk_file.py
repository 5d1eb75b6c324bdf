"""Transforms of ITK, and the files that ITK, ANTs and 3D Slicer open as such."""

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import (
    FLIP,
    GeometryError,
    from_parts,
    swap_ras_lps,
)
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Field, Part, Transform
from deepreg_meta.geometry.whole_file import whole_file

_MIN_PACKED = 1000  # numbers; below it compression gains nothing


def write_itk(path: str | Path, parts: Sequence[Part]) -> None:
    """
    Write affine maps and fields as an ITK transform.

    :param path: .h5, .tfm or .txt; the last two for affine maps alone.
    :param parts: RAS mm, the first one applied first; fields have no displacement
        outside their grid, whatever `Field.outside` says.
    """
    transforms = [_to_itk(part) for part in parts]
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
    Read an ITK transform.

    :param path: .h5, .tfm, .txt or .mat.
    :param fixed_grid: where to sample what is neither affine nor a field, such as
        B-splines.
    :return: RAS mm.
    :raises GeometryError: for a transform that is not of three dimensions, singular,
        not finite, or that needs a grid.
    :raises ValueError: when the file is no ITK transform.
    """
    try:
        itk = sitk.ReadTransform(str(path))
    except RuntimeError as err:
        reason = str(err).strip().splitlines()[-1].strip()
        raise ValueError(
            f"{path}: expected an ITK transform, but ITK cannot read it ({reason})."
        ) from err
    if itk.GetDimension() != 3:
        raise GeometryError(
            f"{path}: expected a transform of 3 dimensions, got {itk.GetDimension()}."
        )
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


def _to_itk(part: Part) -> sitk.Transform:
    if isinstance(part, Affine):
        matrix = swap_ras_lps(part.matrix)
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(matrix[:3, :3].ravel().tolist())
        affine.SetTranslation(matrix[:3, 3].tolist())
        return affine
    vectors = (part.vectors * FLIP).transpose(2, 1, 0, 3)  # ITK's arrays are (z, y, x)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    _, origin, spacing, direction = _itk_grid(part.grid)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return sitk.DisplacementFieldTransform(image)


def _itk_grid(grid: Grid) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return size, origin, spacing and direction, as ITK describes a grid (LPS)."""
    direction = FLIP[:, None] * grid.affine[:3, :3] / grid.spacing_mm
    origin = FLIP * grid.affine[:3, 3]
    return (
        list(grid.shape),
        origin.tolist(),
        grid.spacing_mm.tolist(),
        direction.ravel().tolist(),
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
        offset = np.array(itk.TransformPoint((0.0, 0.0, 0.0)))
        columns = [itk.TransformPoint(unit) - offset for unit in np.eye(3)]
        return (Affine(swap_ras_lps(from_parts(np.stack(columns, 1), offset))),)
    return None


def _field(image: sitk.Image) -> Field:
    """Return the field that an image of vectors (LPS, mm) holds."""
    vectors = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3) * FLIP
    small = vectors.astype(np.float32)
    # most fields were float32 before ITK made them float64
    vectors = small if np.array_equal(small, vectors) else vectors
    direction = np.reshape(image.GetDirection(), (3, 3))
    matrix = FLIP[:, None] * direction * image.GetSpacing()
    affine = from_parts(matrix, FLIP * image.GetOrigin())
    shape = image.GetSize()
    return Field(Grid((shape[0], shape[1], shape[2]), affine), vectors)


def _sampled(itk: sitk.Transform, path: str, grid: Grid | None) -> Field:
    """Return what a transform of any kind does to the voxels of a grid."""
    if grid is None:
        raise GeometryError(
            f"{path}: expected affine transforms and displacement fields, got a "
            f"{itk.GetName()} or a composite of it. It can be sampled on the grid of "
            "the fixed image: name that image, and this transform before all others."
        )
    size, origin, spacing, direction = _itk_grid(grid)
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
