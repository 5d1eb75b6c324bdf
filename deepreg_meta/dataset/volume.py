"""
One volume: an image, its label and its place in space, read through DeepReg's file
loaders, checked, and brought to the form that networks want.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from deepreg_meta.dataset.resize import resize_affine, resize_linear, voxel_sides
from deepreg_meta.dataset.stored import file_path, stored_affine, stored_shape
from deepreg_meta.dataset.volume_check import (
    DataError,
    check_channels,
    check_image,
    check_label,
)
from deepreg_meta.stack import require_stack

_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, zlib.error),
    nib.filebasedimages.ImageFileError,
)


@dataclass(frozen=True, eq=False)
class Target:
    """
    What a volume is brought to.

    :param shape: sides of the network's grid.
    :param spacing_mm: voxel sides that replace those of the file, on the file's grid;
        None keeps the file's.
    :param label_indices: name and integer of each label where label files are index
        maps; None where they hold channels in [0, 1].
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None = None
    label_indices: Mapping[str, int] | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """
    One volume on the network's grid.

    :param image: (d1, d2, d3) float32 in [0, 1].
    :param labels: (L, d1, d2, d3) float32 in [0, 1], or None.
    :param label_names: L names.
    :param affine: (4, 4), voxel indices to the world of the file; an override of the
        spacing leaves it as it is, so that results lie over the file in every viewer.
    :param spacing_mm: (3,), lengths of the voxel's sides.
    :param spacing_is_nominal: whether the lengths are not those of the file.
    """

    image: np.ndarray
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    affine: np.ndarray
    spacing_mm: np.ndarray
    spacing_is_nominal: bool

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return self.image.nbytes + (0 if self.labels is None else self.labels.nbytes)


@dataclass(frozen=True, eq=False)
class _RawVolume:
    """What the files hold, before any check."""

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    has_affine: bool


class VolumeReader:
    """
    Read the volumes of one kind, such as all moving images with their labels.

    :param image_loader: DeepReg's file loader of the images.
    :param label_loader: DeepReg's file loader of their labels, or None.
    :param target: what the volumes are brought to.
    """

    def __init__(self, image_loader: Any, label_loader: Any, target: Target) -> None:
        self._images, self._labels, self._target = image_loader, label_loader, target

    @property
    def num_images(self) -> int:
        """Number of volumes."""
        return self._images.get_num_images()

    def image_path(self, index: int) -> str:
        """Name the file (HDF5: the file and the key) of an image."""
        return file_path(self._images, index)

    def label_path(self, index: int) -> str:
        """Name the file (HDF5: the file and the key) of a label."""
        return file_path(self._labels, index)

    def num_labels(self, index: int) -> int:
        """Count the label channels of a volume without reading its voxels."""
        if self._labels is None:
            return 0
        if self._target.label_indices is not None:
            return len(self._target.label_indices)
        shape = stored_shape(self._labels, index)
        return shape[3] if len(shape) == 4 else 1

    def read(self, index: int) -> Volume:
        """
        Read, check and prepare one volume.

        :param index: position in the order of DeepReg's file loader.
        :return: the volume on the network's grid; its arrays are read-only.
        :raises DataError: with all that is wrong with its files.
        """
        raw, problems = self._read_raw(index)
        if raw is not None:
            problems = self._check_raw(raw, index)
            if not problems:
                volume = _prepare(raw, self._target)
                if volume.labels is not None:
                    path = self.label_path(index)
                    problems = check_channels(volume.labels, volume.label_names, path)
        if problems:
            raise DataError("Volume that cannot be used:", problems)
        return volume

    def _read_raw(self, index: int) -> tuple[_RawVolume | None, list[str]]:
        arrays: list[Any] = []
        problems: list[str] = []
        for loader in (self._images, self._labels):
            try:
                arrays.append(None if loader is None else loader.get_data(index))
            except _UNREADABLE as err:
                path, reason = file_path(loader, index), f"{type(err).__name__}: {err}"
                problems.append(f"{path}: cannot be read ({reason}).")
        if problems:
            return None, problems
        affine = stored_affine(self._images, index)
        has_affine = affine is not None
        affine = np.eye(4) if affine is None else np.asarray(affine, float)
        image, label = arrays
        return _RawVolume(image, label, affine, has_affine), []

    def _check_raw(self, raw: _RawVolume, index: int) -> list[str]:
        problems = check_image(raw.image, raw.affine, self.image_path(index))
        if raw.label is not None:
            indices, path = self._target.label_indices, self.label_path(index)
            problems += check_label(raw.label, raw.image.shape, indices, path)
        return problems


def _prepare(raw: _RawVolume, target: Target) -> Volume:
    """Normalise, split index maps into channels, and resize."""
    require_stack()
    from deepreg.dataset.loader.util import normalize_array

    old = raw.image.shape
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    if raw.label is not None:
        labels, names = _split_labels(raw.label, target.label_indices)
        labels = resize_linear(labels, target.shape)
        labels.setflags(write=False)
    # float64 would double the memory; DeepReg's tensors are float32 too
    image = normalize_array(raw.image).astype(np.float32)
    image = resize_linear(image, target.shape)
    image.setflags(write=False)  # shared by everybody through the cache
    spacing = target.spacing_mm or voxel_sides(raw.affine)
    return Volume(
        image=image,
        labels=labels,
        label_names=names,
        affine=resize_affine(raw.affine, old, target.shape),
        spacing_mm=np.asarray(spacing, float) * np.divide(old, target.shape),
        spacing_is_nominal=target.spacing_mm is not None or not raw.has_affine,
    )


def _split_labels(
    label: np.ndarray, indices: Mapping[str, int] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give a label channels first, (L, d1, d2, d3), with a name for each."""
    if indices is not None:
        masks = [label == index for index in indices.values()]
        return np.stack(masks).astype(np.float32), tuple(indices)
    channels = label[None] if label.ndim == 3 else np.moveaxis(label, 3, 0)
    labels = np.ascontiguousarray(channels, dtype=np.float32)
    return labels, tuple(f"label_{i}" for i in range(len(labels)))
