"""The files of one image that belongs to no data set: what they hold, unchecked."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.flat import label_shape
from deepreg_meta.dataset.source import RawLabel, RawVolume
from deepreg_meta.dataset.stored import Place, read_place
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.geometry.volume_file import read_volume

StrPath = str | PathLike[str]


@dataclass(frozen=True)
class PairFiles:
    """
    The files of one side of a pair, in any format of `read_volume`.

    :param image: the volume.
    :param labels: one file with channels or an index map (`dataset.labels`), or several
        without channels, each a structure that its file's stem names.
    :param landmarks: points; they are not read here.
    :param mask: where the image counts, on its grid; 0 and one positive value.
    """

    image: StrPath
    labels: Sequence[StrPath] = ()
    landmarks: StrPath | None = None
    mask: StrPath | None = None

    def __post_init__(self) -> None:
        """Take a single label file for a list of one."""
        if isinstance(self.labels, str | PathLike):
            object.__setattr__(self, "labels", (self.labels,))


def read_files(files: PairFiles) -> tuple[RawVolume, RawLabel | None]:
    """
    Read the volumes of one side.

    :param files: of the side.
    :return: image with labels, and the mask or None.
    :raises DataError: with every file that cannot be read.
    """
    paths = [files.image, *files.labels, *([files.mask] if files.mask else [])]
    loaded: list[tuple[str, NDArray, Place]] = []
    problems: list[str] = []
    for path in paths:
        try:
            loaded.append(_read(path))
        except (ValueError, OSError) as err:
            problems.append(str(err))
    stems = [_stem(path) for path in files.labels]
    twice = sorted({name for name in stems if stems.count(name) > 1})
    if twice:
        problems.append(
            f"{files.labels[0]}: expected label files of different names, each for a "
            f"structure, got {', '.join(twice)} more than once."
        )
    if problems:
        raise DataError("Files that cannot be read:", problems)
    mask = RawLabel(*loaded.pop()) if files.mask else None
    (path, image, place), *rest = loaded
    labels = [
        (p, voxels.reshape(label_shape(voxels.shape, image.shape)), place_of_label)
        for p, voxels, place_of_label in rest
    ]
    if len(labels) > 1:
        named = [RawLabel(*x, name=n) for x, n in zip(labels, stems, strict=True)]
    else:
        named = [RawLabel(*x) for x in labels]
    return RawVolume(path, image, place, named), mask


def _stem(path: StrPath) -> str:
    """:return: the name of a file without its folder and all that follows a dot."""
    return Path(path).name.split(".")[0]


def _read(path: StrPath) -> tuple[str, NDArray, Place]:
    """Read one file, single channels without their axis as DeepReg's loaders do."""
    volume = read_volume(Path(path))
    voxels = np.asarray(volume.voxels, np.float32)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    return volume.path, voxels, read_place(volume.path)
