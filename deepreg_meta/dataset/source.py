"""
What the files of one volume hold, and where to find it again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.stored import Place
from deepreg_meta.geometry.grid import Grid, Shape
from deepreg_meta.geometry.picture_file import Layout, mask_to_unit

Voxels = tuple[NDArray, NDArray | None]


@dataclass(frozen=True, eq=False)
class Source:
    """
    The files that a volume was made from. It holds no voxels.

    :param path: of the image (HDF5: the file and the key).
    :param grid: of the image as stored.
    :param read_voxels: reads the files once more, see `read`.
    :param label_paths: of the labels; empty without labels.
    :param has_orientation: whether the file states where its axes point.
    :param layout: of the file: a volume, a plane of two axes, or a picture.
    :param forms_apart: by how many mm sform and qform of its header differ.
    """

    path: str
    grid: Grid
    read_voxels: Callable[[], Voxels] = field(repr=False)
    label_paths: tuple[str, ...] = ()
    has_orientation: bool = True
    layout: Layout = "volume"
    forms_apart: float = 0.0

    @property
    def display(self) -> str | None:
        """How figures show it: where its axes point, `picture`, or None if unknown."""
        is_flat = self.grid.shape[2] == 1  # not placed, it is shown as a picture is
        if self.layout == "picture" or (is_flat and not self.has_orientation):
            return "picture"
        return self.grid.orientation if self.has_orientation else None

    def read(self) -> Voxels:
        """
        Read the voxels as stored, on `grid`.

        :return: image (d1, d2, d3), float32, original intensities; labels (L, d1, d2,
            d3), float32 in [0, 1], or None.
        :raises DataError: when a file cannot be read any more.
        """
        return self.read_voxels()


@dataclass(frozen=True, eq=False)
class RawLabel:
    """
    What a label file holds, before any check.

    :param path: of the file.
    :param voxels: as stored.
    :param place: of its voxels.
    :param name: of the structure where each file holds one; None where the file may
        hold several.
    """

    path: str
    voxels: NDArray
    place: Place
    name: str | None = None

    def values(self, indices: Mapping[str, int] | None) -> NDArray:
        """
        Return the values that count.

        :param indices: of `dataset.labels`.
        :return: the voxels; those of a mask of 0 and 255, which pictures hold, as 0 and
            1 where the file is no index map.
        """
        is_map = indices is not None and self.name is None
        if is_map or self.place.layout != "picture":
            return self.voxels
        return mask_to_unit(self.voxels)


@dataclass(frozen=True, eq=False)
class RawVolume:
    """
    What the files of a volume hold, before any check.

    :param path: of the image.
    :param image: voxels as stored, float32.
    :param place: of its voxels.
    :param labels: one file, several with a structure each, or none.
    :param fixed: the fixed image of the pair after its own intensity steps, for a
        moving image that is matched to it.
    """

    path: str
    image: NDArray
    place: Place
    labels: Sequence[RawLabel] = ()
    fixed: NDArray | None = None

    @property
    def shape(self) -> Shape:
        """Sides of the image, voxels; checked to be three before anybody asks."""
        d1, d2, d3 = self.image.shape
        return d1, d2, d3

    @property
    def label_paths(self) -> tuple[str, ...]:
        """The files of the labels."""
        return tuple(label.path for label in self.labels)


def split_labels(
    labels: Sequence[RawLabel], indices: Mapping[str, int] | None
) -> tuple[NDArray | None, tuple[str, ...]]:
    """
    Give labels channels first, with a name for each.

    :param labels: the files, found good.
    :param indices: name and integer of each label where a file is an index map.
    :return: (L, d1, d2, d3), float32, or None without labels; L names.
    """
    if not labels:
        return None, ()
    if labels[0].name is not None:
        channels = [label.values(indices) for label in labels]
        names = tuple(label.name or "" for label in labels)
        return np.stack(channels).astype(np.float32), names
    voxels = labels[0].values(indices)
    if indices is not None:
        masks = [voxels == index for index in indices.values()]
        return np.stack(masks).astype(np.float32), tuple(indices)
    several = voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, 3, 0)
    stacked = np.ascontiguousarray(several, dtype=np.float32)
    return stacked, tuple(f"label_{i}" for i in range(len(stacked)))
