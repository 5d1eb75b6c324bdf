"""Volumes in files, with their place in space."""

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.itk_image import is_itk_image, read_itk_image
from deepreg_meta.geometry.picture_file import (
    Layout,
    is_picture,
    read_header,
    read_picture,
)
from deepreg_meta.geometry.whole_file import whole_file

logger = logging.getLogger(__name__)

# what nibabel and the libraries below it raise for a file that is damaged, or none
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, zlib.error),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)
_ROUNDING = 1e-2  # of a voxel


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """
    What a file holds.

    :param path: of the file.
    :param voxels: (d1, d2, d3) or (d1, d2, d3, channels), as stored, rescaled by slope
        and intercept; a 2-D image has a last side of 1.
    :param grid: of the first three axes.
    :param layout: of the file: a volume, a plane of two axes, or a picture.
    :param forms_apart: as of the function of that name, mm.
    :param time_step: of the fourth axis, with its unit as NIfTI names it; None without.
    :param is_placed: whether the file says where it lies: not of pictures, nor where
        the affine is unset or the identity.
    """

    path: str
    voxels: NDArray
    grid: Grid
    layout: Layout = "volume"
    forms_apart: float = 0.0
    time_step: tuple[float, str] | None = None
    is_placed: bool = True


def check_unit(header: Any, path: str | Path) -> None:
    """
    Check that a NIfTI header counts in mm.

    :param header: nibabel's; formats without units pass.
    :param path: for the message.
    :raises GeometryError: for metres or micrometres; a header that states no unit
        counts as mm, as every reader takes it.
    """
    if not hasattr(header, "get_xyzt_units"):
        return
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:  # NIfTI has no unit of that number
        unit = f"a unit of the unknown number {int(header['xyzt_units']) % 8}"
    if unit not in ("mm", "unknown"):
        raise GeometryError(
            f"{path}: expected lengths in mm, got a header in {unit}. ITK and 3D "
            "Slicer would read its numbers as mm: rescale the affine and set the unit."
        )


def load_image(path: str | Path) -> Any:
    """
    Open a file that is no picture, as nibabel does.

    :param path: of the file.
    :raises Exception: one of `UNREADABLE`.
    """
    return read_itk_image(path) if is_itk_image(path) else nib.load(path)


def read_volume(path: str | Path) -> VolumeFile:
    """
    Read a volume with its geometry.

    :param path: of NIfTI (.nii, .nii.gz), MetaImage, NRRD (.mha, .nrrd, ...), another
        format that nibabel reads, or a PNG.
    :return: voxels and grid.
    :raises FileNotFoundError: when there is no such file.
    :raises GeometryError: for a unit that is not mm, or an affine that cannot be.
    :raises ValueError: when it cannot be read, or holds no volume.
    """
    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a file, found none.")
    if is_picture(path):
        pixels = read_picture(path)
        shape = (pixels.shape[0], pixels.shape[1], 1)
        grid = Grid(shape, read_header(path).affine)
        return VolumeFile(path, pixels, grid, "picture", is_placed=False)
    try:
        image = load_image(path)
        check_unit(image.header, path)
        voxels = np.asanyarray(image.dataobj)
    except GeometryError:
        raise
    except nib.filebasedimages.ImageFileError as err:
        raise ValueError(
            f"{path}: cannot be read ({err}). Images are NIfTI, MetaImage, NRRD, other "
            "formats that nibabel reads, and grey PNG: convert it."
        ) from err
    except UNREADABLE as err:
        raise ValueError(f"{path}: cannot be read ({err}).") from err
    if voxels.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: expected one real number per voxel, got {voxels.dtype}, as in "
            "colour or complex images. Save one channel as a volume of its own."
        )
    layout: Layout = "plane" if voxels.ndim == 2 else "volume"
    if layout == "plane":
        voxels = voxels[..., None]
    if voxels.ndim not in (3, 4, 5) or not voxels.size:
        raise ValueError(
            f"{path}: expected a volume with 2 or 3 axes, or with channels after "
            f"them, got shape {voxels.shape}."
        )
    try:
        grid = Grid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), image.affine)
    except GeometryError as err:
        raise GeometryError(f"{path}: {err}") from err
    header = image.header
    return VolumeFile(
        path,
        voxels,
        grid,
        layout,
        forms_apart(header),
        _time_step(header, voxels),
        _is_placed(grid, header),
    )


def _is_placed(grid: Grid, header: Any) -> bool:
    """Tell whether a file says where it lies; DeepReg's say the identity."""
    if hasattr(header, "get_sform"):
        codes = int(header["sform_code"]), int(header["qform_code"])
        if not any(codes):
            return False
    return not np.allclose(grid.affine, np.eye(4), atol=1e-6)


def _time_step(header: Any, voxels: NDArray) -> tuple[float, str] | None:
    """Return the step of the fourth axis, and its unit."""
    if voxels.ndim != 4 or not hasattr(header, "get_xyzt_units"):
        return None
    return float(header.get_zooms()[3]), str(header.get_xyzt_units()[1])


def save_volume(
    path: str | Path,
    volume: NDArray,
    affine: NDArray,
    is_planar: bool = False,
    time_step: tuple[float, str] | None = None,
) -> None:
    """
    Write an image or a label with its place in space.

    :param path: ends in .nii or .nii.gz.
    :param volume: (d1, d2, d3) or with channels; boolean volumes are written as 8-bit
        labels, whole numbers of 64 bits as 32 bits, which every reader knows.
    :param affine: (4, 4), voxel to world (RAS, mm).
    :param is_planar: write a single slice as an image of two axes.
    :param time_step: of the fourth axis, with its unit; None where that is no time.
    """
    if is_planar:
        volume = volume[:, :, 0]
    if volume.dtype == bool:
        volume = volume.astype(np.uint8)
    if volume.dtype in (np.int64, np.uint64):
        volume = volume.astype(np.int32)
    image = nib.Nifti1Image(volume, affine)
    set_forms(image, affine)
    if time_step is not None and image.ndim == 4:
        step, unit = time_step
        image.header.set_zooms((*image.header.get_zooms()[:3], step))
        image.header.set_xyzt_units("mm", None if unit == "unknown" else unit)
    with whole_file(path) as part:
        nib.save(image, part)


def forms_apart(header: Any) -> float:
    """
    Return by how much sform and qform of a header differ, in mm.

    :param header: nibabel's.
    :return: the largest difference of their entries; 0 where at most one of them is
        coded, and where rounding explains it.
    """
    if not hasattr(header, "get_sform"):
        return 0.0
    if 0 in (int(header["sform_code"]), int(header["qform_code"])):
        return 0.0
    try:
        apart = float(np.abs(header.get_sform() - header.get_qform()).max())
    except (ValueError, nib.spatialimages.HeaderDataError):
        return 0.0
    return apart if apart > _ROUNDING * max(header.get_zooms()[:3]) else 0.0


def say_of_forms(path: str, apart: float) -> str:
    """
    Say what follows where the forms of a file differ.

    :param path: of the file.
    :param apart: from `forms_apart`, > 0.
    """
    return (
        f"{path}: sform and qform name different places (by up to {apart:.3g} mm), and "
        "programs differ in which of them they trust. Make them alike."
    )


def set_forms(image: nib.Nifti1Image, affine: NDArray) -> None:
    """Set sform and qform alike: readers differ in which of them they trust."""
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    try:
        image.set_qform(affine, code=1, strip_shears=False)
    except nib.spatialimages.HeaderDataError:
        # a sheared affine has no quaternion form; the sform alone is then right
        logger.warning("The affine is sheared, so only the sform is written.")
        image.set_qform(None, code=0)
