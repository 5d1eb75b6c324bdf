"""
What DeepReg's two file loaders know of a volume beside its voxels: file, affine, shape.
"""

import os
from typing import Any

import nibabel as nib
import numpy as np


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


def stored_affine(loader: Any, index: int) -> np.ndarray | None:
    """
    Read the affine that is stored beside the voxels.

    :param loader: DeepReg's file loader.
    :param index: position in its order.
    :return: (4, 4), voxel indices to world coordinates; None for HDF5 without the
        attribute `affine` on its data set.
    """
    if _is_h5(loader):
        return _h5_dataset(loader, index).attrs.get("affine")
    image: Any = nib.load(file_path(loader, index))  # its type depends on the file
    return image.affine


def stored_shape(loader: Any, index: int) -> tuple[int, ...]:
    """
    Read the shape of one volume without its voxels.

    :param loader: DeepReg's file loader.
    :param index: position in its order.
    :return: shape as stored.
    """
    if _is_h5(loader):
        return _h5_dataset(loader, index).shape
    image: Any = nib.load(file_path(loader, index))
    return image.shape
