"""
Displacement fields as the Learn2Reg challenge wants them: names, layout, files.

Layout: (d1, d2, d3, 3) in voxels, counted from the first voxels of both images; voxel x
of the fixed image takes the moving image's value at x + field(x). Headers do not count.

Source: github.com/MDL-UzL/L2R, evaluation/L2RTest/evaluation.py at commit 00106df.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.nifti_field import save_deepreg_ddf
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.volume_file import UNREADABLE
from deepreg_meta.geometry.whole_file import suffix_of

_IMAGE_NAME = re.compile(r"_(\d{4})_(\d{4})\.nii\.gz$")
_PART = re.compile(r"[\w.-]+")  # of a file name
SUFFIXES = (".npz", ".nii.gz")  # in the scorer's order


def image_numbers(name: str) -> tuple[str, str] | None:
    """
    Read subject and modality from the name of one of the challenge's images.

    :param name: such as `imagesTr/LungCT_0021_0001.nii.gz`.
    :return: such as ("0021", "0001"), or None for a name of another form.
    """
    found = _IMAGE_NAME.search(name)
    return (found[1], found[2]) if found else None


def is_short_pair(fixed_modality: str, moving_modality: str) -> bool:
    """Tell whether a pair goes by its subjects alone, as the scorer has it."""
    same = fixed_modality == moving_modality
    return same or (fixed_modality, moving_modality) == ("0000", "0001")


def plain_name(stem: str) -> str:
    """Return a name as fields are written under it: without blanks and the like."""
    return re.sub(r"[^\w.-]", "_", stem)


def field_stems(fixed: str, moving: str) -> tuple[str, ...]:
    """
    Name the field of a pair.

    :param fixed: file name of the fixed image.
    :param moving: file name of the moving image.
    :return: names without suffix that the field may have, the first one preferred:
        `disp_0021_0022`; where that is not unique, and always as a second choice,
        `disp_0021_0001_0022_0000` with the modalities. Images with names of another
        form give their stems.
    """
    of_fixed, of_moving = image_numbers(fixed), image_numbers(moving)
    if of_fixed is None or of_moving is None:
        stems = [Path(n).name.removesuffix(suffix_of(n)) for n in (fixed, moving)]
        plain = [plain_name(stem) for stem in stems]
        return tuple(dict.fromkeys("_".join(("disp", *n)) for n in (plain, stems)))
    full = "_".join(("disp", *of_fixed, *of_moving))
    if is_short_pair(of_fixed[1], of_moving[1]):
        return f"disp_{of_fixed[0]}_{of_moving[0]}", full
    return (full,)


def export_learn2reg(
    folder: str | Path,
    fixed_id: str,
    moving_id: str,
    transform: Transform,
    fixed_grid: Grid,
    moving_grid: Grid,
) -> Path:
    """
    Write a transform as a field that the challenge's scorer reads.

    :param folder: of the submission; it is made.
    :param fixed_id: of the fixed image; the challenge's are subject numbers of four
        digits, `0021`, with the modality, `0021_0001`, where the task needs it.
    :param moving_id: of the moving image.
    :param transform: fixed space to moving space.
    :param fixed_grid: of the fixed image.
    :param moving_grid: of the moving image, of the same shape.
    :return: the file, `disp_{fixed_id}_{moving_id}.nii.gz`, float32.
    :raises GeometryError: for grids of unequal shape, or a field that is not finite.
    :raises ValueError: for names that do not make a file name.
    """
    for name in (fixed_id, moving_id):
        if not _PART.fullmatch(name):
            raise ValueError(
                f"export_learn2reg: expected names of letters, digits, '_', '-' and "
                f"'.', such as 0021, got {name!r}."
            )
    if fixed_grid.shape != moving_grid.shape:
        raise GeometryError(
            "export_learn2reg: expected fixed and moving image of one shape, as all of "
            f"the challenge's are, got {fixed_grid.shape} and {moving_grid.shape}. "
            "Resample both to one grid, or export the transform in another format."
        )
    path = Path(folder).expanduser() / f"disp_{fixed_id}_{moving_id}.nii.gz"
    save_deepreg_ddf(path, transform, fixed_grid, moving_grid)
    return path


def read_displacement(path: Path) -> NDArray[np.floating]:
    """
    Read a field in the challenge's layout, with the scorer's types.

    :param path: .nii.gz (read as float64) or .npz with one array (as float32).
    :return: (d1, d2, d3, 3), voxels.
    :raises GeometryError: for a field in another layout.
    :raises ValueError: for a file that cannot be read.
    """
    try:
        if suffix_of(path) == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                field = _single(arrays, path)
        else:
            image: Any = nib.load(path)
            field = image.get_fdata()
    except (*UNREADABLE, zipfile.BadZipFile) as err:
        raise ValueError(f"{path}: cannot be read as a field ({err}).") from err
    if field.ndim != 4 or field.shape[-1] != 3:
        raise GeometryError(
            f"{path}: expected a field (d1, d2, d3, 3) in voxels, the challenge's "
            f"layout, got shape {field.shape}. `--protocol physical` reads ITK's."
        )
    return field


def _single(arrays: Any, path: Path) -> NDArray[np.float32]:
    if len(arrays.files) != 1:
        raise ValueError(f"expected one array, got {arrays.files}")
    return arrays[arrays.files[0]].astype(np.float32, copy=False)


def displacement_transform(
    field: NDArray, fixed_grid: Grid, moving_grid: Grid
) -> Transform:
    """
    Give a field in the challenge's layout its place in space.

    :param field: (d1, d2, d3, 3), on the fixed grid, in voxels.
    :param fixed_grid: of the fixed image.
    :param moving_grid: of the moving image.
    :return: fixed space to moving space.
    :raises GeometryError: when the field is not on the fixed grid.
    """
    vectors = field @ fixed_grid.affine[:3, :3].T
    voxel_to_voxel = moving_grid.affine @ np.linalg.inv(fixed_grid.affine)
    return Transform((Field(fixed_grid, vectors), Affine(voxel_to_voxel)))
