"""What the voxels of one file hold: intensities or labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.flat import label_shape, volume_shape
from deepreg_meta.geometry.picture_file import is_picture, mask_to_unit, read_picture
from deepreg_meta.geometry.volume_file import load_image
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.finding import Finding
from deepreg_meta.inspection.header import UNREADABLE, unreadable

FOREGROUND = 0.5  # a voxel belongs to a soft label from here on
MAX_VALUES = 64  # different values of a label that are listed
_MAX_SAMPLE = 2_000_000  # voxels that percentiles are taken of


@dataclass(frozen=True, eq=False)
class Intensities:
    """
    The voxels of an image in numbers; of the finite ones, percentiles of a sample.

    :param low: least, p1, median, p99 and high, the greatest, are of one order.
    :param num_bad: voxels that are NaN or infinite.
    :param digest: equal for images of the same voxels, whatever their headers.
    """

    low: float
    p1: float
    median: float
    p99: float
    high: float
    num_bad: int
    digest: str


@dataclass(frozen=True, eq=False)
class LabelFacts:
    """
    The voxels of a label file in numbers.

    :param values: different values as the file holds them, the first `MAX_VALUES`.
    :param num_voxels: foreground voxels by name of the structure.
    """

    values: tuple[float, ...]
    num_voxels: Mapping[str, int]


def read_voxels(entry: Entry) -> tuple[NDArray | None, list[Finding]]:
    """
    Read the voxels of a file, rescaled by slope and intercept.

    :param entry: the file.
    :return: as stored, a single channel without its axis, a 2-D image with a last side
        of 1; None when it cannot be read.
    """
    try:
        if entry.key is not None:
            with h5py.File(entry.path, "r") as file:
                voxels = np.asarray(file[entry.key])
        elif is_picture(entry.path):
            voxels = read_picture(entry.path)
        else:
            voxels = np.asarray(load_image(entry.path).dataobj)
    except UNREADABLE as err:
        return None, [unreadable(entry, err)]
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    return voxels.reshape(volume_shape(voxels.shape)), []


def read_label(
    entry: Entry, image_shape: tuple[int, ...] | None
) -> tuple[NDArray | None, list[Finding]]:
    """
    Read the voxels of a label file.

    :param entry: the file.
    :param image_shape: of its image, as stored; None where that is not known.
    :return: as `read_voxels`, channels of a 2-D label in the last of four axes.
    """
    voxels, found = read_voxels(entry)
    if voxels is not None and image_shape is not None:
        voxels = voxels.reshape(label_shape(voxels.shape, image_shape))
    return voxels, found


def as_trained(voxels: NDArray, entry: Entry, is_map: bool) -> NDArray:
    """
    Return what training makes of the voxels of a label file.

    :param voxels: as stored.
    :param entry: the file.
    :param is_map: whether its integers are declared: else a mask of 0 and 255, which
        PNG files hold, is one of 0 and 1.
    """
    is_mask = entry.key is None and is_picture(entry.path) and not is_map
    return mask_to_unit(voxels) if is_mask else voxels


def intensities(voxels: NDArray) -> Intensities:
    """
    Describe the voxels of an image.

    :param voxels: any shape, at least one voxel.
    """
    volume = np.ascontiguousarray(voxels, np.float32)
    digest = hashlib.sha1(str(volume.shape).encode() + volume.tobytes()).hexdigest()
    finite = volume[np.isfinite(volume)]
    num_bad = volume.size - finite.size
    if not finite.size:
        nan = float("nan")
        return Intensities(nan, nan, nan, nan, nan, num_bad, digest)
    sample = finite[:: -(-finite.size // _MAX_SAMPLE)]
    p1, median, p99 = map(float, np.percentile(sample, (1, 50, 99)))
    low, high = float(finite.min()), float(finite.max())
    return Intensities(low, p1, median, p99, high, num_bad, digest)


def split_label(
    voxels: NDArray, indices: Mapping[str, int] | None
) -> dict[str, NDArray[np.bool_]]:
    """
    Split a label file into its structures.

    :param voxels: (d1, d2, d3) or channels last.
    :param indices: names and integers of an index map; None where the file holds
        channels in [0, 1].
    :return: name -> foreground, (d1, d2, d3).
    """
    if indices is not None:
        return {name: voxels == index for name, index in indices.items()}
    channels = voxels[..., None] if voxels.ndim == 3 else voxels
    return {
        f"label_{i}": channels[..., i] >= FOREGROUND for i in range(channels.shape[-1])
    }


def infer_indices(voxels: NDArray) -> dict[str, int] | None:
    """
    Tell whether a label file is an index map, by its values.

    :param voxels: (d1, d2, d3) or channels last.
    :return: a name for each integer; None for channels or a mask in [0, 1].
    """
    values = np.unique(voxels[np.isfinite(voxels)])
    if voxels.ndim != 3 or not values.size or values[-1] <= 1 or values[0] < 0:
        return None
    if (values % 1).any():
        return None
    return {f"{value:g}": int(value) for value in values if value}


def label_facts(
    voxels: NDArray, indices: Mapping[str, int] | None, stored: NDArray | None = None
) -> LabelFacts:
    """
    Describe the voxels of a label.

    :param voxels: (d1, d2, d3) or channels last, as training takes them.
    :param indices: see `split_label`.
    :param stored: as the file holds them; None where those are the same.
    """
    held = voxels if stored is None else stored
    values = np.unique(held[np.isfinite(held)])[:MAX_VALUES]
    structures = split_label(voxels, indices) if voxels.ndim in (3, 4) else {}
    counts = {name: int(mask.sum()) for name, mask in structures.items()}
    return LabelFacts(tuple(map(float, values)), counts)
