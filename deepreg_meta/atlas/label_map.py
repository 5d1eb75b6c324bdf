"""Index maps in files: a whole number for each voxel of an image."""

from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.flat import label_shape, volume_shape
from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.dataset.place_check import check_place, check_same_place
from deepreg_meta.dataset.stored import read_place
from deepreg_meta.geometry.picture_file import is_picture, read_header, save_picture
from deepreg_meta.geometry.volume_file import (
    UNREADABLE,
    load_image,
    read_volume,
    save_volume,
)
from deepreg_meta.geometry.whole_file import whole_file

LARGEST = 65535  # value of a structure


def read_label_map(files: ImageFiles) -> NDArray[np.int32]:
    """
    Read the index map of an image.

    :param files: image and label.
    :return: (d1, d2, d3), on the image's grid.
    :raises ValueError: without a label; for a file that cannot be read, lies elsewhere
        than the image, or holds other than whole numbers from 0 to 65535.
    """
    if files.label is None:
        raise ValueError(f"{files.image}: expected a label beside it, got none.")
    problems = header_problems(files)
    if problems:
        raise ValueError("\n".join(problems))
    voxels = read_volume(files.label).voxels
    voxels = voxels.reshape(voxels.shape[:3])  # there is one channel
    whole = np.round(voxels)
    if not np.isfinite(voxels).all() or not np.array_equal(voxels, whole):
        raise ValueError(
            f"{files.label}: expected an index map of whole numbers, got values "
            "between them."
        )
    if whole.min() < 0 or whole.max() > LARGEST:
        raise ValueError(
            f"{files.label}: expected an index map of whole numbers from 0 to "
            f"{LARGEST}, got {whole.min():g} to {whole.max():g}."
        )
    return np.ascontiguousarray(whole.astype(np.int32))


def read_atlas(files: ImageFiles) -> NDArray[np.int32]:
    """
    Read the index map of an atlas.

    :param files: image and label.
    :return: as of `read_label_map`.
    :raises ValueError: as `read_label_map` does, and for a map without a structure.
    """
    voxels = read_label_map(files)
    if not voxels.any():
        raise ValueError(
            f"{files.label}: expected an index map with at least one structure, got "
            "zeros alone."
        )
    return voxels


def check_headers(images: Iterable[ImageFiles]) -> None:
    """
    Check, by headers alone, that labels lie on the grids of their images.

    :param images: with or without labels.
    :raises ValueError: with the problems of all files.
    """
    problems = [text for files in images for text in header_problems(files)]
    if problems:
        raise ValueError(
            f"Nothing was segmented: {len(problems)} problems with files.\n  "
            + "\n  ".join(problems)
        )


def header_problems(files: ImageFiles) -> list[str]:
    """
    Look at the headers of an image and of its label.

    :param files: of the image.
    :return: what is wrong, empty for nothing.
    """
    try:
        shape, place = _shape_of(files.image), read_place(str(files.image))
        problems = check_place(place, str(files.image))
        if files.label is None or problems:
            return problems
        own = label_shape(_shape_of(files.label), shape)
        if own != shape or len(own) != 3:
            return [
                f"{files.label}: expected an index map on the grid of its image, "
                f"{shape}, got {own}."
            ]
        label = read_place(str(files.label))
    except UNREADABLE as err:
        return [str(err)]
    sides = shape[0], shape[1], shape[2]
    return check_same_place(label, place, sides, str(files.label), str(files.image))


def _shape_of(path: Path) -> tuple[int, ...]:
    """Read the shape of a file, a slice with a third side of 1, one channel without."""
    if is_picture(path):
        return volume_shape(read_header(path).size)
    shape = volume_shape(load_image(path).shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def save_label_map(folder: Path, name: str, labels: NDArray, image: Path) -> None:
    """
    Write an index map in the space of an image.

    :param folder: gets `<name>.nii.gz`, with the header of the image where that is
        NIfTI, and for a PNG a `<name>.png` too.
    :param name: of the file.
    :param labels: (d1, d2, d3), on the image's grid.
    :param image: its file.
    """
    ends = np.min_scalar_type(labels.min()), np.min_scalar_type(labels.max())
    small = labels.astype(np.result_type(*ends))
    path = folder / f"{name}.nii.gz"
    if is_picture(image):
        header = read_header(image)
        save_volume(path, small, header.affine, is_planar=True)
        save_picture(folder / f"{name}.png", small, spacing=header.spacing or (1, 1))
        return
    like = load_image(image)
    if not isinstance(like, nib.Nifti1Image):
        save_volume(path, small, like.affine)
        return
    header = like.header.copy()
    header.set_data_dtype(small.dtype)
    header["cal_min"] = header["cal_max"] = 0  # the window of grey values
    with whole_file(path) as part:
        nib.save(nib.Nifti1Image(small.reshape(like.shape), like.affine, header), part)
