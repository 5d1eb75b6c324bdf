"""
Transforms in files, for ITK, ANTs, 3D Slicer and DeepReg.

Example::

    transform = load_transform("transform.h5")
    save_transform("field.nii.gz", transform, read_volume("fixed.nii.gz").grid)
"""

import logging
import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import GeometryError, apply
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.itk_file import keeps_to_plane, read_itk, write_itk
from deepreg_meta.geometry.nifti_field import read_field, save_deepreg_ddf, write_field
from deepreg_meta.geometry.transform import Affine, Field, Part, Transform
from deepreg_meta.geometry.whole_file import suffix_of

__all__ = ["load_transform", "save_deepreg_ddf", "save_transform"]

logger = logging.getLogger(__name__)

_ITK_HEAD = b"#Insight Transform File"
_MAX_GROWTH = 4  # of a field's grid that is padded, over the larger of both grids
_ROUNDING_VOX = 1e-3  # beyond the outer voxel centres, for which no voxels are added


def save_transform(
    path: str | Path,
    transform: Transform,
    fixed_grid: Grid | None,
    is_planar: bool = False,
) -> None:
    """
    Write a transform so that other programs do the same to every fixed voxel.

    :param path: `.h5` is an ITK transform (a field and the affine maps before and after
        it as a composite); `.nii.gz` or `.nii` the whole as one displacement field
        (that of a single slice is taken for two-dimensional by SimpleITK, with three
        components: use .h5); `.tfm` or `.txt` an ITK transform of affine maps alone.
    :param transform: fixed space to moving space.
    :param fixed_grid: of the fixed image; fields are written on it, since ITK knows no
        displacement outside a field. In `.h5` a field after affine maps, as that of an
        inverse, keeps its own grid, so that nothing is lost between its voxels; where
        it goes on beyond its border, it does so as far as `fixed_grid` reaches. None
        will do for affine maps in an ITK file.
    :param is_planar: write a transform of two dimensions, which ITK applies to images
        of two axes, where the transform keeps to the plane z = 0.
    :raises GeometryError: for a field that is not finite, or in a text file.
    :raises ValueError: for another suffix, or a grid that is missing.
    """
    suffix, matrix = suffix_of(path), transform.matrix
    if suffix not in (".h5", ".nii.gz", ".nii", ".tfm", ".txt"):
        raise ValueError(
            f"{path}: expected a transform file that ends in .h5, .nii.gz, .nii, .tfm "
            f"or .txt, got {suffix!r}."
        )
    if suffix in (".tfm", ".txt") and matrix is None:
        raise GeometryError(
            f"{path}: expected an affine transform, got one with a displacement field. "
            "Write it to .h5 or .nii.gz."
        )
    if matrix is not None and not suffix.startswith(".nii"):
        whole = Affine(matrix)
        write_itk(path, (whole,), _dimension((whole,), is_planar))
        return
    if fixed_grid is None:
        raise ValueError(f"{path}: a displacement field needs the fixed image's grid.")
    if suffix == ".h5":
        parts = _itk_parts(transform, fixed_grid, str(path))
        write_itk(path, parts, _dimension(parts, is_planar))
    else:
        field = _finite_field(transform, fixed_grid, str(path))
        write_field(path, field, _dimension((field,), is_planar))


def _dimension(parts: tuple[Part, ...], is_planar: bool) -> Literal[2, 3]:
    return 2 if is_planar and all(map(keeps_to_plane, parts)) else 3


def _itk_parts(transform: Transform, fixed_grid: Grid, path: str) -> tuple[Part, ...]:
    """Return a field, and what precedes and follows it where that is affine."""
    parts = _around_field(transform, fixed_grid, path)
    if parts is None:  # what precedes the field is sampled with it
        after = Transform(transform.parts[1:]).matrix
        if after is None:
            return (_finite_field(transform, fixed_grid, path),)
        field = _finite_field(Transform(transform.parts[:1]), fixed_grid, path)
        parts = (field, Affine(after))
    return tuple(part for part in parts if not _is_identity(part))


def _is_identity(part: Part) -> bool:
    return isinstance(part, Affine) and np.array_equal(part.matrix, np.eye(4))


def _around_field(
    transform: Transform, fixed_grid: Grid, path: str
) -> tuple[Part, ...] | None:
    """
    Return the map before the only field, the field on its own grid, and that after it.

    :return: None where the field comes first or is not alone, or where it would have to
        grow much to go on as far as the fixed grid reaches.
    :raises GeometryError: for a field that is not finite.
    """
    fields = {
        index: part
        for index, part in enumerate(transform.parts)
        if isinstance(part, Field)
    }
    first, field = next(iter(fields.items()))
    before = Transform(transform.parts[:first]).matrix
    after = Transform(transform.parts[first + 1 :]).matrix
    if first == 0 or before is None or after is None:
        return None
    field.check_finite(path)
    if field.outside == "border":
        grid = field.grid.padded(_margin(field.grid, before, fixed_grid))
        largest = max(np.prod(field.grid.shape), np.prod(fixed_grid.shape))
        if np.prod(grid.shape) > _MAX_GROWTH * largest:
            return None
        field = Transform((field,)).as_field(grid)
    return Affine(before), field, Affine(after)


def _margin(grid: Grid, before: NDArray, fixed_grid: Grid) -> NDArray:
    """Return the voxels that a grid lacks to hold another one, once mapped, (3, 2)."""
    # the outer half voxels too, but for the plane of a single slice
    ends = [(-0.5, n - 0.5) if n > 1 else (0, 0) for n in fixed_grid.shape]
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)
    reach = grid.to_voxel(apply(before, fixed_grid.to_world(corners)))
    beyond = reach.max(axis=0) - (np.array(grid.shape) - 1)
    lacking = np.stack([-reach.min(axis=0), beyond], axis=1)
    return np.maximum(np.ceil(lacking - _ROUNDING_VOX), 0)


def _finite_field(transform: Transform, grid: Grid, path: str) -> Field:
    field = transform.as_field(grid)
    field.check_finite(path)
    return field


def load_transform(
    path: str | Path, fixed_grid: Grid | None = None, moving_grid: Grid | None = None
) -> Transform:
    """
    Read a transform that takes points of the fixed image to the moving image.

    :param path: an ITK transform (.h5, .tfm, .txt, .mat: affine kinds, displacement
        fields, composites; other kinds are sampled on `fixed_grid`), a displacement
        field (.nii.gz, .nii: intent 1007, or DeepReg's layout in voxels), or a plain
        matrix (.npy, .txt: 4 x 4, fixed to moving, mm, RAS).
    :param fixed_grid: of the fixed image.
    :param moving_grid: of the moving image, which DeepReg's layout needs.
    :return: RAS mm.
    :raises FileNotFoundError: when there is no such file.
    :raises GeometryError: for a transform that cannot be, or whose meaning is open.
    :raises ValueError: for a file of another kind.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a transform file, found none.")
    suffix = suffix_of(path)
    if suffix in (".nii.gz", ".nii"):
        return read_field(path, fixed_grid, moving_grid)
    if suffix == ".npy" or (suffix in (".txt", ".mat") and _is_table(path)):
        return _read_matrix(path, suffix)
    if suffix in (".h5", ".tfm", ".txt", ".mat"):
        return read_itk(path, fixed_grid)
    raise ValueError(
        f"{path}: expected a transform file that ends in .h5, .tfm, .txt, .mat, .npy, "
        f".nii.gz or .nii, got {suffix!r}."
    )


def _is_table(path: Path) -> bool:
    """Tell whether a file is text that holds numbers alone."""
    start = path.read_bytes()[:2000]
    return re.fullmatch(rb"[\s\d.,;eE+\-]+", start) is not None


def _read_matrix(path: Path, suffix: str) -> Transform:
    """Read 4 x 4 numbers."""
    if suffix == ".mat":
        raise GeometryError(
            f"{path}: expected an ITK transform, got a table of numbers as FSL writes "
            "it. FSL's matrices do not map mm to mm: convert it to an ITK transform "
            "first (c3d_affine_tool)."
        )
    try:
        matrix: NDArray = (
            np.load(path, allow_pickle=False) if suffix == ".npy" else np.loadtxt(path)
        )
    except ValueError as err:
        raise ValueError(f"{path}: cannot be read as a matrix ({err}).") from err
    if matrix.shape != (4, 4) or not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise GeometryError(
            f"{path}: expected a 4 x 4 matrix with last row 0 0 0 1 (fixed to moving, "
            f"mm, RAS), got shape {matrix.shape}, last row {matrix[-1:].tolist()}."
        )
    logger.info("%s: read as a matrix from fixed to moving space, mm, RAS.", path)
    try:
        return Transform((Affine(matrix),))
    except GeometryError as err:
        raise GeometryError(f"{path}: {err}") from err
