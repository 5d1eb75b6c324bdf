"""
What files know of a volume beside its voxels: path, place in space, shape.
"""

import os
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.picture_file import Layout, is_picture, read_header
from deepreg_meta.geometry.volume_file import check_unit, forms_apart, load_image


@dataclass(frozen=True, eq=False)
class Place:
    """
    Where a file says that its voxels lie, before any check.

    :param affine: voxel indices to the world in mm; the identity where the file has
        none.
    :param has_affine: whether the file has an affine at all, as every NIfTI file does.
    :param forms: what the file states: NIfTI has up to two forms (sform, qform), which
        rounding may set some tenths of a voxel apart. None where they are unset.
    :param problem: about the unit of length, for the user; empty where it is mm.
    :param layout: of the file: a volume, a plane of two axes, or a picture.
    :param forms_apart: by how much the two forms differ, mm; 0 but for more than that.
    """

    affine: NDArray
    has_affine: bool
    forms: tuple[NDArray, ...]
    problem: str = ""
    layout: Layout = "volume"
    forms_apart: float = 0.0

    @property
    def has_orientation(self) -> bool:
        """Whether the file states where its axes point."""
        return bool(self.forms)


def read_place(path: str) -> Place:
    """
    Read where the voxels of a file lie.

    :param path: of a PNG, or another file that `read_volume` reads.
    :return: the place; that of a picture is ITK's, and states a spacing at most.
    """
    if not is_picture(path):
        return place_of(load_image(path), path)
    header = read_header(path)
    return Place(header.affine, header.spacing is not None, (), layout="picture")


def place_of(image: Any, path: str) -> Place:
    """
    Read where the voxels of a nibabel image lie.

    :param image: as nibabel loads it.
    :param path: for messages.
    :return: the place.
    """
    header, forms, problem = image.header, [image.affine], ""
    if hasattr(header, "get_sform"):
        forms = []
        for get_form in (header.get_sform, header.get_qform):
            try:
                form, code = get_form(coded=True)
            except (ValueError, nib.spatialimages.HeaderDataError):
                continue  # a qform that is no rotation
            forms += [form] if code > 0 else []
    try:
        check_unit(header, path)
    except GeometryError as err:
        problem = str(err)
    affine = np.array(image.affine, float)
    layout, apart = layout_of(image.shape), forms_apart(header)
    return Place(affine, True, tuple(forms), problem, layout, apart)


def layout_of(shape: tuple[int, ...]) -> Layout:
    """
    Name the layout of a file that is no picture.

    :param shape: as stored.
    """
    return "plane" if len(shape) == 2 else "volume"


def file_path(loader: Any, index: int) -> str:
    """
    Name the file of one volume.

    :param loader: DeepReg's file loader.
    :param index: position in its order.
    :return: path; for HDF5 the file and the key within.
    """
    split = loader.data_path_splits[index]
    if _is_h5(loader):
        return f"{os.path.join(split[0], loader.name)}.h5, key {split[1]}"
    folder, stem, suffix = split
    return f"{os.path.join(folder, loader.name, stem)}.{suffix}"


def _is_h5(loader: Any) -> bool:
    return getattr(loader, "h5_files", None) is not None


def _h5_dataset(loader: Any, index: int) -> Any:
    folder, key = loader.data_path_splits[index]
    return loader.h5_files[folder][key]


def stored_place(loader: Any, index: int) -> Place:
    """
    Read the place that is stored beside the voxels.

    :param loader: DeepReg's file loader.
    :param index: position in its order.
    :return: the place; HDF5 has one in the attribute `affine` of its data set.
    """
    if _is_h5(loader):
        return h5_place(_h5_dataset(loader, index))
    return read_place(file_path(loader, index))


def h5_place(data: Any) -> Place:
    """
    Read where the voxels of a data set of HDF5 lie.

    :param data: h5py's, with an attribute `affine` or none.
    """
    affine, layout = data.attrs.get("affine"), layout_of(data.shape)
    if affine is None:
        return Place(np.eye(4), False, (), layout=layout)
    affine = np.asarray(affine, float)
    return Place(affine, True, (affine,), layout=layout)


def stored_shape(loader: Any, index: int) -> tuple[int, ...]:
    """
    Read the shape of one volume without its voxels.

    :param loader: DeepReg's file loader.
    :param index: position in its order.
    :return: shape as stored.
    """
    if _is_h5(loader):
        return _h5_dataset(loader, index).shape
    path = file_path(loader, index)
    if is_picture(path):
        return read_header(path).size
    return load_image(path).shape
