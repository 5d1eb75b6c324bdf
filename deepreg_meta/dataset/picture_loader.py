"""
DeepReg's file loader of PNG files; importing this module registers it as `png`.

Folders are those of its NIfTI loader: `moving_images/`, `fixed_images/`, `images/` and
so on, labels in folders of their own, files of one name belonging together.
"""

import os

import numpy as np
from deepreg.dataset.loader.nifti_loader import NiftiFileLoader
from deepreg.dataset.util import get_sorted_file_paths_in_dir_with_suffix
from deepreg.registry import REGISTRY
from numpy.typing import NDArray

from deepreg_meta.geometry.picture_file import read_picture

SUFFIXES = ("png", "PNG")


@REGISTRY.register_file_loader(name="png")
class PngFileLoader(NiftiFileLoader):
    """
    List and read the PNG files of one kind; the order is that of the names.

    Example::

        loader = PngFileLoader(dir_paths=["data/train"], name="images", grouped=False)
        image = loader.get_data(0)  # (columns, rows, 1), float32
    """

    def set_data_structure(self) -> None:
        """:raises ValueError: when there is no file, or a folder is missing."""
        splits = []
        for folder in self.dir_paths:
            base = os.path.join(folder, self.name)
            if not os.path.isdir(base):
                raise ValueError(f"{base}: expected a folder of PNG files, found none")
            for stem, suffix in get_sorted_file_paths_in_dir_with_suffix(
                dir_path=base, suffix=list(SUFFIXES)
            ):
                parts = os.path.split(stem) if self.grouped else (stem,)
                splits.append((folder, *parts, suffix))
        if not splits:
            raise ValueError(f"expected PNG files in {self.dir_paths}, found none")
        self.data_path_splits = sorted(splits)

    def get_data(self, index: int | tuple[int, int]) -> NDArray[np.float32]:
        """
        Read one image or label.

        :param index: its position; in grouped data that of the group and within it.
        :return: (columns, rows, 1), values as stored.
        :raises ValueError: when it cannot be read, or has colours.
        """
        if isinstance(index, tuple):
            position = self.group_struct[index[0]][index[1]]
        else:
            position = index
        *parts, suffix = self.data_path_splits[position]
        path = f"{os.path.join(parts[0], self.name, *parts[1:])}.{suffix}"
        return read_picture(path).astype(np.float32)
